from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from padflow.nodes.mesh import square_of_mesh
from padflow.trainers.attacks.clips import CLIP_SPECIES, Clip, ClipMaker, ClipSpecies
from padflow.trainers.attacks.handheld import RaiseParams
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.attacks.sources import Footage
from padflow.trainers.attacks.worn import rigid_motion

FPS, FRAMES = 25, 5


@pytest.fixture(scope="module")
def footage(portraits: list[PersonPicture]) -> Footage:
    """Five frames of a head that moves three pixels a frame."""
    person = replace(portraits[0], whole=False)
    nothing = np.zeros(person.image.shape[:2], np.float32)
    frames = tuple(
        replace(
            person,
            image=np.roll(person.image, 3 * index, axis=1),
            mesh=person.mesh + np.array([3 * index, 0, 0], np.float32),
            coverage=nothing,
        )
        for index in range(FRAMES)
    )
    return Footage(person.person, "walks.mp4", 0.0, frames, False)


@pytest.fixture(scope="module")
def clips(footage: Footage, finder: FaceFinder) -> dict[ClipSpecies, Clip]:
    maker = ClipMaker(footage, finder, FPS, 3)
    return {species: maker.make(species, f"{species}.mp4") for species in CLIP_SPECIES}


def test_all_species_share_the_stage_and_the_camera(clips: dict[ClipSpecies, Clip]) -> None:
    shared = [
        (clip.params.stage, clip.params.sensor, clip.params.codec, clip.params.frames)
        for clip in clips.values()
    ]
    assert all(one == shared[0] for one in shared)
    for clip in clips.values():
        pictures = list(clip.pictures())
        assert len(pictures) == FRAMES
        width, height = clip.params.stage.size
        assert {picture.shape for picture in pictures} == {(height, width, 3)}
        assert width % 2 == height % 2 == 0


def test_every_species_shows_a_face_where_its_mesh_is(
    clips: dict[ClipSpecies, Clip], finder: FaceFinder
) -> None:
    for species, clip in clips.items():
        assert clip.params.face_found, species
        last = list(clip.pictures())[-1]
        _, mesh = clip._look(FRAMES - 1)
        found = finder.mesh(last, square_of_mesh(mesh))
        assert found is not None, species
        size = float(np.ptp(mesh[:, :2], axis=0).max())
        assert np.linalg.norm((found - mesh)[:, :2], axis=1).mean() < 0.1 * size


def test_the_same_seed_films_the_same(
    clips: dict[ClipSpecies, Clip], footage: Footage, finder: FaceFinder
) -> None:
    again = ClipMaker(footage, finder, FPS, 3)
    for species in ("print", "mask"):
        first, second = clips[species], again.make(species, f"{species}.mp4")
        assert first.params == second.params
        pairs = zip(first.pictures(), second.pictures(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    other = ClipMaker(footage, finder, FPS, 4).make("live", "live.mp4")
    assert other.params.sensor != clips["live"].params.sensor


def moves(clip: Clip) -> list[Array]:
    return [clip._look(index)[1] for index in range(FRAMES)]


def test_the_living_and_masks_move_with_the_head(clips: dict[ClipSpecies, Clip]) -> None:
    for species in ("live", "mask", "partial"):
        scale = clips[species].params.stage.scale
        middles = [mesh[:, 0].mean() for mesh in moves(clips[species])]
        assert np.diff(middles) == pytest.approx(np.full(FRAMES - 1, 3 * scale), abs=0.2)


def test_masks_are_rigid_and_hands_are_not_still(clips: dict[ClipSpecies, Clip]) -> None:
    for before, after in pairwise(moves(clips["mask"])):
        turn, shift = rigid_motion(before, after)
        assert np.abs(before @ turn.T + shift - after).max() < 0.02
    for species in ("print", "screen"):
        paths = [mesh[:, :2].mean(axis=0) for mesh in moves(clips[species])]
        steps = np.linalg.norm(np.diff(paths, axis=0), axis=1)
        assert 0 < steps.max() < 0.2 * clips[species].params.stage.face_px


def test_a_sheet_stays_a_sheet_while_it_moves(clips: dict[ClipSpecies, Clip]) -> None:
    """A print's points move by a homography, up to its bend; it shows one picture only."""
    import cv2

    first, *_, last = moves(clips["print"])
    matrix, _ = cv2.findHomography(first[:, :2], last[:, :2])
    moved = cv2.perspectiveTransform(first[None, :, :2].astype(np.float64), matrix)[0]
    assert np.abs(moved - last[:, :2]).max() < 1.0


def test_a_medium_is_raised_before_the_living_face(
    footage: Footage, finder: FaceFinder, clips: dict[ClipSpecies, Clip]
) -> None:
    raised = RaiseParams(after=2 / FPS, seconds=2 / FPS)
    maker = ClipMaker(footage, finder, FPS, 3, raised=raised)
    live = list(clips["live"].pictures())
    species: tuple[ClipSpecies, ...] = ("print", "screen")
    for kind in species:
        clip = maker.make(kind, "swap.mp4")
        assert clip.params.raised == raised
        pictures = list(clip.pictures())
        away = [np.abs(p.astype(int) - q).mean() for p, q in zip(pictures, live, strict=True)]
        assert max(away[:2]) < 2  # the living person, but for the sensor's noise
        assert away[-1] > 2 * max(away[:2])
        held = clip._look(FRAMES - 1)[1][:, 1].mean()
        assert clip._look(2)[1][:, 1].mean() > held  # on its way up


def test_each_species_tells_its_own_parameters(clips: dict[ClipSpecies, Clip]) -> None:
    told = {
        "live": (),
        "print": ("printer", "print_hold", "hold", "framing", "file"),
        "screen": ("display", "screen_hold", "hold", "framing", "file"),
        "mask": ("mask", "mask_fit", "identity"),
        "partial": ("printer", "paper", "identity"),
    }
    every = set().union(*told.values())
    for species, clip in clips.items():
        there = {name for name in every if getattr(clip.params, name) is not None}
        assert there == set(told[species]), species


def test_a_still_picture_sways(
    footage: Footage, finder: FaceFinder, people: list[PersonPicture]
) -> None:
    still = replace(footage, frames=footage.frames[:1] * FRAMES, still=True)
    maker = ClipMaker(still, finder, FPS, 5, people)
    clip = maker.make("live", "live.mp4")
    assert clip.params.body is not None
    middles = np.array([mesh[:, :2].mean(axis=0) for mesh in moves(clip)])
    assert 0 < np.ptp(middles, axis=0).max() < 0.2 * clip.params.stage.face_px
    mask = maker.make("mask", "mask.mp4")
    assert mask.params.face == people[1].person, "another's face, where there is one"
    assert mask.params.identity is None
