import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from padflow.nodes.canonical import LOOPS, NOSE_TIP, canonical_face, point_normals
from padflow.nodes.mesh import square_of_mesh
from padflow.nodes.pose import rotation_of
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.labels import FLOOR, depth_label, plane_label

SIZE = 256
RIM = round(255 * FLOOR)


def in_crop(yaw: float = 0.0, pitch: float = 0.0, scale: float = 1.5) -> Array:
    """The canonical face, turned, where the face crop of 256 pixels has it."""
    mesh = canonical_face().points @ rotation_of(yaw, pitch, 0.0).T.astype(np.float32)
    mesh = mesh * np.float32(100.0)
    square = square_of_mesh(mesh, scale)
    to_crop = cv2.invertAffineTransform(square.matrix(SIZE))
    places = mesh[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]
    step = SIZE / square.side
    return np.column_stack([places, mesh[:, 2] * step]).astype(np.float32)


def test_the_nose_is_nearest_the_rim_is_above_background_and_corners_are_0() -> None:
    mesh = in_crop()
    label = depth_label(mesh, SIZE)
    assert label.dtype == np.uint8
    assert label.shape == (32, 32)
    assert label.max() == 255
    assert label[label > 0].min() == RIM
    row, column = np.unravel_index(int(label.argmax()), label.shape)
    nose = (mesh[NOSE_TIP, :2] + 0.5) / 8 - 0.5
    assert np.hypot(column - nose[0], row - nose[1]) < 1.5
    assert not label[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_a_frontal_face_is_symmetric_and_fills_a_third_of_its_crop() -> None:
    label = depth_label(in_crop(), SIZE).astype(float)
    assert np.abs(label - label[:, ::-1]).mean() < 2.0
    assert 0.28 < (label > 0).mean() < 0.40
    assert 0.18 < label.mean() / 255 < 0.30


def test_a_turned_head_has_its_near_cheek_brighter_than_the_far_one() -> None:
    mesh, mirrored = in_crop(25.0), in_crop(-25.0)
    label, other = (depth_label(m, SIZE).astype(float) for m in (mesh, mirrored))
    assert np.abs(label - other[:, ::-1]).mean() < 3.0
    near, far = np.array([50, 280])[np.argsort(mesh[[50, 280], 2])]
    assert _at(label, mesh[near]) > _at(label, mesh[far]) + 20


def _at(label: Array, point: Array) -> float:
    column, row = (int(v) for v in np.rint((point[:2] + 0.5) / 8 - 0.5))
    return float(label[row, column])


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (20, 0), (-20, 10), (0, -20)])
def test_the_label_falls_with_depth(yaw: float, pitch: float) -> None:
    """Points that face the camera, away from the rim: the deeper, the darker."""
    mesh = in_crop(yaw, pitch)
    facing = point_normals(mesh, canonical_face().triangles)[:, 2] < -0.6
    facing[list(LOOPS["oval"])] = False
    label = depth_label(mesh, SIZE)
    shades = np.array([_at(label, point) for point in mesh[facing]])
    order = spearmanr(mesh[facing, 2], shades).statistic
    assert order < -0.95


@settings(deadline=None, max_examples=25)
@given(st.floats(-400, 400), st.floats(0.2, 5.0), st.floats(-50, 50), st.floats(-25, 25))
def test_moving_the_face_along_z_or_stretching_its_relief_changes_nothing(
    shift: float, stretch: float, yaw: float, pitch: float
) -> None:
    mesh = in_crop(yaw, pitch)
    changed = mesh * np.array([1, 1, stretch], np.float32) + np.array([0, 0, shift], np.float32)
    first, second = (depth_label(m, SIZE).astype(int) for m in (mesh, changed))
    assert np.abs(first - second).max() <= 1


@settings(deadline=None, max_examples=25)
@given(st.integers(-4, 4), st.integers(-4, 4))
def test_the_label_moves_with_the_face_by_whole_cells(columns: int, rows: int) -> None:
    mesh = in_crop(scale=2.0)
    moved = mesh + np.array([8 * columns, 8 * rows, 0], np.float32)
    there = np.roll(depth_label(mesh, SIZE), (rows, columns), (0, 1))
    assert (depth_label(moved, SIZE) == there).mean() > 0.995  # rounding on the rim


def test_a_quarter_turn_of_the_picture_turns_the_label() -> None:
    mesh = in_crop()
    turned = np.column_stack([SIZE - 1 - mesh[:, 1], mesh[:, 0], mesh[:, 2]]).astype(np.float32)
    label = depth_label(mesh, SIZE).astype(int)
    assert (np.abs(depth_label(turned, SIZE) - np.rot90(label, -1)) <= 1).mean() > 0.98


def test_what_is_hidden_is_not_drawn() -> None:
    """At 70 degrees the far side of the face lies behind the nose and the cheeks."""
    mesh = in_crop(70.0)
    label = depth_label(mesh, SIZE)
    far_side = int(np.array([234, 454])[np.argmax(mesh[[234, 454], 2])])
    assert mesh[far_side, 2] > mesh[NOSE_TIP, 2]
    behind = mesh.copy()
    behind[far_side, 2] += 50.0
    assert np.array_equal(depth_label(behind, SIZE), label)


@pytest.mark.parametrize("out", [16, 64])
def test_other_sides_show_the_same_face(out: int) -> None:
    small = cv2.resize(depth_label(in_crop(), SIZE, 64), (out, out), interpolation=cv2.INTER_AREA)
    label = depth_label(in_crop(), SIZE, out)
    assert np.abs(small.astype(float) - label).mean() < 14.0


def test_planes_and_faces_out_of_the_crop_have_no_depth() -> None:
    assert plane_label().shape == (32, 32)
    assert not plane_label().any()
    assert not depth_label(in_crop() + np.array([400, 0, 0], np.float32), SIZE).any()


def test_a_face_without_relief_is_all_near() -> None:
    label = depth_label(in_crop() * np.array([1, 1, 0], np.float32), SIZE)
    assert set(np.unique(label)) == {0, 255}


@pytest.mark.parametrize(
    ("mesh", "size", "out", "expected"),
    [
        (np.zeros((478, 3), np.float32), 256, 32, r"expected shape \(468, 3\), found \(478, 3\)"),
        (np.full((468, 3), np.nan, np.float32), 256, 32, "finite"),
        (np.zeros((468, 3), np.float32), 0, 32, "size: .* found 0"),
        (np.zeros((468, 3), np.float32), 256, 128, "out: .* found 128"),
    ],
)
def test_what_is_no_mesh_is_told(mesh: Array, size: int, out: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        depth_label(mesh, size, out)
