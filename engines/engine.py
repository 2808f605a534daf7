"""The Engine contract, and how an engine is found by name."""

import difflib
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from .errors import (
    BackendMissing,
    BundleError,
    EngineError,
    InferenceError,
    InputMismatch,
    ModelMissing,
    NetworkError,
)
from .network import Network, Options, Precision, TensorSpec

if TYPE_CHECKING:
    from .bundle import Manifest

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Specs = tuple[TensorSpec, ...]

ENTRY_POINTS = "padflow.engines"
AUTO_ORDER = ("tensorrt", "openvino", "onnxruntime")
"""Which backend ``auto`` tries first; third-party backends come after these."""


class Engine(ABC):
    """A network that is ready to run.

    Use :func:`load_engine` to get one. ``infer`` may be called from any thread; calls wait for
    each other, so that a program that wants to infer in parallel loads one engine per thread
    (backends share what can be shared). Close it, or use it as a context manager.

    A backend subclasses this, names its ``backend`` and ``formats``, writes :meth:`_open`,
    :meth:`_infer` and :meth:`_close`, and registers the class as an entry point of the group
    ``padflow.engines``. This class checks inputs, owns the lifecycle, and feeds one sample at a
    time to networks whose file fixes the batch to one.
    """

    backend: ClassVar[str]
    """The name under which the backend is registered."""
    formats: ClassVar[frozenset[str]]
    """File suffixes it reads, without the dot."""

    inputs: Specs
    """What :meth:`infer` takes."""
    outputs: Specs
    """What :meth:`infer` gives."""

    @classmethod
    def lack(cls, device: str = "") -> str:
        """What this machine lacks to run the backend, and what to do; empty where nothing.

        Args:
            device: that is meant, by the backend's own name; empty: its default.
        """
        return ""

    @classmethod
    def refuses(cls, network: Network) -> str:
        """Why the backend does not run such a network; empty where it does."""
        if network.format in cls.formats:
            return ""
        return f"reads {', '.join(f'.{suffix}' for suffix in sorted(cls.formats))}"

    def __init__(self, network: Network, options: Options | None = None) -> None:
        """Open the network.

        Raises:
            NetworkError: the backend cannot read or compile the file.
            BundleError: the file's tensors are not those that are declared.
            BackendMissing: something that the backend needs is absent.
        """
        self.network = network
        self.options = options or Options()
        self._lock = threading.Lock()
        self._closed = False
        try:
            native_inputs, native_outputs = self._open()
        except EngineError:
            self._close()
            raise
        except Exception as error:
            self._close()
            raise NetworkError(
                f"engine {network.name}: {self.backend} cannot load {network.path.name}: "
                f"{_one_line(error)}"
            ) from error
        try:
            self.inputs = _agreed(network, "input", native_inputs)
            self.outputs = _agreed(network, "output", native_outputs, self.options.without)
        except BundleError:
            self._close()
            raise
        natives = (*native_inputs, *native_outputs)
        self._sample_by_sample = all(spec.shape[:1] == (1,) for spec in natives)
        if self._sample_by_sample and not network.inputs:
            self.inputs = tuple(_any_batch(spec) for spec in self.inputs)
            self.outputs = tuple(_any_batch(spec) for spec in self.outputs)
        self._checks = [(spec.name, np.dtype(spec.dtype), spec) for spec in self.inputs]

    @property
    def name(self) -> str:
        """The name by which the network is known."""
        return self.network.name

    @property
    def sha256(self) -> str:
        """SHA-256 of the network's file, in lower-case hex."""
        return self.network.sha256

    @property
    def manifest(self) -> "Manifest | None":
        """What the network's bundle says of it (crop rule, calibration), if it has one."""
        return self.network.manifest

    @property
    def precision(self) -> Precision:
        """What the user asked for, or else what the network must run in; ``auto`` leaves it."""
        wanted = self.options.precision
        return self.network.precision if wanted == "auto" else wanted

    def warm_up(self) -> bool:
        """Infer once on zeros, so that the first face does not wait for what a first call makes.

        Returns:
            False where an input's shape is not known beside its batch: nothing was run then.

        Raises:
            InferenceError: as :meth:`infer`.
        """
        if any(side < 1 for spec in self.inputs for side in spec.shape[1:]):
            return False
        self.infer({spec.name: np.zeros((1, *spec.shape[1:]), spec.dtype) for spec in self.inputs})
        return True

    def infer(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network on a batch of any length.

        Args:
            arrays: one array for each of ``inputs``, of its name, dtype and shape. They are not
                changed and not kept.

        Returns:
            One array for each of ``outputs``; they belong to the caller.

        Raises:
            InputMismatch: a name, dtype or shape is not what the network takes.
            InferenceError: the engine is closed, or the backend failed.
        """
        with self._lock:
            if self._closed:
                raise InferenceError(f"engine {self.name} is closed; load it again to use it")
            batch = self._check(arrays)
            try:
                if batch > 1 and self._sample_by_sample:
                    return self._infer_each(arrays, batch)
                return self._infer_taken(arrays)
            except EngineError:
                raise
            except Exception as error:
                raise InferenceError(
                    f"engine {self.name}: {self.backend} failed on "
                    f"{_described(arrays)}: {_one_line(error)}"
                ) from error

    def close(self) -> None:
        """Give everything back; does nothing the second time."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on {self.backend}>"

    @abstractmethod
    def _open(self) -> tuple[Specs, Specs]:
        """Load the network; the inputs and outputs that the file itself has, by our names.

        Outputs of ``options.without`` may be left out here and by :meth:`_infer`.
        """

    @abstractmethod
    def _infer(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run on checked inputs. They may be read-only, not contiguous, or views.

        The arrays given back must not be written to by a later call.
        """

    @abstractmethod
    def _close(self) -> None:
        """Give back what ``_open`` took, also where it failed half way."""

    def _infer_taken(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        found = self._infer(arrays)
        for name in self.options.without & found.keys():
            del found[name]
        return found

    def _infer_each(self, arrays: Mapping[str, Array], batch: int) -> dict[str, Array]:
        samples = [
            self._infer_taken({name: array[i : i + 1] for name, array in arrays.items()})
            for i in range(batch)
        ]
        return {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}

    def _check(self, arrays: Mapping[str, Array]) -> int:
        """The batch's length, or 1 where no axis counts samples."""
        if len(arrays) != len(self._checks):
            raise self._wrong_names(arrays)
        batch = 0
        for name, dtype, spec in self._checks:
            array = arrays.get(name)
            if array is None:
                raise self._wrong_names(arrays)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise self._mismatch(spec, array)
            shape = array.shape
            if len(shape) != len(spec.shape):
                raise self._mismatch(spec, array)
            for length, wanted in zip(shape, spec.shape, strict=True):
                if length != wanted and (wanted != -1 or length == 0):
                    raise self._mismatch(spec, array)
            axis = spec.batch_axis
            if axis is not None:
                if batch and shape[axis] != batch:
                    raise self._mismatch(spec, array, f"; the batch of another input is {batch}")
                batch = shape[axis]
        return batch or 1

    def _wrong_names(self, arrays: Mapping[str, Array]) -> InputMismatch:
        return InputMismatch(
            f"engine {self.name}: expected the inputs {_names(s.name for s in self.inputs)}, "
            f"found {_names(arrays)}"
        )

    def _mismatch(self, spec: TensorSpec, found: object, hint: str = "") -> InputMismatch:
        return InputMismatch(
            f"engine {self.name}: expected {spec}, found {_described({spec.name: found})}{hint}"
        )


def load_engine(
    name_or_path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    threads: int = 1,
    precision: Precision = "auto",
    device: str = "",
    without: Iterable[str] = (),
) -> Engine:
    """Load a network by name or path.

    A name is looked for among the bundles that padflow ships, then in the user's model folder
    (bundles and third-party models). A path is a bundle's folder or a network file.

    Args:
        name_or_path: such as ``face_mesh``, ``./my-bundle`` or ``net.onnx``.
        backend: ``auto``, or the name of a registered backend. ``auto`` takes the best that this
            machine can run; the engine's ``backend`` says which, and so does the log.
        threads: CPU threads for one inference.
        precision: ``auto``, ``f32``, ``f16``, ``bf16`` or ``int8``.
        device: a device by the backend's own name; empty for its default.
        without: outputs that nobody takes, which then cost nothing where the backend can leave
            them out; see :class:`Options`.

    Raises:
        ModelMissing: nothing of that name is on this machine (says what fetches it).
        ModelDamaged: a third-party model's file is not what was stored.
        BundleError: a bundle is not what its manifest says.
        BackendMissing: no backend on this machine can run it (says what each one lacks).
        NetworkError: the backend cannot read the network.
        ValueError: ``threads`` or ``precision`` is nothing that exists.
    """
    options = Options(threads, precision, device, frozenset(without))
    return open_network(find_network(name_or_path, precision), backend, options)


def open_network(network: Network, backend: str = "auto", options: Options | None = None) -> Engine:
    """Open a network that has been found already; arguments as in :func:`load_engine`."""
    chosen = choose_backend(network, backend, options.device if options else "")
    engine = chosen(network, options)
    log.info("engine %s runs on %s", network.name, engine.backend)
    return engine


def find_network(name_or_path: str | os.PathLike[str], precision: Precision = "auto") -> Network:
    """The network of that name or path, verified; see :func:`load_engine`."""
    from .bundle import bundle_folders, bundle_network
    from .registry import MODELS
    from .store import file_sha256, model_folder, stored_network

    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    bundles = {} if os.sep in text else bundle_folders()
    if text in bundles:
        return bundle_network(bundles[text], precision)
    if text in MODELS:
        return stored_network(text)
    if path.is_dir():
        return bundle_network(path, precision)
    if path.is_file():
        return Network(path.stem, path, file_sha256(path))
    known = [*bundles, *MODELS]
    near = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known names are {_names(known)}"
    raise ModelMissing(
        f"no engine called {text!r}: it is no bundle of padflow's or of {model_folder()}, no "
        f"third-party model, and no file; {hint}"
    )


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """A registered backend and whether this machine can use it."""

    name: str
    formats: tuple[str, ...]
    lack: str
    """What is missing and what to do about it; empty where the backend is usable."""


def backend_statuses() -> list[BackendStatus]:
    """Every registered backend in the order in which ``auto`` tries them. Imports them all."""
    statuses = []
    for name in _backend_names():
        try:
            chosen = _backend_class(name)
        except BackendMissing as error:
            statuses.append(BackendStatus(name, (), str(error)))
        else:
            statuses.append(BackendStatus(name, tuple(sorted(chosen.formats)), chosen.lack()))
    return statuses


def choose_backend(network: Network, backend: str = "auto", device: str = "") -> type[Engine]:
    """The class of the named backend, or of the best usable one that runs the network there.

    Raises:
        BackendMissing: it is unknown, cannot run here, or none runs such a network.
    """
    reasons = []
    for name in _backend_names() if backend == "auto" else (backend,):
        try:
            chosen = _backend_class(name)
        except BackendMissing as error:
            reasons.append(str(error))
            continue
        reason = chosen.refuses(network) or chosen.lack(device)
        if not reason:
            return chosen
        reasons.append(f"{name}: {reason}")
    chosen_by = "no backend can" if backend == "auto" else f"backend {backend} cannot"
    can = f"{chosen_by} run {network.path.name} on this machine"
    raise BackendMissing(f"engine {network.name}: {can}: {'; '.join(reasons)}")


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _backend_names() -> Sequence[str]:
    registered = _entry_points()
    others = sorted(set(registered) - set(AUTO_ORDER))
    return [*(name for name in AUTO_ORDER if name in registered), *others]


def _backend_class(name: str) -> type[Engine]:
    entry = _entry_points().get(name)
    if entry is None:
        raise BackendMissing(
            f"no backend is called {name!r}; there are {', '.join(_backend_names())}"
        )
    try:
        chosen = entry.load()
    except ImportError as error:
        package = entry.dist.name if entry.dist else "its package"
        raise BackendMissing(
            f"{name} cannot be imported ({_one_line(error)}); install {package} anew"
        ) from error
    if not (isinstance(chosen, type) and issubclass(chosen, Engine)):
        raise BackendMissing(f"{name}: {entry.value} is no subclass of padflow's Engine")
    return chosen


def _agreed(
    network: Network, role: str, natives: Specs, without: frozenset[str] = frozenset()
) -> Specs:
    """The declared tensors, with the lengths that the file fixes; the file's where none are."""
    natives = tuple(spec for spec in natives if spec.name not in without)
    declared = network.inputs if role == "input" else network.outputs
    declared = tuple(spec for spec in declared if spec.name not in without)
    if not declared:
        return natives
    by_name = {spec.name: spec for spec in natives}
    if set(by_name) != {spec.name for spec in declared}:
        raise BundleError(
            f"engine {network.name}: {role}s declared as {_names(s.name for s in declared)}, but "
            f"{network.path.name} has {_names(by_name)}; export the network anew"
        )
    return tuple(_with_fixed_lengths(network, role, spec, by_name[spec.name]) for spec in declared)


def _with_fixed_lengths(
    network: Network, role: str, spec: TensorSpec, native: TensorSpec
) -> TensorSpec:
    lengths = []
    fits = len(spec.shape) == len(native.shape) and spec.dtype == native.dtype
    if fits:
        for axis, (said, real) in enumerate(zip(spec.shape, native.shape, strict=True)):
            is_batch = axis == spec.batch_axis
            fits = fits and (said == real or -1 in (said, real))
            lengths.append(said if is_batch or real == -1 else real)
    if not fits:
        raise BundleError(
            f"engine {network.name}: {role} declared as {spec}, but {network.path.name} has "
            f"{native}; export the network anew"
        )
    return replace(spec, shape=tuple(lengths))


def _any_batch(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=(-1, *spec.shape[1:]))


def _described(arrays: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name}: {array.dtype} {array.shape}"
        if isinstance(array, np.ndarray)
        else f"{name}: {type(array).__name__}"
        for name, array in arrays.items()
    )


def _names(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
