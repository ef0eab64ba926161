"""The caller's modes set aside: what PyTorch keeps for a thread and what would change the numbers.

Learners are called where activations are made: inside ``torch.no_grad()``, where an autoencoder
could not learn, ``torch.inference_mode()``, whose tensors have no gradients later on either, or
``torch.autocast``, whose products are of 8 bits of mantissa. Numbers here depend on none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

import torch

__all__ = ["ordinary", "without_modes"]

Method = TypeVar("Method", bound=Callable[..., Any])


@contextmanager
def ordinary(device: torch.device) -> Iterator[None]:
    """Compute as with no mode set, but for gradients: whoever needs them enables them."""
    with torch.inference_mode(False), torch.no_grad(), _no_autocast(device.type):
        yield


def _no_autocast(device_type: str) -> AbstractContextManager[Any]:
    try:
        disabled: AbstractContextManager[Any] = torch.autocast(device_type, enabled=False)
    except RuntimeError:  # this version has none for such a device ("mps" before 2.5)
        return nullcontext()
    return disabled


def without_modes(method: Method) -> Method:
    """Run a method whose first argument is rows or codes `X` in `ordinary`, on ``_place(X)``."""

    @wraps(method)
    def call(self: Any, X: Any, *more: Any) -> Any:
        with ordinary(self._place(X)):
            return method(self, X, *more)

    return cast("Method", call)
