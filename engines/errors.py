"""What can go wrong with an engine.

EngineError
├── BundleError      a bundle is tampered with, truncated, malformed or of another version
├── ModelError       a model of the user's folder
│   ├── ModelMissing     it is not there (says what fetches it)
│   ├── ModelDamaged     it is not the file that it should be
│   └── PullFailed       the package client could not fetch it
├── FolderInUse      another process is writing to the folder that was asked for
├── BackendMissing   the library or device that a backend needs is absent (says which extra)
├── NetworkError     a backend cannot read, compile or build a network
└── InferenceError   a network could not be run
    └── InputMismatch    an input has another name, type or shape than the network wants
"""

from typing import ClassVar


class EngineError(Exception):
    """Base of every error of the engines; its text is one sentence for a person."""

    wrong_use: ClassVar[bool] = False
    """Whether it refuses what was given before anything was made of it; else something failed."""


class BundleError(EngineError):
    """A bundle is not what its manifest says, or the manifest is not one that we can read."""

    wrong_use = True


class ModelError(EngineError):
    """Something is wrong with a model of the user's model folder."""


class ModelMissing(ModelError):
    """No such model on this machine."""

    wrong_use = True


class ModelDamaged(ModelError):
    """A model file has another SHA-256 than it must have, or cannot be such a model."""


class PullFailed(ModelError):
    """The models could not be fetched."""


class FolderInUse(EngineError):
    """Another process is writing to the folder that was asked for."""

    wrong_use = True


class BackendMissing(EngineError):
    """No backend on this machine can run the network."""

    wrong_use = True


class NetworkError(EngineError):
    """A backend cannot read, compile or build a network file."""


class InferenceError(EngineError):
    """A network could not be run."""


class InputMismatch(InferenceError):
    """The inputs given are not the inputs that the network takes."""
