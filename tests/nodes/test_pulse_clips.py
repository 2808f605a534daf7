"""The pulse on pictures: through the video codec, the mesh and the registered skin map.

What is known of the pulse is known only where we put it, so the real clips show that the ratio
stays near zero where a pulse cannot be seen, not that a heart rate is right.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.align import Align, AlignParams
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.frame import Frame
from padflow.nodes.payloads import Box, TrackedFace
from padflow.nodes.pulse import Pulse, PulseParams

RATE = 25
FACE = Box(111.0, 69.0, 107.0, 107.0)
"""Of the astronaut, in the part of the picture that is used."""


def portrait_video(bpm: float | None, crf: int, seconds: float = 9.0) -> io.BytesIO:
    """A portrait that drifts, with noise, and with a pulse on its skin or without."""
    data = pytest.importorskip("skimage.data", reason="the portrait comes with scikit-image")
    picture = data.astronaut()[:360, 60:420].astype(np.float32)
    rng = np.random.default_rng(crf)
    y, x = np.mgrid[:360, :360]
    away = np.hypot((x - 164.5) / 54, (y - 122.5) / 70)
    skin = (np.clip(1.3 - away, 0, 0.3) / 0.3)[..., None] * np.array([0.43, 1.0, 0.69])
    drift = np.cumsum(rng.normal(0, 0.15, (int(seconds * RATE), 2)), axis=0)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 360, 360, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "g": "50"}
        stream.codec_context.thread_count = 1
        for index, (dx, dy) in enumerate(drift):
            beat = np.sin(2 * np.pi * (bpm or 0) / 60 * index / RATE)
            shown = picture * (1 + 0.004 * beat * skin).astype(np.float32)
            move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            shown = cv2.warpAffine(shown, move, (360, 360), borderMode=cv2.BORDER_REPLICATE)
            noisy = shown + 2.0 * rng.standard_normal(shown.shape, np.float32)
            frame = av.VideoFrame.from_ndarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file.seek(0)
    return file


def decode(file: io.BytesIO | Path) -> Iterator[tuple[float, av.VideoFrame]]:
    with av.open(file if isinstance(file, io.BytesIO) else str(file), "r") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for picture in container.decode(stream):
            assert picture.time is not None
            yield picture.time, picture


def look(file: io.BytesIO | Path, box: Box) -> list[Evidence]:
    """All evidence of one face that is followed from a box in the first frame."""
    align, pulse = Align(AlignParams(cadence_hz=0)), Pulse(PulseParams())
    begin = Begin("clip", 1, 0.0, 0, "first")
    aligned, felt = align.new_state(begin), pulse.new_state(begin)
    found: list[Evidence] = []
    align.open(NodeContext("align", "lossless"))
    try:
        for index, (time, picture) in enumerate(decode(file)):
            face = TrackedFace(Frame(picture, index), box, True, 1.0, None, 0.0, 0.0)
            given = align.process("tracks", [Packet("clip", time, 0, 1, face)], [aligned])
            box = given["observations"][0].payload.box
            evidence = pulse.process("skin", given["skin"], [felt])["evidence"]
            found += [packet.payload for packet in evidence]
    finally:
        align.close()
    return found


def valued(found: list[Evidence]) -> list[float]:
    return [e.llr for e in found if e.llr is not None]


@pytest.mark.usefixtures("models")
def test_a_pulse_is_found_through_codec_and_mesh_and_its_absence_too() -> None:
    alive = look(portrait_video(75.0, crf=8), FACE)
    assert len(valued(alive)) >= 3
    assert min(valued(alive)) > 0.4
    assert alive[-1].details["heart_rate_bpm"] == pytest.approx(75, abs=4)
    still = look(portrait_video(None, crf=8), FACE)
    assert len(valued(still)) >= 3
    assert np.mean(valued(still)) < 0
    assert max(valued(still)) < min(valued(alive)) - 0.2


@pytest.mark.usefixtures("models")
def test_a_pulse_that_the_codec_took_away_is_not_held_against_the_face() -> None:
    starved = look(portrait_video(75.0, crf=36), FACE)
    assert min(valued(starved), default=0.0) > -0.45


@pytest.mark.usefixtures("models")
def test_real_clips_of_living_people_are_not_called_pictures(shared_data: Path) -> None:
    clips = {
        "webcam_b_31s.mp4": Box(162.0, 110.0, 88.0, 130.0),
        "lowlight/light_050.avi": Box(270.0, 215.0, 102.0, 128.0),
    }
    for name, box in clips.items():
        found = look(shared_data / "clips" / name, box)
        ratios = valued(found)
        assert len(ratios) >= 4
        assert np.mean(ratios) > -0.3
        assert max(ratios) <= 1.0
        assert all(e.reasons for e in found if e.llr is None)
    dark = look(shared_data / "clips" / "lowlight/light_025.avi", Box(270.0, 215.0, 102.0, 128.0))
    assert not valued(dark)
    assert Reason.TOO_DARK in dark[-1].reasons
