"""Tiny sequence stores: in live sequences a spot moves, in attacks nothing does."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from padflow.trainers.crops import Species
from padflow.trainers.motion.recipe import MOTION, MotionRecipe
from padflow.trainers.motion.store import (
    SequenceArrays,
    SequenceRow,
    StoredSequence,
    open_sequences,
    write_sequence,
)

FRAMES = 9
PERSONS = ("ann", "bob", "cid", "dee")
KINDS: tuple[Species, ...] = ("live", "print", "live", "screen")


def write_toys(folder: Path, persons: tuple[str, ...] = PERSONS) -> list[StoredSequence]:
    """Two live sequences, a print and a screen of each person."""
    for who, person in enumerate(persons):
        for place, species in enumerate(KINDS):
            write_toy(folder, f"{person}-{place}", person, species, seed=10 * who + place)
    return open_sequences([folder])


def write_toy(
    folder: Path, name: str, person: str, species: Species, *, seed: int = 0, **changes: Any
) -> StoredSequence:
    """One sequence of nine crops at about twelve a second."""
    rng = np.random.default_rng(seed)
    live = species == "live"
    faces = [_picture(np.random.default_rng(seed), k if live else 0) for k in range(FRAMES)]
    depth = np.zeros((FRAMES, 32, 32), np.uint8)
    if live:
        depth[:, 6:26, 8:20] = 200
    row = SequenceRow(
        **{
            "id": name,
            "label": "live" if live else "attack",
            "species": species,
            "instrument": "" if live else f"{species}:toy",
            "person": person,
            "medium": "" if live else f"{species}-{seed}",
            "camera": "door",
            "source": "toy",
            "frames": FRAMES,
            **changes,
        }
    )
    times = np.cumsum(rng.uniform(0.07, 0.09, FRAMES))
    return write_sequence(folder, row, SequenceArrays(np.stack(faces), depth, times))


def _picture(rng: np.random.Generator, moved: int) -> np.ndarray:
    image = rng.normal(rng.uniform(90, 150), 12, (256, 256, 3))
    at = (80 + 12 * moved, 100 + 40 * (moved % 2))
    spot = cv2.circle(np.zeros((256, 256), np.uint8), at, 36, 1, -1)
    image[spot > 0] += 70
    return np.clip(image, 0, 255).astype(np.uint8)


def toy_recipe(**changes: Any) -> MotionRecipe:
    """Small and quick; holds out the first person."""
    least: dict[str, Any] = {
        "name": "motion_depth",
        "task": "Tells toys apart.",
        "network": {"reduced": 3, "width": 6, "hidden": 6, "embedding": 4, "dropout": 0.05},
        "sampling": {"steps": 5, "longest": 0.12, "still": 0.1, "variants": 1},
        "augmentation": {"erase": 0.0},
        "hold_out": ("ann",),
        "batch": 6,
        "epochs": 2,
        "steps_per_epoch": 6,
        "average": 0.5,
        "learning_rate": 1e-2,
    }
    return MOTION.parse(least | changes)
