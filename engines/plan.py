"""TensorRT plans: how one is built from ONNX, and the cache that keeps it. Needs no GPU.

A plan runs only on the GPU, with the library release and for the network that it was built for.
Beside each lies a header (JSON) that says which; a plan whose header is stale, foreign or missing
is built anew, and the log says why.
"""

import json
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from .errors import BackendMissing, NetworkError
from .locks import folder_lock
from .network import Network, Precision, TensorSpec
from .store import file_sha256
from .whole_file import write_whole

log = logging.getLogger(__name__)

HEADER_VERSION = 1
DEFAULT_MAX_BATCH = 32
_USUAL_BATCH = 8
_COMPLAINTS = 16


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything that a plan depends on."""

    library: str
    """``tensorrt`` or ``tensorrt_rtx``."""
    library_version: str
    gpu: str
    """The GPU's name, such as ``NVIDIA L4``."""
    compute_capability: str
    """Such as ``8.9``."""
    precision: Precision
    onnx_sha256: str
    max_batch: int = DEFAULT_MAX_BATCH
    """Largest batch that it takes. A plan for larger ones than are wanted serves as well."""


def plan_folder() -> Path:
    """Where plans are kept: ``padflow/plans`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "padflow" / "plans"


def plan_path(folder: Path, name: str, key: PlanKey) -> Path:
    """Where the plan of a network lies: one file per network, precision, library and GPU.

    The library's version is not part of the name, so that an upgrade replaces the old plan.
    """
    gpu = re.sub(r"[^A-Za-z0-9]+", "-", key.gpu).strip("-").lower()
    stem = f"{name}-{key.onnx_sha256[:8]}-{key.precision}-{key.library}-{gpu}"
    return folder / f"{stem}-sm{key.compute_capability.replace('.', '')}.plan"


def cached_plan(
    name: str,
    key: PlanKey,
    build: Callable[[], bytes],
    *,
    least_batch: int | None = None,
    folder: Path | None = None,
) -> Path:
    """The plan for ``key``, built and stored if there is none that fits.

    One process builds, the others that want a plan wait for it.

    Args:
        name: of the network.
        key: what the plan must have been built for, and is if it is built now.
        build: gives the plan's bytes; may take minutes.
        least_batch: a plan that takes batches of this size will do (default: ``key.max_batch``).
        folder: the cache (default: :func:`plan_folder`).
    """
    folder = folder or plan_folder()
    path = plan_path(folder, name, key)
    wanted = replace(key, max_batch=least_batch or key.max_batch)
    if not why_unusable(path, wanted):
        return path
    with folder_lock(folder, "building a plan"):
        reason = why_unusable(path, wanted)  # Another process may have built it meanwhile.
        if reason:
            log.warning("engine %s: building a plan for %s: %s", name, key.gpu, reason)
            _store(path, key, build())
    return path


def why_unusable(path: Path, key: PlanKey) -> str:
    """Why the plan at ``path`` does not serve ``key``; empty where it does."""
    if not path.is_file():
        return "there is none yet"
    try:
        header = json.loads(_header_path(path).read_bytes())
        if header["header_version"] != HEADER_VERSION:
            return "its header is of another version of padflow"
        built_for = PlanKey(**header["key"])
        if built_for.max_batch < key.max_batch:
            return f"it serves batches to {built_for.max_batch}, {key.max_batch} is wanted"
        if replace(built_for, max_batch=key.max_batch) != key:
            return f"it was built for {_difference(built_for, key)}"
        if file_sha256(path) != header["plan_sha256"]:
            return "its bytes are not those that its header tells of"
    except FileNotFoundError:
        return "it has no header"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"its header cannot be read ({type(error).__name__})"
    return ""


def _header_path(plan: Path) -> Path:
    return plan.with_suffix(".json")


def _difference(built_for: PlanKey, key: PlanKey) -> str:
    then, now = asdict(built_for), asdict(key)
    differing = [name for name in now if name != "max_batch" and then[name] != now[name]]
    return ", ".join(f"{n.replace('_', ' ')} {then[n]} (here: {now[n]})" for n in differing)


def _store(path: Path, key: PlanKey, plan: bytes) -> None:
    """The header goes first: a kill between the two leaves a plan that its header disowns."""
    header = {
        "header_version": HEADER_VERSION,
        "key": asdict(key),
        "plan_sha256": sha256(plan).hexdigest(),
        "plan_bytes": len(plan),
    }
    write_whole(_header_path(path), json.dumps(header, indent=2) + "\n")
    write_whole(path, plan)


def build_plan_bytes(
    trt: Any, network: Network, precision: Precision, max_batch: int = DEFAULT_MAX_BATCH
) -> bytes:
    """Parse an ONNX file and build the plan for this machine's GPU.

    ``tensorrt_rtx`` builds without a GPU too (its plan is finished on the GPU that loads it).

    Args:
        trt: the module ``tensorrt`` (10 or 11) or ``tensorrt_rtx``.
        network: what to build; axes of any length other than the batch are refused.
        precision: see :func:`weak_flag`.
        max_batch: largest batch that the plan must take.

    Raises:
        BackendMissing: as of :func:`start`.
        NetworkError: the library cannot parse or build it, with what the library said.
    """
    logger = library_log(trt)
    builder = start(trt, "Builder", logger)
    flag = weak_flag(trt, network, precision)
    definition = builder.create_network(0 if flag is not None else _strongly_typed(trt))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network.path.read_bytes()):
        faults = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise _failure(trt, network, "parse", "; ".join(faults))
    config = builder.create_builder_config()
    if flag is not None:
        config.set_flag(flag)
    if precision == "f32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # For CUDA graphs.
    profile = builder.create_optimization_profile()
    inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
    for tensor in inputs:
        shapes = profile_shapes(network, tensor.name, tuple(tensor.shape), max_batch)
        if shapes is not None:
            profile.set_shape(tensor.name, *shapes)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(definition, config)
    if plan is None:
        raise _failure(trt, network, "build", said(logger))
    return bytes(plan)


def weak_flag(trt: Any, network: Network, precision: Precision) -> Any:
    """The builder flag that gives the file another precision than it is written in, or ``None``.

    Only TensorRT 10 has such flags. TensorRT 11 and TensorRT-RTX run a file in the precision it is
    written in, so there the bundle must hold a file of the precision wanted. int8 always comes
    from the file (its Q and DQ nodes).

    Raises:
        NetworkError: the library has no such flag and the file is of another precision.
    """
    if precision not in ("f16", "bf16") or network.precision == precision:
        return None
    flag = getattr(trt.BuilderFlag, {"f16": "FP16", "bf16": "BF16"}[precision], None)
    if flag is None:
        raise NetworkError(
            f"engine {network.name}: {trt.__name__} {trt.__version__} runs a file in the precision "
            f"it is written in, and {network.path.name} is not written in {precision}; use "
            f"precision auto, or a bundle with an {precision} file"
        )
    return flag


def profile_shapes(
    network: Network, name: str, shape: Sequence[int], max_batch: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Smallest, usual and largest shape of an input, or ``None`` where its shape is fixed.

    Raises:
        NetworkError: an axis other than the batch may have any length.
    """
    if -1 not in shape:
        return None
    declared = next((spec for spec in network.inputs if spec.name == name), None)
    spec = replace(declared or TensorSpec(name, "float32", ()), shape=tuple(shape))
    free = [axis for axis, length in enumerate(shape) if length == -1]
    if free != [spec.batch_axis]:
        raise NetworkError(
            f"engine {network.name}: expected only the batch of input {name} to be of any length, "
            f"found {spec}; export the network with fixed sizes"
        )

    def at(batch: int) -> tuple[int, ...]:
        return tuple(batch if length == -1 else length for length in shape)

    return at(1), at(min(_USUAL_BATCH, max_batch)), at(max_batch)


def _strongly_typed(trt: Any) -> int:
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def start(trt: Any, kind: Literal["Builder", "Runtime"], logger: Any) -> Any:
    """The library's way in.

    Args:
        trt: the module.
        kind: which.
        logger: of :func:`library_log`.

    Raises:
        BackendMissing: there is none, as where the driver is too old; with what the library said.
    """
    try:
        return getattr(trt, kind)(logger)
    except TypeError as error:  # pybind11's, where the library gives nothing
        raise BackendMissing(
            f"tensorrt: {trt.__name__} {trt.__version__} cannot use this GPU: "
            f"{said(logger) or error}; see whether the NVIDIA driver is new enough for it and "
            "nobody else holds the GPU (nvidia-smi), or use another backend"
        ) from error


def said(logger: Any) -> str:
    """What the library complained of last, in one line; empty where of nothing."""
    return "; ".join(logger.complaints)


def library_log(trt: Any) -> Any:
    """The library's log as ours; it keeps the last complaints for the error text."""

    class Logger(trt.ILogger):  # type: ignore[misc] # a base class known only at run time
        def __init__(self) -> None:
            super().__init__()
            self.complaints: deque[str] = deque(maxlen=_COMPLAINTS)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.complaints.append(message)
                log.error("%s: %s", trt.__name__, message)
            else:
                log.debug("%s: %s", trt.__name__, message)

    return Logger()


def _failure(trt: Any, network: Network, step: str, why: str) -> NetworkError:
    return NetworkError(
        f"engine {network.name}: {trt.__name__} {trt.__version__} cannot {step} "
        f"{network.path.name}: {why or 'no reason given'}"
    )
