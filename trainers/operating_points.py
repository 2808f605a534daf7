"""At which sums a fusion keeps the error rates that a policy asks for, measured on people unseen.

Wald's bounds hold whatever the evidence is like, if only it is calibrated; where evidence comes in
few large steps and its looks repeat each other, as here, far fewer errors are made than they allow.
So recordings are judged, each person's by a fusion that was learned on the others, and it is
noted how high an attack's sum ever stood and how low a living person's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..nodes.fuse import LITTLE, TICK
from ..nodes.fusion import Fusion
from ..nodes.policy import Policy
from .calibration import Bools, Floats, ScoredCrops, effective_number, person_weights
from .evidence import Presentation
from .fusion import FusionRecipe, Watched, learn
from .replaying import Moment, Rules, replayed

RATES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.2)
"""For which thresholds are looked for; those that the data cannot answer for are left out."""
LEAST = LITTLE
"""Nats that a verdict takes at least: one class twice as probable as the other."""
STEP = 0.01
"""Thresholds are given to so many nats."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """How far the sums of N recordings went, as columns."""

    highest: Floats
    """(N,) greatest sum in nats that stood for the policy's dwell, 0 where none stood so long."""
    lowest: Floats
    """(N,) likewise the least."""
    live: Bools
    """(N,)"""
    person: Sequence[str]
    """(N,)"""
    early: "Extremes | None" = None
    """The same where sums from before the policy's ``min_time`` count too, as they do for the rates
    of early verdicts. None: nothing is decided early."""

    def without(self, person: str) -> "Extremes":
        """Those of everybody else."""
        kept = np.array([who != person for who in self.person], bool)
        names = [who for who in self.person if who != person]
        early = None if self.early is None else self.early.without(person)
        return Extremes(self.highest[kept], self.lowest[kept], self.live[kept], names, early)


def without_each(
    seen: Sequence[Watched], recipe: FusionRecipe, policy: Policy | None = None
) -> dict[str, Fusion]:
    """For every person the fusion that the others' recordings teach, where they are enough."""
    found = {}
    for person in sorted({one.presentation.person for one in seen}):
        others = [one for one in seen if one.presentation.person != person]
        if len({one.presentation.live for one in others}) == 2:
            found[person] = learn(others, recipe, policy).fusion
    return found


def extremes_of(
    seen: Sequence[Watched],
    fusions: Mapping[str, Fusion],
    recipe: FusionRecipe,
    policy: Policy | None = None,
) -> Extremes:
    """How far the sums of recordings went; those that no cue judged are left out.

    Args:
        seen: recordings; those of persons without a fusion are left out.
        fusions: by person, learned without them.
        recipe: whose cues count.
        policy: whose ``min_time`` and ``dwell`` a sum must have stood for; None: the default one.
    """
    rules = policy or Policy()
    judged: list[tuple[Presentation, list[Moment]]] = []
    for one in seen:
        told = one.presentation
        if told.person not in fusions:
            continue
        moments = replayed(one.packets, Rules(recipe.cues, fusions[told.person], rules))
        if any(moment.llr is not None for moment in moments):
            judged.append((told, moments))
    usual = _extremes(judged, rules, rules.watching.min_time)
    if rules.early_targets is None:
        return usual
    return replace(usual, early=_extremes(judged, rules, rules.decides_from))


def _extremes(
    judged: Sequence[tuple[Presentation, list[Moment]]], policy: Policy, since: float
) -> Extremes:
    """How far sums went from so many seconds of watching on."""
    sums = [_stood(moments, policy, since) for _, moments in judged]
    return Extremes(
        np.array([highest for highest, _ in sums], np.float64),
        np.array([lowest for _, lowest in sums], np.float64),
        np.array([told.live for told, _ in judged], bool),
        [told.person for told, _ in judged],
    )


def _stood(moments: Sequence[Moment], policy: Policy, since: float) -> tuple[float, float]:
    """Greatest and least sum in nats that stood long enough for a verdict; 0 where none did."""
    told = [m for m in moments if m.time > since - TICK]
    highs, lows = [], []
    for first, moment in enumerate(told):
        stood = []
        for later in told[first:]:
            if later.llr is None:
                break
            stood.append(later.llr)
            if later.time - moment.time > policy.hysteresis.dwell - TICK:
                highs.append(min(stood))
                lows.append(max(stood))
                break
    return max(highs, default=0.0), min(lows, default=0.0)


def with_thresholds(fusion: Fusion, seen: Extremes, policy: Policy | None = None) -> Fusion:
    """The fusion with the thresholds that recordings of people it was learned without bear out.

    Args:
        fusion: whose limits no threshold may pass.
        seen: how far sums of these recordings went.
        policy: the rates of whose early verdicts are kept by early sums too; None: the default one.
    """
    early = (policy or Policy()).early_targets
    apcer, bpcer = (0.0, 0.0) if early is None else (early.apcer, early.bpcer)
    live_at = _by_rate(seen, live=False, early_rate=apcer)
    spoof_at = _by_rate(seen, live=True, early_rate=bpcer)
    return replace(
        fusion,
        live_at={rate: at for rate, at in live_at.items() if at < fusion.max_llr},
        spoof_at={rate: -at for rate, at in spoof_at.items() if -at > fusion.min_llr},
    )


def _by_rate(seen: Extremes, *, live: bool, early_rate: float) -> dict[float, float]:
    """Rates, and how far towards the wrong verdict at most so many of a class went, in nats.

    Up to the rate of early verdicts this is as far as sums went before ``min_time`` or after it.
    """
    if not (seen.live.any() and (~seen.live).any()):
        return {}
    usual = dict(_bounds(seen, live=live))
    early = usual if seen.early is None else dict(_bounds(seen.early, live=live))
    return {
        rate: at if rate > early_rate else max(at, early[rate])
        for rate, at in usual.items()
        if rate > early_rate or rate in early
    }


def _bounds(seen: Extremes, *, live: bool) -> Iterator[tuple[float, float]]:
    """Rates and bounds, one column of sums alone.

    Persons count alike. A rate of k in n, n being the effective number of independent
    presentations, is taken as (k + 1) / (n + 2), so that having seen no error in few is no proof.
    """
    sums = seen.lowest if live else seen.highest
    group = seen.live == live
    columns = ScoredCrops(
        sums, seen.live, list(seen.person), [str(number) for number in range(len(sums))]
    )
    number = effective_number(columns, group)
    weight = person_weights(columns)[group]
    wrong = (-sums if live else sums)[group]
    order = np.argsort(-wrong, kind="stable")
    passed = np.cumsum(weight[order]) / weight.sum()
    for rate in RATES:
        allowed = (rate * (number + 2) - 1) / number
        if allowed < 0:
            continue
        # The first that may not get there bounds the threshold from below.
        barred = int(np.searchsorted(passed, allowed + 1e-9, side="right"))
        bound = float(wrong[order][barred]) if barred < len(order) else LEAST
        yield rate, round(max(LEAST, float(np.floor(bound / STEP) + 1) * STEP), 4)
