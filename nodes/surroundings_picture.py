"""The grey picture of a face and what is around it, that motion is seen in.

All pictures of one window lie on the same grid of frame pixels, as long as the face keeps its size:
the scale goes by steps, and the square's place by whole pixels of the picture. So a wall that
stands still gives the same pixels again, whatever the face does.
"""

from math import log2

import numpy as np

from .frame import Frame
from .payloads import FaceMesh, FaceSurroundings

SIDE = 264
"""Of the picture, in pixels."""
PER_FACE = 60
"""Pixels for the width of a face, about: 50 to 71, as the scale goes by steps."""
SCENE_SIDE = 256
"""Longest side of the picture of the whole scene, in pixels."""
_STEPS = 2
"""Steps of the scale for a factor of two."""


def cut_surroundings(frame: Frame, face: FaceMesh) -> FaceSurroundings:
    """The surroundings of a face in a frame."""
    low, high = face.points[:, :2].min(0), face.points[:, :2].max(0)
    scale = 2 ** (round(_STEPS * log2(max(face.quality.size, 1.0) / PER_FACE)) / _STEPS)
    corner = (low + high) / 2 / scale - (SIDE - 1) / 2
    shift = np.rint(corner).astype(np.float64) * scale + (scale - 1) / 2
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    scene, step = frame.small_luma(SCENE_SIDE)
    size = (frame.width, frame.height)
    return FaceSurroundings(frame.luma_crop(matrix, SIDE), matrix, scene, step, face, size)
