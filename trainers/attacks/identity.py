"""A person made from one portrait: a surface in 3-D that can turn, blink and blush.

The 468-point mesh network gives the shape of the face. What it does not see (hair, ears, neck,
shoulders) is continued smoothly from the edge of the face back to where the person's outline
must lie in depth, so that the whole figure turns with parallax and has no holes. The picture is
taken as reflectance; it is cut out of its old background, which never comes along.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay

from ...engines import EngineError
from ...nodes.canonical import (
    CHIN,
    FOREHEAD_TOP,
    LEFT_EYE,
    LEFT_EYE_CORNERS,
    LIPS,
    MESH_POINTS,
    NOSTRILS,
    OVAL,
    RIGHT_EYE,
    RIGHT_EYE_CORNERS,
    point_normals,
)
from ...nodes.mesh import CROP_SIDE, MeshNet, Square
from .light import to_linear
from .matte import pad_picture, person_coverage, unmixed_colours
from .parameters import Array
from .portraits import Portrait
from .render import Patch, Window

INTEROCULAR = 0.063
"""Metres between the eyes' centres of an adult (mean of both sexes, Dodgson 2004)."""
TEXELS_PER_METRE = 1270.0
"""Resolution of textures: one texel a pixel at 0.7 m before a 720p camera of 71 degrees."""
_MARGIN = 60
_BELOW = 120
"""Pixels added around and below a portrait, for what its outline holds beyond its border."""
_PRESENT = 0.9
_SKIN_DISTANCE = 0.10


class NoFaceInPortrait(EngineError):
    """The mesh network sees no face where the portrait says that one is."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class Perfusion:
    """Where blood colours the texture, and when the wave arrives there."""

    window: Window
    """The part of the texture that the arrays cover."""
    strength: Array
    """float32 (h, w), 0..1.3: share of the full pulse."""
    delay: Array
    """float32 (h, w), seconds after the first place."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person's figure. Origin of the points: the middle between the eyes."""

    name: str
    figure: Patch
    """The first 468 points are the mesh network's."""
    normals: Array
    """float32 (n, 3): of the rest shape."""
    head_share: Array
    """float32 (n,): 1 what turns with the head, 0 what stays with the trunk."""
    perfusion: Perfusion
    eye_centre: tuple[float, float]
    """Pixel of the portrait where the origin lies."""
    pixels_per_metre: float
    """Of the portrait, at the face."""

    @property
    def mesh(self) -> Array:
        """float32 (468, 3): the face's points at rest, metres."""
        return self.figure.points[:MESH_POINTS]


def fit_identity(
    portrait: Portrait, net: MeshNet, texels_per_metre: float = TEXELS_PER_METRE
) -> Identity:
    """Make a figure from a portrait.

    Args:
        portrait: A near-frontal picture with marked eyes and outline.
        net: The mesh network.
        texels_per_metre: Resolution of the texture at the face.

    Raises:
        NoFaceInPortrait: the network's presence stays below 0.9.
    """
    image = pad_picture(portrait.image, _MARGIN, _BELOW)
    outline = portrait.outline + _MARGIN
    mesh = _read_mesh(image, portrait.eyes + _MARGIN, portrait.name, net)
    eyes = _eyes(mesh)
    apart = float(np.hypot(*(eyes[1] - eyes[0])))
    outer = _outer_points(mesh, image.shape, apart)
    places = np.concatenate([mesh[:, :2], outer])
    depths = np.concatenate([mesh[:, 2], _outer_depths(mesh, outline, outer, apart)])

    metre = INTEROCULAR / apart
    middle = eyes.mean(axis=0)
    points = np.column_stack([(places - middle) * metre, depths * metre])
    scale = texels_per_metre * metre
    texture = _texture(image, outline, scale)
    texels = (places + 0.5) * scale - 0.5
    triangles = _triangles(places, texels, texture[..., 3])
    figure = Patch(
        points.astype(np.float32),
        triangles,
        texels.astype(np.float32),
        texture,
        np.asarray((triangles < MESH_POINTS).all(axis=1)),
    )
    return Identity(
        portrait.name,
        figure,
        point_normals(figure.points, triangles),
        _head_share(places, mesh, apart),
        _perfusion(figure, scale * apart),
        (float(middle[0]) - _MARGIN, float(middle[1]) - _MARGIN),
        1.0 / metre,
    )


def life_size_crop(
    portrait: Portrait, identity: Identity, size: tuple[float, float], above: float
) -> Array:
    """A rectangle of the portrait around the face, background and all.

    Args:
        portrait: The picture.
        identity: What was fitted to it.
        size: Width and height in metres at the face.
        above: Metres of it that lie above the eyes.

    Returns:
        uint8 RGB at the picture's own resolution; border pixels are repeated where it ends.
    """
    pixels = identity.pixels_per_metre
    x = identity.eye_centre[0] - size[0] / 2 * pixels
    y = identity.eye_centre[1] - above * pixels
    shift = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
    whole = (round(size[0] * pixels), round(size[1] * pixels))
    return np.asarray(cv2.warpAffine(portrait.image, shift, whole, borderMode=cv2.BORDER_REPLICATE))


def face_colour(identity: Identity) -> Array:
    """float32 (3,): median linear reflectance of the face's skin."""
    x, y, w, h = identity.perfusion.window
    part = identity.figure.texture[y : y + h, x : x + w, :3]
    return np.asarray(np.median(part[identity.perfusion.strength > 0.6], axis=0))


def trunk_colour(identity: Identity) -> Array:
    """float32 (3,): median linear reflectance of the clothes."""
    points = identity.figure.points
    low = (points[:, 1] > 0.20) & (np.abs(points[:, 0]) > 0.10)
    x, y = np.round(identity.figure.texels[low]).astype(int).T
    texture = identity.figure.texture
    texels = texture[np.clip(y, 0, texture.shape[0] - 1), np.clip(x, 0, texture.shape[1] - 1)]
    return np.asarray(np.median(texels[texels[:, 3] > 0.99, :3], axis=0))


def _read_mesh(image: Array, eyes: Array, name: str, net: MeshNet) -> Array:
    presence = 0.0
    mesh = np.zeros((MESH_POINTS, 3), np.float32)
    for _ in range(3):
        across = eyes[1] - eyes[0]
        apart = float(np.hypot(*across))
        down = np.array([-across[1], across[0]]) / apart
        middle = eyes.mean(axis=0) + down * apart * 0.45
        angle = float(np.arctan2(across[1], across[0]))
        matrix = Square(float(middle[0]), float(middle[1]), 4.0 * apart, angle).matrix()
        crop = cv2.warpAffine(
            image,
            matrix,
            (CROP_SIDE, CROP_SIDE),
            flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        found, presence = net.infer(np.asarray(crop, np.uint8))
        step = 4.0 * apart / CROP_SIDE
        mesh = np.column_stack([found[:, :2] @ matrix[:, :2].T + matrix[:, 2], found[:, 2] * step])
        eyes = _eyes(mesh)
    if presence < _PRESENT:
        raise NoFaceInPortrait(
            f"portrait {name}: expected a face between the marked eyes (presence above "
            f"{_PRESENT}), found presence {presence:.2f}; correct the marks"
        )
    return mesh.astype(np.float32)


def _eyes(mesh: Array) -> Array:
    """Float (2, 2): centres of the right and the left eye."""
    corners = (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)
    return np.array([mesh[list(pair), :2].mean(axis=0) for pair in corners])


def _outer_points(mesh: Array, shape: tuple[int, ...], apart: float) -> Array:
    """Points over the rest of the picture: dense around the head, sparse further off."""
    height, width = shape[:2]
    middle = mesh[:, :2].mean(axis=0)
    near = _grid(width, height, 0.22 * apart)
    far = _grid(width, height, 0.7 * apart)
    reach = 2.6 * apart
    near = near[np.hypot(*(near - middle).T) < reach]
    far = far[np.hypot(*(far - middle).T) >= reach]
    points = np.concatenate([near, far])
    oval = np.ascontiguousarray(mesh[list(OVAL), :2], np.float32)
    off = [cv2.pointPolygonTest(oval, (float(x), float(y)), True) < -0.1 * apart for x, y in points]
    return np.asarray(points[off], np.float32)


def _grid(width: int, height: int, spacing: float) -> Array:
    columns, rows = round(width / spacing) + 1, round(height / spacing) + 1
    x, y = np.meshgrid(np.linspace(0, width - 1, columns), np.linspace(0, height - 1, rows))
    return np.column_stack([x.ravel(), y.ravel()])


def _outer_depths(mesh: Array, outline: Array, outer: Array, apart: float) -> Array:
    """Depth of the points beside the face, in pixels: a thin plate through what is known.

    Known are the edge of the face from the mesh, and from anatomy (in interocular distances
    behind the eyes) the head's outline, the neck, the chest and the outline of the trunk.
    """
    chin = mesh[CHIN]
    edge = mesh[list(OVAL)]
    of_head = outline[outline[:, 1] < chin[1]]
    of_trunk = outline[outline[:, 1] >= chin[1]]
    bottom = float(outline[:, 1].max())
    middle_line = np.array(
        [
            [chin[0], chin[1] + 0.45 * apart, 1.0 * apart],
            [chin[0], chin[1] + 2.2 * apart, 0.4 * apart],
        ]
        + [[chin[0] + side * 1.2 * apart, bottom, 0.5 * apart] for side in (-1, 1)]
    )
    known = np.concatenate(
        [
            edge,
            np.column_stack([of_head, np.full(len(of_head), 1.5 * apart)]),
            np.column_stack([of_trunk, np.full(len(of_trunk), 1.6 * apart)]),
            middle_line,
        ]
    )
    plate = RBFInterpolator(known[:, :2] / apart, known[:, 2], smoothing=0.05)
    return np.clip(plate(outer / apart), -0.3 * apart, 2.5 * apart)


def _texture(image: Array, outline: Array, scale: float) -> Array:
    """float32 (h, w, 4): the person's reflectance, premultiplied, at the texture's resolution."""
    coverage = person_coverage(image, outline)
    colours = unmixed_colours(to_linear(image), coverage)
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    colours = np.clip(cv2.resize(colours, size, interpolation=how), 0.0, 1.0)
    coverage = np.clip(cv2.resize(coverage, size, interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
    return np.dstack([colours * coverage[..., None], coverage]).astype(np.float32)


def _triangles(places: Array, texels: Array, coverage: Array) -> Array:
    """Delaunay triangles of the figure, normals to the camera, without those that show nothing."""
    triangles = Delaunay(places.astype(np.float64)).simplices.astype(np.int64)
    first, second, third = (places[triangles[:, i]] for i in range(3))
    u, v = second - first, third - first
    turned = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] > 0
    triangles[turned] = triangles[turned][:, ::-1]
    return triangles[[_shows(texels[corners], coverage) for corners in triangles]]


def _shows(texels: Array, coverage: Array) -> bool:
    x0, y0 = np.maximum(np.floor(texels.min(axis=0)).astype(int) - 1, 0)
    x1, y1 = np.ceil(texels.max(axis=0)).astype(int) + 2
    return bool((coverage[y0:y1, x0:x1] > 0).any())


def _head_share(places: Array, mesh: Array, apart: float) -> Array:
    """1 on the head, falling to 0 over the neck and over what rises beside it (collars)."""
    chin, top = mesh[CHIN], mesh[FOREHEAD_TOP]
    centre = (chin[0] + top[0]) / 2
    down = _smooth_step((places[:, 1] - chin[1]) / apart, 0.05, 1.2)
    aside = _smooth_step(np.abs(places[:, 0] - centre) / apart, 1.65, 2.3)
    share = (1.0 - down) * (1.0 - aside)
    share[:MESH_POINTS] = 1.0
    return np.asarray(share, np.float32)


def _smooth_step(x: Array, start: float, end: float) -> Array:
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _perfusion(figure: Patch, apart: float) -> Perfusion:
    """Skin in the texture, by place (in and near the face) and by colour.

    The wave comes up from the neck: places further up get it later, some 40 ms at the forehead
    (Kamshilin et al. 2011 see delays of this order over the face).
    """
    mesh = figure.texels[:MESH_POINTS]
    coverage = figure.texture[..., 3]
    near = _filled(mesh, OVAL, coverage.shape)
    reach = 2 * int(0.35 * apart) + 1
    near = cv2.dilate(near, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    for loop in (RIGHT_EYE, LEFT_EYE, NOSTRILS, LIPS):
        near[_filled(mesh, loop, coverage.shape) > 0] = 0
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    window = Window(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)
    part = figure.texture[y : y + window.h, x : x + window.w]
    colours = part[..., :3] / np.maximum(part[..., 3:], 1e-3)
    inner = _filled(mesh, OVAL, coverage.shape)[y : y + window.h, x : x + window.w] > 0
    strength = near[y : y + window.h, x : x + window.w] * _likeness(colours, inner)
    strength = cv2.GaussianBlur(strength.astype(np.float32), (0, 0), 0.04 * apart)
    row, column = np.mgrid[: window.h, : window.w].astype(np.float32) / apart
    unevenness = 1.0 + 0.2 * np.sin(2.1 * row + 0.7) * np.cos(2.7 * column + 0.3)
    delay = 0.04 * (1.0 - row / row.max())
    return Perfusion(window, (strength * unevenness).astype(np.float32), delay.astype(np.float32))


def _filled(texels: Array, loop: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(texels[list(loop)]).astype(np.int32)], 1)
    return mask


def _likeness(colours: Array, inner: Array) -> Array:
    """0..1: how much the chromaticity is that of the face's skin."""
    total = colours.sum(axis=2, keepdims=True)
    chroma = colours / np.maximum(total, 1e-3)
    typical = np.median(chroma[inner], axis=0)
    distance = np.linalg.norm(chroma - typical, axis=2)
    bright = total[..., 0] > 0.25 * np.median(total[..., 0][inner])
    return np.asarray(np.exp(-((distance / _SKIN_DISTANCE) ** 2)) * bright)
