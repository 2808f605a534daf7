"""CUDA graphs through the driver's own library: pycuda has streams but not graphs."""

import ctypes
from collections.abc import Callable

from .errors import InferenceError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on meanwhile.


class CudaGraph:
    """Work on a stream, recorded once and launched as one call afterwards.

    The context that the stream belongs to must be current in every call.
    """

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        """Record ``work``, which must only enqueue on ``stream``; it does not run.

        Args:
            stream: handle of the stream.
            work: enqueues the work.

        Raises:
            InferenceError: the driver cannot record it.
        """
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream)
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        self._executable = ctypes.c_void_p()
        try:
            try:
                work()
            finally:  # Also after an error, or the stream would stay in capture mode.
                ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            self._checked("cuStreamEndCapture", ended)
            self._call(
                "cuGraphInstantiateWithFlags",
                ctypes.byref(self._executable),
                graph,
                ctypes.c_ulonglong(0),
            )
        finally:
            if graph:
                self._driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Enqueue the recorded work on the stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Give the graph back."""
        if self._executable:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()

    def _call(self, function: str, *arguments: object) -> None:
        self._checked(function, getattr(self._driver, function)(*arguments))

    def _checked(self, function: str, status: int) -> None:
        if status != 0:
            raise InferenceError(f"CUDA driver: {function} failed with error {status}")
