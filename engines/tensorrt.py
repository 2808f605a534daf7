"""TensorRT 10 and 11, and TensorRT-RTX, on NVIDIA GPUs. Reads ONNX; needs ``padflow[gpu]``.

The libraries are imported when the first engine opens, so that the parts that need no GPU (see
``plan.py``) and the question whether there is one can be asked anywhere. Not verified on a GPU.
"""

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .cuda_graph import CudaGraph
from .engine import Array, Engine, Specs, find_network
from .errors import BackendMissing, InferenceError, NetworkError
from .network import Network, Precision, TensorSpec
from .plan import (
    DEFAULT_MAX_BATCH,
    PlanKey,
    build_plan_bytes,
    cached_plan,
    library_log,
    said,
    start,
)

log = logging.getLogger(__name__)

LIBRARIES = ("tensorrt", "tensorrt_rtx")
"""Which module is used, best first."""

WORKER = "PADFLOW_WORKER"
"""Environment variable with the number of this process among those that run a graph side by side,
which the graph sets: they take the GPUs that they see in turn."""

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: while another kind of stream is captured, nobody in the process may use
the legacy stream, as TensorRT does where it opens the next engine."""

_NUMPY_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def build_plan(
    name_or_path: str | Path,
    *,
    precision: Precision = "auto",
    max_batch: int = DEFAULT_MAX_BATCH,
    device: str = "",
) -> Path:
    """Build the plan of a network ahead of time, for this machine's GPU; no-op where it is there.

    Args:
        name_or_path: as in :func:`padflow.engines.load_engine`.
        precision: as there.
        max_batch: largest batch that the plan takes.
        device: ``cuda:0`` and so on; empty for the first GPU, or the worker's own.

    Returns:
        The plan's path in the cache.

    Raises:
        BackendMissing: there is no library or no GPU.
        NetworkError: the library cannot build the network.
    """
    if lack := TensorrtEngine.lack(device):
        raise BackendMissing(f"tensorrt: {lack}")
    network = find_network(name_or_path, precision)
    if refusal := TensorrtEngine.refuses(network):
        raise NetworkError(f"engine {network.name}: tensorrt {refusal}")
    wanted = network.precision if precision == "auto" else precision
    return _plan(network, wanted, _gpu(device), max_batch, least_batch=max_batch)


class TensorrtEngine(Engine):
    """Runs a network on an NVIDIA GPU; one stream, fixed buffers, a CUDA graph per batch size.

    Batches larger than the plan's are cut into several.
    """

    backend = "tensorrt"
    formats = frozenset({"onnx"})

    @classmethod
    def lack(cls, device: str = "") -> str:
        """What this machine lacks; see :meth:`Engine.lack`. Opens no other GPU than that one."""
        if not any(find_spec(name) for name in LIBRARIES):
            return "TensorRT is not installed; pip install 'padflow[gpu]'"
        if find_spec("pycuda") is None:
            return (
                "pycuda is not installed; pip install 'padflow[gpu]', which compiles it and wants "
                "CUDA's toolkit"
            )
        try:
            count = _driver().Device.count()
        except Exception as error:  # pycuda's own errors cannot be named before it is imported.
            return f"the NVIDIA driver cannot be used ({error}); install it or check nvidia-smi"
        return _fault(device) if count else "there is no NVIDIA GPU; use another backend"

    @classmethod
    def refuses(cls, network: Network) -> str:
        """Third-party networks are made for the CPU; see :meth:`Engine.refuses`."""
        if network.preprocessing is not None:
            return "runs networks with their preprocessing inside; this one runs on the CPU"
        return super().refuses(network)

    _gpu: "_Gpu | None" = None
    _runner: "_Runner | None" = None

    def _open(self) -> tuple[Specs, Specs]:
        self._gpu = _gpu(self.options.device)
        plan = _plan(self.network, self.precision, self._gpu, DEFAULT_MAX_BATCH, least_batch=1)
        with self._gpu.current():
            self._runner = _Runner(self._gpu, self.network, plan, self.options.without)
        return self._runner.inputs, self._runner.outputs

    def _infer(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        assert self._gpu is not None
        assert self._runner is not None
        with self._gpu.current():
            return self._runner.infer(arrays)

    def _close(self) -> None:
        if self._gpu is not None and self._runner is not None:
            with self._gpu.current():
                self._runner.close()
            self._runner = None


@dataclass(frozen=True, slots=True)
class _Gpu:
    """A GPU and its primary context, which every engine of the process shares."""

    name: str
    compute_capability: str
    context: Any

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread: ``infer`` may come from any."""
        self.context.push()
        try:
            yield
        finally:
            self.context.pop()


@dataclass(slots=True)
class _Buffer:
    """One tensor's memory on both sides, large enough for the largest batch."""

    host: Array
    """Flat and page-locked."""
    device: Any

    def shaped(self, shape: tuple[int, ...]) -> Array:
        """The part of the host memory that a tensor of this shape takes."""
        return self.host[: math.prod(shape)].reshape(shape)


@dataclass(slots=True)
class _Shaped:
    """What serves one batch size: TensorRT wants a context of its own for every CUDA graph."""

    context: Any
    host: dict[str, Array]
    """Every tensor's host memory in its shape."""
    graph: CudaGraph | None = None
    runs: int = 0


class _Runner:
    """A plan with its memory on the GPU. Every call needs the GPU's context current."""

    def __init__(
        self, gpu: _Gpu, network: Network, plan: Path, without: frozenset[str] = frozenset()
    ) -> None:
        self._trt = library()
        self._cuda = _driver()
        self._buffers: dict[str, _Buffer] = {}
        self._shaped: dict[int, _Shaped] = {}
        self._scratch: Any = None
        self._stream = self._cuda.Stream(_NON_BLOCKING)
        try:
            outputs = self._load(gpu, network, plan)
            self._allocate((*self.inputs, *outputs))
            # What nobody takes is computed, since the plan says so, and stays on the GPU.
            self.outputs = tuple(spec for spec in outputs if spec.name not in without)
        except BaseException:  # What is kept by the error's traceback would never be freed.
            self.close()
            raise

    def _load(self, gpu: _Gpu, network: Network, plan: Path) -> Specs:
        """Take the plan; returns its outputs."""
        trt = self._trt
        logger = library_log(trt)
        self._runtime = start(trt, "Runtime", logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise NetworkError(
                f"engine {network.name}: {trt.__name__} {trt.__version__} cannot load the plan "
                f"{plan} on {gpu.name} (compute capability {gpu.compute_capability}): "
                f"{said(logger) or 'no reason given'}; see whether library and driver support this "
                "GPU and its memory suffices, or delete the plan to build it anew"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        specs = {name: self._spec(name) for name in names}
        is_input = {n: self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT for n in names}
        self.inputs = tuple(specs[name] for name in names if is_input[name])
        self._batch_axis = {s.name: s.shape.index(-1) for s in specs.values() if -1 in s.shape}
        self.max_batch = max((self._largest(spec.name) for spec in self.inputs), default=1)
        return tuple(specs[name] for name in names if not is_input[name])

    def _allocate(self, specs: Specs) -> None:
        self._scratch_bytes = self._engine.device_memory_size_v2
        self._scratch = self._cuda.mem_alloc(max(self._scratch_bytes, 1))
        context = self._context(self.max_batch)
        for spec in specs:
            shape = tuple(context.get_tensor_shape(spec.name))
            host = self._cuda.pagelocked_empty(math.prod(shape), np.dtype(spec.dtype))
            self._buffers[spec.name] = _Buffer(host, self._cuda.mem_alloc(max(host.nbytes, 1)))

    def infer(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run on a batch of any length."""
        batch = self._batch(arrays)
        parts = [
            self._infer_part(
                {name: self._cut(name, a, start, self.max_batch) for name, a in arrays.items()},
                min(self.max_batch, batch - start),
            )
            for start in range(0, batch, self.max_batch)
        ]
        if len(parts) == 1:
            return parts[0]
        return {
            spec.name: np.concatenate(
                [part[spec.name] for part in parts], axis=self._batch_axis.get(spec.name, 0)
            )
            for spec in self.outputs
        }

    def close(self) -> None:
        """Give the memory back while the GPU's context is current."""
        self._stream.synchronize()
        for shaped in self._shaped.values():
            if shaped.graph is not None:
                shaped.graph.close()
        self._shaped.clear()
        for buffer in self._buffers.values():
            buffer.device.free()
        self._buffers.clear()
        if self._scratch is not None:
            self._scratch.free()
        self._engine = self._runtime = self._stream = None

    def _spec(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _NUMPY_TYPES:
            raise NetworkError(f"tensor {name} has the type {kind}, which NumPy does not know")
        return TensorSpec(name, _NUMPY_TYPES[kind], tuple(self._engine.get_tensor_shape(name)))

    def _largest(self, name: str) -> int:
        axis = self._batch_axis.get(name)
        return 1 if axis is None else self._engine.get_tensor_profile_shape(name, 0)[2][axis]

    def _batch(self, arrays: Mapping[str, Array]) -> int:
        return max(
            (a.shape[self._batch_axis[n]] for n, a in arrays.items() if n in self._batch_axis),
            default=1,
        )

    def _cut(self, name: str, array: Array, start: int, length: int) -> Array:
        axis = self._batch_axis.get(name)
        if axis is None:
            return array
        return array[(slice(None),) * axis + (slice(start, start + length),)]

    def _context(self, batch: int) -> Any:
        """A context for one batch size; all share the scratch memory, since none run at once."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise InferenceError(
                f"TensorRT has no execution context for a batch of {batch}; see whether the GPU's "
                "memory is used up"
            )
        context.set_device_memory(int(self._scratch), self._scratch_bytes)
        for spec in self.inputs:
            shape = tuple(batch if length == -1 else length for length in spec.shape)
            if not context.set_input_shape(spec.name, shape):
                raise InferenceError(f"TensorRT does not take input {spec.name} as {shape}")
        return context

    def _for_batch(self, batch: int) -> _Shaped:
        shaped = self._shaped.get(batch)
        if shaped is None:
            context = self._context(batch)
            host = {}
            for name, buffer in self._buffers.items():
                context.set_tensor_address(name, int(buffer.device))
                host[name] = buffer.shaped(tuple(context.get_tensor_shape(name)))
            shaped = self._shaped[batch] = _Shaped(context, host)
        return shaped

    def _infer_part(self, arrays: Mapping[str, Array], batch: int) -> dict[str, Array]:
        shaped = self._for_batch(batch)
        for name, array in arrays.items():
            np.copyto(shaped.host[name], array)
        if shaped.runs == 1:
            # The first run of a context allocates, which cannot be recorded; so record now.
            shaped.graph = self._recorded(shaped)
        shaped.runs += 1
        if shaped.graph is None:
            self._enqueue(shaped)
        else:
            shaped.graph.launch()
        self._stream.synchronize()
        return {spec.name: shaped.host[spec.name].copy() for spec in self.outputs}

    def _recorded(self, shaped: _Shaped) -> CudaGraph | None:
        try:
            return CudaGraph(self._stream.handle, lambda: self._enqueue(shaped))
        except (InferenceError, self._cuda.Error) as error:
            log.warning("running without CUDA graphs: %s", error)
            return None

    def _enqueue(self, shaped: _Shaped) -> None:
        for spec in self.inputs:
            device = self._buffers[spec.name].device
            self._cuda.memcpy_htod_async(device, shaped.host[spec.name], self._stream)
        if not shaped.context.execute_async_v3(self._stream.handle):
            raise InferenceError("TensorRT could not enqueue the network")
        for spec in self.outputs:
            device = self._buffers[spec.name].device
            self._cuda.memcpy_dtoh_async(shaped.host[spec.name], device, self._stream)


def library() -> Any:
    """The TensorRT module of this machine.

    Raises:
        BackendMissing: none can be imported.
    """
    for name in LIBRARIES:
        if find_spec(name):
            try:
                return import_module(name)
            except ImportError as error:
                raise BackendMissing(
                    f"tensorrt: {name} cannot be imported ({error}); install it anew"
                ) from error
    raise BackendMissing("tensorrt: it is not installed; pip install 'padflow[gpu]'")


def _fault(device: str) -> str:
    """Why the library cannot use the GPU; empty where it can."""
    try:
        trt = library()
        with _current(device):
            start(trt, "Runtime", library_log(trt))
    except BackendMissing as error:
        return str(error).removeprefix("tensorrt: ")
    return ""


def _current(device: str) -> contextlib.AbstractContextManager[None]:
    """The GPU for the library's start, which takes the first one where no context is current.

    So of the first one none is opened here: it would stay where the library cannot start.
    """
    return _gpu(device).current() if _number(device) else contextlib.nullcontext()


def _driver() -> Any:
    cuda = import_module("pycuda.driver")
    cuda.init()
    return cuda


def _number(device: str) -> int:
    count: int = _driver().Device.count()
    if not device and count:
        return int(os.environ.get(WORKER, "0")) % count
    number = device.removeprefix("cuda:")
    if not number.isdigit() or int(number) >= count:
        raise BackendMissing(
            f"tensorrt: expected a device from cuda:0 to cuda:{count - 1}, found {device!r}"
        )
    return int(number)


def _gpu(device: str) -> _Gpu:
    number = _number(device)
    try:
        return _retained(number)
    except _driver().Error as error:
        raise BackendMissing(
            f"tensorrt: the GPU cuda:{number} cannot be used ({error}); see nvidia-smi for who "
            "holds it or its memory"
        ) from error


@cache
def _retained(number: int) -> _Gpu:
    """A GPU whose primary context is held for as long as the process lives.

    TensorRT holds it as long too, so letting go would free nothing, and pycuda cannot: its
    ``detach`` leaves the context current in the thread that made it, and does nothing in others.
    """
    gpu = _driver().Device(number)
    major, minor = gpu.compute_capability()
    return _Gpu(gpu.name(), f"{major}.{minor}", gpu.retain_primary_context())


def _plan(
    network: Network, precision: Precision, gpu: _Gpu, max_batch: int, least_batch: int
) -> Path:
    """The plan from the cache if it takes ``least_batch``, or else a new one."""
    trt = library()
    key = PlanKey(
        library=trt.__name__,
        library_version=trt.__version__,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=precision,
        onnx_sha256=network.sha256,
        max_batch=max_batch,
    )

    def build() -> bytes:
        with gpu.current():
            return build_plan_bytes(trt, network, precision, max_batch)

    return cached_plan(network.name, key, build, least_batch=least_batch)
