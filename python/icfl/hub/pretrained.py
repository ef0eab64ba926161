"""The calls of `icfl.hub` as methods of estimators."""

from __future__ import annotations

import os
from typing import TypeVar

from icfl.exceptions import InputTypeError

__all__ = ["Pretrained"]

Estimator = TypeVar("Estimator", bound="Pretrained")


class Pretrained:
    """Base of estimators that can be kept in a folder or a repository of the Hugging Face Hub."""

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted estimator and a card into a folder; see `icfl.hub.save_pretrained`.

        Parameters
        ----------
        folder : str or os.PathLike
            Made if it does not exist.

        Raises
        ------
        OSError
            A file cannot be written.
        """
        from icfl.hub.storage import save_pretrained

        save_pretrained(self, folder)

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | None = None
    ) -> str:
        """Write the fitted estimator to a repository; see `icfl.hub.push_to_hub`.

        Parameters
        ----------
        repo_id : str
            The repository, "user/name"; made if it does not exist.
        private : bool, optional
            Whether a repository that is made is private.
        token : str, optional
            What lets it be written.

        Returns
        -------
        str
            Address of the commit.
        """
        from icfl.hub.storage import push_to_hub

        return push_to_hub(self, repo_id, private=private, token=token)

    @classmethod
    def from_pretrained(
        cls: type[Estimator],
        repo_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | None = None,
    ) -> Estimator:
        """Read an estimator of this class; see `icfl.hub.from_pretrained`.

        Parameters
        ----------
        repo_or_folder : str or os.PathLike
            A folder with a `model.safetensors`, or the name of a repository, "user/name".
        revision : str, optional
            Branch, tag or commit of the repository.
        token : str, optional
            What lets a private repository be read.

        Returns
        -------
        estimator
            What was saved.

        Raises
        ------
        InputTypeError
            It is of another class.
        """
        from icfl.hub.storage import from_pretrained

        model = from_pretrained(repo_or_folder, revision=revision, token=token)
        if not isinstance(model, cls):
            raise InputTypeError(
                f"repo_or_folder: {os.fspath(repo_or_folder)} holds a {type(model).__name__}, "
                f"expected {cls.__name__}; icfl.hub.from_pretrained takes any"
            )
        return model
