"""Stand-ins for pycuda and TensorRT, for what no machine without a GPU can show.

They keep to what pycuda's sources, TensorRT's bindings and CUDA's documentation say of contexts,
memory, streams and capture. ONNX Runtime computes, so plans are ONNX files; times and numbers say
nothing of a GPU.
"""

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from padflow.engines import tensorrt
from padflow.engines.network import Network

LARGEST = 32
_KINDS = {"tensor(float)": ("FLOAT", np.float32), "tensor(uint8)": ("UINT8", np.uint8)}
Array = np.ndarray[Any, Any]


class CudaError(Exception):
    """``pycuda.driver.Error``."""


class OutOfMemory(CudaError):
    """``pycuda.driver.MemoryError``."""


class FakeGpu:
    """The machine: what is current, allocated, open and recorded."""

    def __init__(self) -> None:
        self.stacks: dict[int, list[int]] = {}
        """The driver's stack of contexts of every thread."""
        self.retained = 0
        self.devices = 1
        self.contexts_of: list[int] = []
        """Numbers of the devices whose context is open, by pycuda or by CUDA's runtime."""
        self.memory: dict[int, Array] = {}
        """What is allocated, by its address."""
        self.allocations_left = 1000
        self.streams: dict[int, int] = {}
        """Flags of every stream, by its handle."""
        self.recorded: dict[int, list[Callable[[], None]]] = {}
        """What was recorded, by the handle of the stream that captures."""
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        """Graphs, and what was instantiated of them, that were not destroyed."""
        self.capture_fault: Exception | None = None
        self.contexts_left = 1000
        self.busy: set[int] = set()
        """Numbers of the devices that another process holds for itself."""
        self.starts = True
        """Whether the driver is new enough for TensorRT."""
        self.handles = 0

    @property
    def current(self) -> list[int]:
        """This thread's stack."""
        return self.stacks.setdefault(threading.get_ident(), [])

    def start_runtime(self) -> None:
        """CUDA's runtime takes the thread's context; without one it opens the first device."""
        if not self.current:
            self.retain(0)

    def retain(self, device: int) -> None:
        if device in self.busy:
            raise CudaError("cuDevicePrimaryCtxRetain failed: devices are busy or unavailable")
        if device not in self.contexts_of:
            self.contexts_of.append(device)

    def must_be_current(self) -> None:
        if not self.current:
            raise CudaError("no currently active context?")

    def handle(self) -> int:
        self.handles += 1
        return self.handles

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        self.must_be_current()
        if stream not in self.recorded:
            work()
            return
        if self.capture_fault is not None:
            raise self.capture_fault
        self.recorded[stream].append(work)


def install(monkeypatch: pytest.MonkeyPatch, plans: Path) -> FakeGpu:
    """Let padflow find the stand-ins, and keep plans in ``plans``."""
    gpu = FakeGpu()
    driver = _driver(gpu)
    modules = {"pycuda": ModuleType("pycuda"), "pycuda.driver": driver, "tensorrt": _trt(gpu)}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(plans))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _libcuda(gpu))
    monkeypatch.setattr(tensorrt, "build_plan_bytes", _build)
    monkeypatch.setattr(tensorrt, "_retained", cache(tensorrt._retained.__wrapped__))
    return gpu


def _build(trt: Any, network: Network, precision: str, max_batch: int) -> bytes:
    return network.path.read_bytes()


class _Context:
    """As in pycuda's ``cuda.hpp``: pushes and pops keep to two stacks, ``detach`` does not."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu, self.thread, self.valid = gpu, threading.get_ident(), True
        gpu.retained += 1

    def push(self) -> None:
        self.gpu.current.append(1)

    def pop(self) -> None:
        self.gpu.current.pop()

    def detach(self) -> None:
        if self.thread == threading.get_ident():
            self.gpu.current.append(1)  # cuDevicePrimaryCtxRelease pops nothing.
            self.gpu.retained -= 1
        self.valid = False


class _Allocation:
    def __init__(self, gpu: FakeGpu, size: int) -> None:
        gpu.must_be_current()
        if gpu.allocations_left == 0:
            raise OutOfMemory("cuMemAlloc failed: out of memory")
        gpu.allocations_left -= 1
        self.gpu = gpu
        memory = np.zeros(size, np.uint8)
        self.address = memory.ctypes.data
        gpu.memory[self.address] = memory

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.gpu.must_be_current()
        del self.gpu.memory[self.address]


def _driver(gpu: FakeGpu) -> ModuleType:
    class Device:
        def __init__(self, number: int) -> None:
            self.number = number

        @staticmethod
        def count() -> int:
            return gpu.devices

        def name(self) -> str:
            return f"Fake {self.number}"

        def compute_capability(self) -> tuple[int, int]:
            return 8, 9

        def retain_primary_context(self) -> _Context:
            gpu.retain(self.number)
            return _Context(gpu)

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            gpu.must_be_current()
            self.handle = gpu.handle()
            gpu.streams[self.handle] = flags

        def synchronize(self) -> None:
            gpu.must_be_current()

    def to_device(dest: _Allocation, src: Array, stream: Stream) -> None:
        where = int(dest), src.ctypes.data, src.nbytes
        gpu.enqueue(stream.handle, lambda: ctypes.memmove(*where))  # type: ignore[arg-type]

    def to_host(dest: Array, src: _Allocation, stream: Stream) -> None:
        where = dest.ctypes.data, int(src), dest.nbytes
        gpu.enqueue(stream.handle, lambda: ctypes.memmove(*where))  # type: ignore[arg-type]

    module = ModuleType("pycuda.driver")
    vars(module).update(
        init=lambda: None,
        Device=Device,
        Stream=Stream,
        Error=CudaError,
        mem_alloc=lambda size: _Allocation(gpu, size),
        pagelocked_empty=lambda size, dtype: np.empty(size, dtype),
        memcpy_htod_async=to_device,
        memcpy_dtoh_async=to_host,
    )
    return module


def _libcuda(gpu: FakeGpu) -> Any:
    """The driver's functions for graphs, as ``ctypes`` would call them."""

    def begin(stream: Any, mode: Any) -> int:
        gpu.recorded[stream.value] = []
        return 0

    def end(stream: Any, graph: Any) -> int:
        graph._obj.value = gpu.handle()
        gpu.graphs[graph._obj.value] = gpu.recorded.pop(stream.value)
        return 0

    def instantiate(executable: Any, graph: Any, flags: Any) -> int:
        executable._obj.value = gpu.handle()
        gpu.graphs[executable._obj.value] = gpu.graphs[graph.value]
        return 0

    def launch(executable: Any, stream: Any) -> int:
        for work in gpu.graphs[executable.value]:
            work()
        return 0

    def destroy(graph: Any) -> int:
        del gpu.graphs[graph.value]
        return 0

    return SimpleNamespace(
        cuStreamBeginCapture_v2=begin,
        cuStreamEndCapture=end,
        cuGraphInstantiateWithFlags=instantiate,
        cuGraphLaunch=launch,
        cuGraphDestroy=destroy,
        cuGraphExecDestroy=destroy,
    )


class _Execution:
    """``IExecutionContext``."""

    def __init__(self, engine: "_Engine") -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory in self.engine.gpu.memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return shape[0] <= LARGEST

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self.shapes.values()))[0]
        whole = self.engine.get_tensor_shape(name)
        return tuple(batch if length == -1 else length for length in whole)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self.engine.gpu.enqueue(stream_handle, self._run)
        return True

    def _run(self) -> None:
        session = self.engine.session
        found = session.run(None, {each.name: self._at(each) for each in session.get_inputs()})
        for each, array in zip(session.get_outputs(), found, strict=True):
            self._at(each)[:] = array

    def _at(self, tensor: Any) -> Array:
        dtype = _KINDS[tensor.type][1]
        shape = self.get_tensor_shape(tensor.name)
        memory = self.engine.gpu.memory[self.addresses[tensor.name]].view(dtype)
        return memory[: int(np.prod(shape))].reshape(shape)


class _Engine:
    """``ICudaEngine``."""

    device_memory_size_v2 = 256

    def __init__(self, gpu: FakeGpu, plan: bytes) -> None:
        gpu.must_be_current()
        self.gpu = gpu
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.tensors: dict[str, Any] = {
            each.name: each for each in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return [*self.tensors][index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in {each.name for each in self.session.get_inputs()} else "out"

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_KINDS[self.tensors[name].type][0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else -1 for n in self.tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        whole = self.get_tensor_shape(name)
        return [tuple(n if m == -1 else m for m in whole) for n in (1, 8, LARGEST)]

    def create_execution_context(self, strategy: str) -> _Execution | None:
        self.gpu.contexts_left -= 1
        return _Execution(self) if self.gpu.contexts_left >= 0 else None


def _trt(gpu: FakeGpu) -> ModuleType:
    class ILogger:
        ERROR, INTERNAL_ERROR, VERBOSE = "error", "internal error", "verbose"

        def log(self, severity: str, message: str) -> None:
            pass

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger
            try:
                if not gpu.starts:
                    raise CudaError("35")
                gpu.start_runtime()
            except CudaError as error:
                logger.log("error", f"CUDA initialization failure with error: {error}")
                raise TypeError("pybind11::init(): factory function returned nullptr") from None

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> _Engine | None:
            try:
                return _Engine(gpu, serialized_engine)
            except onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf:
                self.logger.log("error", "the magic tag does not match")
                return None

    module = ModuleType("tensorrt")
    vars(module).update(
        __version__="10.9.0",
        ILogger=ILogger,
        Runtime=Runtime,
        Builder=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user"),
    )
    return module
