"""Learns what the cues are worth together, from recordings that all of them have judged.

Three things are measured, none of which a single picture tells:

1. how a cue's looks at one presentation repeat each other: correlation r(d) = shared + (1 -
   shared) rho^d of what the ratio has wrong, d seconds apart, within each class;
2. what each cue is worth beside the others: weights of a logistic regression without offset
   (Brümmer and du Preez 2006), between 0 and 1.5, at equal priors, on the sums that the cues reach
   after several seconds and with cues left out at random, so that every subset serves;
3. how certain all together may be: no more than the logarithm of the number of independent
   presentations + 1 (as in :mod:`.calibration`), or than the most certain single cue, whose own
   calibration rests on data of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, MinLen
from pydantic import FiniteFloat
from scipy.optimize import minimize
from scipy.special import expit

from ..graph.packet import Packet
from ..nodes.evidence import Evidence
from ..nodes.fuse import Look, accumulate
from ..nodes.fusion import MOST_WEIGHT, CueWorth, Fusion
from ..nodes.policy import CuePolicy, Policy
from .calibration import Bools, Floats, ScoredCrops, effective_number, person_weights
from .evidence import Presentation, Recorded, each_track
from .recipe import STRICT, Name, TrainingError

_LAG_EDGES = np.array([0.0, 0.3, 0.6, 1.0, 1.6, 2.5, 4.0, 6.0, 10.0])
"""Seconds between looks: bins of the correlation."""
_LONG = 1.6
"""Seconds from which on what is still alike is taken as lasting."""
_FEWEST_TRACKS = 4
"""Presentations of two looks or more below which a cue's looks are taken to repeat each other."""
_MOST_LOOKS = 60

Lookings = Mapping[str, Sequence[Look]]
"""Valued looks of a track by cue, in order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionRecipe:
    """How a fusion is learned."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Name = "fusion"
    task: Annotated[str, MinLen(1)]
    """What it tells, in one sentence, for the manifest."""
    cues: Annotated[tuple[str, ...], MinLen(1)]
    """Those that are weighed, others are left to the policy."""
    seconds: Annotated[tuple[Annotated[FiniteFloat, Gt(0)], ...], MinLen(1)] = (1.0, 2.0, 4.0, 8.0)
    """After how long the sums are taken; the end of a track counts as well."""
    prior_weight: Annotated[FiniteFloat, Ge(0)] = 0.7
    """What a weight is before the data: below 1, since cues of one face repeat each other."""
    prior_deviation: Annotated[FiniteFloat, Gt(0)] = 0.5
    """Standard deviation of that belief."""
    subsets: Annotated[int, Ge(1)] = 6
    """Random subsets of the cues that each sum is also learned from."""
    seed: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True, slots=True)
class Watched:
    """A presentation and what the cues saw of it."""

    presentation: Presentation
    looks: Lookings
    packets: Sequence[Packet]
    """The whole track, in time order."""

    @property
    def began(self) -> float:
        """Capture time of the track's first packet, in seconds."""
        return self.packets[0].time

    @property
    def ended(self) -> float:
        """Capture time of the track's last packet, in seconds."""
        return self.packets[-1].time


@dataclass(frozen=True, slots=True)
class Learned:
    """A fusion and what it rests on."""

    fusion: Fusion
    live: float
    """Effective number of independent bona fide presentations."""
    attacks: float
    presentations: int = 0
    correlations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By cue: correlation measured in each bin of lags, NaN where no pair was."""


def watched(recorded: Sequence[Recorded], policy: Policy | None = None) -> list[Watched]:
    """The main track of every recording, each look clipped to the policy's limits of its cue."""
    rules = policy or Policy()
    return [
        Watched(presentation, _looks(packets, rules), packets)
        for presentation, packets in each_track(recorded)
    ]


def _looks(packets: Sequence[Packet], policy: Policy) -> dict[str, list[Look]]:
    found: dict[str, list[Look]] = {}
    for packet in packets:
        told = packet.payload
        if isinstance(told, Evidence) and told.llr is not None and np.isfinite(told.llr):
            limits = policy.cue(told.cue)
            llr = min(max(told.llr, limits.min_llr), limits.max_llr)
            found.setdefault(told.cue, []).append(Look(told.window[1], told.window[0], llr))
    return {cue: sorted(looks) for cue, looks in found.items()}


def learn(seen: Sequence[Watched], recipe: FusionRecipe, policy: Policy | None = None) -> Learned:
    """Learn correlations, weights and limits.

    Raises:
        TrainingError: one class is missing.
    """
    rules = policy or Policy()
    live = np.array([one.presentation.live for one in seen], bool)
    if not (live.any() and (~live).any()):
        raise TrainingError(
            f"fusion: expected live and attack recordings with a face, found {int(live.sum())} "
            f"and {int((~live).sum())}; add what is missing"
        )
    measured = {cue: correlations(seen, cue) for cue in recipe.cues}
    alike = {cue: fitted(*values) for cue, values in measured.items()}
    limits = {
        cue: replace(rules.cue(cue), weight=1.0, rho=rho, shared=shared)
        for cue, (rho, shared) in alike.items()
    }
    sums, row_of = _sums(seen, recipe, limits)
    people = [_person(one.presentation) for one in seen]
    recordings = [str(i) for i in range(len(seen))]  # two folders may both have an item 01.mp4
    total = np.nansum(_last(sums, row_of), axis=1)
    crops = ScoredCrops(total, live, people, recordings)
    numbers = effective_number(crops, live), effective_number(crops, ~live)
    share = person_weights(crops)[row_of] / np.bincount(row_of)[row_of]
    weights = _weights(sums, live[row_of], share, sum(numbers), recipe)
    surest = _surest(seen, recipe.cues)
    fusion = Fusion(
        {
            cue: CueWorth(round(float(weight), 4), round(rho, 4), round(shared, 4))
            for weight, (cue, (rho, shared)) in zip(weights, alike.items(), strict=True)
        },
        min_llr=-round(max(float(np.log1p(numbers[0])), -surest[0]), 4),
        max_llr=round(max(float(np.log1p(numbers[1])), surest[1]), 4),
    )
    told = {cue: tuple(float(value) for value in values[0]) for cue, values in measured.items()}
    return Learned(fusion, *numbers, len(seen), told)


def correlations(seen: Sequence[Watched], cue: str) -> tuple[Floats, Floats, int]:
    """How alike a cue's errors are in two looks at one presentation.

    An error is a look's ratio less the mean of its class, persons and their recordings alike.

    Returns:
        Correlation in each bin of lags (8,), NaN where there is no pair; the mean lag of each bin
        (8,) in seconds; the number of presentations with two looks or more.
    """
    having = [one for one in seen if len(one.looks.get(cue, ())) > 1]
    bins = len(_LAG_EDGES) - 1
    products, squares, lags, counts = (np.zeros(bins) for _ in range(4))
    means = _class_means(having, cue)
    for one in having:
        looks = list(one.looks[cue])[:: max(1, len(one.looks[cue]) // _MOST_LOOKS)]
        middle = np.array([(look.start + look.end) / 2 for look in looks])
        error = np.array([look.llr for look in looks]) - means[one.presentation.live]
        first, second = np.triu_indices(len(looks), 1)
        lag = middle[second] - middle[first]
        place = np.digitize(lag, _LAG_EDGES) - 1
        for bin_ in np.unique(place[(place >= 0) & (place < bins)]):
            inside = place == bin_
            products[bin_] += float((error[first] * error[second])[inside].mean())
            # Of the same looks: long recordings may be told better or worse than short ones.
            squares[bin_] += float(((error[first] ** 2 + error[second] ** 2) / 2)[inside].mean())
            lags[bin_] += float(lag[inside].mean())
            counts[bin_] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return products / squares, lags / counts, len(having)


def fitted(found: Floats, lags: Floats, tracks: int) -> tuple[float, float]:
    """Rho and shared of the curve shared + (1 - shared) rho^lag through measured correlations."""
    known = np.isfinite(found) & np.isfinite(lags)
    if tracks < _FEWEST_TRACKS or not known.any():
        return 1.0, 1.0
    far = known & (lags >= _LONG)
    shared = float(np.clip(np.mean(found[far if far.any() else known]), 0.0, 1.0))
    near = known & (lags < _LONG)
    if shared >= 1.0 or not near.any():
        return 1.0, shared
    rest = np.clip((found[near] - shared) / (1 - shared), 1e-3, 1.0)
    rho = float(np.exp(np.average(np.log(rest) / lags[near], weights=lags[near])))
    return float(np.clip(rho, 0.0, 1.0)), shared


def _class_means(having: Sequence[Watched], cue: str) -> dict[bool, float]:
    means = {}
    for live in (True, False):
        of_person: dict[str, list[float]] = {}
        for one in having:
            if one.presentation.live is live:
                mean = float(np.mean([look.llr for look in one.looks[cue]]))
                of_person.setdefault(_person(one.presentation), []).append(mean)
        means[live] = float(np.mean([np.mean(v) for v in of_person.values()])) if of_person else 0.0
    return means


def _person(presentation: Presentation) -> str:
    """Who it is; of nobody known each recording counts as a person."""
    who = presentation.person or presentation.item
    return f"{presentation.dataset}:{who}"


def _sums(
    seen: Sequence[Watched], recipe: FusionRecipe, limits: Mapping[str, CuePolicy]
) -> tuple[Floats, np.ndarray]:
    """What each cue adds up to (R, C) at several times, NaN where it has no value; row's track."""
    rows, tracks = [], []
    for index, one in enumerate(seen):
        length = one.ended - one.began
        moments = [s for s in recipe.seconds if s < length]
        for seconds in (*moments, length):
            now = one.began + seconds
            rows.append([sum_of(one, cue, now, limits[cue]) for cue in recipe.cues])
            tracks.append(index)
    return np.array(rows, np.float64), np.array(tracks, np.intp)


def sum_of(one: Watched, cue: str, now: float, limits: CuePolicy) -> float:
    """What a cue adds up to at a capture time, in nats; NaN where it has no fresh value."""
    looks = [look for look in one.looks.get(cue, ()) if look.end <= now + 1e-6][-32:]
    if not looks or now - looks[-1].end > limits.max_age:
        return float("nan")
    return accumulate(looks, limits)


def _last(sums: Floats, row_of: np.ndarray) -> Floats:
    """The rows (N, C) at the end of each track."""
    ends = np.flatnonzero(np.append(np.diff(row_of) > 0, True))
    return np.asarray(sums[ends])


def _weights(
    sums: Floats, live: Bools, share: Floats, number: float, recipe: FusionRecipe
) -> Floats:
    """Weights (C,) of the cues."""
    rng = np.random.default_rng(recipe.seed)
    count = sums.shape[1]
    filled = np.where(np.isnan(sums), 0.0, sums)
    masks = [np.ones(filled.shape)]
    for _ in range(recipe.subsets):
        kept = rng.random(filled.shape) < 0.5
        kept[np.arange(len(kept)), rng.integers(count, size=len(kept))] = True
        masks.append(kept.astype(np.float64))
    inputs = np.concatenate([filled * mask for mask in masks])
    sign = np.tile(np.where(live, 1.0, -1.0), len(masks))
    importance = np.tile(share, len(masks)) / len(masks)
    strength = 1.0 / (max(number, 1.0) * recipe.prior_deviation**2)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (inputs @ weights)
        away = weights - recipe.prior_weight
        value = float(importance @ np.logaddexp(0.0, -margin)) + 0.5 * strength * away @ away
        slope = -(importance * sign * expit(-margin)) @ inputs + strength * away
        return float(value), np.asarray(slope)

    start = np.full(count, min(recipe.prior_weight, MOST_WEIGHT))
    best = minimize(loss, start, jac=True, bounds=[(0.0, MOST_WEIGHT)] * count)
    return np.asarray(best.x)


def _surest(seen: Sequence[Watched], cues: Sequence[str]) -> tuple[float, float]:
    """Lowest and highest ratio in nats that a single cue gave."""
    values = [look.llr for one in seen for cue in cues for look in one.looks.get(cue, ())]
    return min([0.0, *values]), max([0.0, *values])
