"""Registered skin colours: the same cell of the 32x32 map is the same spot of skin in every frame.

The idea is the registration layer of Liu, Jourabloo and Liu, CVPR 2018 (METHODS 8.2), with the
mesh in the place of their dense fit: each cell has fixed barycentric coordinates in a triangle of
the canonical face, so the mesh of a frame says where in the picture that spot of skin is.
"""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from .canonical import GRID_SIDE, REGIONS, CanonicalFace, canonical_face, interpolate
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
Extent = tuple[list[float], list[float]]
"""Least and greatest (x, y) of the cells."""


class SkinMap(NamedTuple):
    """Colours of the cells in one frame."""

    grid: np.ndarray
    """float32 (32, 32, 3), mean R, G, B, 0 to 255; 0 in cells that the mesh does not cover."""
    valid: np.ndarray
    """bool (32, 32): skin that is turned to the camera and inside the picture."""
    facing: np.ndarray
    """float32 (1024,): 0 where not valid, rising to 1 where the cell is seen well."""
    mean: np.ndarray
    """float32 (3,): mean R, G, B of the valid cells, weighted by ``facing``; 0 without any."""
    luma: float
    """Mean luma of the valid cells, weighted by ``facing``, 0 to 255."""
    clipped: float
    """Share of the valid cells at an end of the range, 0 to 1."""


class SkinMapper:
    """Samples the map from the crop that was made for the mesh. Holds only constants."""

    def __init__(self) -> None:
        face = canonical_face()
        self._corners = np.ascontiguousarray(face.cell_corners.T)
        self._weights = np.ascontiguousarray(face.cell_weights.T)
        covered = face.covered.astype(np.float32)[..., None]
        self._covered = np.repeat(covered, 3, axis=2)  # several times faster than broadcasting
        self._normals = _facing_rows(face)
        masks = [face.regions[name].ravel() for name in REGIONS]
        self._regions = np.stack(masks).astype(np.float32)
        self._region_cells = self._regions.sum(1)

    def places(self, mesh: np.ndarray) -> np.ndarray:
        """float32 (2, 1024): x and y of all cells' middles, in the mesh's own pixels.

        Cells that the mesh does not cover get some place on the face.
        """
        points = np.ascontiguousarray(mesh[:, :2].T)
        places: np.ndarray = (points.take(self._corners, axis=1) * self._weights).sum(1)
        return places

    def shares(self, mesh: np.ndarray, side: int) -> np.ndarray:
        """float32 (2, 1024): the places in shares of a crop's side, from its left and upper edge.

        Args:
            mesh: (468, 2 or 3) in the crop's pixels, whose middles are whole numbers.
            side: of the crop in pixels.
        """
        shares: np.ndarray = (self.places(mesh) + np.float32(0.5)) / np.float32(side)
        return shares

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
        extent = places.min(1).tolist(), places.max(1).tolist()
        facing = self._normals @ np.array((*rotation[2].tolist(), 1.0), np.float32)
        np.clip(facing, 0.0, 1.0, out=facing)
        if not _all_inside(extent, reading, frame_size):
            facing *= _inside(places, reading.matrix, frame_size)
        grid = _box_means(reading.crop, places, extent).reshape(GRID_SIDE, GRID_SIDE, 3)
        grid *= self._covered
        valid = (facing > 0).reshape(GRID_SIDE, GRID_SIDE)
        return SkinMap(grid, valid, facing, *_exposure(grid.reshape(-1, 3), facing))

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
        totals = self._regions @ skin.facing
        means = (self._regions * skin.facing) @ skin.grid.reshape(-1, 3)
        means /= np.maximum(totals, 1e-6)[:, None]
        hidden = totals < _LEAST_SEEN * self._region_cells
        if departed.any():
            hidden |= self._regions @ departed.ravel() > _MOST_DEPARTED * self._region_cells
        if hidden.any():
            means[hidden] = np.nan
        return dict(zip(REGIONS, means, strict=True))


def _facing_rows(face: CanonicalFace) -> np.ndarray:
    """float32 (1024, 4): times (rotation's third row, 1), how well each cell is seen.

    At or under 0 where it is turned away, 1 and more where it is turned to the camera. Cells that
    are not skin are never seen.
    """
    normals = interpolate(face.normals, face).astype(np.float64)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    rows = np.column_stack([-normals, np.full(len(normals), -_LEAST_FACING)])
    rows /= _FULL_FACING - _LEAST_FACING
    rows[~face.skin.ravel()] = (0.0, 0.0, 0.0, -1.0)
    return rows.astype(np.float32)


def background_mean(reading: MeshReading, frame_size: tuple[int, int]) -> np.ndarray:
    """Mean R, G, B beside the head, float32 (3,); NaN where both sides are out of the picture."""
    means = [
        cv2.mean(reading.crop[_STRIP_ROWS, columns])[:3]
        for columns in _STRIPS
        if _strip_is_inside(columns, reading.matrix, frame_size)
    ]
    if not means:
        return np.full(3, np.nan, np.float32)
    sums = (sum(channel) for channel in zip(*means, strict=True))
    return np.array([total / len(means) for total in sums], np.float32)


def _strip_is_inside(columns: slice, matrix: np.ndarray, frame_size: tuple[int, int]) -> bool:
    xs, ys = (columns.start, columns.stop - 1), (_STRIP_ROWS.start, _STRIP_ROWS.stop - 1)
    for (along, down, offset), length in zip(matrix.tolist(), frame_size, strict=True):
        ends = [along * x + down * y + offset for x in xs for y in ys]
        if min(ends) < 0 or max(ends) > length - 1:
            return False
    return True


def _box_means(crop: np.ndarray, places: np.ndarray, extent: Extent) -> np.ndarray:
    """Mean colour, float32 (n, 3), of a box around each place (2, n) of an RGB crop.

    Averaged and interpolated in 32-bit floats: a pulse is a tenth of a level.
    """
    reach = _CELL_PIXELS // 2 + 2
    (left, top), (right, bottom) = extent
    x0, y0 = max(0, int(left) - reach), max(0, int(top) - reach)
    part = crop[y0 : max(0, int(bottom) + reach + 1), x0 : max(0, int(right) + reach + 1)]
    if part.size == 0:
        return np.zeros((places.shape[1], 3), np.float32)
    smooth = cv2.boxFilter(part, cv2.CV_32F, (_CELL_PIXELS, _CELL_PIXELS))
    # As a square: maps of one column take OpenCV twice as long.
    x, y = (places - np.array(((x0,), (y0,)), np.float32)).reshape(2, GRID_SIDE, GRID_SIDE)
    sampled = cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32).reshape(-1, 3)


def _exposure(colours: np.ndarray, facing: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Mean colour and luma of the cells as they are seen; share of the seen that is clipped."""
    total = float(facing.sum())
    if total <= 0:
        return np.zeros(3, np.float32), 0.0, 0.0
    summed = facing @ colours
    mean, luma = summed / np.float32(total), float(summed @ _LUMA) / total
    if colours.max() < _BRIGHTEST and luma > 4 * _DARKEST:
        return mean, luma, 0.0
    seen = facing > 0
    brightest = colours.max(1)
    clipped = ((brightest >= _BRIGHTEST) | (brightest <= _DARKEST)) & seen
    return mean, luma, int(np.count_nonzero(clipped)) / int(np.count_nonzero(seen))


def _all_inside(extent: Extent, reading: MeshReading, frame_size: tuple[int, int]) -> bool:
    """No cell is outside the frame or the crop: the usual case, known from the boxes alone."""
    (left, top), (right, bottom) = extent
    in_crop = min(left, top) >= 0 and max(right, bottom) <= CROP_SIDE - 1
    x, y, w, h = reading.box
    return (
        in_crop and x >= 0 and y >= 0 and x + w <= frame_size[0] - 1 and y + h <= frame_size[1] - 1
    )


def _inside(places: np.ndarray, matrix: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Bool (n,): crop places (2, n) that lie inside the frame, and inside the crop."""
    width, height = frame_size
    x, y = matrix[:, :2] @ places + matrix[:, 2:]
    inside: np.ndarray = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    inside &= ((places >= 0) & (places <= CROP_SIDE - 1)).all(0)
    return inside
