from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with padflow[train]")

from padflow.trainers.attacks.codec import CodecParams, draw_codec, encoded
from padflow.trainers.attacks.devices import draw_sensor
from padflow.trainers.attacks.parameters import Array, generator
from padflow.trainers.attacks.sensor import auto_exposure, expose
from padflow.trainers.probe import ProbeError, probe_accuracy, trace_features, trace_names

SAMPLES = 160
SIDE = 144
LABELS = np.arange(SAMPLES) % 2
PEOPLE = np.arange(SAMPLES) // 4

Trace = Callable[[Array, np.random.Generator], Array]


def _scene(index: int) -> Array:
    """Light with structure of every size, as natural pictures have."""
    rng = generator(index, 7)
    logarithm = np.full((SIDE, SIDE, 3), -1.6, np.float32)
    for size in (72, 36, 18, 9, 4, 2):
        cells = rng.standard_normal((SIDE // size + 2, SIDE // size + 2, 3)).astype(np.float32)
        cells = 0.75 * cells.mean(axis=2, keepdims=True) + 0.25 * cells
        layer = cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        logarithm += layer * np.float32(size**0.7 / 25)
    return np.exp(logarithm)


@cache
def _shots() -> tuple[Array, ...]:
    """A picture of each scene, each by a camera of its own."""
    pictures = []
    for index in range(SAMPLES):
        rng = generator(index, 9)
        scene = _scene(index)
        pictures.append(expose(scene, draw_sensor(rng), rng, auto_exposure(scene)))
    return tuple(pictures)


def _accuracy(trace: Trace) -> float:
    """Of telling those with the trace from those without, in people not seen."""
    features = [
        trace_features(trace(shot, generator(index, 11)) if label else shot)
        for index, (shot, label) in enumerate(zip(_shots(), LABELS, strict=True))
    ]
    return probe_accuracy(np.array(features), LABELS, PEOPLE)


def _jpeg(picture: Array, rng: np.random.Generator) -> Array:
    return encoded([picture], CodecParams(jpeg_quality=int(rng.integers(40, 92))))[0]


def _h264(picture: Array, rng: np.random.Generator) -> Array:
    return encoded([picture], CodecParams(h264=True, crf=float(rng.uniform(20, 34))))[0]


def _enlarged(picture: Array, rng: np.random.Generator) -> Array:
    side = int(SIDE * rng.uniform(1.2, 1.5))
    return np.asarray(cv2.resize(picture, (side, side)))[20 : 20 + SIDE, 10 : 10 + SIDE]


def _barred(picture: Array, rng: np.random.Generator) -> Array:
    barred = picture.copy()
    barred[:, : rng.integers(1, 3)] = 0
    return barred


def _stretched(picture: Array, rng: np.random.Generator) -> Array:
    return np.asarray(cv2.convertScaleAbs(picture, alpha=rng.uniform(1.1, 1.3)))


@pytest.mark.parametrize("trace", [_jpeg, _h264, _enlarged, _barred, _stretched])
def test_a_planted_trace_is_found(trace: Trace) -> None:
    assert _accuracy(trace) > 0.9


def test_two_halves_of_one_distribution_stay_at_chance() -> None:
    features = []
    for index, shot in enumerate(_shots()):
        rng = generator(index, 13)
        features.append(trace_features(encoded([shot], draw_codec(rng))[0]))
    values = np.array(features)
    halves = [generator(seed).permutation(LABELS) for seed in range(5)]
    accuracy = [probe_accuracy(values, half, PEOPLE, seed) for seed, half in enumerate(halves)]
    assert 0.4 < np.mean(accuracy) < 0.57
    assert max(accuracy) < 0.65, "one split of so few scatters by 0.05"


def test_people_do_not_stand_on_both_sides() -> None:
    """What only names the person is of no use in people that were not seen."""
    rng = np.random.default_rng(3)
    of_person = rng.standard_normal((SAMPLES // 4, 90))
    features = of_person[PEOPLE] + 0.01 * rng.standard_normal((SAMPLES, 90))
    labels = rng.permutation(np.arange(SAMPLES // 4) % 2)[PEOPLE]
    assert probe_accuracy(features, labels, PEOPLE) < 0.7
    assert probe_accuracy(features, labels, np.arange(SAMPLES)) > 0.9


def test_features_have_names_and_are_finite_whatever_is_seen() -> None:
    names = trace_names()
    assert len(set(names)) == len(names)
    noise = np.random.default_rng(0).integers(0, 256, (50, 90, 3)).astype(np.uint8)
    for crop in (noise, np.zeros((64, 64, 3), np.uint8), np.full((256, 256, 3), 255, np.uint8)):
        features = trace_features(crop)
        assert features.shape == (len(names),)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()


def test_a_black_bar_is_seen_on_its_own_side() -> None:
    picture = _shots()[0].copy()
    before = trace_features(picture)
    picture[:, -4:] = 0
    changed = trace_features(picture) - before
    side = {name: changed[index] for index, name in enumerate(trace_names())}
    assert side["border/right_bar"] > 1
    assert side["border/left_bar"] == side["border/top_bar"] == side["border/bottom_bar"] == 0


def test_what_cannot_be_probed_is_refused() -> None:
    features = np.zeros((6, 3))
    with pytest.raises(ProbeError, match=r"two classes were expected, found \[1\]"):
        probe_accuracy(features, np.ones(6, int), np.arange(6))
    with pytest.raises(ProbeError, match="single group"):
        probe_accuracy(features, np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 3, 9, 9, 9]))
    with pytest.raises(ProbeError, match="48x48 pixels was expected, found 40x80"):
        trace_features(np.zeros((80, 40, 3), np.uint8))
