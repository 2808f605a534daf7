"""What moves in a face by itself: eyes, mouth and brows, read from a mesh, its rigid motion gone.

A mesh is laid back onto the canonical face by its pose, and what a smooth bend of a sheet does to
it is taken out: a quadratic warp, fitted to the points that bones hold (nose, temples, the eyes'
corners), is subtracted everywhere. What is left of lids, lips and brows is theirs.
"""

from enum import IntEnum

import numpy as np

from .canonical import (
    LEFT_BROW,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_MOUTH_CORNER,
    MESH_POINTS,
    RIGHT_BROW,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_MOUTH_CORNER,
    canonical_face,
)
from .payloads import FaceMesh


class Channel(IntEnum):
    """Columns of :meth:`FaceChannels.read`."""

    RIGHT_EYE = 0
    """Opening of the lids over the eye's width."""
    LEFT_EYE = 1
    MOUTH = 2
    """Opening between the lips in interocular distances."""
    SMILE = 3
    """Width of the mouth in interocular distances."""
    BROWS = 4
    """Height of the brows over the eyes' corners in interocular distances."""


_RIGHT_LIDS = ((158, 159, 160), (144, 145, 153))
_LEFT_LIDS = ((385, 386, 387), (373, 374, 380))
"""Upper, lower."""
_INNER_LIPS = ((82, 13, 312), (87, 14, 317))

_BONES = (
    *(6, 168, 197, 195, 5, 4, 1, 45, 275, 48, 278, 122, 351, 193, 417),
    *(RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_OUTER, LEFT_EYE_INNER),
    *(127, 356, 234, 454, 116, 345, 117, 346, 118, 347, 10, 109, 338, 151),
)
"""Points that bones hold, more or less: bridge and tip of the nose, the eyes' corners, cheekbones,
temples and the top of the forehead."""


class FaceChannels:
    """Reads the channels of a mesh. Holds only constants."""

    def __init__(self) -> None:
        face = canonical_face()
        points = face.points.astype(np.float64)
        self._bones = np.array(_BONES)
        terms = _sheet(points[:, :2])
        # What the warp, fitted to the bones, takes from every point: one product a frame.
        self._fit = np.linalg.pinv(terms[self._bones])
        self._points, self._readers = points, _readers()
        used = np.unique(np.flatnonzero(np.abs(self._readers).sum(0)))
        self._used = used
        self._terms = terms[used]
        self._weights = self._readers[:, used]

    def read(self, face: FaceMesh) -> np.ndarray:
        """float64 (5,): the channels of one mesh, by :class:`Channel`."""
        mesh = face.points.astype(np.float64) @ face.rotation  # to the canonical axes
        across = mesh[[RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_OUTER, LEFT_EYE_INNER], :2]
        scale = float(np.linalg.norm((across[0] + across[1] - across[2] - across[3]) / 2))
        plane = mesh[:, :2] / max(scale, 1e-6)
        off = plane[self._bones] - self._points[self._bones, :2]
        straight = plane[self._used] - self._terms @ (self._fit @ off)
        values: np.ndarray = (self._weights * straight.T[_AXES]).sum(1)
        return values


_AXES = np.array([1, 1, 1, 0, 1])
"""Whether a channel is read along x or y."""


def _readers() -> np.ndarray:
    """float64 (5, 468): weights of the points' coordinate in each channel."""
    face = canonical_face()
    readers = np.zeros((len(Channel), MESH_POINTS))
    eye = float(abs(face.points[RIGHT_EYE_OUTER, 0] - face.points[RIGHT_EYE_INNER, 0]))
    for channel, (upper, lower), width in (
        (Channel.RIGHT_EYE, _RIGHT_LIDS, eye),
        (Channel.LEFT_EYE, _LEFT_LIDS, eye),
        (Channel.MOUTH, _INNER_LIPS, 1.0),
    ):
        readers[channel, list(lower)] = 1 / len(lower) / width
        readers[channel, list(upper)] = -1 / len(upper) / width
    readers[Channel.SMILE, [LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]] = 1, -1
    corners = [RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_OUTER, LEFT_EYE_INNER]
    brows = list(RIGHT_BROW + LEFT_BROW)
    readers[Channel.BROWS, corners] = 1 / len(corners)
    readers[Channel.BROWS, brows] = -1 / len(brows)
    return readers


def _sheet(places: np.ndarray) -> np.ndarray:
    x, y = places.T
    return np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
