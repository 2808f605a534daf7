"""How a face's relief moves over the samples of its track: the node ``motion_depth``.

The multi-frame depth network of Wang et al. (FAS-TD, arXiv 1811.05118; FAS-SGTD, CVPR 2020), run
across the stream: each sample of a track goes through one step of the network, which is given what
it left behind at the sample before and the seconds in between.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Gt, Interval

from ..engines import BundleError, Engine
from ..graph.node import Batching, Begin, Contract, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .appearance import AppearanceParams, NetworkNode, Reading, check_tensors
from .depth_net import STAGES
from .evidence import RESET_REASONS, Evidence, Reason
from .payloads import DepthFeatures, DepthMap

BACKBONE = "backbone_edition"
"""Setting of the bundle's training: edition of the depth network whose features it goes on from."""
_STATE = ("reduced_1", "reduced_2", "reduced_3", "hidden")
_TAKES = frozenset((*STAGES, "single", "interval", *(f"previous_{name}" for name in _STATE)))
_GIVES = frozenset(("score", "strangeness", "depth", *(f"next_{name}" for name in _STATE)))


@dataclass(frozen=True)
class MotionDepthParams(AppearanceParams):
    """Settings of :class:`MotionDepth`."""

    max_gap: Annotated[float, Gt(0)] = 0.8
    """Longest time in seconds between two samples of a track that are compared; the network has
    seen none longer. After a longer one the track starts afresh."""
    min_interval: Annotated[float, Interval(ge=0.0, le=0.5)] = 0.06
    """Least time in seconds between two samples; one that comes earlier is passed over."""
    recall: Annotated[float, Gt(0)] = 3.0
    """Seconds that count as looked at, at most: about so far back the network remembers."""


@dataclass(slots=True)
class MotionTrack:
    """What is kept of a track. Picklable; 60 kB with the shipped network."""

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


class _Sample(NamedTuple):
    """A face that is given to the network."""

    place: int
    """Index of its packet."""
    packet: Packet
    track: MotionTrack


class MotionDepth(NetworkNode[MotionDepthParams]):
    """Evidence ``motion``: what the samples of a track say together; and the refined depth map.

    A value comes with the second sample at the earliest: one picture shows no motion. Faces that
    the depth network did not see have the reasons of ``depth_net``. In realtime runs tracks are
    batched; in lossless runs each sample is a call of its own (see :class:`.AppearanceNode`).
    """

    Params = MotionDepthParams

    cue = "motion"
    own = "motion_depth"
    outputs_wanted = _GIVES

    @classmethod
    def contract(cls, params: MotionDepthParams) -> Contract:
        """Keeps its state by track; shared by all streams."""
        return Contract(
            inputs={"features": Port(DepthFeatures, "what the depth network's stages see")},
            outputs={
                "evidence": Port(Evidence, "what the motion network says"),
                "depth": Port(DepthMap, "the relief as single pictures and motion show it"),
            },
            state="track",
            max_gap=params.max_gap,
            scope="shared",
            batching=Batching(params.batch, params.max_wait),
        )

    def open(self, context: NodeContext) -> None:
        """Load the network.

        Raises:
            EngineError: it cannot be loaded, or is no step of a motion network.
        """
        self._wants_depth = context.wants("depth")
        self._notice = context.notice
        self._told_edition = False
        super().open(context)
        if self.engine is not None:
            shapes = {spec.name: spec.shape[1:] for spec in self.engine.inputs}
            self._shapes = {name: shapes[f"previous_{name}"] for name in _STATE}
            manifest = self.engine.manifest
            settings = manifest.training.settings if manifest else {}
            self._edition = str(settings.get(BACKBONE, ""))

    def check_tensors(self, engine: Engine) -> None:
        """Refuse a network that is no step of a motion network.

        Raises:
            BundleError: an input or output is missing or surplus, or a state's shape is open.
        """
        check_tensors(engine, _TAKES, _GIVES)
        for spec in engine.inputs:
            if spec.name.startswith("previous_") and -1 in spec.shape[1:]:
                raise BundleError(
                    f"engine {engine.name}: expected fixed lengths of the state {spec}; export "
                    "the network anew"
                )

    def new_state(self, begin: Begin) -> MotionTrack:
        """Nothing seen; remembers why, so that missing evidence can say it."""
        return MotionTrack(RESET_REASONS.get(begin.reason, ""))

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[MotionTrack]
    ) -> Outputs:
        """Take a step with every sample."""
        if packets:
            self.tell_missing()
        evidence: list[Packet | None] = [None] * len(packets)
        maps: list[Packet | None] = [None] * len(packets)
        for samples in self._rounds(packets, states):
            fit = []
            for sample in samples:
                reasons = self._reasons(sample.packet.payload)
                if reasons:
                    said = self.evidence(_window(sample, self.params.recall), reasons, None)
                    evidence[sample.place] = sample.packet.carry(said)
                elif not self._is_early(sample):
                    fit.append(sample)
            for sample, reading in zip(fit, self._step(fit), strict=True):
                evidence[sample.place] = sample.packet.carry(self._said(sample, reading))
                if self._wants_depth and isfinite(reading.score):
                    maps[sample.place] = sample.packet.carry(DepthMap(reading.outputs["depth"][0]))
        given = {"evidence": evidence, "depth": maps}
        return {name: [p for p in column if p is not None] for name, column in given.items()}

    def _rounds(
        self, packets: Sequence[Packet], states: Sequence[MotionTrack]
    ) -> Iterator[list[_Sample]]:
        """Samples that may be taken at once: one of each track, in their order."""
        waiting = [
            _Sample(place, packet, track)
            for place, (packet, track) in enumerate(zip(packets, states, strict=True))
        ]
        while waiting:
            taken: dict[int, _Sample] = {}
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
                f"the motion network was trained on the features of the depth network "
                f"{self._edition[:12]}…, found those of {found[:12]}…; train it on that one "
                "(padflow train motion_depth with its bundle as the recipe's backbone), or give "
                f"depth_net the other; until then faces get no {self.cue} evidence"
            )

    def _is_early(self, sample: _Sample) -> bool:
        """Whether a sample comes too soon after the last one; forgets what is too old."""
        track, now = sample.track, sample.packet.time
        if track.time is None:
            return False
        apart = now - track.time
        if apart > self.params.max_gap:
            track.forget(Reason.STATE_RESET_GAP.value)
            return False
        return apart < self.params.min_interval

    def _step(self, samples: Sequence[_Sample]) -> list[Reading]:
        """One step of every sample's track; their states go on."""
        if not samples:
            return []
        assert self.engine is not None, "without an engine every face has reasons"
        given = [self._given(sample) for sample in samples]
        arrays = {name: np.stack([one[name] for one in given]) for name in given[0]}
        found = self.engine.infer(arrays)
        readings = []
        for row, sample in enumerate(samples):
            outputs = {name: array[row : row + 1] for name, array in found.items()}
            readings.append(_reading(outputs))
            _go_on(sample, outputs, isfinite(readings[-1].score))
        return readings

    def _given(self, sample: _Sample) -> Mapping[str, np.ndarray]:
        """What the network takes of one sample; an interval of 0 says that it is the first."""
        track, features = sample.track, sample.packet.payload
        apart = 0.0 if track.time is None else sample.packet.time - track.time
        state = {
            f"previous_{name}": track.parts.get(name, np.zeros(shape, np.float32))
            for name, shape in self._shapes.items()
        }
        stages = dict(zip(STAGES, features.stages, strict=True))
        return {**stages, "single": features.depth, "interval": np.float32(apart), **state}

    def _said(self, sample: _Sample, reading: Reading) -> Evidence:
        track = sample.track
        window = _window(sample, self.params.recall)
        if not isfinite(reading.score):
            return self.evidence(window, (), reading)
        if track.samples < 2:
            reset = (track.reset,) if track.reset else ()
            return self.evidence(window, (Reason.WINDOW_TOO_SHORT.value, *reset), None)
        track.reset = ""
        return self.evidence(window, (), reading, {"samples": float(track.samples)})


def _go_on(sample: _Sample, outputs: Mapping[str, np.ndarray], sound: bool) -> None:
    """Keep what the network leaves behind, or, where that is no number, nothing."""
    track = sample.track
    if not sound:
        track.forget(Reason.NOT_A_NUMBER.value)
        return
    if track.time is None:
        track.first = sample.packet.time
    track.time = sample.packet.time
    track.samples += 1
    track.parts = {name: outputs[f"next_{name}"][0].copy() for name in _STATE}


def _window(sample: _Sample, recall: float) -> tuple[float, float]:
    now, track = sample.packet.time, sample.track
    first = now if track.time is None else track.first
    return max(first, now - recall), now


def _reading(outputs: Mapping[str, Any]) -> Reading:
    sound = all(np.isfinite(rows).all() for rows in outputs.values())
    score = float(outputs["score"][0]) if sound else float("nan")
    return Reading(score, float(outputs["strangeness"][0]), outputs)
