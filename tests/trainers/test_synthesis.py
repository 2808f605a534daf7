from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with padflow[train]")

from padflow.nodes.crops import context_crop, face_crop, face_patches
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.attacks.shots import ShotMaker, Species
from padflow.trainers.crops import CropWriter, open_crops
from padflow.trainers.probe import probe_accuracy, trace_features, trace_names
from padflow.trainers.synthesis import (
    SHARES,
    SHOTS_PER_SEED,
    SynthesisParams,
    by_group,
    crops_of,
    depth_of,
    drawn_species,
    identity_pool,
    row_of,
    shots,
    synthesise,
)

PROCESSING = ("border", "resampling", "blocks")
"""Groups of traces that no medium leaves: gamut and saturation are left out, as they are physics.
"""


@pytest.fixture(scope="module")
def maker(finder: FaceFinder, people: list[PersonPicture]) -> ShotMaker:
    return ShotMaker(identity_pool(people, people, 24, 0), finder)


def test_crops_are_those_of_the_nodes(maker: ShotMaker) -> None:
    shot = next(s for seed in range(20) if (s := maker.take("print", seed)) is not None)
    crops = crops_of(shot)
    assert np.array_equal(crops.face, face_crop(shot.image, shot.mesh))
    assert np.array_equal(crops.context, context_crop(shot.image, shot.mesh))
    assert np.array_equal(crops.patches, face_patches(shot.image, shot.mesh))


@pytest.mark.parametrize("species", list(SHARES))
def test_only_what_has_relief_has_depth(maker: ShotMaker, species: Species) -> None:
    shot = next(s for seed in range(20) if (s := maker.take(species, seed)) is not None)
    depth = depth_of(shot)
    assert depth.shape == (32, 32)
    if species in ("live", "mask"):
        assert depth.max() == 255
        assert 0.2 < (depth > 0).mean() < 0.8
        assert depth[0, 0] == 0
    else:
        assert not depth.any()


def test_rows_say_what_they_show(maker: ShotMaker) -> None:
    for species in ("live", "mask"):
        shot = maker.take(species, 5)
        assert shot is not None
        row = row_of(shot)
        assert row.label == ("live" if species == "live" else "attack")
        assert (row.species, row.person, row.camera) == (species, shot.person, shot.camera)
        assert row.face_px == pytest.approx(shot.face_px, abs=0.01)


def test_species_come_by_their_shares(maker: ShotMaker) -> None:
    count = Counter(islice(drawn_species(3), 4000))
    assert {name: number / 4000 for name, number in count.items()} == pytest.approx(
        SHARES, abs=0.03
    )
    others = Counter(islice(drawn_species(3, {"partial": 3, "live": 1}), 400))
    assert others["partial"] / 400 == pytest.approx(0.75, abs=0.08)
    assert set(others) == {"partial", "live"}
    made = list(shots(maker, SynthesisParams(rows=10, seed=3)))
    assert len(made) == 10
    tried = {
        3 * SHOTS_PER_SEED + i: one for i, one in zip(range(60), drawn_species(3), strict=False)
    }
    assert all(tried[shot.seed] == shot.species for shot in made)


def test_a_pool_shows_its_people_evenly(people: list[PersonPicture]) -> None:
    twice = [people[0], people[0], people[1]]
    pool = identity_pool(twice, people, 12, 4)
    assert Counter(picture.person for picture in pool) == {
        people[0].person: 6,
        people[1].person: 6,
    }
    again = identity_pool(twice, people, 12, 4)
    assert all(
        np.array_equal(a.image, b.image) and a.source == b.source
        for a, b in zip(pool, again, strict=True)
    )
    assert len({picture.image.tobytes() for picture in pool}) > 10


def test_groups_do_not_mix(finder: FaceFinder, people: list[PersonPicture], tmp_path: Path) -> None:
    first, second = (picture.person for picture in people)
    groups = by_group(people, {first: "A"})
    assert {name: [p.person for p in some] for name, some in groups.items()} == {
        "A": [first],
        "": [second],
    }
    params = SynthesisParams(rows=6, seed=1, identities=4)
    with CropWriter(tmp_path / "store") as writer:
        synthesise(writer, groups["A"], finder, params)
    store = open_crops(tmp_path / "store")
    assert len(store) == 6
    assert set(store.column("person")) == {first}
    assert all(first in row.clip for row in store.rows)
    alone = identity_pool(groups["A"], groups["A"], 6, 2)
    assert {picture.person for picture in alone} == {first}


@pytest.mark.slow
def test_processing_does_not_tell_live_from_attack(maker: ShotMaker) -> None:
    """The failure to fear most: a network that finds how samples were made.

    Live and attack of one seed share the stage and stand on the same side of the division. On
    2200 rows the accuracies were 0.58 (face), 0.57 (context) and 0.55 (patch).
    """
    attacks: tuple[Species, ...] = ("print", "screen", "print", "mask", "screen", "partial")
    kinds = ("face", "context", "patches")
    features: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    labels, seeds = [], []
    for seed in range(9000, 9150):
        pair = [maker.take(species, seed) for species in ("live", attacks[seed % 6])]
        for shot in pair if None not in pair else []:
            assert shot is not None
            crops = crops_of(shot)
            for kind in kinds:
                crop = crops.patches[0] if kind == "patches" else getattr(crops, kind)
                features[kind].append(trace_features(crop))
            labels.append(int(shot.species != "live"))
            seeds.append(seed)
    used = [i for i, name in enumerate(trace_names()) if name.partition("/")[0] in PROCESSING]
    told = {
        kind: np.mean(
            [
                probe_accuracy(np.array(values)[:, used], np.array(labels), np.array(seeds), split)
                for split in range(5)
            ]
        )
        for kind, values in features.items()
    }
    assert len(labels) > 240
    assert max(told.values()) <= 0.6 + 0.03, told  # one standard error of so few crops
