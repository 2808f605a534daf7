"""Writes each stream as an annotated H.264 video: the node ``video``."""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Annotated, Any, cast

import av
import av.error
import numpy as np
from annotated_types import Ge, Le
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from ..graph.node import NOTHING, Begin, Contract, Finish, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .decide import VERDICT
from .frame import Frame
from .overlay import FaceView, Overlay, View
from .payloads import Box, DepthMap, Event, FaceObservation, PulseTrace
from .sources import safe_name

ENCODERS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "veryfast", "bf": "0"},
    "libopenh264": {},
    "mpeg4": {"bf": "0"},
}
"""Encoders by preference, with their options. Without B-frames the file keeps capture time."""

CLOCK = Fraction(1, 90_000)
"""Time base of the file, in seconds: that of RTP and MPEG video."""
NOMINAL_FPS = 25
"""Hint for the encoder's rate control; frames keep their own times."""
BT709 = 1
LIMITED_RANGE = 1
LONGEST_SIDE = 16_384
"""Pixels in a line that H.264 encoders take at most."""
LOOKAHEAD = {"lossless": 1, "realtime": 8}
"""Frames held back until their observations have come. In lossless runs all inputs come in time
order, so the next frame says that everything about the last one is here."""
FORGET_AFTER = 2.0
"""Seconds after which a face that was not observed again is no longer drawn."""
SUFFIXES = (".mp4", ".mkv", ".mov")


class VideoFileError(OSError):
    """The video cannot be written; the text names the file and says what to do."""


@dataclass(frozen=True)
class VideoParams:
    """Parameters of :class:`Video`."""

    path: str = "annotated.mp4"
    """File to write (.mp4, .mkv or .mov). ``{stream}`` in it stands for the stream's name and is
    needed where there are several streams."""
    private: bool = False
    """Write the heart rate, which is health data, as a number beside the pulse wave."""
    quality: Annotated[int, Ge(0), Le(51)] = 23
    """Constant rate factor of H.264: lower is better and larger."""
    least_height: Annotated[int, Ge(2), Le(2160)] = 400
    """Lines of the video at least: smaller pictures are enlarged by a whole number, so that there
    is room for the words beside a face."""


@dataclass(slots=True)
class Face:
    """What is known of one face by now."""

    observed: float
    """Capture time of the newest observation."""
    observation: FaceObservation
    verdict: Mapping[str, Any] | None = None
    told: float = 0.0
    """Capture time of the verdict."""
    expires: float = 0.0
    """Capture time at which the verdict expires."""
    trace: PulseTrace | None = None
    depth: DepthMap | None = None


@dataclass(slots=True)
class VideoState:
    """What is remembered of one stream."""

    waiting: deque[Packet] = field(default_factory=deque)
    """Frames that are not drawn yet."""
    notes: deque[tuple[str, Packet]] = field(default_factory=deque)
    """What came on the other ports for frames that are not drawn yet, by time."""
    faces: dict[int, Face] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    """Trouble by type of event."""
    overlay: Overlay = field(default_factory=Overlay)
    file: "VideoFile | None" = None


class Video(Node[VideoParams]):
    """Draws the faces, verdicts and cues over every frame and encodes the result.

    Each frame is drawn with what was known at its capture time, and keeps that time in the file.
    The video is written aside and renamed when it is whole; an interrupted run closes it too.
    """

    Params = VideoParams

    def __init__(self, params: VideoParams) -> None:
        super().__init__(params)
        self._states: list[VideoState] = []
        self._names: dict[str, Path] = {}

    @classmethod
    def contract(cls, params: VideoParams) -> Contract:
        """Per stream; the inputs beside the frames may be missing."""
        return Contract(
            inputs={
                "frames": Port(Frame, "pictures to draw on"),
                "observations": Port(FaceObservation, "where the faces are"),
                "events": Port(Event, "verdicts, and trouble of scene and source", optional=True),
                "trace": Port(PulseTrace, "pulse waves", optional=True),
                "depth": Port(DepthMap, "what the depth network sees", optional=True),
            },
            state="stream",
        )

    def open(self, context: NodeContext) -> None:
        """Check the path and choose the encoder.

        Raises:
            VideoFileError: the folder is missing, the suffix is unknown, or nothing can encode.
        """
        self._context = context
        self._lookahead = LOOKAHEAD[context.mode]
        check_path(Path(self.params.path))
        self._encoder = choose_encoder()
        if self._encoder != "libx264":
            context.notice(
                f"this build of PyAV has no libx264: the video is encoded with {self._encoder}"
            )

    def new_state(self, begin: Begin) -> VideoState:
        """An empty one; after a break of the clock the same file goes on."""
        state = VideoState(overlay=Overlay(self.params.private))
        if isinstance(begin.previous, VideoState):
            state.file = begin.previous.file
            self._states = [known for known in self._states if known is not begin.previous]
        self._states.append(state)
        return state

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[VideoState]
    ) -> Outputs:
        """Hold frames until what belongs to them has come, then draw and encode them."""
        for packet, state in zip(packets, states, strict=True):
            if port == "frames":
                state.waiting.append(packet)
            else:
                self._note(state, port, packet)
            while len(state.waiting) > self._lookahead:
                self._write(state, state.waiting.popleft())
        return NOTHING

    def finish(self, state: VideoState, finish: Finish) -> Outputs:
        """Draw what waits; at the end of the stream close the file."""
        self._drain(state)
        if finish.reason == "end":
            self._states = [known for known in self._states if known is not state]
            self._close(state)
        return NOTHING

    def close(self) -> None:
        """Close the files of streams that did not end: an interrupted video is whole.

        Raises:
            VideoFileError: a file could not be finished; all others are.
        """
        states, self._states = self._states, []
        trouble: VideoFileError | None = None
        for state in states:
            for last_step in (self._drain, self._close):
                try:
                    last_step(state)
                except VideoFileError as error:
                    trouble = trouble or error
        if trouble is not None:
            raise trouble

    def export_state(self, state: VideoState) -> Any:
        """Nothing: a file being written cannot move to another process."""
        return None

    def restore_state(self, exported: Any) -> VideoState:
        """A state that starts a new file."""
        state = VideoState(overlay=Overlay(self.params.private))
        self._states.append(state)
        return state

    def _drain(self, state: VideoState) -> None:
        while state.waiting:
            self._write(state, state.waiting.popleft())

    def _close(self, state: VideoState) -> None:
        if state.file is not None:
            state.file.close()
            state.file = None

    def _note(self, state: VideoState, port: str, packet: Packet) -> None:
        state.notes.append((port, packet))
        # Bounded also where frames stop coming: what is older than any frame is known by now.
        if not state.waiting and len(state.notes) > 1:
            take_note(state, *state.notes.popleft())

    def _write(self, state: VideoState, packet: Packet) -> None:
        later: deque[tuple[str, Packet]] = deque()
        for port, note in state.notes:
            if note.time <= packet.time:
                take_note(state, port, note)
            else:
                later.append((port, note))
        state.notes = later
        frame: Frame = packet.payload
        if state.file is None:
            path = self._path_for(packet.stream)
            params = self.params
            state.file = VideoFile(path, frame, self._encoder, params.quality, params.least_height)
        image = state.file.blank(frame)
        state.overlay.draw(image, view_at(state, packet, image.shape))
        state.file.write(image, packet.time)

    def _path_for(self, stream: str) -> Path:
        if stream not in self._names:
            path = path_for(self.params.path, stream)
            if path in self._names.values():
                path = path.with_stem(f"{path.stem}-{safe_name(stream)}")
                stem, number = path.stem, 2
                while path in self._names.values():
                    path, number = path.with_stem(f"{stem}-{number}"), number + 1
                self._context.notice(
                    f"{self.params.path} without {{stream}}, or with streams of like names, is one "
                    f"file for several: stream {stream} is written to {path}"
                )
            self._names[stream] = path
        return self._names[stream]


class VideoFile:
    """One video file, written aside and renamed when it is closed."""

    def __init__(
        self, path: Path, first: Frame, encoder: str, quality: int, least_height: int = 2
    ) -> None:
        self.path = path
        self._aside = path.with_name(f".{path.stem}.part{path.suffix}")
        self._last = -1
        self._start: float | None = None
        self._reformatter = VideoReformatter()
        times = ceil(least_height / max(first.height, 1))
        times = max(min(times, LONGEST_SIDE // max(first.width, 1)), 1)
        # 4:2:0 needs even sides.
        self.width = max(first.width * times // 2 * 2, 2)
        self.height = max(first.height * times // 2 * 2, 2)
        try:
            # Fragments while it is written, an ordinary file once it is closed: what a killed run
            # leaves aside can still be played.
            flags = {} if path.suffix == ".mkv" else {"movflags": "+hybrid_fragmented"}
            self._container = av.open(str(self._aside), "w", options=flags)
            stream = self._container.add_stream(encoder, rate=NOMINAL_FPS)
            # The encoder's name is no literal, so its stream could be of any kind to a checker.
            self._stream = cast(av.VideoStream, stream)
            self._configure(encoder, quality)
            # Makes the file now: the first packet may come out of the encoder much later.
            self._container.start_encoding()
        except (OSError, av.error.FFmpegError, ValueError) as error:
            raise self._error(error) from error

    def _configure(self, encoder: str, quality: int) -> None:
        stream = self._stream
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        stream.time_base = CLOCK
        codec = stream.codec_context
        codec.time_base = CLOCK
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709
        codec.color_range = LIMITED_RANGE
        codec.options = {**ENCODERS[encoder], "threads": "1"}
        if encoder == "libx264":
            codec.options = {**codec.options, "crf": str(quality)}
        else:
            codec.bit_rate = self.width * self.height * 4

    def blank(self, frame: Frame) -> np.ndarray:
        """The frame as upright RGB of the file's size, uint8 (height, width, 3), to draw on."""
        image = frame.thumbnail(self.width, self.height)
        return image if image.flags.writeable else image.copy()

    def write(self, image: np.ndarray, time: float) -> None:
        """Encode a picture that was captured at a time in seconds.

        Raises:
            VideoFileError: the file cannot be written.
        """
        if self._start is None:
            self._start = time
        # Two frames cannot share a moment in a file: the second comes one tick later.
        ticks = max(round((time - self._start) / CLOCK), self._last + 1)
        self._last = ticks
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(image, "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        picture.pts, picture.time_base = ticks, CLOCK
        try:
            self._container.mux(self._stream.encode(picture))
        except (OSError, av.error.FFmpegError) as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is none.

        Raises:
            VideoFileError: the file cannot be written.
        """
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            if self._last >= 0:
                self._aside.replace(self.path)
            else:
                self._aside.unlink(missing_ok=True)
        except (OSError, av.error.FFmpegError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> VideoFileError:
        why = getattr(error, "strerror", None) or str(error)
        return VideoFileError(
            f"video: cannot write {self.path}: {why}; free or repair it, or choose another file "
            "with --video"
        )


def take_note(state: VideoState, port: str, packet: Packet) -> None:
    """Bring what is known of the faces up to date with a packet of another port than frames."""
    if port == "observations" and packet.key is not None:
        known = state.faces.get(packet.key)
        if known is None:
            state.faces[packet.key] = Face(packet.time, packet.payload)
        else:
            known.observed, known.observation = packet.time, packet.payload
    elif port == "trace" and packet.key in state.faces:
        state.faces[packet.key].trace = packet.payload
    elif port == "depth" and packet.key in state.faces:
        state.faces[packet.key].depth = packet.payload
    elif port == "events":
        _take_event(state, packet)


def _take_event(state: VideoState, packet: Packet) -> None:
    event: Event = packet.payload
    data = event.data
    if event.type in ("padflow.scene.v1", "padflow.source.v1"):
        fine = data.get("state") in ("ok", "connected", "ended")
        state.warnings[event.type] = "" if fine else str(data.get("state", ""))
    elif event.type == VERDICT:
        face = state.faces.get(data["track"])
        if face is not None:
            face.verdict, face.told = data, packet.time
            face.expires = packet.time + _life(event)
        if data["final"]:
            state.faces.pop(data["track"], None)


def _life(event: Event) -> float:
    """Seconds for which a verdict holds."""
    until = datetime.fromisoformat(event.data["expires_at"]).timestamp()
    return max(until - (event.utc or 0.0), 1e-3)


def view_at(state: VideoState, packet: Packet, shape: tuple[int, ...]) -> View:
    """What to draw over a frame; forgets faces that were not observed for long."""
    frame: Frame = packet.payload
    now = packet.time
    kept = {t: face for t, face in state.faces.items() if now - face.observed <= FORGET_AFTER}
    state.faces = kept
    across, down = shape[1] / frame.width, shape[0] / frame.height
    warnings = [text for text in state.warnings.values() if text]
    return View(
        stream=packet.stream,
        time=now,
        faces=[_face_view(track, face, now, across, down) for track, face in kept.items()],
        warning=", ".join(warnings) or ("frame corrupt" if frame.corrupt else ""),
    )


def _face_view(track: int, face: Face, now: float, across: float, down: float) -> FaceView:
    x, y, w, h = face.observation.box
    holds = None
    if face.verdict is not None:
        holds = (face.expires - now) / max(face.expires - face.told, 1e-3)
    return FaceView(
        track=track,
        box=Box(x * across, y * down, w * across, h * down),
        age=now - face.observed,
        verdict=face.verdict,
        holds=holds,
        trace=face.trace,
        depth=face.depth,
    )


def choose_encoder() -> str:
    """The best video encoder that this build of PyAV has.

    Raises:
        VideoFileError: it has none of those that are known.
    """
    for name in ENCODERS:
        with suppress(ValueError, av.error.FFmpegError):
            av.Codec(name, "w")
            return name
    raise VideoFileError(
        f"video: this build of PyAV has none of the encoders {', '.join(ENCODERS)}; "
        "install the av wheel from PyPI"
    )


def check_path(path: Path) -> None:
    """Refuse what cannot become a video file before anything runs.

    Raises:
        VideoFileError: the suffix is unknown or the folder is missing.
    """
    if path.suffix not in SUFFIXES:
        raise VideoFileError(
            f"video: expected a file ending in {', '.join(SUFFIXES)}, found '{path}'; rename it"
        )
    if not path.parent.is_dir():
        raise VideoFileError(f"video: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise VideoFileError(f"video: {path} is a folder; give a file in it")


def path_for(template: str, stream: str) -> Path:
    """The file of a stream."""
    return Path(template.replace("{stream}", safe_name(stream)))
