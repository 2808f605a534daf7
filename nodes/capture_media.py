"""From an opened container to 4:2:0 pictures with their times: what files and cameras share."""

import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import PacketSideData
from av.video.reformatter import Colorspace, VideoReformatter

from .capture_damage import DamageWatch
from .frame import ClockQuality
from .sources import SourceAddress, SourceError, redact

_FILE_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mjpeg,mjpeg_2000,"
    "m4v,h264,hevc,vvc,ivf,obu,av1,nut,gif,apng,mxf,dv,rm,yuv4mpegpipe,wtv,h263,h261,vc1,dhav,ea,"
    "bmp_pipe,jpeg_pipe,jpegls_pipe,png_pipe,webp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,j2k_pipe"
)
"""What a local file may be. No playlists or scripts: they make FFmpeg open other things."""
_NETWORK_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy",
    "http": "http,https,httpproxy,tcp,tls,hls,crypto,data",
}
_UNTIMED_FORMATS = ("mpjpeg", "mjpeg", "image2pipe")
"""Live formats without timestamps: FFmpeg makes them up from a made-up rate."""
_PLANAR_420 = ("yuv420p", "yuvj420p")
_MOST_AHEAD, _MOST_BEHIND = 1.0, 5.0
"""Seconds by which a camera's clock may differ from this machine's to be believed. Nothing comes
before it was taken; behind it may also be late, but a camera silent for longer has stalled."""
_DEMUX_RETRIES = 8


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How to open and decode."""

    transport: str = "tcp"
    timeout: float = 4.0
    """Seconds that opening, and reading each packet of a live source, may take."""
    decoder_threads: int = 1
    low_delay: bool = False
    """Never let the decoder hold pictures back to use its threads."""
    hwaccel: str = ""
    max_pixels: int = 64_000_000
    rotate: int = 0
    """Clockwise turn in degrees, a multiple of 90, on top of the container's."""
    camera_size: str = ""
    camera_rate: float = 0.0


class Decoded(NamedTuple):
    """One picture and what is known of it."""

    picture: av.VideoFrame
    """8-bit planar 4:2:0."""
    media_time: float | None
    """Seconds, as the container has it; None also where FFmpeg only made it up."""
    rotation: int
    corrupt: bool
    key: bool
    utc: float | None
    clock: ClockQuality
    arrival: float
    """``time.monotonic()`` when its packet came."""


@dataclass(slots=True)
class Media:
    """An opened container and the decoder of its best video stream. One thread at a time."""

    container: InputContainer
    live: bool
    file: IO[bytes] | None = None
    """A still picture's file, ours to close."""
    last_sign: float = field(default_factory=time.monotonic)
    """``time.monotonic()`` of the last video packet; read from other threads."""
    rotate: int = 0
    """Clockwise turn in degrees, on top of the container's."""
    errors: int = 0
    """Packets that could not be decoded."""
    last_error: str = ""
    clock_off: float | None = None
    """Seconds by which the source's clock is ahead of this machine's, if too far to be believed."""
    stream: av.VideoStream = field(init=False)
    _damage: DamageWatch = field(default_factory=DamageWatch)
    _converter: VideoReformatter = field(default_factory=VideoReformatter)
    _utc_offset: tuple[float, ClockQuality] | None = None

    def __post_init__(self) -> None:
        streams = self.container.streams
        best = streams.best("video")
        if best is None:
            raise SourceError("expected video, found none in it; check the file or address")
        self.stream = cast(av.VideoStream, best)
        if not self.live:
            self._utc_offset = _creation_offset(self.container, self.stream)

    def describe(self) -> dict[str, Any]:
        """What the container claims: JSON-ready, without anything secret."""
        context = self.stream.codec_context
        rate = self.stream.average_rate or self.stream.guessed_rate
        return {
            "width": context.width,
            "height": context.height,
            "codec": context.name,
            "pixel_format": context.pix_fmt,
            "declared_fps": round(float(rate), 3) if rate else None,
            "container": self.container.format.name,
            "hwaccel": bool(context.is_hwaccel),
        }

    @property
    def declared_interval(self) -> float | None:
        """Seconds per frame as the container claims."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(1 / rate) if rate else None

    @property
    def duration(self) -> float | None:
        """Seconds as the container claims; None for what has no end."""
        length = self.container.duration
        return length / av.time_base if length is not None and length > 0 else None

    @property
    def is_picture(self) -> bool:
        """Whether it is one still picture."""
        return self.container.format.name.endswith("_pipe")

    def pictures(self) -> Iterator[Decoded | None]:
        """Every picture that can be decoded; None after each packet that gave none.

        Raises:
            av.FFmpegError: the container cannot be read on (timeouts included).
        """
        retries = 0
        while True:
            try:
                # All streams, or a silent video beside a talking audio stream would block for ever.
                for packet in self.container.demux():
                    retries = 0
                    if packet.stream.index != self.stream.index:
                        yield None
                        continue
                    yield from self._decode(packet)
                break
            except av.error.InvalidDataError as error:
                retries += 1
                self._note_error(error, None)
                if retries > _DEMUX_RETRIES:
                    raise
        for picture, corrupt in self._damage.flush():
            yield self._finish(picture, corrupt, time.monotonic())

    def close(self) -> None:
        """Give the container, its decoder and its sockets back."""
        self.container.close()
        if self.file is not None:
            self.file.close()

    def _decode(self, packet: "av.Packet[Any]") -> Iterator[Decoded | None]:
        arrival = time.monotonic()
        pts = _packet_time(packet)
        if packet.size:
            self.last_sign = arrival
            self._damage.feed(packet.is_keyframe)
            if packet.is_corrupt:
                self._damage.broke(pts)
            if self.live:
                self._take_wall_clock(packet, pts)
        try:
            decoded = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, (av.error.EOFError, av.error.ExitError)):
                return
            self._note_error(error, pts)
            decoded = []
        given = False
        for picture in decoded:
            for judged, corrupt in self._damage.judge(picture):
                given = True
                yield self._finish(judged, corrupt, arrival)
        if not given:
            yield None

    def _note_error(self, error: av.FFmpegError, pts: float | None) -> None:
        self.errors += 1
        self.last_error = explain(error)
        self._damage.broke(pts)

    def _finish(self, picture: av.VideoFrame, corrupt: bool, arrival: float) -> Decoded:
        untimed = self.is_picture or (self.live and self.container.format.name in _UNTIMED_FORMATS)
        media_time = None if untimed else picture.time
        utc, clock = self._wall_clock(media_time)
        rotation = (round(-picture.rotation / 90) * 90 + self.rotate) % 360
        key = picture.key_frame
        converted = to_planar(picture, self._converter)
        return Decoded(converted, media_time, rotation, corrupt, key, utc, clock, arrival)

    def _take_wall_clock(self, packet: "av.Packet[Any]", pts: float | None) -> None:
        """Note the camera's own clock: FFmpeg hangs RTCP's NTP time on packets as PRFT.

        One that differs from this machine's, which whoever reads events compares them with, would
        let verdicts hold for too long or never. It is believed no more while the connection stands.
        """
        if pts is None or self.clock_off is not None or not packet.has_sidedata("prft"):
            return
        data = bytes(cast(memoryview, PacketSideData.from_packet(packet, "prft")))
        if len(data) < 8:
            return
        wall = struct.unpack_from("=q", data)[0] / 1e6
        ahead = wall - time.time()
        if -_MOST_BEHIND < ahead < _MOST_AHEAD:
            self._utc_offset = (wall - pts, "ntp")
        else:
            self._utc_offset, self.clock_off = None, ahead

    def _wall_clock(self, media_time: float | None) -> tuple[float | None, ClockQuality]:
        if self._utc_offset is not None and media_time is not None:
            return self._utc_offset[0] + media_time, self._utc_offset[1]
        return (time.time(), "arrival") if self.live else (None, "none")


def open_media(address: SourceAddress, options: MediaOptions) -> Media:
    """Open a file, a still picture or a live source and prepare its decoder.

    Raises:
        SourceError: it opened, and is nothing that can be used.
        av.FFmpegError: it cannot be opened.
        OSError: the file cannot be read.
    """
    file: IO[bytes] | None = None
    if address.kind == "still":
        # By number: FFmpeg would take a % in the name for a pattern, and the suffix for the truth.
        file = os.fdopen(os.open(address.path, os.O_RDONLY | os.O_CLOEXEC), "rb")
    return _open(file or _ffmpeg_name(address), address, options, file)


def open_picture(path: Path, options: MediaOptions) -> Media:
    """Open one still picture."""
    return open_media(SourceAddress(str(path), "still"), options)


def _open(
    target: str | IO[bytes], address: SourceAddress, options: MediaOptions, file: IO[bytes] | None
) -> Media:
    try:
        container = _open_container(target, address, options)
    except BaseException:
        if file is not None:
            file.close()
        raise
    try:
        media = Media(container, address.live, file, rotate=options.rotate)
        _prepare_decoder(media, options)
    except BaseException:
        container.close()
        if file is not None:
            file.close()
        raise
    return media


def _open_container(
    target: str | IO[bytes], address: SourceAddress, options: MediaOptions
) -> InputContainer:
    arguments: dict[str, Any] = {"options": _ffmpeg_options(address, options), "mode": "r"}
    if address.live:
        arguments["timeout"] = (options.timeout, options.timeout)
    if address.kind == "camera":
        arguments["format"] = "video4linux2"
    if options.hwaccel:
        # Without such a device PyAV raises, whatever allow_software_fallback says.
        with suppress(av.FFmpegError, OSError, ValueError, NotImplementedError, RuntimeError):
            accelerated = HWAccel(options.hwaccel, allow_software_fallback=True)
            return cast(InputContainer, av.open(target, hwaccel=accelerated, **arguments))
    return cast(InputContainer, av.open(target, **arguments))


def _prepare_decoder(media: Media, options: MediaOptions) -> None:
    context = media.stream.codec_context
    if context is None:
        raise SourceError("expected a codec that FFmpeg knows, found none; convert the video")
    width, height = context.width, context.height
    if width * height > options.max_pixels:
        raise SourceError(
            f"expected pictures of at most {options.max_pixels / 1e6:g} megapixels, found "
            f"{width}x{height}; scale them down or raise max_pixels"
        )
    context.thread_count = options.decoder_threads
    context.thread_type = "SLICE" if options.low_delay else "AUTO"
    context.options = {"max_pixels": str(options.max_pixels)}


def _ffmpeg_name(address: SourceAddress) -> str:
    if address.live:
        return address.uri
    # The prefix keeps a colon in a file's name from being read as a protocol.
    return f"file:{address.path}"


def _ffmpeg_options(address: SourceAddress, options: MediaOptions) -> Mapping[str, str]:
    common = {"threads": "1", "max_pixels": str(options.max_pixels)}
    if address.kind in ("file", "folder", "still"):
        return {**common, "format_whitelist": _FILE_FORMATS, "protocol_whitelist": "file"}
    if address.kind == "camera":
        asked = {"video_size": options.camera_size, "framerate": f"{options.camera_rate:g}"}
        return {**common, **{key: value for key, value in asked.items() if value not in ("", "0")}}
    common["protocol_whitelist"] = _NETWORK_PROTOCOLS[address.kind]
    # Pictures that FFmpeg looks at before it gives the first are old when they come.
    common |= {"analyzeduration": "1000000", "fpsprobesize": "0"}
    if address.kind == "rtsp":
        common |= {"rtsp_transport": options.transport, "allowed_media_types": "video"}
    return common


def to_planar(picture: av.VideoFrame, converter: VideoReformatter) -> av.VideoFrame:
    """The picture as 8-bit planar 4:2:0: itself where it is that, else converted once.

    RGB becomes full-range BT.601 (as JPEG has it); YUV keeps its matrix and range.
    """
    if picture.format.name in _PLANAR_420:
        return picture
    if picture.format.is_rgb or picture.format.has_palette:
        return converter.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=2,
            threads=1,
        )
    full = picture.color_range == 2 or picture.format.name.startswith(("yuvj", "gray"))
    return converter.reformat(picture, format="yuvj420p" if full else "yuv420p", threads=1)


def explain(error: BaseException) -> str:
    """What went wrong, in a few words and without credentials or addresses."""
    told = error.strerror if isinstance(error, (av.FFmpegError, OSError)) else None
    text = told or str(error) or type(error).__name__
    return redact(" ".join(text.split()))


def unreadable(expected: str, why: BaseException | str) -> str:
    """What is told, after its name, of a file that holds no picture that can be decoded.

    The one sentence of sources, trainers and commands.

    Args:
        expected: what the file should be, such as ``a video``.
        why: what reading it raised, or in words what is wrong with it.
    """
    if isinstance(why, IndexError):  # as PyAV tells that there is no stream of video
        why = "no video in it"
    told = why if isinstance(why, str) else explain(why)
    return (
        f"expected {expected}, found what cannot be read: {told}; copy the file again or give "
        "another"
    )


def _packet_time(packet: "av.Packet[Any]") -> float | None:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return float(stamp * packet.time_base) if stamp is not None and packet.time_base else None


def _creation_offset(
    container: InputContainer, stream: av.VideoStream
) -> tuple[float, ClockQuality] | None:
    """Unix time of presentation time 0, from the container's or stream's creation time."""
    text = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
    if not text:
        return None
    try:
        created = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    # Devices without a clock write the epoch of theirs: 1904, 1970, 1980.
    if created.tzinfo is None or created.year < 1990:
        return None
    begin = container.start_time
    return created.timestamp() - (begin / av.time_base if begin else 0.0), "container"
