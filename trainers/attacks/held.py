"""Prints and screens before a camera: a picture on a medium, in somebody's hands, in a room."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...nodes.pose import rotation_of
from .codec import draw_codec, encoded
from .composing import Placing, compose, fetch, native_extent, placed_mesh
from .displays import (
    DisplayParams,
    displayed,
    lattice_on_sensor,
    reflection,
    refresh_bands,
)
from .handheld import Pose, SheetMap, bent_grid, bent_places
from .hands import draw_hand_behind, draw_thumb
from .light import to_srgb
from .parameters import Array
from .people import PersonPicture
from .printing import Printer, PrinterParams, sheet_light
from .render import lay_over


@dataclass(frozen=True, slots=True)
class View:
    """The camera's frame, and the part of it that is rendered."""

    focal: float
    """Pixels."""
    centre: tuple[float, float]
    """Pixel of the part on the camera's axis."""
    shape: tuple[int, int]
    """Rows and columns of the part."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture file as it is printed or shown, with the face in it."""

    picture: Array
    """uint8 RGB (h, w, 3)."""
    mesh: Array
    """float32 (468, 3), pixels of the picture."""
    face_m: float
    """Longer side of the face on the medium, metres."""

    @property
    def metres_per_pixel(self) -> float:
        """Size of the picture's pixels on the medium."""
        return self.face_m / float(np.ptp(self.mesh[:, :2], axis=0).max())


def draw_shown(
    rng: np.random.Generator, person: PersonPicture, face_px: float, screen: bool
) -> Shown:
    """A portrait as an attacker gets it: framed, saved, perhaps from a social network.

    Args:
        rng: Draws the framing and the file's fate.
        person: Who is shown.
        face_px: Size of the face as the camera will see it: sets the file's resolution.
        screen: Framed for a screen instead of a sheet.
    """
    fine = float(np.clip(face_px * rng.uniform(0.9, 1.6), 60, 360))
    around = rng.uniform(1.25, 2.6) if rng.random() < 0.75 else rng.uniform(1.0, 1.25)
    tall = rng.uniform(1.0, 1.5) if not screen else rng.choice([0.5625, 0.66, 1.33, 1.78, 2.05])
    rows = int(fine * around * max(1.0, tall))
    columns = int(fine * around * max(1.0, 1 / tall) * (1.0 if tall >= 1 else 0.8))
    rows, columns = min(rows, 900), min(columns, 1100)
    place = (columns * rng.uniform(0.42, 0.58), rows * rng.uniform(0.38, 0.55))
    placing = Placing(place, fine, float(rng.normal(0, 3)))
    rows = max(min(rows, native_extent(person, placing)[3]), int(place[1] + 0.6 * fine))
    composed = compose(rng, person, placing, (rows, columns), native=bool(rng.random() < 0.5))
    low, high = np.percentile(composed.light[::4, ::4], (1.5, 98))
    low = low * rng.uniform(0, 1)  # most photographs use the whole range
    light = np.maximum(composed.light - low, 0) / max(float(high - low), 0.05)
    light = light * np.float32(rng.uniform(0.75, 1.2))
    picture = np.rint(to_srgb(light) * 255).astype(np.uint8)
    if rng.random() < 0.3:  # beautified, as phones do
        picture = np.asarray(cv2.bilateralFilter(picture, 5, 25, 3))
    picture = encoded([picture], draw_codec(rng))[0]
    face_m = float(np.exp(rng.uniform(np.log(0.035), np.log(0.24))))
    if screen:
        face_m = float(np.exp(rng.uniform(np.log(0.045), np.log(0.25))))
    return Shown(picture, composed.mesh, face_m)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A medium's outline and how it is held."""

    size: tuple[float, float]
    """Metres, with border or bezel."""
    border: tuple[float, float, float, float]
    """Metres left, top, right, bottom of the picture."""
    pose: Pose
    curvature: float
    axis_angle: float


def _pose(
    rng: np.random.Generator,
    shown: Shown,
    size: tuple[float, float],
    border: tuple[float, float, float, float],
    view: View,
    at: tuple[float, float],
    face_px: float,
    tilt: float,
) -> Pose:
    """A pose that brings the face to its place at its size."""
    distance = max(view.focal * shown.face_m / face_px, 0.08 + 0.5 * max(size))
    angles = (
        float(np.clip(rng.normal(0, tilt), -38, 38)),
        float(np.clip(rng.normal(0, 0.8 * tilt), -32, 32)),
        float(np.clip(rng.normal(0, 6), -20, 20)),
    )
    face = shown.mesh[:, :2].mean(axis=0) * shown.metres_per_pixel + border[:2]
    from_middle = np.append(face - np.asarray(size) / 2, 0.0)
    ray = np.array(
        [(at[0] - view.centre[0]) / view.focal, (at[1] - view.centre[1]) / view.focal, 1]
    )
    position = ray * distance - rotation_of(*angles) @ from_middle
    return Pose((float(position[0]), float(position[1]), float(position[2])), angles)


def _seen_mesh(shown: Shown, sheet: Sheet, view: View, face_px: float) -> Array:
    points = shown.mesh[:, :2] * shown.metres_per_pixel + sheet.border[:2]
    places = bent_places(
        points, sheet.curvature, sheet.axis_angle, sheet.size, sheet.pose, view.focal, view.centre
    )
    depth = shown.mesh[:, 2:] * face_px / float(np.ptp(shown.mesh[:, :2], axis=0).max())
    return np.column_stack([places, depth]).astype(np.float32)


def _map(sheet: Sheet, view: View) -> SheetMap:
    return bent_grid(
        sheet.curvature,
        sheet.axis_angle,
        sheet.size,
        sheet.pose,
        view.focal,
        view.centre,
        view.shape,
    )


def present_print(
    rng: np.random.Generator,
    room: Array,
    shown: Shown,
    printer: PrinterParams,
    view: View,
    at: tuple[float, float],
    face_px: float,
) -> tuple[Array, Array]:
    """Hold a print before the camera.

    Args:
        rng: Draws the pose, the bend, the hands and the light.
        room: float32 (h, w, 3): what the camera sees without the print, linear light.
        shown: What is printed.
        printer: By what.
        view: The camera.
        at: Pixel at which the face is held.
        face_px: Size of the face in pixels.

    Returns:
        float32 (h, w, 3) light, and the mesh float32 (468, 3) in pixels.
    """
    pixel = shown.metres_per_pixel
    margin = int(rng.uniform(0, 0.12) * min(shown.picture.shape[:2])) if rng.random() < 0.6 else 0
    sides = (margin, int(margin * rng.uniform(0.7, 2.5)), margin, margin)
    white = cv2.copyMakeBorder(
        shown.picture, sides[1], sides[3], sides[0], sides[2], cv2.BORDER_CONSTANT,
        value=(255, 255, 255),
    )  # fmt: skip
    size = (white.shape[1] * pixel, white.shape[0] * pixel)
    border = tuple(side * pixel for side in sides)
    bends = rng.random() < 0.55
    # Paper bends to a radius of about its own width at most.
    curvature = float(np.clip(rng.normal(0, 0.9), -2, 2)) / max(size) if bends else 0.0
    axis = float(rng.choice([0.0, 90.0, rng.uniform(0, 180)]))
    edges = (border[0], border[1], border[2], border[3])
    pose = _pose(rng, shown, size, edges, view, at, face_px, 14.0)
    sheet = Sheet(size, edges, pose, curvature, axis)
    seen = _map(sheet, view)
    ink = Printer(printer).printed(np.asarray(white), pixel, rng)
    shade, glare = sheet_light(white.shape[:2], rng, printer.gloss, curvature * size[0])
    level = _room_level(room) * rng.uniform(0.7, 2.0)
    lamp = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32) * level
    light = (ink * shade[..., None] + glare) * lamp
    layer = fetch(light, seen.x / pixel - 0.5, seen.y / pixel - 0.5)
    mesh = _seen_mesh(shown, sheet, view, face_px)
    return _before(rng, room, layer, seen, sheet, view, level, mesh), mesh


def present_screen(
    rng: np.random.Generator,
    room: Array,
    shown: Shown,
    display: DisplayParams,
    view: View,
    at: tuple[float, float],
    face_px: float,
) -> tuple[Array, Array]:
    """Hold a screen before the camera; arguments and returns as of :func:`present_print`."""
    rows, columns = shown.picture.shape[:2]
    long, short = max(display.size), min(display.size)
    # The picture fills the display one way or the other.
    pixel = min(long / max(rows, columns), short / min(rows, columns))
    shown = replace(shown, face_m=shown.face_m * pixel / shown.metres_per_pixel)
    rim = display.bezel * float(rng.choice([0.4, 1.0, 1.0, 1.6]))
    border = (rim, rim * rng.uniform(0.6, 3.0), rim, rim * rng.uniform(0.6, 3.0))
    size = (columns * pixel + border[0] + border[2], rows * pixel + border[1] + border[3])
    pose = _pose(rng, shown, size, border, view, at, face_px, 10.0)
    sheet = Sheet(size, border, pose, 0.0, 0.0)
    seen = _map(sheet, view)
    ambient = _room_level(room)
    emitted = displayed(shown.picture, display, (pose.angles[0], pose.angles[1]))
    strength = ambient * float(np.exp(rng.uniform(np.log(0.7), np.log(7.0))))
    mean = max(float(np.percentile(emitted[::4, ::4], 90)), 0.02)
    x, y = (seen.x - border[0]) / pixel - 0.5, (seen.y - border[1]) / pixel - 0.5
    layer = fetch(emitted * np.float32(strength / mean), x, y)
    lattice = lattice_on_sensor(
        (seen.x - border[0]) / display.pixel_pitch,
        (seen.y - border[1]) / display.pixel_pitch,
        display,
        float(rng.uniform(0.35, 1.0)),
        rng,
    )
    layer = layer * lattice
    exposure = float(rng.choice([1 / 25, 1 / 50, 1 / 60, 1 / 100, 1 / 250]))
    bands = refresh_bands(view.shape[0], 1 / 30 / 720, exposure, display, float(rng.uniform(0, 1)))
    layer = layer * bands[:, None, None]
    lit = _window(x, y, columns, rows)[..., None]
    bezel = np.asarray(display.bezel_reflectance * ambient, np.float32)
    backdrop = np.clip(to_srgb(room / max(ambient * 2, 1e-3)) * 255, 0, 255).astype(np.uint8)
    mirrored = reflection(view.shape, rng, backdrop, display.matte) * np.float32(ambient)
    veil = np.float32(display.veil) * ambient + mirrored * np.float32(display.mirror)
    layer = layer * lit + bezel * (1 - lit) + veil
    mesh = _seen_mesh(shown, sheet, view, face_px)
    return _before(rng, room, layer, seen, sheet, view, ambient, mesh), mesh


def _window(x: Array, y: Array, columns: int, rows: int) -> Array:
    """1 on the lit part of the display, falling to 0 over a pixel."""
    inner = np.minimum(np.minimum(x + 0.5, columns - 0.5 - x), np.minimum(y + 0.5, rows - 0.5 - y))
    step = max(float(np.abs(np.diff(x[x.shape[0] // 2])).mean()), 1e-3)
    return np.asarray(np.clip(inner / step + 0.5, 0, 1), np.float32)


def _room_level(room: Array) -> float:
    return float(np.clip(np.percentile(room[::8, ::8], 75), 0.05, 3.0))


def _before(
    rng: np.random.Generator,
    room: Array,
    layer: Array,
    seen: SheetMap,
    sheet: Sheet,
    view: View,
    level: float,
    face: Array,
) -> Array:
    """The medium in its hands before the room, with the shadow that it throws."""
    picture = room.copy()
    hull = cv2.convexHull(np.round(face[:, :2]).astype(np.int32))
    kept = np.zeros(view.shape, np.uint8)
    cv2.fillConvexPoly(kept, hull, 1)
    free = 1 - np.asarray(cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 2.0))[..., None]
    if rng.random() < 0.5:
        blur = float(rng.uniform(3, 25))
        shift = np.array([[1, 0, rng.normal(0, 8)], [0, 1, rng.uniform(0, 15)]], np.float32)
        dark = cv2.warpAffine(seen.inside, shift, view.shape[::-1])
        dark = np.asarray(cv2.GaussianBlur(dark, (0, 0), blur))
        picture *= 1 - np.float32(rng.uniform(0.1, 0.5)) * dark[..., None]
    hands = _draw_hands(rng, sheet, view) if rng.random() < 0.7 else []
    for behind, _ in hands:
        behind[..., :3] *= np.float32(level)
        lay_over(picture, behind)
    share = seen.inside[..., None]
    picture = picture * (1 - share) + np.maximum(layer, 0) * share
    for _, thumb in hands:
        thumb[..., :3] *= np.float32(level)
        lay_over(picture, thumb * free)  # nobody hides the face that he shows
    return np.asarray(picture, np.float32)


_SKINS = ((0.62, 0.43, 0.34), (0.45, 0.28, 0.2), (0.25, 0.14, 0.1), (0.1, 0.06, 0.045))


def _draw_hands(rng: np.random.Generator, sheet: Sheet, view: View) -> list[tuple[Array, Array]]:
    """Layers behind and before the medium, float32 (h, w, 4), of one or two hands."""
    rows, columns = view.shape
    skin = np.asarray(_SKINS[int(rng.integers(len(_SKINS)))], np.float32) * rng.uniform(0.8, 1.2)
    sleeve = rng.uniform(0.02, 0.6) * np.exp(rng.normal(0, 0.3, 3)).astype(np.float32)
    if rng.random() < 0.5:
        sleeve = skin
    layers = []
    sides = rng.permutation(["left", "right", "below", "above"])[: int(rng.integers(1, 3))]
    for side in sides:
        along = rng.uniform(0.35, 0.9) if side in ("left", "right") else rng.uniform(0.2, 0.8)
        spot = {"left": (0, along), "right": (1, along), "below": (along, 1), "above": (along, 0)}
        on_sheet = np.asarray([spot[str(side)]]) * np.asarray(sheet.size)
        (x, y), *_ = bent_places(
            on_sheet, sheet.curvature, sheet.axis_angle, sheet.size, sheet.pose, view.focal,
            view.centre,
        )  # fmt: skip
        scale = view.focal / sheet.pose.position[2] * rng.uniform(0.9, 1.25)
        # Hands are drawn at a right edge; other edges turn the canvas by quarters.
        turns = {"right": 0, "below": 1, "left": 2, "above": 3}[str(side)]
        spun = [(x, y), (y, columns - 1 - x), (columns - 1 - x, rows - 1 - y), (rows - 1 - y, x)]
        shape = (rows, columns) if turns % 2 == 0 else (columns, rows)
        behind, thumb = (np.zeros((*shape, 4), np.float32) for _ in range(2))
        draw_hand_behind(behind, spun[turns], 1.0, scale, skin, sleeve)
        draw_thumb(thumb, spun[turns], 1.0, scale, skin)
        layers.append((_unspun(behind, turns), _unspun(thumb, turns)))
    return layers


def _unspun(layer: Array, turns: int) -> Array:
    return np.ascontiguousarray(np.rot90(layer, -turns))


__all__ = ["Shown", "View", "draw_shown", "placed_mesh", "present_print", "present_screen"]
