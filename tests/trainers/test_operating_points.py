"""Thresholds keep, on people unseen, the rates that they were measured for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.decide import State
from padflow.nodes.fusion import CueWorth, Fusion
from padflow.nodes.policy import Early, Policy
from padflow.trainers.fusion import FusionRecipe, learn, watched
from padflow.trainers.operating_points import (
    LEAST,
    Extremes,
    _stood,
    extremes_of,
    with_thresholds,
    without_each,
)
from padflow.trainers.replaying import Moment, Rules, replayed

from .recordings import Cue, World, recordings

FUSION = Fusion({"context": CueWorth(1.0, 0.5, 0.5)}, -9.0, 9.0)
RECIPE = FusionRecipe(task="a test", cues=("context",))


def moments(*llrs: float | None, step: float = 0.2) -> list[Moment]:
    return [Moment(i * step, llr, State.UNDECIDED) for i, llr in enumerate(llrs)]


@pytest.mark.parametrize(
    ("llrs", "expected"),
    [
        ([5.0] * 5, (0.0, 0.0)),  # over before it may be decided
        ([5.0] * 5 + [1.0, 3.0, 2.0], (1.0, 3.0)),
        ([0.0] * 5 + [9.0, 9.0, -2.0, -1.0, -3.0], (-2.0, -1.0)),
        ([0.0] * 5 + [4.0, None, 4.0, 4.0, 3.0, 4.0], (3.0, 4.0)),
        ([], (0.0, 0.0)),
    ],
)
def test_what_did_not_stand_for_the_dwell_does_not_count(
    llrs: list[float | None], expected: tuple[float, float]
) -> None:
    assert _stood(moments(*llrs), Policy(), 1.0) == pytest.approx(expected)


def extremes(rng: np.random.Generator, people: int, clips: int, spread: float) -> Extremes:
    live = np.tile(np.arange(2 * clips) % 2 == 0, people)
    person = np.repeat(np.arange(people), 2 * clips)
    sums = np.where(live, 2.0, -2.0) + rng.normal(0, spread, len(live))
    sums = sums + rng.normal(0, 0.3, people)[person]
    return Extremes(sums + 0.2, sums - 0.2, live, [f"P{n}" for n in person])


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(2, 30), st.floats(0.1, 4.0))
def test_no_more_than_the_rate_passed(seed: int, people: int, clips: int, spread: float) -> None:
    seen = extremes(np.random.default_rng(seed), people, clips, spread)
    fusion = with_thresholds(FUSION, seen)
    attack = ~seen.live
    for rate, at in fusion.live_at.items():
        assert LEAST <= at < FUSION.max_llr
        assert (seen.highest[attack] >= at).mean() <= rate
    for rate, at in fusion.spoof_at.items():
        assert FUSION.min_llr < at <= -LEAST
        assert (seen.lowest[seen.live] <= at).mean() <= rate
    for table, sign in ((fusion.live_at, 1), (fusion.spoof_at, -1)):
        assert [sign * at for at in table.values()] == sorted(
            (sign * at for at in table.values()), reverse=True
        )


def test_early_sums_count_for_the_rates_of_early_verdicts() -> None:
    seen = extremes(np.random.default_rng(0), people=20, clips=20, spread=1.6)
    further = replace(seen, highest=seen.highest + 0.5, lowest=seen.lowest - 0.5)
    hasty = replace(seen, early=further)
    policy = Policy(early=Early(apcer=0.03, bpcer=0.04))
    usual, strict = (with_thresholds(FUSION, some, policy) for some in (seen, hasty))
    tables = ((usual.live_at, strict.live_at, 0.03), (usual.spoof_at, strict.spoof_at, 0.04))
    for before, after, early_rate in tables:
        assert min(before) <= early_rate < max(before)
        for rate, at in before.items():
            if rate > early_rate:
                assert after[rate] == at
            else:
                assert abs(after[rate]) > abs(at)
                assert abs(after[rate]) <= abs(at) + 0.5 + 1e-9
    assert with_thresholds(FUSION, hasty, Policy(early=None)) == usual
    assert hasty.without("P1").early is not None


def test_sums_before_the_minimum_time_are_noted_apart() -> None:
    world = World({"context": Cue(mean=2.0, lasting=1.4, passing=0.6)}, 4, 3, seconds=2.0, seed=1)
    seen = watched(recordings(world))
    fusions = without_each(seen, RECIPE)
    went = extremes_of(seen, fusions, RECIPE)
    assert went.early is not None
    assert (went.early.highest >= went.highest).all()
    assert (went.early.lowest <= went.lowest).all()
    assert (went.early.highest > went.highest).any()
    assert extremes_of(seen, fusions, RECIPE, Policy(early=None)).early is None


def test_few_recordings_prove_no_low_rate() -> None:
    rng = np.random.default_rng(0)
    few = with_thresholds(FUSION, extremes(rng, people=3, clips=5, spread=1.0))
    many = with_thresholds(FUSION, extremes(rng, people=30, clips=20, spread=1.0))
    assert 0.01 not in few.live_at
    assert 0.01 in many.live_at
    assert 0.2 in few.live_at


def test_one_class_alone_gives_none() -> None:
    seen = extremes(np.random.default_rng(0), 3, 5, 1.0)
    alone = Extremes(
        seen.highest[seen.live], seen.lowest[seen.live], seen.live[seen.live], ["P"] * 15
    )
    assert with_thresholds(FUSION, alone) == FUSION


def test_persons_can_be_left_out() -> None:
    seen = extremes(np.random.default_rng(0), 3, 5, 1.0)
    left = seen.without("P1")
    assert set(left.person) == {"P0", "P2"}
    assert len(left.highest) == len(left.lowest) == len(left.live) == len(left.person) == 20


def test_strangers_are_mistaken_no_more_often_than_asked_and_decided_more_often() -> None:
    """Made-up people of two worlds: thresholds come from the first, the second is judged."""
    cue = Cue(mean=2.0, lasting=1.4, passing=0.6)
    known, strangers = (
        watched(recordings(World({"context": cue}, people=12, clips=6, seconds=2.0, seed=seed)))
        for seed in (1, 2)
    )
    plain = learn(known, RECIPE).fusion
    measured = with_thresholds(plain, extremes_of(known, without_each(known, RECIPE), RECIPE))
    assert measured.thresholds(Policy())[1] < Policy().thresholds[1]
    shares = {}
    for fusion in (plain, measured):
        last = [replayed(one.packets, Rules(RECIPE.cues, fusion))[-1].state for one in strangers]
        live = np.array([one.presentation.live for one in strangers])
        called = np.array([state is State.LIVE for state in last])
        shares[fusion is measured] = (called[live].mean(), called[~live].mean())
    assert shares[True][0] > shares[False][0] + 0.05
    assert shares[True][1] < 0.07
