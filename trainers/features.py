"""Features of crops: what a third-party network sees in them, computed once and kept.

Arrays of a crop store that are not written but derived from its face and context crops. They lie
beside the part's own files, named after the edition of the network that made them, and are made
anew where they are missing.
"""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..engines.engine import load_engine
from ..engines.natural_features import FEATURES
from ..engines.store import stored_network
from ..graph.machine import processors
from ..nodes.crops import VIEW_SCALES

log = logging.getLogger(__name__)

MODEL = "natural_features"
VIEWS, VIEWS_FEATURES = "views", "views_features"
"""Names of a store's derived arrays: the views of a face, uint8 (3, 160, 160, 3), and what the
network sees in them, float32 (3 * 9728,)."""
VIEWS_LENGTH = len(VIEW_SCALES) * FEATURES

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def part_features(part: Path, rows: int, views: Callable[[int], Pixels]) -> Floats:
    """The features of a store's part, read where they lie or made and laid there.

    Args:
        part: The part's folder; where it cannot be written, the array is only in memory.
        rows: How many rows it has.
        views: Gives the views of a row, uint8 (3, 160, 160, 3).

    Returns:
        float32 (rows, 3 * 9728).

    Raises:
        ModelMissing: the third-party network has not been pulled.
    """
    path = part / f"{VIEWS_FEATURES}-{stored_network(MODEL).sha256[:12]}.npy"
    kept = _read(path, rows)
    if kept is not None:
        return kept
    made = _computed(rows, views)
    try:
        with tempfile.NamedTemporaryFile(dir=part, prefix=".", delete=False) as aside:
            np.save(aside, made)
        os.replace(aside.name, path)
    except OSError as error:
        log.warning("%s: cannot be kept: %s; it is computed anew each time", path, error)
    return made


def _read(path: Path, rows: int) -> Floats | None:
    try:
        found: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = found.dtype == np.float32 and found.shape == (rows, VIEWS_LENGTH)
    return found if fits else None


def _computed(rows: int, views: Callable[[int], Pixels]) -> Floats:
    made = np.empty((rows, VIEWS_LENGTH), np.float32)
    with load_engine(MODEL, threads=processors(), precision="f32") as engine:
        for row in range(rows):
            made[row] = engine.infer({"image": views(row)})["features"].reshape(-1)
    return made
