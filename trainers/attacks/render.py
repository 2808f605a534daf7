"""Textured surfaces through a pinhole camera: the software renderer of the synthesis.

A surface is a triangle mesh whose points know their place in a texture. The rasteriser finds, on
a grid coarser than the picture, which place of the texture each pixel sees (nearest surface
first); this map is smooth, so it is enlarged linearly and OpenCV fetches the texture through it
at full resolution. Axes: x right, y down, z away from the camera, metres. All arithmetic is in
linear light; colours are premultiplied by coverage, so that layers add and blur correctly.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .parameters import Array, Colour

COARSE = 4
"""Pixels between the samples of the texture map where it bends little (cloth, hair, sheets)."""
FINE = 2
"""And where small parts move by themselves (eyelids)."""
_WINDOWS = (2, 4, 6, 9, 13, 19, 28, 48, 96)
"""Sides of the squares of samples in which triangles of like size are tested together."""
_NEAREST = 0.05
_STRIP = 48
_NO_MAP = np.empty(0, np.float32)
"""Both coordinates are in the first map of cv2.remap."""


@dataclass(frozen=True, slots=True)
class Lens:
    """A pinhole camera that looks along z."""

    focal: float
    """Focal length in pixels."""
    width: int
    height: int

    def project(self, points: Array) -> Array:
        """Pixels (n, 2) of points (n, 3) in metres before the camera."""
        depth = np.maximum(points[:, 2:], _NEAREST)
        centre = np.array([(self.width - 1) / 2, (self.height - 1) / 2], np.float32)
        return np.asarray(points[:, :2] * (self.focal / depth) + centre, np.float32)


@dataclass(frozen=True, slots=True)
class Patch:
    """A textured surface."""

    points: Array
    """float32 (n, 3): rest shape in metres, in the surface's own axes."""
    triangles: Array
    """int64 (m, 3), normals towards the camera."""
    texels: Array
    """float32 (n, 2): place of each point in the texture, in pixels by their centres."""
    texture: Array
    """float32 (h, w, 4): linear reflectance R, G, B times coverage, and coverage, 0..1."""
    fine: Array
    """bool (m,): triangles that are sampled finely."""


class Window(NamedTuple):
    """A rectangle of whole pixels of the picture."""

    x: int
    y: int
    w: int
    h: int


class TextureMap(NamedTuple):
    """Which place of a surface every pixel of a window sees."""

    window: Window
    texels: Array
    """float32 (h, w, 2): x and y in the texture; means nothing where the surface is not."""
    shade: Array
    """float32 (h, w): the interpolated values that came with the points."""
    seen: Array
    """float32 (h, w): 1 where the surface is, else 0, between on its edge."""
    tint: Array | None = None
    """float32 (h, w, 3): further factors of R, G, B; None: none."""


def rasterise(
    places: Array, depths: Array, triangles: Array, values: Array, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Interpolate values over triangles, the nearest surface first.

    Args:
        places: float (n, 2) samples: x and y of the points, by sample centres.
        depths: float (n,), smaller is nearer.
        triangles: int (m, 3).
        values: float (n, k).
        shape: (rows, columns) of the grid of samples.

    Returns:
        float32 (rows, columns, k), 0 where no triangle is, and bool (rows, columns) where one is.
    """
    rows, columns = shape
    corners = places[triangles].astype(np.float32)
    low = np.maximum(np.ceil(corners.min(axis=1) - 1e-3), 0).astype(np.int64)
    limit = np.array([columns - 1, rows - 1])
    high = np.minimum(np.floor(corners.max(axis=1) + 1e-3), limit).astype(np.int64)
    size = (high - low + 1).max(axis=1)
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    u, v = second - first, third - first
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    usable = ((high >= low).all(axis=1)) & (np.abs(area) > 1e-6)
    found = []
    smallest = 0
    for side in _WINDOWS:
        chosen = np.flatnonzero(usable & (size > smallest) & (size <= side))
        smallest = side
        if len(chosen):
            found.append(_fragments(chosen, side, low, high, first, u, v, area))
    if bool((usable & (size > smallest)).any()):
        raise ValueError(
            f"triangles: expected none wider than {smallest} samples, found {int(size.max())}; "
            "divide the mesh or sample more coarsely"
        )
    out = np.zeros((rows * columns, values.shape[1]), np.float32)
    covered = np.zeros(rows * columns, bool)
    if found:
        which, place, second_share, third_share = (
            np.concatenate(p) for p in zip(*found, strict=True)
        )
        place_flat = place[:, 1] * columns + place[:, 0] if place.ndim == 2 else place
        everything = np.column_stack([values, depths]).astype(np.float32)
        a, b, c = (everything[triangles[:, i]] for i in range(3))
        base, along, across = a, b - a, c - a
        filled = base[which]
        filled += along[which] * second_share[:, None]
        filled += across[which] * third_share[:, None]
        # The last write to a sample stays, so write from far to near.
        order = np.argsort(-filled[:, -1], kind="stable")
        out[place_flat[order]] = filled[order, :-1]
        covered[place_flat] = True
    return out.reshape(rows, columns, -1), covered.reshape(rows, columns)


def _fragments(
    chosen: Array,
    side: int,
    low: Array,
    high: Array,
    first: Array,
    u: Array,
    v: Array,
    area: Array,
) -> tuple[Array, Array, Array, Array]:
    """Samples inside triangles of like size: triangle, place (x, y), two barycentric shares."""
    steps = np.arange(side)
    x = (low[chosen, 0, None] + steps).astype(np.float32)
    y = (low[chosen, 1, None] + steps).astype(np.float32)
    scale = 1.0 / area[chosen]
    dx = x - first[chosen, 0, None]
    dy = y - first[chosen, 1, None]
    second = (
        dx[:, None, :] * (v[chosen, 1] * scale)[:, None, None]
        - dy[:, :, None] * (v[chosen, 0] * scale)[:, None, None]
    )
    third = (
        dy[:, :, None] * (u[chosen, 0] * scale)[:, None, None]
        - dx[:, None, :] * (u[chosen, 1] * scale)[:, None, None]
    )
    slack = np.float32(1e-4)
    inside = (second >= -slack) & (third >= -slack) & (second + third <= 1 + slack)
    inside &= (x <= high[chosen, 0, None])[:, None, :]
    inside &= (y <= high[chosen, 1, None])[:, :, None]
    index, row, column = np.nonzero(inside)
    place = np.column_stack([low[chosen[index], 0] + column, low[chosen[index], 1] + row])
    return chosen[index], place, second[index, row, column], third[index, row, column]


def texture_map(
    patch: Patch, points: Array, shade: Array, lens: Lens, coarse: int = COARSE, fine: int = FINE
) -> TextureMap | None:
    """Which place of a posed surface each pixel sees; None where it is out of the picture.

    Args:
        patch: The surface.
        points: float32 (n, 3): its points where they are now, in the camera's axes.
        shade: float32 (n,): light factor of each point.
        lens: The camera.
        coarse: Pixels between samples.
        fine: Pixels between samples of the patch's fine triangles.
    """
    places = lens.project(points)
    values = np.column_stack([patch.texels, shade])
    whole = _window(places, lens, coarse)
    if whole is None:
        return None
    fields, seen = _sampled(places, points[:, 2], patch.triangles, values, whole, coarse)
    if patch.fine.any() and fine < coarse:
        triangles = patch.triangles[patch.fine]
        part = _window(places[np.unique(triangles)], lens, coarse)
        if part is not None:
            finer, where = _sampled(places, points[:, 2], triangles, values, part, fine)
            x, y = part.x - whole.x, part.y - whole.y
            inner = fields[y : y + part.h, x : x + part.w]
            np.copyto(inner, finer, where=(where > 0.99)[..., None])
    return TextureMap(whole, fields[..., :2], np.ascontiguousarray(fields[..., 2]), seen)


def _window(places: Array, lens: Lens, step: int) -> Window | None:
    """The part of the picture that the points span, on the grid of the step."""
    low = np.maximum(np.floor(places.min(axis=0) / step), 0).astype(int) * step
    limit = np.array([lens.width, lens.height])
    high = np.minimum(np.ceil((places.max(axis=0) + 1) / step).astype(int) * step, limit)
    w, h = (int(side) for side in high - low)
    if w < step or h < step:
        return None
    return Window(int(low[0]), int(low[1]), w, h)


def _sampled(
    places: Array, depths: Array, triangles: Array, values: Array, window: Window, step: int
) -> tuple[Array, Array]:
    shape = (-(-window.h // step), -(-window.w // step))
    samples = (places - (window.x, window.y) + 0.5) / step - 0.5
    fields, covered = rasterise(samples, depths, triangles, values, shape)
    share: Array = covered.astype(np.float32)
    fields = _extended(fields, share)
    full = (shape[1] * step, shape[0] * step)
    enlarged = cv2.resize(fields, full, interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(share, full, interpolation=cv2.INTER_LINEAR)
    # Where a surface turns away its edge lies half way between the samples on and beside it.
    seen = np.clip((share - 0.5) * step, 0.0, 1.0)
    return enlarged[: window.h, : window.w], seen[: window.h, : window.w]


def _extended(fields: Array, covered: Array) -> Array:
    """The map continued by one sample, so that it means something up to the surface's edge."""
    around = cv2.boxFilter(fields, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(covered, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    beyond = (covered == 0) & (count > 0)
    fields[beyond] = around[beyond] / count[beyond][:, None]
    return fields


def draw(
    picture: Array,
    texture: Array,
    where: TextureMap,
    light: Colour,
    motion: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Light a surface and lay it before what the picture shows, in place.

    Works in strips that fit the processor's cache, each as wide as the surface is there: four
    times as fast as whole pictures.

    Args:
        picture: float32 (height, width, 3), linear.
        texture: float32 (h, w, 4) premultiplied, as in :class:`Patch`.
        where: What each pixel sees.
        light: Linear R, G, B of the light that falls on the surface.
        motion: Pixels in x and y by which the surface moves while the shutter is open.
    """
    kernel = motion_kernel(*motion)
    halo_y, halo_x = (0, 0) if kernel is None else (side // 2 + 1 for side in kernel.shape)
    window = where.window
    for top in range(0, window.h, _STRIP):
        bottom = min(top + _STRIP, window.h)
        low, high = max(top - halo_y, 0), min(bottom + halo_y, window.h)
        columns = np.flatnonzero(where.seen[low:high].any(axis=0))
        if not len(columns):
            continue
        left = max(int(columns[0]) - halo_x, 0)
        right = min(int(columns[-1]) + 1 + halo_x, window.w)
        layer = _lit(texture, where, light, (slice(low, high), slice(left, right)))
        if kernel is not None:
            layer = cv2.filter2D(layer, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        lay_over(
            picture[window.y + top : window.y + bottom, window.x + left : window.x + right],
            layer[top - low : bottom - low],
        )


def _lit(texture: Array, where: TextureMap, light: Colour, part: tuple[slice, slice]) -> Array:
    """float32 (h, w, 4): radiance times coverage, and coverage, of a part of the window."""
    colours = cv2.remap(
        texture, np.ascontiguousarray(where.texels[part]), _NO_MAP, cv2.INTER_LINEAR
    )
    seen = where.seen[part]
    lit = where.shade[part] * seen
    factors = [lit * np.float32(level) for level in light]
    if where.tint is not None:
        factors = [f * where.tint[part][..., c] for c, f in enumerate(factors)]
    return np.asarray(cv2.multiply(colours, cv2.merge([*factors, seen])))


def motion_kernel(dx: float, dy: float) -> Array | None:
    """Point spread of a surface that moves by (dx, dy) pixels; None below one pixel."""
    if np.hypot(dx, dy) < 1.0:
        return None
    half = np.ceil(np.abs([dy, dx]) / 2).astype(int)
    kernel = np.zeros(2 * half + 1, np.float32)
    along = np.linspace(-0.5, 0.5, 64)
    rows, columns = np.round(half[0] + along * dy), np.round(half[1] + along * dx)
    np.add.at(kernel, (rows.astype(int), columns.astype(int)), 1.0 / len(along))
    return kernel


def lay_over(behind: Array, layer: Array) -> None:
    """Put a layer before a part of the picture, in place.

    Args:
        behind: float32 (h, w, 3), linear.
        layer: float32 (h, w, 4), premultiplied.
    """
    red, green, blue, coverage = cv2.split(layer)
    passing = 1.0 - np.asarray(coverage)
    shown = cv2.multiply(behind, cv2.merge([passing, passing, passing]))
    np.copyto(behind, cv2.add(shown, cv2.merge([red, green, blue])))


def grid_patch(columns: int, rows: int, width: float, height: float, texture: Array) -> Patch:
    """A flat rectangle, centred on the origin, divided evenly.

    Args:
        columns: Cells along x.
        rows: Cells along y.
        width: Metres.
        height: Metres.
        texture: float32 (h, w, 4), spread over all of it.
    """
    across, down = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    u, v = across.ravel(), down.ravel()
    points = np.column_stack([(u - 0.5) * width, (v - 0.5) * height, np.zeros_like(u)])
    th, tw = texture.shape[:2]
    texels = np.column_stack([u * tw - 0.5, v * th - 0.5])
    first = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    below = first + columns + 1
    triangles = np.concatenate(
        [
            np.column_stack([first, below, first + 1]),
            np.column_stack([first + 1, below, below + 1]),
        ]
    )
    return Patch(
        points.astype(np.float32),
        triangles,
        texels.astype(np.float32),
        texture,
        np.zeros(len(triangles), bool),
    )
