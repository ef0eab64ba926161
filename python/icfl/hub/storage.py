"""To a folder or a repository and back."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from icfl import persistence
from icfl._files import replace_file
from icfl.exceptions import InputError, MissingDependencyError
from icfl.hub.card import card

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]

MODEL, CARD = "model.safetensors", "README.md"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def save_pretrained(model: object, folder: str | os.PathLike[str]) -> None:
    """Write a fitted estimator, or a pipeline of them, into a folder with a card beside it.

    Parameters
    ----------
    model : a learner, SparseCoder, ControlWhitener, a baseline or sklearn.pipeline.Pipeline
        What to save.
    folder : str or os.PathLike
        Made if it does not exist. `model.safetensors` in it is replaced; a `README.md` stays, its
        author may have changed it.

    Raises
    ------
    InputTypeError
        `model`, or a step of it, is of a class that cannot be saved.
    OSError
        A file cannot be written.

    See Also
    --------
    from_pretrained : The way back.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, icfl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     icfl.hub.save_pretrained(icfl.SparseCoder(np.eye(4)), folder)
    ...     sorted(file.name for file in pathlib.Path(folder).iterdir())
    ['README.md', 'model.safetensors']
    """
    _save(model, Path(folder), None)


def from_pretrained(
    repo_or_folder: str | os.PathLike[str], *, revision: str | None = None, token: str | None = None
) -> Any:
    """Read a fitted estimator from a folder, or from a repository of the Hub.

    Parameters
    ----------
    repo_or_folder : str or os.PathLike
        A folder with a `model.safetensors`, or the name of a repository, "user/name". A folder that
        exists comes first.
    revision : str, optional
        Branch, tag or commit of the repository.
    token : str, optional
        What lets a private repository be read; None takes the one that is stored on the machine.

    Returns
    -------
    model : estimator or sklearn.pipeline.Pipeline
        What was saved. Nothing is unpickled, as with `icfl.load`.

    Raises
    ------
    ModelFileError
        The file is damaged, or holds something that this version does not know.
    InputError
        `repo_or_folder` is neither.
    MissingDependencyError
        A repository is to be read without huggingface_hub.
    OSError
        The file cannot be read or fetched.

    See Also
    --------
    save_pretrained, push_to_hub : What write such folders and repositories.

    Examples
    --------
    >>> import tempfile, numpy as np, icfl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     icfl.hub.save_pretrained(icfl.SparseCoder(np.eye(4)), folder)
    ...     type(icfl.hub.from_pretrained(folder)).__name__
    'SparseCoder'
    """
    folder = Path(repo_or_folder)
    if folder.is_dir():
        return persistence.load(folder / MODEL)
    name = os.fspath(repo_or_folder)
    if not _REPOSITORY.fullmatch(name):
        raise InputError(
            "repo_or_folder must be an existing folder or a repository's name user/name, "
            f"got {name!r}"
        )
    hub = _huggingface_hub(f"reading {name}")
    file = hub.hf_hub_download(name, MODEL, revision=revision, token=token)
    return persistence.load(file)


def push_to_hub(
    model: object, repo_id: str, *, private: bool | None = None, token: str | None = None
) -> str:
    """Write a fitted estimator, or a pipeline of them, to a repository of the Hub.

    Parameters
    ----------
    model : a learner, SparseCoder, ControlWhitener, a baseline or sklearn.pipeline.Pipeline
        What to save.
    repo_id : str
        The repository, "user/name"; made if it does not exist. A card that it has is kept.
    private : bool, optional
        Whether a repository that is made is private; None is the Hub's own default.
    token : str, optional
        What lets it be written; None takes the one that is stored on the machine.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    InputTypeError
        `model`, or a step of it, is of a class that cannot be saved.
    InputError
        `repo_id` is no name of a repository.
    MissingDependencyError
        huggingface_hub is not installed.
    OSError
        The Hub cannot be reached or refuses.

    See Also
    --------
    from_pretrained : The way back.

    Examples
    --------
    >>> import icfl
    >>> icfl.hub.push_to_hub(icfl.ICFL(), "no repository")
    Traceback (most recent call last):
        ...
    icfl.exceptions.InputError: repo_id must be user/name, got 'no repository'
    """
    if not _REPOSITORY.fullmatch(str(repo_id)):
        raise InputError(f"repo_id must be user/name, got {repo_id!r}")
    hub = _huggingface_hub(f"writing {repo_id}")
    with tempfile.TemporaryDirectory() as folder:
        _save(model, Path(folder), repo_id)  # before anything is asked of the Hub
        api = hub.HfApi(token=token, library_name="icfl")
        repo = api.create_repo(repo_id, private=private, exist_ok=True)
        if api.file_exists(repo.repo_id, CARD):
            Path(folder, CARD).unlink()
        commit = api.upload_folder(
            repo_id=repo.repo_id,
            folder_path=folder,
            commit_message=f"{type(model).__name__} of icfl",
        )
    return str(commit.commit_url)


def _save(model: object, folder: Path, repo_id: str | None) -> None:
    new = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        persistence.save(model, folder / MODEL)
    except BaseException:
        if new:
            folder.rmdir()
        raise
    if not (folder / CARD).exists():
        replace_file(folder / CARD, [card(model, repo_id).encode()])


def _huggingface_hub(what: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            f'{what} needs huggingface_hub: pip install "icfl[hub]"'
        ) from error
    return huggingface_hub
