"""Features of crops: what a third-party network sees in them, computed once and kept.

Arrays of a crop store that are not written but derived from its crops. They lie beside the part's
own files, named after the edition of the network that made them, and are made anew where they are
missing.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..engines.engine import load_engine
from ..engines.natural_features import FEATURES, SIDE
from ..engines.store import stored_network
from ..engines.whole_file import whole_file
from ..graph.machine import processors
from ..nodes.crops import MOSAIC_SCALES, VIEW_SCALES, face_views, patch_mosaic

log = logging.getLogger(__name__)

MODEL = "natural_features"

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sight:
    """Pictures of a face that the third-party network sees, derived from a store's crops."""

    pictures: str
    """Name of the store's derived array, uint8 (V, 160, 160, 3) a row."""
    crops: tuple[str, ...]
    """Names of the store's arrays that they are made from,"""
    cut: Callable[..., Pixels]
    """and how: takes those of a row, in order, and gives its pictures."""
    scales: tuple[float, ...]
    """Side of each of the V pictures over the face's box; 0: in the frame's own pixels."""
    meaning: str
    """What they show, for a manifest."""

    @property
    def features(self) -> str:
        """Name of the array of what the network sees, float32 (V * 9728,) a row."""
        return f"{self.pictures}_features"

    @property
    def length(self) -> int:
        """How many features a row has."""
        return len(self.scales) * FEATURES

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row's pictures."""
        return (len(self.scales), SIDE, SIDE, 3)


def _views_alone(face: Pixels, context: Pixels) -> Pixels:
    views: Pixels = face_views(face, context)[:3]
    return views


VIEWS = Sight(
    pictures="views",
    crops=("face", "context"),
    cut=_views_alone,
    scales=VIEW_SCALES[:3],
    meaning="face, face with shoulders, face with what is around it, RGB, eyes level",
)
VIEWS_PARTS = Sight(
    pictures="views_parts",
    crops=("face", "context"),
    cut=face_views,
    scales=VIEW_SCALES,
    meaning="face, face with shoulders, face with what is around it, and side by side its eyes, "
    "nose and mouth, RGB, eyes level",
)
MOSAIC = Sight(
    pictures="mosaic",
    crops=("patches",),
    cut=patch_mosaic,
    scales=MOSAIC_SCALES,
    meaning="middles of four patches of a face in the frame's own pixels, RGB",
)
SIGHTS: Mapping[str, Sight] = {sight.features: sight for sight in (VIEWS, VIEWS_PARTS, MOSAIC)}
"""By the name of their features."""


def part_features(part: Path, rows: int, sight: Sight, pictures: Callable[[int], Pixels]) -> Floats:
    """The features of a store's part, read where they lie or made and laid there.

    Args:
        part: The part's folder; where it cannot be written, the array is only in memory.
        rows: How many rows it has.
        sight: Which pictures.
        pictures: Gives those of a row, uint8 (V, 160, 160, 3).

    Returns:
        float32 (rows, V * 9728).

    Raises:
        ModelMissing: the third-party network has not been pulled.
    """
    path = part / f"{sight.features}-{stored_network(MODEL).sha256[:12]}.npy"
    kept = _read(path, (rows, sight.length))
    if kept is not None:
        return kept
    made = _computed((rows, sight.length), pictures)
    try:
        _keep(made, path)
    except OSError as error:
        log.warning("%s: cannot be kept: %s; it is computed anew each time", path, error)
    return made


def _keep(made: Floats, path: Path) -> None:
    with whole_file(path) as part, part.open("wb") as file:
        np.save(file, made)


def _read(path: Path, shape: tuple[int, int]) -> Floats | None:
    try:
        found: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.float32 and found.shape == shape else None


def _computed(shape: tuple[int, int], pictures: Callable[[int], Pixels]) -> Floats:
    made = np.empty(shape, np.float32)
    with load_engine(MODEL, threads=processors(), precision="f32") as engine:
        for row in range(len(made)):
            made[row] = engine.infer({"image": pictures(row)})["features"].reshape(-1)
    return made
