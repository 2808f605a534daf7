"""The figures that a motion network's bundle tells of itself."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..calibration import Fit, cllr
from ..evaluation.metrics import area_under_curve, curve, equal_error
from .measures import SteppedScores, auc_by_species, score_sequences, scores_at
from .store import StoredSequence
from .training import TrainedMotion

Figure = tuple[str, float, str, str]
"""Name, value, unit, method."""
Floats = npt.NDArray[np.float32]

LOOK = 3.0
"""Seconds of a track after which it is judged, unless said otherwise."""
_USUAL = f"by sequence, newest step within {LOOK:g} s, 5 samples a second"


def figures(
    trained: TrainedMotion, fit: Fit, sequences: Sequence[StoredSequence]
) -> Iterator[Figure]:
    """All that is measured on some sequences; with one class only, ratios alone."""
    network, backbone, recipe = trained.network, trained.backbone, trained.recipe
    found = score_sequences(network, sequences, backbone, recipe)
    if len(set(found.live.tolist())) == 2:
        yield from _errors("", found, found.score, _USUAL)
        yield from _errors("single_", found, found.single, f"{_USUAL}; the depth network's score")
        yield from _errors("single_mean_", found, _mean_so_far(found), "the same, mean so far")
        for order, method in (
            ("still", "one sample repeated: what a single picture gives away"),
            ("shuffled", "samples in a random order"),
        ):
            moved = score_sequences(network, sequences, backbone, recipe, order=order)  # type: ignore[arg-type]  # one of three words
            yield from _errors(f"{order}_", moved, moved.score, method)
        yield from _by_interval(trained, sequences)
        yield from _by_seconds(found)
        yield "cllr", cllr(fit.llr(found.score.astype(float)), found.live), "bit", "all steps"
    species = [found.rows[int(k)].row.species for k in found.sequence]
    yield from ratios(fit.llr(found.score.astype(float)), species, "all steps")
    yield from _relations(found)


def _errors(prefix: str, found: SteppedScores, score: Floats, method: str) -> Iterator[Figure]:
    scores = scores_at(found, found.last(LOOK), score)
    line = curve(scores)
    yield f"{prefix}auc", area_under_curve(line), "1", method
    yield f"{prefix}eer", equal_error(line)[0], "1", method
    for name, value in auc_by_species(scores).items():
        yield f"{prefix}auc_{name}", value, "1", f"live against {name}; {method}"


def _by_interval(trained: TrainedMotion, sequences: Sequence[StoredSequence]) -> Iterator[Figure]:
    for interval in (0.08, 0.12, 0.4):
        found = score_sequences(
            trained.network, sequences, trained.backbone, trained.recipe, interval=interval
        )
        line = curve(scores_at(found, found.last(LOOK), found.score))
        name = f"auc_every_{round(1000 * interval)}_ms"
        yield name, area_under_curve(line), "1", f"by sequence, newest step within {LOOK:g} s"


def _by_seconds(found: SteppedScores) -> Iterator[Figure]:
    """Whether evidence grows: AUC by how long a track has been watched."""
    for seconds in (0.25, 0.5, 1.0, 2.0):
        line = curve(scores_at(found, found.last(seconds), found.score))
        name = f"auc_within_{round(1000 * seconds)}_ms"
        yield name, area_under_curve(line), "1", "by sequence, newest step within that time"


def ratios(llr: npt.NDArray[np.float64], species: Sequence[str], over: str) -> Iterator[Figure]:
    """How calibrated ratios (M,) lie, by species (M,): quantiles over what they are of."""
    of = np.array(species)
    for name in sorted(set(species)):
        for share in (0.05, 0.5, 0.95):
            value = float(np.quantile(llr[of == name], share))
            yield f"llr_{name}_q{round(100 * share):02d}", value, "nats", f"quantile over {over}"


def _relations(found: SteppedScores) -> Iterator[Figure]:
    """What the score has in common with the depth network's, and with itself a second before."""
    last = found.last(LOOK)
    for name, chosen in (("live", found.live[last]), ("attack", ~found.live[last])):
        steps = last[chosen]
        if len(steps) > 2:
            related = float(np.corrcoef(found.score[steps], found.single[steps])[0, 1])
            method = f"{_USUAL}; Pearson, within the class"
            yield f"correlation_with_depth_{name}", related, "1", method
    for seconds in (0.2, 1.0, 2.0):
        pairs = _pairs(found, seconds)
        if len(pairs) > 2:
            related = float(np.corrcoef(found.score[pairs[:, 0]], found.score[pairs[:, 1]])[0, 1])
            name = f"autocorrelation_{round(1000 * seconds)}_ms"
            yield name, related, "1", "Pearson of the scores of a track, over all tracks"
            within = _without_means(found)
            related = float(np.corrcoef(within[pairs[:, 0]], within[pairs[:, 1]])[0, 1])
            yield f"{name}_within", related, "1", "the same, each track's mean taken away"


def _pairs(found: SteppedScores, seconds: float) -> npt.NDArray[np.int64]:
    """Steps of one track so far apart, (n, 2)."""
    pairs = []
    for sequence in np.unique(found.sequence):
        of = np.flatnonzero(found.sequence == sequence)
        times = found.seconds[of]
        for here, time in zip(of, times, strict=True):
            there = int(np.argmin(np.abs(times - time - seconds)))
            if abs(times[there] - time - seconds) < 0.05:
                pairs.append((int(here), int(of[there])))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _without_means(found: SteppedScores) -> Floats:
    total = np.bincount(found.sequence, found.score)
    count = np.maximum(np.bincount(found.sequence), 1)
    return np.asarray(found.score - (total / count)[found.sequence], np.float32)


def _mean_so_far(found: SteppedScores) -> Floats:
    """Mean of the depth network's scores from a track's beginning to each step."""
    mean = np.empty_like(found.single)
    for sequence in np.unique(found.sequence):
        of = np.flatnonzero(found.sequence == sequence)
        mean[of] = np.cumsum(found.single[of]) / np.arange(1, len(of) + 1)
    return mean
