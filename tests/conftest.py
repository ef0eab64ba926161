"""What all tests share."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """Ctrl-C works in tests and their child processes, even where a shell's `&` switched it off."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
