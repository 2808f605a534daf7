"""Real footage, judged by networks that were trained without it, sequence by sequence.

A sequence (the rows of one source and clip of a store) has as score of

- a network: the mean of its ratios in nats, not clipped, so that sequences can be ranked;
- a fusion: what the graph would say at the end of the sequence. Each cue's ratios, within the
  calibration's and the policy's limits, are accumulated as looks ``step`` seconds apart, and the
  cues are added up with the policy's discount for correlated ones. A step of 0 makes them one
  look, their mean: more looks weigh more, and where live sequences have more rows than attacks,
  as in NUAA's, a step would let their length tell them apart;
- sharpness alone: the mean of its rows'.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..baseline import detail
from ..crops import CropStore
from ..evaluation.metrics import Scores
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

SHARPNESS = "sharpness alone"


def real_fold(
    name: str, store: CropStore, found: Sequence[Member], running: Running, step: float = 0.0
) -> tuple[Json, dict[str, Judged]]:
    """Score the sequences of a store, and what each network says of each row.

    Raises:
        StudyError: the store is empty, or a sequence has live rows and attacks.
    """
    groups = sequences(store)
    judged = {member.name: judge(member, store, running) for member in found}
    sharp = np.array(
        [detail(store.one("face", i), row.face_px) for i, row in enumerate(store.rows)]
    )
    means = {key: one.evidence(running.guard) for key, one in judged.items()}
    served = {key: one.served(running.guard) for key, one in judged.items()}
    together = {
        column: {member.cue: served[member.name] for member in some}
        for column, some in combinations(found).items()
    }
    scores = {key: _means(values, groups) for key, values in means.items()}
    scores |= {
        column: np.array(
            [
                fused({cue: v[own] for cue, v in cues.items()}, running.policy, step)
                for own in groups.values()
            ]
        )
        for column, cues in together.items()
    }
    scores[SHARPNESS] = _means(sharp, groups)
    first = [store.rows[own[0]] for own in groups.values()]
    fold = {
        "name": name,
        "networks": [member.told for member in found],
        "policy": running.policy.id,
        "thresholds": list(running.policy.thresholds),
        "fused": list(together),
        "step": step,
        "rows": {
            "source": [key[0] for key in groups],
            "clip": [key[1] for key in groups],
            "person": [row.person for row in first],
            "species": [row.species for row in first],
            "frames": [len(own) for own in groups.values()],
            "face_px": [
                round(float(np.median([store.rows[i].face_px for i in own])), 1)
                for own in groups.values()
            ],
        },
        "scores": {key: as_json(values) for key, values in scores.items()},
        "served": {key: as_json(_means(values, groups)) for key, values in served.items()},
        "unlike_training": {
            key: as_json(_means((one.strangeness > 1).astype(float), groups))
            for key, one in judged.items()
        },
    }
    return fold, judged


def sequences(store: CropStore) -> dict[tuple[str, str, Path], list[int]]:
    """Rows by source, clip and folder, in order of their appearance.

    Two stores may have a clip of one name, such as ``live/01.mp4`` of two days.

    Raises:
        StudyError: there is none, or one has live rows and attacks.
    """
    groups: dict[tuple[str, str, Path], list[int]] = {}
    for i, row in enumerate(store.rows):
        groups.setdefault((row.source, row.clip, store.folder_of(i)), []).append(i)
    if not groups:
        raise StudyError("study: expected crops, found none; check --store and --persons")
    for (source, clip, _), own in groups.items():
        if len(species := {store.rows[i].species for i in own}) > 1:
            raise StudyError(
                f"{source} {clip}: expected one species a clip, found {', '.join(sorted(species))}"
                "; give the clips of the crop store names of their own"
            )
    return groups


def of_persons(store: CropStore, persons: Sequence[str]) -> CropStore:
    """The rows of some people, by full name or by what stands behind the source's colon.

    Raises:
        StudyError: one of them is not in the store.
    """
    names = [(row.person, row.person.rpartition(":")[2]) for row in store.rows]
    there = {name for both in names for name in both}
    if absent := sorted(set(persons) - there):
        raise StudyError(
            f"--persons: expected people of the stores, found {absent[0]!r}; there are "
            f"{', '.join(sorted({full for full, _ in names}))}"
        )
    return store.only([i for i, both in enumerate(names) if set(both) & set(persons)])


def _means(values: Floats, groups: Mapping[tuple[str, str, Path], Sequence[int]]) -> Floats:
    """Of each sequence's rows that have a value; NaN where none has."""
    found = []
    for own in groups.values():
        some = values[list(own)]
        some = some[~np.isnan(some)]
        found.append(float(some.mean()) if len(some) else float("nan"))
    return np.array(found, np.float64)


def real_tables(folds: Sequence[Json], *, seed: int = 0, resamples: int = 1000) -> Json:
    """Error rates of each fold and source by column; sources of one class have none.

    ``at_policy``, of fusions: the share of attacks at or above the policy's LIVE threshold
    (``apcer``), that of bona fide at or below its SPOOF threshold (``bpcer``), and that of bona
    fide at or above the LIVE threshold (``live``).
    """
    found = []
    for fold in folds:
        sources = fold["rows"]["source"]
        for source in dict.fromkeys(sources):
            own = [i for i, name in enumerate(sources) if name == source]
            columns = {key: _column(fold, key, own, seed, resamples) for key in fold["scores"]}
            found.append({"fold": fold["name"], "source": source, "columns": columns})
    return {"sets": found}


def _column(fold: Json, key: str, own: Sequence[int], seed: int, resamples: int) -> Json:
    species = tuple(fold["rows"]["species"][i] for i in own)
    values = of_json([fold["scores"][key][i] for i in own])
    live = np.array([name == "live" for name in species], np.bool_)
    scores = Scores(values, live, species, tuple(fold["rows"]["person"][i] for i in own))
    known = scores.responded
    column: Json = {"live": int(live.sum()), "attacks": int((~live).sum())}
    if (known & live).any() and (known & ~live).any():
        part = Part(fold["name"], scores, 0.0)
        all_rates = rates([part], seed=seed, resamples=resamples)
        column |= {
            name: all_rates[name]
            for name in ("auc", "eer", "bpcer_at_apcer_5", "no_answer", "persons")
        }
    if key in fold["fused"]:
        column["at_policy"] = _at_policy(scores, fold["thresholds"])
    return column


def _at_policy(scores: Scores, thresholds: Sequence[float]) -> Json:
    spoof, live = thresholds
    with np.errstate(invalid="ignore"):
        accepted, rejected = scores.score >= live, scores.score <= spoof
    of_live, of_attacks = scores.live, ~scores.live
    return {
        "apcer": float(accepted[of_attacks].mean()) if of_attacks.any() else None,
        "bpcer": float(rejected[of_live].mean()) if of_live.any() else None,
        "live": float(accepted[of_live].mean()) if of_live.any() else None,
    }
