"""Evaluates scored presentations: what ``padflow evaluate`` writes as JSON, and reports from.

All rates are shares (0 to 1). Every value with an interval is an object
``{"value", "low", "high"}``, with the interval by person at :data:`~.intervals.CONFIDENCE`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..calibration import cllr, min_cllr, reliability
from .intervals import CONFIDENCE, RESAMPLES, Interval, bootstrap_by_person, rate_by_person
from .metrics import (
    APCER_TARGETS,
    Bools,
    Curve,
    EvaluationError,
    Floats,
    Scores,
    area_under_curve,
    bpcer_at_apcer,
    curve,
    equal_error,
    mean_and_std,
    non_response_rates,
    rates_at,
)
from .presentations import FAILED, Presentation, as_scores, log_odds

STATEMENT = (
    "Error rates use the terms of ISO/IEC 30107-3 (APCER by PAI species, BPCER, APNRR, BPNRR). "
    "This is not a conformity assessment. ACER, EER, HTER and AUC are academic usage and not "
    "metrics of that standard."
)
HISTOGRAM = np.linspace(-8.0, 8.0, 33)
"""Edges in nats of log-odds; what lies outside counts in the outermost bins."""
CURVE_POINTS = 400
PER_BIN = 10
"""Presentations that a bin of the reliability diagram holds at least, on average."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fold:
    """Presentations that are tested, and those that thresholds come from (may be none)."""

    name: str
    test: Sequence[Presentation]
    dev: Sequence[Presentation] = ()


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A dataset, or a protocol of it with its folds."""

    name: str
    folds: Sequence[Fold]
    left_out: Sequence[str] = ()
    """Why folds of the protocol are not among them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to evaluate."""

    threshold: float | None = None
    """A ``p_live`` fixed beforehand, to be tested as an operating point."""
    seed: int = 0
    resamples: int = RESAMPLES
    worst: int = 8
    """How many of the worst attacks and of the worst bona fide presentations are listed."""


def evaluate(sets: Sequence[EvaluationSet], settings: Settings | None = None) -> Json:
    """All numbers of a report; the same input gives the same numbers.

    Raises:
        EvaluationError: a test part has no bona fide or no attack presentation that could be read.
    """
    settings = settings or Settings()
    if not sets:
        raise EvaluationError("evaluate: expected a dataset, found none; give --data")
    found = [_evaluate_set(one, settings) for one in sets]
    return {
        "format": 1,
        "statement": STATEMENT,
        "settings": {**asdict(settings), "confidence": CONFIDENCE},
        "sets": found,
        "cross_set": _cross(sets) if len(sets) > 1 else [],
    }


def _evaluate_set(one: EvaluationSet, settings: Settings) -> Json:
    folds = [_evaluate_fold(one.name, fold, settings) for fold in one.folds]
    return {
        "name": one.name,
        "folds": folds,
        "left_out": list(one.left_out),
        "mean_and_std": _over_folds(folds),
    }


def _evaluate_fold(name: str, fold: Fold, settings: Settings) -> Json:
    tested = [p for p in fold.test if p.scored.state != FAILED]
    dev = [p for p in fold.dev if p.scored.state != FAILED]
    strict, papers = as_scores(tested, strict=True), as_scores(tested, strict=False)
    if strict.live.all() or not strict.live.any():
        where = " fold ".join(filter(None, (name, fold.name)))
        raise EvaluationError(
            f"{where}: expected bona fide and attack presentations that could be read, found "
            f"{int(strict.live.sum())} and {int((~strict.live).sum())}; add the missing ones"
        )
    groupings = {"papers": papers, "strict": strict}
    return {
        "name": fold.name,
        "counts": _counts(fold, tested),
        "non_response": _non_response(strict, settings),
        "verdicts": _verdicts(tested, groupings, settings),
        "cues": {c: _cue(tested, c, settings) for c in _cue_names(tested)},
        "worst": _worst(tested, settings),
        **_over_scores(groupings, dev, settings),
    }


def _over_scores(
    groupings: Mapping[str, Scores], dev: Sequence[Presentation], settings: Settings
) -> Json:
    """What needs scores of both classes; empty where the system gave none."""
    strict = groupings["strict"]
    if not _answered(strict):
        names = ("summary", "operating_points", "calibration", "det", "histogram")
        return {name: {} for name in names} | {"operating_points": []}
    points = _points(strict, dev, settings)
    return {
        "summary": _summary(strict, settings),
        "operating_points": [_operating_point(p, groupings, settings) for p in points],
        "calibration": _calibration(strict),
        "det": _det(strict, groupings["papers"]),
        "histogram": _histogram(groupings["papers"]),
    }


def _counts(fold: Fold, tested: Sequence[Presentation]) -> Json:
    scores = as_scores(tested, strict=True)
    species = sorted({p.kind for p in tested if not p.known.live})
    return {
        "bona_fide": int(scores.live.sum()),
        "attacks": {s: sum(p.kind == s for p in tested) for s in species},
        "persons": len({p.known.person for p in tested if p.known.person}),
        "of_unknown_person": sum(not p.known.person for p in tested),
        "dev": len(fold.dev),
        "failed": sorted(p.known.item for p in fold.test if p.scored.state == FAILED),
    }


def _valued(value: float, interval: Interval | None) -> Json:
    low, high = interval if interval else (None, None)
    return {"value": value, "low": low, "high": high}


def _rate(wrong: Bools, scores: Scores, group: Bools, settings: Settings) -> Json:
    person = [scores.person[i] for i in np.flatnonzero(group)]
    interval = rate_by_person(
        wrong[group], person, seed=settings.seed, resamples=settings.resamples
    )
    return {
        **_valued(float(wrong[group].mean()), interval),
        "errors": int(wrong[group].sum()),
        "presentations": int(group.sum()),
        "persons": len(set(person)),
    }


def _non_response(scores: Scores, settings: Settings) -> Json:
    apnrr, _ = non_response_rates(scores)
    none, species = ~scores.responded, np.asarray(scores.species, object)
    return {
        "apnrr": {
            name: _rate(none, scores, ~scores.live & (species == name), settings) for name in apnrr
        },
        "bpnrr": _rate(none, scores, scores.live, settings),
    }


def _summary(scores: Scores, settings: Settings) -> Json:
    """Numbers over all thresholds, with bootstrap intervals or, without an error, exact ones."""
    used = scores.where(scores.responded)

    def of_draw(weight: Floats) -> dict[str, float] | None:
        try:
            return _values(curve(used, weight))
        except EvaluationError:  # only bona fide presentations, or only attacks, were drawn
            return None

    values = _values(curve(used))
    found = bootstrap_by_person(
        used.person, of_draw, seed=settings.seed, resamples=settings.resamples
    )
    found |= _without_errors(used, values, settings)
    return {name: _valued(value, found.get(name)) for name, value in values.items()}


def _values(rates: Curve) -> dict[str, float]:
    at = {
        f"bpcer_at_apcer_{100 * target:g}": bpcer_at_apcer(rates, target)[0]
        for target in APCER_TARGETS
    }
    return {"eer": equal_error(rates)[0], "auc": area_under_curve(rates), **at}


def _without_errors(used: Scores, values: Mapping[str, float], settings: Settings) -> Json:
    """Intervals where there was no error for a bootstrap to draw: exact, by persons."""
    rates = curve(used)
    found: dict[str, Interval] = {}

    def most(group: Bools, wrong: Bools) -> float:
        return float(_rate(wrong, used, group, settings)["high"])

    if values["eer"] == 0:
        accepted = used.score >= equal_error(rates)[1]
        far, frr = most(~used.live, accepted), most(used.live, ~accepted)
        found["eer"] = (0.0, (far + frr) / 2)
        found["auc"] = ((1 - far) * (1 - frr), 1.0)
    for target in APCER_TARGETS:
        bpcer, threshold = bpcer_at_apcer(rates, target)
        if bpcer == 0:
            high = most(used.live, used.score < threshold)
            found[f"bpcer_at_apcer_{100 * target:g}"] = (0.0, high)
    return found


@dataclass(frozen=True, slots=True)
class _Point:
    name: str
    source: str
    threshold: float
    """Log-odds."""


def _points(tested: Scores, dev: Sequence[Presentation], settings: Settings) -> list[_Point]:
    points = []
    if settings.threshold is not None:
        points.append(_Point("fixed", "given beforehand", log_odds(settings.threshold, 1e-12)))
    chosen = as_scores(dev, strict=True)
    if _answered(chosen):
        rates = curve(chosen)
        points.append(_Point("dev EER", "equal error rate on dev", equal_error(rates)[1]))
        for target in APCER_TARGETS:
            source = f"worst species' APCER at most {100 * target:g} % on dev"
            threshold = bpcer_at_apcer(rates, target)[1]
            points.append(_Point(f"dev APCER {100 * target:g} %", source, threshold))
    points.append(
        _Point(
            "test EER",
            "equal error rate on the tested presentations themselves: optimistic, for comparison "
            "with work that has no dev set",
            equal_error(curve(tested))[1],
        )
    )
    return points


def _operating_point(point: _Point, groupings: Mapping[str, Scores], settings: Settings) -> Json:
    threshold = point.threshold
    found: Json = {
        "name": point.name,
        "threshold_from": point.source,
        "threshold_p_live": float(1 / (1 + np.exp(-threshold))),
        "threshold_log_odds": threshold,
    }
    for name, scores in groupings.items():
        accepted = np.where(scores.responded, scores.score, -np.inf) >= threshold
        found[name] = _errors(scores, accepted, scores.responded, settings)
    return found


def _errors(scores: Scores, accepted: Bools, use: Bools, settings: Settings) -> Json:
    """APCER by species, its maximum, BPCER, ACER and HTER over the presentations used.

    The intervals of maximum, ACER and HTER are put together from those of their parts, which is
    on the wide side.
    """
    species, attack = np.asarray(scores.species, object), use & ~scores.live
    apcer = {
        name: _rate(accepted, scores, attack & (species == name), settings)
        for name in sorted(set(species[attack]))
    }
    bpcer = _rate(~accepted, scores, use & scores.live, settings)
    pooled = _rate(accepted, scores, attack, settings)
    worst = {key: max(rate[key] for rate in apcer.values()) for key in ("value", "low", "high")}
    return {
        "apcer": apcer,
        "max_apcer": worst,
        "bpcer": bpcer,
        "acer": _mean(worst, bpcer),
        "hter": _mean(pooled, bpcer),
        "apcer_of_all_attacks": pooled,
    }


def _mean(one: Json, other: Json) -> Json:
    return {key: (one[key] + other[key]) / 2 for key in ("value", "low", "high")}


def _verdicts(
    tested: Sequence[Presentation], groupings: Mapping[str, Scores], settings: Settings
) -> Json:
    """What the system itself decided: LIVE accepts, SPOOF and UNDECIDED do not.

    Over all presentations, non-responses included: what a person at the door meets.
    """
    if not all(p.scored.state for p in tested):
        return {}
    accepted = np.array([p.scored.state == "LIVE" for p in tested])
    every = np.ones(len(tested), bool)
    counts: dict[str, dict[str, int]] = {}
    for p in tested:
        of_kind = counts.setdefault(p.kind or "live", {})
        of_kind[p.scored.state] = of_kind.get(p.scored.state, 0) + 1
    errors = {
        name: _errors(scores, accepted, every, settings) for name, scores in groupings.items()
    }
    return {"counts": dict(sorted(counts.items())), **errors}


def _cue_names(tested: Sequence[Presentation]) -> list[str]:
    return sorted({cue for p in tested for cue in p.scored.llr})


def _cue(tested: Sequence[Presentation], cue: str, settings: Settings) -> Json:
    """One cue alone; without numbers where it spoke for one class only."""
    scores = as_scores(tested, strict=True, cue=cue)
    apnrr, bpnrr = non_response_rates(scores)
    without = {"apnrr": max(apnrr.values()), "bpnrr": bpnrr}
    try:
        return {**without, **_summary(scores, settings), **_costs(scores.where(scores.responded))}
    except EvaluationError:
        return without


def _costs(used: Scores) -> Json:
    return {
        "cllr_bits": cllr(used.score, used.live),
        "min_cllr_bits": min_cllr(used.score, used.live),
    }


def _calibration(scores: Scores) -> Json:
    """Of ``p_live`` taken as the posterior under equal priors."""
    used = scores.where(scores.responded)
    most = int(np.clip(len(used) // PER_BIN, 2, 10))
    bins = [asdict(b) for b in reliability(used.score, used.live, bins=most)]
    return {**_costs(used), "reliability": bins}


def _det(strict: Scores, papers: Scores) -> Json:
    """APCER and BPCER by threshold (log-odds): worst strict species, all pooled, each group."""
    by_kind, by_group = curve(strict), curve(papers)
    curves = {"worst": by_kind.worst, "all": by_kind.pooled, **by_group.apcer}
    at = _thinned(len(by_kind.threshold))
    return {
        "threshold": by_kind.threshold[at].tolist(),
        "bpcer": by_kind.bpcer[at].tolist(),
        "apcer": {name: apcer[at].tolist() for name, apcer in curves.items()},
    }


def _thinned(count: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).round().astype(int))


def _histogram(scores: Scores) -> Json:
    used = scores.where(scores.responded)
    inside = np.clip(used.score, HISTOGRAM[0], HISTOGRAM[-1])
    species = np.asarray(used.species, object)
    groups = {"live": used.live}
    groups |= {n: ~used.live & (species == n) for n in sorted(set(species[~used.live]))}
    counts = {n: np.histogram(inside[g], HISTOGRAM)[0].tolist() for n, g in groups.items()}
    return {"edges": HISTOGRAM.tolist(), "counts": counts}


def _worst(tested: Sequence[Presentation], settings: Settings) -> Json:
    """Attacks that look most alive and bona fide presentations that look least so."""
    scored = [p for p in tested if p.scored.p_live is not None]
    attacks = sorted(
        (p for p in scored if not p.known.live), key=lambda p: (-p.log_odds, p.known.item)
    )
    live = sorted((p for p in scored if p.known.live), key=lambda p: (p.log_odds, p.known.item))
    return {
        "attacks": [_case(p) for p in attacks[: settings.worst]],
        "bona_fide": [_case(p) for p in live[: settings.worst]],
    }


def _case(p: Presentation) -> Json:
    return {
        "item": p.known.item,
        "species": p.kind or "live",
        "person": p.known.person,
        "p_live": p.scored.p_live,
        "state": p.scored.state,
        "llr": dict(sorted(p.scored.llr.items())),
    }


def _over_folds(folds: Sequence[Json]) -> Json:
    """Mean and sample standard deviation over folds, of each operating point and summary value.

    Nothing where a fold has no such numbers: a mean of the others would flatter.
    """
    if len(folds) < 2 or not all(fold["summary"] for fold in folds):
        return {}
    found: Json = {}
    for name in folds[0]["summary"]:
        found[name] = _spread([fold["summary"][name]["value"] for fold in folds])
    points = [{point["name"]: point for point in fold["operating_points"]} for fold in folds]
    for name in points[0]:
        if not all(name in of_fold for of_fold in points):  # a fold whose dev gave no threshold
            continue
        for grouping in ("papers", "strict"):
            for rate in ("max_apcer", "bpcer", "acer", "hter"):
                values = [of_fold[name][grouping][rate]["value"] for of_fold in points]
                found[f"{name}, {grouping}: {rate}"] = _spread(values)
    return found


def _spread(values: Sequence[float]) -> Json:
    mean, std = mean_and_std(values)
    return {"mean": mean, "std": std, "folds": len(values)}


def _cross(sets: Sequence[EvaluationSet]) -> list[Json]:
    """Thresholds of each set's equal error rate (of its dev part where it has one) on every set."""
    rows = []
    for source in sets:
        dev = [p for fold in source.folds for p in (fold.dev or fold.test)]
        chosen = _readable(dev)
        if not _answered(chosen):
            continue
        threshold = equal_error(curve(chosen))[1]
        for target in sets:
            tested = _readable([p for fold in target.folds for p in fold.test])
            if not _answered(tested):
                continue
            rates = rates_at(tested, threshold)
            rows.append(
                {
                    "threshold_from": source.name,
                    "tested_on": target.name,
                    "hter": rates.hter,
                    "acer": rates.acer,
                    "max_apcer": rates.worst,
                    "bpcer": rates.bpcer,
                    "auc": area_under_curve(curve(tested)),
                }
            )
    return rows


def _answered(scores: Scores) -> bool:
    """Whether presentations of both classes have scores."""
    live = scores.live[scores.responded]
    return bool(live.any() and not live.all())


def _readable(some: Sequence[Presentation]) -> Scores:
    """Each item once, whatever number of folds it is in."""
    once = {p.known.item: p for p in some if p.scored.state != FAILED}
    return as_scores(list(once.values()), strict=True)
