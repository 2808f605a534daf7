"""Calibration: known ratios come back, few data give no certainty, long clips do not dominate."""

import numpy as np
import pytest

from padflow.trainers.calibration import (
    Fit,
    ScoredCrops,
    cllr,
    effective_number,
    fit_calibration,
    min_cllr,
    person_weights,
    reliability,
    thresholds_for,
)
from padflow.trainers.evaluation.metrics import EvaluationError


def crops(live: list[float], attack: list[float]) -> ScoredCrops:
    """A person and a clip for each score."""
    names = [str(i) for i in range(len(live) + len(attack))]
    return ScoredCrops(
        np.array([*live, *attack], float), np.arange(len(names)) < len(live), names, names
    )


def gaussians(live: int, attacks: int, seed: int = 0, scale: float = 3.0) -> ScoredCrops:
    """Scores whose true ratio is 2 * score / scale nats: N(+1, 1) and N(-1, 1), times scale."""
    rng = np.random.default_rng(seed)
    return crops(
        (scale * rng.normal(1, 1, live)).tolist(), (scale * rng.normal(-1, 1, attacks)).tolist()
    )


def test_the_true_ratio_comes_back_whatever_the_share_of_attacks() -> None:
    fit = fit_calibration(gaussians(4000, 400))
    assert fit.slope == pytest.approx(2 / 3, rel=0.1)
    assert fit.offset == pytest.approx(0.0, abs=0.2)
    assert set(fit.parameters) == {"slope", "offset", "min_llr", "max_llr"}


def test_separable_data_of_few_people_give_no_certainty() -> None:
    fit = fit_calibration(crops([50, 60, 70], [-50, -60, -70, -80, -90]))
    assert fit.max_llr == pytest.approx(np.log(6))
    assert fit.min_llr == pytest.approx(-np.log(4))
    llr = fit.llr(np.array([-1e9, -90.0, 0.0, 60.0, 1e9]))
    assert llr.min() >= -np.log(4)
    assert llr.max() <= np.log(6)
    assert llr[1] < -0.5
    assert llr[3] > 0.5


@pytest.mark.parametrize(
    ("live", "attack"),
    [([-2, -3, -1], [1, 2, 3]), ([1, 1, 1], [1, 1]), ([0.0], [0.0])],
    ids=["upside down", "constant", "two"],
)
def test_scores_that_tell_nothing_give_no_ratio(live: list[float], attack: list[float]) -> None:
    fit = fit_calibration(crops(live, attack))
    assert (fit.slope, fit.offset) == (0.0, 0.0)


def test_a_long_clip_does_not_dominate() -> None:
    rng = np.random.default_rng(1)
    few = gaussians(30, 30)
    long = rng.normal(-4.0, 0.1, 3000)  # a live person who scores like an attack, for minutes
    together = ScoredCrops(
        np.concatenate([few.score, long]),
        np.concatenate([few.live, np.ones(3000, bool)]),
        [*few.person, *["long"] * 3000],
        [*few.clip, *["long"] * 3000],
    )
    weight = person_weights(together)
    assert weight[together.live].sum() == pytest.approx(0.5)
    assert weight[60:].sum() == pytest.approx(0.5 / 31)
    plain, with_long = fit_calibration(few), fit_calibration(together)
    assert with_long.slope > plain.slope / 2
    assert with_long.live == pytest.approx(31)


def test_clips_of_one_person_count_by_how_much_they_differ() -> None:
    rng = np.random.default_rng(2)
    people = np.repeat(np.arange(10), 20).astype(str).tolist()
    clips = [str(i) for i in range(200)]
    live = np.ones(200, bool)
    live[-20:] = False

    def number(score: np.ndarray) -> float:
        return effective_number(ScoredCrops(score, live, people, clips), live)

    alike = np.repeat(rng.normal(size=10), 20)
    assert number(alike) == pytest.approx(9)
    assert 100 < number(rng.normal(size=200)) <= 180
    assert 9 < number(alike + rng.normal(size=200)) < 100


def test_people_who_are_told_with_more_room_to_spare_count_no_less() -> None:
    """It is mistakes that bound a ratio, and all persons are mistaken alike seldom here."""
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(10), 40).astype(str).tolist()
    clips = [str(i) for i in range(400)]
    live = np.ones(400, bool)
    live[-40:] = False
    room = np.repeat(np.linspace(1, 9, 10), 40)
    surely = np.where(rng.random(400) < 0.1, rng.normal(-0.5, 0.1, 400), room)
    score = np.where(live, surely, -surely)
    assert effective_number(ScoredCrops(score, live, people, clips), live) > 150


def test_cost_of_ratios_by_hand() -> None:
    live = np.array([True, True, False])
    assert cllr(np.zeros(3), live) == pytest.approx(1.0)
    ratios = np.log([3.0, 1.0, 1 / 3])
    by_hand = (np.mean([np.log2(4 / 3), 1.0]) + np.log2(4 / 3)) / 2
    assert cllr(ratios, live) == pytest.approx(by_hand)
    assert cllr(-ratios, live) > 1


def test_least_cost_by_hand() -> None:
    live = np.array([False, True, False, True])
    assert min_cllr(np.array([1.0, 2, 3, 4]), live) == pytest.approx(0.5)  # the middle two pool
    assert min_cllr(np.array([1.0, 3, 2, 4]), live) == pytest.approx(0.0)
    assert min_cllr(np.zeros(4), live) == pytest.approx(1.0)


def test_least_cost_is_below_the_cost_of_the_fit_and_unmoved_by_rising_maps() -> None:
    some = gaussians(300, 500, seed=4)
    fit = fit_calibration(some)
    least = min_cllr(some.score, some.live)
    assert least <= cllr(fit.llr(some.score), some.live) < least + 0.05
    assert min_cllr(np.exp(some.score / 5), some.live) == pytest.approx(least)


def test_reliability_of_a_good_and_of_an_overconfident_calibration() -> None:
    held_out = gaussians(3000, 3000, seed=6)
    fit = fit_calibration(gaussians(3000, 3000, seed=5))
    bins = reliability(fit.llr(held_out.score), held_out.live)
    assert sum(b.weight for b in bins) == pytest.approx(1.0)
    assert sum(b.count for b in bins) == 6000
    inside = [b.interval[0] - 0.02 <= b.claimed <= b.interval[1] + 0.02 for b in bins]
    assert sum(inside) >= len(bins) - 1
    too_sure = Fit(5 * fit.slope, 0.0, -9.0, 9.0, fit.live, fit.attacks)
    bins = reliability(too_sure.llr(held_out.score), held_out.live)
    assert max(abs(b.claimed - b.found) for b in bins) > 0.1


def test_thresholds_keep_their_promise_on_the_worst_species() -> None:
    rng = np.random.default_rng(7)
    score = np.concatenate([rng.normal(2, 1, 400), rng.normal(-2, 1, 300), rng.normal(1, 1, 100)])
    names = [str(i) for i in range(800)]
    kinds = [""] * 400 + ["print"] * 300 + ["screen"] * 100
    found = thresholds_for(ScoredCrops(score, np.arange(800) < 400, names, names, kinds))
    threshold, bpcer = found.apcer[0.05]
    assert (score[700:] >= threshold).mean() <= 0.05
    assert bpcer == pytest.approx((score[:400] < threshold).mean())
    threshold, apcer = found.bpcer[0.10]
    assert (score[:400] < threshold).mean() <= 0.10
    assert apcer == pytest.approx((score[700:] >= threshold).mean())


def test_what_cannot_be_calibrated_is_told() -> None:
    with pytest.raises(EvaluationError, match="hold some of both"):
        crops([1.0], [])
    with pytest.raises(EvaluationError, match="finite"):
        crops([np.nan], [0.0])
    with pytest.raises(EvaluationError, match="0 to 1"):
        thresholds_for(crops([1.0], [0.0]), apcer=(5,))
