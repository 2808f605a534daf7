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
from .partial import PARTIAL_KINDS, PartialKind, partial_mask
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


@dataclass(frozen=True, slots=True)
class MaskFitParams:
    """What is drawn when a mask is put on."""

    bare: NotNegative
    """Light of its bare material."""
    lamp: tuple[float, float, float]
    """Unit vector towards the lamp that models its relief; z is negative towards the camera."""
    light: NotNegative
    """Factor upon the paint's light."""


@dataclass(frozen=True, slots=True)
class WornMask:
    """A mask on somebody's head, for as many pictures as are wanted."""

    params: WornMaskParams
    fit: MaskFitParams
    _face: PersonPicture
    _head: Array
    """float32 (468, 3): the wearer's mesh when it was put on."""
    _shell: Array
    """float32 (468, 3): the mask's mesh then."""
    _size: float
    """Longer side of the wearer's face then, pixels."""
    _grain: Array
    """float32 (h, w) about 0, in the picture of then."""

    def on(self, wearer: PersonPicture) -> PersonPicture:
        """The wearer in another picture of the same size, the mask moved rigidly with the head."""
        if wearer.mesh is self._head:
            return self._laid(wearer, self._shell, self._grain)
        turn, shift = rigid_motion(self._head, wearer.mesh)
        mesh = (self._shell @ turn.T + shift).astype(np.float32)
        middle = self._shell.mean(axis=0)
        in_plane = mesh[:, :2].mean(axis=0) - turn[:2, :2] @ middle[:2]
        matrix = np.column_stack([turn[:2, :2], in_plane])
        size, mode = wearer.image.shape[1::-1], cv2.BORDER_REFLECT_101
        grain = cv2.warpAffine(self._grain, matrix, size, borderMode=mode)
        return self._laid(wearer, mesh, np.asarray(grain))

    def _laid(self, wearer: PersonPicture, mesh: Array, grain: Array) -> PersonPicture:
        params, fit, size = self.params, self.fit, self._size
        scene = to_linear(wearer.image)
        paint = _paint(self._face, mesh, params, scene.shape[:2], size)
        cover, rim = _shell(mesh, params, scene.shape[:2], size)
        # Bare material is lighter or darker than the skin that it stands for.
        paint = (fit.bare + params.paint * (paint - fit.bare)) * np.asarray(params.tint, np.float32)
        shade, gloss = _relief(mesh, params, np.asarray(fit.lamp), scene.shape[:2])
        # The face's picture brings its own shading; the bare share has none and gets the shell's.
        shade = 1 + (shade - 1) * (1 - 0.6 * params.paint)
        shell = (paint * shade[..., None] * (1 + (grain * params.grain)[..., None])) * fit.light
        shell = shell + (gloss * fit.bare * fit.light)[..., None]
        mixed = scene * (1 - cover[..., None]) + np.maximum(shell, 0) * (rim * cover)[..., None]
        shadow = np.asarray(cv2.GaussianBlur(cover, (0, 0), max(0.02 * size, 0.6))) * (1 - cover)
        mixed = mixed * (1 - 0.4 * shadow[..., None])
        image = np.rint(to_srgb(mixed) * 255).astype(np.uint8)
        return replace(wearer, image=image, mesh=mesh)


def put_on_mask(
    wearer: PersonPicture,
    face: PersonPicture,
    params: WornMaskParams,
    rng: np.random.Generator,
) -> WornMask:
    """Fit a mask of another's face to a wearer.

    Its light stays what it is here: a mask does not blush with its wearer.

    Args:
        wearer: Who wears it.
        face: Whose face it shows.
        params: The mask.
        rng: Draws the lamp and the grain.
    """
    middle = wearer.mesh.mean(axis=0)
    mesh = (middle + (wearer.mesh - middle) * np.float32(params.grow)).astype(np.float32)
    scene, size = to_linear(wearer.image), wearer.face_px
    grey = _paint(face, mesh, params, scene.shape[:2], size) @ LUMINANCE
    cover, _ = _shell(mesh, params, scene.shape[:2], size)
    painted = max(float(np.median(grey[cover > 0.5])) if (cover > 0.5).any() else 0.2, 0.02)
    bare = painted * float(np.exp(rng.uniform(-0.4, 1.0)))
    lamp = rng.normal(0, 1, 3) * (1.0, 0.6, 0.3) + (0, -0.5, -0.9)
    x, y, z = (float(value) for value in lamp / np.linalg.norm(lamp))
    grain = _grain(rng, scene.shape[:2], size)
    light = _level(scene, wearer) / painted * float(np.exp(rng.normal(0, 0.2)))
    fit = MaskFitParams(bare, (x, y, z), light)
    return WornMask(params, fit, face, wearer.mesh, mesh, size, grain)


def with_mask(
    wearer: PersonPicture,
    face: PersonPicture,
    params: WornMaskParams,
    rng: np.random.Generator,
) -> PersonPicture:
    """The wearer with the mask of another's face on; arguments as of :func:`put_on_mask`."""
    return put_on_mask(wearer, face, params, rng).on(wearer)


def rigid_motion(points: Array, target: Array) -> tuple[Array, Array]:
    """Turn, one scale and shift that lay points (n, 3) best on a target (Umeyama 1991).

    Returns:
        float64 (3, 3) and (3,): ``points @ turn.T + shift`` is near the target.
    """
    from_middle, to_middle = points.mean(axis=0), target.mean(axis=0)
    a = np.asarray(points - from_middle, np.float64)
    left, values, right = np.linalg.svd((target - to_middle).T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = left @ flip @ right * float((values * np.diag(flip)).sum() / (a**2).sum())
    return turn, to_middle - turn @ from_middle


@dataclass(frozen=True, slots=True)
class PaperFitParams:
    """What is drawn when a piece of paper is put on."""

    kind: PartialKind
    rim: NotNegative
    """White paper along the cut, pixels of the source."""
    light: NotNegative
    """Light on the paper, where 1 lights white to the picture's white."""
    offset: NotNegative
    """Pixels right and down by which its shadow lies beside it."""


@dataclass(frozen=True, slots=True)
class WornPaper:
    """A piece of a printed face on a living one, for as many pictures as are wanted."""

    fit: PaperFitParams
    _head: Array
    """float32 (468, 3): the wearer's mesh when it was put on."""
    _light: Array
    """float32 (h, w, 3): the paper's light in the picture of then."""
    _cover: Array
    """float32 (h, w)."""

    def on(self, wearer: PersonPicture) -> PersonPicture:
        """The wearer in another picture of the same size; the piece stays flat on the face."""
        light, cover = self._light, self._cover
        shape = cover.shape
        if wearer.mesh is not self._head:
            flat = np.column_stack([self._head[:, :2], np.ones(len(self._head))])
            matrix = np.linalg.lstsq(flat, wearer.mesh[:, :2].astype(np.float64), rcond=None)[0].T
            light = np.asarray(cv2.warpAffine(light, matrix, shape[::-1], flags=cv2.INTER_CUBIC))
            cover = np.asarray(cv2.warpAffine(cover, matrix, shape[::-1]))
        off = self.fit.offset
        shift = np.array([[1, 0, off], [0, 1, off]], np.float32)
        dark = cv2.GaussianBlur(cv2.warpAffine(cover, shift, shape[::-1]), (0, 0), max(off, 0.7))
        scene = to_linear(wearer.image) * (1 - 0.4 * np.asarray(dark)[..., None])
        mixed = scene * (1 - cover[..., None]) + np.maximum(light, 0) * cover[..., None]
        return replace(wearer, image=np.rint(to_srgb(mixed) * 255).astype(np.uint8))


def put_on_paper(
    wearer: PersonPicture, face: PersonPicture, printer: PrinterParams, rng: np.random.Generator
) -> WornPaper:
    """Cut a piece of a printed face for a wearer.

    Args:
        wearer: Who wears it.
        face: Whose face is printed.
        printer: By what.
        rng: Draws the piece, its place and its light.
    """
    kind = PARTIAL_KINDS[int(rng.integers(len(PARTIAL_KINDS)))]
    scene = to_linear(wearer.image)
    shape, size = scene.shape[:2], wearer.face_px
    flat = _carried_over(face, wearer.mesh, shape, size)
    level = _level(scene, wearer)
    picture = np.rint(to_srgb(flat / max(float(np.percentile(flat, 97)), 0.05)) * 255)
    ink = Printer(printer).printed(picture.astype(np.uint8), 0.2 / size, rng)
    cover = partial_mask(kind, wearer.mesh, shape, rng)
    width = 0
    if rng.random() < 0.5:  # the cut leaves a rim of white paper
        width = max(1, round(float(rng.uniform(0.005, 0.02)) * size))
        inner = cv2.erode(cover, np.ones((2 * width + 1,) * 2, np.uint8))
        white = np.asarray(printer.paper, np.float32)
        ink = ink * np.asarray(inner)[..., None] + white * (1 - np.asarray(inner))[..., None]
    lit = np.float32(level * rng.uniform(1.2, 2.4))
    offset = float(rng.uniform(0, 0.02)) * size
    fit = PaperFitParams(kind, float(width), float(lit), offset)
    return WornPaper(fit, wearer.mesh, np.asarray(ink * lit, np.float32), cover)


def with_paper(
    wearer: PersonPicture, face: PersonPicture, printer: PrinterParams, rng: np.random.Generator
) -> tuple[PersonPicture, str]:
    """The wearer with a piece of a printed face on, and which piece it is."""
    paper = put_on_paper(wearer, face, printer, rng)
    return paper.on(wearer), paper.fit.kind


def _paint(
    face: PersonPicture, mesh: Array, params: WornMaskParams, shape: tuple[int, int], size: float
) -> Array:
    """The face's colours as paint on the shell, float32 (h, w, 3), linear."""
    paint = _carried_over(face, mesh, shape, size)
    if params.smoothing * size > 0.4:
        paint = np.asarray(cv2.GaussianBlur(paint, (0, 0), params.smoothing * size))
    grey = (paint @ LUMINANCE)[..., None]
    return np.asarray(grey + params.saturation * (paint - grey), np.float32)


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
    mesh: Array, params: WornMaskParams, lamp: Array, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Lambert's shade about 1 and the highlight, float32 (h, w)."""
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
