"""What the nodes share that go on from the depth network's features, a step of a track at a time.

A sample of a track goes through one step of the network, which is given what it left behind at the
sample before and the seconds in between (``interval``; 0 says that there is none before). The
state by track stands in ``previous_…`` inputs and ``next_…`` outputs.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, NamedTuple, TypeVar

import numpy as np
from annotated_types import Gt, Interval

from ..engines import BundleError, Engine
from ..graph.node import Batching, Begin, Contract, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .appearance import AppearanceParams, NetworkNode, check_tensors
from .depth_net import STAGES
from .evidence import RESET_REASONS, Reason
from .payloads import DepthFeatures

BEFORE, AFTER = "previous_", "next_"
"""What the state's inputs and outputs begin with."""
BACKBONE = "backbone_edition"
"""Setting of the bundle's training: edition of the depth network whose features it goes on from."""


@dataclass(frozen=True)
class StepParams(AppearanceParams):
    """Settings of a node that takes steps."""

    max_gap: Annotated[float, Gt(0)] = 0.8
    """Longest time in seconds between two samples of a track that are compared; the network has
    seen none longer. After a longer one the track starts afresh."""
    min_interval: Annotated[float, Interval(ge=0.0, le=0.5)] = 0.06
    """Least time in seconds between two samples; one that comes earlier is passed over."""


@dataclass(slots=True)
class StepTrack:
    """What is kept of a track. Picklable."""

    reset: str = ""
    """Reason code of the reset that made the state, until there is a value."""
    time: float | None = None
    """Capture time of the newest sample; None: there is none."""
    first: float = 0.0
    """Capture time of the first sample since the last reset."""
    samples: int = 0
    """Samples since the last reset."""
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    """The network's state by name, float32."""

    def forget(self, reason: str) -> None:
        """Start afresh."""
        self.reset, self.time, self.samples, self.parts = reason, None, 0, {}


S = TypeVar("S", bound=StepParams)


class TrackSample(NamedTuple):
    """A face that is given to the network."""

    place: int
    """Index of its packet."""
    packet: Packet
    track: StepTrack


class StepNode(NetworkNode[S]):
    """Takes steps with the samples of tracks; a subclass says what comes of them.

    In realtime runs tracks are batched; in lossless runs each sample is a call of its own (see
    :class:`.AppearanceNode`).
    """

    state_names: ClassVar[tuple[str, ...]]
    """Parts of the network's state."""
    takes: ClassVar[frozenset[str]]
    """Its inputs beside these and ``interval``."""
    gives: ClassVar[frozenset[str]]
    """Its outputs beside the state."""

    @classmethod
    def contract(cls, params: S) -> Contract:
        """Keeps its state by track; shared by all streams."""
        return Contract(
            inputs={"features": Port(DepthFeatures, "what the depth network's stages see")},
            outputs=cls.ports(),
            state="track",
            max_gap=params.max_gap,
            scope="shared",
            batching=Batching(params.batch, params.max_wait),
        )

    @classmethod
    @abstractmethod
    def ports(cls) -> dict[str, Port]:
        """Output ports."""

    def open(self, context: NodeContext) -> None:
        """Load the network.

        Raises:
            EngineError: it cannot be loaded, or is no step of this kind.
        """
        self._notice = context.notice
        self._told_edition = False
        super().open(context)
        if self.engine is not None:
            shapes = {spec.name: spec.shape[1:] for spec in self.engine.inputs}
            self._shapes = {name: shapes[f"{BEFORE}{name}"] for name in self.state_names}
            manifest = self.engine.manifest
            settings = manifest.training.settings if manifest else {}
            self._edition = str(settings.get(BACKBONE, ""))

    def check_tensors(self, engine: Engine) -> None:
        """Refuse a network that is no step of this kind.

        Raises:
            BundleError: an input or output is missing or surplus, or a state's shape is open.
        """
        before = {f"{BEFORE}{name}" for name in self.state_names}
        after = {f"{AFTER}{name}" for name in self.state_names}
        check_tensors(engine, {"interval", *self.takes, *before}, self.gives | after)
        for spec in engine.inputs:
            if spec.name in before and -1 in spec.shape[1:]:
                raise BundleError(
                    f"engine {engine.name}: expected fixed lengths of the state {spec}; export "
                    "the network anew"
                )

    def new_state(self, begin: Begin) -> StepTrack:
        """Nothing seen; remembers why, so that missing evidence can say it."""
        return StepTrack(RESET_REASONS.get(begin.reason, ""))

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[StepTrack]) -> Outputs:
        """Take a step with every sample."""
        if packets:
            self.tell_missing()
        outputs: dict[str, list[Packet | None]] = {
            name: [None] * len(packets) for name in self.ports()
        }

        def tell(sample: TrackSample, given: Mapping[str, Packet]) -> None:
            for name, packet in given.items():
                outputs[name][sample.place] = packet

        for samples in self._rounds(packets, states):
            fit = []
            for sample in samples:
                reasons = self._reasons(sample.packet.payload)
                if reasons:
                    tell(sample, self.unseen(sample, reasons))
                elif not self._is_early(sample):
                    fit.append(sample)
            for sample, found in zip(fit, self._step(fit), strict=True):
                tell(sample, self.seen(sample, found))
        return {name: [p for p in column if p is not None] for name, column in outputs.items()}

    @abstractmethod
    def unseen(self, sample: TrackSample, reasons: tuple[str, ...]) -> Mapping[str, Packet]:
        """What is told, by port, of a sample that was not taken."""

    @abstractmethod
    def seen(self, sample: TrackSample, found: Mapping[str, np.ndarray]) -> Mapping[str, Packet]:
        """What is told, by port, after a step.

        Args:
            sample: its track has gone on already, or was forgotten where the step gave something
                that is no number.
            found: the network's outputs, a row each.
        """

    def given(self, features: DepthFeatures) -> dict[str, np.ndarray]:
        """What the network takes of a sample beside the interval and the state."""
        return dict(zip(STAGES, features.stages, strict=True)) | {"single": features.depth}

    def _rounds(
        self, packets: Sequence[Packet], states: Sequence[StepTrack]
    ) -> Iterator[list[TrackSample]]:
        """Samples that may be taken at once: one of each track, in their order."""
        waiting = [
            TrackSample(place, packet, track)
            for place, (packet, track) in enumerate(zip(packets, states, strict=True))
        ]
        while waiting:
            taken: dict[int, TrackSample] = {}
            later = []
            for sample in waiting:
                if id(sample.track) in taken or (self.one_by_one and taken):
                    later.append(sample)
                else:
                    taken[id(sample.track)] = sample
            yield list(taken.values())
            waiting = later

    def _reasons(self, features: DepthFeatures) -> tuple[str, ...]:
        """Why a sample is not taken."""
        if features.reasons:
            return features.reasons
        reasons = self.failures(features.quality)
        if not reasons and self._edition and features.edition != self._edition:
            self._tell_edition(features.edition)
            return (Reason.ENGINE_MISSING.value,)
        return reasons

    def _tell_edition(self, found: str) -> None:
        if not self._told_edition:
            self._told_edition = True
            self._notice(
                f"the {self.cue} network was trained on the features of the depth network "
                f"{self._edition[:12]}…, found those of {found[:12]}…; train it on that one "
                f"(padflow train {self.own} with its bundle as the recipe's backbone), or give "
                f"depth_net the other; until then faces get no {self.cue} evidence"
            )

    def _is_early(self, sample: TrackSample) -> bool:
        """Whether a sample comes too soon after the last one; forgets what is too old."""
        track, now = sample.track, sample.packet.time
        if track.time is None:
            return False
        apart = now - track.time
        if apart > self.params.max_gap:
            track.forget(Reason.STATE_RESET_GAP.value)
            return False
        return apart <= 0 or apart < self.params.min_interval

    def _step(self, samples: Sequence[TrackSample]) -> list[Mapping[str, np.ndarray]]:
        """One step of every sample's track; their states go on."""
        if not samples:
            return []
        assert self.engine is not None, "without an engine every face has reasons"
        given = [self._given(sample) for sample in samples]
        arrays = {name: np.stack([one[name] for one in given]) for name in given[0]}
        found = self.engine.infer(arrays)
        rows: list[Mapping[str, np.ndarray]] = []
        for row, sample in enumerate(samples):
            outputs = {name: array[row : row + 1] for name, array in found.items()}
            self._go_on(sample, outputs)
            rows.append(outputs)
        return rows

    def _given(self, sample: TrackSample) -> Mapping[str, np.ndarray]:
        """What the network takes of one sample; an interval of 0 says that it is the first."""
        track = sample.track
        apart = 0.0 if track.time is None else sample.packet.time - track.time
        state = {
            f"{BEFORE}{name}": track.parts.get(name, np.zeros(shape, np.float32))
            for name, shape in self._shapes.items()
        }
        return {
            **self.given(sample.packet.payload),
            "interval": np.array(apart, np.float32),
            **state,
        }

    def _go_on(self, sample: TrackSample, outputs: Mapping[str, np.ndarray]) -> None:
        """Keep what the network leaves behind, or, where that is no number, nothing."""
        track = sample.track
        if not is_sound(outputs):
            track.forget(Reason.NOT_A_NUMBER.value)
            return
        if track.time is None:
            track.first = sample.packet.time
        track.time = sample.packet.time
        track.samples += 1
        track.parts = {name: outputs[f"{AFTER}{name}"][0].copy() for name in self.state_names}


def is_sound(outputs: Mapping[str, np.ndarray]) -> bool:
    """Whether all that a network gave are numbers: one that gives others is believed in none."""
    return all(bool(np.isfinite(rows).all()) for rows in outputs.values())
