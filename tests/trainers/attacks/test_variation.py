from dataclasses import replace

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.light import LUMINANCE, to_linear
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.attacks.variation import (
    IdentityParams,
    draw_identity,
    refined,
    relight,
    varied,
)

CHEEKS = (50, 280, 101, 330, 205, 425)


def light_at(picture: PersonPicture, points: tuple[int, ...] = CHEEKS) -> float:
    x, y = np.round(picture.mesh[list(points), :2]).astype(int).T
    return float(np.median(to_linear(picture.image)[y, x] @ LUMINANCE))


def off_the_mesh(finder: FaceFinder, picture: PersonPicture) -> float:
    """Mean distance of the mesh from the one that is found in the picture, in faces."""
    found = finder.mesh(picture.image)
    assert found is not None
    return float(np.linalg.norm((found - picture.mesh)[:, :2], axis=1).mean()) / picture.face_px


def far_from(picture: PersonPicture) -> Array:
    """bool (h, w): beyond the person."""
    return picture.coverage < 0.01


def test_the_same_draw_gives_the_same_person(people: list[PersonPicture]) -> None:
    first, second = (draw_identity(np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert np.array_equal(
        varied(people[0], first, people[1]).image, varied(people[0], second, people[1]).image
    )
    assert draw_identity(np.random.default_rng(6)) != first


def test_without_strength_only_mirroring_is_left(people: list[PersonPicture]) -> None:
    for seed in range(4):
        params = replace(draw_identity(np.random.default_rng(seed), 0.0), mirror=False)
        made = varied(people[0], params)
        assert np.abs(made.image.astype(int) - people[0].image).max() <= 1
        assert np.array_equal(made.mesh, people[0].mesh)


def test_skin_takes_every_tone_and_the_room_none(people: list[PersonPicture]) -> None:
    for person in people:
        tones = [varied(person, IdentityParams(tone=tone)) for tone in (0.0, 0.5, 1.0)]
        levels = [light_at(made) for made in tones]
        assert levels == sorted(levels)
        assert levels[2] > 2.5 * levels[0]
        room = far_from(person)
        change = np.abs(tones[0].image.astype(int) - person.image)[room]
        assert change.mean() < 1.0


@pytest.mark.parametrize(
    "params",
    [
        IdentityParams(seed=1, warp=0.03),
        IdentityParams(seed=2, stretch=0.92),
        IdentityParams(seed=3, stretch=1.1),
        IdentityParams(mirror=True),
    ],
)
def test_the_mesh_goes_with_the_picture(
    finder: FaceFinder, people: list[PersonPicture], params: IdentityParams
) -> None:
    for person in people:
        made = varied(person, params)
        assert off_the_mesh(finder, made) < 0.03
        still = person.mesh[:, :2] - made.mesh[:, :2]
        assert np.linalg.norm(still, axis=1).max() > 0.01 * person.face_px


def test_features_of_another_come_onto_the_face_alone(people: list[PersonPicture]) -> None:
    first, second = people
    made = varied(first, IdentityParams(blend=0.9), second)
    assert made.persons == {first.person, second.person}
    assert varied(first, IdentityParams(), second).persons == {first.person}
    change = np.abs(made.image.astype(int) - first.image).max(axis=2)
    x, y = np.round(first.mesh[list(CHEEKS), :2]).astype(int).T
    assert change[y, x].max() > 8
    left, top = first.mesh[:, :2].min(axis=0) - 0.1 * first.face_px
    assert change[: int(top), : int(left)].max() <= 1
    assert np.array_equal(made.mesh, first.mesh)


@pytest.mark.parametrize(
    "params", [IdentityParams(beard=1.0), IdentityParams(make_up=0.9), IdentityParams(glasses=True)]
)
def test_what_is_put_on_is_seen_and_leaves_a_face(
    finder: FaceFinder, people: list[PersonPicture], params: IdentityParams
) -> None:
    made = varied(people[0], params)
    assert (np.abs(made.image.astype(int) - people[0].image).max(axis=2) > 12).mean() > 0.001
    assert off_the_mesh(finder, made) < 0.05


def test_a_lamp_lights_the_side_that_turns_to_it(people: list[PersonPicture]) -> None:
    person = people[0]
    linear = to_linear(person.image)
    right, left = (50, 101, 205), (280, 330, 425)

    def ratio(direction: float) -> float:
        lamp = np.array([direction, 0.0, -0.4])
        lit = relight(linear, person.mesh, person.coverage, lamp / np.linalg.norm(lamp), 1.0)
        levels = []
        for side in (right, left):
            x, y = np.round(person.mesh[list(side), :2]).astype(int).T
            levels.append(float((lit[y, x] @ LUMINANCE).mean()))
        return levels[1] / levels[0]

    assert ratio(1.0) > 1.2 * ratio(-1.0)


def test_edges_of_a_soft_picture_become_as_fine_as_asked(people: list[PersonPicture]) -> None:
    picture = people[0]
    linear = to_linear(cv2.GaussianBlur(picture.image, (0, 0), 2.0))

    finer = refined(linear, picture, 0.8)

    left, top = np.maximum(picture.mesh[:, :2].min(axis=0), 0).astype(int)
    right, bottom = picture.mesh[:, :2].max(axis=0).astype(int)
    face = (slice(top, bottom), slice(left, right))
    steps = [np.abs(np.diff(values[face], axis=1)) for values in (linear, finer)]
    assert np.percentile(steps[1], 99) > 1.5 * np.percentile(steps[0], 99)
    assert np.percentile(steps[1], 50) < 1.5 * np.percentile(steps[0], 50), "skin is no rougher"
    assert abs(finer[face].mean() - linear[face].mean()) < 0.1 * linear[face].mean()


def test_a_fine_picture_stays_as_it_is(people: list[PersonPicture]) -> None:
    finest = max(people, key=lambda picture: picture.face_px)
    linear = to_linear(finest.image)

    assert np.allclose(refined(linear, finest, 0.3), linear, atol=1e-5)
