import numpy as np
import pytest

from padflow.trainers.attacks.composing import (
    Placing,
    compose,
    fetch,
    native_extent,
    placed_mesh,
)
from padflow.trainers.attacks.light import to_srgb
from padflow.trainers.attacks.people import FaceFinder, PersonPicture

SHAPE = (300, 360)
PLACINGS = (
    Placing((170.0, 140.0), 90.0),
    Placing((200.0, 150.0), 140.0, 12.0),
    Placing((150.0, 160.0), 120.0, -8.0),
)


@pytest.mark.parametrize("placing", PLACINGS)
def test_the_face_lands_where_it_is_placed(
    finder: FaceFinder, people: list[PersonPicture], placing: Placing
) -> None:
    for person in people:
        mesh = placed_mesh(person, placing)
        seen = compose(np.random.default_rng(1), person, placing, SHAPE, native=True)
        assert np.array_equal(seen.mesh, mesh)
        found = finder.mesh(np.rint(to_srgb(seen.light) * 255).astype(np.uint8))
        assert found is not None
        away = np.linalg.norm((found - mesh)[:, :2], axis=1).mean()
        assert away < 0.03 * placing.face_px
    if not placing.roll:
        low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
        assert (low + high) / 2 == pytest.approx(placing.centre, abs=0.01)
        assert (high - low).max() == pytest.approx(placing.face_px, abs=0.01)


def test_another_room_leaves_the_person(people: list[PersonPicture]) -> None:
    person, placing = people[0], PLACINGS[0]
    own = compose(np.random.default_rng(4), person, placing, SHAPE, native=True)
    other = compose(np.random.default_rng(4), person, placing, SHAPE, native=False)
    assert np.array_equal(own.coverage, other.coverage)
    inside, beyond = own.coverage > 0.995, own.coverage < 0.005
    assert np.abs(own.light - other.light)[inside].max() < 0.02
    assert np.abs(own.light - other.light)[beyond].mean() > 0.02


def test_within_the_native_extent_nothing_is_mirrored(people: list[PersonPicture]) -> None:
    person = people[0]
    placing = Placing((180.0, 120.0), 60.0)
    left, top, right, bottom = native_extent(person, placing)
    height, width = person.image.shape[:2]
    scale = placing.face_px / person.face_px
    assert right - left == pytest.approx(width * scale, abs=3)
    assert bottom - top == pytest.approx(height * scale, abs=3)
    light = compose(np.random.default_rng(0), person, placing, SHAPE, native=True).light
    assert 10 < left < right < SHAPE[1] - 10, "the source ends within the frame"
    assert np.allclose(light[50, right + 6], light[50, right - 6], atol=0.15)


def test_the_same_seed_composes_the_same(people: list[PersonPicture]) -> None:
    made = [
        compose(np.random.default_rng(9), people[1], PLACINGS[1], SHAPE, native=False).light
        for _ in range(2)
    ]
    assert np.array_equal(made[0], made[1])
    assert made[0].min() >= 0


def test_fetch_takes_places_and_blurs_what_it_skips() -> None:
    rng = np.random.default_rng(0)
    texture = rng.random((64, 64, 3)).astype(np.float32)
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    assert np.allclose(fetch(texture, x, y), texture)
    coarse_y, coarse_x = np.mgrid[4:60:4, 4:60:4].astype(np.float32)
    coarse = fetch(texture, coarse_x, coarse_y)
    assert coarse.std() < 0.35 * texture.std()
    assert coarse.mean() == pytest.approx(texture.mean(), abs=0.02)
