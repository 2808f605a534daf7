"""What the cues are worth together over time: an ablation, and how soon a verdict is there.

Protocols in the likeness of OULU-NPU, on recordings that all cues have judged. In each fold the
fusion is learned on one part and judged on another, by the very nodes that serve:

    S1    a person never seen
    S2    media never seen (printers, displays, kinds of masks)
    S3    cameras never seen
    S4    person, media and cameras never seen
    LOSO  a person and a PAI species never seen

Protocols part what the *fusion* learns from. Whom the networks below it saw is for their bundles
to say: recordings of people that a network was trained on do not belong here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from ...nodes.decide import State
from ...nodes.policy import Policy
from ..evaluation.intervals import RESAMPLES
from ..evaluation.metrics import EvaluationError, Scores
from ..evidence import Presentation
from ..fusion import FusionRecipe, Watched, learn
from ..operating_points import extremes_of, with_thresholds, without_each
from ..recipe import TrainingError
from ..replaying import Moment, Rules, replayed
from .rates import Json, Part, gain, rates

PROTOCOLS = ("S1", "S2", "S3", "S4", "LOSO")
HALVES = (0, 1)
ORDER = (
    ("depth",),
    ("patch", "context"),
    ("motion",),
    ("rppg",),
    ("life",),
    ("planarity",),
    ("surroundings",),
    ("pulse",),
)
"""In which order cues are added one to another."""
SECONDS = (1.0, 2.0, 3.0, 5.0, 8.0, 15.0)
"""Of watching, at which the verdicts are counted."""

Watchings = Sequence[Watched]


@dataclass(frozen=True, slots=True)
class Fold:
    """Recordings to learn from and to judge."""

    name: str
    learn: Watchings
    judge: Watchings


def ladder_of(cues: Sequence[str], base: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Sets of cues by name: one cue added to another, all, and all but each; those around a base.

    Args:
        cues: all of them.
        base: of these; each of the others is added to it, and each of its own taken away.
    """
    steps: dict[str, tuple[str, ...]] = {}
    added: tuple[str, ...] = ()
    for step in ORDER:
        here = tuple(cue for cue in step if cue in cues)
        if here:
            added += here
            steps[" + ".join(here) if len(added) == len(here) else "+ " + ", ".join(here)] = added
    every = added + tuple(cue for cue in cues if cue not in added)
    if every != added:
        steps["all"] = every
    steps |= {f"all but {cue}": tuple(c for c in every if c != cue) for cue in every}
    if base:
        steps["base"] = tuple(base)
        steps |= {_toggled_name(cue, base): toggled(cue, base) for cue in every}
    return {name: some for name, some in steps.items() if some}


def toggled(cue: str, base: Sequence[str]) -> tuple[str, ...]:
    """A base without a cue of its own, or with one that is not."""
    return tuple(c for c in base if c != cue) if cue in base else (*base, cue)


def _toggled_name(cue: str, base: Sequence[str]) -> str:
    return f"base but {cue}" if cue in base else f"base + {cue}"


def folds(seen: Watchings, protocol: str) -> Iterator[Fold]:
    """The folds of a protocol that have live and attack recordings on both sides."""
    for fold in _parted(seen, protocol):
        if _both(fold.learn) and _both(fold.judge):
            yield fold


def _parted(seen: Watchings, protocol: str) -> Iterator[Fold]:
    people = sorted({one.presentation.person for one in seen})
    if protocol == "S1":
        for who in people:
            yield _fold(seen, who, {"person": who})
    elif protocol in ("S2", "S3"):
        factor = "medium" if protocol == "S2" else "camera"
        for half in HALVES:
            yield _fold(seen, f"{factor} {half}", {factor: half})
    elif protocol == "S4":
        for who in people:
            for half in HALVES:
                for other in HALVES:
                    new: dict[str, str | int] = {"person": who, "medium": half, "camera": other}
                    yield _fold(seen, f"{who} medium {half} camera {other}", new)
    else:
        for species in sorted({o.presentation.species for o in seen if not o.presentation.live}):
            for who in people:
                yield _species_new(seen, who, species)


def _fold(seen: Watchings, name: str, new: Mapping[str, str | int]) -> Fold:
    """A fold in which what is judged has all of these traits, and what is learned from has none.

    Args:
        seen: recordings.
        name: of the fold.
        new: a person's name, or which half a medium or a camera is in.
    """

    def shares(presentation: Presentation) -> list[bool]:
        return [_trait(presentation, factor) == value for factor, value in new.items()]

    return Fold(
        name,
        [one for one in seen if not any(shares(one.presentation))],
        [one for one in seen if all(shares(one.presentation))],
    )


def _trait(presentation: Presentation, factor: str) -> str | int:
    return presentation.person if factor == "person" else _half(presentation, factor)


def _species_new(seen: Watchings, who: str, species: str) -> Fold:
    def judged(p: Presentation) -> bool:
        return p.person == who and (p.live or p.species == species)

    return Fold(
        f"{who} {species}",
        [o for o in seen if o.presentation.person != who and o.presentation.species != species],
        [one for one in seen if judged(one.presentation)],
    )


def _half(presentation: Presentation, factor: str) -> int:
    """Which half a medium or camera is in, by its name; live recordings have no medium: by item."""
    name = str(getattr(presentation, factor)) or presentation.item
    return sha256(name.encode()).digest()[0] % 2


def _both(some: Watchings) -> bool:
    return len({one.presentation.live for one in some}) == 2


def stream_study(
    seen: Watchings,
    recipe: FusionRecipe,
    *,
    base: Sequence[str] = (),
    protocols: Sequence[str] = PROTOCOLS,
    resamples: int = RESAMPLES,
) -> Json:
    """The ablation over the recipe's cues, and the time to a decision with the base's.

    Args:
        seen: recordings.
        recipe: how fusions are learned.
        base: cues to which each is added, or from which it is taken; empty: all of the recipe's.
        protocols: which.
        resamples: draws of the intervals.
    """
    around = tuple(base or recipe.cues)
    ladder = ladder_of(recipe.cues, base)
    return {
        "recordings": len(seen),
        "people": len({one.presentation.person for one in seen}),
        "recipe": {"name": recipe.name, "cues": list(recipe.cues)},
        "base": list(around),
        "ablation": ablation(
            seen, ladder, recipe, base=around, protocols=protocols, resamples=resamples
        ),
        "decisions": decisions(seen, replace(recipe, cues=around)),
    }


def ablation(
    seen: Watchings,
    ladder: Mapping[str, tuple[str, ...]],
    recipe: FusionRecipe,
    *,
    base: Sequence[str] = (),
    protocols: Sequence[str] = PROTOCOLS,
    resamples: int = RESAMPLES,
) -> Json:
    """Error rates of every set of cues on every protocol, at equal priors (threshold 0).

    Args:
        seen: recordings.
        ladder: sets of cues by name.
        recipe: how fusions are learned; its cues are replaced by each set's.
        base: a set of the ladder, in which each cue is compared with its absence where the ladder
            has that set too.
        protocols: which.
        resamples: draws of the intervals.

    Returns:
        By protocol: ``columns``, by set of cues what :func:`.rates.rates` gives; ``gains``, by cue
        what :func:`.rates.gain` gives. ``left_out`` with a reason where a protocol has no fold, or
        a set of cues no answer.
    """
    found: Json = {}
    for protocol in protocols:
        parted = list(folds(seen, protocol))
        if not parted:
            found[protocol] = {"left_out": "no fold has live and attacks on both sides"}
            continue
        judged = {
            frozenset(cues): [_part(fold, replace(recipe, cues=cues)) for fold in parted]
            for cues in ladder.values()
        }
        found[protocol] = {
            "folds": len(parted),
            "columns": {
                name: _column(judged[frozenset(cues)], resamples) for name, cues in ladder.items()
            },
            "gains": _gains(judged, base, recipe.cues, resamples),
        }
    return found


Parts = Sequence[Part | None]


def _column(parts: Parts, resamples: int) -> Json:
    try:
        return rates([part for part in parts if part], resamples=resamples)
    except EvaluationError as error:
        return {"left_out": str(error)}


def _gains(
    judged: Mapping[frozenset[str], Parts],
    base: Sequence[str],
    cues: Sequence[str],
    resamples: int,
) -> Json:
    """What each cue changes: of the base's own against the base without, else added to it."""
    found: Json = {}
    whole = judged.get(frozenset(base))
    for cue in cues:
        other = judged.get(frozenset(toggled(cue, base)))
        if whole is None or other is None:
            continue
        before, after = (other, whole) if cue in base else (whole, other)
        pairs = [(one, two) for one, two in zip(before, after, strict=True) if one and two]
        try:
            found[cue] = gain(*zip(*pairs, strict=True), resamples=resamples)
        except EvaluationError as error:
            found[cue] = {"left_out": str(error)}
    return found


def _part(fold: Fold, recipe: FusionRecipe) -> Part | None:
    try:
        fusion = learn(fold.learn, recipe).fusion
    except TrainingError:
        return None
    rules = Rules(recipe.cues, fusion)
    score = [_final(replayed(one.packets, rules)) for one in fold.judge]
    told = [one.presentation for one in fold.judge]
    scores = Scores(
        np.array(score, np.float64),
        np.array([p.live for p in told], bool),
        tuple(p.species for p in told),
        tuple(p.person for p in told),
    )
    return Part(fold.name, scores, 0.0) if _answered(scores) else None


def _answered(scores: Scores) -> bool:
    there = scores.responded
    return bool((there & scores.live).any() and (there & ~scores.live).any())


def _final(moments: Sequence[Moment]) -> float:
    last = next((m.llr for m in reversed(moments) if m.llr is not None), None)
    return float("nan") if last is None else last


def decisions(seen: Watchings, recipe: FusionRecipe, policy: Policy | None = None) -> Json:
    """How soon and how well people and attacks are told apart, each by a fusion learned without.

    Returns:
        By species: ``recordings``, ``decided`` (share), ``median`` and ``p95`` seconds to the
        first LIVE or SPOOF (of all recordings; None: not reached), ``live``, ``spoof``: shares of
        the final verdict, ``wrong_ever``: share that was ever called the wrong way, and
        ``by_second``: the verdicts that stood then, of recordings that are as long.
    """
    rules_of = policy or Policy()
    by_species: dict[str, list[tuple[bool, list[Moment]]]] = {}
    for fold in folds(seen, "S1"):
        others = without_each(fold.learn, recipe, rules_of)
        went = extremes_of(fold.learn, others, recipe, rules_of)
        fusion = with_thresholds(learn(fold.learn, recipe, rules_of).fusion, went, rules_of)
        for one in fold.judge:
            moments = replayed(one.packets, Rules(recipe.cues, fusion, rules_of))
            told = one.presentation
            by_species.setdefault(told.species, []).append((told.live, moments))
    return {species: _timing(runs) for species, runs in sorted(by_species.items())}


def _timing(runs: Sequence[tuple[bool, list[Moment]]]) -> Json:
    firsts = np.array([_first_decision(moments) for _, moments in runs])
    finals = [moments[-1].state if moments else State.UNDECIDED for _, moments in runs]
    wrong = [
        any(m.state is (State.SPOOF if live else State.LIVE) for m in moments)
        for live, moments in runs
    ]
    return {
        "recordings": len(runs),
        "decided": float(np.isfinite(firsts).mean()),
        "median": _finite(np.quantile(firsts, 0.5, method="higher")),
        "p95": _finite(np.quantile(firsts, 0.95, method="higher")),
        "live": float(np.mean([state is State.LIVE for state in finals])),
        "spoof": float(np.mean([state is State.SPOOF for state in finals])),
        "wrong_ever": float(np.mean(wrong)),
        "by_second": {f"{s:g}": _at(runs, s) for s in SECONDS},
    }


def _at(runs: Sequence[tuple[bool, list[Moment]]], seconds: float) -> Json | None:
    """Shares of the verdicts that stood after so many seconds."""
    standing = [
        next(m.state for m in reversed(moments) if m.time <= seconds)
        for _, moments in runs
        if moments and moments[0].time <= seconds <= moments[-1].time
    ]
    if not standing:
        return None
    shares = {state.value: float(np.mean([s is state for s in standing])) for state in State}
    return {"recordings": len(standing), **shares}


def _first_decision(moments: Sequence[Moment]) -> float:
    return next((m.time for m in moments if m.state is not State.UNDECIDED), float("inf"))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
