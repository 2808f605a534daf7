"""Tiny crop stores: live crops are rough and have relief, attacks are smooth and flat."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from padflow.trainers.crops import SHAPES, CropRow, Crops, CropStore, Species, write_crops

ATTACKS: tuple[Species, ...] = ("print", "screen", "mask")


def write_store(
    folder: Path, rows: int = 48, persons: int = 6, maker: str = "", family: str = ""
) -> CropStore:
    """Half live; each attack species has two media; the last patch of each row is absent.

    The names of the media begin with their maker's, those of the persons with their family's.
    """
    return write_crops(folder, _items(rows, persons, maker, family), rows_per_part=20)


def _items(rows: int, persons: int, maker: str, family: str) -> Iterator[tuple[CropRow, Crops]]:
    rng = np.random.default_rng(5)
    for i in range(rows):
        live = i % 2 == 0
        species: Species = "live" if live else ATTACKS[i // 2 % 3]
        person = f"{family}p{i // 2 // 6 % persons}"
        medium = "" if live else f"{maker}{species}-{i // 2 // 3 % 2}"
        row = CropRow(
            id=str(i),
            label="live" if live else "attack",
            species=species,
            instrument="" if live else f"{species}:{medium}",
            person=person,
            medium=medium,
            camera="door",
            source="toy",
            seed=i,
            face_px=100.0,
            clip=f"{person}-{species}-{medium}",
            shows=(),
        )
        yield row, _crops(rng, 40.0 if live else 5.0, species in ("live", "mask"))


def _crops(rng: np.random.Generator, roughness: float, relief: bool) -> Crops:
    def picture(name: str) -> np.ndarray:
        noise = rng.normal(0, roughness, SHAPES[name]) + rng.uniform(90, 160)
        return np.clip(noise, 1, 255).astype(np.uint8)

    patches = picture("patches")
    patches[3] = 0
    depth = np.zeros(SHAPES["depth"], np.uint8)
    if relief:
        depth[6:26, 8:20] = 200
    return Crops(picture("face"), picture("context"), patches, depth)
