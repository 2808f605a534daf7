"""What a printer does to a portrait: inks and their gamut, dots, bands, and the sheet's own light.

A driver separates a picture into inks so that the print looks right as far as its inks reach;
what the machine then does otherwise (more dot gain, a faded cartridge, a worn drum) is the look of
a real print. Colours follow Neugebauer's mixture of overprints with Yule and Nielsen's factor for
light that spreads in the paper (Yule & Nielsen 1951; Viggiano 1990), under a first-surface
reflection that no ink can darken. Everything is reflectance in linear light.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from .light import LUMINANCE, to_linear
from .parameters import Array
from .printers import PrinterKind, PrinterParams, draw_printer

__all__ = [
    "Printer",
    "PrinterKind",
    "PrinterParams",
    "colour_table",
    "draw_printer",
    "lay_gloss",
    "printed",
    "sheet_light",
]

_NODES = 17
"""Steps of the colour table in R and G: sixteen codes apart. Blue has all of its 256."""
_CODES_APART = 16
_OPAQUE = 0.015
"""Least reflectance taken for an ink where the driver inverts the mixture."""
_FIRST_HARMONIC = 4.0 / np.pi**2
"""Amplitude of each cosine of a half covered screen of dots."""
_RESOLVED = 2.4
"""Texels between dots from which a texture can hold them without an alias of its own."""
_FAINT = 0.01
"""Modulation of a screen that is left out."""
_ROWS = 40
"""Rows that are worked on at a time."""


class Printer:
    """A printer with its colour table, made once for many pictures."""

    def __init__(self, params: PrinterParams) -> None:
        self.params = params
        self.table = colour_table(params)
        """float32 (256 * 17, 17, 3): reflectance over [b * 17 + g / 16, r / 16]."""

    def printed(self, picture: Array, metres_per_pixel: float, rng: np.random.Generator) -> Array:
        """The reflectance of a print.

        Args:
            picture: uint8 RGB (h, w, 3), the resolution that the print is wanted at.
            metres_per_pixel: Size of its pixels on paper.
            rng: Places of bands, streaks, grain and fibre.

        Returns:
            float32 (h, w, 3), 0..1: the share of light that each place gives back.
        """
        params = self.params
        shape = picture.shape[:2]
        soft = _blurred(picture, params.blur / metres_per_pixel)
        screens = _screens(shape, params, metres_per_pixel)
        grain = _grain(shape, params, metres_per_pixel, rng)
        extra = _extra_ink(shape, params, metres_per_pixel, rng)
        sheet = _fibre(shape, params, metres_per_pixel, rng)
        whole = np.empty((*shape, 3), np.float32)
        # Few rows at a time stay in the processor's cache, and need no fresh memory pages.
        for top in range(0, shape[0], _ROWS):
            rows = slice(top, top + _ROWS)
            planes: list[Array] = list(cv2.split(self._mean_colours(soft[rows])))
            if screens is not None:
                _add_screens(planes, screens, rows, params)
            for plane, noise, tint in zip(planes, grain, params.paper, strict=True):
                _vary(plane, extra[rows], None if noise is None else noise[rows])
                plane *= sheet[rows] * np.float32(tint)
            np.clip(cv2.merge(planes), 0.0, 1.0, out=whole[rows])
        return whole

    def _mean_colours(self, picture: Array) -> Array:
        """Reflectance over paper by the table: exact in blue, bilinear in red and green."""
        r, g, b = (np.asarray(plane, np.int16) for plane in cv2.split(picture))
        nodes = np.dstack([r >> 4, b * _NODES + (g >> 4)])
        fractions = (((g & 15) << 6) + ((r & 15) << 1)).astype(np.uint16)
        return np.asarray(cv2.remap(self.table, nodes, fractions, cv2.INTER_LINEAR))


def printed(
    picture: Array, params: PrinterParams, metres_per_pixel: float, rng: np.random.Generator
) -> Array:
    """One print of a printer that is not kept; see :meth:`Printer.printed`."""
    return Printer(params).printed(picture, metres_per_pixel, rng)


def colour_table(params: PrinterParams) -> Array:
    """What a printer makes of each colour, over its paper's white.

    Returns:
        float32 (256 * 17, 17, 3) of linear reflectance, by [b * 17 + g / 16, r / 16] of codes.
    """
    codes = np.minimum(np.arange(_NODES) * _CODES_APART, 255).astype(np.uint8)
    levels = to_linear(codes)
    b, g, r = np.meshgrid(levels, levels, levels, indexing="ij")
    wanted = np.stack([r, g, b], axis=-1)
    areas = _actual(_separated(_asked(wanted.reshape(-1, 3), params), params), params)
    nodes = _surface(_mixed(areas, params), params).reshape(_NODES, _NODES, _NODES, 3)
    # The last node stands for code 256: from those of 240 and 255, so that 255 is met exactly.
    for axis in range(3):
        ends = np.moveaxis(nodes, axis, 0)
        ends[-1] += (ends[-1] - ends[-2]) / (_CODES_APART - 1)
    flat = nodes.reshape(_NODES, -1)
    blue = np.arange(256)
    below, part = blue // _CODES_APART, (blue % _CODES_APART / _CODES_APART)[:, None]
    table = flat[below] * (1 - part) + flat[np.minimum(below + 1, _NODES - 1)] * part
    return np.ascontiguousarray(table.reshape(256 * _NODES, _NODES, 3), np.float32)


def _asked(linear: Array, params: PrinterParams) -> Array:
    """The reflectance that the driver aims at, float32 (n, 3) over paper."""
    grey = (linear @ LUMINANCE)[:, None]
    saturation = 0.0 if params.monochrome else params.saturation
    toned = np.clip(grey + saturation * (linear - grey), 0.0, 1.0) ** params.tone
    floor = params.lifted_shadows * _darkest(params)
    return np.asarray(floor + (1.0 - floor) * toned, np.float32)


def _darkest(params: PrinterParams) -> float:
    """Luminance over paper of all inks together."""
    every = np.ones((1, 4), np.float32)
    every[0, :3] = 0.0 if params.monochrome else 1.0
    return float(_surface(_mixed(every, params), params)[0] @ LUMINANCE)


def _separated(asked: Array, params: PrinterParams) -> Array:
    """Areas (n, 4) of C, M, Y, K by which the driver comes nearest to what is asked.

    In the space of 1/n powers the mixture is a product, so each band is solved for its main ink in
    turn, under the black that takes its share of their common grey. What lies outside of the gamut
    ends on its border.
    """
    power = 1.0 / params.yule_nielsen
    under = np.clip((asked - params.black_reflectance) / (1 - params.black_reflectance), 0, 1)
    target = under**power
    if params.monochrome:
        floor = max(float(np.mean(params.black)), _OPAQUE) ** power
        black = np.clip((1.0 - target.mean(axis=1)) / (1.0 - floor), 0.0, 1.0)
        return np.column_stack([np.zeros((len(asked), 3)), black]).astype(np.float32)
    inks = np.maximum(np.array([params.cyan, params.magenta, params.yellow]), _OPAQUE) ** power
    least = _matched(target, inks.astype(np.float32), 4).min(axis=1)
    black = params.black_share * np.clip((least - 0.25) / 0.75, 0.0, 1.0) ** 1.5 * least
    under = 1.0 - black[:, None] * (1.0 - np.array(params.black, np.float32) ** power)
    colours = _matched(target / np.maximum(under, 1e-3), inks.astype(np.float32), 6)
    return np.column_stack([colours, black]).astype(np.float32)


def _matched(target: Array, inks: Array, sweeps: int) -> Array:
    """Areas (n, 3) of C, M and Y whose mixture is the target (n, 3), in the space of powers.

    Each ink in turn matches the band that it absorbs most, as far as it can (Gauss and Seidel's
    sweeps): a band that lies out of reach spoils no other.
    """
    factors = np.ones((3, *target.shape), np.float32)
    areas = np.zeros(target.shape, np.float32)
    for _ in range(sweeps):
        for i, ink in enumerate(inks):
            others = factors[(i + 1) % 3, :, i] * factors[(i + 2) % 3, :, i]
            areas[:, i] = np.clip((1.0 - target[:, i] / others) / (1.0 - ink[i]), 0.0, 1.0)
            factors[i] = 1.0 - areas[:, i, None] * (1.0 - ink)
    return areas


def _actual(areas: Array, params: PrinterParams) -> Array:
    """Areas on paper: dots grow most where they are half the cell, cartridges fade."""
    grown = areas + 4.0 * params.dot_gain * areas * (1.0 - areas)
    return np.asarray(np.clip(grown, 0, 1) * np.array(params.strengths), np.float32)


def _mixed(areas: Array, params: PrinterParams) -> Array:
    """Reflectance (n, 3) of inks (n, 4) over paper: Neugebauer, with Yule and Nielsen's factor.

    Screens of different angles overlap at random, so the areas of the sixteen overprints are
    products (Demichel), and the overprints' colours the products of their inks': the sum over all
    sixteen is then a product over the inks, which is what is computed.
    """
    power = 1.0 / params.yule_nielsen
    inks = np.array([params.cyan, params.magenta, params.yellow, params.black]) ** power
    return np.asarray(_mixed_power(areas, inks) ** params.yule_nielsen, np.float32)


def _mixed_power(areas: Array, inks: Array) -> Array:
    mixed = np.ones((len(areas), 3), np.float32)
    for area, ink in zip(areas.T, inks.astype(np.float32), strict=True):
        mixed *= 1.0 - area[:, None] * (1.0 - ink)
    return mixed


def _surface(reflectance: Array, params: PrinterParams) -> Array:
    return params.black_reflectance + (1.0 - params.black_reflectance) * reflectance


def _blurred(picture: Array, deviation: float) -> Array:
    if deviation < 0.25:
        return picture
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation))


@dataclass(frozen=True, slots=True)
class _Screens:
    """The halftones of a print, each as the product of (h, 4) and (4, w): see :func:`_dots`."""

    screens: tuple[tuple[Array, Array], ...]
    """Of C, M, Y, K."""
    left: float
    """Modulation that the texture's pixels and the ink's spread leave."""


def _screens(shape: tuple[int, ...], params: PrinterParams, pixel: float) -> _Screens | None:
    """The screens of dots as far as pixels of this size in metres resolve them, else None."""
    pitch = params.screen_pitch / pixel
    if pitch < _RESOLVED:
        return None
    spread = np.hypot(0.29, params.blur / pixel) / pitch
    left = params.screen_contrast * float(np.exp(-2 * (np.pi * spread) ** 2))
    if left < _FAINT:
        return None
    return _Screens(tuple(_dots(shape, pitch, angle) for angle in params.screen_angles), left)


def _dots(shape: tuple[int, ...], pitch: float, angle: float) -> tuple[Array, Array]:
    """A square screen of mean 0 and -1..1, as the mean of two cosines across each other.

    A cosine of a sum is a sum of products, so the whole screen is one small matrix product.
    """
    turn = np.deg2rad(angle)
    rate = 2 * np.pi / pitch
    y, x = np.arange(shape[0]) * rate, np.arange(shape[1]) * rate
    rows, columns = [], []
    for fx, fy in ((np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))):
        rows += [np.cos(fy * y), -np.sin(fy * y)]
        columns += [np.cos(fx * x), np.sin(fx * x)]
    down = np.stack(rows, axis=1).astype(np.float32) * np.float32(0.5)
    return down, np.stack(columns).astype(np.float32)


def _add_screens(
    planes: list[Array], screens: _Screens, rows: slice, params: PrinterParams
) -> None:
    """Add the dots to their mean, in place.

    Each band carries the dots of its main ink, and more of black's the darker it is. A dot's first
    harmonic grows as sin(pi a) with its area a, taken as 4 a (1 - a); no more than keeps the light
    positive is added, so that the mean stays.
    """
    patterns = [down[rows] @ across for down, across in screens.screens]
    inks = np.array([params.cyan, params.magenta, params.yellow]).diagonal()
    for channel, plane in enumerate(planes):
        full = 1.0 - (min(params.black) if params.monochrome else inks[channel])
        area = np.clip((1.0 - plane) / np.float32(max(full, 0.05)), 0.0, 1.0)
        black = 1.0 if params.monochrome else params.black_share * 0.6 * area
        pattern = patterns[channel] * (1.0 - black) + patterns[3] * black
        amplitude = np.float32(8.0 * _FIRST_HARMONIC * screens.left * full) * area * (1.0 - area)
        plane += np.minimum(amplitude, plane) * pattern


def _grain(
    shape: tuple[int, ...], params: PrinterParams, pixel: float, rng: np.random.Generator
) -> list[Array | None]:
    """float32 (h, w) per channel: the dither's blue noise, or None where it is too fine to see.

    A pixel that is wider than the dither's dots averages many of them, and blue noise averages
    away faster than with the root of their number.
    """
    strength = params.grain / max(1.0, pixel / params.grain_size) ** 1.5
    if strength < 0.002:
        return [None, None, None]
    tiles = [_tiled(_blue_noise(), shape, rng) for _ in range(1 if params.monochrome else 3)]
    # Less than what would take all light: the mean stays.
    noises = [np.clip(tile * np.float32(2.67 * strength), -0.6, 0.6) for tile in tiles]
    return [noises[0], noises[0], noises[0]] if params.monochrome else list(noises)


def _vary(plane: Array, extra: Array, noise: Array | None) -> None:
    """Lay a little more or less ink, in place: bare paper stays bare, and full ink nearly full.

    For small changes d of the layer, Beer and Lambert's law gives R^(1 + d) = R + d R ln R; the
    parabola here has its course without a logarithm, and lets a streak show in black, too.
    """
    change = extra if noise is None else extra + noise
    plane -= np.float32(1.5) * change * (1.0 - plane) * (plane + np.float32(0.04))


def _extra_ink(
    shape: tuple[int, ...], params: PrinterParams, metres_per_pixel: float, rng: np.random.Generator
) -> Array:
    """float32 (h, w) about 0: how much thicker the ink lies than it should."""
    along, across = (0, 1) if params.feed_upright else (1, 0)
    bands = _bands(shape[along], params, metres_per_pixel, rng)
    lines = _streaks(shape[across], params, metres_per_pixel, rng)
    layer = np.add.outer(bands, lines)
    if not params.feed_upright:
        layer = layer.T
    if params.mottle > 0.001:
        layer += np.float32(params.mottle) * _cloud(
            shape, params.mottle_size / metres_per_pixel, rng
        )
    return np.ascontiguousarray(layer, np.float32)


def _bands(
    count: int, params: PrinterParams, metres_per_pixel: float, rng: np.random.Generator
) -> Array:
    place = np.arange(count) * metres_per_pixel / params.band_pitch
    wave = np.sin(2 * np.pi * (place + rng.random())) + 0.5 * np.sin(
        2 * np.pi * (2.7 * place + rng.random())
    )
    slow = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 7), rng.normal(0, 0.5, 7))
    resolved = params.band_pitch > 2.5 * metres_per_pixel
    return np.asarray(params.banding * (wave * resolved + slow), np.float32)


def _streaks(
    count: int, params: PrinterParams, metres_per_pixel: float, rng: np.random.Generator
) -> Array:
    lines = np.zeros(count, np.float32)
    for _ in range(rng.poisson(params.streaks * count * metres_per_pixel)):
        middle, width = rng.uniform(0, count), rng.uniform(0.0001, 0.0008) / metres_per_pixel
        covered = np.clip(width / 2 + 0.5 - np.abs(np.arange(count) - middle), 0, min(1, width))
        lines -= np.float32(rng.uniform(0.2, 1.0) * params.streak_depth) * covered
    return lines


def _fibre(
    shape: tuple[int, ...], params: PrinterParams, metres_per_pixel: float, rng: np.random.Generator
) -> Array:
    """float32 (h, w), mean 1: the bare sheet's structure, less what a pixel averages of it."""
    size = params.fibre_size / metres_per_pixel
    left = params.fibre * min(1.0, size)
    if left < 0.001:
        return np.ones(shape, np.float32)
    return np.asarray(1.0 + np.float32(left) * _cloud(shape, size, rng), np.float32)


def _cloud(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Array:
    """float32 (h, w), mean 0, deviation about 1: noise that varies over `size` pixels."""
    step = max(1.0, size)
    small = max(2, int(np.ceil(shape[0] / step))), max(2, int(np.ceil(shape[1] / step)))
    noise = _tiled(_white_noise(), small, rng)
    if small == tuple(shape):
        return noise
    # Cubic interpolation of unit noise keeps about 0.75 of its deviation.
    noise = noise * np.float32(1.33)
    whole = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(whole)


def _tiled(tile: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A part of an endless repetition of a tile, from a drawn place, in a drawn orientation."""
    side = len(tile)
    y, x = (int(place) for place in rng.integers(0, side, 2))
    if rng.random() < 0.5:
        tile = tile.T
    times = -(-(y + shape[0]) // side), -(-(x + shape[1]) // side)
    whole = tile if times == (1, 1) else np.tile(tile, times)
    return whole[y : y + shape[0], x : x + shape[1]]


@cache
def _white_noise() -> Array:
    noise = np.random.default_rng(11).normal(size=(640, 640)).astype(np.float32)
    noise -= noise.mean()
    noise.setflags(write=False)
    return noise


@cache
def _blue_noise() -> Array:
    """float32 (640, 640), mean 0, deviation 1, periodic: white noise less its low frequencies."""
    spectrum = np.fft.rfft2(_white_noise())
    radius = np.hypot(np.fft.fftfreq(640)[:, None], np.fft.rfftfreq(640)[None, :])
    noise = np.fft.irfft2(spectrum * np.minimum(1.0, (radius / 0.35) ** 1.5))
    noise = np.asarray(noise / noise.std(), np.float32)
    noise.setflags(write=False)
    return noise


def sheet_light(
    shape: tuple[int, int], rng: np.random.Generator, gloss: float, turn: float = 0.0
) -> tuple[Array, Array]:
    """How a sheet is lit, and what lamps it mirrors.

    A lamp nearer to one side gives a cast gradient; a bend (in radians of the normal's turn from
    one edge to the other) adds Lambert's cosine across it and stretches the mirror image of a lamp
    along the axis of the bend.

    Args:
        shape: Rows and columns of the sheet's texture.
        rng: Draws the lamps.
        gloss: Light of a lamp's mirror image, where white paper is about 1.
        turn: Radians, -2..2.

    Returns:
        float32 (h, w), mean 1, to multiply the reflectance with; and float32 (h, w, 3) to add.
    """
    y, x = np.mgrid[-1:1:48j, -1:1:48j].astype(np.float32)
    axis, cast = rng.uniform(0, 2 * np.pi, 2)
    slope = rng.gamma(1.5, 0.06)
    across = x * np.cos(axis) + y * np.sin(axis)
    lean = rng.uniform(-0.6, 0.6)
    lambert = np.cos(np.clip(lean + 0.5 * turn * across, -1.4, 1.4))
    light = lambert * (1.0 + slope * (x * np.cos(cast) + y * np.sin(cast)))
    light = np.maximum(light, 0.02)
    shading = cv2.resize(light / light.mean(), (shape[1], shape[0])).astype(np.float32)
    glare = np.zeros((48, 48, 3), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        glare += _lamp_image((x, y), axis, turn, rng) * np.float32(gloss * rng.uniform(0.2, 1.0))
    # A rough surface scatters a share of every lamp evenly: the veil that greys the blacks.
    glare += np.float32(rng.uniform(0.001, 0.015) * (1.0 + gloss))
    return shading, np.asarray(cv2.resize(glare, (shape[1], shape[0])), np.float32)


def _lamp_image(
    places: tuple[Array, Array], axis: float, turn: float, rng: np.random.Generator
) -> Array:
    x, y = places
    dx, dy = x - rng.uniform(-1.6, 1.6), y - rng.uniform(-1.6, 1.6)
    u = dx * np.cos(axis) + dy * np.sin(axis)
    v = dy * np.cos(axis) - dx * np.sin(axis)
    width = rng.uniform(0.12, 0.7)
    narrow = width / (1.0 + 2.0 * abs(turn))
    image = np.exp(-0.5 * ((u / narrow) ** 2 + (v / (width * (1.0 + abs(turn)))) ** 2))
    warmth = rng.uniform(-0.15, 0.15)
    return np.asarray(image[..., None] * np.array([1 + warmth, 1.0, 1 - warmth]), np.float32)


def lay_gloss(reflectance: Array, shading: Array, glare: Array) -> Array:
    """Light from a sheet, float32 (h, w, 3): reflectance under :func:`sheet_light`."""
    lit = cv2.merge([plane * shading for plane in cv2.split(reflectance)])
    return np.asarray(lit + glare, np.float32)
