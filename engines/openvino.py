"""OpenVINO: the default on CPUs. Reads ONNX and TensorFlow Lite.

A compiled model runs in the thread that calls it, one request at a time (with several streams it
would hand every request to a thread of its own, which costs 5 to 20 % more CPU for small networks).
So engines of one network share a compiled model, each with a request of its own, until two of them
want to run at the same moment in different threads: then one of them moves to another compiled
model, for good.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .engine import Array, Engine, Specs
from .errors import NetworkError
from .network import Network, Precision, Preprocessing, TensorSpec
from .openvino_library import ColorFormat, PrePostProcessor, ov

_PRECISION_HINTS = {"f32": "f32", "f16": "f16", "bf16": "bf16"}


@dataclass(frozen=True, slots=True)
class _Key:
    """What two engines must have in common to share a compiled model."""

    path: Path
    sha256: str
    preprocessing: Preprocessing | None
    threads: int
    device: str
    without: frozenset[str]
    precision: Precision
    process: int


@dataclass(slots=True)
class _Compiled:
    model: Any
    users: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)
    """Held by the engine that runs on it."""


class _Pool:
    """The compiled models of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._compiled: dict[_Key, list[_Compiled]] = {}

    def acquire(self, key: _Key, network: Network) -> _Compiled:
        """A compiled model of the network, made if there is none."""
        with self._lock:
            sharing = self._compiled.setdefault(key, [])
            if not sharing:
                sharing.append(_Compiled(_compile(network, key)))
            sharing[0].users += 1
            return sharing[0]

    def move(self, key: _Key, network: Network, left: _Compiled) -> _Compiled:
        """Leave a busy compiled model for one that is free, made if there is none; it is held."""
        with self._lock:
            sharing = self._compiled[key]
            free = next((c for c in sharing if c.busy.acquire(blocking=False)), None)
            if free is None:
                free = _Compiled(_compile(network, key))
                free.busy.acquire()
                sharing.append(free)
            free.users += 1
            self._leave(key, left)
            return free

    def release(self, key: _Key, compiled: _Compiled) -> None:
        """One user less; the last one takes the compiled model with it."""
        with self._lock:
            self._leave(key, compiled)

    def _leave(self, key: _Key, compiled: _Compiled) -> None:
        compiled.users -= 1
        if compiled.users == 0:
            self._compiled[key].remove(compiled)
            if not self._compiled[key]:
                del self._compiled[key]


_POOL = _Pool()


class OpenvinoEngine(Engine):
    """Runs a network through OpenVINO."""

    backend = "openvino"
    formats = frozenset({"onnx", "tflite"})

    _compiled: _Compiled | None = None
    _fixed_views: list[tuple[str, Array]] | None = None
    _fixed_inputs: dict[str, Array] | None = None
    _request: Any = None

    def _open(self) -> tuple[Specs, Specs]:
        network = self.network
        self._key = _Key(
            network.path.resolve(),
            network.sha256,
            network.preprocessing,
            self.options.threads,
            self.options.device,
            self.options.without & {spec.name for spec in network.outputs},
            self.precision,
            os.getpid(),
        )
        self._compiled = _POOL.acquire(self._key, network)
        model = self._compiled.model
        self._request = model.create_infer_request()
        ours = {network.native_name(s.name): s.name for s in (*network.inputs, *network.outputs)}
        inputs = tuple(_spec(port, ours) for port in model.inputs)
        outputs = tuple(_spec(port, ours) for port in model.outputs)
        self._input_index = {spec.name: i for i, spec in enumerate(inputs)}
        shapes = {s.name: s.shape[1:] for s in network.outputs} if network.native else {}
        outputs = tuple(_reshaped(spec, shapes) for spec in outputs)
        self._results = [(i, s.name, shapes.get(s.name)) for i, s in enumerate(outputs)]
        fixed = not any(-1 in spec.shape for spec in (*inputs, *outputs))
        if fixed:
            self._fix_views()
        return inputs, outputs

    def _infer(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        assert self._compiled is not None
        if not self._compiled.busy.acquire(blocking=False):
            self._move()
        try:
            return self._run(arrays)
        finally:
            self._compiled.busy.release()

    def _move(self) -> None:
        """Another engine of the same network is running in another thread: part from it."""
        assert self._compiled is not None
        self._compiled = _POOL.move(self._key, self.network, self._compiled)
        self._request = self._compiled.model.create_infer_request()
        if self._fixed_views:
            self._fix_views()

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        request = self._request
        # The request does not own the arrays, so that copies must be held until it has run.
        fixed = self._fixed_inputs
        held: list[Array] = []
        for name, array in arrays.items():
            if fixed is not None:
                fixed[name][...] = array
                continue
            held.append(_contiguous(array))
            tensor = ov.Tensor(held[-1], shared_memory=True)
            request.set_input_tensor(self._input_index[name], tensor)
        # Synchronous, in this thread: start_async and wait would cost 60 us of switching.
        request.infer(share_outputs=True)
        views = self._fixed_views or self._output_views()
        # Copies, because the next call writes to the same memory.
        return {name: view.copy() for name, view in views}

    def _fix_views(self) -> None:
        """Where the shapes are fixed, the request keeps its own memory for inputs and outputs.

        Copying a picture there takes a fifth of the time in which a request takes other memory.
        """
        index = self._input_index.items()
        self._fixed_inputs = {name: self._request.get_input_tensor(i).data for name, i in index}
        self._fixed_views = self._output_views()

    def _output_views(self) -> list[tuple[str, Array]]:
        """The request's output memory; it stays where it is while the shapes are fixed."""
        views = []
        for index, name, shape in self._results:
            view: Array = self._request.get_output_tensor(index).data
            views.append((name, view if shape is None else view.reshape(len(view), *shape)))
        return views

    def _close(self) -> None:
        self._request = self._fixed_views = self._fixed_inputs = None
        if self._compiled is not None:
            _POOL.release(self._key, self._compiled)
            self._compiled = None


def _contiguous(array: Array) -> Array:
    """The array itself, or a copy where OpenVINO could not share its memory."""
    if array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, order="C")


def _spec(port: Any, ours: Mapping[str, str]) -> TensorSpec:
    names = port.get_names()
    known = sorted(names & ours.keys())
    name = ours[known[0]] if known else min(names, key=len, default=port.get_any_name())
    shape = tuple(-1 if d.is_dynamic else d.get_length() for d in port.get_partial_shape())
    return TensorSpec(name, np.dtype(port.get_element_type().to_dtype()).name, shape)


def _reshaped(spec: TensorSpec, shapes: Mapping[str, tuple[int, ...]]) -> TensorSpec:
    shape = shapes.get(spec.name)
    if shape is None or -1 in shape or len(shape) + 1 == len(spec.shape):
        return spec
    return TensorSpec(spec.name, spec.dtype, (spec.shape[0], *shape))


def _compile(network: Network, key: _Key) -> Any:
    device = key.device or "CPU"
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings |= {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": key.threads,
            # Pinned, the threads of separate processes share one core: half the speed.
            "ENABLE_CPU_PINNING": False,
        }
    core = ov.Core()
    model = core.read_model(network.path)
    hint = _PRECISION_HINTS.get(key.precision)
    if hint is None and _is_quantised(model):
        # What is not int8 would be bf16 on processors with AMX, and there OpenVINO 2026.4 finds "no
        # suitable implementations" for some. What is int8 stays so: f32 beside it costs nothing.
        hint = "f32"
    if hint is not None:
        settings["INFERENCE_PRECISION_HINT"] = hint
    _leave_out(model, {network.native_name(name) for name in key.without})
    if network.preprocessing is not None:
        model = _with_preprocessing(network, model, network.preprocessing)
    return core.compile_model(model, device, settings)


def _is_quantised(model: Any) -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _leave_out(model: Any, outputs: set[str]) -> None:
    for result in model.get_results():
        if outputs & result.output(0).get_tensor().get_names():
            model.remove_result(result)


def _with_preprocessing(network: Network, model: Any, preprocessing: Preprocessing) -> Any:
    """Put what stands between a uint8 RGB picture and the network into the network."""
    if len(model.inputs) != 1:
        raise NetworkError(
            f"engine {network.name}: expected a network with one input, found {len(model.inputs)}"
        )
    steps = PrePostProcessor(model)
    image = steps.input(0)
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    image.tensor().set_color_format(ColorFormat.RGB)
    image.preprocess().convert_element_type(ov.Type.f32)
    if preprocessing.channels == "BGR":
        image.preprocess().convert_color(ColorFormat.BGR)
    if preprocessing.mean:
        image.preprocess().mean(preprocessing.mean)
    if preprocessing.scale != 1.0:
        image.preprocess().scale(preprocessing.scale)
    image.model().set_layout(ov.Layout(preprocessing.layout))
    return steps.build()
