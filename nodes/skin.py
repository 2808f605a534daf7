"""Registered skin colours: the same cell of the 32x32 map is the same spot of skin in every frame.

The idea is the registration layer of Liu, Jourabloo and Liu, CVPR 2018 (METHODS 8.2), with the
mesh in the place of their dense fit: each cell has fixed barycentric coordinates in a triangle of
the canonical face, so the mesh of a frame says where in the picture that spot of skin is.
"""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from .canonical import GRID_SIDE, REGIONS, canonical_face, interpolate
from .mesh import CROP_SIDE, MeshReading

_CELL_PIXELS = 5
"""Side of the box in crop pixels whose mean is a cell's colour. A cell is 3 to 4 crop pixels wide
on a frontal face; a little more than that keeps the mesh's jitter out of the colours."""
_LEAST_FACING = 0.25
"""Cosine between a cell's normal and the line of sight below which it is not seen."""
_FULL_FACING = 0.5
"""From here on a cell counts fully in its region. In between its weight grows, because cells that
come and go at once would make steps in the region's mean."""
_LEAST_SEEN = 0.4
"""Share of a region's weight that must be seen for it to have a colour."""
_MOST_DEPARTED = 0.34
"""Share of a region's cells that may be covered (by a hand) before it has no colour."""

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_BRIGHTEST, _DARKEST = 250.0, 6.0
"""Beyond these a cell is clipped. Its colour is a mean: at 250 most of its pixels are at 255."""

_STRIP_ROWS = slice(16, 112)
_STRIPS = (slice(0, 16), slice(CROP_SIDE - 16, CROP_SIDE))
"""Upright strips at the crop's borders, beside the head from its top to the nose: above the
shoulders and, in a crop of 1.5 face heights, off the ears."""
_STRIP_CORNERS = np.array(
    [
        (x, y, 1.0)
        for columns in _STRIPS
        for x in (columns.start, columns.stop - 1)
        for y in (_STRIP_ROWS.start, _STRIP_ROWS.stop - 1)
    ],
    np.float32,
).T


class SkinMap(NamedTuple):
    """Colours of the cells in one frame."""

    grid: np.ndarray
    """float32 (32, 32, 3), mean R, G, B, 0 to 255; 0 in cells that the mesh does not cover."""
    valid: np.ndarray
    """bool (32, 32): skin that is turned to the camera and inside the picture."""
    facing: np.ndarray
    """float32 (1024,): 0 where not valid, rising to 1 where the cell is seen well."""
    luma: float
    """Mean luma of the valid cells, 0 to 255."""
    clipped: float
    """Share of the valid cells at an end of the range, 0 to 1."""


class SkinMapper:
    """Samples the map from the crop that was made for the mesh. Holds only constants."""

    def __init__(self) -> None:
        face = canonical_face()
        self._cells = np.flatnonzero(face.covered.ravel())
        corners = face.cell_corners[self._cells]
        self._corners = [np.ascontiguousarray(corners[:, i]) for i in range(3)]
        weights = face.cell_weights[self._cells]
        self._weights = [np.ascontiguousarray(weights[:, i : i + 1]) for i in range(3)]
        normals = interpolate(face.normals, face)[self._cells].astype(np.float64)
        self._normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        self._skin = face.skin.ravel()[self._cells]
        self._regions = {name: np.flatnonzero(face.regions[name].ravel()) for name in REGIONS}

    def places(self, mesh: np.ndarray) -> np.ndarray:
        """float32 (n, 2): where the covered cells are, in the mesh's own pixels."""
        points = np.ascontiguousarray(mesh[:, :2])
        first, second, third = self._corners
        one, two, three = self._weights
        places: np.ndarray = points[first] * one
        places += points[second] * two
        places += points[third] * three
        return places

    def sample(
        self, reading: MeshReading, rotation: np.ndarray, frame_size: tuple[int, int]
    ) -> SkinMap:
        """Colours of all cells in one frame.

        Args:
            reading: mesh and crop of the frame.
            rotation: (3, 3), the head's pose as of :class:`Pose`.
            frame_size: upright width and height of the frame in pixels.
        """
        places = self.places(reading.crop_mesh)
        facing = (self._normals @ -rotation[2] - _LEAST_FACING) / (_FULL_FACING - _LEAST_FACING)
        np.clip(facing, 0.0, 1.0, out=facing)
        facing *= self._skin
        facing *= _inside(places, reading.matrix, frame_size)
        colours = _box_means(reading.crop, places)
        grid = np.zeros((GRID_SIDE * GRID_SIDE, 3), np.float32)
        grid[self._cells] = colours
        all_facing = np.zeros(GRID_SIDE * GRID_SIDE, np.float32)
        all_facing[self._cells] = facing
        side = (GRID_SIDE, GRID_SIDE)
        valid = (all_facing > 0).reshape(side)
        return SkinMap(grid.reshape(*side, 3), valid, all_facing, *_exposure(colours, facing > 0))

    def region_means(self, skin: SkinMap, departed: np.ndarray) -> Mapping[str, np.ndarray]:
        """Mean R, G, B of each region, weighted by how well its cells are seen.

        Args:
            skin: the map of the frame.
            departed: bool (32, 32), cells that do not look like the track's own skin. They make a
                region invalid where they are many, and are not cut out where they are few: a cut
                would make a step in the mean.

        Returns:
            float32 (3,) by region name; NaN where too little of it is seen.
        """
        colours = skin.grid.reshape(-1, 3)
        covered = departed.ravel()
        means = {}
        for name, cells in self._regions.items():
            weights = skin.facing[cells]
            total = float(weights.sum())
            hidden = np.count_nonzero(covered[cells]) > _MOST_DEPARTED * len(cells)
            if hidden or total < _LEAST_SEEN * len(cells):
                means[name] = np.full(3, np.nan, np.float32)
            else:
                means[name] = (weights @ colours[cells]) / np.float32(total)
        return means


def background_mean(reading: MeshReading, frame_size: tuple[int, int]) -> np.ndarray:
    """Mean R, G, B beside the head, float32 (3,); NaN where both sides are out of the picture."""
    width, height = frame_size
    x, y = reading.matrix @ _STRIP_CORNERS
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    means = [
        cv2.mean(reading.crop[_STRIP_ROWS, columns])[:3]
        for columns, corners in zip(_STRIPS, inside.reshape(2, 4), strict=True)
        if corners.all()
    ]
    if not means:
        return np.full(3, np.nan, np.float32)
    mean: np.ndarray = np.array(means, np.float32).sum(0) / np.float32(len(means))
    return mean


def _box_means(crop: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Mean colour, float32 (n, 3), of a box around each place (x, y) of an RGB crop.

    Averaged and interpolated in 32-bit floats: a pulse is a tenth of a level.
    """
    reach = _CELL_PIXELS // 2 + 2
    along = np.ascontiguousarray(places.T)
    (left, top), (right, bottom) = along.min(1).tolist(), along.max(1).tolist()
    x0, y0 = max(0, int(left) - reach), max(0, int(top) - reach)
    part = crop[y0 : int(bottom) + reach + 1, x0 : int(right) + reach + 1]
    if part.size == 0:
        return np.zeros((len(places), 3), np.float32)
    smooth = cv2.boxFilter(part, cv2.CV_32F, (_CELL_PIXELS, _CELL_PIXELS))
    sampled = cv2.remap(
        smooth,
        along[0] - np.float32(x0),
        along[1] - np.float32(y0),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(sampled, np.float32).reshape(-1, 3)


def _exposure(colours: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Mean luma of the seen cells and the share of them that is clipped."""
    count = int(np.count_nonzero(seen))
    if not count:
        return 0.0, 0.0
    red, green, blue = np.ascontiguousarray(colours.T)
    luma = float((seen.astype(np.float32) @ colours) @ _LUMA) / count
    brightest = np.maximum(np.maximum(red, green), blue)
    clipped = ((brightest >= _BRIGHTEST) | (brightest <= _DARKEST)) & seen
    return luma, int(np.count_nonzero(clipped)) / count


def _inside(places: np.ndarray, matrix: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Bool (n,): crop places that lie inside the frame, and inside the crop."""
    width, height = frame_size
    across, down = np.ascontiguousarray(places.T)
    (a, b, shift_x), (c, d, shift_y) = matrix.tolist()
    x = across * a + down * b
    y = across * c + down * d
    inside: np.ndarray = (x >= -shift_x) & (x <= width - 1 - shift_x)
    inside &= (y >= -shift_y) & (y <= height - 1 - shift_y)
    for place in (across, down):
        inside &= (place >= 0) & (place <= CROP_SIDE - 1)
    return inside
