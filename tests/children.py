"""Programs in processes of their own, and Ctrl-C sent to them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python called with these arguments, when it has ended."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def running(script: str, patience: float) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `script`, and is killed where that takes more than `patience` seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        watchdog = threading.Timer(patience, process.kill)
        watchdog.start()
        yield process
        watchdog.cancel()


def seconds_to_stop(process: subprocess.Popen[str], after: float) -> float:
    """From Ctrl-C, sent `after` seconds behind the line "ready", to the line "stopped"."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    assert process.poll() is None
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopped\n"
    return time.monotonic() - start
