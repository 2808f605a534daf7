"""From a video to evidence of motion, with the shipped networks."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from padflow.engines.bundle import bundle_folders, read_bundle
from padflow.graph.local import LocalRun
from padflow.graph.node import NodeContext, StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.nodes.appearance import AppearanceParams
from padflow.nodes.depth_net import STAGES, DepthNet
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.payloads import DepthFeatures, FaceCrop
from padflow.nodes.skin import SkinMapper
from tests.nodes.clips import write_clip
from tests.nodes.test_motion_depth import GOOD


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait that sways for a second and a half."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries a portrait")
    face = np.asarray(cv2.resize(data.astronaut(), (480, 480)))
    frames = [np.roll(face, round(6 * np.sin(k / 4)), axis=1) for k in range(38)]
    path = tmp_path_factory.mktemp("clip") / "sway.mp4"
    return write_clip(path, range(0, 38 * 40, 40), images=frames)


def graph() -> Graph:
    return (
        Graph.build("motion")
        .add("capture", "capture")
        .add("detect", "detect", inputs={"frames": "capture.frames"})
        .add("track", "track", inputs={"faces": "detect.faces"})
        .add("align", "align", inputs={"tracks": "track.tracks"})
        .add("depth_net", "depth_net", inputs={"faces": "align.crops"})
        .add("motion_depth", "motion_depth", inputs={"features": "depth_net.features"})
    )


def evidence_of(clip: Path, streams: int, **options: Any) -> dict[str, list[Evidence]]:
    found: dict[str, list[Evidence]] = {}

    def take(packet: Packet) -> None:
        found.setdefault(packet.stream, []).append(packet.payload)

    taps = {"motion_depth.evidence": take}
    with LocalRun(graph(), "lossless", RunOptions(workers=0, **options), taps) as run:
        for k in range(streams):
            run.add_stream(StreamSpec(f"door-{k}", str(clip)))
        assert run.wait(120)
    return found


def test_evidence_comes_with_the_second_sample_and_is_the_same_on_any_threads(
    models: Path, clip: Path
) -> None:
    alone = evidence_of(clip, 1)["door-0"]
    assert len(alone) >= 7
    assert alone[0].reasons == (Reason.WINDOW_TOO_SHORT.value,)
    later = alone[1:]
    assert all(one.llr is not None or one.reasons for one in later)
    assert [one.details["samples"] for one in later] == list(range(2, len(alone) + 1))
    assert all(one.window[1] - one.window[0] <= 3.0 for one in alone)
    beside = evidence_of(clip, 2, threads=2, fuse=False)
    assert beside["door-0"] == beside["door-1"] == alone


def test_the_shipped_motion_network_goes_with_the_shipped_depth_network() -> None:
    depth, motion = (read_bundle(bundle_folders()[n]) for n in ("depth_light", "motion_depth"))
    assert motion.manifest.training.settings["backbone_edition"] == depth.manifest.edition
    files = motion.manifest.files.values()
    assert sum(file.bytes for file in files) < 3_000_000


def test_the_depth_network_gives_its_stages_with_its_reasons() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 256, 3), np.uint8)
    matrix, mesh = np.eye(2, 3, dtype=np.float32), rng.uniform(0, 255, (468, 3)).astype(np.float32)
    poor = FaceCrop(image, matrix, mesh, 1.5, replace(GOOD, size=9.0))
    node = DepthNet(AppearanceParams())
    node.open(NodeContext("depth_net", "lossless", connected=frozenset({"features"})))
    try:
        good = FaceCrop(image, matrix, mesh, 1.5, GOOD)
        packets = [Packet("door", 0.2 * k, 0, 1, face) for k, face in enumerate((good, poor))]
        seen, unseen = node.process("faces", packets, ())["features"]
    finally:
        node.close()
    features: DepthFeatures = seen.payload
    assert [stage.shape for stage in features.stages] == [(26, 32, 32), (26, 16, 16), (26, 8, 8)]
    assert features.depth.shape == (32, 32)
    assert features.edition == read_bundle(bundle_folders()["depth_light"]).manifest.edition
    assert features.reasons == ()
    places = (SkinMapper().places(mesh) + 0.5) / 256
    assert features.places.dtype == np.float32
    assert features.places == pytest.approx(places, abs=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(features)).places, features.places)
    assert unseen.payload.stages == ()
    assert unseen.payload.places.shape == (2, 0)
    assert unseen.payload.reasons == (Reason.FACE_TOO_SMALL.value,)


def test_stages_that_nothing_takes_are_left_out_of_the_network() -> None:
    image = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    mesh = np.zeros((468, 3), np.float32)
    packet = Packet("door", 0.0, 0, 1, FaceCrop(image, np.eye(2, 3), mesh, 1.5, GOOD))
    said, given = [], []
    for ports in ({"evidence"}, {"evidence", "features"}):
        node = DepthNet(AppearanceParams())
        node.open(NodeContext("depth_net", "lossless", connected=frozenset(ports)))
        try:
            said += [one.payload for one in node.process("faces", [packet], ())["evidence"]]
            assert node.engine is not None
            given.append({spec.name for spec in node.engine.outputs})
        finally:
            node.close()
    assert given[1] - given[0] == {*STAGES}
    assert said[0] == said[1]
