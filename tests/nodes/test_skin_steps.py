"""Frames brought together to steps."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.skin_cells import SkinChange, cell_count
from padflow.nodes.skin_steps import FIRST, SHORTEST, SkinStep, SkinSteps

TRACES = cell_count() + 1


def frames(rng: np.random.Generator, count: int) -> list[SkinChange]:
    """Changes as a mesh gives them: none in the first frame."""
    change = rng.normal(0, 0.01, (count, TRACES, 3)).astype(np.float32)
    motion = rng.normal(0, 0.1, (count, 4)).astype(np.float32)
    change[0], motion[0] = 0, 0
    return [
        SkinChange(c, np.ones(TRACES, np.float32), m) for c, m in zip(change, motion, strict=True)
    ]


def stepped(times: np.ndarray, moved: list[SkinChange]) -> list[SkinStep]:
    steps = SkinSteps()
    found = [steps.take(float(t), one) for t, one in zip(times, moved, strict=True)]
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("rate", "together"), [(12, 1), (20, 2), (25, 2), (30, 2), (50, 3), (60, 4)]
)
def test_a_step_has_as_many_frames_as_it_needs(rate: int, together: int) -> None:
    times = np.arange(4 * rate) / rate
    found = stepped(times, frames(np.random.default_rng(0), len(times)))
    gaps = np.diff([step.time for step in found])[1:]
    assert gaps == pytest.approx(together / rate)
    assert together / rate > SHORTEST - 1e-9
    assert found[0].seconds == FIRST
    assert [step.seconds for step in found[2:]] == pytest.approx(gaps)


@settings(max_examples=30, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.004, 0.017, 0.02, 0.04, 0.1, 0.24]), min_size=20, max_size=60),
    seed=st.integers(0, 1000),
)
def test_summed_steps_are_the_means_of_the_frames(gaps: list[float], seed: int) -> None:
    times = np.cumsum(gaps)
    moved = frames(np.random.default_rng(seed), len(times))
    found = stepped(times, moved)
    levels = np.cumsum([one.change for one in moved], axis=0, dtype=np.float64)
    of_steps = np.cumsum([step.moved.change for step in found], axis=0, dtype=np.float64)
    for step, level in zip(found, of_steps, strict=True):
        # The step's frames are those nearer to its middle in time than any other step's.
        inside = [
            (a, b)
            for a in range(len(times))
            for b in range(a + 1, len(times) + 1)
            if abs(times[a:b].mean() - step.time) < 1e-9
        ]
        assert any(np.abs(levels[a:b].mean(axis=0) - level).max() < 1e-6 for a, b in inside)


def test_a_cell_that_one_frame_does_not_see_is_not_seen_in_the_step() -> None:
    times = np.arange(12) / 50
    moved = frames(np.random.default_rng(1), 12)
    moved[4].seen[2], moved[4].change[2] = 0, 0
    found = stepped(times, moved)
    assert [step.moved.seen[2] for step in found[:3]] == [1, 0, 1]
    assert (found[1].moved.change[2] == 0).all()
    assert all(step.moved.seen[3] == 1 for step in found)


def test_a_stream_that_is_stored_and_restored_goes_on_as_it_was() -> None:
    rng, times = np.random.default_rng(2), np.arange(40) / 30
    moved, steps = frames(rng, 40), SkinSteps()
    found = []
    for time, one in zip(times, moved, strict=True):
        steps = pickle.loads(pickle.dumps(steps))
        found.append(steps.take(float(time), one))
    kept = [one for one in found if one is not None]
    for one, other in zip(kept, stepped(times, moved), strict=True):
        assert one.time == other.time
        assert np.array_equal(one.moved.change, other.moved.change)
