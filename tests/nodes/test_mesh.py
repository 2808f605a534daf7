from collections.abc import Callable, Iterator
from dataclasses import replace
from math import pi
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes import canonical
from padflow.nodes.canonical import canonical_face
from padflow.nodes.frame import Frame
from padflow.nodes.mesh import (
    CROP_SIDE,
    MeshNet,
    MeshTrack,
    Square,
    follow,
    square_of_mesh,
    to_crop,
    to_frame,
)
from padflow.nodes.payloads import Box, TrackedFace

FrameOf = Callable[..., Frame]
FaceIn = Callable[..., TrackedFace]
Warp = Callable[..., np.ndarray]

squares = st.builds(
    Square,
    st.floats(-500, 2000),
    st.floats(-500, 2000),
    st.floats(20, 2000),
    st.floats(-pi, pi),
)


class CountingNet(MeshNet):
    """The real network, counting what it is asked."""

    asked = 0

    def infer(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        self.asked += 1
        return super().infer(crop)


@pytest.fixture
def counting_net(models: Path) -> Iterator[CountingNet]:
    with CountingNet() as net:
        yield net


@given(squares)
def test_square_maps_its_middle_and_its_side(square: Square) -> None:
    matrix = square.matrix(100).astype(np.float64)
    middle = matrix[:, :2] @ (49.5, 49.5) + matrix[:, 2]
    assert np.allclose(middle, (square.x, square.y), atol=0.01)
    along = matrix[:, :2] @ (100.0, 0.0)
    assert np.linalg.norm(along) == pytest.approx(square.side, rel=1e-4)
    assert np.allclose(along, square.side * np.array([np.cos(square.angle), np.sin(square.angle)]),
                       atol=0.01)  # fmt: skip


@given(squares)
def test_to_crop_undoes_to_frame(square: Square) -> None:
    mesh = (canonical_face().points * 30 + 96).astype(np.float32)
    matrix = square.matrix()
    there = to_frame(mesh, matrix)
    assert np.allclose(to_crop(there, matrix), mesh, atol=0.1)
    assert np.ptp(there[:, 2]) == pytest.approx(np.ptp(mesh[:, 2]) * square.side / CROP_SIDE, 1e-3)


@given(st.floats(-3.0, 3.0), st.floats(10, 300))
def test_square_of_mesh_levels_the_eyes_and_holds_the_face(angle: float, scale: float) -> None:
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    mesh = ((canonical_face().points * scale) @ turn.T + (400, 300, 0)).astype(np.float32)
    square = square_of_mesh(mesh, 1.5)
    inside = to_crop(mesh, square.matrix(192))
    right, left = inside[canonical.RIGHT_EYE_OUTER], inside[canonical.LEFT_EYE_OUTER]
    assert right[1] == pytest.approx(left[1], abs=0.1)
    assert right[0] < left[0]
    assert np.ptp(inside[:, :2], axis=0).max() == pytest.approx(192 / 1.5, abs=0.5)
    assert (inside[:, :2].min(0) + inside[:, :2].max(0)) / 2 == pytest.approx((95.5, 95.5), abs=0.5)


def test_presence_tells_faces_from_everything_else(
    mesh_net: MeshNet, astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    frame = frame_of(astronaut)
    face = Square(225.0, 123.0, 161.0, 0.05)
    assert mesh_net.infer(frame.crop(face.matrix(), CROP_SIDE))[1] > 0.95
    rng = np.random.default_rng(1)
    nothing = {
        "black": np.zeros((192, 192, 3), np.uint8),
        "grey": np.full((192, 192, 3), 128, np.uint8),
        "skin-coloured": np.full((192, 192, 3), (200, 150, 130), np.uint8),
        "noise": rng.integers(0, 255, (192, 192, 3), dtype=np.uint8),
        "hand": frame.crop(Square(195.0, 440.0, 130.0, 0.0).matrix(), CROP_SIDE),
        "suit": frame.crop(Square(120.0, 330.0, 150.0, 0.0).matrix(), CROP_SIDE),
        "flag": frame.crop(Square(60.0, 120.0, 110.0, 0.0).matrix(), CROP_SIDE),
    }
    for name, crop in nothing.items():
        assert mesh_net.infer(crop)[1] < 0.2, name


def test_mesh_follows_the_picture_not_the_crop(
    mesh_net: MeshNet, astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    """The same picture through slightly different crops: the mesh must stay on the face."""
    frame = frame_of(astronaut)
    meshes = []
    for shift in np.linspace(-3, 3, 7):
        matrix = Square(225.0 + shift, 123.0 - shift, 161.0 + shift, 0.05).matrix()
        meshes.append(to_frame(mesh_net.infer(frame.crop(matrix, CROP_SIDE))[0], matrix))
    spread = np.std(meshes, axis=0)[:, :2]
    width = 100  # of the face in pixels
    assert np.median(spread) < 0.004 * width


def test_follow_settles_and_asks_the_network_once_a_frame(
    counting_net: CountingNet, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf,
    face_in: FaceIn,
) -> None:  # fmt: skip
    frame = frame_of(astronaut)
    track = MeshTrack()
    readings = [follow(counting_net, frame, face_in(frame, astronaut_box), track) for _ in range(8)]
    assert counting_net.asked == 8
    assert all(r.holds for r in readings)
    last, before = readings[-1].mesh, readings[-2].mesh
    assert np.abs(last - before)[:, :2].max() < 0.3
    assert np.allclose(readings[-1].crop_mesh, to_crop(last, readings[-1].matrix), atol=0.05)


def test_follow_moves_with_the_tracks_box(
    counting_net: CountingNet, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf,
    face_in: FaceIn, warped: Warp,
) -> None:  # fmt: skip
    track = MeshTrack()
    first = frame_of(astronaut)
    was = follow(counting_net, first, face_in(first, astronaut_box), track)
    # Nearly a face width in one frame: out of the old crop, but the tracker's box went along.
    moved = frame_of(warped(astronaut, (225.0, 123.0), shift=(90.0, 40.0)))
    box = astronaut_box._replace(x=astronaut_box.x + 90, y=astronaut_box.y + 40)
    now = follow(counting_net, moved, face_in(moved, box), track)
    assert counting_net.asked == 2
    assert now.holds
    assert (now.mesh - was.mesh)[:, :2].mean(0) == pytest.approx((90, 40), abs=2.0)


def test_follow_restarts_from_the_box_where_the_mesh_went_astray(
    counting_net: CountingNet, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf,
    face_in: FaceIn,
) -> None:  # fmt: skip
    frame = frame_of(astronaut)
    astray = MeshTrack(Square(120.0, 330.0, 150.0, 0.0), astronaut_box)
    reading = follow(counting_net, frame, face_in(frame, astronaut_box), astray)
    assert counting_net.asked == 2
    assert reading.holds
    # A good mesh of another face than the track's does not hold either.
    elsewhere = Box(20.0, 330.0, 100.0, 110.0)
    other = MeshTrack(Square(225.0, 123.0, 161.0, 0.05), elsewhere)
    assert not follow(counting_net, frame, face_in(frame, elsewhere), other).holds
    assert other.square is None


def test_a_mesh_whose_eyes_are_not_the_tracks_does_not_hold(
    mesh_net: MeshNet, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf,
    face_in: FaceIn,
) -> None:  # fmt: skip
    frame = frame_of(astronaut)
    eyes = np.array([(201, 99), (247, 101)], np.float32)
    seen = replace(face_in(frame, astronaut_box), keypoints=eyes)
    assert follow(mesh_net, frame, seen, MeshTrack()).holds
    higher = replace(seen, keypoints=eyes - (0, 40))
    track = MeshTrack()
    reading = follow(mesh_net, frame, higher, track)
    assert reading.presence > 0.9
    assert not reading.holds
    assert track.square is None


def test_a_hand_before_the_mouth_does_not_drag_the_mesh_down(
    mesh_net: MeshNet, astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf,
    face_in: FaceIn,
) -> None:  # fmt: skip
    """From a crop that has slid to the mouth, following finds back or says that it has not."""
    covered = astronaut.copy()
    covered[140:185, 190:260] = astronaut[60:105, 20:90]
    frame = frame_of(covered)
    eyes = np.array([(201, 99), (247, 101)], np.float32)
    face = replace(face_in(frame, astronaut_box), keypoints=eyes)
    slid = MeshTrack(Square(225.0, 165.0, 130.0, 0.05), astronaut_box)
    for _ in range(3):
        reading = follow(mesh_net, frame, face, slid)
        found = reading.mesh[[33, 133, 263, 362], :2].mean(0)
        if reading.holds:
            assert found == pytest.approx(eyes.mean(0), abs=0.6 * 46)
    assert reading.holds


def test_follow_of_a_lost_face_costs_one_crop_a_frame(
    counting_net: CountingNet, astronaut: np.ndarray, frame_of: FrameOf, face_in: FaceIn
) -> None:
    frame = frame_of(np.zeros_like(astronaut))
    track = MeshTrack()
    for _ in range(5):
        assert not follow(counting_net, frame, face_in(frame, Box(100, 100, 90, 90)), track).holds
    assert counting_net.asked == 5


@pytest.mark.parametrize("box", [Box(-400, -400, 50, 50), Box(0, 0, 0, 0), Box(500, 500, 3, 900)])
def test_odd_boxes_do_no_harm(
    mesh_net: MeshNet, astronaut: np.ndarray, box: Box, frame_of: FrameOf, face_in: FaceIn
) -> None:
    frame = frame_of(astronaut)
    reading = follow(mesh_net, frame, face_in(frame, box), MeshTrack())
    assert np.isfinite(reading.mesh).all()
    assert not reading.holds
