"""Puts people into pictures: before their own room or another, life-size or on a medium."""

from dataclasses import dataclass

import cv2
import numpy as np

from .backdrops import backdrop
from .light import LUMINANCE, to_linear
from .parameters import Array
from .people import PersonPicture
from .variation import relight

_NO_MAP = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Composed:
    """A picture with a person in it, in linear light."""

    light: Array
    """float32 (h, w, 3)."""
    mesh: Array
    """float32 (468, 3), pixels of the picture."""
    coverage: Array
    """float32 (h, w): the person."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a face goes."""

    centre: tuple[float, float]
    """Middle of the face in pixels."""
    face_px: float
    """Longer side of the mesh's box in pixels."""
    roll: float = 0.0
    """Degrees, clockwise."""


def placed_mesh(picture: PersonPicture, placing: Placing) -> Array:
    """float32 (468, 3): the mesh where the placing puts it."""
    matrix = _matrix(picture, placing)
    mesh = picture.mesh.copy()
    mesh[:, :2] = picture.mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    mesh[:, 2] *= placing.face_px / picture.face_px
    return mesh


def native_extent(picture: PersonPicture, placing: Placing) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the source's own picture where the placing puts it."""
    matrix = _matrix(picture, Placing(placing.centre, placing.face_px))
    h, w = picture.image.shape[:2]
    corners = np.array([[0, 0, 1], [w - 1, h - 1, 1]], np.float32) @ matrix.T
    (left, top), (right, bottom) = np.ceil(corners[0]), np.floor(corners[1])
    return int(left), int(top), int(right), int(bottom)


def _matrix(picture: PersonPicture, placing: Placing) -> Array:
    scale = placing.face_px / picture.face_px
    angle = np.radians(placing.roll)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    low, high = picture.mesh[:, :2].min(axis=0), picture.mesh[:, :2].max(axis=0)
    shift = np.asarray(placing.centre) - turn @ ((low + high) / 2)
    return np.column_stack([turn, shift]).astype(np.float32)


def compose(
    rng: np.random.Generator,
    picture: PersonPicture,
    placing: Placing,
    shape: tuple[int, int],
    native: bool,
) -> Composed:
    """A person before the own room (native) or before another.

    Args:
        rng: Draws the room and the light.
        picture: The person.
        placing: Where the face goes.
        shape: Rows and columns.
        native: Keep the person's own surroundings; what lies beyond them is mirrored.
    """
    linear, coverage = _warped(picture, placing, shape)
    mesh = placed_mesh(picture, placing)
    if rng.random() < 0.5:
        lamp = rng.normal(0, 1, 3) * (1.0, 0.6, 0.4) + (0, -0.3, -0.5)
        strength = float(rng.uniform(0.2, 1.3))
        linear = relight(linear, mesh, coverage, lamp / np.linalg.norm(lamp), strength)
    if rng.random() < 0.5:
        linear = _toned(rng, linear)
    if not native:
        room = backdrop(rng, *shape)
        # Light of the room on the person: both are seen by one camera.
        ratio = rng.uniform(0.35, 2.2) * _level(linear, coverage) / max(_level(room, None), 0.02)
        share = coverage[..., None]
        linear = linear * share + room * np.float32(ratio) * (1 - share)
    return Composed(np.maximum(linear, 0).astype(np.float32), mesh, coverage)


def _warped(
    picture: PersonPicture, placing: Placing, shape: tuple[int, int]
) -> tuple[Array, Array]:
    matrix = _matrix(picture, placing)
    image, coverage = picture.image, picture.coverage
    scale = placing.face_px / picture.face_px
    linear = to_linear(image)
    if scale < 0.8:  # shrink by areas first, so that nothing aliases
        size = (max(round(image.shape[1] * scale), 2), max(round(image.shape[0] * scale), 2))
        linear = np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA))
        coverage = np.asarray(cv2.resize(coverage, size, interpolation=cv2.INTER_AREA))
        step = np.array([image.shape[1] / size[0], image.shape[0] / size[1]], np.float32)
        half = (step - 1) / 2  # the middle of the first large pixel
        matrix = np.column_stack([matrix[:, :2] * step, matrix[:, :2] @ half + matrix[:, 2]])
    how = cv2.INTER_CUBIC if scale > 1.05 else cv2.INTER_LINEAR
    size = shape[1], shape[0]
    beyond = cv2.BORDER_REFLECT_101
    linear = cv2.warpAffine(linear, matrix, size, flags=how, borderMode=beyond)
    covered = cv2.warpAffine(coverage, matrix, size, flags=cv2.INTER_LINEAR, borderMode=beyond)
    return np.clip(linear, 0, 1), np.asarray(covered)


def _toned(rng: np.random.Generator, linear: Array) -> Array:
    """Another exposure and contrast of the source."""
    exponent = float(rng.uniform(0.8, 1.4))
    return np.asarray(linear ** np.float32(exponent), np.float32)


def _level(light: Array, where: Array | None) -> float:
    grey = light[::4, ::4] @ LUMINANCE
    if where is None:
        return float(grey.mean())
    weight = where[::4, ::4] + 1e-3
    return float((grey * weight).sum() / weight.sum())


def fetch(texture: Array, x: Array, y: Array) -> Array:
    """The texture at places in its pixels, blurred before where the places lie far apart.

    Args:
        texture: float32 (h, w, c).
        x: float32 (rows, columns): texture pixels by their centres.
        y: The same.
    """
    middle = x.shape[0] // 2, x.shape[1] // 2
    step = float(
        np.hypot(np.median(np.abs(np.diff(x[middle[0]]))), np.median(np.abs(np.diff(y[middle[0]]))))
    )
    if step > 1.25:
        deviation = 0.4 * float(np.sqrt(step * step - 1))
        texture = np.asarray(cv2.GaussianBlur(texture, (0, 0), deviation))
    places = np.ascontiguousarray(np.dstack([x, y]), np.float32)
    return np.asarray(
        cv2.remap(texture, places, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )
