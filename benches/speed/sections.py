"""Parts of a Markdown page that a program writes, between a begin and an end marker."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["check_section", "replace_section", "write_atomically"]


def check_section(page: Path, name: str) -> tuple[str, str]:
    """Return what comes before and after the content of a section, or end the program."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} must have the lines {begin!r} and {end!r}")
    return before + begin, end + after


def replace_section(page: Path, name: str, text: str) -> None:
    """Put a text between the markers."""
    before, after = check_section(page, name)
    write_atomically(page, f"{before}\n\n{text}\n\n{after}")


def write_atomically(path: Path, text: str) -> None:
    """Write beside, then in place."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
