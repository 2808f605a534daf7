from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from padflow.nodes.mesh import square_of_mesh
from padflow.trainers.attacks.displays import DisplayParams, draw_display
from padflow.trainers.attacks.handheld import Pose
from padflow.trainers.attacks.held import (
    HeldPrint,
    HeldScreen,
    draw_shown,
    hold_print,
    hold_screen,
    present_print,
    present_screen,
)
from padflow.trainers.attacks.holding import GripParams, View, draw_grip
from padflow.trainers.attacks.light import to_srgb
from padflow.trainers.attacks.parameters import Array, generator
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.attacks.printing import draw_printer
from padflow.trainers.attacks.sensor import auto_exposure

SHAPE = (300, 360)
VIEW = View(600.0, (180.0, 150.0), SHAPE)
AT, FACE = (190.0, 145.0), 110.0
ROOM = np.full((*SHAPE, 3), 0.3, np.float32)

Take = Callable[[PersonPicture, int], tuple[Array, Array]]


def a_print(person: PersonPicture, seed: int) -> HeldPrint:
    rng = generator(seed)
    shown = draw_shown(rng, person, FACE, screen=False)
    return hold_print(rng, ROOM, shown, draw_printer(rng), VIEW, AT, FACE)


def a_screen(person: PersonPicture, seed: int) -> HeldScreen:
    rng = generator(seed)
    shown = draw_shown(rng, person, FACE, screen=True)
    return hold_screen(rng, ROOM, shown, draw_display(rng), VIEW, AT, FACE)


def picture_of(light: Array) -> Array:
    codes = to_srgb(light * np.float32(auto_exposure(light))) * 255
    return np.asarray(np.rint(codes), np.uint8)


def box(mesh: Array) -> tuple[Array, float]:
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    return (low + high) / 2, float((high - low).max())


@pytest.mark.parametrize("hold", [a_print, a_screen])
def test_the_face_lands_at_its_place_and_size(
    people: list[PersonPicture], hold: Callable[[PersonPicture, int], HeldPrint | HeldScreen]
) -> None:
    sizes = []
    for seed in range(12):
        _, mesh = hold(people[seed % 2], seed).seen(ROOM)
        centre, size = box(mesh)
        assert np.abs(centre - AT).max() < 0.12 * FACE
        sizes.append(size / FACE)
    # A small display that shows a small face would have to touch the camera.
    assert np.quantile(sizes, 0.2) > 0.85
    assert max(sizes) < 1.2
    assert np.median(sizes) == pytest.approx(0.98, abs=0.05)


@pytest.mark.parametrize("hold", [a_print, a_screen])
def test_the_mesh_lies_on_the_face_that_is_seen(
    finder: FaceFinder,
    people: list[PersonPicture],
    hold: Callable[[PersonPicture, int], HeldPrint | HeldScreen],
) -> None:
    off = []
    for seed in range(10):
        light, mesh = hold(people[seed % 2], seed).seen(ROOM)
        found = finder.mesh(picture_of(light), square_of_mesh(mesh))
        if found is not None:
            off.append(float(np.linalg.norm((found - mesh)[:, :2], axis=1).mean()) / FACE)
    assert len(off) >= 8
    assert np.median(off) < 0.04


def test_the_same_seed_presents_the_same(people: list[PersonPicture]) -> None:
    rng = [generator(3) for _ in range(2)]
    shown = [draw_shown(one, people[0], FACE, screen=False) for one in rng]
    printer = draw_printer(generator(1))
    made = [
        present_print(one, ROOM, what, printer, VIEW, AT, FACE)
        for one, what in zip(rng, shown, strict=True)
    ]
    assert np.array_equal(made[0][0], made[1][0])
    display = draw_display(generator(1))
    made = [
        present_screen(one, ROOM, what, display, VIEW, AT, FACE)
        for one, what in zip(rng, shown, strict=True)
    ]
    assert np.array_equal(made[0][0], made[1][0])


@pytest.mark.parametrize("hold", [a_print, a_screen])
def test_a_medium_moves_as_one_and_draws_nothing_anew(
    people: list[PersonPicture], hold: Callable[[PersonPicture, int], HeldPrint | HeldScreen]
) -> None:
    held = hold(people[0], 4)
    still, mesh = held.seen(ROOM)
    assert np.array_equal(still, held.seen(ROOM)[0])
    (x, y, z), angles = held.sheet.pose
    step = 12 * z / VIEW.focal  # twelve pixels
    moved, there = held.seen(ROOM, Pose((x + step, y, z), angles))
    assert (there - mesh)[:, 0].mean() == pytest.approx(12, abs=0.6)
    inner = (slice(100, 190), slice(150, 230))
    shifted = np.roll(moved, -12, axis=1)
    change = np.abs(np.log((shifted[inner] + 0.02) / (still[inner] + 0.02)))
    assert np.median(change) < 0.08


def test_a_screen_plays_what_it_is_given(people: list[PersonPicture]) -> None:
    held = a_screen(people[0], 2)
    rng = generator(2)
    shown = draw_shown(rng, people[0], FACE, screen=True)
    dark = replace(shown, picture=np.zeros_like(shown.picture))
    bright, _ = held.seen(ROOM)
    off, mesh = held.seen(ROOM, shown=dark)
    x, y = (int(value) for value in box(mesh)[0])
    face = (slice(y - 30, y + 30), slice(x - 30, x + 30))
    assert off[face].mean() < 0.4 * bright[face].mean()
    assert np.median(np.abs(off - bright)[:8, :8]) < 1e-6, "the room stays"


def test_only_what_flickers_changes_with_time(people: list[PersonPicture]) -> None:
    rng = generator(5)
    shown = draw_shown(rng, people[0], FACE, screen=True)
    steady = DisplayParams(pwm=0.0, refresh_depth=0.0)
    flicker = DisplayParams(pwm=241.0, pwm_depth=1.0, pwm_duty=0.4)
    changes = []
    for display in (steady, flicker):
        held = hold_screen(generator(6), ROOM, shown, display, VIEW, AT, FACE)
        held = replace(held, params=replace(held.params, exposure=1 / 250))
        changes.append(np.abs(held.seen(ROOM, time=0.0)[0] - held.seen(ROOM, time=0.0013)[0]).max())
    assert changes[0] < 1e-6
    assert changes[1] > 0.02


def test_hands_hold_the_edge_and_leave_the_face(people: list[PersonPicture]) -> None:
    for seed in range(20):
        held = a_print(people[0], seed)
        if held.params.grip.hands:
            break
    with_hands, mesh = held.seen(ROOM)
    bare = replace(held, params=replace(held.params, grip=GripParams(held.params.grip.shadow)))
    change = np.abs(with_hands - bare.seen(ROOM)[0]).max(axis=2)
    assert (change > 0.02).mean() > 0.005
    x, y = (int(value) for value in box(mesh)[0])
    assert change[y - 25 : y + 25, x - 20 : x + 20].max() < 1e-3


def test_grips_differ(people: list[PersonPicture]) -> None:
    grips = [draw_grip(generator(seed), 0.5) for seed in range(60)]
    assert {len(grip.hands) for grip in grips} == {0, 1, 2}
    assert {grip.shadow is None for grip in grips} == {True, False}
    assert {hand.edge for grip in grips for hand in grip.hands} == {
        "left", "right", "below", "above",
    }  # fmt: skip
