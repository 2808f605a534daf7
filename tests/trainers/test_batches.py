from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from padflow.trainers.augmentation import augment
from padflow.trainers.batches import Batches, chances, patches_present
from padflow.trainers.crops import CropStore
from padflow.trainers.recipe import Augmentation, parse_recipe
from tests.trainers.stores import write_store

PLAIN = {field.name: 0 for field in fields(Augmentation)}
LEAST = {"name": "mine", "task": "Tells.", "network": {"name": "context"}, "batch": 8}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return write_store(tmp_path_factory.mktemp("store"))


def some_picture(side: int = 96) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_nothing_is_changed_where_all_is_off() -> None:
    image, depth = some_picture(), np.arange(1024, dtype=np.uint8).reshape(32, 32)
    rng = np.random.default_rng(0)
    found, found_depth = augment(image, depth, Augmentation(**PLAIN), rng, native=False)
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(found_depth, depth)


def test_flip_takes_the_depth_along() -> None:
    image, depth = some_picture(), np.arange(1024, dtype=np.uint8).reshape(32, 32)
    how = Augmentation(**PLAIN | {"flip": 1})
    found, found_depth = augment(image, depth, how, np.random.default_rng(0), native=True)
    np.testing.assert_array_equal(found, image[:, ::-1])
    np.testing.assert_array_equal(found_depth, depth[:, ::-1])


def test_a_shift_takes_the_depth_along() -> None:
    image, depth = np.zeros((256, 256, 3), np.uint8), np.zeros((32, 32), np.uint8)
    image[96:160, 96:160], depth[12:20, 12:20] = 255, 255
    how = Augmentation(**PLAIN | {"shift": 0.3, "scale": 0.3})
    for seed in range(5):
        moved, moved_depth = augment(image, depth, how, np.random.default_rng(seed), native=False)
        assert moved_depth is not None
        at = np.argwhere(moved[..., 0] > 127).mean(0) / 256
        depth_at = np.argwhere(moved_depth > 127).mean(0) / 32
        assert np.abs(at - depth_at).max() < 0.03


def test_patches_keep_their_pixels_in_place() -> None:
    image = some_picture()
    how = Augmentation(**PLAIN | {"shift": 0.3, "scale": 0.5, "downscale": 1})
    found, _ = augment(image, None, how, np.random.default_rng(0), native=True)
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("name", ["brightness", "blur", "jpeg", "noise", "gray", "erase"])
def test_each_change_does_something_and_the_same_twice(name: str) -> None:
    how = Augmentation(**PLAIN | {name: 20.0 if name == "brightness" else 1.0})
    image = some_picture()
    first, second = (
        augment(image, None, how, np.random.default_rng(4), native=True)[0] for _ in range(2)
    )
    assert (first != image).any()
    np.testing.assert_array_equal(first, second)


def test_nested_groups_are_drawn_evenly(store: CropStore) -> None:
    rows = np.array([i for i, r in enumerate(store.rows) if r.label == "live" or i % 4 == 1])
    chance = chances(store, rows, ("label", "species"))
    by: Counter[str] = Counter()
    for i, share in zip(rows, chance, strict=True):
        by[store.rows[i].species] += share
    assert by["live"] == pytest.approx(0.5)
    assert [by[name] for name in ("print", "screen", "mask")] == pytest.approx([1 / 6] * 3)


def test_an_epoch_comes_again_and_epochs_and_workers_differ(store: CropStore) -> None:
    batches = Batches(store, np.arange(48), parse_recipe(LEAST), "face")

    def images(number: int, rank: int = 0) -> np.ndarray:
        return np.stack([b.image for b in batches.epoch(number, rank=rank, world=2)])

    first = images(0)
    assert first.shape == (6, 8, 256, 256, 3)
    np.testing.assert_array_equal(first, images(0))
    assert (first != images(1)).any()
    assert (first != images(0, rank=1)).any()


def test_absent_patches_are_never_drawn(store: CropStore) -> None:
    assert patches_present(store, np.arange(3)).tolist() == [[True, True, True, False]] * 3
    recipe = parse_recipe(LEAST | {"augmentation": PLAIN, "steps_per_epoch": 4})
    for batch in Batches(store, np.arange(48), recipe, "patches").epoch(0):
        assert batch.image.shape == (8, 96, 96, 3)
        assert batch.image.reshape(8, -1).any(axis=1).all()


@pytest.mark.parametrize(("choice", "relief"), [("keep", True), ("zero", False)])
def test_mask_target_follows_the_recipe(store: CropStore, choice: str, relief: bool) -> None:
    masks = np.array([i for i, row in enumerate(store.rows) if row.species == "mask"])
    prints = np.array([i for i, row in enumerate(store.rows) if row.species == "print"])
    recipe = parse_recipe(LEAST | {"losses": {"mask_depth": choice}})
    batch = next(iter(Batches(store, masks, recipe, "face").epoch(0)))
    assert (batch.depth.reshape(8, -1).max(axis=1) > 0.5).all() == relief
    assert (batch.live == 0).all()
    batch = next(iter(Batches(store, prints, recipe, "face").epoch(0)))
    assert not batch.depth.any()
    assert (batch.depth_weight == 1).all()


def test_live_without_depth_teaches_no_depth(store: CropStore, tmp_path: Path) -> None:
    lives = np.flatnonzero(store.live)
    batches = Batches(store, lives, parse_recipe(LEAST), "face")
    assert (next(iter(batches.epoch(0))).depth_weight == 1).all()
    flat = {**store._maps, "depth": tuple(np.zeros_like(m) for m in store._maps["depth"])}
    blank = CropStore(store.folders, store.rows, flat, store._starts)
    batches = Batches(blank, lives, parse_recipe(LEAST), "face")
    assert (next(iter(batches.epoch(0))).depth_weight == 0).all()


def test_species_can_be_left_out(store: CropStore) -> None:
    recipe = parse_recipe(LEAST | {"leave_out_species": ["mask"]})
    rows = Batches(store, np.arange(48), recipe, "face").rows
    assert {store.rows[i].species for i in rows} == {"live", "print", "screen"}
