"""How a network runs: the bundle, one Engine contract, a file per backend.

Names are loaded on first use, so that importing this package imports no inference library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine, load_engine
    from .errors import (
        BackendMissing,
        BundleError,
        EngineError,
        InferenceError,
        InputMismatch,
        ModelDamaged,
        ModelError,
        ModelMissing,
        NetworkError,
        PullFailed,
    )
    from .network import Network, Options, Preprocessing, TensorSpec
    from .store import model_folder

_HOME = {
    "Engine": "engine",
    "load_engine": "engine",
    "BackendMissing": "errors",
    "BundleError": "errors",
    "EngineError": "errors",
    "InferenceError": "errors",
    "InputMismatch": "errors",
    "ModelDamaged": "errors",
    "ModelError": "errors",
    "ModelMissing": "errors",
    "NetworkError": "errors",
    "PullFailed": "errors",
    "Network": "network",
    "Options": "network",
    "Preprocessing": "network",
    "TensorSpec": "network",
    "model_folder": "store",
}

__all__ = [
    "BackendMissing",
    "BundleError",
    "Engine",
    "EngineError",
    "InferenceError",
    "InputMismatch",
    "ModelDamaged",
    "ModelError",
    "ModelMissing",
    "Network",
    "NetworkError",
    "Options",
    "Preprocessing",
    "PullFailed",
    "TensorSpec",
    "load_engine",
    "model_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
