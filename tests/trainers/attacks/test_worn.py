from dataclasses import replace

import numpy as np
import pytest

from padflow.nodes.canonical import LEFT_EYE, LIPS
from padflow.nodes.pose import rotation_of
from padflow.trainers.attacks.light import LUMINANCE, to_linear
from padflow.trainers.attacks.parameters import Array, generator
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.attacks.printing import draw_printer
from padflow.trainers.attacks.worn import (
    MASK_KINDS,
    WornMaskParams,
    draw_worn_mask,
    put_on_mask,
    put_on_paper,
    rigid_motion,
    with_mask,
    with_paper,
)

CHEEKS = (50, 280, 101, 330, 205, 425)


def at(image: Array, mesh: Array, points: tuple[int, ...]) -> Array:
    x, y = np.round(mesh[list(points), :2]).astype(int).T
    return np.asarray(image[y, x])


def shifted(picture: PersonPicture, right: int, down: int) -> PersonPicture:
    """The person elsewhere in the same picture."""
    return replace(
        picture,
        image=np.roll(picture.image, (down, right), axis=(0, 1)),
        mesh=picture.mesh + np.array([right, down, 0], np.float32),
    )


def beyond(picture: PersonPicture, share: float) -> Array:
    """bool (h, w): further from the face's middle than a share of its size."""
    rows, columns = np.mgrid[: picture.image.shape[0], : picture.image.shape[1]]
    x, y = picture.mesh[:, :2].mean(axis=0)
    return np.asarray(np.hypot(columns - x, rows - y) > share * picture.face_px)


def test_a_mask_covers_the_face_and_nothing_else(people: list[PersonPicture]) -> None:
    wearer, face = people
    for seed in range(6):
        rng = generator(seed)
        worn = with_mask(wearer, face, draw_worn_mask(rng), rng)
        change = np.abs(worn.image.astype(int) - wearer.image).max(axis=2)
        assert change[beyond(wearer, 1.0)].max() <= 1
        assert np.median(at(change, wearer.mesh, CHEEKS)) > 6
        assert worn.person == wearer.person


def test_eye_holes_show_the_wearers_eyes(people: list[PersonPicture]) -> None:
    wearer, face = people
    for hole, shows in ((1.9, True), (0.0, False)):
        params = WornMaskParams(eye_hole=hole, grow=1.0, tint=(0.6, 0.9, 1.2))
        worn = with_mask(wearer, face, params, generator(1))
        middle = wearer.mesh[list(LEFT_EYE), :2].mean(axis=0).round().astype(int)
        there = (slice(middle[1] - 1, middle[1] + 2), slice(middle[0] - 2, middle[0] + 3))
        change = np.abs(worn.image[there].astype(int) - wearer.image[there]).mean()
        assert bool(change < 12) is shows


def test_a_masked_head_still_has_a_face(finder: FaceFinder, people: list[PersonPicture]) -> None:
    found = 0
    for seed in range(10):
        rng = generator(50 + seed)
        worn = with_mask(people[seed % 2], people[1 - seed % 2], draw_worn_mask(rng), rng)
        mesh = finder.mesh(worn.image)
        if mesh is not None:
            found += 1
            away = np.linalg.norm((mesh - worn.mesh)[:, :2], axis=1).mean()
            assert away < 0.12 * worn.face_px
    assert found >= 8


def test_a_mask_goes_along_with_the_head(people: list[PersonPicture]) -> None:
    wearer, face = people
    params = WornMaskParams(grain=0.15)
    mask = put_on_mask(wearer, face, params, generator(2))
    here, there = mask.on(wearer), mask.on(shifted(wearer, 9, -6))
    back = shifted(replace(there, mesh=there.mesh), -9, 6)
    assert np.abs(back.mesh - here.mesh).max() < 0.01
    inner = ~beyond(wearer, 0.7)
    assert np.abs(back.image.astype(int) - here.image)[inner].mean() < 0.6


def test_a_mask_keeps_its_shape_when_the_mouth_opens(people: list[PersonPicture]) -> None:
    wearer, face = people
    mask = put_on_mask(wearer, face, WornMaskParams(), generator(2))
    opened = wearer.mesh.copy()
    lips = [point for point in LIPS if opened[point, 1] > opened[list(LIPS), 1].mean()]
    opened[lips, 1] += 0.08 * wearer.face_px
    worn = mask.on(replace(wearer, mesh=opened)).mesh
    before = mask.on(wearer).mesh
    turn, shift = rigid_motion(before, worn)
    assert np.abs(before @ turn.T + shift - worn).max() < 1e-3
    assert np.abs(worn - before).max() < 0.03 * wearer.face_px


def test_a_mask_does_not_blush(people: list[PersonPicture]) -> None:
    wearer, face = people
    mask = put_on_mask(wearer, face, WornMaskParams(grow=1.1, eye_hole=0.0), generator(3))
    flushed = np.clip(wearer.image * np.array([1.0, 0.9, 1.0]), 0, 255).astype(np.uint8)
    pale, red = mask.on(wearer), mask.on(replace(wearer, image=flushed))
    assert (
        np.abs(at(pale.image, wearer.mesh, CHEEKS) - at(red.image, wearer.mesh, CHEEKS)).max() == 0
    )


def test_masks_are_of_every_material_and_of_little_colour(people: list[PersonPicture]) -> None:
    kinds = {draw_worn_mask(generator(seed)).kind for seed in range(60)}
    assert kinds == set(MASK_KINDS)
    wearer, face = people
    bare = with_mask(wearer, face, WornMaskParams(paint=0.0, saturation=0.5), generator(1))
    linear = to_linear(bare.image)
    cheeks = at(linear, wearer.mesh, CHEEKS)
    spread = (cheeks.max(axis=1) - cheeks.min(axis=1)) / (cheeks @ LUMINANCE)
    own = at(to_linear(wearer.image), wearer.mesh, CHEEKS)
    own_spread = (own.max(axis=1) - own.min(axis=1)) / (own @ LUMINANCE)
    assert np.median(spread) < 0.3 * np.median(own_spread)


def test_paper_covers_its_piece_alone_and_stays_on_it(people: list[PersonPicture]) -> None:
    wearer, face = people
    kinds = set()
    for seed in range(12):
        rng = generator(seed)
        worn, kind = with_paper(wearer, face, draw_printer(rng), rng)
        kinds.add(kind)
        change = np.abs(worn.image.astype(int) - wearer.image).max(axis=2)
        assert change[beyond(wearer, 1.1)].max() <= 1
        assert (change > 10).sum() > 0.01 * wearer.face_px**2
    assert len(kinds) >= 5
    paper = put_on_paper(wearer, face, draw_printer(generator(1)), generator(8))
    here, there = paper.on(wearer), paper.on(shifted(wearer, -7, 5))
    back = shifted(there, 7, -5)
    inner = ~beyond(wearer, 0.7)
    assert np.abs(back.image.astype(int) - here.image)[inner].mean() < 1.0


def test_the_same_seed_dresses_the_same(people: list[PersonPicture]) -> None:
    wearer, face = people
    masks = [with_mask(wearer, face, WornMaskParams(), generator(4)).image for _ in range(2)]
    assert np.array_equal(masks[0], masks[1])
    papers = [with_paper(wearer, face, draw_printer(generator(0)), generator(4)) for _ in range(2)]
    assert np.array_equal(papers[0][0].image, papers[1][0].image)


def test_a_rigid_motion_is_found_again() -> None:
    points = np.random.default_rng(0).normal(0, 40, (60, 3))
    turn = 1.2 * rotation_of(20.0, -10.0, 15.0)
    found, shift = rigid_motion(points, points @ turn.T + (5.0, -3.0, 8.0))
    assert found == pytest.approx(turn, abs=1e-9)
    assert shift == pytest.approx([5.0, -3.0, 8.0], abs=1e-9)
