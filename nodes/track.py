"""Keeps one id for each face from its first frame to its last.

A track's box lies in a Kalman filter. On every frame the pixels inside the box tell how it moved
(optical flow); detections, some times a second, are assigned to the tracks by the Hungarian
method, sure ones first, and correct it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, log, sqrt
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le
from scipy.optimize import linear_sum_assignment

from ..graph.node import Begin, Contract, Finish, Node, Outputs, Port
from ..graph.packet import End, Packet
from .clock import LEAST_STEP
from .flow import Motion, Patch, appearance, cut_patch, find_motion
from .frame import Frame
from .kalman import BoxFilter
from .payloads import Box, DetectedFace, Event, FrameFaces, TrackedFace

TRACK_EVENT = "padflow.track.v1"

DETECTION_NOISE = 0.05
"""Standard deviation of a detected box, as a share of its size."""
FLOW_NOISE = 0.03
"""Standard deviation of a speed measured by flow, in face sizes per second."""
COAST_S = 0.25
"""Time constant with which a face that nothing shows is believed to slow down."""
BEHIND_COAST_S = 2.0
"""The same beside another face: who walks behind somebody walks on."""
REACH = 0.9
"""A detection may lie this many face sizes from where its track is believed to be,"""
REACH_GROWTH = 3.0
"""and this much more for each second since the last detection."""
MOST_REACH = 1.8
UNLIKE = 1.0
"""Weight of how unlike its track a detection looks, against distance in face sizes."""
MOST_UNLIKE = 0.7
"""A detection that correlates less than 1 minus this with the track's looks fits it only from
nearby. (Measured on seven clips: 99 % of one person's detections within 0.8 s correlate by 0.55 or
more, those of two people by 0.50 in the median.)"""
CLOSE = 0.35
"""Nearby, in face sizes."""
MOST_GROWTH = 2.2
"""Largest ratio between the sizes of a detection and its track."""
NO_MATCH = 1e6
LEAST_LIKENESS = 0.4
"""Least correlation of an undetected face's box with the face's looks."""
LOOK_RATE = 0.25
"""Share of the newest detection in a face's looks."""
BEHIND_IOU = 0.2
"""Of two tracks that overlap this much, the one detected less lately is behind the other."""
DUPLICATE_IOU = 0.5
DUPLICATE_S = 1.0
"""A track that lay on another one for this long, and was not detected, is the same face."""
CONTESTED_DETECTIONS = 4
"""A new face near a lost one needs this many detections: it may be the lost one, half hidden."""
TENTATIVE_S = 0.7
"""A face that was found once is forgotten after this time."""
OUTSIDE_S = 0.3
"""A track whose middle is outside the picture ends when nothing has shown it for this long."""
LEAST_ASK_GAP = 2
"""At least this many frames lie between two detections that the tracker asks for."""


@dataclass(frozen=True)
class TrackParams:
    """How long a track is kept, and when one starts."""

    max_lost_s: Annotated[float, Gt(0)] = 2.0
    """A track ends when neither detection nor flow has shown the face for this long, in seconds
    of capture time."""
    max_undetected_s: Annotated[float, Gt(0)] = 3.0
    """A track ends when no detection has shown the face for this long, whatever flow says: flow
    also follows the wall behind a face that has gone."""
    keep_score: Annotated[float, Ge(0), Le(1)] = 0.5
    """Weaker detections are only given to tracks that no better one fits."""
    start_score: Annotated[float, Ge(0), Le(1)] = 0.65
    """Two detections from this score, of one face, start a track."""
    sure_score: Annotated[float, Ge(0), Le(1)] = 0.75
    """One detection from this score starts a track at once."""
    max_tracks: Annotated[int, Ge(1)] = 64
    """At most this many faces are followed at a time; further ones wait."""
    max_gap_s: Annotated[float, Gt(0)] = 5.0
    """After a longer gap between two frames all tracks end and new ones start."""


class Sighting(NamedTuple):
    """A detection and what it looks like."""

    face: DetectedFace
    look: np.ndarray | None


@dataclass(slots=True, eq=False)
class Face:
    """A face that is followed."""

    filter: BoxFilter
    keypoints: np.ndarray
    """complex64 (n,), x + iy in pixels of the frame."""
    score: float
    first_seen: float
    detected: float
    """Capture time of the last detection; ``shown`` of the last detection or flow."""
    shown: float
    box: Box
    """Where it is in the present frame."""
    track: int | None = None
    """None until the face has been confirmed."""
    started: float = 0.0
    detections: int = 1
    look: np.ndarray | None = None
    """What the face looks like, see :func:`~.flow.appearance`; a running mean."""
    patch: Patch | None = None
    lost_frames: int = 0
    adrift: bool = False
    """It was not detected, and its box does not show what the face looks like: flow would only
    follow whatever covers it."""
    behind_since: float | None = None
    """Since when it lies on another track without being detected itself."""


@dataclass(slots=True)
class TrackState:
    """What is kept of one stream. Its size is bounded by the faces in view."""

    next_track: int = 1
    faces: list[Face] = field(default_factory=list)
    time: float | None = None
    """Capture time of the last frame."""
    seen: float | None = None
    """Capture time of the frame that the faces' patches are from: the last not corrupt one."""
    media_time: float | None = None
    frames: int = 0
    last_ask: int = -LEAST_ASK_GAP
    only: tuple[Packet, Frame] | None = None
    """The first frame, until there is a second: a still picture is a stream of one."""


class Track(Node[TrackParams]):
    """Follows faces: one packet per track and frame, keyed by the track's id.

    Ids count up from 1 within a stream and are never used again, not even by a later epoch. A
    track starts at once from a sure detection, or from the second weaker one; the only frame of
    a stream needs just one. It ends with an ``End`` when the face has been lost for too long,
    has left the picture, or turns out to be another track's (reasons ``lost``,
    ``not_detected``, ``left``, ``duplicate``; ``epoch``, ``gap`` or ``stream_ended`` from
    outside).

    Events ``padflow.track.v1`` carry ``track``, ``epoch``, ``state`` (``started`` or ``ended``),
    ``reason``, ``media_time``, ``duration`` (seconds) and ``detections``.
    """

    Params: ClassVar[type] = TrackParams

    @classmethod
    def contract(cls, params: TrackParams) -> Contract:
        """Frames with faces in; tracks, keyed by their ids, and their events out."""
        return Contract(
            inputs={"faces": Port(FrameFaces, "every frame, with its faces where searched")},
            outputs={
                "tracks": Port(TrackedFace, "each track in each frame; the key is its id"),
                "events": Port(Event, "tracks started and ended (padflow.track.v1)"),
            },
            state="stream",
            max_gap=params.max_gap_s,
            makes_keys=True,
        )

    def new_state(self, begin: Begin) -> TrackState:
        """No faces; ids go on where those of the stream's last state ended."""
        before = begin.previous
        return TrackState(before.next_track if isinstance(before, TrackState) else begin.first_key)

    def export_state(self, state: TrackState) -> TrackState:
        """The state without the frame it may hold, which cannot leave the process."""
        return replace(state, only=None)

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[TrackState]
    ) -> Outputs:
        """Follow every face into each frame."""
        out = _Output()
        for packet, state in zip(packets, states, strict=True):
            self._follow(packet, state, out)
        return out.packets()

    def finish(self, state: TrackState, finish: Finish) -> Outputs:
        """End every track."""
        out = _Output()
        reason: str = finish.reason
        if reason == "end":
            reason = finish.detail if finish.detail.endswith("_lost") else "stream_ended"
        if state.only is not None and finish.reason == "end":
            packet, frame = state.only
            for face in state.faces:
                if face.track is None and face.score >= self.params.start_score:
                    self._start(face, packet, state, out)
                    out.give(face, packet, frame)
        origin = finish.packet(None)
        for face in state.faces:
            out.end(face, origin, state.media_time, reason)
        state.faces = []
        return out.packets()

    def _follow(self, packet: Packet, state: TrackState, out: "_Output") -> None:
        payload: FrameFaces = packet.payload
        frame, time = payload.frame, packet.time
        state.frames += 1
        luma = None if frame.corrupt else frame.luma()
        _move(state, luma, time)
        faces = payload.faces
        if faces is None and luma is not None and _should_ask(state):
            state.last_ask = state.frames
            faces = payload.detect_now()
        if faces is not None and luma is not None:
            self._take_in(faces, luma, packet, state, out)
        self._drop(packet, frame, state, out)
        if luma is not None:
            _cut_patches(state.faces, luma)
            state.seen = time
        state.time, state.media_time = time, frame.media_time
        state.only = (packet.carry(None), frame) if state.frames == 1 and state.faces else None
        for face in state.faces:
            if face.track is not None:
                out.give(face, packet, frame, payload.frozen)

    def _take_in(
        self,
        faces: Sequence[DetectedFace],
        luma: np.ndarray,
        packet: Packet,
        state: TrackState,
        out: "_Output",
    ) -> None:
        """Correct the tracks by the detections of this frame; start what is new."""
        found = [Sighting(face, appearance(luma, face.box)) for face in faces]
        good = [s for s in found if s.face.score >= self.params.keep_score]
        weak = [s for s in found if s.face.score < self.params.keep_score]
        matched, new = assign(state.faces, good, packet.time)
        rest = [face for face in state.faces if face not in matched]
        matched_weakly, _ = assign(rest, weak, packet.time, weak=True)
        for face, sighting in (matched | matched_weakly).items():
            _correct(face, sighting, packet.time)
        for face in rest:
            if face not in matched_weakly and face.look is not None:
                look = appearance(luma, face.box)
                face.adrift = look is None or float(face.look @ look) < LEAST_LIKENESS
        for sighting in new:
            if len(state.faces) >= self.params.max_tracks:
                break
            starts = sighting.face.score >= self.params.start_score
            if starts and not any(_is_same(f, sighting.face, packet.time) for f in state.faces):
                state.faces.append(_new_face(sighting, packet.time))
        for face in state.faces:
            if face.track is None and self._is_confirmed(face, state.faces):
                self._start(face, packet, state, out)

    def _is_confirmed(self, face: Face, faces: Sequence[Face]) -> bool:
        """Whether a new face has been detected often enough to be believed."""
        if any(other.lost_frames > 0 and _may_be(other, face) for other in faces):
            return face.detections >= CONTESTED_DETECTIONS
        return face.score >= self.params.sure_score or face.detections >= 2

    def _start(self, face: Face, packet: Packet, state: TrackState, out: "_Output") -> None:
        face.track, face.started = state.next_track, packet.time
        state.next_track += 1
        out.event(face, packet, "started", "")

    def _drop(self, packet: Packet, frame: Frame, state: TrackState, out: "_Output") -> None:
        """End what is lost, gone or double."""
        kept = []
        for face in state.faces:
            reason = self._why_over(face, packet.time, frame)
            if not reason:
                kept.append(face)
            elif face.track is not None:
                out.end(face, packet, frame.media_time, reason)
        state.faces = kept

    def _why_over(self, face: Face, time: float, frame: Frame) -> str:
        lost_for, undetected_for = time - face.shown, time - face.detected
        if face.track is None:
            return "unconfirmed" if undetected_for > TENTATIVE_S else ""
        if lost_for > self.params.max_lost_s:
            return "lost"
        if undetected_for > self.params.max_undetected_s:
            return "not_detected"
        x, y = face.box.centre
        inside = 0 <= x < frame.width and 0 <= y < frame.height
        if not inside and lost_for > OUTSIDE_S:
            return "left"
        if face.behind_since is not None and time - face.behind_since > DUPLICATE_S:
            return "duplicate"
        return ""


class _Output:
    """Gathers the packets of one call."""

    def __init__(self) -> None:
        self._tracks: list[Packet] = []
        self._events: list[Packet] = []

    def packets(self) -> Outputs:
        return {"tracks": self._tracks, "events": self._events}

    def give(self, face: Face, packet: Packet, frame: Frame, frozen: bool = False) -> None:
        points = face.keypoints.view(np.float32).reshape(-1, 2)
        tracked = TrackedFace(
            frame,
            face.box,
            face.detected == packet.time,
            face.score,
            points,
            max(0.0, packet.time - face.shown),
            face.started,
            frozen,
        )
        self._tracks.append(packet.carry(tracked, face.track))

    def event(
        self, face: Face, packet: Packet, state: str, reason: str, media_time: float | None = None
    ) -> None:
        if isinstance(packet.payload, FrameFaces):
            media_time = packet.payload.frame.media_time
        data = {
            "track": face.track,
            "epoch": packet.epoch,
            "state": state,
            "reason": reason,
            "media_time": media_time,
            "duration": round(packet.time - face.started, 6),
            "detections": face.detections,
        }
        # The event belongs to the stream: it must not end with the track.
        will = {"state": "ended"} if state == "started" else None
        event = Event(TRACK_EVENT, f"track/{face.track}", data, will=will)
        self._events.append(packet.carry(event))

    def end(self, face: Face, packet: Packet, media_time: float | None, reason: str) -> None:
        if face.track is None:
            return
        self._tracks.append(packet.carry(End(reason), face.track))
        self.event(face, packet, "ended", reason, media_time)


def assign(
    faces: Sequence[Face], found: Sequence[Sighting], time: float, weak: bool = False
) -> tuple[dict[Face, Sighting], list[Sighting]]:
    """Give detections to faces, at most one each, at the least total cost (Hungarian method).

    Args:
        faces: What is followed.
        found: What was detected.
        time: Capture time.
        weak: The detections prove little: only those near a face are given to it.

    Returns:
        What each face was given, and the detections that fit none.
    """
    if not faces or not found:
        return {}, list(found)
    costs = np.array([[_cost(f, sighting, time, weak) for sighting in found] for f in faces])
    rows, columns = linear_sum_assignment(costs)
    matched, taken = {}, set()
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if costs[row, column] < NO_MATCH:
            matched[faces[row]] = found[column]
            taken.add(column)
    return matched, [sighting for i, sighting in enumerate(found) if i not in taken]


def _cost(face: Face, sighting: Sighting, time: float, weak: bool = False) -> float:
    """Distance in face sizes, change of size, lack of overlap and of likeness; or NO_MATCH."""
    a, b = face.box, sighting.face.box
    size_a, size_b = sqrt(a.w * a.h), sqrt(b.w * b.h)
    (ax, ay), (bx, by) = a.centre, b.centre
    distance = hypot(ax - bx, ay - by) / max(size_a, size_b)
    growth = abs(log(size_b / size_a))
    reach = CLOSE if weak else min(MOST_REACH, REACH + REACH_GROWTH * (time - face.detected))
    if distance > reach or growth > log(MOST_GROWTH):
        return NO_MATCH
    unlike = 0.0
    if face.look is not None and sighting.look is not None:
        unlike = 1.0 - float(face.look @ sighting.look)
    if unlike > MOST_UNLIKE and distance > CLOSE:
        return NO_MATCH
    tentative = 0.3 if face.track is None else 0.0
    return distance + growth + 0.5 * (1 - overlap(a, b)) + UNLIKE * unlike + tentative


def _may_be(lost: Face, new: Face) -> bool:
    """Whether a new face lies where a lost one could have come to."""
    if lost.track is None or lost is new:
        return False
    (ax, ay), (bx, by) = lost.box.centre, new.box.centre
    return hypot(ax - bx, ay - by) < 2 * MOST_REACH * max(lost.box.w, new.box.w)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (a.w * a.h + b.w * b.h - common)


def _is_same(face: Face, detection: DetectedFace, time: float) -> bool:
    """Whether a detection that was not assigned still shows a face that is followed."""
    x, y = detection.box.centre
    box = face.box
    inside = box.x < x < box.x + box.w and box.y < y < box.y + box.h
    return face.shown == time and (inside or overlap(box, detection.box) > DUPLICATE_IOU)


def _new_face(sighting: Sighting, time: float) -> Face:
    detection = sighting.face
    return Face(
        BoxFilter(detection.box, DETECTION_NOISE),
        _complex_points(detection.keypoints),
        detection.score,
        time,
        time,
        time,
        detection.box,
        look=sighting.look,
    )


def _correct(face: Face, sighting: Sighting, time: float) -> None:
    detection = sighting.face
    face.filter.correct_place(detection.box, DETECTION_NOISE)
    face.box = face.filter.box
    face.keypoints = _complex_points(detection.keypoints)
    face.score = detection.score
    face.detected = face.shown = time
    face.detections += 1
    if sighting.look is not None:
        face.look = sighting.look if face.look is None else _blend(face.look, sighting.look)
    face.lost_frames = 0
    face.adrift = False
    face.behind_since = None


def _blend(look: np.ndarray, newer: np.ndarray) -> np.ndarray:
    mixed = look + LOOK_RATE * (newer - look)
    return np.asarray(mixed / np.sqrt(mixed @ mixed))


def _complex_points(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(points, dtype=np.float32).view(np.complex64).ravel().copy()


def _move(state: TrackState, luma: np.ndarray | None, time: float) -> None:
    """Bring every face to the present frame: by its pixels, or by its speed."""
    if state.time is None:
        return
    passed = time - state.time
    since_seen = time - (state.time if state.seen is None else state.seen)
    behind = _behind(state.faces)
    boxes = [face.box for face in state.faces]
    for face in state.faces:
        if face not in behind:
            face.behind_since = None
        elif face.behind_since is None:
            face.behind_since = time
        others = [box for box in boxes if box is not face.box and _near(box, face.box)]
        motion = None if luma is None else _motion(face, luma, since_seen, others)
        if motion is None or since_seen <= 0:
            _coast(face, passed, BEHIND_COAST_S if others else COAST_S)
        else:
            _move_with_picture(face, motion, passed, since_seen)
            face.shown = time


def _behind(faces: Sequence[Face]) -> set[Face]:
    """The faces in whose box another one, detected later, is seen."""
    behind = set()
    for i, face in enumerate(faces):
        for other in faces[i + 1 :]:
            if face.detected != other.detected and overlap(face.box, other.box) > BEHIND_IOU:
                behind.add(min(face, other, key=lambda f: f.detected))
    return behind


def _motion(face: Face, luma: np.ndarray, seconds: float, others: Sequence[Box]) -> Motion | None:
    before = face.patch
    after = None if before is None else before.cut_again(luma)
    face.patch = after
    if before is None or after is None or face.adrift:
        return None
    return find_motion(before, after, face.box, face.filter.velocity * seconds, others)


def _near(a: Box, b: Box) -> bool:
    """Whether two boxes are less than half a box from touching."""
    (ax, ay), (bx, by) = a.centre, b.centre
    return abs(ax - bx) < 0.75 * (a.w + b.w) and abs(ay - by) < 0.75 * (a.h + b.h)


def _move_with_picture(face: Face, motion: Motion, passed: float, since_seen: float) -> None:
    centre = face.filter.centre
    shift = (centre - motion.pivot) * motion.turn + motion.pivot + motion.shift - centre
    growth = log(abs(motion.turn))
    if since_seen < LEAST_STEP:
        face.filter.shift(shift, growth)
    else:
        face.filter.correct_velocity(shift / since_seen, growth / since_seen, FLOW_NOISE)
        face.filter.predict(passed)
    face.box = face.filter.box
    face.keypoints = motion.move(face.keypoints)
    face.lost_frames = 0


def _coast(face: Face, passed: float, damping_s: float) -> None:
    before = face.filter.centre
    face.filter.predict(passed, damping_s)
    face.box = face.filter.box
    face.keypoints = face.keypoints + np.complex64(face.filter.centre - before)
    face.lost_frames += 1


def _should_ask(state: TrackState) -> bool:
    """Whether a lost face is worth a detection now: at once, then ever more seldom."""
    if state.frames - state.last_ask < LEAST_ASK_GAP:
        return False
    return any(
        face.track is not None
        and face.behind_since is None
        and face.lost_frames > 0
        and face.lost_frames & (face.lost_frames + 1) == 0  # 1, 3, 7, 15, ...
        for face in state.faces
    )


def _cut_patches(faces: Iterable[Face], luma: np.ndarray) -> None:
    """See to it that every face has its patch of this frame."""
    for face in faces:
        if face.patch is None or not face.patch.fits(face.box):
            face.patch = cut_patch(luma, face.box)
