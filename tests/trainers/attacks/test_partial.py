import cv2
import numpy as np
import pytest

from padflow.nodes.canonical import CHIN, FOREHEAD_TOP, NOSE_TIP, canonical_face
from padflow.nodes.pose import rotation_of
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.partial import (
    PARTIAL_KINDS,
    PartialKind,
    partial_mask,
    partial_piece,
)

SHAPE = (300, 280)
RIGHT_EYE, LEFT_EYE, MOUTH = (159, 145), (386, 374), (13, 14)
RIGHT_CHEEK, LEFT_CHEEK = (118, 101), (347, 330)


def face(
    yaw: float = 0.0, at: tuple[float, float] = (140.0, 120.0), roll: float = 0.0, unit: float = 70
) -> Array:
    points = canonical_face().points @ rotation_of(yaw, 0.0, roll).T
    return np.asarray(points * unit + (*at, 0.0), np.float32)


def cut(kind: PartialKind, mesh: Array, seed: int) -> Array:
    return partial_mask(kind, mesh, SHAPE, np.random.default_rng(seed))


def over(mask: Array, mesh: Array, points: tuple[int, ...]) -> float:
    x, y = np.rint(mesh[list(points), :2].mean(axis=0)).astype(int)
    return float(mask[y, x])


COVERED: dict[PartialKind, tuple[tuple[int, ...], ...]] = {
    "eyes_strip": (RIGHT_EYE, LEFT_EYE),
    "left_half": (LEFT_EYE, LEFT_CHEEK),
    "right_half": (RIGHT_EYE, RIGHT_CHEEK),
    "upper_half": (RIGHT_EYE, LEFT_EYE),
    "lower_half": (MOUTH, (CHIN, 18)),
    "glasses": (RIGHT_EYE, LEFT_EYE),
    "eye_holes": (MOUTH, (NOSE_TIP,), LEFT_CHEEK, (151, 9)),
    "mouth_hole": (RIGHT_EYE, LEFT_EYE, RIGHT_CHEEK, (151, 9)),
    "eye_mouth_holes": ((NOSE_TIP,), LEFT_CHEEK, RIGHT_CHEEK, (151, 9)),
}
OPEN: dict[PartialKind, tuple[tuple[int, ...], ...]] = {
    "eyes_strip": (MOUTH, (NOSE_TIP, 2), (CHIN,)),
    "left_half": (RIGHT_EYE, RIGHT_CHEEK),
    "right_half": (LEFT_EYE, LEFT_CHEEK),
    "upper_half": (MOUTH, (CHIN, 18)),
    "lower_half": (RIGHT_EYE, LEFT_EYE, (FOREHEAD_TOP,)),
    "glasses": (MOUTH, (NOSE_TIP,), (FOREHEAD_TOP, 151), (CHIN,)),
    "eye_holes": (RIGHT_EYE, LEFT_EYE),
    "mouth_hole": (MOUTH,),
    "eye_mouth_holes": (RIGHT_EYE, LEFT_EYE, MOUTH),
}


@pytest.mark.parametrize("kind", PARTIAL_KINDS)
@pytest.mark.parametrize("yaw", [-15.0, 0.0, 15.0])
def test_each_kind_hides_what_it_is_named_for(kind: PartialKind, yaw: float) -> None:
    mesh = face(yaw)
    for seed in range(12):
        mask = cut(kind, mesh, seed)
        for points in COVERED[kind]:
            assert over(mask, mesh, points) == 1.0, (seed, points)
        for points in OPEN[kind]:
            assert over(mask, mesh, points) == 0.0, (seed, points)


@pytest.mark.parametrize("kind", PARTIAL_KINDS)
def test_edges_are_one_pixel_soft(kind: PartialKind) -> None:
    mask = cut(kind, face(), 3)
    assert mask.dtype == np.float32
    assert mask.shape == SHAPE
    assert mask.min() == 0.0
    assert mask.max() == 1.0
    soft = (mask > 0) & (mask < 1)
    hard = (mask >= 0.5).astype(np.uint8)
    edge = cv2.morphologyEx(hard, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert soft.any()
    assert not (soft & ~edge).sum() > 0.02 * soft.sum()


@pytest.mark.parametrize("kind", PARTIAL_KINDS)
def test_bare_paper_shows_only_along_the_cut(kind: PartialKind) -> None:
    widths = []
    for seed in range(8):
        coverage, rim = partial_piece(kind, face(), SHAPE, np.random.default_rng(seed))
        assert (rim <= coverage + 1e-6).all()
        deep = cv2.erode((coverage >= 1).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert not rim[deep].any()  # at most 3.5 % of 70 pixels
        widths.append(float(rim.sum() / coverage.sum()))
    assert max(widths) > 2 * min(widths)


def test_halves_meet_in_the_middle_and_make_up_the_face() -> None:
    mesh = face()
    left, right, both = (cut(k, mesh, 5) for k in ("left_half", "right_half", "eye_holes"))
    assert left.sum() + right.sum() == pytest.approx(both.sum(), rel=0.2)
    assert left.sum() == pytest.approx(right.sum(), rel=0.5)


def test_the_piece_goes_with_the_face() -> None:
    """The same cut before a face elsewhere, twice as large, and turned in the picture."""
    small = cut("glasses", face(unit=40.0, at=(100.0, 100.0)), 4)
    large = partial_mask(
        "glasses", face(unit=80.0, at=(200.5, 200.5)), (600, 560), np.random.default_rng(4)
    )
    halved = cv2.resize(large, (280, 300), interpolation=cv2.INTER_AREA)
    assert np.minimum(halved, small).sum() / np.maximum(halved, small).sum() > 0.85
    upright, turned = face(), face(roll=90.0)
    first, second = (cut("right_half", m, 4) for m in (upright, turned))
    assert over(second, turned, RIGHT_CHEEK) == over(first, upright, RIGHT_CHEEK) == 1.0
    assert second.sum() == pytest.approx(first.sum(), rel=0.1)


def test_the_same_seed_cuts_alike_and_another_one_otherwise() -> None:
    first, again, other = (cut("eyes_strip", face(), seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).sum() > 100


def test_only_the_part_in_the_picture_is_drawn() -> None:
    whole = cut("mouth_hole", face(), 6)
    beside = cut("mouth_hole", face(at=(0.0, 120.0)), 6)
    assert 0.3 * whole.sum() < beside.sum() < 0.7 * whole.sum()
    assert not cut("mouth_hole", face(at=(900.0, 120.0)), 6).any()


def test_what_cannot_be_cut_is_told() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"kind: expected one of eyes_strip, .* found 'nose'"):
        partial_mask("nose", face(), SHAPE, rng)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"mesh: expected .* found shape \(478, 3\)"):
        partial_mask("glasses", np.zeros((478, 3)), SHAPE, rng)
    with pytest.raises(ValueError, match="NaN"):
        partial_mask("glasses", face() * np.nan, SHAPE, rng)
