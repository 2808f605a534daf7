"""Stretches of sequences: which frames are drawn, how they are padded, what is left out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.trainers.motion.pulse_batches import (
    StretchBatches,
    drawn_stretch,
    fit_to_learn,
    stretch_of,
    usable,
)
from padflow.trainers.motion.pulse_recipe import PulseDepthLosses, Stretches
from padflow.trainers.motion.pulse_training import build_pulse_depth, pulse_loss
from padflow.trainers.motion.stages import Backbone, seen
from padflow.trainers.motion.store import StoredSequence
from padflow.trainers.recipe import Augmentation, TrainingError
from tests.trainers.motion.pulse_toys import (
    FRAMES,
    pulse_toy_recipe,
    write_pulse_toy,
)
from tests.trainers.motion.toys import write_toy


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> list[StoredSequence]:
    folder = tmp_path_factory.mktemp("toys")
    return [
        write_pulse_toy(folder, backbone, "a", "ann", "live", 1.3),
        write_pulse_toy(folder, backbone, "b", "bob", "print", None, seed=1),
    ]


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(6.0, 30.0),
    rate=st.sampled_from([10.0, 15.0, 25.0, 60.0]),
    seed=st.integers(0, 1000),
)
def test_a_stretch_is_six_to_ten_seconds_at_no_less_than_the_least_rate(
    seconds: float, rate: float, seed: int
) -> None:
    times = 50 + np.arange(int(seconds * rate) + 2) / rate
    taken = drawn_stretch(times, Stretches(), np.random.default_rng(seed))
    assert (np.diff(taken) > 0).all()
    found = times[taken]
    span = found[-1] - found[0]
    assert 6.0 - 2.1 / rate <= span <= 10.0 + 1e-3
    assert len(taken) >= 0.7 * 10.0 * span


def test_every_second_frame_is_left_out_where_enough_are_left() -> None:
    how = Stretches(halved=1.0, missed=0.0)
    fast, slow = (
        drawn_stretch(np.arange(700) / rate, how, np.random.default_rng(0)) for rate in (60, 15)
    )
    assert set(np.diff(fast).tolist()) == {2}
    assert set(np.diff(slow).tolist()) == {1}


def test_the_same_seed_gives_the_same_batches(
    two: list[StoredSequence], backbone: Backbone
) -> None:
    batches = StretchBatches(two, backbone, pulse_toy_recipe(backbone, steps_per_epoch=2))
    one, again, other = (list(batches.epoch(number)) for number in (0, 0, 1))
    assert all(np.array_equal(a.times, b.times) for a, b in zip(one, again, strict=True))
    assert all(np.array_equal(a.places, b.places) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0].end, other[0].end)


def test_padding_does_not_count(two: list[StoredSequence], backbone: Backbone) -> None:
    """The loss of a batch of unequal stretches is the mean of their losses alone."""
    recipe = pulse_toy_recipe(backbone, sampling={"missed": 0.3, "longest": 7.0})
    batches = StretchBatches(two, backbone, recipe)
    together = batches.made(np.array([0, 1, 0]), (5,))
    assert together.times.shape == together.interval.shape
    assert len(set(together.end.tolist())) > 1
    assert (np.diff(together.times) > 0).all()
    network = build_pulse_depth(recipe, backbone).eval()
    alone = []
    for k, which in enumerate((0, 1, 0)):
        taken = drawn_stretch(two[which].times, recipe.sampling, np.random.default_rng((5, k)))
        known = seen(two[which], backbone, Augmentation(), 0)
        alone.append(stretch_of(two[which], known, taken))
    losses = PulseDepthLosses()
    assert len({one.times.shape[1] for one in alone}) > 1
    with torch.inference_mode():
        whole = float(pulse_loss(network, together, losses))
        parts = [float(pulse_loss(network, one, losses)) for one in alone]
    assert whole == pytest.approx(np.mean(parts), rel=1e-4)


def test_what_is_unfit_is_left_out_and_told(
    two: list[StoredSequence], backbone: Backbone, tmp_path: Path
) -> None:
    short = write_pulse_toy(tmp_path, backbone, "c", "ann", "live", 1.0, frames=FRAMES // 2)
    unlabelled = write_pulse_toy(tmp_path, backbone, "d", "ann", "live", 1.0, pulse=None)
    lines: list[str] = []
    assert fit_to_learn([*two, short, unlabelled], 6.0, lines.append) == two
    (line,) = lines
    assert line.startswith("2 of 4 sequences are left out")
    assert fit_to_learn(two, 6.0, lines.append) == two
    assert len(lines) == 1


def test_stores_without_places_or_labels_are_refused(
    two: list[StoredSequence], backbone: Backbone, tmp_path: Path
) -> None:
    old = write_toy(tmp_path, "old", "ann", "live")
    with pytest.raises(TrainingError, match=r"expected places\.npy.*padflow sequences"):
        fit_to_learn([*two, old], 6.0, print)
    unlabelled = write_pulse_toy(tmp_path, backbone, "d", "ann", "live", 1.0, pulse=None)
    with pytest.raises(TrainingError, match=r"pulse labels: expected living sequences of 6 s"):
        fit_to_learn([unlabelled, two[1]], 6.0, print)
    assert usable([unlabelled, two[1]], 6.0, print) == [two[1]]
