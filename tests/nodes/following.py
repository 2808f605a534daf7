"""Drives Detect and Track over frames without a runtime, and paints people who move."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import cv2
import numpy as np

from padflow.graph.node import Begin, Finish, NodeContext, Outputs
from padflow.graph.packet import End, Packet
from padflow.nodes.detect import Detect, DetectParams, DetectState
from padflow.nodes.frame import Frame
from padflow.nodes.payloads import Box, DetectedFace, Event, FrameFaces, TrackedFace
from padflow.nodes.track import Track, TrackParams, TrackState

FIRST = Begin("door", None, 0.0, 0, "first")
Way = Callable[[float], tuple[float, float]]


def opened_detect(params: DetectParams | None = None) -> Detect:
    """A detector with its networks loaded; the caller closes it."""
    node = Detect(params or DetectParams())
    node.open(NodeContext("detect", "lossless"))
    return node


@dataclass
class Told:
    """Everything that a tracker said."""

    frames: list[dict[int, TrackedFace]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)

    def take(self, out: Outputs) -> dict[int, TrackedFace]:
        """Add one call's outputs; the tracks in it."""
        tracks: dict[int, TrackedFace] = {}
        for packet in out.get("tracks", ()):
            assert packet.key is not None
            if isinstance(packet.payload, End):
                self.ends.append((packet.key, packet.payload.reason))
            else:
                tracks[packet.key] = packet.payload
        self.events.extend(dict(packet.payload.data) for packet in out.get("events", ()))
        return tracks

    @property
    def started(self) -> list[int]:
        """Ids of the tracks that started, in order."""
        return [event["track"] for event in self.events if event["state"] == "started"]


class Follower:
    """Detect and Track of one stream."""

    def __init__(self, detect: Detect, params: TrackParams | None = None) -> None:
        self.detect, self.track = detect, Track(params or TrackParams())
        self.seen: DetectState = detect.new_state(FIRST)
        self.followed: TrackState = self.track.new_state(FIRST)
        self.told = Told()
        self.scene: list[Event] = []
        self.detections: list[tuple[float, int]] = []
        self.time = 0.0

    def step(self, frame: Frame, time: float) -> dict[int, TrackedFace]:
        """One frame; the tracks in it."""
        self.time = time
        found = self.detect.process("frames", [Packet("door", time, 0, None, frame)], [self.seen])
        self.scene.extend(packet.payload for packet in found.get("events", ()))
        (faces,) = found["faces"]
        if faces.payload.faces is not None:
            self.detections.append((time, len(faces.payload.faces)))
        tracks = self.told.take(self.track.process("faces", [faces], [self.followed]))
        self.told.frames.append(tracks)
        return tracks

    def finish(self) -> None:
        """End the stream."""
        last = Finish("door", None, self.time, 0, "end", "eof")
        ended = self.detect.finish(self.seen, last)
        self.scene.extend(packet.payload for packet in ended.get("events", ()))
        tracks = self.told.take(self.track.finish(self.followed, last))
        if tracks:
            self.told.frames.append(tracks)

    def run(self, frames: Iterable[tuple[Frame, float]]) -> Told:
        """A whole stream."""
        for frame, time in frames:
            self.step(frame, time)
        self.finish()
        return self.told


def rgb_frame(image: np.ndarray, index: int = 0, corrupt: bool = False) -> Frame:
    """A frame of an RGB picture (float or uint8)."""
    pixels = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
    return Frame(picture, index, media_time=index / 25, corrupt=corrupt)


class Person:
    """A head cut out of a portrait, to be pasted where it is wanted."""

    def __init__(self, portrait: np.ndarray, width: int) -> None:
        scale = width / portrait.shape[1]
        self.pixels = cv2.resize(
            np.ascontiguousarray(portrait), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        rows, columns = self.pixels.shape[:2]
        mask = np.zeros((rows, columns), np.float32)
        axes = (int(columns * 0.42), int(rows * 0.46))
        cv2.ellipse(mask, (columns // 2, rows // 2), axes, 0, 0, 360, 1.0, -1)
        self.mask = cv2.GaussianBlur(mask, (0, 0), 2)[..., np.newaxis]

    def paint(self, canvas: np.ndarray, x: float, y: float) -> None:
        """Paste with the middle at (x, y), in place."""
        rows, columns = self.pixels.shape[:2]
        left, top = round(x - columns / 2), round(y - rows / 2)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(canvas.shape[1], left + columns), min(canvas.shape[0], top + rows)
        if x1 <= x0 or y1 <= y0:
            return
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        share = self.mask[part]
        canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - share) + self.pixels[part] * share


def painted(
    background: np.ndarray,
    people: Sequence[tuple[Person, Way]],
    seconds: float,
    cover: Callable[[np.ndarray, float], None] | None = None,
) -> Iterable[tuple[Frame, float]]:
    """Noisy frames at 25 Hz of people on their ways; later ones walk in front."""
    rng = np.random.default_rng(0)
    for index in range(round(seconds * 25)):
        time = index / 25
        canvas = background.astype(np.float32)
        for person, way in people:
            person.paint(canvas, *way(time))
        if cover is not None:
            cover(canvas, time)
        canvas += rng.normal(0, 2, canvas.shape[:2])[..., np.newaxis]
        yield rgb_frame(canvas, index), time


def found_face(box: Box, score: float = 0.9) -> DetectedFace:
    """A detection with keypoints in about the right places."""
    places = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.5, 0.8]], np.float32)
    size, corner = np.array([box.w, box.h]), np.array([box.x, box.y])
    return DetectedFace(box, score, (places * size + corner).astype(np.float32))


def frame_faces(
    frame: Frame,
    faces: tuple[DetectedFace, ...] | None,
    now: Callable[[], tuple[DetectedFace, ...]] = tuple,
) -> FrameFaces:
    """What a detector would pass on."""
    return FrameFaces(frame, faces, now)
