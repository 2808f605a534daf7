"""The place: a corridor seen by the door camera, lit by lamps and by a window.

Every pixel's ray is followed to the wall it meets; the light there is the sum of the lamps and
the window with the inverse square of the distance and the cosine, plus what the walls scatter.
The lamps' and the window's parts are kept apart, since daylight changes by itself.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from annotated_types import Interval

from .motion import smooth_noise
from .parameters import Array, Colour, NotNegative, Positive, Share
from .render import Lens


@dataclass(frozen=True, slots=True)
class SceneParams:
    """A corridor before a door. Camera at the origin, y down, z into the corridor."""

    half_width: Positive = 1.35
    """Metres from the camera to the side walls."""
    ceiling: Positive = 0.95
    """Metres above the camera."""
    floor: Positive = 1.55
    """Metres below the camera."""
    length: Positive = 7.5
    """Metres to the far wall."""
    lamp_colour: Colour = (1.06, 1.0, 0.86)
    """Light of the lamps on a person at the door."""
    day_colour: Colour = (0.88, 1.0, 1.16)
    """Light of the window there."""
    day_share: Share = 0.25
    """How much of the light on a person is daylight, in the mean."""
    day_change: NotNegative = 0.10
    """Standard deviation of the daylight, as a share of it, as clouds pass."""
    day_cutoff: Annotated[float, Interval(gt=0, le=0.2)] = 0.03
    """Hz above which daylight does not change."""
    to_lamp: tuple[float, float, float] = (-0.35, -0.75, -0.56)
    """Direction from a person at the door to the lamp, a unit vector."""


class Corridor(NamedTuple):
    """The empty scene."""

    lamp: Array
    """float32 (h, w, 3): linear light with the lamps alone."""
    day: Array
    """float32 (h, w, 3): and with the window alone."""


class Illumination(NamedTuple):
    """Light at every frame."""

    day: Array
    """float32 (n,): daylight over its mean."""
    on_person: Array
    """float32 (n, 3): linear R, G, B of the light on what stands at the door."""


def illumination(
    params: SceneParams, frames: int, fps: float, rng: np.random.Generator
) -> Illumination:
    """Draw the daylight of a feed."""
    change = params.day_change * smooth_noise(rng, frames, fps, params.day_cutoff)
    day = np.clip(1.0 + change, 0.3, 1.7)
    lamp_part = (1.0 - params.day_share) * np.asarray(params.lamp_colour)
    day_part = params.day_share * np.asarray(params.day_colour)
    return Illumination(
        day.astype(np.float32), (lamp_part + day[:, None] * day_part).astype(np.float32)
    )


def backdrop(corridor: Corridor, day: float) -> Array:
    """float32 (h, w, 3): the empty corridor under a given daylight; a new array."""
    return np.asarray(cv2.scaleAdd(corridor.day, day, corridor.lamp))


def build_corridor(params: SceneParams, lens: Lens, rng: np.random.Generator) -> Corridor:
    """Compute the empty scene for a camera."""
    points, wall, into = _hit_walls(params, lens)
    albedo = _albedo(params, points, wall, rng)
    lamps = [np.array([0.0, -params.ceiling + 0.02, z]) for z in (0.7, 3.0, 5.4)]
    lamp = sum((_falling_light(points, into, at, 0.55) for at in lamps), np.zeros(wall.shape))
    window = np.array([-params.half_width + 0.02, -0.1, 4.1])
    day = _falling_light(points, into, window, 1.1)
    nearness = np.exp(-np.abs(points[..., 2] - 4.1) / 2.5)
    lamp_light = (lamp + 0.16)[..., None] * np.asarray(params.lamp_colour)
    day_light = (day + 0.10 * nearness)[..., None] * np.asarray(params.day_colour)
    pictures = []
    for light, glow in (
        (lamp_light, _panels(params, points, wall)),
        (day_light, _panes(points, wall)),
    ):
        picture = (albedo * light + glow[..., None] * 1.6).astype(np.float32)
        pictures.append(cv2.GaussianBlur(picture, (0, 0), max(0.8, lens.width / 900)))
    return Corridor(*(np.asarray(picture) for picture in pictures))


_LEFT, _RIGHT, _CEILING, _FLOOR, _END = range(5)
_INTO_ROOM = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, -1]], float)


def _hit_walls(params: SceneParams, lens: Lens) -> tuple[Array, Array, Array]:
    """Where each pixel's ray ends: points (h, w, 3), which wall (h, w), its normal (h, w, 3)."""
    x, y = np.meshgrid(np.arange(lens.width), np.arange(lens.height))
    ray = np.dstack(
        [
            (x - (lens.width - 1) / 2) / lens.focal,
            (y - (lens.height - 1) / 2) / lens.focal,
            np.ones(x.shape),
        ]
    )
    tiny = 1e-9
    aside = np.maximum(np.abs(ray[..., 0]), tiny)
    up = np.maximum(np.abs(ray[..., 1]), tiny)
    to_side = params.half_width / aside
    to_level = np.where(ray[..., 1] < 0, params.ceiling, params.floor) / up
    reach = np.dstack([to_side, to_level, np.full(x.shape, params.length)])
    nearest = reach.argmin(axis=2)
    side = np.where(ray[..., 0] < 0, _LEFT, _RIGHT)
    level = np.where(ray[..., 1] < 0, _CEILING, _FLOOR)
    wall = np.choose(nearest, [side, level, np.full(x.shape, _END)])
    return ray * reach.min(axis=2)[..., None], wall, _INTO_ROOM[wall]


def _albedo(params: SceneParams, points: Array, wall: Array, rng: np.random.Generator) -> Array:
    """Reflectance (h, w, 3) of paint, tiles, skirting and doors."""
    x, y, z = (points[..., i] for i in range(3))
    paint = np.array([[0.62, 0.60, 0.55], [0.62, 0.60, 0.55], [0.75, 0.75, 0.74],
                      [0.26, 0.25, 0.24], [0.50, 0.52, 0.53]])  # fmt: skip
    albedo = paint[wall]
    on_side = (wall == _LEFT) | (wall == _RIGHT)
    lower = on_side & (y > 0.55)
    albedo[lower] = (0.30, 0.36, 0.40)
    albedo[on_side & (y > params.floor - 0.1)] = (0.12, 0.12, 0.12)
    joint = (np.abs((x / 0.45) % 1 - 0.5) > 0.485) | (np.abs((z / 0.45) % 1 - 0.5) > 0.485)
    albedo[(wall == _FLOOR) & joint] *= 0.6
    for near, far, which in ((2.1, 3.0, _RIGHT), (4.6, 5.5, _RIGHT), (5.6, 6.5, _LEFT)):
        door = (wall == which) & (z > near) & (z < far) & (y > -0.55)
        frame = door & ((z < near + 0.06) | (z > far - 0.06) | (y < -0.49))
        albedo[door] = (0.30, 0.20, 0.13)
        albedo[frame] = (0.45, 0.44, 0.42)
    far_door = (wall == _END) & (np.abs(x) < 0.62) & (y > -0.5)
    albedo[far_door] = (0.20, 0.28, 0.34)
    albedo[far_door & (np.abs(x) < 0.02)] = (0.08, 0.08, 0.08)
    blotches = cv2.GaussianBlur(rng.standard_normal(wall.shape), (0, 0), wall.shape[1] / 60)
    grain = cv2.GaussianBlur(rng.standard_normal(wall.shape), (0, 0), 1.0)
    uneven = 1.0 + 0.03 * blotches / blotches.std() + 0.012 * grain / grain.std()
    return np.asarray(albedo * uneven[..., None])


def _falling_light(points: Array, into: Array, source: Array, power: float) -> Array:
    """Light (h, w) that a small source throws on the walls."""
    towards = source - points
    distance = np.linalg.norm(towards, axis=2)
    cosine = np.maximum((towards * into).sum(axis=2) / distance, 0.0)
    return np.asarray(power * cosine / np.maximum(distance, 0.35) ** 2)


def _panels(params: SceneParams, points: Array, wall: Array) -> Array:
    """Lamps in the ceiling, (h, w), 0 or 1."""
    x, z = points[..., 0], points[..., 2]
    lit = np.zeros(wall.shape, bool)
    for middle in (3.0, 5.4):
        lit |= (np.abs(z - middle) < 0.3) & (np.abs(x) < 0.3)
    return np.asarray(lit & (wall == _CEILING), float)


def _panes(points: Array, wall: Array) -> Array:
    """The window in the left wall, (h, w), 0 to 1."""
    y, z = points[..., 1], points[..., 2]
    pane = (wall == _LEFT) & (np.abs(z - 4.1) < 0.55) & (y > -0.6) & (y < 0.45)
    bar = (np.abs(z - 4.1) < 0.03) | (np.abs(y + 0.08) < 0.02)
    return np.asarray(pane & ~bar, float)
