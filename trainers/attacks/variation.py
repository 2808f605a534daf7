"""Procedural identities: people who do not exist, made from pictures of people who do.

A handful of people is at hand; the networks must work on everybody. So the shape of the face is
warped, its skin takes another tone along the axis of melanin, a second person's features are laid
over it on the mesh, and beards, glasses and make-up come and go. The fine detail stays that of a
photograph. An identity is drawn once and can be applied to every picture of its first person.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval

from ...nodes.canonical import LEFT_EYE, LIPS, OVAL, RIGHT_EYE, canonical_face, point_normals
from .light import LUMINANCE, to_linear, to_srgb
from .parameters import Array, Share
from .people import PersonPicture
from .render import rasterise

_LIGHT_SKIN = np.array([0.62, 0.43, 0.34], np.float32)
_DARK_SKIN = np.array([0.085, 0.048, 0.034], np.float32)
"""Linear reflectance of the lightest and the darkest skin: ends of the melanin axis, between which
skin moves in the logarithm (after the ranges of Angelopoulou 2001 and the Monk scale's swatches).
"""
_STEEPER = (0.4, 0.8, 1.4, 2.4)
"""How much steeper edges are made, until it is enough."""
_FINENESS = (0.6, 1.0)
_BLEND = (0.1, 0.35)
"""Never more: a whole face on another head is what a mask is, and must not be called living."""
_BEARD_FROM = 164
"""Point under the nose: beards grow below it."""


@dataclass(frozen=True, slots=True)
class IdentityParams:
    """What makes a procedural person differ from the pictured one."""

    seed: int = 0
    tone: Annotated[float, Interval(ge=0, le=1)] | None = None
    """Skin tone from 0 (darkest) to 1 (lightest); None keeps the person's own."""
    warp: Annotated[float, Interval(ge=0, le=0.08)] = 0.0
    """Deviation of the face's points, as a share of the face."""
    stretch: Annotated[float, Interval(ge=0.85, le=1.18)] = 1.0
    """Height over width of the head, times its own."""
    blend: Share = 0.0
    """Share of the second person's face."""
    beard: Share = 0.0
    """Strength of a beard."""
    glasses: bool = False
    make_up: Share = 0.0
    """Strength of lipstick and eye shadow."""
    detail: Annotated[float, Interval(ge=0.3, le=1.8)] = 1.0
    """Strength of lines and pores over the person's own: youth or age."""
    fineness: Share = 0.0
    """Least contrast of the finest detail, as a share of that of the next coarser: 0 leaves the
    picture as its camera saw it, 0.9 is a face seen sharply."""
    recolour: Share = 0.0
    """How far hair and clothes change colour."""
    mirror: bool = False


def draw_identity(rng: np.random.Generator, strength: float = 1.0) -> IdentityParams:
    """A random person; ``strength`` 0 gives the pictured one, mirrored or not."""
    if strength <= 0 or rng.random() < 0.12:
        return IdentityParams(
            int(rng.integers(1 << 31)),
            fineness=float(rng.uniform(*_FINENESS)) if strength > 0 else 0.0,
            mirror=bool(rng.random() < 0.5),
        )
    return IdentityParams(
        seed=int(rng.integers(1 << 31)),
        tone=float(rng.random()) if rng.random() < 0.75 else None,
        warp=float(rng.uniform(0.0, 0.035)) * strength,
        stretch=float(rng.uniform(0.92, 1.1)),
        blend=float(rng.uniform(*_BLEND)) if rng.random() < 0.5 else 0.0,
        beard=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.22 else 0.0,
        glasses=bool(rng.random() < 0.22),
        make_up=float(rng.uniform(0.2, 0.9)) if rng.random() < 0.2 else 0.0,
        detail=float(rng.uniform(0.6, 1.5)),
        fineness=float(rng.uniform(*_FINENESS)),
        recolour=float(rng.uniform(0.0, 1.0)) if rng.random() < 0.6 else 0.0,
        mirror=bool(rng.random() < 0.5),
    )


def varied(
    picture: PersonPicture, params: IdentityParams, second: PersonPicture | None = None
) -> PersonPicture:
    """The picture as if this other person stood there.

    Args:
        picture: Of the first person.
        params: Who it becomes.
        second: Gives the features where ``params.blend`` is above 0.
    """
    rng = np.random.default_rng(params.seed)
    linear = to_linear(picture.image)
    if second is not None and params.blend > 0:
        linear = _with_features(linear, picture, second, params.blend)
        picture = replace(picture, lent=(*picture.lent, *sorted(second.persons)))
    skin = _skin_share(linear, picture)
    if params.detail != 1.0:
        linear = _with_detail(linear, skin, params.detail, picture.face_px)
    if params.tone is not None:
        linear = _toned(linear, skin, params.tone, picture)
    if params.recolour:
        linear = _recoloured(linear, picture.coverage * (1 - skin), params.recolour, rng)
    if params.make_up:
        linear = _made_up(linear, picture, params.make_up, rng)
    if params.beard:
        linear = _bearded(linear, picture, params.beard, rng)
    if params.glasses:
        linear = _with_glasses(linear, picture, rng)
    if params.fineness:
        linear = refined(linear, picture, params.fineness)
    image = np.rint(to_srgb(linear) * 255).astype(np.uint8)
    changed = replace(picture, image=image)
    if params.warp or params.stretch != 1.0:
        changed = _warped(changed, params.warp, params.stretch, rng)
    return _mirrored(changed) if params.mirror else changed


def relight(linear: Array, mesh: Array, coverage: Array, to_lamp: Array, strength: float) -> Array:
    """A person's picture under one more lamp: brighter where the face's relief turns to it.

    Args:
        linear: float32 (h, w, 3).
        mesh: float32 (468, 3), pixels of the picture.
        coverage: float32 (h, w): the person.
        to_lamp: float (3,): unit vector towards the lamp, z negative towards the camera.
        strength: Ratio of the lamp's light to the light that is there.
    """
    normals = point_normals(mesh, canonical_face().triangles)
    facing = np.maximum(normals @ to_lamp.astype(np.float32), 0.0)
    field, inside = _on_picture(mesh, facing[:, None], linear.shape[:2], 6)
    radius = max(3, int(np.ptp(mesh[:, 1]) / 6 * 0.25))
    weight = cv2.GaussianBlur(inside, (0, 0), radius)
    spread = cv2.GaussianBlur(field[..., 0] * inside, (0, 0), radius) / np.maximum(weight, 1e-4)
    mixed = np.where(inside > 0, field[..., 0], spread * np.minimum(weight * 4, 1.0))
    shade = cv2.resize(
        mixed.astype(np.float32), linear.shape[1::-1], interpolation=cv2.INTER_LINEAR
    )
    gain = 1.0 + strength * (np.asarray(shade) - 0.5) * coverage
    return np.asarray(linear * np.maximum(gain, 0.05)[..., None], np.float32)


def _on_picture(
    mesh: Array, values: Array, shape: tuple[int, int], step: int
) -> tuple[Array, Array]:
    """Values (468, k) over the mesh on a coarse grid of the picture, and where the mesh is."""
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    places = (mesh[:, :2] + 0.5) / step - 0.5
    field, inside = rasterise(places, mesh[:, 2], canonical_face().triangles, values, coarse)
    return field, inside.astype(np.float32)


def _region(mesh: Array, loop: Sequence[int], shape: tuple[int, ...], soft: float) -> Array:
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(mesh[list(loop), :2]).astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(soft, 0.6)))


def _skin_share(linear: Array, picture: PersonPicture) -> Array:
    """float32 (h, w), 0..1: likeness to the face's chromaticity, on the person only."""
    total = linear.sum(axis=2, keepdims=True)
    chroma = linear / np.maximum(total, 1e-3)
    oval = _region(picture.mesh, OVAL, linear.shape, 1.0) > 0.5
    if not oval.any():
        return np.zeros(linear.shape[:2], np.float32)
    typical = np.median(chroma[oval], axis=0)
    spread = np.linalg.norm(chroma - typical, axis=2) / 0.055
    bright = np.clip(total[..., 0] / (0.3 * np.median(total[..., 0][oval]) + 1e-4), 0, 1)
    like = np.exp(-(spread**2)) * bright * np.clip(picture.coverage, 0, 1)
    soft = _region(picture.mesh, OVAL, linear.shape, 0.03 * picture.face_px)
    eyes = np.maximum(
        _region(picture.mesh, RIGHT_EYE, linear.shape, 1.0),
        _region(picture.mesh, LEFT_EYE, linear.shape, 1.0),
    )
    like = np.maximum(like, 0.75 * soft * (1 - eyes))
    return np.asarray(cv2.GaussianBlur(like.astype(np.float32), (0, 0), 1.2))


def _toned(linear: Array, skin: Array, tone: float, picture: PersonPicture) -> Array:
    """Skin moved along the melanin axis, keeping its shading."""
    target = np.exp(np.log(_DARK_SKIN) * (1 - tone) + np.log(_LIGHT_SKIN) * tone)
    oval = _region(picture.mesh, OVAL, linear.shape, 1.0) > 0.5
    now = np.median(linear[oval], axis=0) if oval.any() else target
    # The picture's own light is not known: take it that its brightest skin is lit as white is.
    light = max(float(np.percentile(linear[oval] @ LUMINANCE, 90)), 0.05) if oval.any() else 0.5
    own = now / max(light, 1e-3) * 0.5
    ratio = np.clip(target / np.maximum(own, 0.02), 0.22, 1.7)
    return np.asarray(linear * (1 + skin[..., None] * (ratio - 1)), np.float32)


def _with_detail(linear: Array, skin: Array, strength: float, face: float) -> Array:
    smooth = cv2.GaussianBlur(linear, (0, 0), max(0.012 * face, 0.8))
    ratio = linear / np.maximum(smooth, 1e-3)
    exponent = 1 + (strength - 1) * skin[..., None]
    return np.asarray(smooth * np.clip(ratio, 0.2, 4.0) ** exponent, np.float32)


def _recoloured(linear: Array, where: Array, strength: float, rng: np.random.Generator) -> Array:
    gains = np.exp((rng.normal(0, 0.5) + rng.normal(0, 0.22, 3)) * strength)
    mixed = linear @ (np.eye(3) * 0.8 + 0.2 * rng.dirichlet([1, 1, 1], 3)).T
    return np.asarray(linear + where[..., None] * (mixed * gains - linear), np.float32)


def refined(linear: Array, picture: PersonPicture, fineness: float) -> Array:
    """The picture with edges as fine as a good camera would see them.

    What tells a face from a print of it is first of all detail of the size of a pixel. Sources
    that have none (small, compressed, enlarged) would teach that the living are as smooth as paper.
    So edges are made steeper, no brighter or darker than what is beside them (a shock filter in a
    few steps, after Osher and Rudin 1990), as little as it takes.

    Args:
        linear: float32 (h, w, 3).
        picture: Whose face is in it, and where.
        fineness: Contrast to reach of the face's finest detail, as a share of that of the next
            coarser: 0.5 is smooth, 0.9 sharp.
    """
    values = np.sqrt(np.maximum(linear, 0))
    finer = values
    for strength in _STEEPER:
        if _fineness(finer, picture) >= fineness:
            break
        finer = _steeper(values, strength)
    return np.asarray(finer * finer, np.float32)


def _steeper(values: Array, strength: float) -> Array:
    for sigma in (3.0, 2.0, 1.2):
        near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(sigma) + 1,) * 2)
        low, high = cv2.erode(values, near), cv2.dilate(values, near)
        edges = values - cv2.GaussianBlur(values, (0, 0), sigma)
        values = np.clip(values + strength * edges, low, high)
    return values


def _fineness(values: Array, picture: PersonPicture) -> float:
    left, top = np.maximum(picture.mesh[:, :2].min(axis=0), 0).astype(int)
    right, bottom = picture.mesh[:, :2].max(axis=0).astype(int) + 1
    grey = values[top:bottom, left:right] @ LUMINANCE
    fine = cv2.GaussianBlur(grey, (0, 0), picture.face_px / 115)
    coarse = cv2.GaussianBlur(grey, (0, 0), picture.face_px / 43)
    return float((grey - fine).std() / max(float((fine - coarse).std()), 1e-6))


def _with_features(
    linear: Array, picture: PersonPicture, second: PersonPicture, share: float
) -> Array:
    """The second person's face on the first one's mesh, its light fitted to the place."""
    places, inside = _on_picture(picture.mesh, second.mesh[:, :2], linear.shape[:2], 3)
    fine = cv2.resize(places, linear.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    source = to_linear(second.image)
    step = second.face_px / picture.face_px
    if step > 1.3:
        source = np.asarray(cv2.GaussianBlur(source, (0, 0), 0.45 * step))
    face = cv2.remap(source, np.ascontiguousarray(fine), np.empty(0, np.float32), cv2.INTER_LINEAR)
    if step < 0.8:  # what the second picture is too coarse to hold comes from the first
        coarse = 0.7 / step
        own = np.asarray(cv2.GaussianBlur(linear, (0, 0), coarse))
        detail = np.clip(linear / np.maximum(own, 1e-3), 0.4, 2.5)
        face = np.asarray(cv2.GaussianBlur(face, (0, 0), coarse)) * detail
    rim = max(3, round(0.07 * picture.face_px))
    known = cv2.resize(inside, linear.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    inner = np.minimum(_region(picture.mesh, OVAL, linear.shape, 0.8), np.asarray(known))
    inner = cv2.erode(inner, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1,) * 2))
    where = np.asarray(cv2.GaussianBlur(inner, (0, 0), 0.45 * rim))
    broad = 0.35 * picture.face_px
    weight = _spread(where, broad)[..., None] + 1e-4
    light = _spread(linear * where[..., None], broad) / weight
    theirs = _spread(face * where[..., None], broad) / weight
    fitted = face * np.clip(light / np.maximum(theirs, 1e-3), 0.2, 5.0)
    mix = (share * where)[..., None]
    return np.asarray(np.clip(linear * (1 - mix) + fitted * mix, 0, 1), np.float32)


def _spread(values: Array, sigma: float) -> Array:
    """A wide Gaussian blur, made on a smaller picture: it leaves nothing that this could lose."""
    step = max(1.0, sigma / 8)
    size = (max(2, round(values.shape[1] / step)), max(2, round(values.shape[0] / step)))
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(small, values.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def _made_up(
    linear: Array, picture: PersonPicture, strength: float, rng: np.random.Generator
) -> Array:
    lips = _region(picture.mesh, LIPS, linear.shape, 0.01 * picture.face_px)
    colour = np.array([rng.uniform(0.35, 0.6), rng.uniform(0.04, 0.15), rng.uniform(0.05, 0.2)])
    shade = (linear @ LUMINANCE)[..., None] / 0.2
    linear = linear + (strength * 0.7 * lips)[..., None] * (colour * shade - linear)
    soft = 0.03 * picture.face_px
    eyes = np.maximum(
        _region(picture.mesh, RIGHT_EYE, linear.shape, soft),
        _region(picture.mesh, LEFT_EYE, linear.shape, soft),
    )
    tint = rng.uniform(0.35, 0.9, 3)
    return np.asarray(linear * (1 - (strength * 0.6 * eyes)[..., None] * (1 - tint)), np.float32)


def _bearded(
    linear: Array, picture: PersonPicture, strength: float, rng: np.random.Generator
) -> Array:
    oval = _region(picture.mesh, OVAL, linear.shape, 0.02 * picture.face_px)
    rows = np.arange(linear.shape[0], dtype=np.float32)[:, None]
    nose = float(picture.mesh[_BEARD_FROM, 1])
    below = np.clip((rows - nose) / (0.06 * picture.face_px), 0, 1)
    lips = _region(picture.mesh, LIPS, linear.shape, 0.008 * picture.face_px)
    noise = rng.standard_normal(linear.shape[:2]).astype(np.float32)
    tall = max(0.008 * picture.face_px, 0.6)
    hairs = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.5, sigmaY=tall))
    hairs = hairs / (hairs.std() + 1e-6)
    where = oval * below * (1 - np.clip(lips * 1.4, 0, 1)) * np.clip(0.75 + 0.35 * hairs, 0, 1)
    colour = np.array([0.05, 0.04, 0.035]) * rng.uniform(0.4, 4.0)
    mix = (0.85 * strength * where)[..., None]
    return np.asarray(linear * (1 - mix) + colour * mix, np.float32)


def _with_glasses(linear: Array, picture: PersonPicture, rng: np.random.Generator) -> Array:
    mesh, out = picture.mesh, linear.copy()
    centres = [mesh[list(eye), :2].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE)]
    across = centres[1] - centres[0]
    apart = float(np.hypot(*across))
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    axes = (apart * rng.uniform(0.34, 0.44), apart * rng.uniform(0.24, 0.36))
    thick = max(1, round(apart * rng.uniform(0.012, 0.06)))
    frame = np.zeros(linear.shape[:2], np.uint8)
    lens = np.zeros(linear.shape[:2], np.uint8)
    for centre in centres:
        at = (float(centre[0]), float(centre[1] + 0.04 * apart))
        shape = (at, (2 * axes[0], 2 * axes[1]), angle)
        cv2.ellipse(frame, shape, 255, thick, cv2.LINE_AA)
        cv2.ellipse(lens, shape, 255, -1, cv2.LINE_AA)
    ends = [
        centre + side * across / apart * axes[0]
        for centre, side in zip(centres, (1, -1), strict=True)
    ]
    bridge = [tuple(int(v) for v in np.round(end)) for end in ends]
    cv2.line(frame, bridge[0], bridge[1], 255, thick, cv2.LINE_AA)
    for ear, centre, side in ((234, centres[0], -1), (454, centres[1], 1)):
        hinge = centre + side * across / apart * axes[0]
        cv2.line(
            frame, tuple(int(v) for v in hinge), tuple(int(v) for v in mesh[ear, :2]), 200, thick
        )
    glass = (lens / 255.0)[..., None] * rng.uniform(0.02, 0.12)
    out = out * (1 - glass) + glass * rng.uniform(0.1, 0.9, 3) * rng.uniform(0.1, 0.7)
    rim = (frame / 255.0)[..., None]
    colour = (
        rng.uniform(0.01, 0.25, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0.01, 0.5))
    )
    return np.asarray(out * (1 - rim) + rim * colour, np.float32)


def _warped(
    picture: PersonPicture, amount: float, stretch: float, rng: np.random.Generator
) -> PersonPicture:
    """The whole picture through one smooth field, so that the face has no seam."""
    h, w = picture.image.shape[:2]
    face, middle = picture.face_px, picture.mesh[:, :2].mean(axis=0)
    coarse = rng.standard_normal((7, 7, 2)).astype(np.float32) * amount * face
    size = max(int(1.8 * face), 8)
    local = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    edge = np.hanning(size).astype(np.float32) ** 0.6
    local = np.asarray(local) * (edge[:, None] * edge)[..., None]
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).astype(np.float32)
    place = np.array([[1, 0, middle[0] - size / 2], [0, 1, middle[1] - size / 2]], np.float32)
    shift = np.asarray(cv2.warpAffine(local, place, (w, h), flags=cv2.INTER_LINEAR))
    scale = np.array([stretch**0.5, stretch**-0.5], np.float32)
    source = middle + (grid - middle) * scale + shift
    empty = np.empty(0, np.float32)
    source = np.ascontiguousarray(source, np.float32)
    linear, edge_mode = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    image = cv2.remap(picture.image, source, empty, linear, borderMode=edge_mode)
    coverage = cv2.remap(picture.coverage, source, empty, linear, borderMode=edge_mode)
    mesh = picture.mesh.copy()
    for _ in range(3):
        x, y = np.clip(np.round(mesh[:, :2]).astype(int), 0, (w - 1, h - 1)).T
        mesh[:, :2] = middle + (picture.mesh[:, :2] - shift[y, x] - middle) / scale
    return replace(picture, image=np.asarray(image), coverage=np.asarray(coverage), mesh=mesh)


def _mirrored(picture: PersonPicture) -> PersonPicture:
    mesh = picture.mesh[canonical_face().mirror].copy()
    mesh[:, 0] = picture.image.shape[1] - 1 - mesh[:, 0]
    return replace(
        picture,
        image=np.ascontiguousarray(picture.image[:, ::-1]),
        coverage=np.ascontiguousarray(picture.coverage[:, ::-1]),
        mesh=mesh,
    )
