"""Pictures of a face before a room: what stays, what goes along, and what lies between."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import cv2
import numpy as np

from padflow.nodes.crops import picture_frame
from padflow.nodes.payloads import FaceMesh, FaceSurroundings
from padflow.nodes.surroundings_picture import cut_surroundings

from .moving_faces import GOOD

WIDTH, HEIGHT = 640, 480
FACE = 60.0
"""Width of the face in pixels."""
MIDDLE = np.array([320.0, 230.0])
_ANGLES = np.linspace(0, 2 * np.pi, 468)
MESH = np.column_stack(
    (FACE / 2 * np.cos(_ANGLES), 0.65 * FACE * np.sin(_ANGLES), np.zeros(468))
).astype(np.float32)


def texture(seed: int, contrast: float = 30.0) -> np.ndarray:
    """float32 (480, 640): blobs of some pixels about a middle grey."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray(128 + contrast * smooth / smooth.std(), np.float32)


def near(across: float, up: float, down: float) -> np.ndarray:
    """bool (480, 640): so many face widths to each side of the face's middle, up and down."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (columns - MIDDLE[0]) / FACE, (rows - MIDDLE[1]) / FACE
    return np.asarray((np.abs(x) < across) & (y > -up) & (y < down))


HEAD = near(0.75, 1.0, 0.8)
SHEET = near(1.9, 1.5, 1.4)
BOARD = near(2.8, 2.4, 2.4)
"""Reaches further than the picture that is cut, wherever the face moves."""


@dataclass(frozen=True)
class Scene:
    """A face with what it carries along, before a room."""

    carried: np.ndarray
    """bool (480, 640): what goes along with the face."""
    room: np.ndarray = field(default_factory=lambda: texture(1))
    front: np.ndarray = field(default_factory=lambda: texture(2))
    """What goes along, face and all."""
    noise: float = 2.0

    def shows(
        self,
        moved: tuple[float, float] = (0.0, 0.0),
        shaken: tuple[float, float] = (0.0, 0.0),
        scale: float = 1.0,
        rolled: float = 0.0,
        brighter: float = 0.0,
        seed: int = 0,
        quality: Mapping[str, float] = MappingProxyType({}),
    ) -> FaceSurroundings:
        """What is seen when the face has moved and the camera was shaken, in pixels, or rolled
        about the picture's middle, in degrees."""
        way = np.array(moved) + shaken
        front = np.array([[scale, 0, way[0]], [0, scale, way[1]]])
        front[:, 2] += MIDDLE * (1 - scale)
        size = (WIDTH, HEIGHT)
        room = cv2.warpAffine(
            self.room, np.array([[1.0, 0, shaken[0]], [0, 1.0, shaken[1]]]), size, borderMode=2
        )
        there = cv2.warpAffine(self.carried.astype(np.float32), front, size)
        face = cv2.warpAffine(self.front, front, size, borderMode=2)
        luma = room + there * (face - room) + brighter
        roll = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), rolled, 1.0)
        if rolled:
            luma = np.asarray(cv2.warpAffine(luma, roll, size, borderMode=2), np.float32)
        luma += np.random.default_rng(seed).normal(0, self.noise, luma.shape)
        grey = np.clip(luma, 0, 255).astype(np.uint8)
        points = MESH * np.float32(scale)
        points[:, :2] = (points[:, :2] + MIDDLE + way) @ roll[:, :2].T + roll[:, 2]
        found = replace(GOOD, **{"size": FACE * scale, **quality})
        mesh = FaceMesh(points.astype(np.float32), np.eye(3), True, found, True)
        return cut_surroundings(picture_frame(np.repeat(grey[:, :, None], 3, axis=2)), mesh)
