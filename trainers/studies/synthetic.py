"""Protocols S1 to S4 in the likeness of OULU-NPU's, on synthetic crops of people never seen.

======== ============== =============== ===============
protocol person         medium          camera
======== ============== =============== ===============
S1       never seen     seen            seen
S2       never seen     never seen      seen
S3       never seen     seen            never seen
S4       never seen     never seen      never seen
======== ============== =============== ===============

A live crop has no medium: it takes part by person and camera. The people are halved; each half is
tested at the threshold of the equal error rate that the *other* half has on S1, so that neither
the people nor the media and cameras that are new in a protocol have a say in its threshold.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..baseline import lbp_features, train_lbp
from ..crops import CropRow, CropStore
from ..evaluation.metrics import Bools, Scores, curve, equal_error
from .judging import (
    Floats,
    Judged,
    Member,
    Running,
    StudyError,
    as_json,
    combinations,
    fused,
    judge,
    of_json,
)
from .rates import Json, Part, rates

PROTOCOLS: Mapping[str, tuple[bool, bool]] = {
    "S1": (False, False),
    "S2": (True, False),
    "S3": (False, True),
    "S4": (True, True),
}
"""Whether the medium and the camera are new."""
BASELINE = "colour LBP + SVM"


@dataclass(frozen=True, slots=True)
class Unseen:
    """What the networks never saw; media and cameras: None is what the bundles say."""

    persons: tuple[str, ...]
    media: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Names that every network held out, and those that at least one did."""

    by_all: frozenset[str]
    by_any: frozenset[str]

    def new(self, name: str) -> bool | None:
        """Whether none of the networks saw it; None where some did and some did not."""
        if name in self.by_all:
            return True
        return None if name in self.by_any else False


def synthetic_fold(
    name: str, store: CropStore, found: Sequence[Member], unseen: Unseen, running: Running
) -> Json:
    """Score the rows of the people never seen; what :func:`synthetic_tables` reads.

    Raises:
        StudyError: fewer than two of the people are in the store, or a half lacks live crops or
            attacks on seen media and cameras.
    """
    media, cameras = (
        _held_out(found, "media", unseen.media),
        _held_out(found, "cameras", unseen.cameras),
    )
    half = _halves(store.rows, unseen.persons)
    tested = [i for i, row in enumerate(store.rows) if row.person in half]
    told = [_novelty(store.rows[i], media, cameras) for i in tested]
    kept = [(i, new) for i, new in zip(tested, told, strict=True) if new is not None]
    rows = store.only([i for i, _ in kept])
    scores = _network_scores(rows, found, running)
    scores[BASELINE] = _baseline(store, rows, half, media, cameras)
    fold = {
        "name": name,
        "networks": [member.told for member in found],
        "without": sorted(half),
        "media": sorted(media.by_all),
        "cameras": sorted(cameras.by_all),
        "rows_of_half_known_media_or_cameras": len(tested) - len(kept),
        "rows": {
            "id": [row.id for row in rows.rows],
            "person": [row.person for row in rows.rows],
            "species": [row.species for row in rows.rows],
            "new_medium": [bool(new[0]) for _, new in kept],
            "new_camera": [bool(new[1]) for _, new in kept],
            "half": [half[row.person] for row in rows.rows],
        },
        "scores": {key: as_json(values) for key, values in scores.items()},
    }
    _thresholds(fold)  # Told now, not after the other fold was scored.
    return fold


def _held_out(found: Sequence[Member], what: str, given: tuple[str, ...] | None) -> HeldOut:
    if given is not None:
        return HeldOut(frozenset(given), frozenset(given))
    each = [member.held_out(what) for member in found]
    return HeldOut(frozenset.intersection(*each), frozenset.union(*each))


def _halves(rows: Sequence[CropRow], persons: Sequence[str]) -> dict[str, int]:
    """0 or 1 by person, so that both halves have about as many rows."""
    counts = Counter(row.person for row in rows if row.person in set(persons))
    if len(counts) < 2:
        raise StudyError(
            f"--without: expected two or more people with crops in the stores, found "
            f"{', '.join(sorted(counts)) or 'none'} of {', '.join(persons)}; the stores hold "
            f"{', '.join(sorted({row.person for row in rows}))}"
        )
    half: dict[str, int] = {}
    size = [0, 0]
    for person, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        smaller = int(size[1] < size[0])
        half[person] = smaller
        size[smaller] += count
    return half


def _novelty(row: CropRow, media: HeldOut, cameras: HeldOut) -> tuple[bool, bool] | None:
    medium = False if row.label == "live" else media.new(row.medium)
    camera = cameras.new(row.camera)
    return None if medium is None or camera is None else (medium, camera)


def _network_scores(
    rows: CropStore, found: Sequence[Member], running: Running
) -> dict[str, Floats]:
    judged = {member.name: judge(member, rows, running) for member in found}
    scores = {name: one.evidence(running.guard) for name, one in judged.items()}
    for column, together in combinations(found).items():
        scores[column] = _one_look(judged, together, running)
    return scores


def _one_look(judged: Mapping[str, Judged], together: Sequence[Member], running: Running) -> Floats:
    served = {member.cue: judged[member.name].served(running.guard) for member in together}
    rows = len(next(iter(served.values())))
    return np.array(
        [
            fused({cue: values[i : i + 1] for cue, values in served.items()}, running.policy, 0.0)
            for i in range(rows)
        ],
        np.float64,
    )


def _baseline(
    store: CropStore,
    tested: CropStore,
    half: Mapping[str, int],
    media: HeldOut,
    cameras: HeldOut,
) -> Floats:
    """Decision values of an SVM that learned from everybody else, on media and cameras seen."""
    rows = np.array(
        [
            i
            for i, row in enumerate(store.rows)
            if row.persons.isdisjoint(half) and _novelty(row, media, cameras) == (False, False)
        ],
        np.int64,
    )
    if not len(rows):
        raise StudyError(
            "baseline: expected crops of people who are not in --without to learn from, found "
            "none; give the stores that the networks were trained on as well"
        )
    model = train_lbp(lbp_features(store, rows), store.live[rows])
    return np.asarray(model.decision_function(lbp_features(tested)), np.float64)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The rows of a fold as arrays, each (N,)."""

    scores: dict[str, Scores]
    half: np.ndarray[Any, np.dtype[np.int64]]
    new_medium: Bools
    new_camera: Bools

    @classmethod
    def of(cls, fold: Json) -> "_Columns":
        rows = fold["rows"]
        species, person = tuple(rows["species"]), tuple(rows["person"])
        live = np.array([name == "live" for name in species], np.bool_)
        return cls(
            {
                key: Scores(of_json(values), live, species, person)
                for key, values in fold["scores"].items()
            },
            np.array(rows["half"], np.int64),
            np.array(rows["new_medium"], np.bool_),
            np.array(rows["new_camera"], np.bool_),
        )

    def within(self, protocol: str, half: int) -> Bools:
        """Which rows a protocol tests in a half; live rows have no medium."""
        medium, camera = PROTOCOLS[protocol]
        live = next(iter(self.scores.values())).live
        of_medium = live | (self.new_medium == medium)
        found: Bools = of_medium & (self.half == half) & (self.new_camera == camera)
        return found


def _thresholds(fold: Json) -> dict[str, tuple[float, float]]:
    """By column: what halves 0 and 1 are tested at, each from the other half's S1."""
    columns = _Columns.of(fold)
    found = {}
    for key, scores in columns.scores.items():
        each = []
        for half in (0, 1):
            dev = scores.where(columns.within("S1", 1 - half))
            answered = dev.where(dev.responded)
            live, attacks = int(answered.live.sum()), int((~answered.live).sum())
            if not (live and attacks):
                raise StudyError(
                    f"fold {fold['name']}, {key}: expected scores of live crops and of attacks on "
                    f"seen media and cameras in each half of the people, found {live} and "
                    f"{attacks}; add people to --without or crops to the stores"
                )
            each.append(equal_error(curve(answered))[1])
        found[key] = (each[0], each[1])
    return found


def synthetic_tables(folds: Sequence[Json], *, seed: int = 0, resamples: int = 1000) -> Json:
    """Error rates by protocol and column over all folds.

    Raises:
        StudyError: a person is tested in two folds, or the folds have other columns.
    """
    _check(folds)
    sets = [(fold["name"], _Columns.of(fold), _thresholds(fold)) for fold in folds]
    protocols: Json = {}
    for protocol in PROTOCOLS:
        parts = {key: _parts(sets, protocol, key) for key in sets[0][1].scores}
        if lack := _lacking(next(iter(parts.values()))):
            protocols[protocol] = {"left_out": lack}
            continue
        columns = {key: rates(each, seed=seed, resamples=resamples) for key, each in parts.items()}
        protocols[protocol] = {"columns": columns, "fewer_errors": _fewer(columns)}
    return {"protocols": protocols}


def _check(folds: Sequence[Json]) -> None:
    seen: dict[str, str] = {}
    for fold in folds:
        for person in fold["without"]:
            if person in seen:
                raise StudyError(
                    f"folds {seen[person]!r} and {fold['name']!r}: expected different people to "
                    f"be tested in each, found {person} in both; merge folds of different people"
                )
            seen[person] = fold["name"]
        if list(fold["scores"]) != list(folds[0]["scores"]):
            raise StudyError(
                f"fold {fold['name']!r}: expected the columns "
                f"{', '.join(folds[0]['scores'])}, found {', '.join(fold['scores'])}; name the "
                "networks of all folds alike"
            )


def _parts(
    sets: Sequence[tuple[str, _Columns, Mapping[str, tuple[float, float]]]],
    protocol: str,
    key: str,
) -> list[Part]:
    return [
        Part(name, columns.scores[key].where(columns.within(protocol, half)), at[key][half])
        for name, columns, at in sets
        for half in (0, 1)
    ]


def _lacking(parts: Sequence[Part]) -> str:
    """Why a protocol cannot be measured, or nothing."""
    for fold in dict.fromkeys(part.fold for part in parts):
        live = sum(int(part.scores.live.sum()) for part in parts if part.fold == fold)
        attacks = sum(int((~part.scores.live).sum()) for part in parts if part.fold == fold)
        if not (live and attacks):
            return (
                f"fold {fold!r} has {live} live crops and {attacks} attacks of this kind: the "
                "training held out no such media or cameras"
            )
    return ""


def _fewer(columns: Mapping[str, Json]) -> Json:
    """How many times fewer errors, and lower an ACER, than the baseline; None: no error at all.

    Errors depend on how many rows are live, the ACER does not.
    """
    base = columns[BASELINE]
    found: Json = {}
    for key, one in columns.items():
        if key != BASELINE:
            mine, theirs = (c["errors"] / c["presentations"] for c in (one, base))
            acer, other = one["acer"]["value"], base["acer"]["value"]
            found[key] = {"errors": _times(theirs, mine), "acer": _times(other, acer)}
    return found


def _times(more: float, less: float) -> float | None:
    return round(more / less, 2) if less else None
