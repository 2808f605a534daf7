"""Pictures of a portrait that moves as a plane or as a head, with the mesh that lies on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from padflow.nodes.canonical import canonical_face
from padflow.nodes.mesh import CROP_SIDE, MeshNet, square_of_mesh
from padflow.nodes.payloads import FaceMesh, FacePixels, Quality
from padflow.nodes.pose import PoseSolver, rotation_of

GOOD = Quality(
    size=160.0,
    sharpness=0.6,
    exposure=130.0,
    clipped=0.0,
    yaw=0.0,
    pitch=0.0,
    roll=0.0,
    presence=1.0,
    occlusion=0.0,
    motion=0.05,
)
Times = Sequence[float] | np.ndarray
"""Seconds."""
Turn = Callable[[float], tuple[float, float]]
"""Yaw and pitch in degrees at a time in seconds."""


@dataclass(frozen=True)
class Portrait:
    """A picture of a face, uint8 RGB (h, w, 3), and its mesh, float32 (468, 3)."""

    image: np.ndarray
    mesh: np.ndarray

    @classmethod
    def of(cls, net: MeshNet, image: np.ndarray, square: np.ndarray) -> "Portrait":
        """Lay the real mesh on a piece of a picture, whose pixels ``square`` takes to its own."""
        crop = cv2.warpAffine(
            image, square, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        mesh, _ = net.infer(crop)
        return cls(crop, mesh)

    @cached_property
    def interocular(self) -> float:
        """Pixels."""
        return PoseSolver().solve(self.mesh).scale

    @cached_property
    def depth(self) -> np.ndarray:
        """float32 (h, w): depth of the canonical face under every pixel, in pixels; 0 beside it."""
        face = canonical_face()
        depth = np.zeros(self.image.shape[:2], np.float32)
        for triangle in face.triangles:
            corners = np.rint(self.mesh[triangle, :2]).astype(np.int32)
            cv2.fillConvexPoly(depth, corners, float(face.points[triangle, 2].mean()) - 0.3)
        return np.asarray(self.interocular * cv2.GaussianBlur(depth, (0, 0), 2.0), np.float32)

    def turned_head(self, yaw: float, pitch: float) -> np.ndarray:
        """The picture with the parallax of a head that turns."""
        along, down = rotation_of(yaw, pitch, 0.0)[:2, 2]
        y, x = np.mgrid[: self.image.shape[0], : self.image.shape[1]].astype(np.float32)
        depth = self.depth
        return cv2.remap(
            self.image,
            x - np.float32(along) * depth,
            y - np.float32(down) * depth,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def turned_plane(self, yaw: float, pitch: float) -> np.ndarray:
        """The picture as a flat print that is tilted, seen from 12 interocular distances."""
        height, width = self.image.shape[:2]
        middle = self.mesh[:, :2].mean(0)
        far = 12 * self.interocular
        rotation = rotation_of(yaw, pitch, 0.0)
        shift = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1]])
        back = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1]])
        tilt = np.column_stack([rotation[:, 0], rotation[:, 1], (0, 0, far)])
        homography = back @ np.diag((far, far, 1.0)) @ tilt @ shift
        return cv2.warpPerspective(
            self.image, homography, (width, height), borderMode=cv2.BORDER_REPLICATE
        )

    def pixels(
        self,
        image: np.ndarray,
        read: tuple[float, float],
        quality: Quality = GOOD,
        usable: bool = True,
        looked: bool = True,
        seed: int = 0,
    ) -> FacePixels:
        """A frame with that picture, whose pose the mesh reads as ``read`` (yaw, pitch)."""
        matrix = square_of_mesh(self.mesh).matrix()
        noisy = image + np.random.default_rng(seed).normal(0, 1.5, image.shape)
        crop = cv2.warpAffine(
            np.clip(noisy, 0, 255).astype(np.uint8),
            matrix,
            (CROP_SIDE, CROP_SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        face = FaceMesh(self.mesh, rotation_of(*read, 0.0), looked, quality, usable)
        return FacePixels(crop, matrix, face)
