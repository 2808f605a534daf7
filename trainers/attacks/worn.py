"""Attacks that are worn: rigid masks, and pieces of paper on a living face.

A mask is somebody's face as paint on a shell: its relief stays, its colours are smoother and fewer
than skin's, it shines evenly, its eyes are holes, and around it runs an edge. Pieces of paper
(glasses with printed eyes, half faces) leave the rest of the living face as it is.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

import cv2
import numpy as np
from annotated_types import Interval

from ...nodes.canonical import LEFT_EYE, LIPS, OVAL, RIGHT_EYE, canonical_face, point_normals
from .light import LUMINANCE, to_linear, to_srgb
from .parameters import Array, NotNegative, Share
from .partial import PARTIAL_KINDS, partial_mask
from .people import PersonPicture
from .printing import Printer, PrinterParams
from .render import rasterise

MaskKind = Literal["resin", "printed3d", "latex", "plastic", "paper"]
MASK_KINDS: tuple[MaskKind, ...] = get_args(MaskKind)
_NO_MAP = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class WornMaskParams:
    """A mask and its material."""

    kind: MaskKind = "resin"
    gloss: Annotated[float, Interval(ge=0, le=1.5)] = 0.25
    """Highlight over the paint's own brightness."""
    gloss_exponent: Annotated[float, Interval(ge=2, le=120)] = 14.0
    """How narrow the highlight is (Blinn-Phong)."""
    smoothing: NotNegative = 0.012
    """Share of the face over which the paint is even."""
    saturation: Share = 0.85
    """Share of the skin's colour that the paint reaches."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Colour of the material over the paint."""
    paint: Share = 1.0
    """Share of the face's features that are painted; 0 is the bare material."""
    eye_hole: Annotated[float, Interval(ge=0, le=2.2)] = 1.2
    """Size of the eye holes over the eyes'; 0: painted eyes."""
    mouth_hole: bool = False
    rim: Annotated[float, Interval(ge=0, le=0.08)] = 0.015
    """Share of the face over which the edge lies in shade."""
    grow: Annotated[float, Interval(ge=0.85, le=1.25)] = 1.05
    """Size of the shell over the face."""
    grain: Annotated[float, Interval(ge=0, le=0.2)] = 0.02
    """Deviation of layers and casting marks, as a share of the light."""


def draw_worn_mask(rng: np.random.Generator) -> WornMaskParams:
    """A random mask, from bare plastic to a well painted resin cast."""
    kind = MASK_KINDS[int(rng.integers(len(MASK_KINDS)))]
    bare = kind in ("plastic", "printed3d") and rng.random() < 0.6
    return WornMaskParams(
        kind=kind,
        gloss=float(rng.uniform(0.0, 0.1) if kind == "paper" else rng.uniform(0.05, 0.9)),
        gloss_exponent=float(np.exp(rng.uniform(np.log(4), np.log(60)))),
        smoothing=float(rng.uniform(0.0, 0.03)),
        saturation=float(rng.uniform(0.45, 1.0)),
        tint=tuple(float(v) for v in np.exp(rng.normal(0, 0.12, 3))),  # type: ignore[arg-type]
        paint=float(rng.uniform(0.0, 0.35)) if bare else float(rng.uniform(0.7, 1.0)),
        eye_hole=float(rng.uniform(0.9, 1.9)) if rng.random() < 0.8 else 0.0,
        mouth_hole=bool(rng.random() < 0.3),
        rim=float(rng.uniform(0.004, 0.04)),
        grow=float(rng.uniform(0.97, 1.18)),
        grain=float(rng.uniform(0.0, 0.06)),
    )


def with_mask(
    wearer: PersonPicture,
    face: PersonPicture,
    params: WornMaskParams,
    rng: np.random.Generator,
) -> PersonPicture:
    """The wearer with the mask of another's face on.

    Args:
        wearer: Who wears it.
        face: Whose face it shows.
        params: The mask.
        rng: Draws the lamp and the grain.
    """
    mesh = wearer.mesh.copy()
    middle = mesh.mean(axis=0)
    mesh = middle + (mesh - middle) * np.float32(params.grow)
    scene = to_linear(wearer.image)
    paint = _carried_over(face, mesh, scene.shape[:2], wearer.face_px)
    size = wearer.face_px
    if params.smoothing * size > 0.4:
        paint = np.asarray(cv2.GaussianBlur(paint, (0, 0), params.smoothing * size))
    cover, rim = _shell(mesh, params, scene.shape[:2], size)
    grey = (paint @ LUMINANCE)[..., None]
    paint = grey + params.saturation * (paint - grey)
    painted = max(float(np.median(grey[cover > 0.5])) if (cover > 0.5).any() else 0.2, 0.02)
    # Bare material is lighter or darker than the skin that it stands for.
    bare = painted * float(np.exp(rng.uniform(-0.4, 1.0)))
    paint = (bare + params.paint * (paint - bare)) * np.asarray(params.tint, np.float32)
    shade, gloss = _relief(mesh, params, rng, scene.shape[:2])
    # The face's picture brings its own shading; the bare share has none and gets the shell's.
    shade = 1 + (shade - 1) * (1 - 0.6 * params.paint)
    grain = _grain(rng, scene.shape[:2], size) * params.grain
    lit = _level(scene, wearer) / painted * float(np.exp(rng.normal(0, 0.2)))
    shell = (paint * shade[..., None] * (1 + grain[..., None])) * lit
    shell = shell + (gloss * bare * lit)[..., None]
    mixed = scene * (1 - cover[..., None]) + np.maximum(shell, 0) * (rim * cover)[..., None]
    shadow = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.02 * size, 0.6))) * (1 - cover)
    mixed = mixed * (1 - 0.4 * shadow[..., None])
    image = np.rint(to_srgb(mixed) * 255).astype(np.uint8)
    return replace(wearer, image=image, mesh=mesh.astype(np.float32))


def with_paper(
    wearer: PersonPicture, face: PersonPicture, printer: PrinterParams, rng: np.random.Generator
) -> tuple[PersonPicture, str]:
    """The wearer with a piece of a printed face on, and which piece it is."""
    kind = PARTIAL_KINDS[int(rng.integers(len(PARTIAL_KINDS)))]
    scene = to_linear(wearer.image)
    shape, size = scene.shape[:2], wearer.face_px
    flat = _carried_over(face, wearer.mesh, shape, size)
    level = _level(scene, wearer)
    picture = np.rint(to_srgb(flat / max(float(np.percentile(flat, 97)), 0.05)) * 255)
    ink = Printer(printer).printed(picture.astype(np.uint8), 0.2 / size, rng)
    cover = partial_mask(kind, wearer.mesh, shape, rng)
    inner = cv2.erode(cover, np.ones((3, 3), np.uint8))
    if rng.random() < 0.5:  # the cut leaves a rim of white paper
        width = max(1, round(float(rng.uniform(0.005, 0.02)) * size))
        inner = cv2.erode(cover, np.ones((2 * width + 1,) * 2, np.uint8))
        white = np.asarray(printer.paper, np.float32)
        ink = ink * np.asarray(inner)[..., None] + white * (1 - np.asarray(inner))[..., None]
    lit = ink * np.float32(level * rng.uniform(1.2, 2.4))
    off = float(rng.uniform(0, 0.02)) * size
    shift = np.array([[1, 0, off], [0, 1, off]], np.float32)
    dark = cv2.GaussianBlur(cv2.warpAffine(cover, shift, shape[::-1]), (0, 0), max(off, 0.7))
    scene = scene * (1 - 0.4 * np.asarray(dark)[..., None])
    mixed = scene * (1 - cover[..., None]) + lit * cover[..., None]
    image = np.rint(to_srgb(mixed) * 255).astype(np.uint8)
    return replace(wearer, image=image), kind


def _carried_over(face: PersonPicture, mesh: Array, shape: tuple[int, int], size: float) -> Array:
    """A face's colours on another mesh, float32 (h, w, 3), linear; continued around the oval."""
    step = 3
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    places = (mesh[:, :2] + 0.5) / step - 0.5
    field, inside = rasterise(
        places, mesh[:, 2], canonical_face().triangles, face.mesh[:, :2], coarse
    )
    source = to_linear(face.image)
    ratio = face.face_px / size
    if ratio > 1.3:
        source = np.asarray(cv2.GaussianBlur(source, (0, 0), 0.45 * ratio))
    known = inside.astype(np.float32)
    for _ in range(6):  # continue the map beyond the mesh's edge
        weight = cv2.blur(known, (5, 5))
        spread = cv2.blur(field * known[..., None], (5, 5)) / np.maximum(weight, 1e-6)[..., None]
        new = (known == 0) & (weight > 0)
        field[new], known[new] = np.asarray(spread)[new], 1.0
    full = (coarse[1] * step, coarse[0] * step)
    fine = cv2.resize(field, full, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    there = cv2.resize(known, full, interpolation=cv2.INTER_NEAREST)[: shape[0], : shape[1]]
    colours = cv2.remap(source, np.ascontiguousarray(fine), _NO_MAP, cv2.INTER_LINEAR)
    return np.asarray(colours * np.asarray(there)[..., None], np.float32)


def _relief(
    mesh: Array, params: WornMaskParams, rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Lambert's shade about 1 and the highlight, float32 (h, w)."""
    lamp = rng.normal(0, 1, 3) * (1.0, 0.6, 0.3) + (0, -0.5, -0.9)
    lamp = lamp / np.linalg.norm(lamp)
    normals = point_normals(mesh, canonical_face().triangles)
    facing = np.maximum(normals @ lamp.astype(np.float32), 0.0)
    half = lamp + np.array([0.0, 0.0, -1.0])
    half = half / np.linalg.norm(half)
    mirror = np.maximum(normals @ half.astype(np.float32), 0.0) ** params.gloss_exponent
    values = np.column_stack([0.55 + 0.75 * facing, params.gloss * 2.0 * mirror])
    step = 3
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    places = (mesh[:, :2] + 0.5) / step - 0.5
    field, _ = rasterise(places, mesh[:, 2], canonical_face().triangles, values, coarse)
    full = (coarse[1] * step, coarse[0] * step)
    fine = cv2.resize(field, full, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    return np.ascontiguousarray(fine[..., 0]), np.ascontiguousarray(fine[..., 1])


def _shell(
    mesh: Array, params: WornMaskParams, shape: tuple[int, int], size: float
) -> tuple[Array, Array]:
    """Coverage of the shell and the shade of its rim, float32 (h, w)."""
    mask = np.zeros(shape, np.uint8)
    _fill(mask, mesh, OVAL, 1.0, 255)
    if params.eye_hole:
        _fill(mask, mesh, RIGHT_EYE, params.eye_hole, 0)
        _fill(mask, mesh, LEFT_EYE, params.eye_hole, 0)
    if params.mouth_hole:
        _fill(mask, mesh, LIPS, 0.8, 0)
    away = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    cover = cv2.GaussianBlur((mask / np.float32(255.0)), (0, 0), 0.7)
    rim = 1.0 - 0.55 * np.exp(-np.asarray(away) / max(params.rim * size, 0.3))
    return np.asarray(cover), np.asarray(rim, np.float32)


def _fill(mask: Array, mesh: Array, loop: tuple[int, ...], scale: float, value: int) -> None:
    outline = mesh[list(loop), :2]
    middle = outline.mean(axis=0)
    places = np.round((middle + (outline - middle) * scale) * 16).astype(np.int32)
    cv2.fillPoly(mask, [places], value, cv2.LINE_AA, 4)


def _grain(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Array:
    noise = rng.standard_normal(shape).astype(np.float32)
    if rng.random() < 0.5:  # layers of a 3-D printer
        return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.08 * size, sigmaY=0.5)) * 8
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), max(0.006 * size, 0.5))) * 2


def _level(scene: Array, person: PersonPicture) -> float:
    """Median light of the face."""
    x, y = np.round(person.mesh[:, :2]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < scene.shape[1]) & (y < scene.shape[0])
    return float(np.median(scene[y[inside], x[inside]] @ LUMINANCE)) if inside.any() else 0.2
