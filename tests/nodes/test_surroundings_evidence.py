"""What stays behind a face that moves, and what goes along with it."""

from collections.abc import Iterable, Sequence
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.payloads import FaceSurroundings
from padflow.nodes.surroundings_evidence import (
    FEWEST_FRAMES,
    Differences,
    SurroundingsMeasurement,
    SurroundingsModel,
    compare,
    measure_motion,
    measured,
    reference_of,
)

from .scenes import BOARD, FACE, HEAD, SHEET, Scene, near, texture

MODEL = SurroundingsModel()
SWAY = tuple((6 * np.sin(0.7 * i), 3 * np.sin(0.4 * i)) for i in range(6))
PLAIN = np.full_like(texture(0), 128.0)


def over(first: FaceSurroundings, later: Iterable[FaceSurroundings]) -> SurroundingsMeasurement:
    """What pictures after the first show."""
    reference, sums = reference_of(first), Differences()
    for picture in later:
        motion = measure_motion(reference, picture, sums.scene)
        assert motion is not None
        compare(reference, picture, motion, sums)
    result = measured(sums)
    assert result is not None
    return result


def found(
    scene: Scene, ways: Sequence[tuple[float, float]] = SWAY, brighter: float = 0.0
) -> SurroundingsMeasurement:
    """Of a face that moves so, the first picture being the reference."""
    later = (scene.shows(way, seed=i, brighter=brighter) for i, way in enumerate(ways[1:], 1))
    return over(scene.shows(ways[0]), later)


def test_a_head_moves_before_a_room_that_stays() -> None:
    result = found(Scene(HEAD))
    assert result.going == 0
    assert result.staying > 100
    assert result.staying > 10 * result.unclear
    assert result.camera_known
    assert 0.5 < MODEL.ratio(result) < -log(1 - MODEL.attacks_that_carry)


def test_what_is_on_a_sheet_goes_along_and_the_room_beyond_stays() -> None:
    result = found(Scene(SHEET))
    assert result.going > 50
    assert result.staying > 0
    assert MODEL.ratio(result) < -1.8


def test_the_bare_edge_of_a_sheet_is_enough() -> None:
    """Neither corners nor texture: a grey sheet before a bare wall."""
    rim = near(1.9, 1.5, 1.4) & ~near(1.7, 1.3, 1.2)
    front = np.where(rim, 40.0, np.where(near(0.75, 1.0, 0.8), texture(2), 200.0))
    result = found(Scene(SHEET, room=PLAIN, front=front.astype(np.float32)))
    assert result.going >= 10
    assert result.staying <= 2


@pytest.mark.parametrize("across", [-60.0, 50.0, 110.0])
def test_somebody_who_walks_in_covers_the_wall_and_is_no_sheet(across: float) -> None:
    """Where the head is now the wall is gone, and where the head was is a wall like it."""
    wall = texture(1, contrast=3.0)
    ways = ((0.0, 0.0), *((across + 2.0 * i, 1.0 * i) for i in range(5)))
    result = found(Scene(near(0.9, 1.1, 3.0), room=wall), ways)
    assert result.going == 0


def test_hair_and_shoulders_are_not_looked_at() -> None:
    hair = near(1.1, 1.1, 0.6) | near(2.2, -0.2, 3.0)  # seen from above
    result = found(Scene(hair))
    assert result.going == 0
    assert result.staying > 50


def test_a_bare_wall_tells_nothing() -> None:
    result = found(Scene(HEAD, room=PLAIN))
    assert result.going + result.staying == 0
    assert result.compared > 100


def test_a_still_face_tells_nothing() -> None:
    result = found(Scene(HEAD), ways=((0.0, 0.0),) * 6)
    assert result.compared == 0
    assert result.moved < 0.01


def test_a_lamp_that_is_switched_on_moves_nothing() -> None:
    result = found(Scene(HEAD), brighter=40.0)
    assert result.going == 0
    assert result.staying > 100


@settings(max_examples=12, deadline=None)
@given(
    ways=st.lists(
        st.tuples(st.floats(-25, 25), st.floats(-15, 15)).filter(lambda w: np.hypot(*w) > 4),
        min_size=FEWEST_FRAMES,
        max_size=6,
    ),
    sheet=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whichever_way_the_face_moves(
    ways: list[tuple[float, float]], sheet: bool, seed: int
) -> None:
    scene = Scene(BOARD if sheet else HEAD, room=texture(seed), front=texture(seed + 100))
    ratio = MODEL.ratio(found(scene, ((0.0, 0.0), *ways)))
    assert ratio < -1.5 if sheet else ratio > 0.4


@pytest.mark.parametrize("sheet", [False, True])
def test_a_face_that_comes_nearer(sheet: bool) -> None:
    scene = Scene(SHEET if sheet else HEAD)
    nearer = [scene.shows(scale=scale, seed=i) for i, scale in enumerate((1.04, 1.08, 1.12, 1.16))]
    motion = measure_motion(reference_of(scene.shows()), nearer[-1])
    assert motion is not None
    assert motion.face[0, 0] == pytest.approx(1.16, abs=0.01)
    assert (MODEL.ratio(over(scene.shows(), nearer)) < -2.0) is sheet


PAN = tuple((14.0 * i, 3.0 * i) for i in range(1, 7))


def shaken(scene: Scene, shakes: Sequence[tuple[float, float]]) -> SurroundingsMeasurement:
    """A camera that moves before a face that keeps still in the room."""
    return over(scene.shows(), (scene.shows(shaken=s, seed=i) for i, s in enumerate(shakes)))


@pytest.mark.parametrize("shakes", [SWAY, PAN])
def test_a_camera_that_shakes_or_pans_is_no_sheet(shakes: Sequence[tuple[float, float]]) -> None:
    result = shaken(Scene(HEAD), shakes)
    assert result.camera_known
    assert result.going == 0
    assert result.moved < 0.02


def test_a_camera_that_rolls_is_no_sheet() -> None:
    scene = Scene(HEAD)
    rolled = (scene.shows(rolled=d, seed=i) for i, d in enumerate((0.7, 1.4, 2.1, 2.8)))
    result = over(scene.shows(), rolled)
    assert result.camera_known
    assert result.going == 0


def test_where_the_rest_of_the_scene_is_bare_a_shaking_camera_is_told_as_such() -> None:
    """Texture close by only, so that nobody knows whether camera or sheet moved."""
    room = np.where(near(2.0, 1.9, 3.0), texture(1), 128.0).astype(np.float32)
    result = shaken(Scene(HEAD, room=room), SWAY)
    assert not result.camera_known
    assert result.going > 0
    assert result.whole_picture_moves


def test_a_scene_that_is_covered_is_not_taken_for_a_camera_that_stands_still() -> None:
    scene = Scene(HEAD)
    covered = Scene(HEAD, room=texture(55))
    assert measure_motion(reference_of(scene.shows()), covered.shows(SWAY[1])) is None


def test_another_face_in_its_place_is_not_followed() -> None:
    reference = reference_of(Scene(HEAD).shows())
    assert measure_motion(reference, Scene(HEAD, front=texture(77)).shows(SWAY[1])) is None


def test_a_face_without_texture_is_not_followed() -> None:
    scene = Scene(HEAD, front=PLAIN, noise=0.0)
    assert measure_motion(reference_of(scene.shows()), scene.shows(SWAY[1])) is None


def test_too_few_pictures_are_no_measurement() -> None:
    sums = Differences(measured=FEWEST_FRAMES - 1)
    assert measured(sums) is None
    sums.measured += 1
    assert measured(sums) is not None


def counts(going: int, staying: int) -> SurroundingsMeasurement:
    return SurroundingsMeasurement(going, staying, 0, going + staying, 0.1, 8, True)


@given(going=st.integers(0, 500), staying=st.integers(0, 500))
def test_the_ratio_lies_between_its_shares_and_falls_with_what_goes_along(
    going: int, staying: int
) -> None:
    ratio = MODEL.ratio(counts(going, staying))
    low = log(MODEL.living_that_carry / MODEL.attacks_that_carry)
    high = log((1 - MODEL.living_that_carry) / (1 - MODEL.attacks_that_carry))
    assert low - 1e-9 <= ratio <= high + 1e-9
    assert MODEL.ratio(counts(going + 8, staying)) <= ratio + 1e-9


def test_nothing_seen_is_no_evidence() -> None:
    assert MODEL.ratio(counts(0, 0)) == pytest.approx(0.0, abs=1e-9)


def test_face_widths_are_the_unit() -> None:
    assert found(Scene(HEAD), ((0.0, 0.0), *((FACE / 10, 0.0),) * 4)).moved == pytest.approx(
        0.1, abs=0.01
    )
