"""Slopes of parallax on relief: planes, bent sheets and heads of known geometry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.face_points import FacePoints
from padflow.nodes.planarity_evidence import (
    FEWEST_FRAMES,
    FEWEST_POINTS,
    PlanarityModel,
    ReliefMeasurement,
    Slope,
    Tracks,
    measure_relief,
)
from padflow.nodes.pose import rotation_of
from padflow.trainers.planarity_calibration import WIDENING, Geometry, draw_windows, fit

MODEL = PlanarityModel()
POINTS = FacePoints().relief[::9]
INTEROCULAR = 60.0


def poses(yaw: float, pitch: float, roll: float, count: int = 16) -> np.ndarray:
    """A turn there and back, (count, 3, 3)."""
    way = np.sin(np.linspace(0, np.pi, count))
    return np.array([rotation_of(4 + yaw * w, -3 + pitch * w, roll * w) for w in way])


def tracks(
    places: np.ndarray, read: np.ndarray, noise: float = 0.1, seed: int = 0, lost: float = 0.1
) -> Tracks:
    """Points (m + 1, n, 2) in pixels of the frame, tracked, under the poses that the mesh reads."""
    rng = np.random.default_rng(seed)
    places = places + noise * rng.normal(size=places.shape)
    found = rng.uniform(size=places.shape[:2]) >= lost
    return Tracks(places[0], places[1:], found[1:], POINTS, read, INTEROCULAR)


def seen(points: np.ndarray, distance: float = 12.0) -> np.ndarray:
    """Pixels (m, n, 2) of points (m, n, 3) at a distance in interocular distances."""
    scale = INTEROCULAR * distance / (distance + points[..., 2:])
    pixels: np.ndarray = 200.0 + scale * points[..., :2]
    return pixels


def head(rotations: np.ndarray) -> np.ndarray:
    return seen(POINTS @ rotations.transpose(0, 2, 1))


def measured(of: Tracks) -> ReliefMeasurement:
    found = measure_relief(of)
    assert found is not None
    return found


@settings(max_examples=40, deadline=None)
@given(
    yaw=st.floats(6, 25), pitch=st.floats(-15, 15), roll=st.floats(-20, 20), seed=st.integers(0, 99)
)
def test_a_head_that_turns_has_its_relief(yaw: float, pitch: float, roll: float, seed: int) -> None:
    rotations = poses(yaw, pitch, roll)
    found = measured(tracks(head(rotations), rotations, seed=seed))
    assert MODEL.tells(found)
    # What of a small turn may be the pose's drift is made up for in the slope.
    assert found.curvature.value == pytest.approx(1.0 / found.reliability, abs=0.3)
    assert found.relief.value == pytest.approx(1.0 / found.reliability, abs=0.5)
    assert found.sheet_ratio > 1.2
    assert MODEL.ratio(found) > 0.2


@settings(max_examples=60, deadline=None)
@given(
    tilts=st.lists(st.tuples(*[st.floats(-30, 30)] * 2), min_size=2, max_size=2),
    roll=st.floats(-40, 40),
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    distance=st.floats(8, 40),
    pictured=st.tuples(st.floats(-25, 25), st.floats(-20, 20)),
    read=st.tuples(st.floats(-25, 25), st.floats(-15, 15)),
    seed=st.integers(0, 99),
)
def test_a_plane_under_any_homography_never_speaks_for_life(
    tilts: list[tuple[float, float]],
    roll: float,
    shift: tuple[float, float],
    distance: float,
    pictured: tuple[float, float],
    read: tuple[float, float],
    seed: int,
) -> None:
    """Whatever head the picture shows, however it is held, and whatever pose the mesh reads."""
    way = np.linspace(0, 1, 16)
    (yaw, pitch), (to_yaw, to_pitch) = tilts
    flat = POINTS @ rotation_of(*pictured, 0.0).T
    flat[:, 2] = 0.0
    held = np.array(
        [
            rotation_of(yaw + (to_yaw - yaw) * w, pitch + (to_pitch - pitch) * w, roll * w)
            for w in way
        ]
    )
    moved = flat @ held.transpose(0, 2, 1)
    moved[..., :2] += np.multiply.outer(way, shift)[:, None]
    found = measured(tracks(seen(moved, distance), poses(*read, roll), seed=seed))
    if MODEL.tells(found):
        assert MODEL.ratio(found) < 0.0


@settings(max_examples=40, deadline=None)
@given(
    bend=st.floats(-0.7, 0.7),
    more=st.floats(-0.15, 0.15),
    along=st.floats(0, 3.1),
    yaw=st.floats(6, 20),
    seed=st.integers(0, 99),
)
def test_a_bent_sheet_that_turns_has_no_nose(
    bend: float, more: float, along: float, yaw: float, seed: int
) -> None:
    rotations = poses(yaw, 4.0, 5.0)
    way = np.linspace(0, 1, len(rotations))[:, None]
    across = POINTS[:, :2] @ (np.cos(along), np.sin(along))
    depth = (bend + more * way) / 2 * across**2
    sheet = np.concatenate(
        [np.broadcast_to(POINTS[:, :2], (*depth.shape, 2)), depth[..., None]], axis=2
    )
    found = measured(tracks(seen(sheet @ rotations.transpose(0, 2, 1)), rotations, seed=seed))
    assert abs(found.relief.value) < 0.3
    assert MODEL.ratio(found) < 0.1


@settings(max_examples=30, deadline=None)
@given(roll=st.floats(-30, 30), grow=st.floats(0.7, 1.4), seed=st.integers(0, 99))
def test_moves_in_the_plane_and_scale_alone_tell_nothing(
    roll: float, grow: float, seed: int
) -> None:
    way = np.linspace(0, 1, 16)
    rotations = np.array([rotation_of(0.0, 0.0, roll * w) for w in way])
    places = head(rotations) * (1 + (grow - 1) * way)[:, None, None]
    noisy = rotations @ poses(0.3, -0.3, 0.0)
    assert not MODEL.tells(measured(tracks(places, noisy, seed=seed)))


def test_a_pose_that_only_jitters_tells_nothing() -> None:
    rng = np.random.default_rng(3)
    rotations = np.array([rotation_of(*rng.normal(0, 4, 3)) for _ in range(20)])
    found = measured(tracks(head(poses(0, 0, 0, 20)), rotations))
    assert found.reliability < MODEL.least_reliability
    assert not MODEL.tells(found)


def test_speaking_is_neither_a_plane_nor_a_relief() -> None:
    """Cheeks and jaw move with the mouth while the head turns, and while it does not."""
    way = np.sin(np.linspace(0, 6 * np.pi, 16))[:, None]
    speech = 3.0 * way * np.clip(POINTS[:, 1] - 0.4, 0, None)
    turning = poses(10, 4, 0)
    places = head(turning)
    places[..., 1] += speech
    assert MODEL.ratio(measured(tracks(places, turning))) > 0.3
    still = head(poses(0, 0, 0))
    still[..., 1] += speech
    assert not MODEL.tells(measured(tracks(still, poses(0.2, 0.1, 0))))


def test_points_that_slip_count_less() -> None:
    rotations = poses(12, 3, 0)
    places = head(rotations)
    rng = np.random.default_rng(0)
    slipping = rng.choice(len(POINTS), 5, replace=False)
    places[:, slipping] += np.cumsum(rng.normal(0, 2, (len(places), 5, 2)), axis=0)
    found = measured(tracks(places, rotations))
    assert MODEL.ratio(found) > 0.3


def test_too_few_points_or_frames_are_no_measurement() -> None:
    rotations = poses(10, 0, 0)
    whole = tracks(head(rotations), rotations, lost=0.0)
    few = whole._replace(found=whole.found & (np.arange(len(POINTS)) < FEWEST_POINTS - 1))
    assert measure_relief(few) is None
    short = whole._replace(
        places=whole.places[: FEWEST_FRAMES - 1],
        found=whole.found[: FEWEST_FRAMES - 1],
        rotations=rotations[:FEWEST_FRAMES],
    )
    assert measure_relief(short) is None


@given(
    curvature=st.floats(-50, 50),
    relief=st.floats(-50, 50),
    errors=st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)),
)
def test_the_ratio_stays_within_the_shares(
    curvature: float, relief: float, errors: tuple[float, float]
) -> None:
    found = ReliefMeasurement(
        Slope(curvature, errors[0]), Slope(relief, errors[1]), 0.1, 0.9, 0.01, 1.0, 40, 10
    )
    lowest = np.log(MODEL.heads_without / (1 - MODEL.attacks_with_relief))
    highest = np.log((1 - MODEL.heads_without) / MODEL.attacks_with_relief)
    assert lowest - 1e-9 <= MODEL.ratio(found) <= highest + 1e-9


def test_shipped_spreads_are_no_narrower_than_those_of_the_fit() -> None:
    fitted = fit(draw_windows(450, seed=5))
    assert abs(MODEL.head_curvature - fitted.head_curvature) < 0.15
    assert abs(MODEL.head_relief - fitted.head_relief) < 0.2
    for name in ("head_spread", "plane_spread", "bent_spread"):
        assert getattr(MODEL, name) > getattr(fitted, name) / WIDENING


def test_synthetic_heads_and_sheets_are_told_apart() -> None:
    told = [w for w in draw_windows(300, seed=8) if MODEL.tells(w.found)]
    ratios = {kind: [MODEL.ratio(w.found) for w in told if w.kind == kind] for kind in ("head",
              "plane", "bent")}  # fmt: skip
    assert np.mean(np.array(ratios["head"]) < 0) < 0.15
    assert np.mean(np.array(ratios["plane"]) > 0) < 0.02
    assert np.mean(np.array(ratios["bent"]) > 0) < 0.15


def test_heads_that_keep_still_tell_nothing() -> None:
    rng, geometry = np.random.default_rng(4), Geometry()
    found = [
        measure_relief(geometry.draw(rng, kind, still=True)) for kind in ("head", "plane") * 20
    ]
    assert np.mean([f is not None and MODEL.tells(f) for f in found]) < 0.1
