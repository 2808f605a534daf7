"""Read the tensors of a PyTorch weights file without PyTorch, and without running what is in it.

Only the older form is read (before PyTorch 1.6: pickles, then the numbers), and only what a file
of weights holds: dictionaries of float32 and int64 tensors. Anything else in the pickle is refused.
"""

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_torch_file(content: bytes) -> dict[str, np.ndarray]:
    """The tensors by name.

    Raises:
        ValueError: it is no such file, holds something else than tensors, or is cut short.
    """
    stream = io.BytesIO(content)
    try:
        if (_Plain(stream).load(), _Plain(stream).load()) != (_MAGIC, _PROTOCOL):
            raise ValueError("no PyTorch weights of the older form")
        _Plain(stream).load()  # Sizes of C types on the machine that wrote it.
        names = _Tensors(stream)
        state = names.load()
        keys = _Plain(stream).load()
        for key in keys:
            names.storages[key][:] = _numbers(stream, names.storages[key])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"no whole file of PyTorch weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, np.ndarray) for v in state.values()):
        raise ValueError("expected a dictionary of tensors")
    return dict(state)


class _Plain(pickle.Unpickler):
    """Numbers, texts, lists and dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        """Nothing that is code."""
        raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")


class _Tensors(_Plain):
    """The pickle that names the tensors; their numbers follow it in the file."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The four names that a file of weights needs, as our own."""
        known: dict[tuple[str, str], Callable[..., Any] | str] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): "<f4",
            ("torch", "LongStorage"): "<i8",
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} has no place among weights")
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """An array that waits for its numbers."""
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError("a storage of another kind")
        return self.storages.setdefault(key, np.zeros(size, dtype))


def _tensor(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    steps = [step * storage.itemsize for step in strides]
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *strides), default=0) < 0 or (0 not in shape and last >= storage.size):
        raise pickle.UnpicklingError("a tensor that reaches out of its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)


def _numbers(stream: io.BytesIO, storage: np.ndarray) -> np.ndarray:
    (count,) = struct.unpack("<q", stream.read(8))
    data = stream.read(storage.nbytes)
    if count != storage.size or len(data) != storage.nbytes:
        raise ValueError(f"expected {storage.size} numbers, found {count} or fewer")
    return np.frombuffer(data, storage.dtype)
