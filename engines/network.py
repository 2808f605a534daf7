"""What a backend is told about a network, and what an engine says of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

if TYPE_CHECKING:
    from .bundle import Manifest

Precision = Literal["auto", "f32", "f16", "bf16", "int8"]
"""``auto`` leaves the choice to the network's file and the backend (bf16 on CPUs with AMX)."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a network."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    dtype: str
    """NumPy's name of the element type, such as ``uint8`` or ``float32``."""
    shape: tuple[int, ...]
    """Length of each axis; -1 where any length will do (the batch, for one)."""
    layout: str = ""
    """One letter an axis, such as ``NHWC``; N is the batch. Empty: N is the first axis."""
    unit: str = ""
    """Unit of the numbers: ``px``, ``nats``, ``logit``, or empty for plain numbers."""
    meaning: str = ""

    @property
    def batch_axis(self) -> int | None:
        """Which axis counts the samples, or ``None`` where the length of that axis is fixed."""
        axis = self.layout.find("N") if self.layout else 0
        return axis if 0 <= axis < len(self.shape) and self.shape[axis] == -1 else None

    def __str__(self) -> str:
        lengths = ", ".join("any" if length < 0 else str(length) for length in self.shape)
        return f"{self.name}: {self.dtype} ({lengths})"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What stands between a uint8 NHWC RGB picture and a network that was made for other input.

    The network sees ``(picture - mean) / scale`` as float32. Our own networks need none of this:
    theirs is inside the ONNX file.
    """

    mean: float = 0.0
    scale: float = 1.0
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order of the colours that the network was trained with."""
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    """Order of the axes that the network takes."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network file and what is known of it. Picklable: workers load from it."""

    name: str
    path: Path
    sha256: str
    """SHA-256 of the file, in lower-case hex."""
    inputs: tuple[TensorSpec, ...] = ()
    """As declared by the manifest or the registry; empty where nothing is declared."""
    outputs: tuple[TensorSpec, ...] = ()
    native: Mapping[str, str] = field(default_factory=dict)
    """The file's own name of a tensor, by ours, where they differ."""
    preprocessing: Preprocessing | None = None
    """What the backend does to the one input, named ``image``, before the network sees it."""
    precision: Precision = "auto"
    """Precision in which the network must run for the results to be those that were measured."""
    manifest: "Manifest | None" = None
    """What the network's bundle says of it (crop rule, calibration, metrics), if it has one."""

    @property
    def format(self) -> str:
        """``onnx``, ``tflite``, …: the file's suffix."""
        return self.path.suffix.removeprefix(".").lower()

    def native_name(self, name: str) -> str:
        """What the file calls the tensor that we call ``name``."""
        return self.native.get(name, name)


@dataclass(frozen=True, slots=True)
class Options:
    """How the user wants an engine to run."""

    threads: int = 1
    """CPU threads for one inference."""
    precision: Precision = "auto"
    device: str = ""
    """A device by the backend's own name (``CPU``, ``GPU.1``, ``cuda:0``); empty: its default."""
    without: frozenset[str] = frozenset()
    """Outputs that nobody takes: they are not given, and cost nothing where the backend can leave
    them out. Names that the network does not have are no error."""

    def __post_init__(self) -> None:
        """Refuse what no backend can do."""
        if self.threads < 1:
            raise ValueError(f"threads: expected 1 or more, found {self.threads}")
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision: expected one of {', '.join(get_args(Precision))}, "
                f"found {self.precision!r}"
            )
