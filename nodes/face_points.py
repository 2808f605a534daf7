"""Points of a face that are followed by its pixels from a reference picture, not by the mesh.

The mesh says where to look; where a point really went is found by pyramidal Lucas-Kanade (Bouguet,
2001) from one reference picture to each later one, so that errors do not add up, and a point counts
only where the way back ends where it began (Kalal et al., *Forward-Backward Error*, ICPR 2010).
The mesh network's own points would not do: it lays the shape of a face on anything.
"""

from typing import NamedTuple

import cv2
import numpy as np

from .canonical import GRID_SIDE, LOOPS, OVAL, canonical_face, cells_within, interpolate
from .mesh import CROP_SIDE, to_crop
from .payloads import FacePixels
from .point_flow import Following, follow, texture

SIDE = CROP_SIDE // 2
"""Side of the luma pictures in pixels: half of the crop's, which takes noise out of small faces."""
FOLLOWING = Following(window=(11, 11), levels=1, rounds=10, most_return=0.4)
BLOCK = 3
"""Of each block of this many cells in either direction the point with the most texture is taken."""
LEAST_TEXTURE = 2.0
"""Root of the smaller eigenvalue of the structure tensor, in levels per pixel: fainter points tell
noise."""
LEAST_FACING = 0.3
"""Cosine between a point's normal and the line of sight below which it is not taken."""

WINDOW_SEES = 0.25
"""Side in interocular distances of the place whose motion a window tells. The window is 0.42 of
them wide in a face of usual shape; what lies at its rim has less texture in it or tells less."""

_LOWEST = 0.78
"""Below this (canonical y, under the nose) the jaw and the lips move."""
_MARGINS = {"right_eye": 0.5, "left_eye": 0.5, "lips": 0.7}
"""What moves by itself, and how many cells further than its outline it reaches."""
_RIM = 1.5
"""Cells this near to the face's outline slide along it when the head turns."""


class Reference(NamedTuple):
    """The picture that points are followed from. Picklable."""

    luma: np.ndarray
    """uint8 (96, 96)."""
    cells: np.ndarray
    """int64 (n,): which candidates of :class:`FacePoints` were chosen."""
    start: np.ndarray
    """float32 (n, 2): their places in the picture, pixels."""


class FacePoints:
    """Chooses points and follows them. Holds only constants.

    The candidates are cells of the canonical grid, so that the relief under each is known.
    """

    def __init__(self) -> None:
        face = canonical_face()
        allowed = face.covered & cells_within(face.chart, OVAL, -_RIM)
        for name, margin in _MARGINS.items():
            allowed &= ~cells_within(face.chart, LOOPS[name], margin)
        points = interpolate(face.points, face)
        cells = np.flatnonzero(allowed.ravel() & (points[:, 1] < _LOWEST))
        self.surface = points[cells].astype(np.float64)
        """float64 (k, 3): the candidates on the canonical face."""
        self.relief = self.surface.copy()
        """Likewise, their depth averaged over what the tracker's window tells most of."""
        self.relief[:, 2] = averaged_depth(self.relief, WINDOW_SEES)
        normals = interpolate(face.normals, face)[cells]
        self._normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        self._corners, self._weights = face.cell_corners[cells], face.cell_weights[cells]
        rows, columns = np.divmod(cells, GRID_SIDE)
        self._blocks = (rows // BLOCK) * GRID_SIDE + columns // BLOCK
        self.most = len(np.unique(self._blocks))
        """Most points that are chosen."""

    def choose(self, pixels: FacePixels) -> Reference:
        """Points of a picture that can be followed, at most one in each block of cells."""
        luma = picture_luma(pixels.image)
        places = self._places(pixels)
        under = texture(luma, FOLLOWING.window[0])
        columns, rows = np.rint(places).astype(np.int64).T
        inside = np.minimum(rows, columns) >= 0
        inside &= np.maximum(rows, columns) < SIDE
        strength = under[np.clip(rows, 0, SIDE - 1), np.clip(columns, 0, SIDE - 1)]
        facing = -self._normals @ pixels.face.rotation[2]
        good = np.flatnonzero(inside & (strength > LEAST_TEXTURE) & (facing > LEAST_FACING))
        ordered = good[np.argsort(-strength[good], kind="stable")]
        _, first = np.unique(self._blocks[ordered], return_index=True)
        cells = ordered[np.sort(first)]
        return Reference(luma, cells, places[cells])

    def follow(self, reference: Reference, pixels: FacePixels) -> tuple[np.ndarray, np.ndarray]:
        """Where the points are in a later picture.

        Returns:
            float32 (n, 2) in pixels of the frame, and bool (n,) whether the point was found.
        """
        if len(reference.start) == 0:
            return np.zeros((0, 2), np.float32), np.zeros(0, bool)
        luma = picture_luma(pixels.image)
        guess = self._places(pixels, reference.cells)
        end, found = follow(reference.luma, luma, reference.start, guess, FOLLOWING)
        return in_frame(end, pixels.matrix), found

    def _places(self, pixels: FacePixels, cells: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float32 (k, 2): some of the candidates in pixels of the half-size picture."""
        mesh = to_crop(pixels.face.points, pixels.matrix)[:, :2]
        places = np.einsum("nck,nc->nk", mesh[self._corners[cells]], self._weights[cells])
        return np.asarray((places - 0.5) / 2, np.float32)


def averaged_depth(relief: np.ndarray, side: float) -> np.ndarray:
    """Depth (n,) of points (n, 3), each averaged over a square of that side about it."""
    apart = np.abs(relief[:, None, :2] - relief[None, :, :2]).max(2)
    near = apart <= side / 2
    depth: np.ndarray = near @ relief[:, 2] / near.sum(1)
    return depth


def picture_luma(image: np.ndarray) -> np.ndarray:
    """uint8 (96, 96): the luma of a crop of twice the side, averaged down."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def in_frame(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the half-size picture in pixels of the frame, float32."""
    moved: np.ndarray = (2 * points + 0.5) @ matrix[:, :2].T + matrix[:, 2]
    return moved
