"""Prints and screens before a camera: a picture on a medium, in somebody's hands, in a room.

What is drawn at random is drawn once, when a medium is taken up (:func:`hold_print`,
:func:`hold_screen`); from then on it can be seen in any pose, so that pictures and videos take the
same way.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...nodes.pose import rotation_of
from .codec import CodecParams, draw_codec, encoded
from .composing import Placing, compose, fetch, native_extent, placed_mesh
from .displays import (
    DisplayParams,
    displayed,
    lattice_on_sensor,
    reflection,
    refresh_bands,
)
from .handheld import Pose
from .holding import GripParams, Sheet, View, draw_grip, in_hands
from .light import to_srgb
from .parameters import Array, Colour, NotNegative, Positive, Share
from .people import PersonPicture
from .printing import Printer, PrinterParams, sheet_light

_NEAREST = 0.1
"""Metres from the camera at which nothing is in focus any more."""
_ROW_TIME = 1 / 30 / 720
"""Seconds between the rows of a rolling shutter."""


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
        return self.face_m / self.face_px

    @property
    def face_px(self) -> float:
        """Longer side of the mesh's box in pixels."""
        return float(np.ptp(self.mesh[:, :2], axis=0).max())


@dataclass(frozen=True, slots=True)
class FramingParams:
    """How an attacker frames a portrait."""

    shape: tuple[int, int]
    """Rows and columns of the file."""
    placing: Placing
    """Where the face lies in it, pixels."""


@dataclass(frozen=True, slots=True)
class FileParams:
    """What becomes of a picture on its way to the medium."""

    black: NotNegative
    """Light that becomes black."""
    span: Positive
    """Light above it that becomes white."""
    gain: Positive
    """Factor upon the light after that."""
    beautified: bool
    """Smoothed between edges, as phones do."""
    codec: CodecParams

    def developed(self, light: Array) -> Array:
        """uint8 RGB (h, w, 3) of linear light, before the codec."""
        toned = np.maximum(light - self.black, 0) / self.span * np.float32(self.gain)
        picture = np.rint(to_srgb(toned) * 255).astype(np.uint8)
        return np.asarray(cv2.bilateralFilter(picture, 5, 25, 3)) if self.beautified else picture


def draw_framing(
    rng: np.random.Generator, person: PersonPicture, face_px: float, screen: bool
) -> FramingParams:
    """A close portrait or one with shoulders and room, tall for a sheet or wide for a screen.

    Args:
        rng: Random numbers.
        person: Who is shown.
        face_px: Size of the face as the camera will see it: sets the file's resolution.
        screen: Framed for a screen instead of a sheet.
    """
    fine = float(np.clip(face_px * rng.uniform(0.9, 1.5), 60, 340))
    # From a face cut out closely to a medium that fills the camera's view, without an edge in it.
    widths = ((1.0, 1.25), (1.25, 2.6), (2.6, 5.5))
    around = rng.uniform(*widths[int(rng.choice(3, p=(0.2, 0.58, 0.22)))])
    tall = rng.uniform(1.0, 1.5) if not screen else rng.choice([0.5625, 0.66, 1.33, 1.78, 2.05])
    rows = int(fine * around * max(1.0, tall))
    columns = int(fine * around * max(1.0, 1 / tall) * (1.0 if tall >= 1 else 0.8))
    rows, columns = min(rows, 1000), min(columns, 1200)
    place = (columns * rng.uniform(0.42, 0.58), rows * rng.uniform(0.38, 0.55))
    placing = Placing(place, fine, float(rng.normal(0, 3)))
    rows = max(min(rows, native_extent(person, placing)[3]), int(place[1] + 0.6 * fine))
    return FramingParams((rows, columns), placing)


def draw_file(rng: np.random.Generator, light: Array) -> FileParams:
    """The fate of a file whose first picture is float32 (h, w, 3) linear light."""
    low, high = np.percentile(light[::4, ::4], (1.5, 98))
    low = low * rng.uniform(0, 1)  # most photographs use the whole range
    gain = float(rng.uniform(0.75, 1.2))
    beautified = bool(rng.random() < 0.3)
    codec = draw_codec(rng)
    return FileParams(float(low), max(float(high - low), 0.05), gain, beautified, codec)


def draw_face_size(rng: np.random.Generator, screen: bool) -> float:
    """Metres of a face on a sheet; on a screen the display's own size decides in the end."""
    on_sheet = float(np.exp(rng.uniform(np.log(0.035), np.log(0.24))))
    return float(np.exp(rng.uniform(np.log(0.045), np.log(0.25)))) if screen else on_sheet


def draw_shown(
    rng: np.random.Generator, person: PersonPicture, face_px: float, screen: bool
) -> Shown:
    """A portrait as an attacker gets it: framed, saved, perhaps from a social network.

    Arguments as of :func:`draw_framing`.
    """
    framing = draw_framing(rng, person, face_px, screen)
    native = bool(rng.random() < 0.5) or not person.whole
    composed = compose(rng, person, framing.placing, framing.shape, native)
    file = draw_file(rng, composed.light)
    picture = encoded([file.developed(composed.light)], file.codec)[0]
    return Shown(picture, composed.mesh, draw_face_size(rng, screen))


def _pose(
    rng: np.random.Generator,
    face: Array,
    face_m: float,
    size: tuple[float, float],
    view: View,
    at: tuple[float, float],
    face_px: float,
    tilt: float,
    sag: float = 0.0,
) -> Pose:
    """A pose that brings the face, (2,) metres on the medium, to its place at its size.

    The medium's edges come nearer than its plane by ``sag`` metres, as it is bent.
    """
    distance = max(view.focal * face_m / face_px, _NEAREST)
    angles = (
        float(np.clip(rng.normal(0, tilt), -38, 38)),
        float(np.clip(rng.normal(0, 0.8 * tilt), -32, 32)),
        float(np.clip(rng.normal(0, 6), -20, 20)),
    )
    corners = np.array([[0.0, 0.0], [1, 0], [0, 1], [1, 1]]) * size - face
    for _ in range(8):  # what is large and near is held straighter: it must not touch the camera
        nearest = distance - sag + float((corners @ rotation_of(*angles)[2, :2]).min())
        if nearest > 0.75 * _NEAREST:
            break
        angles = (0.7 * angles[0], 0.7 * angles[1], angles[2])
    from_middle = np.append(face - np.asarray(size) / 2, 0.0)
    ray = np.array(
        [(at[0] - view.centre[0]) / view.focal, (at[1] - view.centre[1]) / view.focal, 1]
    )
    position = ray * distance - rotation_of(*angles) @ from_middle
    return Pose((float(position[0]), float(position[1]), float(position[2])), angles)


def _seen_mesh(shown: Shown, pixel: float, sheet: Sheet, view: View, scale: float) -> Array:
    """The face's mesh, float32 (468, 3), in the camera's pixels; ``scale`` is that of z."""
    places = sheet.places(shown.mesh[:, :2] * pixel + sheet.border[:2], view)
    return np.column_stack([places, shown.mesh[:, 2:] * scale]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class PrintHoldParams:
    """How a print is presented."""

    face_m: Positive
    """Longer side of the face on the sheet, metres."""
    border: tuple[NotNegative, NotNegative, NotNegative, NotNegative]
    """White paper left, top, right and below, metres."""
    curvature: float
    """1 per metre; positive bulges towards the camera."""
    axis_angle: float
    """Degrees by which the axis of the bend is turned from upright, clockwise."""
    lamp: Colour
    """Light on the sheet, where 1 lights white to the picture's white."""
    grip: GripParams


@dataclass(frozen=True, slots=True)
class HeldPrint:
    """A print in somebody's hands."""

    params: PrintHoldParams
    sheet: Sheet
    """Its pose is the one that was drawn: the face is at its place."""
    view: View
    _light: Array
    """float32 (h, w, 3): the sheet's light."""
    _shown: Shown
    _scale: float
    """Camera's pixels per pixel of the file."""

    def seen(self, room: Array, pose: Pose | None = None) -> tuple[Array, Array]:
        """The camera's view of it.

        Args:
            room: float32 (h, w, 3): what the camera sees without the print, linear light.
            pose: Where the sheet is; None: where it was taken up.

        Returns:
            float32 (h, w, 3) light, and the mesh float32 (468, 3) in pixels.
        """
        sheet = self.sheet if pose is None else replace(self.sheet, pose=pose)
        seen, pixel = sheet.seen(self.view), self._shown.metres_per_pixel
        layer = fetch(self._light, seen.x / pixel - 0.5, seen.y / pixel - 0.5)
        mesh = _seen_mesh(self._shown, pixel, sheet, self.view, self._scale)
        return in_hands(room, layer, seen, sheet, self.view, self.params.grip, mesh), mesh


def hold_print(
    rng: np.random.Generator,
    room: Array,
    shown: Shown,
    printer: PrinterParams,
    view: View,
    at: tuple[float, float],
    face_px: float,
) -> HeldPrint:
    """Print a picture and take it up.

    Args:
        rng: Draws the sheet, the pose, the bend, the hands and the light.
        room: float32 (h, w, 3): what the camera sees without the print, linear light.
        shown: What is printed.
        printer: By what.
        view: The camera.
        at: Pixel at which the face is held.
        face_px: Size of the face in pixels.
    """
    pixel = shown.metres_per_pixel
    margin = int(rng.uniform(0, 0.12) * min(shown.picture.shape[:2])) if rng.random() < 0.6 else 0
    sides = (margin, int(margin * rng.uniform(0.7, 2.5)), margin, margin)
    white = cv2.copyMakeBorder(
        shown.picture, sides[1], sides[3], sides[0], sides[2], cv2.BORDER_CONSTANT,
        value=(255, 255, 255),
    )  # fmt: skip
    size = (white.shape[1] * pixel, white.shape[0] * pixel)
    border = (sides[0] * pixel, sides[1] * pixel, sides[2] * pixel, sides[3] * pixel)
    bends = rng.random() < 0.55
    # Paper bends to a radius of about its own width at most.
    curvature = float(np.clip(rng.normal(0, 0.9), -2, 2)) / max(size) if bends else 0.0
    axis = float(rng.choice([0.0, 90.0, rng.uniform(0, 180)]))
    face = shown.mesh[:, :2].mean(axis=0) * pixel + border[:2]
    sag = max(-curvature, 0.0) * 0.5 * (0.5 * float(np.hypot(*size))) ** 2
    pose = _pose(rng, face, shown.face_m, size, view, at, face_px, 14.0, sag)
    ink = Printer(printer).printed(np.asarray(white), pixel, rng)
    shade, glare = sheet_light(white.shape[:2], rng, printer.gloss, curvature * size[0])
    level = _room_level(room) * rng.uniform(0.7, 2.0)
    lamp = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32) * level
    grip = draw_grip(rng, level)
    colour = (float(lamp[0]), float(lamp[1]), float(lamp[2]))
    return HeldPrint(
        PrintHoldParams(shown.face_m, border, curvature, axis, colour, grip),
        Sheet(size, border, pose, curvature, axis),
        view,
        (ink * shade[..., None] + glare) * lamp,
        shown,
        face_px / shown.face_px,
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
    """One picture of a held print; arguments as of :func:`hold_print`.

    Returns:
        float32 (h, w, 3) light, and the mesh float32 (468, 3) in pixels.
    """
    return hold_print(rng, room, shown, printer, view, at, face_px).seen(room)


@dataclass(frozen=True, slots=True)
class ScreenHoldParams:
    """How a screen is presented."""

    face_m: Positive
    """Longer side of the face on the display, metres."""
    border: tuple[NotNegative, NotNegative, NotNegative, NotNegative]
    """Metres of frame left, top, right and below."""
    gain: Positive
    """Factor upon the display's own light: brightness set, and the camera's exposure."""
    ambient: NotNegative
    """The room's light on the glass, where 1 lights white to the picture's white."""
    optics: Share
    """Standard deviation of the lens's blur of the lattice, camera pixels."""
    registration: tuple[NotNegative, NotNegative]
    """Display pixels by which its lattice is shifted right and down."""
    exposure: Positive
    """Seconds that the shutter is open."""
    start: Share
    """Seconds at which the first row of the first picture starts."""
    grip: GripParams


@dataclass(frozen=True, slots=True)
class HeldScreen:
    """A display in somebody's hands."""

    params: ScreenHoldParams
    sheet: Sheet
    """Its pose is the one that was drawn: the face is at its place."""
    view: View
    _display: DisplayParams
    _shown: Shown
    _pixel: float
    """Metres of a pixel of the file on the display."""
    _mirrored: Array
    """float32 (h, w, 3): the room that stands in the glass at the pose that was drawn."""
    _scale: float

    def seen(
        self, room: Array, pose: Pose | None = None, shown: Shown | None = None, time: float = 0.0
    ) -> tuple[Array, Array]:
        """The camera's view of it.

        Args:
            room: float32 (h, w, 3): what the camera sees without the display, linear light.
            pose: Where the display is; None: where it was taken up.
            shown: What it plays, of the first picture's size; None: the first picture.
            time: Seconds since the first picture.

        Returns:
            float32 (h, w, 3) light, and the mesh float32 (468, 3) in pixels.
        """
        sheet = self.sheet if pose is None else replace(self.sheet, pose=pose)
        shown, held, display = shown or self._shown, self.params, self._display
        seen = sheet.seen(self.view)
        rows, columns = shown.picture.shape[:2]
        emitted = displayed(shown.picture, display, sheet.pose.angles[:2])
        right, down = seen.x - held.border[0], seen.y - held.border[1]
        x, y = right / self._pixel - 0.5, down / self._pixel - 0.5
        layer = fetch(emitted * np.float32(held.gain), x, y)
        layer = layer * lattice_on_sensor(
            right / display.pixel_pitch + np.float32(held.registration[0]),
            down / display.pixel_pitch + np.float32(held.registration[1]),
            display,
            held.optics,
        )
        bands = refresh_bands(
            self.view.shape[0], _ROW_TIME, held.exposure, display, held.start + time
        )
        layer = layer * bands[:, None, None]
        lit = _window(x, y, columns, rows)[..., None]
        bezel = np.asarray(display.bezel_reflectance * held.ambient, np.float32)
        mirrored = self._reflected(sheet.pose) * np.float32(held.ambient)
        veil = np.float32(display.veil) * held.ambient + mirrored * np.float32(display.mirror)
        layer = layer * lit + bezel * (1 - lit) + veil
        mesh = _seen_mesh(shown, self._pixel, sheet, self.view, self._scale)
        return in_hands(room, layer, seen, sheet, self.view, held.grip, mesh), mesh

    def _reflected(self, pose: Pose) -> Array:
        """The mirrored room at a pose: far things move by twice the turn of the glass."""
        if pose == self.sheet.pose:
            return self._mirrored
        before, now = (rotation_of(*one.angles)[:, 2] for one in (self.sheet.pose, pose))
        ahead = np.array([0.0, 0.0, 1.0])
        away = ahead - 2 * (ahead @ before) * before
        back = away - 2 * (away @ now) * now
        shift = self.view.focal * back[:2] / max(float(back[2]), 0.1)
        matrix = np.column_stack([np.eye(2), shift]).astype(np.float32)
        size = self._mirrored.shape[1::-1]
        mode = cv2.BORDER_REFLECT_101
        return np.asarray(cv2.warpAffine(self._mirrored, matrix, size, borderMode=mode))


def hold_screen(
    rng: np.random.Generator,
    room: Array,
    shown: Shown,
    display: DisplayParams,
    view: View,
    at: tuple[float, float],
    face_px: float,
) -> HeldScreen:
    """Show a picture on a display and take it up; arguments as of :func:`hold_print`.

    The picture fills the display one way or the other, whatever ``shown.face_m`` says.
    """
    rows, columns = shown.picture.shape[:2]
    long, short = max(display.size), min(display.size)
    pixel = min(long / max(rows, columns), short / min(rows, columns))
    shown = replace(shown, face_m=shown.face_m * pixel / shown.metres_per_pixel)
    rim = display.bezel * float(rng.choice([0.4, 1.0, 1.0, 1.6]))
    border = (rim, rim * rng.uniform(0.6, 3.0), rim, rim * rng.uniform(0.6, 3.0))
    size = (columns * pixel + border[0] + border[2], rows * pixel + border[1] + border[3])
    face = shown.mesh[:, :2].mean(axis=0) * pixel + border[:2]
    pose = _pose(rng, face, shown.face_m, size, view, at, face_px, 10.0)
    ambient = _room_level(room)
    emitted = displayed(shown.picture, display, pose.angles[:2])
    strength = ambient * float(np.exp(rng.uniform(np.log(0.7), np.log(7.0))))
    mean = max(float(np.percentile(emitted[::4, ::4], 90)), 0.02)
    optics = float(rng.uniform(0.35, 1.0))
    across, down = (float(value) for value in rng.random(2) * 2.0)
    exposure = float(rng.choice([1 / 25, 1 / 50, 1 / 60, 1 / 100, 1 / 250]))
    start = float(rng.uniform(0, 1))
    backdrop = np.clip(to_srgb(room / max(ambient * 2, 1e-3)) * 255, 0, 255).astype(np.uint8)
    mirrored = reflection(view.shape, rng, backdrop, display.matte)
    params = ScreenHoldParams(
        shown.face_m, border, strength / mean, ambient, optics, (across, down), exposure, start,
        draw_grip(rng, ambient),
    )  # fmt: skip
    sheet = Sheet(size, border, pose, 0.0, 0.0)
    scale = face_px / shown.face_px
    return HeldScreen(params, sheet, view, display, shown, pixel, mirrored, scale)


def present_screen(
    rng: np.random.Generator,
    room: Array,
    shown: Shown,
    display: DisplayParams,
    view: View,
    at: tuple[float, float],
    face_px: float,
) -> tuple[Array, Array]:
    """One picture of a held screen; arguments and returns as of :func:`present_print`."""
    return hold_screen(rng, room, shown, display, view, at, face_px).seen(room)


def _window(x: Array, y: Array, columns: int, rows: int) -> Array:
    """1 on the lit part of the display, falling to 0 over a pixel."""
    inner = np.minimum(np.minimum(x + 0.5, columns - 0.5 - x), np.minimum(y + 0.5, rows - 0.5 - y))
    step = max(float(np.abs(np.diff(x[x.shape[0] // 2])).mean()), 1e-3)
    return np.asarray(np.clip(inner / step + 0.5, 0, 1), np.float32)


def _room_level(room: Array) -> float:
    return float(np.clip(np.percentile(room[::8, ::8], 75), 0.05, 3.0))


__all__ = [
    "FileParams",
    "FramingParams",
    "HeldPrint",
    "HeldScreen",
    "PrintHoldParams",
    "ScreenHoldParams",
    "Shown",
    "View",
    "draw_face_size",
    "draw_file",
    "draw_framing",
    "draw_shown",
    "hold_print",
    "hold_screen",
    "placed_mesh",
    "present_print",
    "present_screen",
]
