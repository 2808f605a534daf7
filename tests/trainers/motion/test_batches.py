from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.trainers.motion import stages
from padflow.trainers.motion.batches import (
    TrackBatches,
    drawn_samples,
    even_samples,
    intervals_of,
)
from padflow.trainers.motion.cutting import LONGEST_GAP
from padflow.trainers.motion.recipe import Sampling
from padflow.trainers.motion.stages import Backbone, changed, prepare, seen
from padflow.trainers.motion.store import SequenceStoreError
from padflow.trainers.recipe import Augmentation, TrainingError
from tests.trainers.motion.toys import toy_recipe, write_toys


@given(
    gaps=st.lists(st.floats(0.02, 0.79), min_size=2, max_size=120),
    seed=st.integers(0, 2**32 - 1),
    shortest=st.floats(0.05, 0.2),
    steps=st.integers(3, 20),
)
@settings(deadline=None)
def test_drawn_samples_rise_and_are_never_too_far_apart(
    gaps: list[float], seed: int, shortest: float, steps: int
) -> None:
    times = np.concatenate([[3.0], 3.0 + np.cumsum(gaps)])
    how = Sampling(steps=steps, shortest=shortest, longest=0.5)
    places = drawn_samples(times, how, np.random.default_rng(seed))
    assert 1 <= len(places) <= steps
    assert (np.diff(places) > 0).all()
    intervals = intervals_of(times, places)
    assert intervals[0] == 0
    assert (intervals[1:] <= LONGEST_GAP + 1e-6).all()


def test_drawn_intervals_cover_the_range() -> None:
    times = np.arange(0, 20, 0.04)
    how = Sampling(steps=12, shortest=0.08, longest=0.5)
    drawn = np.concatenate(
        [
            intervals_of(times, drawn_samples(times, how, np.random.default_rng(k)))[1:]
            for k in range(300)
        ]
    )
    assert 0.04 < drawn.min() < 0.1
    assert 0.45 < np.quantile(drawn, 0.97) <= LONGEST_GAP
    assert len(drawn) > 0.9 * 300 * 11  # a quick pace may begin too late for all of them


def test_an_even_pace_is_kept_over_uneven_times() -> None:
    times = np.cumsum(np.tile([0.04, 0.03, 0.05], 50))
    apart = np.diff(times[even_samples(times, 0.2)])
    assert apart.mean() == pytest.approx(0.2, abs=0.01)
    assert apart.min() >= 0.15


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.read("depth_light")


def test_batches_are_the_same_for_the_same_seed(backbone: Backbone, tmp_path: Path) -> None:
    sequences = write_toys(tmp_path, ("ann",))
    recipe = toy_recipe(sampling={"steps": 5, "longest": 0.12, "still": 0.4, "variants": 2})
    with pytest.raises(SequenceStoreError, match="cannot be read"):
        seen(sequences[0], backbone, recipe.augmentation, 0)
    assert prepare(sequences, backbone, recipe.augmentation, 2) == 8
    assert prepare(sequences, backbone, recipe.augmentation, 2) == 0
    one, two = (list(TrackBatches(sequences, backbone, recipe).epoch(3)) for _ in range(2))
    assert len(one) == 6
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.stages[0], b.stages[0])
        assert np.array_equal(a.interval, b.interval)
    assert one[0].stages[0].shape == (6, 5, 26, 32, 32)
    assert one[0].interval[:, 0].max() == 0
    for batch in one:
        still = batch.live == 0.5
        moves = np.abs(np.diff(batch.stages[0], axis=1)).max(axis=(2, 3, 4))
        weight = batch.score_weight[:, 1:] > 0
        assert np.array_equal(moves[still][weight[still]], np.zeros(int(weight[still].sum())))
        assert (batch.depth_weight[still] == 0).all()
        assert np.allclose(batch.score_weight.sum(axis=1), 1)
        assert (batch.target[batch.live == 0] == 0).all()
    assert {0.0, 0.5, 1.0} == set(np.concatenate([batch.live for batch in one]).tolist())


def test_features_are_those_of_the_depth_network(backbone: Backbone, tmp_path: Path) -> None:
    (sequence, *_) = write_toys(tmp_path, ("ann",))
    changes = Augmentation()
    prepare([sequence], backbone, changes, 1)
    found = seen(sequence, backbone, changes, 0)
    with backbone.open() as engine:
        said = engine.infer({"image": np.array(sequence.face[2:3])})
    assert np.allclose(found.stages[1][2], said["features_2"][0], atol=2e-2)
    assert found.score[2] == pytest.approx(float(said["score"][0]), abs=1e-4)
    assert np.array_equal(found.target, sequence.depth)


def test_two_trainings_may_prepare_one_store_at_once(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sequence, *_) = write_toys(tmp_path, ("ann",))
    changes, computed = Augmentation(), stages._computed
    others: list[int] = []

    def overtaken(*asked: Any) -> Any:
        found = computed(*asked)
        if not others:
            others.append(0)
            others.append(prepare([sequence], backbone, changes, 1))
        return found

    monkeypatch.setattr(stages, "_computed", overtaken)
    assert prepare([sequence], backbone, changes, 1) == 1
    assert others == [0, 1]
    assert len(seen(sequence, backbone, changes, 0).score) == sequence.row.frames
    assert not list(sequence.folder.glob(".stages-*"))


def test_every_crop_of_a_copy_is_changed_alike(tmp_path: Path) -> None:
    (_, still, *_) = write_toys(tmp_path, ("ann",))
    crops = np.stack([still.face[0]] * 3)
    images, labels = changed(crops, np.array(still.depth[:3]), Augmentation(flip=1.0), 7)
    assert not np.array_equal(images[0], crops[0])
    assert np.array_equal(images[0], images[2])
    assert labels.shape == (3, 32, 32)


def test_a_bundle_without_stages_is_refused() -> None:
    with pytest.raises(TrainingError, match="expected the outputs features_1"):
        Backbone.read("patch_light")
    with pytest.raises(TrainingError, match="found none"):
        Backbone.read("nowhere")
