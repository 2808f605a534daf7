import pickle
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes import canonical
from padflow.nodes.align import Align, AlignParams, AlignState
from padflow.nodes.crops import (
    VIEW_SCALES,
    context_crop,
    face_crop,
    face_patches,
    face_views,
    picture_frame,
)
from padflow.nodes.frame import Frame
from padflow.nodes.mesh import to_crop, to_frame
from padflow.nodes.patches import Patches, PatchesParams
from padflow.nodes.payloads import (
    Box,
    FaceCrop,
    FaceMesh,
    FaceObservation,
    FacePixels,
    FaceSurroundings,
    FaceViews,
    Quality,
    SkinSample,
    TrackedFace,
)
from padflow.nodes.quality import LEAST_BELOW, LEAST_COLOUR, LEAST_INSIDE

FrameOf = Callable[..., Frame]
FaceIn = Callable[..., TrackedFace]
ClipFrames = Callable[[Path, int], Iterator[Frame]]
Warp = Callable[..., np.ndarray]

FIRST = Begin("door", 1, 0.0, 0, "first")


@pytest.fixture
def align(models: Path) -> Iterator[Align]:
    node = Align(AlignParams())
    node.open(NodeContext("align", "lossless"))
    yield node
    node.close()


class Run:
    """Feeds one track and keeps what came out."""

    def __init__(self, node: Align) -> None:
        self.node = node
        self.state: AlignState = node.new_state(FIRST)
        self.observations: list[FaceObservation] = []
        self.skin: list[SkinSample] = []
        self.crops: list[tuple[float, FaceCrop]] = []

    def feed(self, face: TrackedFace, time: float) -> FaceObservation:
        packet = Packet("door", time, 0, 1, face, arrival=7.0)
        outputs = self.node.process("tracks", [packet], [self.state])
        for port in ("observations", "skin", "crops"):
            assert all(p.time == time and p.key == 1 and p.arrival == 7.0 for p in outputs[port])
        observation: FaceObservation = outputs["observations"][0].payload
        sample: SkinSample = outputs["skin"][0].payload
        assert len(outputs["observations"]) == len(outputs["skin"]) == 1
        assert sample.usable == observation.usable
        self.observations.append(observation)
        self.skin.append(sample)
        self.crops += [(p.time, p.payload) for p in outputs["crops"]]
        return observation


def follow_clip(node: Align, frames: Iterator[Frame], first_box: Box) -> Run:
    """Runs a track over a clip; its box is where the face was last seen, as a tracker's would."""
    run, box = Run(node), first_box
    for frame in frames:
        time = frame.media_time
        assert time is not None
        observation = run.feed(TrackedFace(frame, box, False, 0.9, None, 0.0, 0.0), time)
        box = observation.box if observation.usable else box
    return run


def test_outputs_are_what_the_payloads_promise(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    run = Run(align)
    frame = frame_of(astronaut)
    for step in range(4):
        observation = run.feed(face_in(frame, astronaut_box), step / 25)
    assert observation.usable
    assert observation.frame_size == (512, 512)
    right_eye, left_eye, nose, right_mouth, left_mouth = observation.landmarks
    assert observation.landmarks.dtype == np.float32
    assert right_eye == pytest.approx((201, 99), abs=4)
    assert left_eye == pytest.approx((247, 101), abs=4)
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_mouth[1] > nose[1] > left_eye[1]
    assert observation.quality.motion < 0.1  # the picture stands still
    assert all(type(value) is float for value in astuple(observation.quality))
    skin = run.skin[-1]
    assert skin.grid.shape == (32, 32, 3)
    assert skin.grid.dtype == np.float32
    assert skin.valid.dtype == bool
    assert set(skin.regions) == set(canonical.REGIONS)
    for cheek in ("right_cheek", "left_cheek"):
        red, green, blue = skin.regions[cheek]
        assert red > green > blue
    assert skin.background.shape == (3,)
    assert skin.quality is observation.quality


def test_crop_is_level_and_at_its_scale(
    models: Path, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn,
    warped: Warp,
) -> None:  # fmt: skip
    frame = frame_of(warped(astronaut, (225.0, 123.0), angle=25.0))
    node = Align(AlignParams(scale=2.0, size=128))
    node.open(NodeContext("align", "lossless"))
    try:
        run = Run(node)
        for step in range(6):
            run.feed(face_in(frame, astronaut_box), step / 5)
    finally:
        node.close()
    _, crop = run.crops[-1]
    assert crop.image.shape == (128, 128, 3)
    assert crop.image.dtype == np.uint8
    assert crop.matrix.shape == (2, 3)
    assert crop.scale == 2.0
    eyes = crop.mesh[[canonical.RIGHT_EYE_OUTER, canonical.LEFT_EYE_OUTER]]
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=0.5)
    extent = np.ptp(crop.mesh[:, :2], axis=0).max()
    assert extent == pytest.approx(128 / 2.0, abs=0.5)
    # The picture is what the matrix says: the frame's pixels at the crop's.
    rgb = frame.picture.to_ndarray(format="rgb24")
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    truth = cv2.warpAffine(rgb, crop.matrix, (128, 128), flags=flags).astype(float)
    assert np.abs(crop.image - truth)[8:-8, 8:-8].mean() < 6


@pytest.mark.parametrize("rate", [7.0, 25.0, 29.97, 60.0])
def test_crops_come_at_their_cadence_of_capture_time(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn,
    rate: float,
) -> None:  # fmt: skip
    run = Run(align)
    frame = frame_of(astronaut)
    count = int(4 * rate)
    for step in range(count):
        run.feed(face_in(frame, astronaut_box), 100.0 + step / rate)
    times = [time for time, _ in run.crops]
    new = [time for time in times if time <= 102.0]
    settled = [time for time in times if time > 102.0]
    assert len(new) == pytest.approx(2 * 5, abs=1)
    assert len(settled) == pytest.approx(2 * 2.5, abs=1)
    assert min(b - a for a, b in pairwise(times)) > 0.2 - 1 / rate - 1e-9
    assert min(b - a for a, b in pairwise(settled)) > 0.4 - 1 / rate - 1e-9
    # After a pause there is no burst.
    before = len(run.crops)
    for step in range(3):
        run.feed(face_in(frame, astronaut_box), 104.9 + step / 100)
    assert len(run.crops) - before == 1


def test_no_crops_where_the_cadence_is_zero(
    models: Path, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    node = Align(AlignParams(cadence_hz=0))
    node.open(NodeContext("align", "lossless"))
    try:
        run = Run(node)
        run.feed(face_in(frame_of(astronaut), astronaut_box), 0.0)
    finally:
        node.close()
    assert run.observations[0].usable
    assert not run.crops


@pytest.mark.parametrize("taken", [set(), {"crops"}, {"contexts", "natives"}, {"views"}])
def test_only_crops_that_something_takes_are_made(
    models: Path, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn,
    taken: set[str],
) -> None:  # fmt: skip
    node = Align(AlignParams())
    connected = frozenset({"observations", "skin", *taken})
    node.open(NodeContext("align", "lossless", connected=connected))
    face = face_in(frame_of(astronaut), astronaut_box)
    try:
        packets = [Packet("door", t, 0, 1, face) for t in (0.0, 0.1, 0.2)]
        outputs = node.process("tracks", packets, [node.new_state(FIRST)] * 3)
    finally:
        node.close()
    assert all(p.payload.usable for p in outputs["observations"])
    for port in ("crops", "contexts", "natives", "views"):
        assert [p.time for p in outputs[port]] == ([0.0, 0.2] if port in taken else [])


@pytest.mark.parametrize("taken", [set(), {"meshes"}, {"pixels"}, {"meshes", "pixels"}])
def test_mesh_and_pixels_are_given_for_every_frame_where_something_takes_them(
    models: Path, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, taken: set[str]
) -> None:
    node = Align(AlignParams(cadence_hz=0))
    node.open(NodeContext("align", "lossless", connected=frozenset({"observations", *taken})))
    eyes = np.array([[199, 104], [247, 104], [224, 132], [223, 152]], np.float32)
    face = TrackedFace(frame_of(astronaut), astronaut_box, False, 0.9, eyes, 0.0, 0.0)
    packets = [Packet("door", step / 25, 0, 1, face) for step in range(6)]
    try:
        outputs = node.process("tracks", packets, [node.new_state(FIRST)] * 6)
    finally:
        node.close()
    for port in ("meshes", "pixels"):
        assert [p.time for p in outputs[port]] == [p.time for p in packets] * (port in taken)
    meshes = [p.payload for p in outputs["meshes"]]
    meshes += [p.payload.face for p in outputs["pixels"]]
    for mesh in meshes:
        assert mesh.usable
        assert mesh.points.shape == (468, 3)
        np.testing.assert_allclose(mesh.rotation @ mesh.rotation.T, np.eye(3), atol=1e-6)
    # The network looks ten times a second; in between the face stands still in the picture.
    assert [m.looked for m in meshes[:6]] == [True, False, False, True, False, False][: len(meshes)]
    for packet in outputs["pixels"]:
        pixels = packet.payload
        assert pixels.image.shape == (192, 192, 3)
        nose = to_crop(pixels.face.points, pixels.matrix)[canonical.NOSE_TIP, :2]
        assert np.abs(nose - 96).max() < 40


@pytest.mark.parametrize("rate", [5.0, 2.0])
def test_surroundings_are_given_at_their_rate_where_the_mesh_network_looked(
    models: Path, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, rate: float
) -> None:
    node = Align(AlignParams(surroundings_hz=rate))
    node.open(NodeContext("align", "lossless", connected=frozenset({"surroundings"})))
    eyes = np.array([[199, 104], [247, 104], [224, 132], [223, 152]], np.float32)
    face = TrackedFace(frame_of(astronaut), astronaut_box, False, 0.9, eyes, 0.0, 0.0)
    packets = [Packet("door", step / 25, 0, 1, face) for step in range(51)]
    packets.append(Packet("door", 2.04, 0, 1, replace(face, lost_for=9.0)))
    state = node.new_state(FIRST)
    try:
        outputs = [node.process("tracks", [packet], [state]) for packet in packets]
    finally:
        node.close()
    given = [p for output in outputs for p in output["surroundings"]]
    # The network looks at every third frame, so that not every distance can be kept.
    assert len(given) == pytest.approx(2 * rate + 1, abs=2)
    assert all(p.payload.face.looked and p.payload.face.usable for p in given)
    assert all(later.time - p.time > 1 / rate - 0.06 for p, later in pairwise(given))
    assert {p.payload.frame_size for p in given} == {astronaut.shape[1::-1]}


@pytest.mark.parametrize("zoom", [1, 3])
def test_crops_are_what_a_trainer_cuts(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, face_in: FaceIn, zoom: int
) -> None:
    """The nodes' pictures and those of the crop functions, from an RGB picture and a mesh."""
    image = cv2.resize(astronaut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    box = Box(*(side * zoom for side in astronaut_box))
    packet = Packet("door", 0.0, 0, 1, face_in(picture_frame(image), box))
    outputs = align.process("tracks", [packet], [align.new_state(FIRST)])
    cuts = {port: outputs[port][0].payload for port in ("crops", "contexts", "natives")}
    crop = cuts["crops"]
    mesh = to_frame(crop.mesh, crop.matrix)
    patches = Patches(PatchesParams()).process("faces", [packet.carry(cuts["natives"])], ())
    seen = patches["patches"][0].payload
    pairs = [
        (crop.image, face_crop(image, mesh)),
        (cuts["contexts"].image, context_crop(image, mesh)),
        (seen.images, face_patches(image, mesh)[: len(seen.images)]),
    ]
    for ours, trainers in pairs:
        assert ours.shape == trainers.shape
        # The mesh went there and back in 32-bit floats: no pixel may differ by more than that.
        assert np.abs(ours.astype(int) - trainers).max() <= 2
    assert len(seen.images) == (1 if zoom == 1 else 4)
    assert cuts["contexts"].scale == 4.0
    views = outputs["views"][0].payload
    assert views.scales == VIEW_SCALES
    np.testing.assert_array_equal(views.images, face_views(crop.image, cuts["contexts"].image))
    for cut in cuts.values():
        assert cut.quality is outputs["observations"][0].payload.quality
        np.testing.assert_allclose(to_frame(cut.mesh, cut.matrix), mesh, atol=0.01)


def test_corrupt_dark_and_lost_are_not_usable(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    run = Run(align)
    good = frame_of(astronaut)
    assert run.feed(face_in(good, astronaut_box), 0.0).usable
    assert not run.feed(face_in(frame_of(astronaut, corrupt=True), astronaut_box), 0.04).usable
    assert run.feed(face_in(good, astronaut_box), 0.08).usable
    assert not run.feed(face_in(good, astronaut_box, lost_for=0.6), 0.12).usable
    black = run.feed(face_in(frame_of(np.zeros_like(astronaut)), astronaut_box), 0.16)
    assert not black.usable
    assert black.box == astronaut_box
    assert black.quality.presence < 0.5
    assert run.feed(face_in(good, astronaut_box), 0.2).usable
    assert not run.feed(replace(face_in(good, astronaut_box), frozen=True), 0.24).usable
    assert len(run.crops) == 2  # 0.0 and 0.2, none of the bad ones
    learnt = run.state.looks.looks.max()
    assert learnt <= 2


def test_a_picture_without_colour_is_told_within_a_fifth_of_a_second(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    night = np.repeat(astronaut.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    run = Run(align)
    reach = []
    for index, picture in enumerate([astronaut] * 3 + [night] * 6):
        frame = frame_of(picture, index)
        seen = run.feed(face_in(frame, astronaut_box), index * 0.04)
        reach.append(seen.quality.colour)
    assert min(reach[:3]) > 20
    assert max(reach[-2:]) < LEAST_COLOUR


@pytest.mark.parametrize("cut", ["nothing", "left", "bottom"])
def test_how_the_face_stands_in_the_picture_is_told(
    cut: str,
    align: Align,
    astronaut: np.ndarray,
    astronaut_box: Box,
    frame_of: FrameOf,
    face_in: FaceIn,
) -> None:
    x, y, w, h = (round(side) for side in astronaut_box)
    left = x + w // 3 if cut == "left" else 0
    bottom = y + h + h // 8 if cut == "bottom" else 400
    picture = np.ascontiguousarray(astronaut[: bottom // 2 * 2, left // 2 * 2 :])
    box = astronaut_box._replace(x=astronaut_box.x - left // 2 * 2)
    run = Run(align)
    for index in range(5):
        seen = run.feed(face_in(frame_of(picture, index), box), index * 0.04)
    assert (seen.quality.inside < LEAST_INSIDE) is (cut == "left")
    assert (seen.quality.below < LEAST_BELOW) is (cut == "bottom")


def test_a_networks_nan_is_no_face(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = Run(align)
    frame = frame_of(astronaut)
    assert run.feed(face_in(frame, astronaut_box), 0.0).usable
    with monkeypatch.context() as patch:
        broken = {
            "landmarks": np.full((1, 468, 3), np.nan, np.float32),
            "presence": np.full((1, 1), 9.0, np.float32),
        }
        assert align._net is not None
        patch.setattr(align._net._engine, "infer", lambda arrays: broken)
        observation = run.feed(face_in(frame, astronaut_box), 0.04)
    assert not observation.usable
    assert observation.quality.presence == 0.0
    assert np.isfinite(observation.landmarks).all()
    assert np.isfinite(astuple(observation.quality)).all()
    assert run.feed(face_in(frame, astronaut_box), 0.08).usable


def test_presence_has_hysteresis(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    """A face fading into grey passes both thresholds, later on its way out than on its way in."""
    grey = np.full_like(astronaut, 128)

    def faded(share: float) -> Frame:
        return frame_of((astronaut * (1 - share) + grey * share).astype(np.uint8))

    run = Run(align)
    shares = np.linspace(0.8, 1.0, 41)
    out = [run.feed(face_in(faded(s), astronaut_box), i / 25) for i, s in enumerate(shares)]
    back = [
        run.feed(face_in(faded(s), astronaut_box), 3 + i / 25) for i, s in enumerate(shares[::-1])
    ]
    assert out[0].usable
    assert not out[-1].usable
    assert back[-1].usable
    for observation, before in zip(run.observations[1:], run.observations, strict=False):
        bound = 0.5 if before.usable else 0.8
        if observation.usable:
            assert observation.quality.presence >= bound


def test_a_repeated_timestamp_makes_no_face_fast(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    run = Run(align)
    for index in range(12):
        frame = frame_of(np.roll(astronaut, 2 * index, axis=1))
        box = astronaut_box._replace(x=astronaut_box.x + 2 * index)
        run.feed(face_in(frame, box), index // 2 * 0.08 + index % 2 * 0.001)
    width = run.observations[-1].quality.size
    speeds = [observation.quality.motion for observation in run.observations[2:]]
    assert speeds == pytest.approx([2 / 0.04 / width] * 10, rel=0.5)


def test_tracks_of_one_call_do_not_mix(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    pair = np.hstack([astronaut, astronaut[:, ::-1]])
    frame = frame_of(pair)
    other_box = astronaut_box._replace(x=1023 - astronaut_box.x - astronaut_box.w)
    boxes = {1: astronaut_box, 2: other_box}
    alone = {key: align.new_state(FIRST) for key in boxes}
    together = {key: align.new_state(FIRST) for key in boxes}
    for step in range(3):
        packets = [Packet("door", step / 25, 0, key, face_in(frame, boxes[key])) for key in boxes]
        both = align.process("tracks", packets, [together[key] for key in boxes])
        assert [p.key for p in both["observations"]] == [1, 2]
        for packet, observed in zip(packets, both["observations"], strict=True):
            assert packet.key is not None
            single = align.process("tracks", [packet], [alone[packet.key]])["observations"][0]
            assert single.payload.quality == observed.payload.quality
            assert single.payload.box == observed.payload.box
    first, second = (p.payload for p in both["observations"])
    assert first.box.centre[0] + second.box.centre[0] == pytest.approx(1023, abs=2)


def test_state_survives_export(
    align: Align, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    frame = frame_of(astronaut)
    run = Run(align)
    for step in range(6):
        run.feed(face_in(frame, astronaut_box), step / 25)
    copy = Run(align)
    copy.state = align.restore_state(pickle.loads(pickle.dumps(align.export_state(run.state))))
    for step in range(6, 12):
        here = run.feed(face_in(frame, astronaut_box), step / 25)
        there = copy.feed(face_in(frame, astronaut_box), step / 25)
        assert here.quality == there.quality
        assert (run.skin[-1].grid == copy.skin[-1].grid).all()
    assert [t for t, _ in run.crops][-1] == [t for t, _ in copy.crops][-1]


def test_contract_keeps_state_by_track() -> None:
    contract = Align.contract(AlignParams(max_gap=0.7))
    assert contract.state == "track"
    assert contract.max_gap == 0.7
    assert {name: port.type for name, port in contract.outputs.items()} == {
        "observations": FaceObservation,
        "skin": SkinSample,
        "meshes": FaceMesh,
        "pixels": FacePixels,
        "surroundings": FaceSurroundings,
        "crops": FaceCrop,
        "contexts": FaceCrop,
        "natives": FaceCrop,
        "views": FaceViews,
    }
    assert contract.inputs["tracks"].type is TrackedFace


@pytest.mark.parametrize(
    ("clip", "box"),
    [
        ("webcam_a_53s.mp4", Box(150, 90, 110, 130)),
        ("webcam_b_31s.mp4", Box(150, 90, 110, 130)),
    ],
)
def test_follows_real_faces_through_a_clip(
    align: Align, shared_data: Path, clip_frames: ClipFrames, clip: str, box: Box
) -> None:
    run = follow_clip(align, clip_frames(shared_data / "clips" / clip, 500), box)
    qualities = [o.quality for o in run.observations]
    assert len(qualities) == 500
    assert np.mean([o.usable for o in run.observations]) > 0.95
    assert np.percentile([q.presence for q in qualities], 5) > 0.95
    # The face fills about the same part of the picture throughout; the mesh never ran away.
    sizes = np.array([q.size for q in qualities])
    assert sizes.min() > 0.75 * np.median(sizes)
    assert sizes.max() < 1.3 * np.median(sizes)
    # Talking and turning is no occlusion.
    assert np.percentile([q.occlusion for q in qualities], 95) < 0.08
    for name in canonical.REGIONS:
        red, green, blue = np.median([s.regions[name] for s in run.skin], axis=0)
        assert red > green > blue, name
    assert_still_cells_are_stable(run.skin, qualities)


def assert_still_cells_are_stable(skin: list[SkinSample], qualities: list[Quality]) -> None:
    """Over the second in which the head moves least, cells keep their colour."""
    motion = np.array([q.motion for q in qualities])
    start = int(np.argmin(np.convolve(motion, np.ones(25), "valid")))
    window = skin[start : start + 25]
    valid = np.all([s.valid for s in window], axis=0)
    assert valid.sum() > 300
    spread = np.std([s.grid[valid] for s in window], axis=0)
    contrast = np.std(np.mean([s.grid[valid] for s in window], axis=0), axis=0)
    assert np.median(spread) < 1.5
    assert np.median(spread) < 0.1 * contrast.max()
