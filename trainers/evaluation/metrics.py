"""Error rates of presentation-attack detection, in the terms of ISO/IEC 30107-3.

Scores are high for live. **Ties**: a presentation is classified as bona fide if its score is *at or
above* the threshold. An attack that scores exactly the threshold is therefore accepted (counts
for APCER) and a bona fide one is not rejected. A presentation without a score (NaN) is a
non-response: it is counted by :func:`non_response_rates` and stands in no other rate unless
said otherwise.

ACER, EER and HTER are academic usage and not metrics of ISO/IEC 30107-3; they are here since the
literature reports them. Nothing here is a claim of conformity to that standard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import EngineError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PAPER_GROUPS = {"screen": "replay"}
"""What the OULU-NPU papers group attacks into: {print, replay}; other species stay themselves."""
APCER_TARGETS = (0.01, 0.05, 0.10)


class EvaluationError(EngineError, ValueError):
    """Data that cannot be evaluated; its text is one sentence for a person."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class Scores:
    """One score for each presentation, as columns of equal length N."""

    score: Floats
    """(N,) any unit, high = live; NaN where the system gave none (a non-response)."""
    live: Bools
    """(N,) True for bona fide presentations."""
    species: tuple[str, ...]
    """PAI species of attacks; ignored for bona fide presentations."""
    person: tuple[str, ...]
    """Who is shown: presentations of one person are not independent."""

    def __post_init__(self) -> None:
        """Refuse columns of different length and infinite scores."""
        lengths = {len(self.score), len(self.live), len(self.species), len(self.person)}
        if len(lengths) != 1:
            raise EvaluationError(
                f"scores: expected columns of one length, found {sorted(lengths)}; give one value "
                "for each presentation"
            )
        if np.isinf(self.score).any():
            raise EvaluationError(
                "scores: expected finite numbers or NaN (no response), found an infinite one; "
                "clip it to a finite number"
            )

    def __len__(self) -> int:
        return len(self.score)

    @property
    def responded(self) -> Bools:
        """(N,) True where there is a score."""
        found: Bools = ~np.isnan(self.score)
        return found

    def where(self, keep: Bools) -> "Scores":
        """The presentations where ``keep`` (N,) is True."""
        index = np.flatnonzero(keep)
        return Scores(
            self.score[index],
            self.live[index],
            tuple(self.species[i] for i in index),
            tuple(self.person[i] for i in index),
        )

    def grouped(self, groups: Mapping[str, str]) -> "Scores":
        """The same presentations with species renamed; what ``groups`` lacks keeps its name."""
        named = tuple(groups.get(name, name) for name in self.species)
        return Scores(self.score, self.live, named, self.person)


@dataclass(frozen=True, slots=True)
class Curve:
    """Error rates at every threshold that can make a difference.

    With U distinct scores there are U + 1 thresholds, ascending: the lowest accepts everything,
    the highest nothing. Between two neighbouring scores the threshold stands half-way, so that
    one chosen on one set is not glued to a score of that set.
    """

    threshold: Floats
    """(U + 1,)"""
    bpcer: Floats
    """(U + 1,) share of bona fide presentations rejected, rising."""
    apcer: Mapping[str, Floats]
    """(U + 1,) by PAI species: share of attacks accepted, falling."""
    pooled: Floats
    """(U + 1,) share of all attacks accepted, species by their numbers (the literature's FAR)."""

    @property
    def worst(self) -> Floats:
        """(U + 1,) APCER of the worst species at each threshold."""
        most: Floats = np.max(np.stack([*self.apcer.values()]), axis=0)
        return most


def curve(scores: Scores, weight: Floats | None = None) -> Curve:
    """The error rates over all thresholds.

    Args:
        scores: presentations; those without a score are left out.
        weight: (N,) how often each presentation counts, >= 0; default once.

    Raises:
        EvaluationError: no bona fide presentation or no attack has a score.
    """
    counts = np.ones(len(scores)) if weight is None else np.asarray(weight, float)
    use = scores.responded & (counts > 0)
    live, attack = use & scores.live, use & ~scores.live
    _need_both(live, attack)
    values, place = np.unique(scores.score[use], return_inverse=True)
    bins = np.zeros(len(scores), np.intp)
    bins[use] = place
    species = np.asarray(scores.species, object)
    apcer = {
        name: _accepted(bins, counts, attack & (species == name), len(values))
        for name in sorted(set(species[attack]))
    }
    return Curve(
        _between(values),
        1.0 - _accepted(bins, counts, live, len(values)),
        apcer,
        _accepted(bins, counts, attack, len(values)),
    )


def _need_both(live: Bools, attack: Bools) -> None:
    if not (live.any() and attack.any()):
        raise EvaluationError(
            f"scores: expected bona fide and attack presentations with scores, found {live.sum()} "
            f"and {attack.sum()}; error rates need at least one of each"
        )


def _accepted(bins: NDArray[np.intp], counts: Floats, group: Bools, values: int) -> Floats:
    """(values + 1,) share of the group at or above each value, then 0."""
    each = np.bincount(bins[group], weights=counts[group], minlength=values)
    below = np.concatenate([[0.0], np.cumsum(each)])
    share: Floats = 1.0 - below / below[-1]
    share[-1] = 0.0
    return share


def _between(values: Floats) -> Floats:
    middle = values[:-1] + (values[1:] - values[:-1]) / 2
    middle = np.where(middle > values[:-1], middle, values[1:])  # neighbouring floats
    found: Floats = np.concatenate([values[:1], middle, [np.nextafter(values[-1], np.inf)]])
    return found


@dataclass(frozen=True, slots=True)
class Rates:
    """Error rates at one threshold; shares from 0 to 1."""

    threshold: float
    apcer: Mapping[str, float]
    """By PAI species."""
    bpcer: float
    pooled: float
    """Share of all attacks accepted (FAR), whatever their species."""

    @property
    def worst(self) -> float:
        """Maximum APCER over the species: what ISO/IEC 30107-3 has one report."""
        return max(self.apcer.values())

    @property
    def acer(self) -> float:
        """(maximum APCER + BPCER) / 2: academic usage, not a metric of ISO/IEC 30107-3."""
        return (self.worst + self.bpcer) / 2

    @property
    def hter(self) -> float:
        """(FAR + FRR) / 2 with attacks pooled: academic usage."""
        return (self.pooled + self.bpcer) / 2


def rates_at(scores: Scores, threshold: float, weight: Floats | None = None) -> Rates:
    """Error rates over the presentations that have a score, at a threshold (accepted: >=).

    Raises:
        EvaluationError: no bona fide presentation or no attack has a score.
    """
    counts = np.ones(len(scores)) if weight is None else np.asarray(weight, float)
    use = scores.responded & (counts > 0)
    live, attack = use & scores.live, use & ~scores.live
    _need_both(live, attack)
    accepted = np.zeros(len(scores), bool)
    accepted[use] = scores.score[use] >= threshold
    species = np.asarray(scores.species, object)

    def share(group: Bools) -> float:
        return float(counts[group & accepted].sum() / counts[group].sum())

    apcer = {n: share(attack & (species == n)) for n in sorted(set(species[attack]))}
    bpcer = float(counts[live & ~accepted].sum() / counts[live].sum())
    return Rates(float(threshold), apcer, bpcer, share(attack))


def equal_error(of: Curve) -> tuple[float, float]:
    """Equal error rate over all attacks pooled, and its threshold.

    The rates are steps and seldom meet: the threshold is the one at which they lie closest (of
    several, where their larger is smallest, then the lowest), the rate the mean of the two there.
    """
    gap = np.abs(of.pooled - of.bpcer).round(12)
    larger = np.maximum(of.pooled, of.bpcer)
    place = int(np.lexsort((of.threshold, larger, gap))[0])
    return float(of.pooled[place] + of.bpcer[place]) / 2, float(of.threshold[place])


def bpcer_at_apcer(of: Curve, target: float, *, pooled: bool = False) -> tuple[float, float]:
    """Lowest BPCER at which APCER is at most ``target``, and the threshold.

    Args:
        of: error rates over thresholds.
        target: greatest APCER allowed, 0 to 1.
        pooled: hold all attacks together to the target, not the worst species.
    """
    apcer = of.pooled if pooled else of.worst
    place = int(np.flatnonzero(apcer <= target + 1e-12)[0])  # the last threshold has APCER 0
    return float(of.bpcer[place]), float(of.threshold[place])


def apcer_at_bpcer(of: Curve, target: float) -> tuple[float, float]:
    """Lowest worst-species APCER at which BPCER is at most ``target``, and the threshold."""
    place = int(np.flatnonzero(of.bpcer <= target + 1e-12)[-1])  # the first has BPCER 0
    return float(of.worst[place]), float(of.threshold[place])


def area_under_curve(of: Curve) -> float:
    """Area under the ROC curve: chance that a live score tops an attack's, ties counting half."""
    return float(np.trapezoid(1.0 - of.bpcer[::-1], of.pooled[::-1]))


def non_response_rates(scores: Scores) -> tuple[dict[str, float], float]:
    """Shares of presentations without a score: APNRR by PAI species, and BPNRR (NaN: no such)."""
    none = ~scores.responded
    species = np.asarray(scores.species, object)
    attack = ~scores.live
    apnrr = {
        name: float(none[attack & (species == name)].mean())
        for name in sorted(set(species[attack]))
    }
    bpnrr = float(none[scores.live].mean()) if scores.live.any() else float("nan")
    return apnrr, bpnrr


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) over folds, as OULU-NPU P3 and P4 are reported."""
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0
