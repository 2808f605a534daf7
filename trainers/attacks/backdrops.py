"""Rooms for the synthesis: what stands behind a person or an attack.

The same for the living and for attacks. Rooms hold many rectangles (doors, windows, posters,
monitors, papers), so that a straight edge beside a face is not by itself a sign of an attack.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from .light import to_linear
from .parameters import Array

_HOLDS_A_FACE = ("astronaut", "grace_hopper", "camera")
_LEAST = 256


@cache
def natural_pictures() -> tuple[Array, ...]:
    """Colour photographs without faces that installed packages carry, uint8 RGB."""
    found = []
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images"),
                            ("matplotlib", "mpl-data/sample_data")):  # fmt: skip
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(next(iter(spec.submodule_search_locations))) / folder
        for path in sorted(root.glob("*")):
            if path.suffix not in (".jpg", ".png") or path.stem.startswith(_HOLDS_A_FACE):
                continue
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is not None and min(picture.shape[:2]) >= _LEAST:
                found.append(np.ascontiguousarray(picture[..., ::-1]))
    return tuple(found)


def backdrop(rng: np.random.Generator, height: int, width: int) -> Array:
    """A room or a view, float32 (height, width, 3), linear light."""
    pictures = natural_pictures()
    if pictures and rng.random() < 0.3:
        scene = _view(rng, pictures, height, width)
    else:
        scene = _room(rng, height, width)
    out_of_focus = float(rng.choice([0.0, 0.0, 1.0, 2.5, 5.0])) * max(height, width) / 600
    if out_of_focus > 0.3:
        scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), out_of_focus))
    return np.ascontiguousarray(scene, np.float32)


def _view(rng: np.random.Generator, pictures: tuple[Array, ...], height: int, width: int) -> Array:
    """Part of a photograph under another light."""
    picture = pictures[int(rng.integers(len(pictures)))]
    share = rng.uniform(0.5, 1.0)
    h, w = (max(int(side * share), 16) for side in picture.shape[:2])
    y, x = (int(rng.integers(0, full - part + 1)) for full, part in
            zip(picture.shape[:2], (h, w), strict=True))  # fmt: skip
    part = picture[y : y + h, x : x + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    how = cv2.INTER_AREA if h > height else cv2.INTER_CUBIC
    shown = to_linear(cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=how))
    return np.asarray(shown * rng.uniform(0.4, 1.4) * np.exp(rng.normal(0, 0.1, 3)), np.float32)


def _room(rng: np.random.Generator, height: int, width: int) -> Array:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    wall = rng.uniform(0.08, 0.85) * np.exp(rng.normal(0, 0.12, 3))
    gradient = 1 + rng.uniform(-0.5, 0.5) * (x - 0.5) + rng.uniform(-0.4, 0.4) * (y - 0.5)
    scene = np.asarray(wall * gradient[..., None], np.float32)
    if rng.random() < 0.4:  # a corner: the next wall stands in another light
        edge = rng.uniform(0.1, 0.9) + rng.normal(0, 0.03) * (y - 0.5)
        scene[x > edge] *= rng.uniform(0.5, 1.5)
    if rng.random() < 0.35:
        floor = y > rng.uniform(0.6, 0.95) + rng.normal(0, 0.05) * (x - 0.5)
        scene[floor] = rng.uniform(0.03, 0.5) * np.exp(rng.normal(0, 0.2, 3))
    for _ in range(int(rng.poisson(4))):
        _furnish(rng, scene)
    if rng.random() < 0.4:
        scene *= _texture(rng, height, width)[..., None]
    return _with_lamp(rng, scene, x, y) if rng.random() < 0.35 else scene


def _furnish(rng: np.random.Generator, scene: Array) -> None:
    """Lay one rectangle on the wall, in place: a door, a window, a poster, a monitor, a shelf."""
    height, width = scene.shape[:2]
    size = (rng.uniform(0.05, 0.6) * width, rng.uniform(0.05, 0.8) * height)
    angle = float(rng.normal(0, 2.5))
    at = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
    corners = np.round(cv2.boxPoints((at, size, angle)) * 16).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_AA, 4)
    content = _content(rng, scene, corners / 16.0)
    share = (mask / np.float32(255.0))[..., None]
    scene += share * (content - scene)
    if rng.random() < 0.5:
        outline = np.zeros((height, width), np.uint8)
        cv2.polylines(
            outline, [corners], True, 255, int(rng.integers(1, max(2, width // 60))), cv2.LINE_AA, 4
        )
        rim = (outline / np.float32(255.0))[..., None]
        scene += rim * (np.float32(rng.uniform(0.01, 0.9)) - scene)


def _content(rng: np.random.Generator, scene: Array, corners: Array) -> Array:
    height, width = scene.shape[:2]
    kind = rng.random()
    pictures = natural_pictures()
    if kind < 0.3 and pictures:
        content = _view(rng, pictures, height, width)
        return content * np.float32(rng.uniform(0.3, 1.2))
    if kind < 0.45:  # a window or a lit screen
        return np.full_like(scene, rng.uniform(0.8, 3.0)) * np.array([0.95, 1.0, 1.08], np.float32)
    colour = rng.uniform(0.01, 0.8) * np.exp(rng.normal(0, 0.35, 3))
    return np.broadcast_to(colour.astype(np.float32), scene.shape)


def _texture(rng: np.random.Generator, height: int, width: int) -> Array:
    coarse = rng.standard_normal((max(height // 8, 2), max(width // 8, 2))).astype(np.float32)
    fine = rng.standard_normal((height, width)).astype(np.float32)
    broad = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.exp(rng.uniform(0, 0.06) * broad + rng.uniform(0, 0.05) * fine))


def _with_lamp(rng: np.random.Generator, scene: Array, x: Array, y: Array) -> Array:
    distance = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(0, 0.7)) / rng.uniform(0.1, 0.5)
    glow = rng.uniform(0.3, 1.5) * np.exp(-(distance**2)) + 1.0
    warm = np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    return np.asarray(scene * glow[..., None] * warm, np.float32)
