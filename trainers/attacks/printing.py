"""What a printer does to a portrait: inks and their gamut, dots, bands, and the sheet's own light.

A driver separates a picture into inks so that the print looks right as far as its inks reach;
what the machine then does otherwise (more dot gain, a faded cartridge, a worn drum) is the look of
a real print. Colours follow Neugebauer's mixture of overprints with Yule and Nielsen's factor for
light that spreads in the paper (Yule & Nielsen 1951; Viggiano 1990), under a first-surface
reflection that no ink can darken. Everything is reflectance in linear light.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Interval

from .light import LUMINANCE, to_linear
from .parameters import Array, NotNegative, Positive, Share

PrinterKind = Literal["laser", "inkjet", "photo", "newspaper", "poster"]
Reflectance = tuple[Share, Share, Share]
"""Linear R, G, B that a surface gives back of white light."""
Angle = Annotated[float, Interval(ge=0, lt=180)]

_NODES = 17
"""Steps of the colour table in R and G: sixteen codes apart. Blue has all of its 256."""
_CODES_APART = 16
_OPAQUE = 0.015
"""Least reflectance taken for an ink where the driver inverts the mixture."""
_FIRST_HARMONIC = 4.0 / np.pi**2
"""Amplitude of each cosine of a half covered screen of dots."""
_RESOLVED = 2.4
"""Texels between dots from which a texture can hold them without an alias of its own."""


@dataclass(frozen=True, slots=True)
class PrinterParams:
    """A printer with its inks and its paper."""

    kind: PrinterKind = "laser"
    """Family; the fields below hold all that matters."""
    cyan: Reflectance = (0.05, 0.33, 0.68)
    """Reflectance of full ink over that of the paper."""
    magenta: Reflectance = (0.66, 0.05, 0.21)
    yellow: Reflectance = (0.94, 0.80, 0.06)
    black: Reflectance = (0.03, 0.03, 0.03)
    monochrome: bool = False
    """Only black ink is used."""
    yule_nielsen: Annotated[float, Interval(ge=1, le=3)] = 1.7
    """Spread of light in the paper: 1 has none (Murray and Davies), 2 is a fine screen."""
    dot_gain: Annotated[float, Interval(ge=-0.1, le=0.3)] = 0.05
    """Share of area that a half-tone dot of 0.5 grows beyond what the driver reckons with."""
    strengths: tuple[Share, Share, Share, Share] = (1.0, 1.0, 1.0, 1.0)
    """Share of the asked area that C, M, Y, K reach: less than 1 is a faded cartridge."""
    black_share: Share = 0.5
    """Share of the common grey of C, M and Y that the driver prints in black."""
    black_reflectance: Annotated[float, Interval(ge=0, le=0.2)] = 0.02
    """Light that the surface scatters back whatever the ink: the darkest print, paper = 1."""
    lifted_shadows: Share = 0.8
    """Share of the loss in the blacks over which the driver compresses the tones."""
    tone: Annotated[float, Interval(ge=0.6, le=1.6)] = 1.05
    """Exponent of the tone curve in linear light: above 1, middle tones are darker."""
    saturation: Annotated[float, Interval(ge=0, le=1.5)] = 0.95
    """Colour that the driver asks for over the picture's."""
    screen_pitch: NotNegative = 0.00018
    """Metres between the halftone's dots, 0 for none (25.4 mm over lines an inch)."""
    screen_angles: tuple[Angle, Angle, Angle, Angle] = (15.0, 75.0, 0.0, 45.0)
    """Degrees by which the screens of C, M, Y, K are turned."""
    screen_contrast: Share = 0.9
    """Modulation of the dots over that of hard ones."""
    grain: Share = 0.05
    """Standard deviation of an ink's area in middle tones over one dot: an inkjet's dither."""
    grain_size: Positive = 0.00004
    """Metres from dot to dot of the dither."""
    mottle: Annotated[float, Interval(ge=0, le=0.2)] = 0.02
    """Standard deviation of the ink layer's strength over millimetres."""
    mottle_size: Positive = 0.0012
    """Metres over which it varies."""
    banding: Annotated[float, Interval(ge=0, le=0.3)] = 0.02
    """Amplitude of even bands across the feed, as a share of ink."""
    band_pitch: Positive = 0.004
    """Metres between bands: a gear's tooth, a print head's swath."""
    streaks: Annotated[float, Interval(ge=0, le=200)] = 5.0
    """Faint lines per metre along the feed: a scratched drum, a blocked nozzle."""
    streak_depth: Share = 0.08
    """Share of ink that such a line lacks, at most."""
    feed_upright: bool = True
    """The sheet was fed from its top."""
    blur: NotNegative = 0.00008
    """Metres, standard deviation of ink's place: resolution, toner scatter, spread of light."""
    paper: Reflectance = (0.86, 0.86, 0.84)
    """Reflectance of the bare sheet."""
    fibre: Annotated[float, Interval(ge=0, le=0.1)] = 0.008
    """Standard deviation of the bare sheet's reflectance: fibre, recycled flecks, canvas."""
    fibre_size: Positive = 0.0006
    """Metres over which it varies."""
    gloss: Share = 0.1
    """Light of a lamp's mirror image in the sheet, where white paper is about 1."""


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
        soft = _blurred(picture, params.blur / metres_per_pixel)
        ink = self._mean_colours(soft)
        _add_screens(ink, params, metres_per_pixel)
        _add_grain(ink, params, metres_per_pixel, rng)
        extra = _extra_ink(ink.shape[:2], params, metres_per_pixel, rng)
        sheet = _fibre(ink.shape[:2], params, metres_per_pixel, rng)
        planes = []
        for plane, tint in zip(cv2.split(ink), params.paper, strict=True):
            planes.append(_thicker(plane, extra) * (sheet * np.float32(tint)))
        return np.asarray(np.clip(cv2.merge(planes), 0.0, 1.0))

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
    nodes = _surface(_mixed(areas, params), params).reshape(_NODES, -1)
    blue = np.arange(256)
    below, part = blue // _CODES_APART, (blue % _CODES_APART / _CODES_APART)[:, None]
    table = nodes[below] * (1 - part) + nodes[np.minimum(below + 1, _NODES - 1)] * part
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

    Each band's main ink by Yule and Nielsen's inverse first; then the side absorptions of the
    others are taken out with a few steps of Newton's method, in the space of 1/n powers where the
    mixture is nearly linear. What lies outside of the gamut ends on its border.
    """
    power = 1.0 / params.yule_nielsen
    under = np.clip((asked - params.black_reflectance) / (1 - params.black_reflectance), 0, 1)
    target = under**power
    if params.monochrome:
        floor = max(float(np.mean(params.black)), _OPAQUE) ** power
        black = np.clip((1.0 - target.mean(axis=1)) / (1.0 - floor), 0.0, 1.0)
        return np.column_stack([np.zeros((len(asked), 3)), black]).astype(np.float32)
    inks = np.maximum(np.array([params.cyan, params.magenta, params.yellow]), _OPAQUE) ** power
    areas = np.clip((1.0 - target) / (1.0 - np.diag(inks)), 0.0, 1.0)
    step = np.linalg.inv(1.0 - inks).astype(np.float32)
    for _ in range(6):
        wrong = _mixed_power(areas, inks) - target
        areas = np.clip(areas + 0.9 * (wrong @ step), 0.0, 1.0)
    grey = np.clip((areas.min(axis=1) - 0.25) / 0.75, 0.0, 1.0) ** 1.5
    black = params.black_share * grey * areas.min(axis=1)
    rest = (areas - black[:, None]) / np.maximum(1.0 - black, 1e-3)[:, None]
    return np.column_stack([np.clip(rest, 0, 1), black]).astype(np.float32)


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


def _add_screens(ink: Array, params: PrinterParams, metres_per_pixel: float) -> None:
    """Add the halftone's dots to their mean, in place, as far as the texture resolves them."""
    pitch = params.screen_pitch / metres_per_pixel
    if pitch < _RESOLVED:
        return
    spread = np.hypot(0.29, params.blur / metres_per_pixel) / pitch
    left = 2 * params.screen_contrast * _FIRST_HARMONIC * np.exp(-2 * (np.pi * spread) ** 2)
    if left < 0.02:
        return
    inks = np.array([params.cyan, params.magenta, params.yellow]).diagonal()
    planes = ((0, inks[0]), (1, inks[1]), (2, inks[2]))
    shape = ink.shape[:2]
    black = _dots(shape, pitch, params.screen_angles[3]) if params.black_share > 0.05 else None
    for channel, darkest in planes:
        reflectance = ink[..., channel]
        area = np.clip((1.0 - reflectance) / max(1.0 - darkest, 0.05), 0.0, 1.0)
        # The amplitude of a band-limited screen, no larger than keeps the light positive.
        bow = area * (1.0 - area)
        own = 0.0 if params.monochrome else 1.0
        pattern = _dots(shape, pitch, params.screen_angles[channel]) * np.float32(own)
        if black is not None:
            share = np.float32(1.0) if params.monochrome else 0.6 * params.black_share * area
            pattern = pattern * (1 - share) + black * share
        amplitude = np.minimum(2.0 * left * (1.0 - darkest) * bow, reflectance)
        ink[..., channel] += amplitude * pattern


def _dots(shape: tuple[int, ...], pitch: float, angle: float) -> Array:
    """float32 (h, w), mean 0, -1..1: a square screen as the sum of two cosines.

    A cosine of a sum is a sum of products, so the whole screen is one small matrix product.
    """
    turn = np.deg2rad(angle)
    rate = 2 * np.pi / pitch
    y, x = np.arange(shape[0]) * rate, np.arange(shape[1]) * rate
    rows, columns = [], []
    for fx, fy in ((np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))):
        rows += [np.cos(fy * y), -np.sin(fy * y)]
        columns += [np.cos(fx * x), np.sin(fx * x)]
    left = np.stack(rows, axis=1).astype(np.float32) * np.float32(0.5)
    return np.asarray(left @ np.stack(columns).astype(np.float32))


def _add_grain(
    ink: Array, params: PrinterParams, metres_per_pixel: float, rng: np.random.Generator
) -> None:
    """Add the dither's blue noise, in place: strongest where an ink covers half the paper.

    A pixel that is wider than the dither's dots averages many of them, and blue noise averages
    away with the square of that number's root, faster than white noise.
    """
    dots = metres_per_pixel / params.grain_size
    strength = params.grain / max(1.0, dots) ** 1.5
    if strength < 0.002:
        return
    for channel in range(3):
        if channel == 0 or not params.monochrome:
            noise = _tiled(_blue_noise(), ink.shape[:2], rng)
        plane = ink[..., channel]
        plane += noise * (4.0 * strength) * plane * (1.0 - plane)


def _thicker(plane: Array, extra: Array) -> Array:
    """Reflectance under a little more or less ink: bare paper stays bare, and full ink is full.

    For small changes d of the layer, Beer and Lambert's law gives R^(1 + d) = R + d R ln R; the
    parabola here has its course without a logarithm, and lets a streak show in black, too.
    """
    return plane - np.float32(1.5) * extra * (1.0 - plane) * (plane + np.float32(0.08))


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
        return np.ones(shape[:2], np.float32)
    return np.asarray(1.0 + np.float32(left) * _cloud(shape, size, rng), np.float32)


def _cloud(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Array:
    """float32 (h, w), mean 0, deviation about 1: noise that varies over `size` pixels."""
    step = max(1.0, size)
    small = max(2, int(np.ceil(shape[0] / step))), max(2, int(np.ceil(shape[1] / step)))
    noise = _tiled(_white_noise(), small, rng)
    if small == tuple(shape[:2]):
        return noise
    # Cubic interpolation of unit noise keeps about 0.75 of its deviation.
    whole = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(whole * np.float32(1.33))


def _tiled(tile: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A part of an endless repetition of a tile, from a drawn place, in a drawn orientation."""
    side = len(tile)
    y, x = (int(place) for place in rng.integers(0, side, 2))
    if rng.random() < 0.5:
        tile = tile.T
    rolled = np.roll(tile, (y, x), (0, 1))
    times = -(-shape[0] // side), -(-shape[1] // side)
    return np.ascontiguousarray(np.tile(rolled, times)[: shape[0], : shape[1]])


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
    noise = (noise / noise.std()).astype(np.float32)
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
    glare += np.float32(gloss * rng.uniform(0.02, 0.12))
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


def draw_printer(rng: np.random.Generator, kind: PrinterKind | None = None) -> PrinterParams:
    """A printer from the whole range: bad office copies to prints of a photo laboratory.

    Args:
        rng: Random numbers.
        kind: The family, else drawn.
    """
    if kind is None:
        names: tuple[PrinterKind, ...] = ("laser", "inkjet", "photo", "newspaper", "poster")
        kind = names[int(rng.choice(5, p=(0.34, 0.26, 0.26, 0.05, 0.09)))]
    return _drawn(rng, kind)


@dataclass(frozen=True, slots=True)
class _Range:
    """Low and high ends of what differs between the families of printers."""

    ink: tuple[float, float]
    """Thickness of the ink layers: the exponent of the base reflectances."""
    yule_nielsen: tuple[float, float]
    dot_gain: tuple[float, float]
    faded: float
    """Chance of a faded cartridge."""
    monochrome: float
    """Chance of black ink only."""
    black: tuple[float, float]
    tone: tuple[float, float]
    saturation: tuple[float, float]
    lines: tuple[float, float]
    """Lines of the screen per inch; 0 for none."""
    grain: tuple[float, float]
    mottle: tuple[float, float]
    banding: tuple[float, float]
    streaks: tuple[float, float]
    blur: tuple[float, float]
    paper: tuple[float, float]
    fibre: tuple[float, float]
    gloss: tuple[float, float]


_RANGES: dict[PrinterKind, _Range] = {
    "laser": _Range(
        (0.65, 1.1), (1.5, 2.2), (-0.03, 0.13), 0.3, 0.15, (0.02, 0.06), (0.85, 1.3), (0.7, 1.1),
        (85, 200), (0, 0.05), (0.01, 0.06), (0, 0.05), (0, 25), (4e-5, 1.6e-4), (0.74, 0.92),
        (0.004, 0.018), (0.02, 0.25),
    ),
    "inkjet": _Range(
        (0.5, 0.95), (1.5, 2.5), (-0.03, 0.12), 0.35, 0.05, (0.02, 0.08), (0.85, 1.25), (0.65, 1.1),
        (0, 0), (0.05, 0.25), (0.005, 0.03), (0, 0.06), (0, 15), (5e-5, 2e-4), (0.76, 0.93),
        (0.004, 0.016), (0.0, 0.08),
    ),
    "photo": _Range(
        (1.0, 1.35), (1.0, 1.5), (-0.03, 0.05), 0.06, 0.02, (0.004, 0.02), (0.9, 1.15), (0.9, 1.2),
        (0, 0), (0, 0.04), (0, 0.008), (0, 0.01), (0, 2), (3e-5, 1.2e-4), (0.84, 0.95),
        (0.0, 0.006), (0.15, 1.0),
    ),
    "newspaper": _Range(
        (0.45, 0.75), (1.6, 2.4), (0.0, 0.2), 0.3, 0.3, (0.05, 0.12), (0.85, 1.25), (0.6, 1.0),
        (65, 110), (0, 0.05), (0.01, 0.05), (0, 0.03), (0, 5), (6e-5, 1.6e-4), (0.5, 0.72),
        (0.01, 0.04), (0.0, 0.06),
    ),
    "poster": _Range(
        (0.8, 1.2), (1.2, 2.0), (-0.02, 0.1), 0.15, 0.0, (0.01, 0.05), (0.85, 1.2), (0.8, 1.2),
        (0, 100), (0.02, 0.2), (0.002, 0.02), (0, 0.05), (0, 8), (1e-4, 4e-4), (0.78, 0.93),
        (0.003, 0.03), (0.05, 0.7),
    ),
}  # fmt: skip


def _drawn(rng: np.random.Generator, kind: PrinterKind) -> PrinterParams:
    ranges = _RANGES[kind]
    lines = rng.uniform(*ranges.lines)
    turn = rng.uniform(-7, 7)
    standard = PrinterParams()
    thick = rng.uniform(*ranges.ink) * rng.uniform(0.9, 1.1, 4)
    cyan, magenta, yellow, black = (
        _layer(ink, thickness, rng)
        for ink, thickness in zip(
            (standard.cyan, standard.magenta, standard.yellow, standard.black), thick, strict=True
        )
    )
    return PrinterParams(
        kind=kind,
        cyan=cyan,
        magenta=magenta,
        yellow=yellow,
        black=black,
        monochrome=bool(rng.random() < ranges.monochrome),
        yule_nielsen=rng.uniform(*ranges.yule_nielsen),
        dot_gain=rng.uniform(*ranges.dot_gain),
        strengths=_strengths(rng, ranges.faded),
        black_share=0.0 if kind == "photo" else rng.uniform(0.0, 1.0),
        black_reflectance=rng.uniform(*ranges.black),
        lifted_shadows=rng.uniform(0.4, 1.0),
        tone=rng.uniform(*ranges.tone),
        saturation=rng.uniform(*ranges.saturation),
        screen_pitch=0.0254 / lines if lines > 30 else 0.0,
        screen_angles=tuple(float((a + turn) % 180) for a in (15, 75, 0, 45)),
        screen_contrast=rng.uniform(0.5, 1.0),
        grain=rng.uniform(*ranges.grain),
        grain_size=10 ** rng.uniform(-4.6, -4.0),
        mottle=rng.uniform(*ranges.mottle),
        mottle_size=10 ** rng.uniform(-3.4, -2.5),
        banding=rng.uniform(*ranges.banding) * (rng.random() < 0.6),
        band_pitch=10 ** rng.uniform(-3.0, -2.0),
        streaks=rng.uniform(*ranges.streaks) * (rng.random() < 0.6),
        streak_depth=rng.uniform(0.02, 0.2),
        feed_upright=bool(rng.random() < 0.6),
        blur=float(np.exp(rng.uniform(*np.log(ranges.blur)))),
        paper=_sheet(rng, ranges.paper),
        fibre=rng.uniform(*ranges.fibre),
        fibre_size=10 ** rng.uniform(-3.6, -2.8),
        gloss=rng.uniform(*ranges.gloss),
    )


def _layer(ink: Reflectance, thickness: float, rng: np.random.Generator) -> Reflectance:
    """A layer of an ink of another thickness (Beer and Lambert) and a little other hue."""
    r, g, b = np.clip(np.array(ink) ** (thickness * rng.uniform(0.92, 1.08, 3)), 0.002, 0.99)
    return float(r), float(g), float(b)


def _strengths(rng: np.random.Generator, chance: float) -> tuple[Share, Share, Share, Share]:
    c, m, y, k = 1.0 - rng.uniform(0.0, 0.05, 4)
    if rng.random() < chance:
        faded = rng.uniform(0.55, 0.95)
        ink = int(rng.integers(0, 4))
        c, m, y, k = (
            value * (faded if place == ink else 1) for place, value in enumerate((c, m, y, k))
        )
    return float(c), float(m), float(y), float(k)


def _sheet(rng: np.random.Generator, ends: tuple[float, float]) -> Reflectance:
    """Paper: from brightened bluish to yellowed, of one brightness."""
    white = rng.uniform(*ends)
    yellowed = rng.normal(0.02, 0.02) + (0.12 if ends[1] < 0.75 else 0.0) * rng.random()
    r, g, b = np.clip(white * np.array([1 + 0.4 * yellowed, 1.0, 1 - 1.6 * yellowed]), 0.2, 0.98)
    return float(r), float(g), float(b)
