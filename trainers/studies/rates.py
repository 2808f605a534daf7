"""Error rates of presentations that were tested in several parts, with intervals by person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.intervals import RESAMPLES, Interval, bootstrap_by_person, rate_by_person
from ..evaluation.metrics import (
    Bools,
    EvaluationError,
    Floats,
    Scores,
    area_under_curve,
    bpcer_at_apcer,
    curve,
    equal_error,
)

Json = dict[str, Any]
Rows = np.ndarray[Any, np.dtype[np.intp]]
APCER_TARGET = 0.05
FREE = ("eer", "auc", "bpcer_at_apcer_5")
"""Numbers that need no threshold."""


@dataclass(frozen=True, slots=True)
class Part:
    """Presentations tested at one threshold."""

    fold: str
    """Scores of one fold are comparable, those of two folds come from different networks."""
    scores: Scores
    threshold: float


def rates(parts: Sequence[Part], *, seed: int = 0, resamples: int = RESAMPLES) -> Json:
    """Error rates over all parts, as objects ``{"value", "low", "high"}``.

    At the parts' own thresholds, decisions pooled: ``apcer`` by species, ``max_apcer``, ``bpcer``,
    ``acer``, ``errors``. Without a threshold, in each fold and then averaged over folds: ``eer``
    (attacks pooled), ``auc``, ``bpcer_at_apcer_5`` (worst species). Presentations without a score
    are in ``no_answer`` and in no other rate.

    Raises:
        EvaluationError: a fold has no bona fide presentation or no attack with a score.
    """
    every = _joined([_centred(part) for part in parts])
    used = every.where(every.responded)
    statistic = _Statistic(used, _by_fold(parts))
    values = statistic(np.ones(len(used)))

    def of_draw(weight: Floats) -> dict[str, float] | None:
        try:
            return statistic(weight)
        except EvaluationError:  # a class of a fold was not drawn
            return None

    spread = bootstrap_by_person(used.person, of_draw, seed=seed, resamples=resamples)
    accepted = used.score >= 0
    species = np.asarray(used.species, object)
    apcer = {
        name: _rate(accepted, used, ~used.live & (species == name), seed, resamples)
        for name in sorted(set(species[~used.live]))
    }
    bpcer = _rate(~accepted, used, used.live, seed, resamples)
    spread |= _without_errors(values, apcer, bpcer, used)
    wrong = used.live != accepted
    return {
        "apcer": apcer,
        "bpcer": bpcer,
        **{name: _valued(value, spread.get(name)) for name, value in values.items()},
        "errors": int(wrong.sum()),
        "presentations": len(used),
        "persons": len(set(used.person)),
        "no_answer": {
            "live": _share(~every.responded, every.live),
            "attack": _share(~every.responded, ~every.live),
        },
    }


def gain(
    before: Sequence[Part],
    after: Sequence[Part],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Json:
    """What changes from one way of judging presentations to another, on those both answered.

    Args:
        before: parts of the one way.
        after: of the other: the same folds with the same presentations, in the same order.
        seed: of the intervals.
        resamples: their draws; a person is drawn for both ways at once.

    Returns:
        ``acer``, ``eer`` and ``auc``: after less before, as ``{"value", "low", "high"}``;
        ``mended`` and ``spoiled``: how many presentations are right, or wrong, only after.

    Raises:
        EvaluationError: a fold has no bona fide presentation or no attack with two scores.
    """
    pairs = list(zip(before, after, strict=True))
    both = [one.scores.responded & other.scores.responded for one, other in pairs]
    ways = [
        [
            Part(part.fold, part.scores.where(there), part.threshold)
            for part, there in zip(parts, both, strict=True)
        ]
        for parts in (before, after)
    ]
    used = [_joined([_centred(part) for part in parts]) for parts in ways]
    statistics = [_Statistic(u, _by_fold(w)) for u, w in zip(used, ways, strict=True)]

    def change(weight: Floats) -> dict[str, float]:
        old, new = (statistic(weight) for statistic in statistics)
        return {name: new[name] - old[name] for name in ("acer", "eer", "auc")}

    def of_draw(weight: Floats) -> dict[str, float] | None:
        try:
            return change(weight)
        except EvaluationError:
            return None

    values = change(np.ones(len(used[0])))
    spread = bootstrap_by_person(used[0].person, of_draw, seed=seed, resamples=resamples)
    wrong = [one.live != (one.score >= 0) for one in used]
    return {
        **{name: _valued(value, spread.get(name)) for name, value in values.items()},
        "mended": int((wrong[0] & ~wrong[1]).sum()),
        "spoiled": int((~wrong[0] & wrong[1]).sum()),
    }


def _share(which: Bools, group: Bools) -> float:
    return float(which[group].mean()) if group.any() else 0.0


def _valued(value: float, interval: Interval | None) -> Json:
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high}


def _rate(wrong: Bools, scores: Scores, group: Bools, seed: int, resamples: int) -> Json:
    person = [scores.person[i] for i in np.flatnonzero(group)]
    interval = rate_by_person(wrong[group], person, seed=seed, resamples=resamples)
    return {
        **_valued(float(wrong[group].mean()), interval),
        "errors": int(wrong[group].sum()),
        "presentations": int(group.sum()),
    }


def _centred(part: Part) -> Scores:
    one = part.scores
    return Scores(one.score - part.threshold, one.live, one.species, one.person)


def _joined(parts: Sequence[Scores]) -> Scores:
    return Scores(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.live for part in parts]),
        tuple(name for part in parts for name in part.species),
        tuple(name for part in parts for name in part.person),
    )


def _by_fold(parts: Sequence[Part]) -> list[tuple[Scores, Rows]]:
    """Scores of each fold as they are, and where they stand among all that have one."""
    fold = [part.fold for part in parts for _ in range(int(part.scores.responded.sum()))]
    names = np.asarray(fold, object)
    raw = _joined([part.scores.where(part.scores.responded) for part in parts])
    return [
        (raw.where(names == name), np.flatnonzero(names == name)) for name in dict.fromkeys(fold)
    ]


class _Statistic:
    """All numbers of a draw. Few people give few different draws: each is worked out once."""

    def __init__(self, used: Scores, folds: Sequence[tuple[Scores, Rows]]) -> None:
        self._folds = folds
        self._known: dict[tuple[int, bytes], tuple[float, ...]] = {}
        names, self._first, person = np.unique(
            np.asarray(used.person, str), return_index=True, return_inverse=True
        )
        species = np.asarray(used.species, object)
        groups = [used.live]
        groups += [~used.live & (species == name) for name in sorted(set(species[~used.live]))]
        wrong = used.live != (used.score >= 0)
        self._wrong, self._all = (
            np.array([np.bincount(person[g & w], minlength=len(names)) for g in groups], float)
            for w in (wrong, np.ones_like(wrong))
        )
        self._firsts = [
            rows[np.unique(np.asarray(scores.person, str), return_index=True)[1]]
            for scores, rows in folds
        ]

    def __call__(self, weight: Floats) -> dict[str, float]:
        """The numbers, from how often each presentation counts (N,).

        A fold counts as often as its people do: one whose people were not drawn does not.

        Raises:
            EvaluationError: a class of a fold counts nowhere, though others of the fold do.
        """
        drawn = [float(weight[firsts].mean()) for firsts in self._firsts]
        there = [number for number, often in enumerate(drawn) if often > 0]
        free = [self._free(number, weight) for number in there]
        mean = np.average(free, axis=0, weights=[drawn[number] for number in there])
        names = ("max_apcer", "acer", *FREE)
        values = (*self._at_thresholds(weight), *mean)
        return {name: float(value) for name, value in zip(names, values, strict=True)}

    def _at_thresholds(self, weight: Floats) -> tuple[float, ...]:
        """Greatest APCER and ACER, from counts by group (live, then the species) and person."""
        people = weight[self._first]
        wrong, total = self._wrong @ people, self._all @ people
        if not (total[0] and total[1:].any()):
            raise EvaluationError("rates: expected bona fide and attack presentations; add some")
        worst = max(w / n for w, n in zip(wrong[1:], total[1:], strict=True) if n)
        return worst, (worst + wrong[0] / total[0]) / 2

    def _free(self, number: int, weight: Floats) -> tuple[float, ...]:
        key = (number, weight[self._firsts[number]].tobytes())
        if key not in self._known:
            scores, rows = self._folds[number]
            line = curve(scores, weight[rows])
            self._known[key] = (
                equal_error(line)[0],
                area_under_curve(line),
                bpcer_at_apcer(line, APCER_TARGET)[0],
            )
        return self._known[key]


def _without_errors(
    values: Mapping[str, float],
    apcer: Mapping[str, Json],
    bpcer: Json,
    used: Scores,
) -> dict[str, Interval]:
    """Intervals where no error leaves a bootstrap nothing to vary: exact ones, by persons."""
    found: dict[str, Interval] = {}
    most = max(one["high"] for one in apcer.values())
    if values["max_apcer"] == 0:
        found["max_apcer"] = (0.0, most)
    if values["acer"] == 0:
        found["acer"] = (0.0, (most + bpcer["high"]) / 2)
    far, frr = (_nothing_wrong(used, group) for group in (~used.live, used.live))
    if values["eer"] == 0:
        found["eer"] = (0.0, (far + frr) / 2)
        found["auc"] = ((1 - far) * (1 - frr), 1.0)
    if values["bpcer_at_apcer_5"] == 0:
        found["bpcer_at_apcer_5"] = (0.0, frr)
    return found


def _nothing_wrong(used: Scores, group: Bools) -> float:
    """Upper end of the interval of a rate without an error."""
    person = [used.person[i] for i in np.flatnonzero(group)]
    return rate_by_person(np.zeros(len(person), np.bool_), person)[1]
