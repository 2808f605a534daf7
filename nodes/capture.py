"""Reads files, folders of pictures and cameras, and says when each picture was taken."""

import dataclasses
import random
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import av
from annotated_types import Ge, Gt, Lt

from ..graph.errors import GraphDefinitionError
from ..graph.node import Contract, NodeContext, Outputs, Port, Source, StreamSpec
from ..graph.packet import Packet
from ..graph.schema import parse
from .capture_media import (
    Decoded,
    Media,
    MediaOptions,
    explain,
    open_media,
    open_picture,
    unreadable,
)
from .capture_pump import Closed, Opened, Pump, Reader
from .clock import StreamClock
from .frame import Frame
from .payloads import Event
from .sources import SourceAddress, SourceError, parse_source, readable, redact

SOURCE_EVENT = "padflow.source.v1"
_KEYFRAME_PATIENCE = 10.0
_WORTH_TELLING = 0.95
"""A file that gives less than this share of the duration it claims is told to be cut off."""


@dataclass(frozen=True)
class CaptureParams:
    """Parameters of :class:`Capture`. A stream's own options override them by name."""

    transport: Literal["tcp", "udp"] = "tcp"
    """How RTP comes from an rtsp:// camera. UDP loses pictures on a busy network."""
    timeout: Annotated[float, Gt(0), Lt(5)] = 4.0
    """Seconds after which a camera that gives no picture counts as stalled."""
    max_gap: Annotated[float, Gt(0)] = 2.0
    """Longest step in seconds between two pictures that does not begin a new epoch."""
    retry_min: Annotated[float, Gt(0)] = 0.5
    """Seconds until the first reconnect; doubles with every failure."""
    retry_max: Annotated[float, Gt(0)] = 30.0
    """Longest wait in seconds between two attempts."""
    retry_jitter: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share by which a wait is randomly longer or shorter, so that a hundred cameras behind a
    switch do not all come back at once."""
    max_attempts: Annotated[int, Gt(0)] | None = None
    """Failures in a row after which a live source is given up; None never does."""
    pace: Literal["auto", "camera", "full"] = "auto"
    """Speed of files: as a camera would give them, or as fast as they are taken. ``auto``: at
    camera speed in realtime mode, full speed in lossless mode."""
    picture_rate: Annotated[float, Gt(0)] = 25.0
    """Pictures per second of a folder of pictures."""
    hwaccel: str = ""
    """FFmpeg's name of a hardware decoder (``cuda``, ``vaapi``, …); empty for none. Falls back to
    the CPU where it is missing."""
    decoder_threads: Annotated[int, Gt(0)] = 1
    """Threads per stream. One costs the least CPU per frame; more only help a single stream that
    one core cannot decode in time."""
    max_pixels: Annotated[int, Gt(0)] = 64_000_000
    """Largest picture in pixels; a larger one is refused before memory is taken for it."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Clockwise turn in degrees that makes the pictures upright, beside what the container says:
    for a camera that is mounted on its side or head down, whose faces would not be found."""
    camera_size: str = ""
    """Picture size to ask of a /dev/video* camera, e.g. ``1280x720``; empty leaves it as it is."""
    camera_rate: Annotated[float, Ge(0)] = 0.0
    """Frame rate to ask of a /dev/video* camera; 0 leaves it as it is."""


@dataclass(slots=True)
class _Stream:
    """What one stream has given so far, and how its packets are made."""

    name: str
    address: SourceAddress
    clock: StreamClock
    frames: int = 0
    corrupt: int = 0
    skipped: int = 0
    time: float = 0.0
    epoch: int = 0
    utc: float | None = None
    media_start: float | None = None
    media_end: float | None = None
    info: dict[str, Any] = field(default_factory=dict)
    taken_up: str = ""
    """Why the stream goes on in this process, or empty."""

    def frame(self, decoded: Decoded) -> tuple[Outputs, str]:
        """The packet of a picture, and why it begins an epoch (empty where it begins none)."""
        moment = self.clock.at(decoded.media_time, decoded.arrival)
        frame = Frame(
            decoded.picture,
            self.frames,
            decoded.rotation,
            decoded.media_time,
            decoded.utc,
            decoded.clock,
            decoded.corrupt,
        )
        self.frames += 1
        self.corrupt += decoded.corrupt
        self.time, self.epoch, self.utc = moment.time, moment.epoch, decoded.utc
        if decoded.media_time is not None:
            self.media_end = decoded.media_time
            if self.media_start is None:
                self.media_start = decoded.media_time
        arrival = decoded.arrival if self.address.live else 0.0
        packet = Packet(self.name, moment.time, moment.epoch, None, frame, arrival)
        return {"frames": (packet,)}, moment.reason

    def event(self, state: str, reason: str, **details: Any) -> Outputs:
        """An event of the source, dated with the present where it is live, else with the frame."""
        data = {
            "state": state,
            "reason": redact(reason),
            "uri": self.address.shown,
            "media_time": self.media_end,
            "frames": self.frames,
            "corrupt_frames": self.corrupt,
            "skipped_frames": self.skipped,
            **self.info,
            **details,
        }
        utc = time.time() if self.address.live else self.utc
        over = state in ("ended", "error")
        event = Event(SOURCE_EVENT, "", data, utc, will=None if over else {"state": "lost"})
        arrival = time.monotonic() if self.address.live else 0.0
        packet = Packet(self.name, self.time, self.epoch, None, event, arrival)
        return {"events": (packet,)}


class Capture(Source[CaptureParams]):
    """Pictures of a stream in 4:2:0 with their capture times, and events of its source.

    Takes video files, still pictures, folders of pictures in natural order, ``rtsp(s)://``,
    ``http(s)://`` and ``/dev/video*``. Live sources are reconnected for as long as the run lasts;
    nothing that a source does raises: it is told as a ``padflow.source.v1`` event. Its ``state``:

    - ``connected``: the first picture of a connection came.
    - ``stalled``: connected, or trying to, and silent; ``lost``: refused or ended by the other
      side. Both are followed by an attempt in ``retry_in_s`` seconds.
    - ``ended``: the last event of a file; ``error``: the last event of a source that cannot be
      used or is given up.

    Frames that the decoder marks as damaged, and those predicted from them, are ``corrupt``. A
    file with B frames delays its pictures by the length of their runs to know it.
    """

    Params = CaptureParams

    def __init__(self, params: CaptureParams) -> None:
        super().__init__(params)
        self._context = NodeContext("capture", "lossless")

    @classmethod
    def contract(cls, params: CaptureParams) -> Contract:
        """No inputs; frames and events."""
        outputs = {
            "frames": Port(Frame, "every decoded picture"),
            "events": Port(Event, "what became of the source"),
        }
        return Contract(outputs=outputs)

    def open(self, context: NodeContext) -> None:
        """Note the mode: it decides the pace of files."""
        self._context = context

    def stream(self, spec: StreamSpec, cancel: threading.Event) -> Iterator[Outputs]:
        """Yield the frames and events of one source until it ends or is cancelled."""
        params = _with_options(self.params, spec)
        clock = StreamClock(max_gap=params.max_gap, declared_interval=1 / params.picture_rate)
        try:
            address = parse_source(spec.uri)
        except SourceError as error:
            stream = _Stream(spec.name, SourceAddress(spec.uri, "file"), clock)
            yield stream.event("error", str(error))
            return
        clock.live = address.live
        stream = _Stream(spec.name, address, clock, taken_up=spec.taken_up)
        options = _media_options(params, self._context.mode == "realtime")
        if address.live:
            reading = _LiveReading(stream, params, options, cancel, self._context)
            yield from reading.run()
            return
        paced = params.pace == "camera" or (
            params.pace == "auto" and self._context.mode == "realtime"
        )
        pace = _Pace(cancel) if paced else None
        outputs_of_file = _read_file(stream, options, self._context)
        if spec.resume_at > 0:
            outputs_of_file = _from_time(outputs_of_file, spec.resume_at, cancel)
        for outputs in outputs_of_file:
            if pace is not None and "frames" in outputs:
                pace.wait_until(outputs["frames"][0].time)
            if cancel.is_set():
                return
            yield outputs


def _from_time(
    given: Iterator[Outputs], start: float, cancel: threading.Event
) -> Iterator[Outputs]:
    """Without the frames before a capture time; events move up to it."""
    for outputs in given:
        # An hour of pictures may have to be passed over: that can be cancelled too.
        if cancel.is_set():
            return
        if any(packet.time < start for packet in outputs.get("frames", ())):
            continue
        yield {
            port: [p if p.time >= start else p._replace(time=start) for p in packets]
            for port, packets in outputs.items()
        }


class _Pace:
    """Lets the frames of a file go when a camera would have given them."""

    def __init__(self, cancel: threading.Event) -> None:
        self._cancel = cancel
        self._began: float | None = None

    def wait_until(self, stream_time: float) -> None:
        """Return at that time of the stream, or when cancelled."""
        now = time.monotonic()
        if self._began is None or now - self._began - stream_time > 1.0:
            # Held up for long: go on from here, rather than give a burst that no camera gives.
            self._began = now - stream_time
        self._cancel.wait(max(0.0, self._began + stream_time - now))


def _read_file(stream: _Stream, options: MediaOptions, context: NodeContext) -> Iterator[Outputs]:
    """Everything that can be decoded, then one event that says how it ended."""
    if stream.address.kind == "folder":
        yield from _read_folder(stream, options)
        return
    try:
        media = open_media(stream.address, options)
    except SourceError as error:
        yield stream.event("error", str(error))
        return
    except (av.FFmpegError, OSError, ValueError) as error:
        yield stream.event("error", unreadable("a video or picture", error))
        return
    try:
        yield from _read_media(stream, media, options, context)
    finally:
        media.close()


def _read_media(
    stream: _Stream, media: Media, options: MediaOptions, context: NodeContext
) -> Iterator[Outputs]:
    if media.declared_interval:
        stream.clock.declared_interval = media.declared_interval
    stream.info = media.describe()
    failure = ""
    try:
        for decoded in media.pictures():
            if decoded is None:
                continue
            yield from _give(stream, decoded, stream.frames == 0, context)
            if media.is_picture:
                break
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        failure = explain(error)
    yield _last_word(stream, media, failure, options.max_pixels)


def _last_word(stream: _Stream, media: Media, failure: str, most: int) -> Outputs:
    details = {"decode_errors": media.errors}
    if stream.frames == 0:
        why = failure or media.last_error or "it holds none"
        reason = f"no picture could be decoded: {why}"
        if not media.stream.codec_context.width:
            reason += f" (damaged, or larger than {most / 1e6:g} megapixels)"
        return stream.event("error", reason, **details)
    if failure:
        return stream.event("error", f"broken after {stream.time:.1f} s: {failure}", **details)
    claimed = media.duration
    missing = claimed is not None and not media.is_picture and claimed > 1.0
    if claimed is not None and missing and _seen(stream) < _WORTH_TELLING * claimed - 0.5:
        reason = f"ends after {_seen(stream):.1f} s of the {claimed:.1f} s it claims: cut off?"
        return stream.event("ended", reason, **details)
    return stream.event("ended", "end of the file", **details)


def _seen(stream: _Stream) -> float:
    if stream.media_start is None or stream.media_end is None:
        return stream.time
    return max(stream.time, stream.media_end - stream.media_start) + stream.clock.interval


def _read_folder(stream: _Stream, options: MediaOptions) -> Iterator[Outputs]:
    """Every picture of a folder at its set rate; broken ones are counted and leave a gap."""
    unreadable, last_error = 0, ""
    interval = stream.clock.declared_interval
    for index, path in enumerate(stream.address.pictures):
        try:
            media = open_picture(path, options)
            try:
                decoded = next((d for d in media.pictures() if d is not None), None)
                last_error = media.last_error or last_error
                info = media.describe()
            finally:
                media.close()
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            decoded, last_error = None, f"{readable(path.name)}: {explain(error)}"
        if decoded is None:
            unreadable += 1
            continue
        if not stream.frames:
            stream.info = info | {"declared_fps": round(1 / interval, 3)}
            yield stream.event("connected", stream.taken_up)
        yield stream.frame(decoded._replace(media_time=index * interval))[0]
    details = {"unreadable_pictures": unreadable}
    if not stream.frames:
        reason = f"none of its {unreadable} pictures could be decoded: {last_error}"
        yield stream.event("error", reason, **details)
    elif unreadable:
        reason = f"end of the folder; {unreadable} pictures could not be decoded: {last_error}"
        yield stream.event("ended", reason, **details)
    else:
        yield stream.event("ended", "end of the folder", **details)


def _give(
    stream: _Stream, decoded: Decoded, first: bool, context: NodeContext
) -> Iterator[Outputs]:
    """A frame; before the first of a connection the event that it stands."""
    outputs, reason = stream.frame(decoded)
    if first:
        why = stream.taken_up if stream.epoch == 0 else reason
        yield stream.event("connected", why, **_shape(decoded))
    elif reason:
        context.notice(
            f"stream {stream.name}: its clock broke ({reason.replace('_', ' ')}); "
            f"epoch {stream.epoch} begins at {stream.time:.2f} s"
        )
    yield outputs


def _shape(decoded: Decoded) -> dict[str, Any]:
    picture = decoded.picture
    shape = {"rotation": decoded.rotation, "clock": decoded.clock}
    return shape | {"width": picture.width, "height": picture.height}


class _LiveReading:
    """Stays connected to one live source: connects, watches for silence, backs off, connects."""

    def __init__(
        self,
        stream: _Stream,
        params: CaptureParams,
        options: MediaOptions,
        cancel: threading.Event,
        context: NodeContext,
    ) -> None:
        self._stream = stream
        self._params = params
        self._options = options
        self._cancel = cancel
        self._context = context
        self._attempt = 0
        """Failures in a row."""
        self._told_clock_off = False

    def run(self) -> Iterator[Outputs]:
        """Frames and events until the source ends, is given up, or the run is cancelled."""
        reader = Reader(self._stream.name)
        try:
            yield from self._read_on(reader)
        finally:
            reader.close()

    def _read_on(self, reader: Reader) -> Iterator[Outputs]:
        while not self._cancel.is_set():
            pump = Pump(self._stream.address, self._options, reader)
            try:
                closed = yield from self._connection(pump)
            finally:
                pump.stop()
            if closed is None or self._cancel.is_set():
                return
            if closed.ended:
                yield self._stream.event("ended", closed.reason)
                return
            self._attempt += 1
            if self._params.max_attempts and self._attempt >= self._params.max_attempts:
                reason = f"given up after {self._attempt} attempts: {closed.reason}"
                yield self._stream.event("error", reason, attempt=self._attempt)
                return
            delay = self._delay(closed.refused)
            state = "stalled" if closed.silent else "lost"
            self._tell_outage(state, closed.reason)
            yield self._stream.event(
                state,
                closed.reason,
                attempt=self._attempt,
                retry_in_s=round(delay, 2),
            )
            self._cancel.wait(delay)
            # A reader that hangs in a library is waited for: there is never more than one.
            while pump.alive and not self._cancel.wait(0.2):
                pass
            self._stream.clock.reconnect()

    def _connection(self, pump: Pump) -> Generator[Outputs, None, Closed | None]:
        """One connection; returns how it closed, None where the run was cancelled."""
        finite, first = False, True
        opened = time.monotonic()
        pace = _Pace(self._cancel)
        while not self._cancel.is_set():
            item = pump.get()
            if isinstance(item, Closed):
                return item
            if isinstance(item, Opened):
                opened = time.monotonic()
                finite = item.duration is not None
                self._stream.info = item.info
                self._stream.clock.declared_interval = item.declared_interval or 0.04
            elif isinstance(item, Decoded):
                if self._awaits_keyframe(item, first, opened):
                    self._stream.skipped += 1
                    continue
                if finite:
                    pace.wait_until(self._stream.time)
                self._tell_return()
                yield from _give(self._stream, item, first, self._context)
                first, self._attempt = False, 0
                self._tell_clock(item, pump.clock_off)
            elif pump.silence > self._params.timeout:
                return Closed(f"silent for {pump.silence:.1f} s", True, False)
        return None

    def _tell_outage(self, state: str, reason: str) -> None:
        """Tell whoever reads the log, once an outage: every attempt is in the events."""
        if self._attempt == 1:
            self._context.notice(
                f"stream {self._stream.name}: {self._stream.address.shown} is {state}: {reason}; "
                "it is tried until it answers; check the address, the camera and the network"
            )

    def _tell_return(self) -> None:
        if self._attempt:
            self._context.notice(
                f"stream {self._stream.name}: connected after {self._attempt} failed attempts"
            )

    def _tell_clock(self, item: Decoded, off: float | None) -> None:
        """Tell a camera's clock that is not believed, once until it is right again."""
        if off is not None and not self._told_clock_off:
            where = "ahead of" if off > 0 else "behind"
            self._context.notice(
                f"stream {self._stream.name}: the camera's clock is {abs(off):.0f} s {where} this "
                "machine's; its pictures are dated by when they arrive; set both by NTP"
            )
        self._told_clock_off = off is not None or (self._told_clock_off and item.clock != "ntp")

    def _awaits_keyframe(self, item: Decoded, first: bool, opened: float) -> bool:
        """Whether a picture is the rubble before the first keyframe after joining."""
        waited = time.monotonic() - opened
        return first and item.corrupt and not item.key and waited < _KEYFRAME_PATIENCE

    def _delay(self, refused: bool) -> float:
        """Seconds until the next attempt."""
        params = self._params
        # Cameras lock an account after a few wrong passwords: no quick retries then.
        doublings = min(self._attempt - 1, 30)
        wait = (
            params.retry_max if refused else min(params.retry_min * 2**doublings, params.retry_max)
        )
        jitter = params.retry_jitter
        return wait * random.uniform(1 - jitter, 1 + jitter)


def _with_options(params: CaptureParams, spec: StreamSpec) -> CaptureParams:
    """The node's parameters with those that the stream overrides."""
    known = {f.name for f in dataclasses.fields(CaptureParams)}
    unknown = sorted(set(spec.options) - known)
    if unknown:
        raise ValueError(
            f"stream {spec.name}: expected options among {', '.join(sorted(known))}, found "
            f"{', '.join(unknown)}; correct the name"
        )
    merged = {name: getattr(params, name) for name in known} | dict(spec.options)
    try:
        return parse(CaptureParams, merged, f"stream {spec.name}, options")
    except GraphDefinitionError as error:
        raise ValueError(str(error)) from error


def _media_options(params: CaptureParams, low_delay: bool) -> MediaOptions:
    return MediaOptions(
        transport=params.transport,
        timeout=params.timeout,
        decoder_threads=params.decoder_threads,
        low_delay=low_delay,
        hwaccel=params.hwaccel,
        max_pixels=params.max_pixels,
        rotate=params.rotate,
        camera_size=params.camera_size,
        camera_rate=params.camera_rate,
    )
