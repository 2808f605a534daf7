"""Random changes to training crops, alike for live and attack; NumPy and OpenCV only."""

import cv2
import numpy as np

from .crops import Pixels
from .recipe import Augmentation

_LEVELS = np.arange(256, dtype=np.float64)


def augment(
    image: Pixels,
    depth: Pixels | None,
    how: Augmentation,
    rng: np.random.Generator,
    *,
    native: bool,
) -> tuple[Pixels, Pixels | None]:
    """A changed copy of a crop, and its depth map changed along with it.

    Args:
        image: uint8 (side, side, 3) RGB.
        depth: uint8 (32, 32), or None where the network has no map.
        how: ranges and chances.
        rng: all of the chance; the same one gives the same result.
        native: the crop is at the frame's own resolution (a patch), which resampling would take
            away: it is neither scaled nor shifted nor made smaller.
    """
    if rng.random() < how.flip:
        image = image[:, ::-1]
        depth = None if depth is None else depth[:, ::-1]
    if not native:
        image, depth = _moved(image, depth, how, rng)
        if rng.random() < how.downscale:
            image = _coarser(image, rng.uniform(1.2, 3.0))
    if rng.random() < how.blur:
        image = _blurred(image, rng.uniform(0.3, 1.2))
    image = _toned(image, how, rng)
    if rng.random() < how.gray:
        image = _gray(image)
    if rng.random() < how.noise:
        image = _noisy(image, rng.uniform(1.0, 6.0), rng)
    if rng.random() < how.jpeg:
        image = _compressed(image, int(rng.integers(40, 96)))
    if rng.random() < how.erase:
        image = _erased(image, rng)
    return np.ascontiguousarray(image), None if depth is None else np.ascontiguousarray(depth)


def _blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _gray(image: Pixels) -> Pixels:
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB), np.uint8)


def _moved(
    image: Pixels, depth: Pixels | None, how: Augmentation, rng: np.random.Generator
) -> tuple[Pixels, Pixels | None]:
    scale = 1 + how.scale * rng.uniform(-1, 1)
    shift = how.shift * rng.uniform(-1, 1, 2)
    moved = _warped(image, scale, shift)
    return moved, None if depth is None else _warped(depth, scale, shift)


def _warped(picture: Pixels, scale: float, shift: np.ndarray) -> Pixels:
    """Scaled about the centre and shifted by shares of a side; black where nothing was."""
    side = picture.shape[0]
    centre = (side - 1) / 2
    offset = centre * (1 - scale) + shift * side
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side)), np.uint8)


def _coarser(image: Pixels, factor: float) -> Pixels:
    side = image.shape[0]
    small = max(8, round(side / factor))
    shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _toned(image: Pixels, how: Augmentation, rng: np.random.Generator) -> Pixels:
    """Gamma, colour temperature, contrast and brightness as one table a channel."""
    gamma = np.exp(how.gamma * rng.uniform(-1, 1))
    warm = how.temperature * rng.uniform(-1, 1)
    tint = 0.5 * how.temperature * rng.uniform(-1, 1)
    gains = np.array([1 + warm, 1 + tint, 1 - warm])
    contrast = 1 + how.contrast * rng.uniform(-1, 1)
    brightness = how.brightness * rng.uniform(-1, 1)
    curve = 255 * (_LEVELS / 255) ** gamma
    toned = (curve[:, None] * gains - 127.5) * contrast + 127.5 + brightness
    table = np.clip(np.rint(toned), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), table[None]), np.uint8)


def _noisy(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _compressed(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _erased(image: Pixels, rng: np.random.Generator) -> Pixels:
    side = image.shape[0]
    height, width = rng.integers(side // 16, side // 4, 2)
    y, x = rng.integers(0, side - height), rng.integers(0, side - width)
    covered = image.copy()
    covered[y : y + height, x : x + width] = rng.integers(0, 256, (height, width, 3), np.uint8)
    return covered
