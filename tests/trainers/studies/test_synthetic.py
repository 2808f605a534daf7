from typing import Any

import numpy as np
import pytest

from padflow.trainers.crops import CropRow, CropStore, Species
from padflow.trainers.studies import markdown, synthetic
from padflow.trainers.studies.judging import StudyError
from padflow.trainers.studies.synthetic import (
    BASELINE,
    HeldOut,
    synthetic_tables,
)

NEW = HeldOut(frozenset({"m1"}), frozenset({"m1", "m2"}))
CAMERAS = HeldOut(frozenset({"roof"}), frozenset({"roof"}))


def row(person: str, species: Species, medium: str, camera: str, number: int = 0) -> CropRow:
    return CropRow(
        id=f"{person}-{species}-{medium}-{camera}-{number}",
        label="live" if species == "live" else "attack",
        species=species,
        instrument="",
        person=person,
        medium=medium,
        camera=camera,
        source="toy",
        seed=0,
        face_px=90.0,
        clip=str(number),
    )


def test_what_is_new_of_a_row() -> None:
    assert synthetic._novelty(row("a", "live", "", "door"), NEW, CAMERAS) == (False, False)
    assert synthetic._novelty(row("a", "print", "m1", "door"), NEW, CAMERAS) == (True, False)
    assert synthetic._novelty(row("a", "print", "m0", "roof"), NEW, CAMERAS) == (False, True)
    assert synthetic._novelty(row("a", "print", "m2", "roof"), NEW, CAMERAS) is None


def test_people_are_halved_by_their_rows() -> None:
    rows = [
        row(p, "live", "", "door", i)
        for p, n in zip("abcd", (9, 5, 4, 1), strict=True)
        for i in range(n)
    ]
    half = synthetic._halves(rows, ["a", "b", "c"])
    assert half == {"a": 0, "b": 1, "c": 1}
    with pytest.raises(StudyError, match="found d of d, e; the stores hold a, b, c, d"):
        synthetic._halves(rows, ["d", "e"])


def fold(name: str, people: str, shift: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Two people, a good network on a scale of its own, and a baseline that knows nothing."""
    rows: list[dict[str, Any]] = []
    for half, person in enumerate(people):
        for camera in (False, True):
            for i in range(4):
                rows.append(_one(person, half, "live", False, camera, 2.0 + i, i))
                for medium in (False, True):
                    rows.append(_one(person, half, "print", medium, camera, -2.0 - i, i))
        rows.append(_one(person, half, "print", True, True, 9.0, 1))  # fools it on S4 alone
    keys = ("id", "person", "species", "new_medium", "new_camera", "half")
    return {
        "name": name,
        "without": list(people),
        "media": ["m1"],
        "cameras": ["roof"],
        "rows_of_half_known_media_or_cameras": 0,
        "rows": {key: [one[key] for one in rows] for key in keys},
        "scores": {
            "depth": [one["score"] + shift for one in rows],
            BASELINE: [float(one["chance"]) for one in rows],
        },
        **changes,
    }


def _one(
    person: str, half: int, species: str, medium: bool, camera: bool, score: float, i: int
) -> dict[str, Any]:
    return {
        "id": str(i),
        "person": person,
        "species": species,
        "new_medium": medium,
        "new_camera": camera,
        "half": half,
        "score": score,
        "chance": i % 2,
    }


def test_protocols_test_what_is_new_and_folds_pool() -> None:
    folds = [fold("X", "ab"), fold("Y", "cd", shift=50.0)]
    tables = synthetic_tables(folds, resamples=40)
    found = tables["protocols"]
    for protocol, attacks in {"S1": 16, "S2": 16, "S3": 16, "S4": 20}.items():
        one = found[protocol]["columns"]["depth"]
        assert one["apcer"]["print"]["presentations"] == attacks
        assert one["bpcer"]["presentations"] == 16
        assert one["bpcer"]["value"] == 0.0
        assert one["persons"] == 4
    assert found["S1"]["columns"]["depth"]["errors"] == 0
    assert found["S1"]["columns"]["depth"]["auc"]["value"] == 1.0
    assert found["S1"]["fewer_errors"]["depth"] == {"errors": None, "acer": None}
    assert found["S4"]["columns"]["depth"]["apcer"]["print"]["errors"] == 4
    assert found["S4"]["fewer_errors"]["depth"]["errors"] > 3
    text = markdown.synthetic_text(folds, tables)
    assert "| depth | 20.0 [" in text
    assert text == markdown.synthetic_text(folds, synthetic_tables(folds, resamples=40))


def test_a_threshold_comes_from_the_other_half() -> None:
    one = fold("X", "ab")
    scores = one["scores"]["depth"]
    for i, half in enumerate(one["rows"]["half"]):
        scores[i] += 100.0 * half  # each half on a scale of its own
    found = synthetic_tables([one], resamples=40)["protocols"]["S1"]["columns"]["depth"]
    assert found["apcer"]["print"]["value"] == 0.5  # the second half's, at the first's threshold
    assert found["bpcer"]["value"] == 0.5


def test_without_new_cameras_there_is_no_s3() -> None:
    one = fold("X", "ab")
    seen = [i for i, new in enumerate(one["rows"]["new_camera"]) if not new]
    one["rows"] = {key: [values[i] for i in seen] for key, values in one["rows"].items()}
    one["scores"] = {key: [values[i] for i in seen] for key, values in one["scores"].items()}
    tables = synthetic_tables([one], resamples=40)
    assert "held out no such media or cameras" in tables["protocols"]["S4"]["left_out"]
    assert "Not measured: fold 'X' has 0 live" in markdown.synthetic_text([one], tables)


def test_folds_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(StudyError, match="found b in both"):
        synthetic_tables([fold("X", "ab"), fold("Y", "bc")])
    other = fold("Y", "cd")
    other["scores"]["patch"] = other["scores"].pop("depth")
    with pytest.raises(StudyError, match="name the networks of all folds alike"):
        synthetic_tables([fold("X", "ab"), other])


def test_a_half_without_attacks_is_told() -> None:
    one = fold("X", "ab")
    keep = [
        i
        for i, (half, kind) in enumerate(
            zip(one["rows"]["half"], one["rows"]["species"], strict=True)
        )
        if half == 0 or kind == "live"
    ]
    one["rows"] = {key: [values[i] for i in keep] for key, values in one["rows"].items()}
    one["scores"] = {key: [values[i] for i in keep] for key, values in one["scores"].items()}
    with pytest.raises(StudyError, match=r"found 4 and 0; add people to --without"):
        synthetic_tables([one])


def test_the_baseline_learns_from_seen_media_of_other_people_only() -> None:
    rows = tuple(row(p, "print", m, "door") for p in "ab" for m in ("m0", "m1", "m2"))
    store = CropStore((), rows, {}, np.zeros(0, np.int64))
    with pytest.raises(StudyError, match="found none; give the stores"):
        synthetic._baseline(store, store, {"a": 0, "b": 1}, NEW, CAMERAS)
