"""What an attack shows its face on: paper, a display, a mask. Physics first, each kept simple.

Paper reflects the room's light through ink; a display shines by itself, with its own gamma, its
black that is not black and its lattice of colour stripes; a mask is a rigid shell with painted
skin and one gloss all over. None of them has blood.
"""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval

from ...nodes.canonical import LEFT_EYE, MESH_POINTS, OVAL, RIGHT_EYE, canonical_face
from .hands import draw_hand_behind, draw_thumb, soft_spot
from .identity import Identity
from .light import LUMINANCE, to_linear
from .parameters import Array, Colour, NotNegative, Positive, Share
from .render import Patch, TextureMap, Window, grid_patch

_LOWERED = {
    10: 151, 338: 337, 297: 299, 332: 333, 284: 298, 109: 108, 67: 69, 103: 104, 54: 68,
}  # fmt: skip
_SHELL = tuple(_LOWERED.get(point, point) for point in OVAL)
"""Outline of a mask: the face's, less the rim of the forehead, which is often under hair."""
_AROUND = 0.10
_BELOW = 0.36
"""Metres of texture beside and below a held thing, for the hands and arms."""


@dataclass(frozen=True, slots=True)
class PrintParams:
    """A portrait on a sheet of paper."""

    size: tuple[Positive, Positive] = (0.21, 0.297)
    """Width and height in metres."""
    border: NotNegative = 0.008
    """Metres of white around the picture."""
    paper: Colour = (0.86, 0.86, 0.83)
    """Reflectance of the bare sheet."""
    ink_black: Share = 0.045
    """Reflectance of full ink over that of the sheet."""
    contrast: Annotated[float, Interval(ge=0.6, le=1.6)] = 1.12
    """Exponent of the tone curve: above 1, middle tones print too dark."""
    saturation: Share = 0.82
    """Share of the colour that the inks reach."""
    screen_pitch: Positive = 0.00030
    """Metres between the dots of the halftone screen (85 lines an inch: an office printer)."""
    screen_contrast: Share = 0.5
    """Modulation of the dots in middle tones, before the camera's pixels average it."""
    gloss: Share = 0.05
    """Light of a lamp's mirror image in the sheet, where white paper is about 1."""
    bend: Annotated[float, Interval(ge=-3, le=3)] = 0.7
    """Curvature about the upright axis, 1 per metre; positive bulges to the camera."""


@dataclass(frozen=True, slots=True)
class ScreenParams:
    """A tablet that plays a recording."""

    display: tuple[Positive, Positive] = (0.150, 0.200)
    """Width and height of the lit part in metres."""
    bezel: Positive = 0.011
    """Metres of frame around it."""
    bezel_reflectance: Share = 0.025
    gamma: Annotated[float, Interval(ge=1.6, le=2.8)] = 2.2
    """Exponent from code value to light."""
    peak: Positive = 0.95
    """Light of its white, where a white sheet in the room's light is about 0.9."""
    black: Share = 0.006
    """Light of its black as a share of its white."""
    white_point: Colour = (0.93, 1.0, 1.12)
    """Colour of its white: bluer than the room."""
    pixel_pitch: Positive = 0.00019
    """Metres between its pixels, each three upright colour stripes."""
    veil: Share = 0.018
    """Room light that the glass scatters back."""
    glare: Share = 0.30
    """Light of a lamp's mirror image in the glass."""


@dataclass(frozen=True, slots=True)
class MaskParams:
    """A hard printed or painted mask."""

    scale: Annotated[float, Interval(ge=0.95, le=1.2)] = 1.05
    """Size over the wearer's face."""
    stand_off: NotNegative = 0.006
    """Metres between skin and shell."""
    eye_hole: Annotated[float, Interval(ge=0.8, le=2.0)] = 1.25
    """Size of the eye holes over the eyes'."""
    saturation: Share = 0.80
    """Share of the skin's colour that the paint reaches."""
    smoothing: Positive = 0.0008
    """Metres over which the paint is even."""
    gloss: Share = 0.22
    """Strength of the highlight over the paint's own brightness."""
    gloss_exponent: Annotated[float, Interval(ge=2, le=100)] = 14.0
    """How narrow it is (Blinn-Phong)."""
    rim: NotNegative = 0.0035
    """Metres of the shell's edge that are seen in shade."""


@dataclass(frozen=True, slots=True)
class Held:
    """A flat thing in two hands. Origin: its middle."""

    patch: Patch
    picture: Window
    """Where in the texture its picture is."""
    picture_size: tuple[float, float]
    """Width and height of the picture in metres."""
    spot: Array
    """float32: a lamp's mirror image, three times as large as the picture each way."""

    @property
    def texels_per_metre(self) -> float:
        """Resolution of the texture."""
        return self.picture.w / self.picture_size[0]

    def on_picture(self, places: Array) -> Array:
        """float32 (n, 3): points, metres, of places (n, 2) in the picture, 0..1 each way."""
        flat = (places - 0.5) * self.picture_size
        return np.column_stack([flat, np.zeros(len(flat))]).astype(np.float32)


def make_print(crop: Array, params: PrintParams, skin: Array, sleeve: Array, scale: float) -> Held:
    """Print a portrait and put it in hands.

    Args:
        crop: uint8 RGB: what is printed, of the sheet's proportions less its border.
        params: The print.
        skin: Linear reflectance (3,) of the hands.
        sleeve: And of the sleeves.
        scale: Texels per metre.
    """
    inner = params.size[0] - 2 * params.border, params.size[1] - 2 * params.border
    sheet = _plain(params.size, scale, np.asarray(params.paper, np.float32))
    picture = _centred(sheet.shape, inner, scale)
    ink = _inked(to_linear(crop), params) * np.asarray(params.paper, np.float32)
    _cut(sheet, picture)[..., :3] = cv2.resize(
        ink, (picture.w, picture.h), interpolation=_shrinking(crop, picture)
    )
    return _in_hands(sheet, picture, inner, scale, skin, sleeve, 0.8)


def make_screen(params: ScreenParams, skin: Array, sleeve: Array, scale: float) -> Held:
    """A dark tablet in hands; arguments as of :func:`make_print`."""
    size = tuple(side + 2 * params.bezel for side in params.display)
    device = _plain((size[0], size[1]), scale, np.full(3, params.bezel_reflectance, np.float32))
    picture = _centred(device.shape, params.display, scale)
    return _in_hands(device, picture, params.display, scale, skin, sleeve, 0.25)


def _plain(size: tuple[float, float], scale: float, colour: Array) -> Array:
    sheet = np.ones((round(size[1] * scale), round(size[0] * scale), 4), np.float32)
    sheet[..., :3] = colour
    return sheet


def _centred(shape: tuple[int, ...], size: tuple[float, float], scale: float) -> Window:
    w, h = round(size[0] * scale), round(size[1] * scale)
    return Window((shape[1] - w) // 2, (shape[0] - h) // 2, w, h)


def _cut(texture: Array, window: Window) -> Array:
    return texture[window.y : window.y + window.h, window.x : window.x + window.w]


def _shrinking(image: Array, window: Window) -> int:
    return cv2.INTER_AREA if image.shape[1] > window.w else cv2.INTER_CUBIC


def _inked(linear: Array, params: PrintParams) -> Array:
    """Reflectance over that of paper after the printer's gamut and tone curve."""
    grey = (linear @ LUMINANCE)[..., None]
    colours = grey + params.saturation * (linear - grey)
    toned = np.clip(colours, 0.0, 1.0) ** params.contrast
    return np.asarray(params.ink_black + (1.0 - params.ink_black) * toned, np.float32)


def _in_hands(
    thing: Array,
    picture: Window,
    picture_size: tuple[float, float],
    scale: float,
    skin: Array,
    sleeve: Array,
    spot_width: float,
) -> Held:
    """Put a flat thing on a larger texture with two hands that hold it near its lower corners."""
    around, below = round(_AROUND * scale), round(_BELOW * scale)
    h, w = thing.shape[:2]
    canvas = np.zeros((h + 2 * below, w + 2 * around, 4), np.float32)
    grip = below + 0.72 * h
    edges = ((around, grip, -1.0), (around + w - 1, grip + 0.05 * h, 1.0))
    for x, y, side in edges:
        draw_hand_behind(canvas, (x, y), side, scale, skin, sleeve)
    canvas[below : below + h, around : around + w] = thing
    for x, y, side in edges:
        draw_thumb(canvas, (x, y), side, scale, skin)
    patch = grid_patch(20, 28, canvas.shape[1] / scale, canvas.shape[0] / scale, canvas)
    x, y, pw, ph = picture
    spot = soft_spot((3 * ph, 3 * pw), spot_width * pw, 0.12 * ph)
    return Held(patch, Window(x + around, y + below, pw, ph), picture_size, spot)


def bent(points: Array, curvature: float) -> Array:
    """Points (n, 3) of a flat thing rolled onto an upright cylinder, keeping lengths.

    METHODS 13.4: x = R sin(t), z = R (1 - cos t), t = x / R.
    """
    if abs(curvature) < 1e-6:
        return points
    angle = points[:, 0] * curvature
    return np.column_stack(
        [np.sin(angle) / curvature, points[:, 1], points[:, 2] + (1 - np.cos(angle)) / curvature]
    ).astype(np.float32)


def mirrored_lamp(held: Held, yaw: float, pitch: float) -> Array:
    """float32 (h, w) over the picture: where the lamp's mirror image lies at a tilt in degrees.

    Turning a mirror by an angle turns the image by twice it.
    """
    h, w = held.picture.h, held.picture.w
    dx = int(np.clip((0.25 - yaw / 16.0) * w, -w, w))
    dy = int(np.clip((-0.42 + pitch / 14.0) * h, -h, h))
    return held.spot[h - dy : 2 * h - dy, w - dx : 2 * w - dx]


def emitted(frame: Array, params: ScreenParams, held: Held) -> Array:
    """Light of the display that shows a frame.

    Args:
        frame: uint8 RGB of any size.
        params: The display.
        held: Gives the size.

    Returns:
        float32 (h, w, 3) over the picture in the texture.
    """
    levels = (np.arange(256) / 255.0) ** params.gamma
    light = params.peak * (params.black + (1.0 - params.black) * levels)
    table = (light[:, None] * np.asarray(params.white_point)).astype(np.float32)
    how = _shrinking(frame, held.picture)
    shown = np.asarray(cv2.resize(frame, (held.picture.w, held.picture.h), interpolation=how))
    return np.dstack([table[:, c].take(shown[..., c]) for c in range(3)])


def fine_lattice(
    where: TextureMap, pitch: float, duty: float, angle: float, optics: float
) -> tuple[Array, Array]:
    """A fine stripe pattern as a camera's pixels sample it: moire.

    The pattern is far finer than the pixels, so each pixel sees one phase of it; the pattern's
    contrast is what lens and pixel leave of it at its frequency in cycles per pixel. A colour of
    a Bayer sensor is sampled by half of a pixel's period, so the pixel's own blur is weak.

    Args:
        where: Texture places of the pixels.
        pitch: Texels between stripes.
        duty: Width of a stripe over the pitch.
        angle: Radians by which the stripes are turned from upright.
        optics: Standard deviation of the lens's blur in pixels, before sampling.

    Returns:
        float32 (h, w) phase in radians, and the modulation left, a float32 scalar array.
    """
    turn = np.array([np.cos(angle), np.sin(angle)], np.float32) / np.float32(pitch)
    cycles = where.texels[..., 0] * turn[0] + where.texels[..., 1] * turn[1]
    middle = tuple(side // 2 for side in cycles.shape)
    fx = abs(float(cycles[middle] - cycles[middle[0], middle[1] - 1]))
    fy = abs(float(cycles[middle] - cycles[middle[0] - 1, middle[1]]))
    stripe = 2.0 * abs(np.sinc(duty))
    pixel = abs(np.sinc(0.5 * fx) * np.sinc(0.5 * fy))
    lens = np.exp(-2.0 * (np.pi * optics) ** 2 * (fx * fx + fy * fy))
    phase = (cycles - np.floor(cycles)) * np.float32(2 * np.pi)
    return phase, np.asarray(stripe * pixel * lens, np.float32)


def make_mask(face: Identity, wearer: Identity, params: MaskParams) -> Patch:
    """A rigid mask of one person's face that fits another's head.

    Args:
        face: Whose face the mask shows.
        wearer: Who wears it; the points are in the wearer's axes.
        params: The mask.
    """
    mesh, target = face.mesh, wearer.mesh
    points = _similarity(mesh, target)
    middle = points.mean(axis=0)
    points = middle + (points - middle) * params.scale
    points[:, 2] -= params.stand_off
    return Patch(
        points.astype(np.float32),
        np.asarray(canonical_face().triangles),
        face.figure.texels[:MESH_POINTS],
        _painted(face, params),
        np.ones(len(canonical_face().triangles), bool),
    )


def _similarity(points: Array, target: Array) -> Array:
    """Points turned, scaled and moved to lie on the target as well as they can (Umeyama 1991)."""
    a, b = points - points.mean(axis=0), target - target.mean(axis=0)
    left, values, right = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    scale = (values * np.diag(flip)).sum() / (a**2).sum()
    return np.asarray(scale * a @ left @ flip @ right + target.mean(axis=0))


def _painted(face: Identity, params: MaskParams) -> Array:
    """float32 (h, w, 4): the face's texture as paint, with an edge and eye holes."""
    texels = face.figure.texels[:MESH_POINTS]
    texture = face.figure.texture.copy()
    apart = float(np.ptp(texels[:, 0])) / max(float(np.ptp(face.mesh[:, 0])), 1e-6)
    colours = cv2.GaussianBlur(texture[..., :3], (0, 0), params.smoothing * apart)
    grey = (colours @ LUMINANCE)[..., None]
    colours = np.clip(grey + params.saturation * (colours - grey), 0.0, 1.0)
    shell = _region(texels, _SHELL, 1.0, texture.shape)
    for eye in (RIGHT_EYE, LEFT_EYE):
        shell &= ~_region(texels, eye, params.eye_hole, texture.shape)
    away = cv2.distanceTransform(shell.astype(np.uint8), cv2.DIST_L2, 3)
    coverage = np.clip((away - 2.5) / 1.5, 0.0, 1.0)
    rim = 1.0 - 0.55 * np.exp(-away / max(params.rim * apart, 0.1))
    painted = colours * (rim * coverage)[..., None]
    return np.dstack([painted, coverage]).astype(np.float32)


def _region(texels: Array, loop: tuple[int, ...], scale: float, shape: tuple[int, ...]) -> Array:
    outline = texels[list(loop)]
    middle = outline.mean(axis=0)
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(middle + (outline - middle) * scale).astype(np.int32)], 1)
    return mask > 0


def gloss_of(normals: Array, to_light: Array, params: MaskParams) -> Array:
    """float32 (n,): highlight of a shell seen from the front, over the paint's brightness."""
    half = to_light + np.array([0.0, 0.0, -1.0])
    half = half / np.linalg.norm(half)
    facing = np.maximum(normals @ half.astype(np.float32), 0.0)
    return np.asarray(params.gloss * facing**params.gloss_exponent * 4.0, np.float32)
