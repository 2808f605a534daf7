"""Life in the face: blinks, mouth and brows that move by themselves, or do not for long."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from ..graph.node import Begin, Contract, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .evidence import RESET_REASONS, Evidence, Reason
from .face_channels import Channel, FaceChannels
from .face_gates import FaceGates
from .life_evidence import LifeMeasurement, LifeModel, measure_life
from .payloads import FaceMesh

_SLACK = 2e-3
"""Seconds by which a frame may come before its time: timestamps are rounded to milliseconds."""
FEWEST_LOOKS = 8
_POSE = ("yaw", "pitch", "roll", "motion")
FASTEST = 31.0
"""Looks a second that are kept: a blink needs no more."""


@dataclass(frozen=True)
class LifeConditions(FaceGates):
    """Outside of these a frame is not used."""

    max_yaw: Annotated[float, Gt(0)] = 35.0
    """Degrees to either side."""
    max_pitch: Annotated[float, Gt(0)] = 30.0
    """Degrees up or down."""
    min_sharpness: Annotated[float, Ge(0)] = 0.03
    """0 blurred to 1 sharp."""
    max_occlusion: Annotated[float, Interval(gt=0, le=1)] = 0.4
    """Share of the face that may be covered."""


@dataclass(frozen=True)
class LifeParams:
    """Settings of :class:`Life`."""

    window: Annotated[float, Interval(ge=4.0, le=60.0)] = 20.0
    """Seconds of capture time that are looked at, at most."""
    minimum: Annotated[float, Interval(ge=1.0, le=60.0)] = 2.0
    """Seconds that must have been watched."""
    min_rate: Annotated[float, Gt(0)] = 4.0
    """Looks of the mesh network a second, at least."""
    period: Annotated[float, Gt(0)] = 1.0
    """Seconds of capture time between two evidences."""
    max_gap: Annotated[float, Gt(0)] = 2.0
    """Seconds without a frame after which a track starts afresh."""
    conditions: LifeConditions = field(default_factory=LifeConditions)
    """When a frame is used."""
    model: LifeModel = field(default_factory=LifeModel)
    """From measurements to a ratio."""


class LookBuffer:
    """Channels and poses of the last seconds, oldest first, in arrays of fixed size. Picklable."""

    def __init__(self, capacity: int) -> None:
        self._rows = np.zeros((2 * capacity, 1 + len(Channel) + len(_POSE)))
        self._end = 0

    def append(self, time: float, channels: np.ndarray, pose: tuple[float, ...]) -> None:
        """Take a look, its pose by :data:`_POSE`; ``time`` must not be before the last one's."""
        if self._end == len(self._rows):
            half = self._end // 2
            self._rows[:half] = self._rows[half:]
            self._end = half
        self._rows[self._end] = (time, *channels.tolist(), *pose)
        self._end += 1

    @property
    def latest(self) -> float:
        """Time of the newest look, minus infinity without one."""
        return float(self._rows[self._end - 1, 0]) if self._end else float("-inf")

    def since(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Views of times (n,), channels (n, 5) and poses (n, 4) from a time on."""
        first = int(np.searchsorted(self._rows[: self._end, 0], time))
        rows = self._rows[first : self._end]
        return rows[:, 0], rows[:, 1 : 1 + len(Channel)], rows[:, 1 + len(Channel) :]

    def __getstate__(self) -> tuple[int, np.ndarray]:
        half = len(self._rows) // 2
        return half, self._rows[max(0, self._end - half) : self._end].copy()

    def __setstate__(self, kept: tuple[int, np.ndarray]) -> None:
        capacity, rows = kept
        LookBuffer.__init__(self, capacity)
        self._end = len(rows)
        self._rows[: self._end] = rows


@dataclass(slots=True)
class LifeState:
    """What is kept of a track. Picklable; about 90 kB with the default window."""

    looks: LookBuffer
    due: float
    """Capture time of the next evidence."""
    reset: Reason | None
    """Why the state is new, until enough was watched."""
    unused: Reason | None = None
    """Why the last frame was not used."""


class Life(Node[LifeParams]):
    """Blinks and movements of a face, and how much they or their absence speak.

    About once a second of capture time each track gives ``Evidence`` of the cue ``life``. Only
    frames at which the mesh network looked count: in the others the mesh is the last look's, in
    which no lid moves. See :mod:`.life_evidence` and docs/CUES.md.
    """

    Params = LifeParams

    cue = "life"

    @classmethod
    def contract(cls, params: LifeParams) -> Contract:
        """Takes meshes; keeps its state by track."""
        return Contract(
            inputs={"meshes": Port(FaceMesh, "mesh and pose, every frame")},
            outputs={"evidence": Port(Evidence, "cue life, about once a second")},
            state="track",
            max_gap=params.max_gap,
        )

    def open(self, context: NodeContext) -> None:
        """Make the constants of the canonical face."""
        self._channels = FaceChannels()

    def new_state(self, begin: Begin) -> LifeState:
        """Nothing is known; remembers why, so that a short window can say it."""
        capacity = ceil(self.params.window * FASTEST)
        reset = RESET_REASONS.get(begin.reason)
        return LifeState(LookBuffer(capacity), begin.time + self.params.period, reset)

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[LifeState]) -> Outputs:
        """Read every look of the network; say what they tell when it is time."""
        evidence = []
        for packet, state in zip(packets, states, strict=True):
            self._read(state, packet.payload, packet.time)
            if packet.time >= state.due - _SLACK:
                state.due = max(state.due, packet.time - self.params.period) + self.params.period
                evidence.append(packet.carry(self._tell(state, packet.time)))
        return {"evidence": evidence}

    def _read(self, state: LifeState, face: FaceMesh, time: float) -> None:
        if not face.usable:
            state.unused = Reason.FACE_NOT_SEEN
            return
        if not face.looked:
            return
        quality = face.quality
        state.unused = self.params.conditions.failed(quality)
        if state.unused is None and time >= state.looks.latest + 1.0 / FASTEST:
            pose = tuple(getattr(quality, name) for name in _POSE)
            state.looks.append(time, self._channels.read(face), pose)

    def _tell(self, state: LifeState, now: float) -> Evidence:
        times, channels, poses = state.looks.since(now - self.params.window)
        window = (float(times[0]), float(times[-1])) if len(times) else (now, now)
        if len(times) < FEWEST_LOOKS:
            return self._silent(state, window, [Reason.WATCHED_TOO_SHORT], None)
        found = measure_life(times, channels, poses, self.params.model)
        reasons = []
        if found.looks_per_second < self.params.min_rate and found.watched < self.params.minimum:
            reasons.append(Reason.FRAME_RATE_TOO_LOW)
        elif found.watched < self.params.minimum:
            reasons.append(Reason.WATCHED_TOO_SHORT)
        elif not self.params.model.tells(found):
            reasons.append(Reason.MESH_UNSTEADY)
        if state.unused is not None and now - window[1] > self.params.period:
            reasons.append(state.unused)
        if reasons:
            return self._silent(state, window, reasons, found)
        ratio = self.params.model.ratio(found)
        if not np.isfinite(ratio):
            return self._silent(state, window, [Reason.NOT_A_NUMBER], found)
        state.reset = None
        return Evidence(self.cue, window, ratio, details=_details(found))

    def _silent(
        self,
        state: LifeState,
        window: tuple[float, float],
        reasons: list[Reason],
        found: LifeMeasurement | None,
    ) -> Evidence:
        told = [*reasons, *(r for r in (state.unused, state.reset) if r is not None)]
        codes = tuple(dict.fromkeys(reason.value for reason in told))
        return Evidence(self.cue, window, None, codes, details=_details(found))


def _details(found: LifeMeasurement | None) -> dict[str, float]:
    if found is None:
        return {}
    return {name: float(getattr(found, name)) for name in LifeMeasurement.__slots__}
