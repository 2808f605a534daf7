"""What a network must beat: colour texture with an SVM, and plain sharpness. No torch.

Colour LBP (Boulkenafet, Komulainen and Hadid, ICIP 2015; METHODS 14.2): histograms of uniform
local binary patterns on the six channels of HSV and YCbCr, and a linear SVM. Sharpness alone shows
how far a set of attacks can be told by blur, which says nothing of another printer or camera.

    python -m padflow.trainers.baseline STORE... [--test STORE...] [--out scores.csv]

Scores are decision values, high for live, not calibrated.
"""

import argparse
import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from ..engines.errors import EngineError
from ..engines.whole_file import whole_file
from ..nodes.quality import sharpness
from .crops import CropStore, Pixels, open_crops
from .evaluation.metrics import Scores, area_under_curve, curve, equal_error

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

SIDE = 64
"""Pixels of the face that patterns are taken from."""
PATTERNS = 59
"""Uniform patterns of eight neighbours, and one bin for all others."""
FEATURES = 6 * PATTERNS
"""354."""
FACE_SCALE = 1.5
"""Side of the store's face crop over the face's box."""

_POINTS = 8
_FOLDS = 5
_MESH_CROP = 192
"""Side of the crop that :func:`~padflow.nodes.quality.sharpness` takes."""
_MOST_FOR_RBF = 8000
"""Rows beyond which the kernel's matrix takes too much memory and time."""


class BaselineError(EngineError):
    """The crops given cannot train or test a baseline."""

    wrong_use = True


def colour_lbp(face: Pixels) -> Features:
    """Colour-texture features of a face.

    The face's box, the middle of the crop, is brought to 64x64. Patterns are taken where all
    neighbours lie in the picture.

    Args:
        face: uint8 (h, w, 3) RGB at 1.5 times the face's box, such as the store's face crop.

    Returns:
        float32 (354,): 59 shares for each of H, S, V, Y, Cr, Cb; each 59 sum to 1.
    """
    height, width = face.shape[:2]
    top, left = (round(side * (1 - 1 / FACE_SCALE) / 2) for side in (height, width))
    box = np.ascontiguousarray(face[top : height - top, left : width - left])
    small = cv2.resize(box, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    channels = np.concatenate(
        [cv2.cvtColor(small, code) for code in (cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2YCrCb)], axis=2
    )
    patterns = uniform_patterns(np.moveaxis(channels, 2, 0))
    places = patterns.reshape(6, -1).astype(np.int64) + np.arange(6)[:, None] * PATTERNS
    counts = np.bincount(places.ravel(), minlength=FEATURES)
    return np.asarray(counts / places.shape[1], np.float32)


def uniform_patterns(channels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Uniform local binary patterns of eight neighbours on a circle of radius 1.

    LBP^{u2}_{8,1} (Ojala, Pietikainen and Maenpaa 2002). Neighbours between pixels are
    interpolated with the arithmetic of scikit-image's ``local_binary_pattern``, so that ties break
    as they do there.

    Args:
        channels: uint8 (..., h, w).

    Returns:
        uint8 (..., h - 2, w - 2): 0 to 57 uniform patterns, by their code; 58 all others.
    """
    picture = channels.astype(np.float64)
    height, width = picture.shape[-2:]
    rows, columns = np.arange(1, height - 1), np.arange(1, width - 1)
    middle = picture[..., 1:-1, 1:-1]
    codes = np.zeros(middle.shape, np.uint8)
    for point in range(_POINTS):
        angle = 2 * np.pi * point / _POINTS
        r, c = rows + round(-np.sin(angle), 5), columns + round(np.cos(angle), 5)
        codes |= (_between(picture, r, c) >= middle).astype(np.uint8) << np.uint8(point)
    return _bins()[codes]


def _between(picture: Floats, r: Floats, c: Floats) -> Floats:
    """Bilinear values at every row r (n,) and column c (m,): (..., n, m)."""
    above, left = np.floor(r).astype(int), np.floor(c).astype(int)
    below, right = np.ceil(r).astype(int), np.ceil(c).astype(int)
    down, across = (r - above)[:, None], c - left
    top = (1 - across) * picture[..., above[:, None], left]
    top += across * picture[..., above[:, None], right]
    bottom = (1 - across) * picture[..., below[:, None], left]
    bottom += across * picture[..., below[:, None], right]
    value: Floats = (1 - down) * top + down * bottom
    return value


@cache
def _bins() -> npt.NDArray[np.uint8]:
    """uint8 (256,): the bin of each code; codes with at most two changes around are uniform."""
    codes = np.arange(256, dtype=np.uint8)
    turned = (codes >> 1) | (codes << 7)
    uniform = np.bitwise_count(codes ^ turned) <= 2
    bins = np.full(256, PATTERNS - 1, np.uint8)
    bins[uniform] = np.arange(int(uniform.sum()))
    bins.setflags(write=False)
    return bins


def detail(face: Pixels, face_px: float) -> float:
    """Sharpness of a face alone as a score, 0 to 1, high for sharp.

    It is measured on the frame's own pixel grid (:func:`~padflow.nodes.quality.sharpness`), so
    that a small face is not blurred for being small.

    Args:
        face: uint8 (h, h, 3) RGB at 1.5 times the face's box.
        face_px: Longer side of the face's box in the frame, in pixels.
    """
    crop = cv2.resize(face, (_MESH_CROP, _MESH_CROP), interpolation=cv2.INTER_AREA)
    return sharpness(crop, FACE_SCALE * face_px)


def laplacian_variance(face: Pixels) -> float:
    """Variance of the Laplacian of the face's luma over that of the luma itself, as logarithm.

    The usual measure of focus (Pech-Pacheco et al. 2000), freed from contrast; it depends on how
    far the crop was enlarged.

    Args:
        face: uint8 (h, w, 3) RGB at 1.5 times the face's box.
    """
    height, width = face.shape[:2]
    top, left = (round(side * (1 - 1 / FACE_SCALE) / 2) for side in (height, width))
    luma = cv2.cvtColor(face[top : height - top, left : width - left], cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(luma, cv2.CV_32F)
    return float(np.log((edges.var() + 1e-3) / (luma.astype(np.float32).var() + 1e-3)))


def lbp_features(store: CropStore, rows: Rows | None = None) -> Features:
    """Colour-texture features of a store's face crops: float32 (n, 354), in the rows' order."""
    chosen = np.arange(len(store)) if rows is None else rows
    found = np.zeros((len(chosen), FEATURES), np.float32)
    for place, row in enumerate(chosen):
        found[place] = colour_lbp(store.one("face", int(row)))
    return found


def sharpness_scores(store: CropStore) -> Scores:
    """Every row scored by :func:`detail`: nothing is trained."""
    values = [detail(store.one("face", index), row.face_px) for index, row in enumerate(store.rows)]
    return as_scores(store, np.array(values, np.float64))


def train_lbp(features: Features, live: npt.NDArray[np.bool_], *, rbf: bool = False) -> Pipeline:
    """Train the SVM; ``decision_function`` of what is returned is the score, high for live.

    The square root is taken of the shares first (Hellinger kernel), and both classes weigh the
    same.

    Args:
        features: float32 (n, 354).
        live: bool (n,).
        rbf: A Gaussian kernel in place of the linear one: slower, for up to 8000 rows.

    Raises:
        BaselineError: One class is missing, or the rows are too many for the kernel.
    """
    if live.all() or not live.any():
        raise BaselineError(
            f"baseline: expected live crops and attacks, found {int(live.sum())} live of "
            f"{len(live)}; give a store with both"
        )
    if rbf and len(live) > _MOST_FOR_RBF:
        raise BaselineError(
            f"baseline: expected up to {_MOST_FOR_RBF} crops for a Gaussian kernel, found "
            f"{len(live)}; take the linear one or fewer crops"
        )
    machine = (
        SVC(kernel="rbf", C=10.0, class_weight="balanced")
        if rbf
        else LinearSVC(C=0.01, class_weight="balanced", random_state=0)
    )
    model = make_pipeline(FunctionTransformer(np.sqrt), StandardScaler(), machine)
    model.fit(features, live)
    return model


def lbp_scores_by_person(
    store: CropStore, features: Features, *, rbf: bool = False, seed: int = 0
) -> Scores:
    """Every row scored by an SVM that has seen none of its person's crops.

    Args:
        store: The crops.
        features: float32 (N, 354), of all rows in order.
        rbf: As in :func:`train_lbp`.
        seed: Of the division into five folds (fewer, where there are fewer persons in a class).

    Raises:
        BaselineError: A class has crops of fewer than two persons.
    """
    live, person = store.live, store.column("person")
    fewest = min(len(np.unique(person[live == one])) for one in (True, False))
    if fewest < 2:
        raise BaselineError(
            f"baseline: expected two or more persons, live and as attacks, found {fewest}; "
            "give a store with more people, or another one to test on"
        )
    values = np.zeros(len(store))
    folds = StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    for known, held_out in folds.split(features, live, person):
        model = train_lbp(features[known], live[known], rbf=rbf)
        values[held_out] = model.decision_function(features[held_out])
    return as_scores(store, values)


def lbp_scores_across(
    train: CropStore, train_features: Features, test: CropStore, *, rbf: bool = False
) -> Scores:
    """Every row of one store scored by an SVM that was trained on another store.

    Raises:
        BaselineError: The stores share a person, or :func:`train_lbp` cannot train.
    """
    both = {row.person for row in train.rows} & {row.person for row in test.rows}
    if both:
        raise BaselineError(
            f"baseline: expected different people to train and to test, found {min(both)!r} in "
            "both stores; leave them out of one"
        )
    model = train_lbp(train_features, train.live, rbf=rbf)
    return as_scores(test, np.asarray(model.decision_function(lbp_features(test))))


def as_scores(store: CropStore, values: Floats) -> Scores:
    """Scores (N,) beside what the store says of its rows."""
    species = tuple("" if row.label == "live" else row.species for row in store.rows)
    return Scores(values, store.live, species, tuple(row.person for row in store.rows))


def write_scores(file: TextIO, store: CropStore, columns: dict[str, Scores]) -> None:
    """Write CSV: what the store says of each row, and one column for each baseline."""
    known = ("id", "label", "species", "instrument", "person", "medium", "source")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*known, *columns])
    for index, row in enumerate(store.rows):
        values = [f"{scores.score[index]:.5f}" for scores in columns.values()]
        writer.writerow([*(getattr(row, name) for name in known), *values])


def summary(columns: dict[str, Scores]) -> list[str]:
    """One line for each baseline and species: area under the curve and equal error rate."""
    lines = []
    for name, scores in columns.items():
        attacks = sorted(set(scores.species) - {""})
        for species in ["all attacks", *attacks]:
            kept = scores.live | np.array([species in ("all attacks", s) for s in scores.species])
            found = curve(scores.where(kept))
            lines.append(
                f"{name:10} {species:12} {int(kept.sum()):6} crops  "
                f"AUC {area_under_curve(found):.3f}  EER {equal_error(found)[0]:.3f}"
            )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: train, score, and print the error rates."""
    parser = argparse.ArgumentParser(description="Score crop stores with the baselines.")
    parser.add_argument("store", nargs="+", type=Path, help="crop stores to train on")
    parser.add_argument("--test", nargs="+", type=Path, help="and to test on (default: by person)")
    parser.add_argument("--rbf", action="store_true", help="Gaussian kernel, up to 8000 crops")
    parser.add_argument("--out", type=Path, help="write the scores as CSV")
    options = parser.parse_args(arguments)
    store = open_crops(*options.store)
    features = lbp_features(store)
    if options.test:
        tested = open_crops(*options.test)
        lbp = lbp_scores_across(store, features, tested, rbf=options.rbf)
    else:
        tested = store
        lbp = lbp_scores_by_person(store, features, rbf=options.rbf)
    columns = {"colour_lbp": lbp, "sharpness": sharpness_scores(tested)}
    if options.out:
        with whole_file(options.out) as part, part.open("w", encoding="utf-8", newline="") as file:
            write_scores(file, tested, columns)
    print("\n".join(summary(columns)))


if __name__ == "__main__":
    main()
