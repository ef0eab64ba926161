"""Folders and repositories of the Hub: what is read is what was written, card and all."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

import icfl
from exchange_models import X, models
from icfl import hub
from icfl.exceptions import InputError, InputTypeError, MissingDependencyError, ModelFileError

MODELS = models()
MODELS["coder"] = icfl.SparseCoder(np.eye(5), n_nonzero=2).fit(X)
MODELS["whitener"] = icfl.ControlWhitener().fit(X)
MODELS["pipeline"] = Pipeline([("whiten", MODELS["whitener"]), ("encode", MODELS["topk"])])


def outputs(model: Any) -> np.ndarray:
    result = model.transform(X)
    return result.toarray() if hasattr(result, "toarray") else result


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make as if huggingface_hub were not installed."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", MODELS)
def test_folders_need_no_huggingface_hub(tmp_path: Path, name: str) -> None:
    model = MODELS[name]
    hub.save_pretrained(model, tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "model.safetensors"]
    for where in (tmp_path / "m", str(tmp_path / "m")):
        loaded = hub.from_pretrained(where)
        assert type(loaded) is type(model)
        np.testing.assert_array_equal(outputs(loaded), outputs(model))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "pipeline"])
def test_estimators_have_the_calls_as_methods(tmp_path: Path, name: str) -> None:
    model = MODELS[name]
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    np.testing.assert_array_equal(outputs(loaded), outputs(model))
    with pytest.raises(InputTypeError, match=rf"holds a {type(model).__name__}, expected ICFL"):
        icfl.ICFL.from_pretrained(tmp_path)


def test_a_fitted_learner(tmp_path: Path) -> None:
    model = icfl.ICFL(9, n_iterations=2, max_steps=2, random_state=0).fit(X)
    model.save_pretrained(tmp_path)
    np.testing.assert_array_equal(outputs(icfl.ICFL.from_pretrained(tmp_path)), outputs(model))
    card = (tmp_path / "README.md").read_text()
    for fact in ("# ICFL", "| components | 9 |", "| features | 5 |", "| `n_iterations` | `2` |"):
        assert fact in card
    assert "| n_steps | 2 |" in card
    assert "`update`" not in card, "what is as by default goes without saying"


def test_the_card_says_what_it_is_and_runs(tmp_path: Path, monkeypatch: Any) -> None:
    hub.save_pretrained(MODELS["pipeline"], tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: icfl\n")
    assert "# ControlWhitener → TopKSAE" in card
    assert f"icfl {icfl.__version__} with NumPy {np.__version__}" in card
    (code,) = card.split("```python\n")[1:]
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"X": X}
    exec(code.split("```")[0].replace("path or user/name", "m"), known)
    np.testing.assert_array_equal(known["codes"].toarray(), outputs(MODELS["pipeline"]))


def test_a_card_that_exists_is_kept(tmp_path: Path) -> None:
    hub.save_pretrained(MODELS["topk"], tmp_path)
    (tmp_path / "README.md").write_text("what its author wrote")
    hub.save_pretrained(MODELS["relu"], tmp_path)
    assert (tmp_path / "README.md").read_text() == "what its author wrote"
    assert type(hub.from_pretrained(tmp_path)).__name__ == "BatchTopKSAE"


@pytest.mark.parametrize("model", [PCA(), None, Pipeline([("a", PCA()), ("b", "passthrough")])])
def test_what_cannot_be_saved(tmp_path: Path, model: Any) -> None:
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputTypeError, match="model: expected AbsTopKSAE, BatchTopKSAE"):
            hub.save_pretrained(model, folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gone", "/no/such/folder", "a/b/c", "user/na me"])
def test_neither_folder_nor_repository(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="must be an existing folder or a repository's name"):
        hub.from_pretrained(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        hub.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelFileError):
        hub.from_pretrained(tmp_path)


@pytest.mark.usefixtures("no_hub")
def test_repositories_need_huggingface_hub() -> None:
    for call in (
        lambda: hub.from_pretrained("user/name"),
        lambda: icfl.ICFL.from_pretrained("user/name"),
        lambda: hub.push_to_hub(MODELS["topk"], "user/name"),
        lambda: MODELS["topk"].push_to_hub("user/name"),
    ):
        with pytest.raises(MissingDependencyError, match=r'pip install "icfl\[hub\]"'):
            call()


class Recorder(ModuleType):
    """A stand-in for huggingface_hub that keeps repositories in a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__("huggingface_hub")
        self.root, self.calls = root, []
        self.HfApi = lambda **kwargs: self.calls.append(("HfApi", kwargs)) or self

    def hf_hub_download(self, repo_id: str, filename: str, **kwargs: Any) -> str:
        self.calls.append(("hf_hub_download", kwargs))
        return str(self.root / repo_id / filename)

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
        self.calls.append(("create_repo", {"private": private, "exist_ok": exist_ok}))
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=repo_id)

    def file_exists(self, repo_id: str, filename: str) -> bool:
        return (self.root / repo_id / filename).exists()

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
        for file in Path(folder_path).iterdir():
            (self.root / repo_id / file.name).write_bytes(file.read_bytes())
        return SimpleNamespace(commit_url=f"https://example.org/{repo_id}")


def test_to_a_repository_and_back(tmp_path: Path, monkeypatch: Any) -> None:
    recorder = Recorder(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", recorder)
    monkeypatch.chdir(tmp_path.parent)  # where no folder has the repository's name
    model = MODELS["topk"]
    url = model.push_to_hub("user/name", private=True, token="t")
    assert url == "https://example.org/user/name"
    assert ("create_repo", {"private": True, "exist_ok": True}) in recorder.calls
    assert ("HfApi", {"token": "t", "library_name": "icfl"}) in recorder.calls
    assert 'from_pretrained("user/name")' in (tmp_path / "user/name/README.md").read_text()
    loaded = icfl.hub.from_pretrained("user/name", revision="main", token="t")
    np.testing.assert_array_equal(outputs(loaded), outputs(model))
    assert recorder.calls[-1] == ("hf_hub_download", {"revision": "main", "token": "t"})
    (tmp_path / "user/name/README.md").write_text("edited on the Hub")
    hub.push_to_hub(MODELS["relu"], "user/name")
    assert (tmp_path / "user/name/README.md").read_text() == "edited on the Hub"


def test_nothing_is_asked_of_the_hub_before_the_model_is_written(
    tmp_path: Path, monkeypatch: Any
) -> None:
    recorder = Recorder(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", recorder)
    with pytest.raises(InputTypeError):
        hub.push_to_hub(PCA(), "user/name")
    assert recorder.calls == []
    with pytest.raises(InputError, match="repo_id must be user/name, got 'name'"):
        hub.push_to_hub(MODELS["topk"], "name")


def test_methods_and_functions_have_the_same_options() -> None:
    for name in ("save_pretrained", "push_to_hub", "from_pretrained"):
        function = inspect.signature(getattr(hub, name)).parameters
        method = inspect.signature(getattr(icfl.ICFL, name)).parameters
        assert [p for p in function if p != "model"] == [p for p in method if p != "self"]
