import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from padflow.trainers.attacks.portraits import load_portrait
from padflow.trainers.baseline import (
    FEATURES,
    BaselineError,
    colour_lbp,
    detail,
    laplacian_variance,
    lbp_features,
    lbp_scores_across,
    lbp_scores_by_person,
    main,
    sharpness_scores,
    train_lbp,
    uniform_patterns,
)
from padflow.trainers.crops import SHAPES, CropRow, Crops, CropStore, Pixels, write_crops

FACE = CropRow(
    id="0",
    label="live",
    species="live",
    instrument="",
    person="p0",
    medium="",
    camera="door",
    source="test",
    seed=1,
    face_px=170.0,
    clip="c",
)


def a_face(rng: np.random.Generator) -> Pixels:
    """A real face, a little moved, lit and coloured otherwise."""
    picture = load_portrait("astronaut").image
    x, y = np.array([225.0, 123.0]) + rng.normal(0, 4, 2)
    side = rng.uniform(150, 175)
    matrix = np.array([[side / 256, 0, x - side / 2], [0, side / 256, y - side / 2]])
    crop = cv2.warpAffine(picture, matrix, (256, 256), flags=cv2.WARP_INVERSE_MAP)
    lit = crop * rng.uniform(0.7, 1.1, 3) + rng.normal(0, 3, crop.shape)
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def reprinted(face: Pixels) -> Pixels:
    """The same with duller colours and without fine detail."""
    blurred = cv2.GaussianBlur(face, (0, 0), 2.5).astype(np.float32)
    grey = blurred.mean(axis=2, keepdims=True)
    return np.asarray(np.clip(0.6 * blurred + 0.4 * grey + 12, 0, 255), np.uint8)


def as_pixels(picture: object) -> Pixels:
    return np.asarray(picture, np.uint8)


def a_store(folder: Path, persons: range, seed: int = 0) -> CropStore:
    rng = np.random.default_rng(seed)
    items = []
    for person in persons:
        for take in range(6):
            row = replace(FACE, id=f"{person}/{take}", person=f"p{person}")
            face = a_face(rng)
            if take % 2:
                row = replace(row, label="attack", species="print", instrument="print:laser")
                face = reprinted(face)
            blank = {name: np.zeros(shape, np.uint8) for name, shape in SHAPES.items()}
            items.append((row, Crops(**{**blank, "face": face})))
    return write_crops(folder, items)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return a_store(tmp_path_factory.mktemp("crops") / "store", range(6))


@pytest.mark.parametrize("kind", ["noise", "flat", "steps", "face"])
def test_patterns_are_those_of_scikit_image(kind: str) -> None:
    rng = np.random.default_rng(4)
    picture = {
        "noise": rng.integers(0, 256, (64, 64), np.uint8),
        "flat": np.full((64, 64), 83, np.uint8),
        "steps": np.kron(rng.integers(0, 5, (8, 8), np.uint8), np.full((8, 8), 50, np.uint8)),
        "face": cv2.resize(a_face(rng)[..., 1], (64, 64)),
    }[kind]
    all_of_it = local_binary_pattern(picture, 8, 1.0, "nri_uniform")  # type: ignore[no-untyped-call]
    theirs = all_of_it[1:-1, 1:-1].astype(int)
    ours = uniform_patterns(picture)
    pairs = {*zip(theirs.ravel().tolist(), ours.ravel().tolist(), strict=True)}
    # The same patterns under other numbers: each of theirs is one of ours and the other way.
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    if kind == "noise":
        assert len(pairs) == 59
    if 58 in theirs:
        assert (58, 58) in pairs


def test_features_are_histograms_of_six_channels() -> None:
    face = a_face(np.random.default_rng(1))
    found = colour_lbp(face)
    assert found.shape == (FEATURES,) == (354,)
    assert found.dtype == np.float32
    assert found.reshape(6, 59).sum(axis=1) == pytest.approx(np.ones(6))
    hidden = face.copy()
    hidden[:40] = hidden[-40:] = 0  # beside the face's box
    hidden[:, :40] = hidden[:, -40:] = 0
    assert np.array_equal(colour_lbp(hidden), found)
    grey = np.repeat(face[..., 1:2], 3, axis=2)
    flat = colour_lbp(grey).reshape(6, 59)
    assert flat[[0, 1, 4, 5]].max(axis=1) == pytest.approx(np.ones(4))  # H, S, Cr and Cb are even
    assert flat[2] == pytest.approx(flat[3], abs=0.01)  # V is Y


def test_the_svm_tells_dull_reprints_of_people_it_has_not_seen(store: CropStore) -> None:
    features = lbp_features(store)
    scores = lbp_scores_by_person(store, features)
    assert np.array_equal(scores.live, store.live)
    assert scores.person[7] == "p1"
    assert scores.species[:2] == ("", "print")
    assert ((scores.score > 0) == scores.live).mean() > 0.95


def test_a_persons_own_crops_do_not_score_them(store: CropStore) -> None:
    """Labels that are a person's own cannot be learnt from others: scores stay at chance."""
    rng = np.random.default_rng(3)
    by_person = {f"p{i}": bool(v) for i, v in enumerate(rng.permutation([0, 0, 0, 1, 1, 1]))}
    rows = tuple(
        replace(
            row,
            label="live" if by_person[row.person] else "attack",
            species="live" if by_person[row.person] else "print",
        )
        for row in store.rows
    )
    confused = replace(store, rows=rows)
    features = lbp_features(store)
    seen = train_lbp(features, confused.live)
    assert ((seen.decision_function(features) > 0) == confused.live).mean() > 0.9
    unseen = lbp_scores_by_person(confused, features)
    assert ((unseen.score > 0) == confused.live).mean() < 0.8


@pytest.mark.parametrize("rbf", [False, True])
def test_one_store_trains_for_another(store: CropStore, tmp_path: Path, rbf: bool) -> None:
    other = a_store(tmp_path / "other", range(10, 13), seed=9)
    scores = lbp_scores_across(store, lbp_features(store), other, rbf=rbf)
    assert ((scores.score > 0) == other.live).mean() > 0.9
    with pytest.raises(BaselineError, match="found 'p0' in both stores"):
        lbp_scores_across(store, lbp_features(store), store)


def test_sharpness_falls_with_blur_whatever_the_size() -> None:
    face = a_face(np.random.default_rng(5))
    blurred = [as_pixels(cv2.GaussianBlur(face, (0, 0), sigma)) for sigma in (0.6, 1.5, 3.0)]
    for score in (laplacian_variance, lambda f: detail(f, 170.0)):
        values = [score(f) for f in (face, *blurred)]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]
    small = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
    enlarged = as_pixels(cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR))
    assert detail(enlarged, 42.0) > detail(enlarged, 170.0)


def test_sharpness_alone_finds_blurred_reprints(store: CropStore) -> None:
    scores = sharpness_scores(store)
    assert scores.score[scores.live].mean() > scores.score[~scores.live].mean() + 0.2


def test_the_command_writes_scores_and_prints_rates(
    store: CropStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    main([str(store.folders[0]), "--out", str(out)])
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [row.id for row in store.rows]
    assert rows[1]["species"] == "print"
    assert float(rows[0]["colour_lbp"]) > float(rows[1]["colour_lbp"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert printed[0].startswith("colour_lbp all attacks      36 crops  AUC 1.000")
    assert list(tmp_path.iterdir()) == [out]


def test_what_cannot_be_trained_is_told(store: CropStore, tmp_path: Path) -> None:
    features = lbp_features(store)
    with pytest.raises(BaselineError, match="found 0 live of 36"):
        train_lbp(features, np.zeros(36, bool))
    with pytest.raises(BaselineError, match="expected up to 8000 crops"):
        train_lbp(np.zeros((9000, 354), np.float32), np.arange(9000) % 2 == 0, rbf=True)
    alone = a_store(tmp_path / "alone", range(1))
    with pytest.raises(BaselineError, match="two or more persons"):
        lbp_scores_by_person(alone, lbp_features(alone))
