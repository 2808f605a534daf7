"""Confidence intervals: textbook values, coverage, and what one person with many clips may say."""

import numpy as np
import pytest

from padflow.trainers.evaluation.intervals import (
    bootstrap_by_person,
    clopper_pearson,
    rate_by_person,
    wilson,
)


def test_textbook_values() -> None:
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert clopper_pearson(1, 10) == pytest.approx((0.0025, 0.4450), abs=1e-4)
    assert clopper_pearson(10, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)


def test_one_item_a_person_is_exact() -> None:
    wrong = np.array([True] + 9 * [False])
    assert rate_by_person(wrong, [str(i) for i in range(10)]) == clopper_pearson(1, 10)


def test_a_thousand_clips_of_five_people_are_not_a_thousand_people() -> None:
    people = [str(i % 5) for i in range(1000)]
    low, high = rate_by_person(np.zeros(1000, bool), people)
    assert (low, high) == clopper_pearson(0, 5)
    all_wrong = rate_by_person(np.ones(1000, bool), people)
    assert all_wrong == clopper_pearson(5, 5)
    of_one = np.array([person == "0" for person in people])
    low, high = rate_by_person(of_one, people)
    assert low == 0.0
    assert high >= 0.4
    assert rate_by_person(of_one, ["0"] * 1000) == (0.0, 1.0)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits, rounds = 0, 200
    for seed in range(rounds):
        chance = rng.beta(2, 6, 40)  # mean 0.25, different for each person
        wrong = rng.random((40, 10)) < chance[:, None]
        people = np.repeat(np.arange(40), 10).astype(str).tolist()
        low, high = rate_by_person(wrong.ravel(), people, seed=seed, resamples=400)
        hits += low <= 0.25 <= high
    assert 0.88 <= hits / rounds <= 1.0


def test_bootstrap_of_several_values_is_repeatable_and_skips_empty_draws() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0])
    people = ["a", "a", "b", "c"]

    def statistic(weight: np.ndarray) -> dict[str, float] | None:
        if not weight[3]:
            return None
        return {"mean": float(np.average(values, weights=weight)), "one": 1.0}

    found = bootstrap_by_person(people, statistic, seed=4, resamples=200)
    assert found == bootstrap_by_person(people, statistic, seed=4, resamples=200)
    assert found["one"] == (1.0, 1.0)
    low, high = found["mean"]
    assert 0.5 <= low < 1.5 < high <= 3.0
    assert bootstrap_by_person(["a"] * 4, statistic) == {}
