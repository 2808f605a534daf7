"""Surroundings: does what is around a face stay in its place, or move as the face does?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt, Interval

from ..graph.node import Begin, Contract, Node, Outputs, Port
from ..graph.packet import Packet
from .evidence import RESET_REASONS, Evidence, Reason
from .face_gates import FaceGates
from .payloads import FaceSurroundings
from .surroundings_evidence import (
    FEWEST_CELLS,
    Differences,
    Reference,
    SurroundingsMeasurement,
    SurroundingsModel,
    compare,
    measure_motion,
    measured,
    reference_of,
)

_SLACK = 2e-3
"""Seconds by which a frame may come before its time: timestamps are rounded to milliseconds."""
_LOST = 3
"""After so many pictures in a row in which face or scene was lost another reference is taken."""


@dataclass(frozen=True)
class SurroundingsParams:
    """Settings of :class:`Surroundings`."""

    window: Annotated[float, Interval(ge=1.0, le=5.0)] = 2.0
    """Seconds of capture time for which pictures are compared with one reference."""
    period: Annotated[float, Gt(0)] = 1.0
    """Seconds of capture time between two looks, the last of them at the window's end."""
    max_gap: Annotated[float, Gt(0)] = 1.0
    """Seconds without a picture after which a track starts afresh."""
    conditions: FaceGates = field(default_factory=lambda: FaceGates(min_size=48.0))
    """When a picture is used."""
    model: SurroundingsModel = field(default_factory=SurroundingsModel)
    """From measurements to a ratio."""


@dataclass(slots=True)
class Compared:
    """A reference and what was seen since. Picklable."""

    reference: Reference
    began: float
    """Capture time of the reference."""
    ended: float
    """Of the newest picture."""
    sums: Differences = field(default_factory=Differences)
    lost: int = 0
    """Pictures in a row in which face or scene was lost."""


@dataclass(slots=True)
class SurroundingsState:
    """What is kept of a track. Picklable."""

    due: float
    """Capture time of the next look."""
    reset: Reason | None
    """Why the state is new, until something was measured."""
    compared: Compared | None = None
    unused: Reason | None = None
    """Why the last picture was not used."""
    lost: bool = False
    """Since the last look the points of face or scene could not be followed once or more."""


class Surroundings(Node[SurroundingsParams]):
    """Whether a face moves before a room, or the room along with it, and what that speaks for.

    About once a second of capture time each track gives ``Evidence`` of the cue ``surroundings``,
    with a value where the face moved and something around it could be seen to stay or to go along,
    else with the reasons. See :mod:`.surroundings_evidence` and docs/CUES.md.
    """

    Params = SurroundingsParams

    cue = "surroundings"

    @classmethod
    def contract(cls, params: SurroundingsParams) -> Contract:
        """Takes faces with what is around them; keeps its state by track."""
        return Contract(
            inputs={"surroundings": Port(FaceSurroundings, "a face before its scene, in grey")},
            outputs={"evidence": Port(Evidence, "cue surroundings, about once a second")},
            state="track",
            max_gap=params.max_gap,
        )

    def new_state(self, begin: Begin) -> SurroundingsState:
        """Nothing is compared; remembers why, so that a short window can say it."""
        return SurroundingsState(begin.time + self.params.period, RESET_REASONS.get(begin.reason))

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[SurroundingsState]
    ) -> Outputs:
        """Compare each picture with its track's reference; tell when it is time."""
        evidence = []
        for packet, state in zip(packets, states, strict=True):
            self._compare(state, packet.payload, packet.time)
            if packet.time >= state.due - _SLACK:
                evidence.append(packet.carry(self._look(state, packet.time)))
        return {"evidence": evidence}

    def _compare(self, state: SurroundingsState, seen: FaceSurroundings, time: float) -> None:
        state.unused = self.params.conditions.failed(seen.face.quality)
        if state.unused is not None:
            return
        compared = state.compared
        if compared is None or compared.lost >= _LOST:
            state.compared = Compared(reference_of(seen), time, time)
            return
        compared.ended = time
        motion = measure_motion(compared.reference, seen, compared.sums.scene)
        if motion is None:
            compared.lost += 1
            state.lost = True
            return
        compared.lost = 0
        compare(compared.reference, seen, motion, compared.sums)

    def _look(self, state: SurroundingsState, now: float) -> Evidence:
        state.due = max(state.due, now - self.params.period) + self.params.period
        compared = state.compared
        found = None if compared is None else measured(compared.sums)
        reasons = _reasons(state, found)
        state.lost, ratio = False, None
        if found is not None:
            state.reset = None
            ratio = None if reasons else self.params.model.ratio(found)
        window = (now, now) if compared is None else (compared.began, compared.ended)
        if compared is not None and now - compared.began >= self.params.window - _SLACK:
            state.compared = None
        codes = tuple(dict.fromkeys(reason.value for reason in reasons))
        return Evidence(self.cue, window, ratio, codes, details=_details(found))


def _reasons(state: SurroundingsState, found: SurroundingsMeasurement | None) -> list[Reason]:
    """Why a look tells nothing; empty where it does."""
    if found is not None and state.compared is not None:
        return _silence(found, int(state.compared.reference.counted.sum()))
    reasons = [] if state.unused is None else [state.unused]
    reasons.append(Reason.FLOW_UNRELIABLE if state.lost else Reason.WINDOW_TOO_SHORT)
    if state.reset is not None:
        reasons.append(state.reset)
    return reasons


def _silence(found: SurroundingsMeasurement, visible: int) -> list[Reason]:
    """Why a measurement tells nothing; empty where it does.

    Args:
        found: the measurement.
        visible: cells of the surroundings within the picture, which a face may fill.
    """
    if visible >= FEWEST_CELLS > found.compared:
        return [Reason.TOO_LITTLE_MOTION]
    if found.going + found.staying < FEWEST_CELLS:
        return [Reason.SURROUNDINGS_PLAIN]
    if found.whole_picture_moves:
        return [Reason.WHOLE_PICTURE_MOVES]
    return []


def _details(found: SurroundingsMeasurement | None) -> dict[str, float]:
    if found is None:
        return {}
    return {name: float(value) for name, value in found._asdict().items()}
