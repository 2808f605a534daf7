"""Confidence intervals that know that presentations of one person are not independent."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

Floats = NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 1000


def wilson(errors: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval (1927) of a share, for independent trials.

    Close to its nominal coverage on average; may be below it for shares near 0 and 1.
    """
    if trials <= 0:
        return 0.0, 1.0
    z = float(norm.ppf(0.5 + confidence / 2))
    share = errors / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    spread /= 1 + z * z / trials
    low = 0.0 if errors <= 0 else max(0.0, centre - spread)
    high = 1.0 if errors >= trials else min(1.0, centre + spread)
    return float(low), float(high)


def clopper_pearson(errors: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """Clopper's and Pearson's exact interval (1934) of a share: never below its coverage."""
    if trials <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if errors <= 0 else float(beta.ppf(tail, errors, trials - errors + 1))
    high = 1.0 if errors >= trials else float(beta.ppf(1 - tail, errors + 1, trials - errors))
    return low, high


def rate_by_person(
    wrong: NDArray[np.bool_],
    person: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Interval of a share of wrong presentations.

    With one presentation a person: Clopper-Pearson. Otherwise persons are drawn with replacement
    (bootstrap, percentiles). No error at all, or nothing but errors, leaves a bootstrap nothing to
    vary: then Clopper-Pearson with the number of *persons*, as if each had been seen once. One
    person with both says nothing of others: (0, 1).

    Args:
        wrong: (N,) which presentations were classified wrongly.
        person: (N,) who is shown.
        seed: of the bootstrap.
        resamples: draws of the bootstrap.
        confidence: 0 to 1.
    """
    names, index = np.unique(np.asarray(person, str), return_inverse=True)
    people, errors, trials = len(names), int(wrong.sum()), len(wrong)
    if people == trials:
        return clopper_pearson(errors, trials, confidence)
    if errors in (0, trials):
        return clopper_pearson(people if errors else 0, people, confidence)
    if people == 1:
        return 0.0, 1.0
    mistakes = np.bincount(index, weights=wrong, minlength=people)
    counts = np.bincount(index, minlength=people).astype(float)
    drawn = _draws(people, seed, resamples)
    return _percentiles((drawn @ mistakes) / (drawn @ counts), confidence)


def bootstrap_by_person(
    person: Sequence[str],
    statistic: Callable[[Floats], Mapping[str, float] | None],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval]:
    """Percentile intervals of several statistics at once, persons drawn with replacement.

    Args:
        person: (N,) who is shown in each presentation.
        statistic: from weights (N,), how often each presentation was drawn, to named values; None
            where the draw gives none (no bona fide person was drawn): another draw takes its place.
        seed: of the draws.
        resamples: draws that gave values; at most twice as many are tried.
        confidence: 0 to 1.

    Returns:
        An interval for each name; nothing where there are fewer than two persons or where fewer
        than half of the draws asked for gave values.
    """
    names, index = np.unique(np.asarray(person, str), return_inverse=True)
    if len(names) < 2:
        return {}
    found: dict[str, list[float]] = {}
    drawn = 0
    for row in _draws(len(names), seed, 2 * resamples):
        values = statistic(row[index])
        if values is None:
            continue
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        drawn += 1
        if drawn == resamples:
            break
    return {
        name: _percentiles(np.asarray(values), confidence)
        for name, values in found.items()
        if len(values) >= resamples / 2
    }


def _draws(people: int, seed: int, resamples: int) -> Floats:
    """(resamples, people) how often each person was drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(people, np.full(people, 1 / people), resamples).astype(float)


def _percentiles(values: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
