"""What can go wrong, as subclasses of the built-in exceptions a scikit-learn user catches."""

from __future__ import annotations

__all__ = [
    "DeadFeaturesWarning",
    "IcflError",
    "InputError",
    "InputScaleWarning",
    "InputTypeError",
    "MissingDependencyError",
    "ModelFileError",
]


class IcflError(Exception):
    """Base of every error that icfl raises on purpose."""


class InputError(IcflError, ValueError):
    """An argument has the right type but not an acceptable value or shape."""


class InputTypeError(IcflError, TypeError):
    """An argument has the wrong type."""


class ModelFileError(IcflError, ValueError):
    """A model file is damaged, of an unknown version, or not a model file."""


class MissingDependencyError(IcflError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class InputScaleWarning(UserWarning):
    """Inputs are on another scale than those the model was fitted on."""


class DeadFeaturesWarning(UserWarning):
    """Many features of the autoencoder that is about to be trained will never fire."""
