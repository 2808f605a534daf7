import numpy as np
import pytest

from padflow.trainers.evaluation.intervals import bootstrap_by_person
from padflow.trainers.evaluation.metrics import (
    EvaluationError,
    Scores,
    area_under_curve,
    curve,
    rates_at,
)
from padflow.trainers.studies.rates import Part, rates


def scores(*rows: tuple[float, str, str]) -> Scores:
    value, species, person = zip(*rows, strict=True)
    live = np.array([name == "live" for name in species])
    return Scores(np.array(value, float), live, tuple(species), tuple(person))


def test_rates_are_those_worked_by_hand() -> None:
    one = scores(
        (3.0, "live", "a"),
        (2.0, "live", "b"),
        (0.5, "live", "a"),
        (float("nan"), "live", "b"),
        (1.5, "print", "a"),
        (-1.0, "print", "b"),
        (-2.0, "screen", "a"),
        (-3.0, "screen", "b"),
    )
    found = rates([Part("x", one, 1.0)], resamples=50)
    assert found["bpcer"]["value"] == pytest.approx(1 / 3)
    assert found["apcer"]["print"]["value"] == 0.5
    assert found["apcer"]["screen"]["value"] == 0.0
    assert found["max_apcer"]["value"] == 0.5
    assert found["acer"]["value"] == pytest.approx((0.5 + 1 / 3) / 2)
    assert found["auc"]["value"] == pytest.approx(11 / 12)
    assert (found["errors"], found["presentations"]) == (2, 7)
    assert found["no_answer"] == {"live": 0.25, "attack": 0.0}


def test_parts_keep_their_thresholds_and_folds_their_scales() -> None:
    low = scores((-10.0, "live", "a"), (-12.0, "print", "a"), (-9.0, "live", "b"))
    high = scores((10.0, "live", "c"), (8.0, "print", "c"), (7.0, "print", "d"))
    apart = rates([Part("x", low, -11.0), Part("y", high, 9.0)], resamples=50)
    assert apart["errors"] == 0
    assert apart["auc"]["value"] == 1.0
    assert apart["acer"]["value"] == 0.0
    assert 0 < apart["acer"]["high"] < 1
    assert 0 < apart["eer"]["high"] < 1
    together = rates([Part("x", low, -11.0), Part("x", high, 9.0)], resamples=50)
    assert together["errors"] == 0
    assert together["auc"]["value"] == pytest.approx(5 / 9)


def test_intervals_are_those_of_drawn_persons() -> None:
    rng = np.random.default_rng(3)
    person = [f"p{i % 5}" for i in range(120)]
    kind = ["live" if i % 3 else "print" for i in range(120)]
    value = rng.normal(0, 1, 120) + np.array([i % 5 for i in range(120)]) / 3
    one = scores(*zip(value.tolist(), kind, person, strict=True))

    def direct(weight: np.ndarray) -> dict[str, float]:
        return {"auc": area_under_curve(curve(one, weight)), "acer": rates_at(one, 0, weight).acer}

    expected = bootstrap_by_person(person, direct, seed=4, resamples=300)
    found = rates([Part("x", one, 0.0)], seed=4, resamples=300)
    for name, (low, high) in expected.items():
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high))
        assert low < found[name]["value"] < high


def test_folds_of_one_person_each_have_intervals_too() -> None:
    folds = [
        scores((shift, "live", who), (2.0, "live", who), (-1.0, "print", who), (0.5, "print", who))
        for who, shift in (("a", 1.0), ("b", -3.0), ("c", 1.0))
    ]
    found = rates([Part(one.person[0], one, 0.0) for one in folds], resamples=1000)
    # Of 27 draws of three persons one is b three times, and eight are without b.
    for name, without_b, only_b in (("acer", 0.25, 0.5), ("eer", 0.0, 0.5), ("auc", 1.0, 0.5)):
        ends = (found[name]["low"], found[name]["high"])
        assert ends == pytest.approx(sorted((without_b, only_b))), name
        assert found[name]["value"] == pytest.approx((2 * without_b + only_b) / 3), name


def test_a_fold_of_one_class_is_refused() -> None:
    live = scores((1.0, "live", "a"), (2.0, "live", "b"))
    both = scores((1.0, "live", "c"), (-2.0, "print", "d"))
    with pytest.raises(EvaluationError, match="found 2 and 0"):
        rates([Part("x", both, 0.0), Part("y", live, 0.0)], resamples=50)
