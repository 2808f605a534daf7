"""Head pose: the rotation that carries the canonical face onto a mesh.

Weighted orthographic Procrustes analysis (Kabsch 1976, with the scale of Umeyama 1991). The mesh
is three-dimensional already, so one 3x3 singular value decomposition gives the pose. The network
thinks in weak perspective: a face near the picture's border is seen from the side and reads as
turned by the angle under which the camera sees it.
"""

from math import asin, atan2, degrees
from typing import NamedTuple

import cv2
import numpy as np

from .canonical import LIPS, canonical_face

_MOVING = 0.1
"""Weight of the points that move with the expression or slide along the outline, others 1."""


class Pose(NamedTuple):
    """Where a head looks. Signs as in :class:`Quality`."""

    yaw: float
    """Degrees, positive turns to the picture's right."""
    pitch: float
    """Degrees, positive looks down."""
    roll: float
    """Degrees, positive turns clockwise in the picture; about the face's own axis."""
    scale: float
    """Interocular distance in pixels as it would be from the front: does not shrink with yaw."""
    rotation: np.ndarray
    """float64 (3, 3): axes of the canonical face to axes of the picture, without the scale.
    Equals Ry(yaw) Rx(pitch) Rz(roll): first rolled, then tipped, then turned."""


class PoseSolver:
    """Holds what the canonical face contributes, so that a pose costs some 20 microseconds."""

    def __init__(self) -> None:
        face = canonical_face()
        weights = _weights(face.points)
        centre = weights @ face.points / weights.sum()
        points = face.points - centre
        self._weights = (weights / weights.sum()).astype(np.float32)
        self._weighted = np.ascontiguousarray((points * self._weights[:, None]).T, np.float32)
        self._spread = float((points**2 * self._weights[:, None]).sum())

    def solve(self, mesh: np.ndarray) -> Pose:
        """Pose of a mesh.

        Args:
            mesh: float32 (468, 3), x right, y down, z away from the camera, one scale for all.
        """
        # The canonical points are centred, so the mesh's own centre drops out of the product.
        # OpenCV's decomposition takes a third of the time of NumPy's for a matrix this small.
        values, left, right = cv2.SVDecomp((self._weighted @ mesh).astype(np.float64))
        rotation = (left @ right).T
        if _determinant(rotation) < 0:
            left[:, 2] *= -1
            values[2] *= -1
            rotation = (left @ right).T
        return Pose(*_angles(rotation), float(values.sum()) / self._spread, rotation)


def rotation_of(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """float64 (3, 3) rotation of a head pose in degrees: Ry(yaw) Rx(pitch) Rz(roll)."""
    (cy, cp, cr), (sy, sp, sr) = (f(np.radians((yaw, pitch, roll))) for f in (np.cos, np.sin))
    # The face looks along -z: turning to the picture's right takes -z towards +x.
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    tip = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    rolled = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    product: np.ndarray = turn @ tip @ rolled
    return product


def _determinant(matrix: np.ndarray) -> float:
    """Of a 3x3 matrix; several times faster than the library's for any size."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def _angles(rotation: np.ndarray) -> tuple[float, float, float]:
    looks_x, looks_y, looks_z = (-rotation[:, 2]).tolist()
    yaw = atan2(looks_x, -looks_z)
    pitch = asin(min(1.0, max(-1.0, looks_y)))
    roll = atan2(*_rolled(rotation))
    return degrees(yaw), degrees(pitch), degrees(roll)


def _rolled(rotation: np.ndarray) -> tuple[float, float]:
    """Sine and cosine of the roll, times the cosine of the pitch: the second row is its image."""
    return float(rotation[1, 0]), float(rotation[1, 1])


def _weights(points: np.ndarray) -> np.ndarray:
    weights = np.ones(len(points))
    weights[list(LIPS)] = _MOVING
    below_the_nose = points[:, 1] > 0.75
    weights[below_the_nose] = _MOVING
    sides = np.abs(points[:, 0]) > 0.9
    weights[sides] = _MOVING
    return weights
