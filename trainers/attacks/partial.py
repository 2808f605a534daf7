"""Partial attacks: pieces of paper that hide only a part of a living face.

Where the piece lies on the attacker's face and where bare paper shows on its cut edge: the
geometry of the partial attacks of SiW-M (Liu et al., Deep Tree Learning for Zero-shot Face
Anti-Spoofing, CVPR 2019) and of the cut photos of CASIA-FASD (Zhang et al. 2012). Left and right
are the person's. Lengths are in interocular distances, so that they fit a face of any size.
"""

from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from ...nodes.canonical import (
    LEFT_EYE,
    LEFT_EYE_CORNERS,
    LIPS,
    MESH_POINTS,
    OVAL,
    RIGHT_EYE,
    RIGHT_EYE_CORNERS,
    canonical_face,
)
from .parameters import Array

PartialKind = Literal[
    "eyes_strip",
    "left_half",
    "right_half",
    "upper_half",
    "lower_half",
    "glasses",
    "eye_holes",
    "mouth_hole",
    "eye_mouth_holes",
]
PARTIAL_KINDS: tuple[PartialKind, ...] = get_args(PartialKind)
"""What partial attacks there are, as named in `instrument` after ``partial:``.

``eyes_strip`` covers the eyes from temple to temple; the halves cover half of the face;
``glasses`` are lenses, bridge and temples cut from paper; the ones with holes cover all of the
face but the eyes, the mouth or both.
"""

_FINER = 4
"""Samples per pixel each way: coverage in steps of a sixteenth."""
_FAR = 6.0
"""Interocular distances that are beyond any face."""


class PaperPiece(NamedTuple):
    """A piece of paper before a face."""

    coverage: Array
    """float32 (h, w): share of each pixel that the paper hides, 0..1."""
    rim: Array
    """float32 (h, w): share of each pixel that shows bare paper on the cut edge, at most the
    coverage; the rest of the coverage shows the print."""


class _Canvas:
    """A part of the picture, finer than its pixels, in which outlines are filled."""

    def __init__(self, low: Array, high: Array) -> None:
        self.low = low
        self.size = high - low

    def fill(self, outline: Array) -> Array:
        """bool: the samples within an outline float (n, 2) in pixels."""
        samples = np.zeros((self.size[1] * _FINER, self.size[0] * _FINER), np.uint8)
        places = (outline - self.low + 0.5) * _FINER - 0.5
        fixed_point = np.rint(places * 16).astype(np.int32)
        cv2.fillPoly(samples, [fixed_point], 1, shift=4)
        return samples.astype(bool)


class _Frame(NamedTuple):
    """The flat face in the picture: canonical x and y, interocular distances, to pixels."""

    matrix: Array
    """float64 (2, 3)."""

    @property
    def unit(self) -> float:
        """Pixels of an interocular distance, the geometric mean over both directions."""
        return float(np.sqrt(max(abs(np.linalg.det(self.matrix[:, :2])), 1e-6)))

    def pixels(self, points: Array) -> Array:
        """float64 (n, 2)."""
        return np.asarray(points @ self.matrix[:, :2].T + self.matrix[:, 2])


def partial_mask(
    kind: PartialKind, mesh: Array, shape: tuple[int, int], rng: np.random.Generator
) -> Array:
    """What a partial attack hides: float32 (h, w), as `partial_piece(...).coverage`."""
    return partial_piece(kind, mesh, shape, rng).coverage


def partial_piece(
    kind: PartialKind, mesh: Array, shape: tuple[int, int], rng: np.random.Generator
) -> PaperPiece:
    """Cut a piece of paper for a face and hold it before that face.

    Sizes, the cut's unsteadiness and how well the piece is placed are drawn at random.

    Args:
        kind: One of :data:`PARTIAL_KINDS`.
        mesh: float (468, 3): the attacker's face in pixels by their centres; z is not used.
        shape: Height and width of the picture in pixels.
        rng: Source.

    Returns:
        The piece; nothing of it where the face is out of the picture. Its edges are as sharp as
        pixels allow: between 0 and 1 over one pixel.

    Raises:
        ValueError: The kind is unknown, or the mesh has another shape or holds what is no number.
    """
    _check(kind, mesh)
    frame = _frame_of(mesh)
    flat = np.asarray(mesh[:, :2], np.float64)
    canvas = _canvas_of(flat, frame, shape)
    if canvas is None:
        return PaperPiece(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    held = _placed(flat, frame, rng)
    widest = 0.015 if kind == "glasses" else 0.035
    rim = frame.unit * rng.uniform(0.0, widest) * _FINER
    samples = _cut(kind, held, _frame_of(held), canvas, rng).astype(np.uint8)
    from_edge = cv2.distanceTransform(samples, cv2.DIST_L2, 3)
    bare = (samples > 0) & (np.asarray(from_edge) <= rim)
    return PaperPiece(_pixels(samples, canvas, shape), _pixels(bare, canvas, shape))


def _cut(
    kind: PartialKind, flat: Array, frame: _Frame, canvas: _Canvas, rng: np.random.Generator
) -> Array:
    """bool: samples of the canvas on the piece."""
    if kind == "eyes_strip":
        return canvas.fill(_wobbling(frame.pixels(_strip(rng)), frame, rng))
    if kind == "glasses":
        return _glasses(frame, canvas, rng)
    whole = canvas.fill(_wobbling(_face_outline(flat, rng.uniform(0.95, 1.2)), frame, rng))
    if kind.endswith("_half"):
        return whole & canvas.fill(_wobbling(frame.pixels(_half(kind, rng)), frame, rng))
    if kind in ("eye_holes", "eye_mouth_holes"):
        width, height = rng.uniform(1.0, 1.6), rng.uniform(1.2, 2.4)
        for eye in (RIGHT_EYE, LEFT_EYE):
            hole = _grown(flat[list(eye)], frame, width, height)
            whole &= ~canvas.fill(_wobbling(hole, frame, rng, 0.01))
    if kind in ("mouth_hole", "eye_mouth_holes"):
        hole = _grown(flat[list(LIPS)], frame, rng.uniform(1.0, 1.4), rng.uniform(1.0, 1.5))
        whole &= ~canvas.fill(_wobbling(hole, frame, rng, 0.01))
    return whole


def _strip(rng: np.random.Generator) -> Array:
    """Outline of a strip over the eyes, canonical."""
    half_width, above, below = rng.uniform(0.95, 1.3), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.45)
    return _rectangle(-half_width, half_width, -above, below)


def _half(kind: PartialKind, rng: np.random.Generator) -> Array:
    """Outline of a half-plane, canonical."""
    if kind in ("right_half", "left_half"):
        edge = rng.uniform(-0.12, 0.12)
        sides = (-_FAR, edge) if kind == "right_half" else (edge, _FAR)
        outline = _rectangle(*sides, -_FAR, _FAR)
    else:
        edge = rng.uniform(0.25, 0.6)  # between the bridge and the tip of the nose
        sides = (-_FAR, edge) if kind == "upper_half" else (edge, _FAR)
        outline = _rectangle(-_FAR, _FAR, *sides)
    return outline @ _turn(rng.normal(0.0, 4.0)).T


def _glasses(frame: _Frame, canvas: _Canvas, rng: np.random.Generator) -> Array:
    """Lenses (printed, not open), bridge and temples."""
    half = np.array([rng.uniform(0.36, 0.46), rng.uniform(0.24, 0.38)])
    exponent = rng.uniform(2.0, 4.0)  # an ellipse to a rounded rectangle
    around = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    c, s = np.cos(around), np.sin(around)
    rounded = np.column_stack([np.sign(c) * np.abs(c), np.sign(s) * np.abs(s)])
    rounded = half * np.sign(rounded) * np.abs(rounded) ** (2 / exponent)
    bar = rng.uniform(0.05, 0.1)
    level = rng.uniform(-0.12, 0.0)
    parts = [rounded + np.array([side * 0.5, 0.03]) for side in (-1, 1)]
    parts.append(_rectangle(-0.5, 0.5, level - bar / 2, level + bar / 2))
    outer, end = 0.4 + half[0], rng.uniform(1.0, 1.15)
    for side in (-1, 1):
        parts.append(_rectangle(side * outer, side * end, level - bar / 2, level + bar / 2))
    filled = [canvas.fill(_wobbling(frame.pixels(part), frame, rng, 0.01)) for part in parts]
    return np.asarray(np.logical_or.reduce(filled))


def _rectangle(left: float, right: float, top: float, bottom: float) -> Array:
    """float64 (4, 2)."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _face_outline(flat: Array, size: float) -> Array:
    """The face's outline around its middle, ``size`` times as large."""
    hull = cv2.convexHull(flat[list(OVAL)].astype(np.float32))[:, 0].astype(np.float64)
    middle = flat[list(OVAL)].mean(axis=0)
    return np.asarray(middle + (hull - middle) * size)


def _grown(outline: Array, frame: _Frame, width: float, height: float) -> Array:
    """An outline stretched about its middle along the face's own directions."""
    to_face = np.linalg.pinv(frame.matrix[:, :2])
    middle = outline.mean(axis=0)
    stretch = frame.matrix[:, :2] @ np.diag([width, height]) @ to_face
    return np.asarray(middle + (outline - middle) @ stretch.T)


def _wobbling(
    outline: Array, frame: _Frame, rng: np.random.Generator, amount: float = 0.02
) -> Array:
    """An outline as unsteady scissors cut it: off by ``amount`` interocular distances (std)."""
    closed = np.vstack([outline, outline[:1]])
    travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    count = int(np.clip(travelled[-1] / max(0.03 * frame.unit, 1.0), 24, 2000))
    at = np.linspace(0, travelled[-1], count, endpoint=False)
    line = np.column_stack([np.interp(at, travelled, closed[:, i]) for i in range(2)])
    step = max(1.0, 0.5 * frame.unit * count / max(travelled[-1], 1e-6))  # half an eye distance
    spectrum = np.fft.rfft(rng.standard_normal((count, 2)), axis=0)
    spectrum *= np.exp(-((np.arange(len(spectrum)) * step / count) ** 2))[:, None]
    offset = np.fft.irfft(spectrum, count, axis=0)
    offset *= amount * frame.unit / max(float(offset.std()), 1e-9)
    return np.asarray(line + offset)


def _placed(flat: Array, frame: _Frame, rng: np.random.Generator) -> Array:
    """The face's points where the piece has them: it is not held quite right."""
    middle = frame.matrix[:, 2]
    shift = rng.normal(0.0, 0.03, 2) * frame.unit
    turn = _turn(rng.normal(0.0, 2.0)) * rng.uniform(0.97, 1.05)
    return np.asarray((flat - middle) @ turn.T + middle + shift)


def _turn(degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _frame_of(flat: Array) -> _Frame:
    """The flat face that lies best on the mesh: paper does not follow the nose.

    The origin is put between the eyes, which matter most.
    """
    points = canonical_face().points[:, :2].astype(np.float64)
    centred = points - points.mean(axis=0)
    places = np.asarray(flat[:, :2], np.float64)
    linear = np.linalg.lstsq(centred, places - places.mean(axis=0), rcond=None)[0].T
    eyes = [*RIGHT_EYE_CORNERS, *LEFT_EYE_CORNERS]
    origin = places[eyes].mean(axis=0) - linear @ points[eyes].mean(axis=0)
    return _Frame(np.column_stack([linear, origin]))


def _canvas_of(flat: Array, frame: _Frame, shape: tuple[int, int]) -> _Canvas | None:
    """The part of the picture that a piece may reach; None where that is out of the picture."""
    margin = 0.8 * frame.unit + 2
    limit = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(flat.min(axis=0) - margin), 0, limit).astype(int)
    high = np.clip(np.ceil(flat.max(axis=0) + margin) + 1, 0, limit).astype(int)
    return _Canvas(low, high) if (high > low).all() else None


def _pixels(samples: Array, canvas: _Canvas, shape: tuple[int, int]) -> Array:
    """float32 (h, w): the share of each pixel's samples."""
    whole = np.zeros(shape, np.float32)
    (x, y), (w, h) = canvas.low, canvas.size
    shares = cv2.resize(samples.astype(np.float32), (int(w), int(h)), interpolation=cv2.INTER_AREA)
    whole[y : y + h, x : x + w] = shares
    return whole


def _check(kind: str, mesh: Array) -> None:
    if kind not in PARTIAL_KINDS:
        raise ValueError(
            f"kind: expected one of {', '.join(PARTIAL_KINDS)}, found {kind!r}; take one of them"
        )
    if mesh.shape != (MESH_POINTS, 3) or not np.isfinite(mesh).all():
        raise ValueError(
            f"mesh: expected ({MESH_POINTS}, 3) finite numbers, found shape {mesh.shape}"
            f"{'' if np.isfinite(mesh).all() else ' with NaN or infinity'}; leave the face out"
        )
