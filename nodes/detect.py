"""Finds the faces of a frame at a set cadence of capture time, and tells the scene's state."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from typing import Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Gt, Lt

from ..graph.node import NOTHING, Begin, Contract, Finish, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .frame import Frame
from .passes import DETECTORS, FAIR, Networks, Search, find_faces, tile_count
from .payloads import Box, DetectedFace, Event, FrameFaces
from .scene import SceneLimits, SceneState, SceneWatch

SCENE_EVENT = "padflow.scene.v1"

REMEMBER_S = 2.0
"""Capture time for which a place where a face was found is looked at closely."""
MOST_PLACES = 8
SEARCH_S = 1.0
"""While a face is in view, a tile is searched for further faces about so often, in seconds."""
SWEEP_S = 1.5
"""While no face is in view, the tiles are swept within about this time."""
SAME_PLACE = 0.25
"""A face that moved by less than this share of its size between two detections is in its place."""
NOTHING_TO_SEE = frozenset({SceneState.TOO_DARK, SceneState.TOO_BRIGHT, SceneState.COVERED})
"""Scenes that are not searched for small faces."""
JITTER_S = 0.002
"""A frame this much before its due time is taken: timestamps are rounded to milliseconds."""


ENGINES = {
    "full_range": ("face_detection_full_range", "face_detection_short_range"),
    "short_range": ("face_detection_short_range",),
    "yunet": ("yunet",),
}
"""Engines that each detector loads."""


@dataclass(frozen=True)
class DetectParams:
    """How faces are looked for."""

    detector: Literal["full_range", "short_range", "yunet"] = "full_range"
    """``full_range`` (BlazeFace, to about 5 m, small faces by tiles), ``short_range`` (BlazeFace,
    near cameras, cheaper), or ``yunet`` (user-added model, several times the cost)."""
    cadence_hz: Annotated[float, Gt(0)] = 5.0
    """Detections per second of capture time; a tracker may ask for more."""
    settled_hz: Annotated[float, Gt(0)] = 2.5
    """The same while the same faces have been found in the same places; where ``cadence_hz`` is no
    greater, that always counts. The tracker follows them in every frame, and asks at once when it
    loses one, so that only a face that comes beside them is found later, by 0.2 s."""
    settle_s: Annotated[float, Ge(0)] = 2.0
    """Seconds for which faces must have been found so; a visitor who walks in is in place then."""
    min_score: Annotated[float, Gt(0), Lt(1)] = 0.4
    """Weaker faces are not reported. A tracker starts tracks only from better ones; weak ones
    help it to keep a track."""
    min_face_px: Annotated[float, Ge(8)] = 48.0
    """Smallest face worth finding, in pixels of the frame: sets how fine the tiles are."""
    nms_iou: Annotated[float, Gt(0), Lt(1)] = 0.3
    """Detections that overlap more than this are one face."""
    max_faces: Annotated[int, Ge(1)] = 16
    """At most this many faces of a frame are reported, best scores first."""
    threads: Annotated[int, Ge(1)] = 1
    """Threads of the networks."""
    frozen_s: Annotated[float, Gt(0)] = 10.0
    """The scene is called frozen after this many seconds of identical pictures. Keep it above
    the camera's key-frame interval."""
    scene_hysteresis_s: Annotated[float, Ge(0)] = 1.0
    """A new scene state must hold this long before it is told."""


class Place(NamedTuple):
    """Where a face was found lately."""

    box: Box
    seen: float
    """Capture time."""


@dataclass(slots=True)
class DetectState:
    """What is kept of one stream."""

    scene: SceneWatch
    next_due: float = -inf
    last_run: float = -inf
    """Capture time of the last detection."""
    search_due: float = -inf
    """Capture time from which a tile is to be searched though a face is in view."""
    same_since: float = inf
    """Capture time since which the same faces have been found; infinite: there are none."""
    next_tile: int = 0
    places: tuple[Place, ...] = ()
    """Immutable: a frame that was given out keeps the places of its own time."""
    in_view: bool = False
    """The last detection found a face."""
    found_any: bool = False
    frames: int = 0
    media_time: float | None = None


class Detect(Node[DetectParams]):
    """Face detection by BlazeFace or YuNet.

    Every frame is passed on; most of them without a detection. Detections run at ``cadence_hz``
    of capture time, or ``settled_hz`` while nothing changes, on frames that are not corrupt;
    ``FrameFaces.detect_now`` runs one more on its frame and changes nothing here, so that results
    do not depend on who asks when.

    Events ``padflow.scene.v1`` carry ``state`` (a :class:`~.scene.SceneState`), ``reason``,
    ``mean_luma`` and ``contrast`` (0 to 255), ``epoch``, ``media_time``. One is given when the
    state changes (reason ``changed``), and one at the end of a stream in which no face was ever
    found: its state is ``no_face`` and its reason says why.
    """

    Params: ClassVar[type] = DetectParams

    def __init__(self, params: DetectParams) -> None:
        super().__init__(params)
        self._networks: Networks | None = None
        # A tracker in another thread may ask for a detection while this node runs its own.
        self._lock = threading.Lock()
        self._search = Search(
            params.min_score, params.nms_iou, params.max_faces, params.min_face_px
        )
        self._limits = SceneLimits(frozen_s=params.frozen_s, hysteresis_s=params.scene_hysteresis_s)

    @classmethod
    def contract(cls, params: DetectParams) -> Contract:
        """Frames in; frames with faces and events of the scene out."""
        return Contract(
            inputs={"frames": Port(Frame, "decoded pictures in capture order")},
            outputs={
                "faces": Port(FrameFaces, "every frame, with its faces where it was searched"),
                "events": Port(Event, "state of the scene (padflow.scene.v1)"),
            },
            state="stream",
        )

    @classmethod
    def engine_names(cls, params: DetectParams) -> tuple[str, ...]:
        """Names of the engines that a node with these parameters loads."""
        return ENGINES[params.detector]

    def open(self, context: NodeContext) -> None:
        """Load the networks.

        Raises:
            EngineError: a model is not on this machine or cannot be loaded.
        """
        self._networks = DETECTORS[self.params.detector](self.params.threads)

    def close(self) -> None:
        """Give the networks back."""
        if self._networks is not None:
            self._networks.close()
            self._networks = None

    def new_state(self, begin: Begin) -> DetectState:
        """A fresh state; what is known of the whole stream is carried over."""
        state = DetectState(SceneWatch(self._limits))
        if isinstance(begin.previous, DetectState):
            before = begin.previous
            state.scene.told, state.scene.counts = before.scene.told, before.scene.counts
            state.found_any, state.frames = before.found_any, before.frames
        return state

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[DetectState]
    ) -> Outputs:
        """Pass every frame on, with its faces where a detection is due."""
        given, events = [], []
        for packet, state in zip(packets, states, strict=True):
            frame: Frame = packet.payload
            state.frames += 1
            state.media_time = frame.media_time
            places = tuple(place.box for place in state.places)
            faces = None
            if packet.time >= state.next_due - JITTER_S and not frame.corrupt:
                if state.scene.observe(frame, packet.time):
                    event = _scene_event(state, str(state.scene.told), "changed", packet.epoch)
                    events.append(packet.carry(event))
                faces = self._detect(frame, packet.time, state, places)
            ask = partial(self._find, frame, places, ())
            given.append(packet.carry(FrameFaces(frame, faces, ask, state.scene.is_frozen)))
        return {"faces": given, "events": events} if events else {"faces": given}

    def finish(self, state: DetectState, finish: Finish) -> Outputs:
        """Say why a stream that has ended showed no face."""
        if finish.reason != "end" or state.found_any or not state.frames:
            return NOTHING
        event = _scene_event(state, "no_face", state.scene.why_no_face(), finish.epoch)
        return {"events": [finish.packet(event)]}

    def _detect(
        self, frame: Frame, time: float, state: DetectState, places: tuple[Box, ...]
    ) -> tuple[DetectedFace, ...]:
        tiles = self._tiles_due(frame, time, state)
        faces = self._find(frame, places, tiles)
        fair = [face.box for face in faces if face.score >= FAIR]
        if not self._are_known(fair, state):
            state.same_since = time if fair else inf
        self._plan(time, state)
        state.last_run = time
        state.in_view = bool(fair)
        state.found_any |= state.in_view
        state.places = _remember(state.places, fair, time)
        return faces

    def _are_known(self, boxes: Sequence[Box], state: DetectState) -> bool:
        """The faces of the last detection, no more and no fewer, about where they were."""
        last = [place.box for place in state.places if place.seen == state.last_run]
        return len(boxes) == len(last) and all(
            any(_near(a, b, SAME_PLACE) for b in last) for a in boxes
        )

    def _plan(self, time: float, state: DetectState) -> None:
        """When the next detection is due."""
        settled = time - state.same_since > self.params.settle_s
        rate = min(self.params.settled_hz, self.params.cadence_hz)
        period = 1.0 / (rate if settled else self.params.cadence_hz)
        state.next_due += period
        if not time - period < state.next_due - period <= time + period:
            state.next_due = time + period

    def _tiles_due(self, frame: Frame, time: float, state: DetectState) -> range:
        if state.in_view and time < state.search_due - JITTER_S:
            return range(0)
        state.search_due = time + SEARCH_S
        if state.scene.last is not None and state.scene.last.state in NOTHING_TO_SEE:
            return range(0)
        count = tile_count(self._open_networks(), frame, self.params.min_face_px)
        share = 1 if state.in_view else ceil(count / (SWEEP_S * self.params.cadence_hz))
        first = state.next_tile
        state.next_tile = (first + share) % max(1, count)
        return range(first, first + min(share, count))

    def _find(
        self, frame: Frame, places: tuple[Box, ...], tiles: Sequence[int]
    ) -> tuple[DetectedFace, ...]:
        with self._lock:
            return find_faces(self._open_networks(), frame, self._search, places, tiles)

    def _open_networks(self) -> Networks:
        assert self._networks is not None, "the runtime opens a node before it is used"
        return self._networks


def _remember(places: Sequence[Place], boxes: Sequence[Box], time: float) -> tuple[Place, ...]:
    """The newest places: those of now, then earlier ones that none of now lies on."""
    new = [Place(box, time) for box in boxes]
    old = [
        place
        for place in places
        if time - place.seen <= REMEMBER_S and not any(_near(place.box, box) for box in boxes)
    ]
    return tuple([*new, *old][:MOST_PLACES])


def _near(a: Box, b: Box, share: float = 1.0) -> bool:
    reach = share * max(a.w, a.h, b.w, b.h)
    (ax, ay), (bx, by) = a.centre, b.centre
    return abs(ax - bx) < reach and abs(ay - by) < reach


def _scene_event(state: DetectState, name: str, reason: str, epoch: int) -> Event:
    last = state.scene.last
    return Event(
        SCENE_EVENT,
        "",
        {
            "state": name,
            "reason": reason,
            "mean_luma": None if last is None else round(last.mean_luma, 2),
            "contrast": None if last is None else round(last.contrast, 2),
            "epoch": epoch,
            "media_time": state.media_time,
        },
    )
