"""Things near a living face that are no attack: papers, phones, hands and frames beside it.

Without them a straight edge or a hand would by itself mean an attack.
"""

import cv2
import numpy as np

from .backdrops import natural_pictures
from .hands import draw_hand_behind, draw_thumb
from .light import to_linear
from .parameters import Array
from .render import lay_over


def distract(rng: np.random.Generator, light: Array, mesh: Array, person: Array) -> Array:
    """Sometimes lay a sheet, a device or a hand beside the face.

    Args:
        rng: Draws what, if anything.
        light: float32 (h, w, 3).
        mesh: float32 (468, 3) in pixels: stays uncovered.
        person: float32 (h, w): what lies behind the thing's bearer keeps behind.

    Returns:
        float32 (h, w, 3).
    """
    if rng.random() > 0.4:
        return light
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    face = float((high - low).max())
    middle = (low + high) / 2
    size = (face * float(rng.uniform(0.3, 1.4)), face * float(rng.uniform(0.3, 1.4)))
    away = 0.62 * face + 0.5 * float(np.hypot(*size)) * rng.uniform(0.75, 1.0)
    angle = float(rng.choice([0, np.pi, np.pi / 2, rng.uniform(0, 2 * np.pi)]))
    centre = middle + away * np.array([np.cos(angle), abs(np.sin(angle)) * rng.uniform(0.4, 1)])
    out = light.copy()
    corners = cv2.boxPoints(((float(centre[0]), float(centre[1])), size, float(rng.normal(0, 12))))
    mask = np.zeros(light.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    share = mask / np.float32(255)
    share = np.minimum(share, 1 - _face(mesh, light.shape[:2]))[..., None]
    level = float(np.percentile(light[::8, ::8], 75))
    out = out * (1 - share) + _thing(rng, light.shape, level) * share
    if rng.random() < 0.6:
        scale = face / 0.19
        skin = np.median(light[_face(mesh, light.shape[:2]) > 0.5], axis=0)
        edge = (float(corners[:, 0].max()), float(centre[1]))
        for draw in (draw_hand_behind, None):
            layer = np.zeros((*light.shape[:2], 4), np.float32)
            if draw is None:
                draw_thumb(layer, edge, 1.0, scale, skin)
            else:
                draw(layer, edge, 1.0, scale, skin, skin)
            layer *= (1 - _face(mesh, light.shape[:2]))[..., None]
            lay_over(out, layer)
    return np.asarray(out, np.float32)


def _face(mesh: Array, shape: tuple[int, int]) -> Array:
    hull = cv2.convexHull(np.round(mesh[:, :2]).astype(np.int32))
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0))


def _thing(rng: np.random.Generator, shape: tuple[int, ...], level: float) -> Array:
    kind = rng.random()
    pictures = natural_pictures()
    if kind < 0.35:  # paper
        return np.full(shape, level * rng.uniform(0.7, 1.5), np.float32)
    if kind < 0.7 and pictures:  # a picture on paper or screen
        picture = pictures[int(rng.integers(len(pictures)))]
        seen = cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        return to_linear(np.asarray(seen)) * np.float32(level * rng.uniform(0.8, 3.0))
    return np.full(shape, level * rng.uniform(0.01, 0.2), np.float32)  # a dark device
