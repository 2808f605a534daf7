"""From a video to evidence of a pulse in depth features, with the shipped depth network."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.engines.bundle import bundle_folders, read_bundle
from padflow.graph.local import LocalRun
from padflow.graph.node import StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.pulse_depth import PulseDepth
from tests.nodes.clips import write_clip
from tests.nodes.tiny_pulse import write_tiny_pulse

RATE = 15


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait in light that beats, for five seconds."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries a portrait")
    face = np.asarray(cv2.resize(data.astronaut(), (360, 360)), np.float32)
    light = 1 + 0.15 * np.sin(2 * np.pi * 1.5 * np.arange(5 * RATE + 1) / RATE)
    frames = [np.clip(face * now, 0, 255).astype(np.uint8) for now in light]
    times = [round(1000 * k / RATE) for k in range(len(frames))]
    return write_clip(tmp_path_factory.mktemp("clip") / "door.mp4", times, images=frames)


def evidence_of(clip: Path, engine: Path, cadence: float) -> list[Evidence]:
    pace = {"cadence_hz": cadence, "settled_hz": cadence}
    graph = (
        Graph.build("pulse")
        .add("capture", "capture")
        .add("detect", "detect", inputs={"frames": "capture.frames"})
        .add("track", "track", inputs={"faces": "detect.faces"})
        .add("align", "align", pace, {"tracks": "track.tracks"})
        .add("depth_net", "depth_net", inputs={"faces": "align.crops"})
        .add(
            "pulse_depth",
            PulseDepth,
            {"engine": str(engine), "minimum": 4.0},
            {"features": "depth_net.features"},
        )
    )
    found: list[Evidence] = []

    def take(packet: Packet) -> None:
        found.append(packet.payload)

    options = RunOptions(workers=0)
    with LocalRun(graph, "lossless", options, {"pulse_depth.evidence": take}) as run:
        run.add_stream(StreamSpec("door", str(clip)))
        assert run.wait(60)
    return found


def test_evidence_comes_at_the_cameras_full_rate_and_is_told_to_be_missing_below_it(
    models: Path, clip: Path, tmp_path: Path
) -> None:
    depth = read_bundle(bundle_folders()["depth_light"]).manifest
    shapes = [spec.shape[1:] for spec in depth.outputs if spec.name.startswith("features_")]
    engine = write_tiny_pulse(tmp_path / "pulse", edition=depth.edition, shapes=shapes)
    full = evidence_of(clip, engine, 60.0)
    assert [one.llr is None for one in full] == [True, True, True, False, False]
    assert full[-1].details["samples"] == pytest.approx(5 * RATE + 1, abs=2)
    assert full[-1].details["heart_rate_bpm"] == pytest.approx(90, abs=5)
    slow = evidence_of(clip, engine, 5.0)
    assert slow[-1].reasons == (Reason.FRAME_RATE_TOO_LOW.value,)
