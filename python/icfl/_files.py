"""Files that are whole under their final name: written beside, forced to the disk, then renamed.

What a reader finds under a name is the old file or the new one. A failure or Ctrl-C while writing
leaves what was there before, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

__all__ = ["replace_file", "replace_files"]


def replace_file(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview]) -> None:
    """Write one file, all or nothing.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file; of a link, what it points to is replaced. Its folder has to exist.
    pieces : iterable of bytes
        Contents.

    Raises
    ------
    OSError
        The file cannot be written. What was there before is still there.
    """
    target = Path(os.path.realpath(path))
    _replace_all({target: pieces}, target.parent)


def replace_files(
    folder: str | os.PathLike[str], files: Mapping[str, Iterable[bytes | memoryview]]
) -> None:
    """Write files that belong together: none takes its name before all are on the disk.

    Parameters
    ----------
    folder : str or os.PathLike
        Made if it does not exist; the folder it lies in has to. Other files in it stay.
    files : dict of str to iterable of bytes
        Contents by name.

    Raises
    ------
    OSError
        A file cannot be written. What was there before is still there.
    """
    final = Path(os.path.realpath(folder))
    if final.exists():
        _replace_all({final / name: pieces for name, pieces in files.items()}, final)
        return
    if not final.parent.is_dir():
        _missing_folder(final)
    # The files take their names inside a folder that has none yet.
    temporary = final.with_name(f".icfl-{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    try:
        _replace_all({temporary / name: pieces for name, pieces in files.items()}, temporary)
        os.replace(temporary, final)
    except BaseException:
        with contextlib.suppress(OSError):
            for file in temporary.iterdir():
                file.unlink()
            temporary.rmdir()
        raise
    _sync_folder(final.parent)


def _replace_all(files: Mapping[Path, Iterable[bytes | memoryview]], folder: Path) -> None:
    if not folder.is_dir():
        _missing_folder(next(iter(files)))
    for target in files:
        if (
            target.is_dir() and not target.is_symlink()
        ):  # else found out when files before it have their names
            raise IsADirectoryError(errno.EISDIR, "cannot replace a folder by a file", str(target))
    # Not `tempfile`: its files are 0600, and a model is shared as any file the user makes.
    waiting = {target: folder / f".icfl-{secrets.token_hex(8)}.tmp" for target in files}
    try:
        for target, temporary in waiting.items():
            with open(temporary, "xb") as file:
                for piece in files[target]:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        for target, temporary in waiting.items():
            os.replace(temporary, target)
    except BaseException:
        for temporary in waiting.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise
    _sync_folder(folder)


def _missing_folder(target: Path) -> NoReturn:
    if target.parent.exists():
        message = f"cannot write {target.name}: this is a file"
        raise NotADirectoryError(errno.ENOTDIR, message, str(target.parent))
    message = f"cannot write {target.name}: its folder does not exist"
    raise FileNotFoundError(errno.ENOENT, message, str(target.parent))


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a power failure, where the system knows how to."""
    with contextlib.suppress(OSError):  # Windows cannot open folders; some file systems cannot sync
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
