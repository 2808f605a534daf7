"""Frames brought together to steps."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.payloads import Quality, SkinSample
from padflow.nodes.skin_cells import AreaChange, area_places, cell_places
from padflow.nodes.skin_steps import FIRST, SHORTEST, AreaColours, SkinStep, SkinSteps


def frames(seed: int, count: int) -> list[SkinSample]:
    """Skin whose colours, pose and surroundings change in every frame."""
    rng = np.random.default_rng(seed)
    texture = rng.uniform(80, 160, (32, 32, 3))
    found = []
    for level, (yaw, pitch, roll, beside) in zip(
        np.exp(rng.normal(0, 0.01, count)), rng.normal(0, 3, (count, 4)), strict=True
    ):
        grid = (texture * level * np.exp(rng.normal(0, 0.003, (32, 32, 3)))).astype(np.float32)
        quality = Quality(200.0, 0.6, 130.0, 0.0, yaw, pitch, roll, 1.0, 0.0, abs(yaw))
        wall = np.full(3, 90 + beside, np.float32)
        found.append(SkinSample(grid, np.ones((32, 32), bool), {}, wall, quality, True))
    return found


def stepped(
    times: np.ndarray, samples: list[SkinSample], shortest: float = SHORTEST
) -> list[SkinStep]:
    steps = SkinSteps(shortest)
    found = [steps.take(float(t), one) for t, one in zip(times, samples, strict=True)]
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("rate", "together"), [(12, 1), (20, 2), (25, 2), (30, 2), (50, 3), (60, 4)]
)
def test_a_step_has_as_many_frames_as_it_needs(rate: int, together: int) -> None:
    times = np.arange(2 * rate) / rate
    found = stepped(times, frames(0, len(times)))
    gaps = np.diff([step.time for step in found])[1:]
    assert gaps == pytest.approx(together / rate)
    assert together / rate > SHORTEST - 1e-9
    assert found[0].seconds == FIRST
    assert [step.seconds for step in found[2:]] == pytest.approx(gaps)
    assert len(stepped(times, frames(0, len(times)), shortest=0.0)) == len(times)


@settings(max_examples=20, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.004, 0.017, 0.02, 0.04, 0.1, 0.24]), min_size=10, max_size=25),
    seed=st.integers(0, 1000),
)
def test_summed_steps_are_the_means_of_the_frames(gaps: list[float], seed: int) -> None:
    times = np.cumsum(gaps)
    samples = frames(seed, len(times))
    found = stepped(times, samples)
    places = cell_places()
    grids = np.stack([sample.grid.reshape(-1, 3) for sample in samples]).astype(np.float64)
    first, taken = None, 0
    summed = np.zeros((len(places), 3))
    for step in found:
        fits = [
            end
            for end in range(taken + 1, len(times) + 1)
            if abs(times[taken:end].mean() - step.time) < 1e-9
        ]
        (end,) = fits
        level = np.log(places @ grids[taken:end].mean(axis=0))
        first = level if first is None else first
        summed += step.moved.change[:-1]
        assert summed == pytest.approx(level - first, abs=1e-5)
        taken = end


def test_a_place_that_one_frame_does_not_see_takes_no_part() -> None:
    times = np.arange(18) / 50
    samples = frames(1, 18)
    hidden = cell_places()[2].reshape(32, 32) > 0
    samples[7].valid[hidden] = False
    samples[10].background[:] = np.nan
    found = stepped(times, samples)
    assert [step.moved.seen[2] for step in found[:5]] == [1, 1, 0, 0, 1]
    assert (found[2].moved.change[2] == 0).all()
    assert all(step.moved.seen[3] == 1 for step in found)
    assert [step.moved.seen[-1] for step in found[:5]] == [1, 1, 1, 0, 0]


def test_a_stream_that_is_stored_and_restored_goes_on_as_it_was() -> None:
    times, samples = np.arange(30) / 30, frames(2, 30)
    steps, found = SkinSteps(), []
    for time, one in zip(times, samples, strict=True):
        steps = pickle.loads(pickle.dumps(steps))
        found.append(steps.take(float(time), one))
    kept = [one for one in found if one is not None]
    for one, other in zip(kept, stepped(times, samples), strict=True):
        assert one.time == other.time
        assert np.array_equal(one.moved.change, other.moved.change)


def test_colours_of_areas_are_kept_as_long_as_told_and_found_by_time() -> None:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(0.05, 0.1, 60))
    changes = rng.normal(0, 0.01, (60, len(area_places()), 3)).astype(np.float32)
    seen = np.ones((60, len(area_places())), bool)
    seen[::2, 4] = False
    kept = AreaColours(2.0)
    for time, change, there in zip(times, changes, seen, strict=True):
        kept.append(float(time), AreaChange(change, there))
    assert times[-1] - 2.0 <= kept.times[0] < times[-1] - 1.8
    asked = times[-20:] + rng.uniform(-1e-4, 1e-4, 20)  # times that went through float32
    found = pickle.loads(pickle.dumps(kept)).at(asked, 0.8)
    levels = np.cumsum(changes, axis=0)[-20:].transpose(1, 0, 2)
    wanted = np.delete(levels, 4, axis=0)
    assert found.shape == wanted.shape
    assert np.diff(found, axis=1) == pytest.approx(np.diff(wanted, axis=1), abs=1e-6)
    assert len(kept.at(asked, 0.4)) == len(area_places())
