"""The canonical face: the shape that head poses and skin maps refer to.

A mirror-symmetric average of 468-point meshes, made by ``python -m padflow.trainers.canonical``.
Axes: x to the picture's right, y down, z away from the camera (the nose tip has the most negative
z). Unit: the interocular distance, between the eyes' centres (each the middle of its two corners).

*Right* and *left* are the person's, as in anatomy: the right eye, cheek and mouth corner lie on
the left of the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

DATA = Path(__file__).with_name("canonical_face.npz")
GRID_SIDE = 32
MESH_POINTS = 468

RIGHT_EYE_OUTER, RIGHT_EYE_INNER = 33, 133
LEFT_EYE_OUTER, LEFT_EYE_INNER = 263, 362
RIGHT_EYE_CORNERS = (RIGHT_EYE_OUTER, RIGHT_EYE_INNER)
LEFT_EYE_CORNERS = (LEFT_EYE_OUTER, LEFT_EYE_INNER)
NOSE_TIP = 1
RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 61, 291
FOREHEAD_TOP, CHIN = 10, 152
RIGHT_SIDE, LEFT_SIDE = 234, 454
"""Points before the ears."""

RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
NOSTRILS = (98, 97, 2, 326, 327, 440, 274, 1, 44, 220)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

FOREHEAD = (109, 104, 105, 66, 107, 9, 336, 296, 334, 333, 338, 10)
RIGHT_CHEEK = (117, 118, 119, 100, 126, 203, 206, 207, 187, 123)
LEFT_CHEEK = (346, 347, 348, 329, 355, 423, 426, 427, 411, 352)

LOOPS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "right_eye": RIGHT_EYE,
        "left_eye": LEFT_EYE,
        "right_brow": RIGHT_BROW,
        "left_brow": LEFT_BROW,
        "lips": LIPS,
        "nostrils": NOSTRILS,
        "oval": OVAL,
        "forehead": FOREHEAD,
        "right_cheek": RIGHT_CHEEK,
        "left_cheek": LEFT_CHEEK,
    }
)
"""Closed outlines as mesh indices, each in order around its part."""

REGIONS = ("forehead", "right_cheek", "left_cheek")

_NOT_SKIN = {"right_eye": 0.9, "left_eye": 0.9, "right_brow": 0.7, "left_brow": 0.7,
             "lips": 0.7, "nostrils": 0.4}  # fmt: skip
"""Parts without usable skin, and how many cells further than their outline they reach: eyelids
blink and fold, and the colour of a cell comes from a neighbourhood of about a cell."""
_RIM = 1.2
"""Cells this near to the oval's border show hair or background as often as skin."""


@dataclass(frozen=True, slots=True)
class CanonicalFace:
    """The average mesh, its triangles, and the grid of 32x32 cells laid over it. Read-only arrays.

    The grid lies over a cylindrical unwrapping of the face, so that a cell is about the same area
    of skin everywhere. Row 0 is the top of the forehead, column 0 the picture's left.
    """

    points: np.ndarray
    """float32 (468, 3), interocular distances."""
    mirror: np.ndarray
    """int64 (468,): the point on the other half of the face; an involution."""
    triangles: np.ndarray
    """int64 (n, 3), all turned alike: normals point out of the face, and but for a few on the very
    flanks at the camera (negative z)."""
    chart: np.ndarray
    """float32 (468, 2): place of each point on the grid in cells, 0 to 32, x then y."""
    normals: np.ndarray
    """float32 (468, 3): unit normals of the points, out of the face."""
    cell_corners: np.ndarray
    """int64 (1024, 3): the triangle that holds the middle of each cell (row by row)."""
    cell_weights: np.ndarray
    """float32 (1024, 3): barycentric coordinates of the cell's middle in that triangle."""
    covered: np.ndarray
    """bool (32, 32): the cell lies on the mesh."""
    skin: np.ndarray
    """bool (32, 32): and not on eyes, brows, lips, nostrils or the rim."""
    regions: Mapping[str, np.ndarray]
    """bool (32, 32) masks of forehead, right_cheek and left_cheek, all within ``skin``."""


@cache
def canonical_face() -> CanonicalFace:
    """The face that ships with the package."""
    return load(DATA)


def load(path: Path) -> CanonicalFace:
    """Read a canonical face from its .npz file (arrays only, nothing is unpickled)."""
    with np.load(path, allow_pickle=False) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    points = stored["points"]
    triangles = stored["triangles"].astype(np.int64)
    chart = stored["chart"]
    covered = stored["covered"]
    skin = covered & _skin_mask(chart)
    regions = {name: cells_within(chart, LOOPS[name], 0.0) & skin for name in REGIONS}
    return CanonicalFace(
        points=_frozen(points),
        mirror=_frozen(stored["mirror"].astype(np.int64)),
        triangles=_frozen(triangles),
        chart=_frozen(chart),
        normals=_frozen(point_normals(points, triangles)),
        cell_corners=_frozen(stored["cell_corners"].astype(np.int64)),
        cell_weights=_frozen(stored["cell_weights"]),
        covered=_frozen(covered),
        skin=_frozen(skin),
        regions=MappingProxyType({name: _frozen(mask) for name, mask in regions.items()}),
    )


def point_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals of a mesh's points.

    Args:
        points: (n, 3).
        triangles: int (m, 3).

    Returns:
        float32 (n, 3).
    """
    first, second, third = (points[triangles[:, i]].astype(np.float64) for i in range(3))
    across = np.cross(second - first, third - first)
    normals = np.zeros((len(points), 3))
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], across)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(lengths, 1e-12), np.float32)


def interpolate(values: np.ndarray, face: CanonicalFace) -> np.ndarray:
    """Values of the mesh's points at the middles of the cells, (468, k) to (1024, k)."""
    return np.asarray(np.einsum("nck,nc->nk", values[face.cell_corners], face.cell_weights))


def _skin_mask(chart: np.ndarray) -> np.ndarray:
    mask = cells_within(chart, OVAL, -_RIM)
    for name, margin in _NOT_SKIN.items():
        mask &= ~cells_within(chart, LOOPS[name], margin)
    return mask


def cells_within(chart: np.ndarray, loop: tuple[int, ...], margin: float) -> np.ndarray:
    """Cells whose middle lies within a loop that is widened by a margin in cells, bool (32, 32).

    Args:
        chart: (468, 2), the mesh on the grid, as of :class:`CanonicalFace`.
        loop: mesh indices around a part, such as :data:`OVAL`.
        margin: in cells; negative narrows the loop.
    """
    outline = np.ascontiguousarray(chart[list(loop)], np.float32)
    middles = np.arange(GRID_SIDE) + 0.5
    return np.array(
        [
            [cv2.pointPolygonTest(outline, (float(x), float(y)), True) >= -margin for x in middles]
            for y in middles
        ]
    )


def _frozen(array: np.ndarray[Any, Any]) -> np.ndarray:
    array.setflags(write=False)
    return array
