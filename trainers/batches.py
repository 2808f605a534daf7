"""Batches of augmented crops, drawn evenly over classes and species, one ahead of the network."""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .augmentation import augment
from .crops import SHAPES, CropStore, Pixels, Values
from .features import SIGHTS
from .holdout import Rows
from .recipe import Recipe

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step learns from."""

    image: Values
    """uint8 (N, side, side, 3), or features, float32 (N, F)."""
    live: Floats
    """float32 (N,), 1 for bona fide."""
    depth: Floats
    """float32 (N, 32, 32), 0..1."""
    depth_weight: Floats
    """float32 (N,), 0 where the depth is not known."""


def patches_present(store: CropStore, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which patches of the rows are there, (N, 4); absent ones are black all over.

    Only the middle line is looked at: it is enough to tell, and a store is large.
    """
    middle = SHAPES["patches"][1] // 2
    found = [store.one("patches", int(i))[:, middle].any(axis=(1, 2)) for i in rows]
    return np.array(found, np.bool_).reshape(len(rows), SHAPES["patches"][0])


def chances(store: CropStore, rows: Rows, groups: Sequence[str]) -> npt.NDArray[np.float64]:
    """Chance of each row (N,) when nested groups are drawn evenly, the first outermost.

    With ``("label", "species")`` a draw is live or attack with one half each, an attack is of each
    species alike, and within a species every row has the same chance.
    """
    return even_chances([store.rows[i] for i in rows], groups)


def even_chances(table: Sequence[object], groups: Sequence[str]) -> npt.NDArray[np.float64]:
    """Chance of each row of a table (N,); see :func:`chances`. Groups are attributes of rows."""
    keys = [tuple(getattr(row, group) for group in groups) for row in table]
    chance = np.ones(len(table))
    for depth in range(len(groups)):
        children: dict[tuple[str, ...], set[str]] = {}
        for key in keys:
            children.setdefault(key[:depth], set()).add(key[depth])
        chance *= [1 / len(children[key[:depth]]) for key in keys]
    sizes: dict[tuple[str, ...], int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    chance /= [sizes[key] for key in keys]
    return np.asarray(chance / chance.sum())


class Batches:
    """The training batches of any epoch; the same seed and epoch give the same ones.

    The augmentation of crop ``k`` of an epoch depends on seed, epoch and ``k`` alone, so that a
    resumed training sees what an uninterrupted one would.
    """

    def __init__(self, store: CropStore, rows: Rows, recipe: Recipe, crop: str) -> None:
        """Batches of the crops called ``crop`` in the rows of a store."""
        barred = set(recipe.leave_out_species)
        rows = np.array([i for i in rows if store.rows[i].species not in barred], np.int64)
        self.present = patches_present(store, rows) if crop == "patches" else None
        if self.present is not None:
            some = self.present.any(axis=1)
            rows, self.present = rows[some], self.present[some]
        self.store, self.rows, self.recipe, self.crop = store, rows, recipe, crop
        self.chances = chances(store, rows, recipe.balance)
        self.steps = recipe.steps_per_epoch or max(1, len(rows) // recipe.batch)

    def epoch(self, number: int, *, rank: int = 0, world: int = 1) -> Generator[Batch, None, None]:
        """The batches of one epoch, each made while the one before is learned from.

        Args:
            number: which epoch.
            rank: number of this worker; each draws its own crops.
            world: number of workers.
        """
        seed = (self.recipe.seed, number, rank, world)
        draws = np.random.default_rng(seed).choice(
            len(self.rows), size=(self.steps, self.recipe.batch), p=self.chances
        )
        with ThreadPoolExecutor(1, "batches") as pool:
            ahead = pool.submit(self._made, draws[0], (*seed, 0))
            for step in range(self.steps):
                batch = ahead.result()
                if step + 1 < self.steps:
                    ahead = pool.submit(self._made, draws[step + 1], (*seed, step + 1))
                yield batch

    def _made(self, places: npt.NDArray[np.int64], seed: tuple[int, ...]) -> Batch:
        samples = [self._sample(int(p), (*seed, k)) for k, p in enumerate(places)]
        images, depths, lives, weights = zip(*samples, strict=True)
        return Batch(
            np.stack(images),
            np.array(lives, np.float32),
            np.stack(depths).astype(np.float32) / np.float32(255),
            np.array(weights, np.float32),
        )

    def _sample(self, place: int, seed: tuple[int, ...]) -> tuple[Values, Pixels, bool, float]:
        rng = np.random.default_rng(seed)
        index = int(self.rows[place])
        row = self.store.rows[index]
        if self.crop in SIGHTS:  # Made from the crops as they are: nothing to augment.
            features = self.store.features(SIGHTS[self.crop], index)
            return features, np.zeros(SHAPES["depth"], np.uint8), row.label == "live", 0.0
        image = self.store.one(self.crop, index)
        if self.present is not None:
            image = image[rng.choice(np.flatnonzero(self.present[place]))]
        target, weight = self._target(index)
        image, depth = augment(
            image, target, self.recipe.augmentation, rng, native=self.crop == "patches"
        )
        assert depth is not None
        return image, depth, row.label == "live", weight

    def _target(self, index: int) -> tuple[Pixels, float]:
        """Depth map to learn and its weight.

        Attacks other than masks are flat. A live row, or a mask whose shape is kept, without any
        depth has none that is known and teaches only the score.
        """
        row = self.store.rows[index]
        keeps = row.label == "live" or (
            row.species == "mask" and self.recipe.losses.mask_depth == "keep"
        )
        if not keeps:
            return np.zeros(SHAPES["depth"], np.uint8), 1.0
        depth = self.store.one("depth", index)
        return depth, float(depth.any())
