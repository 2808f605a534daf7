"""What the nodes that run an appearance network share: gates, batches, calibration, evidence.

The network takes ``image`` uint8 (N, H, W, 3) and gives ``score`` float32 (N,), a logit that is
positive for a living person, and ``strangeness`` float32 (N,), above 1 where the picture is unlike
everything that it was trained on. Its bundle says how a score becomes a ratio in nats.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from annotated_types import Ge, Gt, Interval, Le

from ..engines import BundleError, Engine
from ..engines.network import Precision
from ..graph.node import Batching, Contract, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .evidence import Evidence, Reason
from .own_engine import open_engine
from .payloads import FaceCrop, FacePatches, FaceViews, Quality
from .quality import LEAST_BELOW, LEAST_COLOUR, LEAST_INSIDE

Share = Annotated[float, Interval(ge=0.0, le=1.0)]
Luma = Annotated[float, Interval(ge=0.0, le=255.0)]
Degrees = Annotated[float, Gt(0), Le(180)]


@dataclass(frozen=True, slots=True)
class AppearanceConditions:
    """What a face must show to be given to the network; else there is no value, with reasons."""

    min_face: Annotated[float, Ge(0)] = 48.0
    """Least face width in pixels of the frame."""
    min_sharpness: Share = 0.02
    """Least sharpness, 0 blurred to 1 sharp."""
    min_exposure: Luma = 30.0
    """Least mean luma of the skin."""
    max_exposure: Luma = 230.0
    """Greatest mean luma of the skin."""
    max_clipped: Share = 0.4
    """Greatest share of skin pixels at the ends of the range."""
    min_colour: Annotated[float, Ge(0)] = LEAST_COLOUR
    """Least reach of the picture's colours in levels of chroma: the networks have learned from
    colour, and take living faces without it for attacks."""
    min_inside: Share = LEAST_INSIDE
    """Least share of the face's box within the picture."""
    min_below: Annotated[float, Interval(ge=-10.0, le=10.0)] = LEAST_BELOW
    """Least heights of the face's box that the picture shows below it: what holds an attack is
    there, and networks that do not see it take attacks for living faces."""
    max_yaw: Degrees = 40.0
    """Greatest turn of the head to either side, in degrees."""
    max_pitch: Degrees = 32.0
    """Greatest turn of the head up or down, in degrees."""
    max_occlusion: Share = 0.5
    """Greatest share of the face that may be covered."""

    def failures(self, quality: Quality) -> tuple[str, ...]:
        """Reason codes of every condition that is not met (NaN meets none)."""
        q = quality
        turned = not (abs(q.yaw) <= self.max_yaw and abs(q.pitch) <= self.max_pitch)
        dazzled = not (q.exposure <= self.max_exposure and q.clipped <= self.max_clipped)
        checks = {
            Reason.FACE_TOO_SMALL: not q.size >= self.min_face,
            Reason.BLURRED: not q.sharpness >= self.min_sharpness,
            Reason.TOO_DARK: not q.exposure >= self.min_exposure,
            Reason.TOO_BRIGHT: dazzled,
            Reason.NO_COLOUR: not q.colour >= self.min_colour,
            Reason.FACE_CUT_OFF: not q.inside >= self.min_inside,
            Reason.FACE_AT_LOWER_EDGE: not q.below >= self.min_below,
            Reason.FACE_NOT_FRONTAL: turned,
            Reason.FACE_OCCLUDED: not q.occlusion <= self.max_occlusion,
        }
        return tuple(reason.value for reason, failed in checks.items() if failed)


@dataclass(frozen=True)
class AppearanceParams:
    """Settings of a node that runs an appearance network."""

    engine: str = ""
    """Name or folder of the bundle; empty: the node's own, which padflow ships. Where its own is
    not on this machine the cue says ``engine_missing``; any other must be there."""
    backend: str = "auto"
    """``auto``, or the name of a backend."""
    precision: Precision = "f32"
    """``auto``, ``f32``, ``f16``, ``bf16`` or ``int8``. f32 gives the same verdicts on every
    processor and is what was calibrated; the others are for those who have measured them."""
    threads: Annotated[int, Ge(1)] = 1
    """CPU threads of the network."""
    batch: Annotated[int, Interval(ge=1, le=256)] = 16
    """Most faces, of any track and stream, that are judged at once."""
    max_wait: Annotated[float, Interval(ge=0.0, le=1.0)] = 0.005
    """Longest time in seconds that a face waits for others."""
    conditions: AppearanceConditions = field(default_factory=AppearanceConditions)
    """What a face must show."""


class Reading(NamedTuple):
    """What the network says of one face."""

    score: float
    """Logit, the mean over the face's pictures."""
    strangeness: float | None
    """The median over the face's pictures; None: the network has no such measure."""
    outputs: Mapping[str, np.ndarray]
    """All outputs, a row for each of the face's pictures."""


A = TypeVar("A", bound=AppearanceParams)


class NetworkNode(Node[A], Generic[A]):
    """Runs a network of ours; a subclass names the cue and says what the network is given."""

    Params: ClassVar[type] = AppearanceParams

    cue: ClassVar[Literal["depth", "patch", "context", "motion", "rppg_depth"]]
    own: ClassVar[str]
    """Name of the bundle that the node runs unless told otherwise."""
    outputs_wanted: ClassVar[frozenset[str]] = frozenset({"score", "strangeness"})

    without: frozenset[str] = frozenset()
    """Outputs that nothing takes: the engine leaves them out."""
    engine: Engine | None = None
    """None before ``open`` and where the node's own network is not on this machine."""
    calibrated: "Calibrated"
    _tell_missing: Callable[[], None] | None = None
    """Tells the operator at the first face that the network is missing."""

    def open(self, context: NodeContext) -> None:
        """Load the network.

        Raises:
            EngineError: it cannot be loaded, or is no network of this kind.
        """
        self.one_by_one = context.mode == "lossless"
        engine = open_engine(self.params, self.own, self.cue, self.without)
        if isinstance(engine, str):
            self._tell_missing = partial(context.notice, engine)
            return
        try:
            self.calibrated = Calibrated.of(engine)
            self.check_tensors(engine)
        except BundleError:
            engine.close()
            raise
        self.engine = engine

    def close(self) -> None:
        """Give the network back."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def check_tensors(self, engine: Engine) -> None:
        """Refuse a network that is not of the kind, before the first face.

        Raises:
            BundleError: an input or output is missing or surplus.
        """
        check_tensors(engine, {"image"}, self.outputs_wanted)

    def tell_missing(self) -> None:
        """Tell the operator once, at the first face, that there is no network."""
        if self._tell_missing is not None:
            self._tell_missing()
            self._tell_missing = None

    def failures(self, quality: Quality) -> tuple[str, ...]:
        """Why a face is not given to the network; empty: it is."""
        if self.engine is None:
            return (Reason.ENGINE_MISSING.value,)
        return self.params.conditions.failures(quality)

    def evidence(
        self,
        window: tuple[float, float],
        reasons: tuple[str, ...],
        reading: "Reading | None",
        details: Mapping[str, float] | None = None,
    ) -> Evidence:
        """What a reading is worth, or why there is none.

        Args:
            window: first and last capture time looked at.
            reasons: why there is no reading; empty where there is one.
            reading: what the network says.
            details: further measured values.
        """
        llr: float | None = None
        told: dict[str, float] = {}
        if reading is not None:
            strange = reading.strangeness
            if not (isfinite(reading.score) and (strange is None or isfinite(strange))):
                reasons = (Reason.NOT_A_NUMBER.value,)
            else:
                told = {"score": reading.score}
                if strange is not None:
                    told["strangeness"] = strange
                if strange is not None and strange > 1.0:
                    reasons = (Reason.UNLIKE_TRAINING.value,)
                else:
                    llr = self.calibrated.ratio(reading.score)
        name, sha256 = (self.engine.name, self.engine.sha256) if self.engine else ("", "")
        return Evidence(self.cue, window, llr, reasons, name, sha256, {**told, **(details or {})})


P = TypeVar("P", FaceCrop, FacePatches, FaceViews)


class AppearanceNode(NetworkNode[AppearanceParams], Generic[P]):
    """Judges each face on its own; a subclass says what the pictures are.

    In realtime runs faces are batched across tracks and streams. In lossless runs each face is a
    call of its own: kernels may round otherwise in batches of another length, and the length
    depends on the threads' timing, which must not reach a verdict.
    """

    payload: ClassVar[type]

    @classmethod
    def contract(cls, params: AppearanceParams) -> Contract:
        """Keeps nothing; shared by all streams."""
        return Contract(
            inputs={"faces": Port(cls.payload, "pictures of faces at the cadence")},
            outputs={"evidence": Port(Evidence, f"what the {cls.cue} network says"), **cls.more()},
            scope="shared",
            batching=Batching(params.batch, params.max_wait),
        )

    @classmethod
    def more(cls) -> Mapping[str, Port]:
        """Output ports besides the evidence."""
        return {}

    def pictures(self, face: P) -> np.ndarray:
        """uint8 (n, H, W, 3): what of a face goes into the network."""
        raise NotImplementedError

    def extra(
        self, packet: Packet, reading: Reading | None, reasons: tuple[str, ...]
    ) -> Mapping[str, Packet]:
        """Packets for the other output ports.

        Args:
            packet: The face's.
            reading: What the network says, if that is finite.
            reasons: Why there is none.
        """
        return {}

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Judge every face of the batch that meets the conditions."""
        if packets:
            self.tell_missing()
        failed = [self.failures(packet.payload.quality) for packet in packets]
        fit = [packet for packet, reasons in zip(packets, failed, strict=True) if not reasons]
        readings = iter(self._read(fit))
        outputs: dict[str, list[Packet]] = {"evidence": []}
        for packet, reasons in zip(packets, failed, strict=True):
            reading = None if reasons else next(readings)
            said = self.evidence((packet.time, packet.time), reasons, reading)
            outputs["evidence"].append(packet.carry(said))
            if reading is not None and not isfinite(reading.score):
                reading, reasons = None, said.reasons
            for name, given in self.extra(packet, reading, reasons).items():
                outputs.setdefault(name, []).append(given)
        return outputs

    def check_scale(self, face: FaceCrop) -> None:
        """Refuse crops that are cut otherwise than the network was trained for.

        Raises:
            BundleError: the crop's scale is not that of the bundle's crop rule.
        """
        rule = self.engine.manifest.crop if self.engine and self.engine.manifest else None
        if rule is not None and abs(rule.scale - face.scale) > 1e-3 * rule.scale:
            raise BundleError(
                f"{self.cue}: the network was trained on crops of {rule.scale:g} times the face, "
                f"found {face.scale:g}; set align's scale to the bundle's"
            )

    @property
    def scales_wanted(self) -> tuple[float, ...] | None:
        """Of the pictures that a third-party network sees for this one; None: none does."""
        rule = self.engine.manifest.features if self.engine and self.engine.manifest else None
        return None if rule is None else rule.scales

    def check_views(self, face: FaceViews) -> None:
        """Refuse views that are cut otherwise than the network was trained for.

        Raises:
            BundleError: a view's scale is not that of the bundle's rule.
        """
        wanted = self.scales_wanted
        if wanted is None:
            return
        if len(wanted) > len(face.scales):
            raise BundleError(
                f"{self.cue}: the network was trained on {len(wanted)} views of a face "
                f"({_told(wanted)} times its box), found {len(face.scales)}; get a bundle for "
                "this release, or train it anew"
            )
        found = face.scales[: len(wanted)]
        if not np.allclose(wanted, found, rtol=1e-3):
            raise BundleError(
                f"{self.cue}: the network was trained on views of {_told(wanted)} times the "
                f"face, found {_told(found)}; set align's scale and context_scale to those"
            )

    def _read(self, packets: Sequence[Packet]) -> list[Reading]:
        pictures = [self.pictures(packet.payload) for packet in packets]
        if self.one_by_one or len(pictures) < 2:
            return [_reading(self._infer(images)) for images in pictures]
        together = self._infer(np.concatenate(pictures))
        ends = np.cumsum([len(images) for images in pictures])
        return [
            _reading({name: rows[end - len(images) : end] for name, rows in together.items()})
            for images, end in zip(pictures, ends, strict=True)
        ]

    def _infer(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        assert self.engine is not None, "without an engine every face fails its conditions"
        return self.engine.infer({"image": np.ascontiguousarray(images)})


class Calibrated(NamedTuple):
    """A logistic calibration: the ratio is linear in the score, within limits."""

    slope: float
    offset: float
    min_llr: float
    max_llr: float

    @classmethod
    def of(cls, engine: Engine) -> "Calibrated":
        """The calibration in an engine's manifest.

        Raises:
            BundleError: it has none, of another kind, or of values that make no sense.
        """
        where = f"engine {engine.name}"
        calibration = engine.manifest.calibration if engine.manifest else None
        if calibration is None or calibration.method != "logistic":
            found = "none" if calibration is None else f"{calibration.method!r}"
            raise BundleError(
                f"{where}: expected a calibration 'logistic' in its manifest, found {found}; "
                "give the folder of a calibrated bundle"
            )
        values = calibration.parameters
        if set(values) != set(cls._fields):
            raise BundleError(
                f"{where}: expected the calibration parameters {', '.join(cls._fields)}, found "
                f"{', '.join(sorted(values)) or 'none'}; calibrate it anew"
            )
        made = cls(**{name: float(values[name]) for name in cls._fields})
        if not (made.slope > 0 and made.min_llr <= 0 <= made.max_llr):
            raise BundleError(
                f"{where}: expected a calibration with slope > 0 and min_llr <= 0 <= max_llr, "
                f"found {dict(values)}; calibrate it anew"
            )
        return made

    def ratio(self, score: float) -> float:
        """Log-likelihood ratio in nats of a finite score."""
        return min(max(self.slope * score + self.offset, self.min_llr), self.max_llr)


def _reading(outputs: Mapping[str, np.ndarray]) -> Reading:
    score = float(np.mean(outputs["score"], dtype=np.float64))
    if not all(np.isfinite(rows).all() for rows in outputs.values()):
        score = float("nan")  # a network that gives one such number is believed in none
    return Reading(score, float(np.median(outputs["strangeness"])), outputs)


def _told(scales: Sequence[float]) -> str:
    *first, last = (f"{scale:g}" for scale in scales)
    return f"{', '.join(first)} and {last}" if first else last


def check_tensors(engine: Engine, takes: Collection[str], wanted: Collection[str]) -> None:
    """Refuse a network that does not take exactly some inputs or lacks an output.

    Raises:
        BundleError: an input or output is missing or surplus.
    """
    inputs, outputs = ({s.name for s in specs} for specs in (engine.inputs, engine.outputs))
    if inputs != set(takes) or not set(wanted) <= outputs:
        noun = "input" if len(takes) == 1 else "inputs"
        raise BundleError(
            f"engine {engine.name}: expected the {noun} {', '.join(sorted(takes))} and the outputs "
            f"{', '.join(sorted(wanted))}, found {', '.join(sorted(inputs))} and "
            f"{', '.join(sorted(outputs))}; give a bundle that was trained for this node"
        )
