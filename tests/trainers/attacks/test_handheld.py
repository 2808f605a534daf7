import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.trainers.attacks.handheld import (
    HoldParams,
    Pose,
    bent_grid,
    bent_places,
    bent_points,
    held_path,
    plane_homography,
    pose_at,
)
from padflow.trainers.attacks.parameters import Array

A4 = (0.21, 0.297)
FOCAL = 600.0
CENTRE = (319.5, 239.5)
SHAPE = (480, 640)

angles = st.tuples(st.floats(-35, 35), st.floats(-35, 35), st.floats(-180, 180))
positions = st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0.35, 0.8))


def seen(homography: Array, points: Array) -> Array:
    there = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(there[:, :2] / there[:, 2:])


def sheet(count: int = 12) -> Array:
    """Points all over the medium, metres."""
    u, v = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    return np.column_stack([u.ravel(), v.ravel()]) * A4


def test_a_medium_square_to_the_camera_is_seen_at_focal_over_distance() -> None:
    homography = plane_homography(Pose((0.0, 0.0, 0.5)), A4, FOCAL, CENTRE)
    corners = seen(homography, np.array([[0.0, 0.0], A4]))
    assert corners[0] == pytest.approx((319.5 - 126.0, 239.5 - 178.2))
    assert corners[1] == pytest.approx((319.5 + 126.0, 239.5 + 178.2))


def test_turning_to_the_pictures_right_takes_the_right_edge_away() -> None:
    """As a head that looks to the picture's right has its right cheek farther away."""
    homography = plane_homography(Pose((0.0, 0.0, 0.5), (30.0, 0.0, 0.0)), A4, FOCAL, CENTRE)
    left, right = (seen(homography, np.array([[x, 0.0], [x, A4[1]]])) for x in (0.0, A4[0]))
    assert np.ptp(right[:, 1]) < 0.85 * np.ptp(left[:, 1])
    depth = homography[2] @ np.array([[0.0, A4[0]], [0.15, 0.15], [1.0, 1.0]])
    assert depth[1] - depth[0] == pytest.approx(A4[0] * np.sin(np.radians(30)))


@settings(deadline=None, max_examples=25)
@given(positions, angles, st.floats(-90, 90))
def test_a_sheet_without_bend_is_the_homography(
    position: tuple[float, float, float], turned: tuple[float, float, float], axis: float
) -> None:
    pose = Pose(position, turned)
    homography = plane_homography(pose, A4, FOCAL, CENTRE)
    assert bent_places(sheet(), 0.0, axis, A4, pose, FOCAL, CENTRE) == pytest.approx(
        seen(homography, sheet()), abs=1e-6
    )
    found = bent_grid(0.0, axis, A4, pose, FOCAL, CENTRE, SHAPE)
    rows, columns = np.nonzero(found.inside > 0.5)
    back = seen(homography, np.column_stack([found.x[rows, columns], found.y[rows, columns]]))
    assert np.abs(back - np.column_stack([columns, rows])).max(initial=0.0) < 0.1


@settings(deadline=None, max_examples=25)
@given(st.floats(-5, 5), st.floats(-90, 90), st.tuples(*[st.floats(-20, 20)] * 3))
def test_the_map_undoes_the_bend(
    curvature: float, axis: float, turned: tuple[float, float, float]
) -> None:
    pose = Pose((0.02, -0.01, 0.6), turned)
    found = bent_grid(curvature, axis, A4, pose, FOCAL, CENTRE, SHAPE)
    rows, columns = np.nonzero(found.inside >= 1.0)
    there = np.column_stack([found.x[rows, columns], found.y[rows, columns]])
    back = bent_places(there, curvature, axis, A4, pose, FOCAL, CENTRE)
    off = np.abs(back - np.column_stack([columns, rows])).max(axis=1)
    assert len(off) > 30_000
    # Interpolation costs more only where the sheet turns away from the camera.
    assert np.quantile(off, 0.99) < 0.1
    assert off.max() < 1.5


@settings(deadline=None, max_examples=25)
@given(st.floats(-8, 8), st.floats(-90, 90))
def test_paper_does_not_stretch(curvature: float, axis: float) -> None:
    """A fine line across the sheet, in any direction, is as long bent as flat."""
    for start, end in (((0.0, 0.0), A4), ((0.0, 0.1), (A4[0], 0.1)), ((0.1, 0.0), (0.1, A4[1]))):
        share = np.linspace(0, 1, 400)[:, None]
        line = np.asarray(start) * (1 - share) + np.asarray(end) * share
        bent = bent_points(line, curvature, axis, A4)
        length = np.linalg.norm(np.diff(bent, axis=0), axis=1).sum()
        assert length == pytest.approx(np.hypot(*np.subtract(end, start)), rel=1e-4)


def test_a_bend_is_a_part_of_a_circle_and_positive_ones_bulge_to_the_camera() -> None:
    edge = np.array([[0.0, A4[1] / 2], [A4[0] / 2, A4[1] / 2]])
    (x, _, z), middle = bent_points(edge, 4.0, 0.0, A4)
    assert middle == pytest.approx((0.0, 0.0, 0.0))
    assert z > 0.02
    assert x**2 + (z - 0.25) ** 2 == pytest.approx(0.25**2)
    assert bent_points(edge, -4.0, 0.0, A4)[0, 2] == pytest.approx(-z)


def test_the_axis_says_which_way_the_sheet_bends() -> None:
    corners = np.array([[0.0, 0.0], [A4[0], 0.0], [0.0, A4[1]], list(A4)])
    upright, level = (bent_points(corners, 3.0, axis, A4) for axis in (0.0, 90.0))
    assert np.ptp(upright[:, 0]) < A4[0] * 0.99
    assert np.ptp(upright[:, 1]) == pytest.approx(A4[1])
    assert np.ptp(level[:, 0]) == pytest.approx(A4[0])
    assert np.ptp(level[:, 1]) < A4[1] * 0.99
    slanted = bent_points(corners, 3.0, 35.0, A4)[:, 2]
    assert slanted[0] == pytest.approx(slanted[3])
    assert slanted[3] > slanted[1] + 0.01


def test_coverage_adds_up_to_the_area_and_is_soft_on_the_edge() -> None:
    found = bent_grid(0.0, 0.0, A4, Pose((0.0, 0.0, 0.6), (0.0, 0.0, 17.0)), FOCAL, CENTRE, SHAPE)
    assert found.inside.sum() == pytest.approx(210.0 * 297.0, rel=2e-3)
    soft = (found.inside > 0.02) & (found.inside < 0.98)
    assert 0.6 < soft.sum() / (2 * (210 + 297)) < 2.0
    assert found.inside.dtype == found.x.dtype == found.y.dtype == np.float32


@pytest.mark.parametrize("shape", [(480, 640), (101, 77), (1, 1)])
def test_the_map_is_as_large_as_the_picture(shape: tuple[int, int]) -> None:
    centre = (shape[1] / 2, shape[0] / 2)
    found = bent_grid(2.0, 10.0, A4, Pose((0.0, 0.0, 0.5)), FOCAL, centre, shape)
    assert found.x.shape == found.y.shape == found.inside.shape == shape
    assert found.inside[shape[0] // 2, shape[1] // 2] == 1.0


def test_holding_has_the_spread_asked_for_and_tremor_lies_at_6_to_12_hz() -> None:
    params = HoldParams(at=(0.1, 0.0, 0.5), facing=(5.0, 0.0, 0.0), sway=0.0, turn=(0.0, 0.0, 0.0))
    path = held_path(params, 3000, 30.0, np.random.default_rng(2))
    assert path.position.mean(axis=0) == pytest.approx(params.at, abs=1e-4)
    assert path.position.std(axis=0) == pytest.approx([params.tremor] * 3, rel=0.15)
    assert path.angles.std(axis=0) == pytest.approx([params.tremor_turn] * 3, rel=0.15)
    power = np.abs(np.fft.rfft(path.position[:, 0] - params.at[0])) ** 2
    frequency = np.fft.rfftfreq(3000, 1 / 30.0)
    within = (frequency > 5.9) & (frequency < 12.1)
    assert power[within].sum() > 0.98 * power.sum()
    swaying = held_path(HoldParams(tremor=0.0), 6000, 30.0, np.random.default_rng(2))
    assert swaying.position.std(axis=0) == pytest.approx([0.006] * 3, rel=0.3)


def test_a_slow_camera_still_sees_tremor() -> None:
    params = HoldParams(sway=0.0)
    path = held_path(params, 400, 8.0, np.random.default_rng(2))
    assert path.position.std(axis=0) == pytest.approx([params.tremor] * 3, rel=0.2)


def test_the_same_seed_holds_alike_and_a_stand_does_not_move() -> None:
    first, second = (
        held_path(HoldParams(), 20, 25.0, np.random.default_rng(7)).position for _ in range(2)
    )
    assert np.array_equal(first, second)
    still = HoldParams(sway=0.0, tremor=0.0, tremor_turn=0.0, turn=(0.0, 0.0, 0.0))
    path = held_path(still, 20, 25.0, np.random.default_rng(7))
    assert pose_at(path, 13) == Pose(still.at, still.facing)


def test_what_cannot_be_seen_is_told() -> None:
    with pytest.raises(ValueError, match=r"found a point at z = -0\.060 m"):
        plane_homography(Pose((0.0, 0.0, 0.2), (0.0, 90.0, 0.0)), (0.2, 0.52), FOCAL, CENTRE)
    with pytest.raises(ValueError, match="curvature: expected at most"):
        bent_grid(20.0, 0.0, A4, Pose((0.0, 0.0, 0.5)), FOCAL, CENTRE, SHAPE)
    with pytest.raises(ValueError, match="before the camera"):
        bent_grid(0.0, 0.0, A4, Pose((0.0, 0.0, -0.5)), FOCAL, CENTRE, SHAPE)
