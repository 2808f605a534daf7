"""Video files for tests, written by the real encoders, and what capture makes of a source."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from padflow.graph.node import Mode, NodeContext, StreamSpec
from padflow.graph.packet import Packet
from padflow.nodes.capture import Capture, CaptureParams
from padflow.nodes.frame import Frame
from tests.rtsp_camera import moving_picture

MILLISECONDS = Fraction(1, 1000)


def write_clip(
    path: Path,
    times: Sequence[int] = tuple(range(0, 2000, 40)),
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (320, 240),
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    matrix: Sequence[int] | None = None,
    metadata: dict[str, str] | None = None,
    images: Sequence[np.ndarray] | None = None,
) -> Path:
    """Write a clip of moving noise, one frame at each time in milliseconds."""
    if images is None:
        images = moving_picture(len(times), *size)
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        if codec != "mpeg4":
            stream.codec_context.time_base = MILLISECONDS
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for image, time in zip(images, times, strict=True):
            picture = av.VideoFrame.from_ndarray(image, "rgb24")
            picture.pts, picture.time_base = time, MILLISECONDS
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@dataclass
class Captured:
    """Everything that one stream of capture gave."""

    packets: list[Packet] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        return [p.time for p in self.packets if isinstance(p.payload, Frame)]

    @property
    def states(self) -> list[str]:
        return [e["state"] for e in self.events]

    @property
    def epochs(self) -> list[int]:
        return [p.epoch for p in self.packets if isinstance(p.payload, Frame)]


def capture(
    uri: str | Path,
    *,
    mode: Mode = "lossless",
    options: dict[str, Any] | None = None,
    cancel: threading.Event | None = None,
    spec: StreamSpec | None = None,
    **params: Any,
) -> Iterator[Captured]:
    """Run capture; yields the growing result after every packet. The caller may stop early."""
    result = Captured()
    node = Capture(CaptureParams(**params))
    node.open(NodeContext("capture", mode, notice=result.notices.append))
    stream = node.stream(
        spec or StreamSpec("s", str(uri), options or {}), cancel or threading.Event()
    )
    try:
        for outputs in stream:
            assert set(outputs) <= {"frames", "events"}
            for packet in (*outputs.get("frames", ()), *outputs.get("events", ())):
                assert packet.stream == "s"
                result.packets.append(packet)
                if isinstance(packet.payload, Frame):
                    result.frames.append(packet.payload)
                else:
                    assert packet.payload.type == "padflow.source.v1"
                    result.events.append(dict(packet.payload.data))
            yield result
    finally:
        stream.close()  # type: ignore[attr-defined]  # a generator, which Iterator does not say
        node.close()


def capture_all(uri: str | Path, **params: Any) -> Captured:
    """Run capture to its end."""
    result = Captured()
    for result in capture(uri, **params):  # noqa: B007 - the last one is the whole
        pass
    return result
