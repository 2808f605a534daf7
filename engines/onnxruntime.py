"""ONNX Runtime: the portable backend. Reads ONNX."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .engine import Array, Engine, Specs
from .errors import NetworkError
from .network import Options, Preprocessing, TensorSpec

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True, slots=True)
class _Key:
    path: Path
    sha256: str
    options: Options
    process: int


class _Sessions:
    """The sessions of this process: a session is safe to run from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[_Key, tuple[Any, int]] = {}

    def acquire(self, key: _Key) -> Any:
        with self._lock:
            session, users = self._sessions.get(key, (None, 0))
            session = session or _session(key)
            self._sessions[key] = (session, users + 1)
            return session

    def release(self, key: _Key) -> None:
        with self._lock:
            session, users = self._sessions.pop(key)
            if users > 1:
                self._sessions[key] = (session, users - 1)


_SESSIONS = _Sessions()


class OnnxruntimeEngine(Engine):
    """Runs a network through ONNX Runtime, in the precision of its file."""

    backend = "onnxruntime"
    formats = frozenset({"onnx"})

    _session: Any = None

    def _open(self) -> tuple[Specs, Specs]:
        network = self.network
        if self.options.precision in ("f16", "bf16"):
            raise NetworkError(
                f"engine {network.name}: expected precision auto, f32 or int8, found "
                f"{self.options.precision}; onnxruntime runs a file in the precision it is "
                "written in, so ask another backend"
            )
        self._key = _Key(network.path.resolve(), network.sha256, self.options, os.getpid())
        self._session = _SESSIONS.acquire(self._key)
        self._native = {
            s.name: network.native_name(s.name) for s in (*network.inputs, *network.outputs)
        }
        ours = {native: name for name, native in self._native.items()}
        inputs = tuple(_spec(node, ours) for node in self._session.get_inputs())
        outputs = tuple(_spec(node, ours) for node in self._session.get_outputs())
        if network.preprocessing is not None:
            inputs = tuple(_picture(spec, network.preprocessing) for spec in inputs)
        outputs = tuple(spec for spec in outputs if spec.name not in self.options.without)
        self._names = [spec.name for spec in outputs]
        return inputs, outputs

    def _infer(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        preprocessing = self.network.preprocessing
        feed = {
            self._native.get(name, name): (
                np.ascontiguousarray(array)
                if preprocessing is None
                else _preprocessed(array, preprocessing)
            )
            for name, array in arrays.items()
        }
        names = [self._native.get(name, name) for name in self._names]
        return dict(zip(self._names, self._session.run(names, feed), strict=True))

    def _close(self) -> None:
        if self._session is not None:
            self._session = None
            _SESSIONS.release(self._key)


def _session(key: _Key) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = key.options.threads
    options.inter_op_num_threads = 1
    # Waiting threads would otherwise burn a core each.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    provider = key.options.device or "CPUExecutionProvider"
    if provider not in ort.get_available_providers():
        raise NetworkError(
            f"onnxruntime: expected a device among {', '.join(ort.get_available_providers())}, "
            f"found {provider!r}"
        )
    return ort.InferenceSession(key.path, options, providers=[provider])


def _spec(node: Any, ours: Mapping[str, str]) -> TensorSpec:
    if node.type not in _DTYPES:
        raise NetworkError(f"tensor {node.name} has the type {node.type}, which is not supported")
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in node.shape)
    return TensorSpec(ours.get(node.name, node.name), _DTYPES[node.type], shape)


def _picture(spec: TensorSpec, preprocessing: Preprocessing) -> TensorSpec:
    shape = spec.shape
    if preprocessing.layout == "NCHW":
        shape = (shape[0], *shape[2:], shape[1])
    return TensorSpec(spec.name, "uint8", shape)


def _preprocessed(picture: Array, preprocessing: Preprocessing) -> Array:
    if preprocessing.channels == "BGR":
        picture = picture[..., ::-1]
    if preprocessing.layout == "NCHW":
        picture = picture.transpose(0, 3, 1, 2)
    numbers = np.ascontiguousarray(picture, np.float32)
    if preprocessing.mean:
        numbers -= np.float32(preprocessing.mean)
    if preprocessing.scale != 1.0:
        numbers /= np.float32(preprocessing.scale)
    return numbers
