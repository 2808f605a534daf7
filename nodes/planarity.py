"""Planarity: do the points of a face move like a sheet or like a head that turns?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Gt, Interval

from ..graph.node import Begin, Contract, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .evidence import RESET_REASONS, Evidence, Reason
from .face_gates import FaceGates
from .face_points import FacePoints, Reference, in_frame
from .payloads import FacePixels
from .planarity_evidence import (
    FEWEST_FRAMES,
    FEWEST_POINTS,
    PlanarityModel,
    ReliefMeasurement,
    Tracks,
    measure_relief,
)
from .quality import FACE_WIDTHS

_SLACK = 2e-3
"""Seconds by which a frame may come before its time: timestamps are rounded to milliseconds."""
_SOONER = 0.75
"""Share of a period after which a frame is taken: looks do not come evenly."""
_LOST = 3
"""After so many frames in a row with too few points another reference is taken."""


@dataclass(frozen=True)
class PlanarityParams:
    """Settings of :class:`Planarity`."""

    window: Annotated[float, Interval(ge=1.0, le=5.0)] = 2.0
    """Seconds of capture time for which points are followed from one reference."""
    period: Annotated[float, Gt(0)] = 1.0
    """Seconds of capture time between two looks, the last of them at the window's end."""
    rate: Annotated[float, Interval(ge=4.0, le=30.0)] = 10.0
    """Frames a second in which points are followed; only frames at which the mesh network looked,
    since the others bring no pose."""
    max_gap: Annotated[float, Gt(0)] = 1.0
    """Seconds without a frame after which a track starts afresh."""
    conditions: FaceGates = field(default_factory=FaceGates)
    """When a frame is used."""
    model: PlanarityModel = field(default_factory=PlanarityModel)
    """From measurements to a ratio."""


@dataclass(slots=True)
class Followed:
    """Points followed from one reference frame. Picklable; about 30 kB with the default window."""

    reference: Reference
    start: np.ndarray
    """float32 (n, 2): the points in the reference frame, pixels of the frame."""
    interocular: float
    """Pixels of the frame."""
    times: list[float]
    """Of the reference and of every later frame."""
    rotations: list[np.ndarray]
    """Likewise, float64 (3, 3)."""
    places: list[np.ndarray] = field(default_factory=list)
    """Of every later frame, float32 (n, 2), pixels of the frame."""
    found: list[np.ndarray] = field(default_factory=list)
    """Of every later frame, bool (n,)."""
    lost: int = 0
    """Frames in a row with too few points."""


@dataclass(slots=True)
class PlanarityState:
    """What is kept of a track. Picklable."""

    due: float
    """Capture time of the next look."""
    told: float
    """Capture time of the last evidence, or of the first frame."""
    reset: Reason | None
    """Why the state is new, until something was measured."""
    followed: Followed | None = None
    unused: Reason | None = None
    """Why the last frame was not used."""


class Planarity(Node[PlanarityParams]):
    """Parallax on the relief of a face, and how much it speaks for life.

    About once a second of capture time each track gives ``Evidence`` of the cue ``planarity``,
    with a value where the head turned far enough for its relief to show, else with the reasons.
    A mask has a relief too: what speaks for life is capped by the share of such attacks. See
    :mod:`.planarity_evidence` and docs/CUES.md.
    """

    Params = PlanarityParams

    cue = "planarity"

    @classmethod
    def contract(cls, params: PlanarityParams) -> Contract:
        """Takes faces' pixels; keeps its state by track."""
        return Contract(
            inputs={"pixels": Port(FacePixels, "mesh and picture, every frame")},
            outputs={"evidence": Port(Evidence, "cue planarity, about once a second")},
            state="track",
            max_gap=params.max_gap,
        )

    def open(self, context: NodeContext) -> None:
        """Make the constants of the canonical face."""
        self._points = FacePoints()

    def new_state(self, begin: Begin) -> PlanarityState:
        """Nothing is followed; remembers why, so that a short window can say it."""
        due = begin.time + self.params.period
        return PlanarityState(due, begin.time, RESET_REASONS.get(begin.reason))

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[PlanarityState]
    ) -> Outputs:
        """Follow the points; look at them when it is time."""
        evidence = []
        for packet, state in zip(packets, states, strict=True):
            pixels: FacePixels = packet.payload
            lost = self._follow(state, pixels, packet.time)
            if packet.time >= state.due - _SLACK:
                evidence.append(packet.carry(self._look(state, packet.time)))
            elif lost and packet.time >= state.told + self.params.period - _SLACK:
                evidence.append(packet.carry(self._lost(state, packet.time)))
        return {"evidence": evidence}

    def _follow(self, state: PlanarityState, pixels: FacePixels, time: float) -> bool:
        """Follow the points into a frame; True where they were lost and others taken."""
        face = pixels.face
        if not face.usable:
            state.unused = Reason.FACE_NOT_SEEN
            return False
        if not face.looked:
            return False
        state.unused = self.params.conditions.failed(face.quality)
        if state.unused is not None:
            return False
        followed = state.followed
        if followed is None:
            state.followed = self._start(state, pixels, time)
            return False
        if time < followed.times[-1] + _SOONER / self.params.rate:
            return False
        places, found = self._points.follow(followed.reference, pixels)
        followed.lost = 0 if np.count_nonzero(found) >= FEWEST_POINTS else followed.lost + 1
        if followed.lost >= _LOST:
            state.followed = self._start(state, pixels, time)
            return True
        followed.times.append(time)
        followed.rotations.append(face.rotation)
        followed.places.append(places)
        followed.found.append(found)
        return False

    def _start(self, state: PlanarityState, pixels: FacePixels, time: float) -> Followed:
        state.due = time + self.params.period
        reference = self._points.choose(pixels)
        interocular = pixels.face.quality.size / FACE_WIDTHS
        start = in_frame(reference.start, pixels.matrix)
        return Followed(reference, start, interocular, [time], [pixels.face.rotation])

    def _lost(self, state: PlanarityState, now: float) -> Evidence:
        """What is told where points are lost again and again, so that no look is ever due."""
        window, state.told = (state.told, now), now
        reasons = (Reason.FLOW_UNRELIABLE, state.reset)
        codes = tuple(reason.value for reason in reasons if reason is not None)
        return Evidence(self.cue, window, None, codes)

    def _look(self, state: PlanarityState, now: float) -> Evidence:
        state.told = now
        state.due = max(state.due, now - self.params.period) + self.params.period
        followed, found = state.followed, None
        if followed is not None and len(followed.places) >= FEWEST_FRAMES:
            found = measure_relief(self._tracks(followed))
        reasons = self._reasons(state, followed, found)
        ratio = None
        if found is not None:
            state.reset = None
            ratio = None if reasons else self.params.model.ratio(found)
            if ratio is not None and not np.isfinite(ratio):
                ratio, reasons = None, [Reason.NOT_A_NUMBER]
        window = (now, now) if followed is None else (followed.times[0], followed.times[-1])
        if followed is not None and now - followed.times[0] >= self.params.window - _SLACK:
            state.followed = None
        codes = tuple(dict.fromkeys(reason.value for reason in reasons))
        return Evidence(self.cue, window, ratio, codes, details=_details(found))

    def _tracks(self, followed: Followed) -> Tracks:
        return Tracks(
            followed.start.astype(np.float64),
            np.array(followed.places, np.float64),
            np.array(followed.found),
            self._points.relief[followed.reference.cells],
            np.array(followed.rotations),
            followed.interocular,
        )

    def _reasons(
        self, state: PlanarityState, followed: Followed | None, found: ReliefMeasurement | None
    ) -> list[Reason]:
        if found is not None:
            return [] if self.params.model.tells(found) else [Reason.TOO_LITTLE_MOTION]
        reasons = [state.unused] if state.unused is not None else []
        if followed is None or len(followed.places) < FEWEST_FRAMES:
            reasons.append(Reason.WINDOW_TOO_SHORT)
        elif not reasons:
            reasons.append(Reason.FLOW_UNRELIABLE)
        if state.reset is not None:
            reasons.append(state.reset)
        return reasons


def _details(found: ReliefMeasurement | None) -> dict[str, float]:
    if found is None:
        return {}
    return {
        "curvature": found.curvature.value,
        "curvature_error": found.curvature.error,
        "relief": found.relief.value,
        "relief_error": found.relief.error,
        "turning": found.turning,
        "reliability": found.reliability,
        "noise": found.noise,
        "sheet_ratio": found.sheet_ratio,
        "points": float(found.points),
        "frames": float(found.frames),
    }
