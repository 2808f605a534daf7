"""Hands that hold a sheet or a device, drawn as shaded limbs on its texture.

Simple on purpose: enough that an attack is carried by someone, as in every recorded attack set.
"""

import cv2
import numpy as np

from .parameters import Array

_LIGHT = np.array([-0.35, -0.75, 0.56], np.float32)


def draw_limb(
    canvas: Array,
    start: tuple[float, float],
    end: tuple[float, float],
    radii: tuple[float, float],
    colour: Array,
    shadow: float = 0.0,
) -> None:
    """Draw a rounded limb, in place.

    Args:
        canvas: float32 (h, w, 4), premultiplied linear.
        start: Pixels.
        end: Pixels.
        radii: Pixels at start and end.
        colour: Linear reflectance (3,).
        shadow: Pixels by which it stands off what lies under it, and throws a shadow there.
    """
    reach = max(radii) + 3 * shadow + 3
    low = np.floor(np.minimum(start, end) - reach).astype(int)
    high = np.ceil(np.maximum(start, end) + reach).astype(int)
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, (canvas.shape[1], canvas.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    across, radius = _from_axis(x, y, start, end, radii)
    distance = np.hypot(*across)
    part = canvas[y0:y1, x0:x1]
    if shadow:
        under = np.clip(1.0 - (distance - radius) / (2.5 * shadow), 0, 1) ** 2
        part[..., :3] *= (1.0 - 0.45 * under)[..., None]
    height = np.sqrt(np.maximum(1.0 - (distance / radius) ** 2, 0.0))
    facing = across[0] / radius * _LIGHT[0] + across[1] / radius * _LIGHT[1] + height * _LIGHT[2]
    lit = (0.62 + 0.42 * np.maximum(facing, 0.0))[..., None] * np.asarray(colour, np.float32)
    coverage = np.clip(radius - distance + 0.5, 0.0, 1.0)[..., None]
    part[..., :3] = part[..., :3] * (1 - coverage) + lit * coverage
    part[..., 3:] = part[..., 3:] * (1 - coverage) + coverage


def _from_axis(
    x: Array,
    y: Array,
    start: tuple[float, float],
    end: tuple[float, float],
    radii: tuple[float, float],
) -> tuple[tuple[Array, Array], Array]:
    """Offset of each pixel from the limb's axis, and the limb's radius there."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-6)
    along = np.clip(along, 0.0, 1.0)
    offset = (x - start[0] - along * dx, y - start[1] - along * dy)
    return offset, radii[0] + along * (radii[1] - radii[0])


def draw_hand_behind(
    canvas: Array, edge: tuple[float, float], side: float, scale: float, skin: Array, sleeve: Array
) -> None:
    """Forearm, palm and the fingers' knuckles, to be drawn before the thing that is held.

    Args:
        canvas: float32 (h, w, 4), premultiplied linear.
        edge: Pixel on the thing's edge where the hand grips.
        side: -1 for a hand at the left edge, 1 at the right.
        scale: Pixels per metre.
        skin: Linear reflectance (3,).
        sleeve: Linear reflectance (3,).
    """
    x, y = edge

    def at(right: float, down: float) -> tuple[float, float]:
        return x + side * right * scale, y + down * scale

    draw_limb(canvas, at(0.026, 0.09), at(0.055, 0.42), (0.034 * scale, 0.058 * scale), sleeve)
    draw_limb(canvas, at(0.014, 0.022), at(0.026, 0.085), (0.022 * scale, 0.021 * scale), skin)
    for finger in range(4):
        down = -0.040 + 0.0175 * finger
        draw_limb(canvas, at(-0.01, down), at(0.010, down + 0.006),
                  (0.0085 * scale, 0.0090 * scale), skin, 0.0015 * scale)  # fmt: skip


def draw_thumb(
    canvas: Array, edge: tuple[float, float], side: float, scale: float, skin: Array
) -> None:
    """The thumb, to be drawn over the thing that is held; arguments as in the hand behind."""
    x, y = edge

    def at(right: float, down: float) -> tuple[float, float]:
        return x + side * right * scale, y + down * scale

    root, joint, tip = at(0.020, 0.018), at(-0.006, -0.012), at(-0.022, -0.034)
    draw_limb(canvas, root, joint, (0.015 * scale, 0.0115 * scale), skin, 0.003 * scale)
    draw_limb(canvas, joint, tip, (0.0115 * scale, 0.0095 * scale), skin, 0.003 * scale)
    nail = np.asarray(skin, np.float32) * 0.85 + np.array([0.12, 0.09, 0.09], np.float32)
    draw_limb(canvas, at(-0.0195, -0.031), at(-0.024, -0.037),
              (0.0055 * scale, 0.005 * scale), nail)  # fmt: skip


def soft_spot(shape: tuple[int, int], width: float, height: float) -> Array:
    """float32 (h, w): a blurred bar of peak 1 in the middle, the mirror image of a lamp.

    Args:
        shape: Rows and columns.
        width: Columns of the bar.
        height: Rows of the bar.
    """
    rows, columns = shape
    spot = np.zeros(shape, np.float32)
    cy, cx = rows // 2, columns // 2
    half_w, half_h = max(1, round(width / 2)), max(1, round(height / 2))
    spot[max(cy - half_h, 0) : cy + half_h, max(cx - half_w, 0) : cx + half_w] = 1.0
    spot = np.asarray(cv2.GaussianBlur(spot, (0, 0), max(1.0, 0.6 * min(half_w, half_h))))
    return np.asarray(spot / spot.max(), np.float32)
