from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from padflow.trainers.attacks.parameters import generator
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.attacks.shots import ShotMaker, Species, draw_stage

SPECIES: tuple[Species, ...] = get_args(Species)


@pytest.fixture(scope="module")
def maker(finder: FaceFinder, people: list[PersonPicture]) -> ShotMaker:
    return ShotMaker(people, finder)


def test_every_species_stands_on_the_same_stage(maker: ShotMaker) -> None:
    for seed in range(4):
        shots = [shot for one in SPECIES if (shot := maker.take(one, seed)) is not None]
        assert len(shots) >= 4
        assert len({shot.image.shape for shot in shots}) == 1
        assert len({shot.camera for shot in shots}) == 1
        assert len({shot.person for shot in shots}) == 1
        assert {shot.seed for shot in shots} == {seed}


def test_live_and_attack_come_in_the_same_sizes(maker: ShotMaker) -> None:
    """What a stage asks for is what comes, whatever shows it: size says nothing."""
    ratios = []
    for seed in range(100, 130):
        live, attack = (maker.take(one, seed) for one in ("live", "screen"))
        if live is not None and attack is not None:
            ratios.append(attack.face_px / live.face_px)
    assert len(ratios) > 20
    assert np.median(ratios) == pytest.approx(0.99, abs=0.04)
    assert np.quantile(ratios, 0.15) > 0.85


def test_the_same_seed_takes_the_same_picture(maker: ShotMaker) -> None:
    for species in SPECIES:
        first, second = (maker.take(species, 11) for _ in range(2))
        assert first is not None
        assert second is not None
        assert np.array_equal(first.image, second.image)
        other = maker.take(species, 12)
        assert other is None or not np.array_equal(first.image, other.image)


def test_the_mesh_is_found_where_the_face_was_put(
    finder: FaceFinder, maker: ShotMaker, people: list[PersonPicture]
) -> None:
    for seed in range(6):
        shot = maker.take("live", seed)
        if shot is None:
            continue
        rng = generator(seed, 1)
        person = people[int(rng.integers(len(people)))]
        native = bool(rng.random() < 0.4) or not person.whole
        stage = draw_stage(rng, person, native)
        assert shot.image.shape[:2] == stage.shape
        middle = (shot.mesh[:, :2].min(axis=0) + shot.mesh[:, :2].max(axis=0)) / 2
        assert np.abs(middle - stage.centre).max() < 0.1 * stage.face_px
        assert shot.face_px == pytest.approx(stage.face_px, rel=0.12)
        left, top, right, bottom = stage.window
        assert 0 <= left < right <= stage.frame[0]
        assert 0 <= top < bottom <= stage.frame[1]


def test_a_shot_says_what_made_it(maker: ShotMaker) -> None:
    for species in SPECIES:
        shot = next(s for seed in range(20) if (s := maker.take(species, seed)) is not None)
        assert shot.species == species
        assert bool(shot.medium) is (species != "live")
        assert shot.instrument.partition(":")[0] == ("" if species == "live" else species)
        assert shot.camera.startswith("camera-")


def test_a_shot_names_everybody_of_whom_it_shows_something(
    finder: FaceFinder, people: list[PersonPicture]
) -> None:
    anna, ben = (replace(one, person=name) for one, name in zip(people, "ab", strict=True))
    lender = replace(ben, person="c", lent=("d",))
    maker = ShotMaker([anna], finder, [lender])
    for species in SPECIES:
        shots = [s for seed in range(12) if (s := maker.take(species, seed)) is not None]
        assert {shot.person for shot in shots} == {"a"}
        shown = {shot.shows for shot in shots}
        if species in ("mask", "partial"):
            assert shown == {("c", "d")}
        elif species == "live":
            assert shown == {()}
        else:
            assert shown == {(), ("c", "d")}, "some sheets and phones are held by somebody"


def test_only_the_given_people_are_shown_and_lend(
    finder: FaceFinder, people: list[PersonPicture]
) -> None:
    alone = ShotMaker([people[1]], finder)
    for species in SPECIES:
        shot = next(s for seed in range(20) if (s := alone.take(species, seed)) is not None)
        assert shot.person == people[1].person
        assert shot.shows == ()
    with pytest.raises(ValueError, match="one picture or more"):
        ShotMaker([], finder)
