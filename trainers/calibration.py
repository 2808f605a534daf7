"""From a network's score to a log-likelihood ratio in nats that never claims more than was seen.

Logistic calibration (Platt 1999): llr = slope * score + offset, fitted so that the posterior under
*equal* priors of live and attack is right: whatever share of attacks the data has, none of it gets
into the ratio (Brümmer and du Preez 2006).

How sure the ratio may become is bounded by how many independent presentations were seen: nobody
who saw n attacks knows that fewer than one in n + 1 looks like this. So ``max_llr`` is the log of
the attacks' effective number + 1, ``min_llr`` minus that of the bona fide ones (the idea of the
ELUB bounds of Vergeer et al. 2016, in its simplest form), and the fit's targets are pulled in by
as much (Platt's prior), which also keeps the slope finite where the data are separable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from .evaluation.intervals import wilson
from .evaluation.metrics import (
    EvaluationError,
    Scores,
    apcer_at_bpcer,
    bpcer_at_apcer,
    curve,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RIDGE = 1e-3
"""Weight of the squared slope (in units of the scores' own spread) in the fit, which has total
weight 1: too little to move a fit of real data, enough where two scores are all there is."""
ASKED = 0.05
"""Share of errors that the default policy's targets ask about: where mistakes are compared."""


@dataclass(frozen=True, slots=True)
class ScoredCrops:
    """Scores of held-out crops (or clips), as columns of equal length N."""

    score: Floats
    """(N,) raw logits, high = live, finite."""
    live: Bools
    """(N,)"""
    person: Sequence[str]
    """(N,) who is shown."""
    clip: Sequence[str]
    """(N,) the recording that the crop is from; a person may have several."""
    species: Sequence[str] = ()
    """(N,) PAI species of attacks, for thresholds of the worst one; empty: all are one."""

    def __post_init__(self) -> None:
        """Refuse what no calibration can be fitted on."""
        lengths = {len(self.score), len(self.live), len(self.person), len(self.clip)}
        if self.species:
            lengths.add(len(self.species))
        if len(lengths) != 1:
            raise EvaluationError(
                f"calibration: expected columns of one length, found {sorted(lengths)}"
            )
        if not np.isfinite(self.score).all():
            raise EvaluationError(
                "calibration: expected finite scores, found NaN or infinity; leave crops without "
                "a score out"
            )
        if not (self.live.any() and (~self.live).any()):
            raise EvaluationError(
                f"calibration: expected live and attack crops, found {int(self.live.sum())} and "
                f"{int((~self.live).sum())}; hold some of both out of training"
            )


@dataclass(frozen=True, slots=True)
class Fit:
    """What a bundle's manifest holds (method ``logistic``), and what it rests on."""

    slope: float
    """Nats per unit of score, never negative: a score that is upside down is no evidence."""
    offset: float
    """Nats."""
    min_llr: float
    max_llr: float
    live: float
    """Effective number of independent bona fide presentations."""
    attacks: float
    """Effective number of independent attack presentations."""

    @property
    def parameters(self) -> dict[str, float]:
        """For the manifest's calibration."""
        return {
            "slope": self.slope,
            "offset": self.offset,
            "min_llr": self.min_llr,
            "max_llr": self.max_llr,
        }

    def llr(self, score: Floats) -> Floats:
        """Log-likelihood ratios in nats (any shape) of scores."""
        found: Floats = np.clip(self.slope * score + self.offset, self.min_llr, self.max_llr)
        return found


def fit_calibration(crops: ScoredCrops) -> Fit:
    """Fit slope, offset and bounds on held-out crops.

    Raises:
        EvaluationError: one class is missing, or a score is not finite.
    """
    weight = person_weights(crops)
    live = effective_number(crops, crops.live)
    attacks = effective_number(crops, ~crops.live)
    target = np.where(crops.live, (live + 1) / (live + 2), 1 / (attacks + 2))
    slope, offset = _logistic(crops.score, target, weight)
    return Fit(slope, offset, -float(np.log1p(live)), float(np.log1p(attacks)), live, attacks)


def person_weights(crops: ScoredCrops) -> Floats:
    """Weights (N,): live and attack 0.5 each, in each the persons alike, in each their clips alike.

    A long clip counts as much as a short one, a person filmed often as much as one filmed once.
    """
    weight = np.zeros(len(crops.score))
    people, clips = np.asarray(crops.person, str), np.asarray(crops.clip, str)
    for group in (crops.live, ~crops.live):
        names = np.unique(people[group])
        for name in names:
            of_person = group & (people == name)
            of, index, counts = np.unique(clips[of_person], return_inverse=True, return_counts=True)
            weight[of_person] = 0.5 / len(names) / len(of) / counts[index]
    return weight


def effective_number(crops: ScoredCrops, group: Bools) -> float:
    """Number of independent presentations that the clips of a group are worth.

    Between the number of persons (where a person's clips are all mistaken alike) and that of clips
    (where the person does not matter): each person with m clips counts as m / (1 + (m - 1) r),
    r being the intraclass correlation (one-way analysis of variance) of mistakes: of the share of a
    clip's crops that are among the :data:`ASKED` of the group that look most like the other class.
    It is that of mistakes and not of scores because a bound on a ratio asks how often somebody
    looks like the other class; that one person is told with more room to spare than another does
    not matter. Where no person has two clips, or there is but one person, it is 1.
    """
    people, clips = np.asarray(crops.person, str)[group], np.asarray(crops.clip, str)[group]
    keys, index = np.unique(np.stack([people, clips]), axis=1, return_inverse=True)
    mistaken = _mistaken(crops, group)
    shares = np.bincount(index.ravel(), weights=mistaken) / np.bincount(index.ravel())
    _, of, counts = np.unique(keys[0], return_inverse=True, return_counts=True)
    alike = _intraclass_correlation(shares, of, counts)
    return float((counts / (1 + (counts - 1) * alike)).sum())


def _mistaken(crops: ScoredCrops, group: Bools) -> Floats:
    """1 for those of the group (M,) that look most like the other class, else 0; persons alike."""
    likeness = np.where(crops.live, -crops.score, crops.score)[group]
    weight = person_weights(crops)[group]
    order = np.argsort(-likeness, kind="stable")
    taken = np.cumsum(weight[order]) / weight.sum()
    last = min(int(np.searchsorted(taken, ASKED)), len(order) - 1)
    found: Floats = (likeness >= likeness[order][last]).astype(np.float64)
    return found


def _intraclass_correlation(
    values: Floats, group: NDArray[np.intp], counts: NDArray[np.intp]
) -> float:
    groups, total = len(counts), int(counts.sum())
    if groups < 2 or total == groups:
        return 1.0
    means = np.bincount(group, weights=values) / counts
    between = float((counts * (means - values.mean()) ** 2).sum()) / (groups - 1)
    within = float(((values - means[group]) ** 2).sum()) / (total - groups)
    size = (total - float((counts**2).sum()) / total) / (groups - 1)
    spread = between + (size - 1) * within
    return float(np.clip((between - within) / spread, 0.0, 1.0)) if spread > 0 else 1.0


def _logistic(score: Floats, target: Floats, weight: Floats) -> tuple[float, float]:
    centre = float(np.average(score, weights=weight))
    spread = float(np.sqrt(np.average((score - centre) ** 2, weights=weight)))
    if spread <= 1e-12 * max(1.0, abs(centre)):
        return 0.0, 0.0  # one and the same score for all tells nothing
    unit = (score - centre) / spread

    def loss(x: Floats) -> tuple[float, Floats]:
        logit = x[0] * unit + x[1]
        cost = np.logaddexp(0.0, logit) - target * logit
        error = weight * (expit(logit) - target)
        slope = (error * unit).sum() + 2 * RIDGE * x[0]
        return float((weight * cost).sum() + RIDGE * x[0] ** 2), np.array([slope, error.sum()])

    best = minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        bounds=[(0.0, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000},
    ).x
    slope = float(best[0]) / spread
    return (slope, float(best[1]) - slope * centre) if slope > 1e-9 / spread else (0.0, 0.0)


def cllr(llr: Floats, live: Bools, weight: Floats | None = None) -> float:
    """Cost of log-likelihood ratios in bits (Brümmer and du Preez 2006), classes counting alike.

    0 is perfect, 1 what ratios of nothing but 0 cost; above 1 they mislead.

    Args:
        llr: (N,) nats, positive = live.
        live: (N,)
        weight: (N,) of each presentation within its class; default all alike.
    """
    counts = np.ones(len(llr)) if weight is None else weight
    of_live = np.average(np.logaddexp(0.0, -llr[live]), weights=counts[live])
    of_attack = np.average(np.logaddexp(0.0, llr[~live]), weights=counts[~live])
    return float(of_live + of_attack) / (2 * float(np.log(2.0)))


def min_cllr(score: Floats, live: Bools, weight: Floats | None = None) -> float:
    """Least :func:`cllr` that any rising function of the scores could have, in bits.

    The function is found by pooling adjacent violators; presentations of equal score share one
    ratio. What :func:`cllr` has above it is the fault of the calibration, the rest of the scores.
    """
    counts = np.ones(len(score)) if weight is None else weight
    share = np.where(live, counts / counts[live].sum(), counts / counts[~live].sum())
    values, place = np.unique(score, return_inverse=True)
    total = np.bincount(place, weights=share)
    good = np.bincount(place, weights=share * live)
    seen = total > 0
    posterior = np.zeros(len(values))
    posterior[seen] = isotonic_regression(good[seen] / total[seen], weights=total[seen]).x
    # Where no attack (or no live) is left, the ratio is infinite and costs its own class nothing.
    chance = np.where(live, posterior[place], 1.0 - posterior[place])
    paid = share > 0
    cost = -(share[paid] * np.log2(np.maximum(chance[paid], 1e-300))).sum()
    return float(abs(cost)) / 2


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: ratios claimed beside what was found there."""

    low: float
    """Nats, inclusive."""
    high: float
    claimed: float
    """Mean probability of live under equal priors."""
    found: float
    """Share of live among the bin's presentations, classes weighted alike."""
    interval: tuple[float, float]
    """Wilson's, 95 %, with the bin's effective number of presentations (Kish)."""
    weight: float
    """Share of all presentations, classes weighted alike."""
    count: int


def reliability(
    llr: Floats, live: Bools, weight: Floats | None = None, bins: int = 10
) -> list[ReliabilityBin]:
    """Bins of a reliability diagram at equal priors; each holds about the same weight.

    Args:
        llr: (N,) nats.
        live: (N,) with at least one of each class.
        weight: (N,) of each presentation within its class.
        bins: most bins; equal ratios are never parted, so there may be fewer.
    """
    counts = np.ones(len(llr)) if weight is None else weight
    share = np.where(live, counts / counts[live].sum(), counts / counts[~live].sum()) / 2
    _, place = np.unique(llr, return_inverse=True)
    mass = np.bincount(place, weights=share)
    middle = np.cumsum(mass) - mass / 2
    number = np.minimum((middle * bins).astype(int), bins - 1)
    bin_of = number[place]
    return [_bin(llr, live, share, bin_of == which) for which in np.unique(bin_of)]


def _bin(llr: Floats, live: Bools, share: Floats, inside: Bools) -> ReliabilityBin:
    weight = share[inside]
    total = float(weight.sum())
    found = float((weight * live[inside]).sum()) / total
    independent = total**2 / float((weight**2).sum())
    return ReliabilityBin(
        float(llr[inside].min()),
        float(llr[inside].max()),
        float(np.average(expit(llr[inside]), weights=weight)),
        found,
        wilson(found * independent, independent),
        total,
        int(inside.sum()),
    )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Score thresholds for target error rates on the calibration data; accepted is >=."""

    apcer: Mapping[float, tuple[float, float]]
    """By greatest APCER of the worst species: threshold, and the BPCER there."""
    bpcer: Mapping[float, tuple[float, float]]
    """By greatest BPCER: threshold, and the APCER of the worst species there."""


def thresholds_for(
    crops: ScoredCrops,
    apcer: Sequence[float] = (0.01, 0.05, 0.10),
    bpcer: Sequence[float] = (0.01, 0.05, 0.10),
) -> Thresholds:
    """Thresholds on the raw score for target error rates, persons counting alike.

    Raises:
        EvaluationError: a target is not a share.
    """
    for target in (*apcer, *bpcer):
        if not 0 <= target <= 1:
            raise EvaluationError(
                f"target error rate {target}: expected a share from 0 to 1; give 0.05 for 5 %"
            )
    kinds = tuple(crops.species) or ("attack",) * len(crops.score)
    scores = Scores(crops.score, crops.live, kinds, tuple(crops.person))
    rates = curve(scores, person_weights(crops))
    by_apcer = {target: bpcer_at_apcer(rates, target)[::-1] for target in apcer}
    by_bpcer = {target: apcer_at_bpcer(rates, target)[::-1] for target in bpcer}
    return Thresholds(by_apcer, by_bpcer)
