"""Error rates: against values worked by hand."""

import numpy as np
import pytest

from padflow.trainers.evaluation.metrics import (
    PAPER_GROUPS,
    EvaluationError,
    Scores,
    apcer_at_bpcer,
    bpcer_at_apcer,
    curve,
    equal_error,
    mean_and_std,
    non_response_rates,
    rates_at,
)

NAN = float("nan")


def scores(live: list[float], **attacks: list[float]) -> Scores:
    """A person for each presentation."""
    values = [*live, *(v for species in attacks.values() for v in species)]
    names = ["", *attacks]
    kinds = [n for n, v in zip(names, (live, *attacks.values()), strict=True) for _ in v]
    return Scores(
        np.array(values),
        np.array([not kind for kind in kinds]),
        tuple(kinds),
        tuple(map(str, range(len(values)))),
    )


BY_HAND = scores([1, 3, 4, 5], print=[0, 2], screen=[3, 3, 0, 0])


def test_rates_worked_by_hand() -> None:
    rates = rates_at(BY_HAND, 3.0)
    assert rates.apcer == {"print": 0.0, "screen": 0.5}, "a score at the threshold is accepted"
    assert rates.bpcer == 0.25, "a bona fide one at the threshold is accepted too"
    assert rates.worst == 0.5
    assert rates.acer == 0.375
    assert rates.pooled == pytest.approx(2 / 6)
    assert rates.hter == pytest.approx((2 / 6 + 1 / 4) / 2)


def test_curve_worked_by_hand() -> None:
    found = curve(BY_HAND)
    # distinct scores 0 1 2 3 4 5
    assert found.threshold[:-1].tolist() == [0, 0.5, 1.5, 2.5, 3.5, 4.5]
    assert found.bpcer.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.75, 1]
    assert found.apcer["print"].tolist() == [1, 0.5, 0.5, 0, 0, 0, 0]
    assert found.apcer["screen"].tolist() == [1, 0.5, 0.5, 0.5, 0, 0, 0]
    assert found.worst.tolist() == [1, 0.5, 0.5, 0.5, 0, 0, 0]


def test_equal_error_and_operating_points_by_hand() -> None:
    found = curve(BY_HAND)
    rate, threshold = equal_error(found)  # pooled 1/3 and BPCER 1/4 lie closest
    assert rate == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert threshold == 2.5
    assert bpcer_at_apcer(found, 0.05) == (0.5, 3.5)
    assert bpcer_at_apcer(found, 0.5) == (0.0, 0.5)
    assert bpcer_at_apcer(found, 0.35, pooled=True) == (0.25, 2.5)
    assert apcer_at_bpcer(found, 0.3) == (0.5, 2.5)
    assert apcer_at_bpcer(found, 0.0) == (0.5, 0.5)


def test_the_curve_says_what_the_rates_at_its_thresholds_are() -> None:
    rng = np.random.default_rng(3)
    some = scores(
        rng.integers(0, 9, 40).tolist(),
        print=rng.integers(-3, 6, 30).tolist(),
        mask=rng.integers(0, 8, 5).tolist(),
    )
    found = curve(some)
    for place, threshold in enumerate(found.threshold):
        rates = rates_at(some, threshold)
        assert rates.bpcer == pytest.approx(found.bpcer[place])
        assert rates.pooled == pytest.approx(found.pooled[place])
        assert rates.worst == pytest.approx(found.worst[place])


def test_weights_count_like_repetition() -> None:
    rng = np.random.default_rng(5)
    some = scores(rng.normal(1, 1, 20).tolist(), print=rng.normal(0, 1, 20).tolist())
    weight = rng.integers(0, 4, 40)
    again = np.repeat(np.arange(40), weight)
    repeated = Scores(
        some.score[again], some.live[again], ("print",) * len(again), ("p",) * len(again)
    )
    weighted, plain = curve(some, weight.astype(float)), curve(repeated)
    np.testing.assert_allclose(weighted.pooled, plain.pooled)
    np.testing.assert_allclose(weighted.bpcer, plain.bpcer)
    assert equal_error(weighted) == pytest.approx(equal_error(plain))


def test_non_responses_stand_apart() -> None:
    some = scores([1, NAN, 2, 3], print=[0, NAN], screen=[0.5])
    assert non_response_rates(some) == ({"print": 0.5, "screen": 0.0}, 0.25)
    assert rates_at(some, 1.5).bpcer == pytest.approx(1 / 3)


def test_paper_groups_pool_what_the_strict_ones_part() -> None:
    strict = scores([2, 3], **{"print:a": [0.0, 0.0], "print:b": [4.0, 0.0], "screen": [0.0]})
    assert rates_at(strict, 1.0).worst == 0.5
    named = strict.grouped({"print:a": "print", "print:b": "print", **PAPER_GROUPS})
    assert rates_at(named, 1.0).apcer == {"print": 0.25, "replay": 0.0}


def test_neighbouring_floats_keep_their_thresholds_apart() -> None:
    above = np.nextafter(1.0, 2.0)
    found = curve(scores([above], print=[1.0]))
    assert equal_error(found) == (0.0, above)


def test_folds() -> None:
    assert mean_and_std([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_std([4.0]) == (4.0, 0.0)


@pytest.mark.parametrize(
    ("live", "attack"), [([], [1.0]), ([1.0], []), ([NAN], [1.0])], ids=["live", "attack", "score"]
)
def test_a_missing_class_is_told(live: list[float], attack: list[float]) -> None:
    with pytest.raises(EvaluationError, match="at least one of each"):
        curve(scores(live, print=attack))


def test_infinite_scores_and_uneven_columns_are_told() -> None:
    with pytest.raises(EvaluationError, match="infinite"):
        scores([np.inf], print=[0.0])
    with pytest.raises(EvaluationError, match="one length"):
        Scores(np.zeros(2), np.ones(2, bool), ("",), ("", ""))
