"""The command `icfl`: fit, encode, evaluate and a demonstration, from files to files.

Exit codes: 0 done, 2 bad input (one line on standard error says what), 130 interrupted.
Results go to standard output, everything else to standard error. Output files appear whole or not
at all.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from icfl.cli.console import Console
from icfl.cli.parser import parse
from icfl.exceptions import IcflError, InputScaleWarning

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell reports of a program that SIGPIPE ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the command's name. By default those of the process.

    Returns
    -------
    int
        0, 2 on bad input, or 130 if interrupted.

    Examples
    --------
    >>> main(["encode", "missing.npy", "--model", "m.safetensors", "--output", "z.npz"])
    2
    """
    try:
        return _main(arguments)
    except BrokenPipeError:  # the reader has seen enough, as in `icfl demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _main(arguments: Sequence[str] | None) -> int:
    try:
        options = parse(arguments)
    except SystemExit as request:  # argparse: --help, --version, or a bad option
        return request.code if isinstance(request.code, int) else BAD_INPUT
    with warnings.catch_warnings():
        warnings.showwarning = _Warnings().show
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    console = Console(json=options.json, quiet=options.quiet)
    try:
        options.run(options, console)
    except IcflError as error:
        return _fail(str(error))
    except OSError as error:
        if error.filename is None:  # not about a file the user named, such as a closed pipe
            raise
        return _fail(f"{error.strerror}: {error.filename}")
    except KeyboardInterrupt:
        print("icfl: interrupted; no output was written", file=sys.stderr)
        return INTERRUPTED
    return 0


def _fail(message: str) -> int:
    print(f"icfl: error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT


class _Warnings:
    """Prints each warning as one line, and that about the scale of inputs only once.

    Data are encoded in chunks, each of which may be found to be on another scale.
    """

    def __init__(self) -> None:
        self._scale = False

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stand in for `warnings.showwarning`."""
        if issubclass(category, InputScaleWarning):
            if self._scale:
                return
            self._scale = True
        print(f"icfl: warning: {' '.join(str(message).split())}", file=sys.stderr)
