"""Output that is either whole or absent: write under a temporary name beside it, then rename.

`os.replace` is atomic within one file system, so the temporary name lies in the folder of the final
one. A crash or Ctrl-C leaves what was there before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icfl.exceptions import InputError

__all__ = ["check_free", "check_writable", "new_folder", "write_beside"]


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block succeeds.

    Parameters
    ----------
    path : str or os.PathLike
        Final name. An existing file is replaced in one step.

    Yields
    ------
    temporary : pathlib.Path
        Where to write. It has the suffix of `path`, so that writers that look at it agree.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with write_beside(folder / "numbers.txt") as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> [p.name for p in folder.iterdir()]
    ['numbers.txt']
    """
    final = Path(path)
    temporary = final.with_name(f".{final.stem}.{os.getpid()}.partial{final.suffix}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder whose files appear under `path` if the block succeeds.

    Parameters
    ----------
    path : str or os.PathLike
        Final folder. Where it does not exist, the whole folder is renamed at once; where it does
        and `overwrite` is true, its files are replaced one by one and others in it stay.
    overwrite : bool, default=False
        Whether `path` may exist already.

    Yields
    ------
    temporary : pathlib.Path
        An empty folder beside `path`.

    Raises
    ------
    InputError
        If `path` exists and `overwrite` is false, or `path` is not a folder.

    Examples
    --------
    >>> from icfl.io import new_folder
    >>> with new_folder("results") as folder:
    ...     _ = (folder / "notes.txt").write_text("all of it, or nothing")
    >>> open("results/notes.txt").read()
    'all of it, or nothing'
    """
    final = Path(path)
    check_free(final, overwrite=overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    try:
        yield temporary
        _move_into_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now, not after an hour of work, if no file can be written at `path`."""
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(21, "output is a folder, expected a file name", str(final))
    if not final.parent.is_dir():
        raise FileNotFoundError(2, "folder for the output does not exist", str(final.parent))
    if not os.access(final.parent, os.W_OK):
        raise PermissionError(13, "folder for the output is not writable", str(final.parent))


def check_free(final: Path, *, overwrite: bool) -> None:
    """Raise InputError if `final` exists, or, where it may exist, is not a folder."""
    if final.exists() and not final.is_dir():
        raise InputError(f"output {str(final)!r} exists and is not a folder")
    if final.exists() and not overwrite:
        raise InputError(f"output folder {str(final)!r} exists already")


def _move_into_place(temporary: Path, final: Path) -> None:
    # mkdtemp makes a private folder; the result gets the rights any new folder would have.
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o777 & ~mask)
    if not final.exists():
        temporary.rename(final)
        return
    for file in sorted(temporary.iterdir()):
        os.replace(file, final / file.name)
