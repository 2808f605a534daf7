import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.canonical import canonical_face
from padflow.nodes.payloads import Quality, SkinSample
from padflow.nodes.skin_cells import (
    area_places,
    areas_between,
    cell_count,
    cell_places,
    remembered,
    skin_change,
)

QUALITY = Quality(200.0, 0.6, 130.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 0.05)
REGIONS = {name: np.ones(3, np.float32) for name in ("forehead", "right_cheek", "left_cheek")}


def sample(level: np.ndarray, valid: np.ndarray | None = None, yaw: float = 0.0) -> SkinSample:
    grid = np.broadcast_to(level.astype(np.float32), (32, 32, 3)).copy()
    there = np.ones((32, 32), bool) if valid is None else valid
    quality = Quality(200.0, 0.6, 130.0, 0.0, yaw, 0.0, 0.0, 1.0, 0.0, 0.05)
    return SkinSample(grid, there, REGIONS, level.astype(np.float32) / 2, quality, True)


@pytest.mark.parametrize(
    ("places", "count", "fewest"),
    [(cell_places(), cell_count(), 8), (area_places(), 10, 24)],
    ids=["cells", "areas"],
)
def test_cells_and_areas_part_the_skin(places: np.ndarray, count: int, fewest: int) -> None:
    assert places.shape == (count, 1024)
    assert places.sum(axis=0).max() == 1.0
    assert places.sum(axis=1).min() >= fewest
    assert places.sum() > 0.95 * canonical_face().skin.sum()
    sides = places.reshape(count, 32, 32)
    assert {one.tobytes() for one in sides} == {one[:, ::-1].tobytes() for one in sides}


def test_a_change_is_the_logarithm_of_the_ratio() -> None:
    before, after = np.array([100.0, 80.0, 60.0]), np.array([101.0, 80.0, 57.0])
    moved = skin_change(remembered(sample(before)), sample(after, yaw=5.0))
    assert moved.change == pytest.approx(np.tile(np.log(after / before), (cell_count() + 1, 1)))
    assert moved.seen.tolist() == [1.0] * (cell_count() + 1)
    assert moved.motion == pytest.approx([0.5, 0.0, 0.0, 0.05])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(2, 12))
def test_changes_sum_to_the_colour_whatever_comes_into_sight(seed: int, frames: int) -> None:
    """Every place changes alike, so which of them are seen must not matter."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(40, 200, (frames, 3))
    texture = rng.uniform(0.5, 1.2, (32, 32, 1))
    total, areas = np.zeros((cell_count() + 1, 3)), np.zeros((len(area_places()), 3))
    always, ever = np.ones(cell_count() + 1, bool), np.ones(len(area_places()), bool)
    before = None
    for level in levels:
        now = sample(level, rng.uniform(size=(32, 32)) < 0.9)
        now.grid[:] = (level * texture).astype(np.float32)
        if before is not None:
            moved, beside = skin_change(before, now), areas_between(before, remembered(now))
            total, areas = total + moved.change, areas + beside.change
            always, ever = always & (moved.seen > 0), ever & beside.seen
        before = remembered(now)
    whole = np.log(levels[-1] / levels[0])
    for summed, seen in ((total, always), (areas, ever)):
        assert seen.mean() > 0.5
        assert summed[seen] == pytest.approx(np.tile(whole, (seen.sum(), 1)), abs=1e-4)


def test_what_is_not_seen_in_both_frames_does_not_change() -> None:
    valid = np.ones((32, 32), bool)
    valid[:, :16] = False
    moved = skin_change(remembered(sample(np.full(3, 90.0), valid)), sample(np.full(3, 99.0)))
    hidden = moved.seen[:-1] == 0
    assert hidden.any()
    assert not hidden.all()
    assert (moved.change[:-1][hidden] == 0).all()
    black = skin_change(remembered(sample(np.zeros(3))), sample(np.full(3, 99.0)))
    assert not black.seen.any()
    assert np.isfinite(black.change).all()


def test_no_place_beside_the_face_is_told() -> None:
    there, gone = sample(np.full(3, 90.0)), sample(np.full(3, 90.0))
    gone.background[:] = np.nan
    moved = skin_change(remembered(gone), there)
    assert moved.seen[-1] == 0
    assert (moved.change[-1] == 0).all()
