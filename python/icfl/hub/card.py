"""The card of a model: what it is, how large, and what wrote it. No claims about its quality."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from icfl._core import __version__

__all__ = ["card"]

_FACTS = ("n_steps_", "n_samples_seen_", "n_controls_")


def card(model: Any, repo_id: str | None = None) -> str:
    """Return the card of a fitted estimator, or of a pipeline of them, as Markdown."""
    steps = model.steps if isinstance(model, Pipeline) else [("", model)]
    kinds = " → ".join(type(step).__name__ for _, step in steps)
    rows = [f"| {key} | {value} |" for _, step in steps for key, value in _facts(step)]
    return "\n".join(
        [
            "---",
            "library_name: icfl",
            "tags:",
            "- icfl",
            "- sparse-coding",
            "- dictionary-learning",
            "---",
            "",
            f"# {kinds}",
            "",
            f"Written by icfl {__version__} with NumPy {np.__version__}. `model.safetensors` holds",
            "the whole estimator: parameters, fitted arrays, preprocessing and history.",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            "```python",
            "import icfl",
            "",
            f'model = icfl.hub.from_pretrained("{repo_id or "path or user/name"}")',
            "codes = model.transform(X)",
            "```",
            "",
        ]
    )


def _facts(step: Any) -> list[tuple[str, object]]:
    """Return sizes, parameters that were set, and counts of the fit."""
    facts: list[tuple[str, object]] = [("class", f"`{type(step).__name__}`")]
    components = getattr(step, "components_", None)
    if components is not None:
        facts += [("components", components.shape[0]), ("features", components.shape[1])]
    defaults = type(step)().get_params(deep=False) if _needs_nothing(step) else {}
    for name, value in sorted(step.get_params(deep=False).items()):
        plain = isinstance(value, (str, int, float)) and not isinstance(value, np.ndarray)
        if plain and (name not in defaults or defaults[name] != value):
            facts.append((f"`{name}`", f"`{value!r}`"))
    facts += [(name.rstrip("_"), getattr(step, name)) for name in _FACTS if hasattr(step, name)]
    return facts


def _needs_nothing(step: Any) -> bool:
    try:
        type(step)()
    except TypeError:
        return False
    return True
