"""A flat medium before a camera: where it is, the hands that hold it, the shadow that it throws."""

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Interval

from .handheld import Pose, SheetMap, bent_grid, bent_places
from .hands import draw_hand_behind, draw_thumb
from .parameters import Array, Colour, NotNegative, Positive, Share
from .render import lay_over

Edge = Literal["left", "right", "below", "above"]

_SKINS = ((0.62, 0.43, 0.34), (0.45, 0.28, 0.2), (0.25, 0.14, 0.1), (0.1, 0.06, 0.045))


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
class Sheet:
    """A medium's outline and how it is held."""

    size: tuple[float, float]
    """Metres, with border or bezel."""
    border: tuple[float, float, float, float]
    """Metres left, top, right, bottom of the picture."""
    pose: Pose
    curvature: float
    """1 per metre; positive bulges towards the camera."""
    axis_angle: float
    """Degrees by which the axis of the bend is turned from upright, clockwise."""

    def places(self, points: Array, view: View) -> Array:
        """Pixels float64 (n, 2) of points (n, 2) in metres from the upper left corner."""
        return bent_places(
            points, self.curvature, self.axis_angle, self.size, self.pose, view.focal, view.centre
        )

    def seen(self, view: View) -> SheetMap:
        """Which place of the medium every pixel sees."""
        return bent_grid(
            self.curvature,
            self.axis_angle,
            self.size,
            self.pose,
            view.focal,
            view.centre,
            view.shape,
        )


@dataclass(frozen=True, slots=True)
class ShadowParams:
    """The shadow that a medium throws on what is behind it."""

    blur: Positive
    """Standard deviation of its edge in pixels."""
    right: float
    """Pixels that it lies beside the medium."""
    down: float
    """Pixels that it lies below the medium."""
    strength: Share
    """Share of the light that it takes."""


@dataclass(frozen=True, slots=True)
class HandParams:
    """One hand on a medium's edge."""

    edge: Edge
    along: Share
    """Where on the edge, from the top or the left."""
    size: Annotated[float, Interval(ge=0.5, le=2)]
    """Over that of a hand at the medium's distance."""


@dataclass(frozen=True, slots=True)
class GripParams:
    """What surrounds a medium: its shadow and the hands that hold it."""

    shadow: ShadowParams | None = None
    hands: tuple[HandParams, ...] = ()
    skin: Colour = _SKINS[0]
    """Linear reflectance of the hands."""
    sleeve: Colour = _SKINS[0]
    """Linear reflectance of the sleeves; the skin's where the arms are bare."""
    light: NotNegative = 1.0
    """Light on the hands, where 1 lights white to the picture's white."""


def draw_grip(rng: np.random.Generator, light: float) -> GripParams:
    """A shadow or none, and no to two hands, under a light of this level."""
    shadow = None
    if rng.random() < 0.5:
        blur = float(rng.uniform(3, 25))
        right, down = float(rng.normal(0, 8)), float(rng.uniform(0, 15))
        shadow = ShadowParams(blur, right, down, float(rng.uniform(0.1, 0.5)))
    if rng.random() >= 0.7:
        return GripParams(shadow, light=light)
    base = np.asarray(_SKINS[int(rng.integers(len(_SKINS)))], np.float32)
    skin = base * np.float32(rng.uniform(0.8, 1.2))
    sleeve = rng.uniform(0.02, 0.6) * np.exp(rng.normal(0, 0.3, 3)).astype(np.float32)
    if rng.random() < 0.5:
        sleeve = skin
    edges: tuple[Edge, ...] = ("left", "right", "below", "above")
    order = rng.permutation(list(edges))[: int(rng.integers(1, 3))]
    hands = []
    for edge in (one for name in order for one in edges if one == str(name)):
        along = rng.uniform(0.35, 0.9) if edge in ("left", "right") else rng.uniform(0.2, 0.8)
        hands.append(HandParams(edge, float(along), float(rng.uniform(0.9, 1.25))))
    return GripParams(shadow, tuple(hands), _colour(skin), _colour(sleeve), light)


def _colour(values: Array) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def in_hands(
    room: Array,
    layer: Array,
    seen: SheetMap,
    sheet: Sheet,
    view: View,
    grip: GripParams,
    face: Array,
) -> Array:
    """The medium in its hands before the room, with the shadow that it throws.

    Args:
        room: float32 (h, w, 3), linear light.
        layer: float32 (h, w, 3): the medium's light at the camera's pixels.
        seen: Where the medium is.
        sheet: The medium.
        view: The camera.
        grip: Shadow and hands.
        face: float (468, 2 or 3): mesh of the face on the medium, which no thumb hides.

    Returns:
        float32 (h, w, 3).
    """
    picture = room.copy()
    if grip.shadow is not None:
        shift = np.array([[1, 0, grip.shadow.right], [0, 1, grip.shadow.down]], np.float32)
        dark = cv2.warpAffine(seen.inside, shift, view.shape[::-1])
        dark = np.asarray(cv2.GaussianBlur(dark, (0, 0), grip.shadow.blur))
        picture *= 1 - np.float32(grip.shadow.strength) * dark[..., None]
    hands = [_layers(hand, sheet, view, grip) for hand in grip.hands]
    free = 1 - _face(face, view.shape)[..., None] if hands else np.float32(1)
    for behind, _ in hands:
        behind[..., :3] *= np.float32(grip.light)
        lay_over(picture, behind)
    share = seen.inside[..., None]
    picture = picture * (1 - share) + np.maximum(layer, 0) * share
    for _, thumb in hands:
        thumb[..., :3] *= np.float32(grip.light)
        lay_over(picture, thumb * free)  # nobody hides the face that he shows
    return np.asarray(picture, np.float32)


def _face(mesh: Array, shape: tuple[int, int]) -> Array:
    kept = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(kept, cv2.convexHull(np.round(mesh[:, :2]).astype(np.int32)), 1)
    return np.asarray(cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 2.0))


def _layers(hand: HandParams, sheet: Sheet, view: View, grip: GripParams) -> tuple[Array, Array]:
    """Layers behind and before the medium, float32 (h, w, 4)."""
    rows, columns = view.shape
    along = hand.along
    spot = {"left": (0, along), "right": (1, along), "below": (along, 1), "above": (along, 0)}
    on_sheet = np.asarray([spot[hand.edge]]) * np.asarray(sheet.size)
    (x, y), *_ = sheet.places(on_sheet, view)
    scale = view.focal / sheet.pose.position[2] * hand.size
    # Hands are drawn at a right edge; other edges turn the canvas by quarters.
    turns = {"right": 0, "below": 1, "left": 2, "above": 3}[hand.edge]
    spun = [(x, y), (y, columns - 1 - x), (columns - 1 - x, rows - 1 - y), (rows - 1 - y, x)]
    shape = (rows, columns) if turns % 2 == 0 else (columns, rows)
    behind, thumb = (np.zeros((*shape, 4), np.float32) for _ in range(2))
    skin, sleeve = (np.asarray(colour, np.float32) for colour in (grip.skin, grip.sleeve))
    draw_hand_behind(behind, spun[turns], 1.0, scale, skin, sleeve)
    draw_thumb(thumb, spun[turns], 1.0, scale, skin)
    return _unspun(behind, turns), _unspun(thumb, turns)


def _unspun(layer: Array, turns: int) -> Array:
    return np.ascontiguousarray(np.rot90(layer, -turns))
