"""What a display does to a portrait: its light, its lattice of colours, its glass, its flicker.

A display shines by itself: its tones follow its own gamma, its black is light too, and its colours
are those of its primaries. Each pixel is made of coloured spots; a camera samples that lattice
with its own, and where the two nearly agree, their beat is the moire of a re-captured screen.
Nothing of it is painted on: the lattice is written as its Fourier series (it is periodic, so that
is exact up to the finest term kept), each term is damped by what lens and pixel leave of its
frequency, and the rest is evaluated where the camera's pixels look.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Interval

from .light import LUMINANCE, to_linear
from .parameters import Array, Colour, NotNegative, Positive, Share

DisplayKind = Literal["phone_oled", "phone_lcd", "tablet", "laptop", "monitor"]
LatticeKind = Literal["rgb", "bgr", "pentile"]
Row = tuple[float, float, float]

_FINEST = 3
"""Cycles per display pixel of the finest term of a lattice: more no camera resolves."""
_FAINT = 0.006
"""Modulation below which a term of the lattice is left out."""
_ROWS = 40
"""Rows that are worked on at a time."""
_P3 = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
"""Linear Display P3 (SMPTE EG 432-1, white D65) to linear sRGB."""


@dataclass(frozen=True, slots=True)
class DisplayParams:
    """A display that plays a recording."""

    kind: DisplayKind = "tablet"
    """Family; the fields below hold all that matters."""
    size: tuple[Positive, Positive] = (0.150, 0.200)
    """Width and height of the lit part in metres."""
    pixel_pitch: Positive = 0.000096
    """Metres between its pixels."""
    lattice: LatticeKind = "rgb"
    """Upright stripes of red, green and blue, or the reverse, or diamonds with half the red and
    blue (PenTile)."""
    opening: tuple[Share, Share] = (0.27, 0.85)
    """Lit width and height of a coloured spot in pixels; stripes only."""
    gamma: Annotated[float, Interval(ge=1.6, le=2.8)] = 2.2
    """Exponent from code value to light."""
    peak: Positive = 0.95
    """Light of its white, where a white sheet in the room's light is about 0.9."""
    black: Share = 0.001
    """Light of its black as a share of its white."""
    white_point: Colour = (0.95, 1.0, 1.1)
    """Linear R, G, B of its white, against the room's."""
    primaries: tuple[Row, Row, Row] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    """Linear sRGB (rows) from the display's own linear R, G, B (columns)."""
    falloff: Share = 0.08
    """Share of light that its corners lack."""
    lean: Annotated[float, Interval(ge=-0.5, le=0.5)] = 0.03
    """Share of light gained from the middle to the edge that the backlight is stronger at."""
    lean_angle: Annotated[float, Interval(ge=0, lt=360)] = 90.0
    """Degrees to that edge, clockwise from the right."""
    bleed: Share = 0.001
    """Light that leaks in at the edges, as a share of white."""
    dimming: Annotated[float, Interval(ge=0, le=6)] = 1.2
    """Exponent of the cosine by which light falls when seen from the side."""
    side_tint: Colour = (1.0, 0.99, 0.95)
    """Colour of its white seen from 45 degrees over that from the front."""
    side_lift: Share = 0.004
    """Light added to its black at 45 degrees, as a share of white."""
    refresh: Annotated[float, Interval(ge=24, le=240)] = 60.0
    """Pictures per second, Hz."""
    refresh_depth: Share = 0.02
    """Amplitude of its light's change over one of them."""
    pwm: Annotated[float, Interval(ge=0, le=20000)] = 0.0
    """Hz at which its light is switched to dim it; 0 for none."""
    pwm_duty: Annotated[float, Interval(gt=0, le=1)] = 0.6
    """Share of the time for which it is on."""
    pwm_depth: Share = 0.8
    """Share of the light that is switched."""
    bezel: NotNegative = 0.008
    """Metres of frame around the lit part."""
    bezel_reflectance: Share = 0.025
    veil: Share = 0.012
    """Room light that the glass scatters back evenly."""
    mirror: Share = 0.04
    """Share of the room's light that the glass mirrors."""
    matte: Share = 0.0
    """How much the surface blurs that mirror image: 0 for glass, 1 for a matte panel."""


def displayed(
    picture: Array, params: DisplayParams, tilt: tuple[float, float] = (0.0, 0.0)
) -> Array:
    """The light of a display that shows a picture, its lattice averaged.

    Args:
        picture: uint8 RGB (h, w, 3), at the resolution that the display's texture is wanted at.
        params: The display.
        tilt: Yaw and pitch of the display against the line of sight, degrees.

    Returns:
        float32 (h, w, 3), linear; 1.0 is the white of the 8-bit range.
    """
    cosine = float(np.cos(np.deg2rad(tilt[0])) * np.cos(np.deg2rad(tilt[1])))
    side = float(np.clip((1.0 - cosine) / (1.0 - np.sqrt(0.5)), 0.0, 2.0))
    tint = np.maximum(1.0 + side * (np.array(params.side_tint) - 1.0), 0.05)
    white = params.peak * max(cosine, 0.0) ** params.dimming * tint * params.white_point
    levels = np.dstack([((np.arange(256) / 255.0) ** params.gamma).astype(np.float32)] * 3)
    dark = min(params.black + side * params.side_lift, 1.0)
    colours = np.asarray(params.primaries) * (1.0 - dark)
    across, down, leaks = _backlight(picture.shape[:2], params)
    whole = np.empty(picture.shape, np.float32)
    # Few rows at a time stay in the processor's cache, and need no fresh memory pages.
    for top in range(0, len(picture), _ROWS):
        rows = slice(top, top + _ROWS)
        light = cv2.transform(cv2.LUT(picture[rows], levels), colours.astype(np.float32))
        field = np.maximum(np.add.outer(down[rows], across), 0.0)
        leak = np.add.outer(leaks[0][rows] + np.float32(dark), leaks[1])
        # Primaries outside sRGB are negative in it; a camera's own colours clip there too.
        planes = [
            (np.maximum(plane, 0.0) + leak) * (field * w)
            for plane, w in zip(cv2.split(light), white.astype(np.float32), strict=True)
        ]
        whole[rows] = cv2.merge(planes)
    return whole


def _backlight(
    shape: tuple[int, ...], params: DisplayParams
) -> tuple[Array, Array, tuple[Array, Array]]:
    """What to add up to the panel's evenness, mean 1, and to what leaks in at its edges.

    Returns:
        float32 (w,) and (h,) of the first; (h,) and (w,) of the second.
    """
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    angle = np.deg2rad(params.lean_angle)
    across = params.lean * np.cos(angle) * x - 0.5 * params.falloff * (x**2 - 1 / 3)
    down = params.lean * np.sin(angle) * y - 0.5 * params.falloff * (y**2 - 1 / 3)
    leaks = np.float32(0.5 * params.bleed) * y**8, np.float32(0.5 * params.bleed) * x**8
    return across.astype(np.float32), (1.0 + down).astype(np.float32), leaks


def lattice(x: Array, y: Array, params: DisplayParams, footprint: float = 0.0) -> Array:
    """How much more than its mean each place of the lattice shines, per colour.

    Args:
        x: float (h, w): columns in display pixels; pixel 0 is from 0 to 1.
        y: float (h, w): rows in display pixels.
        params: The display.
        footprint: Side in display pixels of the square over which the light is averaged.

    Returns:
        float32 (h, w, 3), mean 1 over whole periods.
    """
    terms = [
        (fx, fy, colours * (np.sinc(fx * footprint) * np.sinc(fy * footprint)))
        for fx, fy, colours in _series(params.lattice, params.opening)
    ]
    return _summed(x, y, [(fx, fy, c, None) for fx, fy, c in terms if abs(c).max() > _FAINT / 2])


def lattice_on_sensor(
    map_x: Array,
    map_y: Array,
    params: DisplayParams,
    optics_sigma_px: float,
    rng: np.random.Generator | None = None,
    aperture: float = 0.95,
) -> Array:
    """What a camera's pixels see of a display's lattice: moire, where there is any.

    The lens damps a term of frequency f in cycles per camera pixel by exp(-2 (pi sigma f)^2), the
    pixel's square aperture of side a by sinc(a fx) sinc(a fy). What is left is taken at the pixels'
    middles, so frequencies beyond half a cycle come out as their alias, as on a sensor. A camera
    that then takes one colour per site (Bayer) beats against twice the pitch by itself.

    Args:
        map_x: float32 (h, w): the display column, in display pixels, that each pixel looks at.
        map_y: float32 (h, w): the row.
        params: The display.
        optics_sigma_px: Standard deviation of lens and defocus in camera pixels.
        rng: Draws how the two lattices are registered; None leaves them as the maps say.
        aperture: Side of a pixel's light-sensitive square over the pixels' pitch.

    Returns:
        float32 (h, w, 3), local mean 1, to multiply :func:`displayed` light with.
    """
    dx, dy = (0.0, 0.0) if rng is None else rng.random(2) * 2.0
    slopes = _slopes(map_x, map_y)
    kept: list[_Term] = []
    for fx, fy, colours in _series(params.lattice, params.opening):
        u, v = fx * slopes[0] + fy * slopes[2], fx * slopes[1] + fy * slopes[3]
        left = np.exp(-2.0 * (np.pi * optics_sigma_px) ** 2 * (u**2 + v**2))
        left = left * np.sinc(aperture * u) * np.sinc(aperture * v)
        if 2.0 * abs(left).max() * abs(colours).max() < _FAINT:
            continue
        shift = np.exp(2j * np.pi * (fx * dx + fy * dy))
        kept.append((fx, fy, colours * shift, left.astype(np.float32)))
    return _summed(map_x, map_y, kept)


_Term = tuple[float, float, Array, Array | None]
"""Cycles per display pixel across and down, complex amplitudes (3,), and a coarse field or None by
which they are damped."""


def _summed(x: Array, y: Array, terms: list[_Term]) -> Array:
    shape = x.shape
    if not terms:
        return np.ones((*shape, 3), np.float32)
    fields = [None if left is None else _spread(left, shape) for *_, left in terms]
    whole = np.empty((*shape, 3), np.float32)
    for top in range(0, shape[0], _ROWS):
        rows = slice(top, top + _ROWS)
        here = [None if field is None else field[rows] for field in fields]
        np.maximum(_some_rows(x[rows], y[rows], terms, here), 0.0, out=whole[rows])
    return whole


def _some_rows(x: Array, y: Array, terms: list[_Term], damping: list[Array | None]) -> Array:
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    sums = [np.ones(x.shape, np.float32) for _ in range(3)]
    for (fx, fy, colours, _), left in zip(terms, damping, strict=True):
        phase = cv2.addWeighted(x, 2 * np.pi * fx, y, 2 * np.pi * fy, 0.0)
        even, odd = np.cos(phase), np.sin(phase)
        if left is not None:
            even *= left
            odd *= left
        for total, colour in zip(sums, colours, strict=True):
            if abs(colour) > 1e-4:
                cv2.scaleAdd(even, 2 * colour.real, total, dst=total)
                cv2.scaleAdd(odd, -2 * colour.imag, total, dst=total)
    return np.asarray(cv2.merge(sums))


def _spread(coarse: Array, shape: tuple[int, ...]) -> Array:
    if np.ptp(coarse) < 0.02 * abs(coarse).max():
        return np.broadcast_to(np.float32(coarse.mean()), shape)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def _slopes(map_x: Array, map_y: Array) -> tuple[Array, Array, Array, Array]:
    """dx/du, dx/dv, dy/du, dy/dv on a coarse grid: display pixels per camera pixel."""
    h, w = map_x.shape
    i = np.linspace(0, h - 2, min(16, h - 1)).astype(int)[:, None]
    j = np.linspace(0, w - 2, min(16, w - 1)).astype(int)[None, :]
    return (
        np.asarray(map_x[i, j + 1] - map_x[i, j], np.float64),
        np.asarray(map_x[i + 1, j] - map_x[i, j], np.float64),
        np.asarray(map_y[i, j + 1] - map_y[i, j], np.float64),
        np.asarray(map_y[i + 1, j] - map_y[i, j], np.float64),
    )


@cache
def _series(
    kind: LatticeKind, opening: tuple[float, float]
) -> tuple[tuple[float, float, Array], ...]:
    """The lattice's Fourier series, half a plane of it: the other half is its conjugate.

    Returns:
        (fx, fy, complex amplitudes (3,)): cycles per display pixel across and down.
    """
    cell = 2 if kind == "pentile" else 1
    terms = []
    for m in range(-_FINEST * cell, _FINEST * cell + 1):
        for n in range(_FINEST * cell + 1):
            if n == 0 and m <= 0:
                continue
            fx, fy = m / cell, n / cell
            amplitudes = _pentile(m, n) if kind == "pentile" else _stripes(m, n, kind, opening)
            # Lanczos' factors: the edges of the spots are soft instead of ringing.
            soft = np.sinc(fx / (_FINEST + 1)) * np.sinc(fy / (_FINEST + 1))
            if abs(amplitudes).max() * soft > _FAINT / 4:
                terms.append((fx, fy, amplitudes * soft))
    return tuple(terms)


def _stripes(m: int, n: int, kind: LatticeKind, opening: tuple[float, float]) -> Array:
    middles = np.array([1, 3, 5] if kind == "rgb" else [5, 3, 1]) / 6
    shape = np.sinc(m * opening[0]) * np.sinc(n * opening[1])
    return np.asarray(shape * np.exp(-2j * np.pi * (m * middles + n * 0.5)))


def _pentile(m: int, n: int) -> Array:
    """Green once a pixel, red and blue in turns between: diamonds, taken as round spots."""
    middles = np.array([[0.25, 0.25], [0.75, 0.75], [1.25, 0.25]])
    deviations = np.array([0.17, 0.13, 0.19])
    shape = np.exp(-0.5 * np.pi**2 * (m * m + n * n) * deviations**2)
    waves = shape * np.exp(-1j * np.pi * (middles @ np.array([m, n])))
    waves[[0, 2]] *= (m + n) % 2 == 0
    waves[1] *= m % 2 == 0 and n % 2 == 0
    return np.asarray(waves)


def refresh_bands(
    rows: int, row_time: float, exposure: float, params: DisplayParams, time: float
) -> Array:
    """Brightness of each row of a rolling shutter's picture of a display that flickers.

    Row r collects light from time + r * row_time on, for the exposure; the light is switched (PWM)
    and sags between refreshes. Both integrals are exact.

    Args:
        rows: Rows of the camera's picture.
        row_time: Seconds from the start of one row to the next; 0 for a global shutter.
        exposure: Seconds.
        params: The display.
        time: Seconds at which row 0 starts.

    Returns:
        float32 (rows,), about 1.
    """
    start = time + np.arange(rows) * row_time
    bands = np.ones(rows)
    if params.pwm > 0 and params.pwm_depth > 0:
        lit = _lit(start + exposure, params) - _lit(start, params)
        bands *= 1.0 + params.pwm_depth * (lit / exposure - 1.0)
    middle = params.refresh * (start + 0.5 * exposure)
    wave = np.cos(2 * np.pi * middle) * np.sinc(params.refresh * exposure)
    return np.asarray(bands * (1.0 + params.refresh_depth * wave), np.float32)


def _lit(time: Array, params: DisplayParams) -> Array:
    """Seconds of light up to a time, over the duty: the integral of the switched light."""
    cycles = time * params.pwm
    whole = np.floor(cycles)
    on = whole * params.pwm_duty + np.minimum(cycles - whole, params.pwm_duty)
    return np.asarray(on / (params.pwm * params.pwm_duty))


def reflection(
    shape: tuple[int, int],
    rng: np.random.Generator,
    backdrop: Array | None = None,
    matte: float = 0.0,
) -> Array:
    """The room that stands mirrored in a glass: a soft scene and its lamps.

    Multiplied by the glass's mirroring share it is STASN's blended reflection (Yang et al. 2019).

    Args:
        shape: Rows and columns wanted.
        rng: Draws the scene and its lamps.
        backdrop: uint8 RGB of a room, of any size, else a drawn one.
        matte: 0 for glass, 1 for a matte panel: how much the image is blurred.

    Returns:
        float32 (h, w, 3), linear: a white wall is about 1, lamps far more.
    """
    side = 96
    room = _room(rng, side) if backdrop is None else _cut_room(backdrop, rng, side)
    room = cv2.GaussianBlur(room, (0, 0), side * (0.008 + 0.03 * rng.random() + 0.08 * matte))
    scene = cv2.resize(room, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.poisson(1.3)):
        _add_lamp(scene, rng, matte)
    return np.asarray(scene, np.float32)


def _cut_room(backdrop: Array, rng: np.random.Generator, side: int) -> Array:
    h, w = backdrop.shape[:2]
    part = rng.uniform(0.5, 1.0)
    rows, columns = max(2, int(h * part)), max(2, int(w * part))
    y, x = int(rng.integers(0, h - rows + 1)), int(rng.integers(0, w - columns + 1))
    cut = backdrop[y : y + rows, x : x + columns, :][:, :: int(rng.choice((-1, 1)))]
    small = cv2.resize(np.ascontiguousarray(cut), (side, side), interpolation=cv2.INTER_AREA)
    return to_linear(small) * np.float32(rng.uniform(0.4, 1.5))


def _room(rng: np.random.Generator, side: int) -> Array:
    """A wall, a ceiling, furniture and the holder's dark shape, none of them in detail."""
    tint = 1.0 + rng.normal(0, 0.06, 3)
    rows = np.interp(np.linspace(0, 1, side), np.linspace(0, 1, 5), rng.uniform(0.1, 0.9, 5))
    room = (rows[:, None, None] * tint * np.ones((side, side, 1))).astype(np.float32)
    for _ in range(int(rng.integers(2, 7))):
        x, y = (int(v) for v in rng.integers(-20, side, 2))
        w, h = (int(v) for v in rng.integers(8, 60, 2))
        colour = rng.uniform(0.02, 0.8) * (1.0 + rng.normal(0, 0.15, 3))
        cv2.rectangle(room, (x, y), (x + w, y + h), [float(max(c, 0.0)) for c in colour], -1)
    if rng.random() < 0.6:
        x = int(rng.uniform(0.2, 0.8) * side)
        dark = [float(v) for v in rng.uniform(0.01, 0.1, 3)]
        cv2.ellipse(room, (x, side // 2), (side // 9, side // 6), 0, 0, 360, dark, -1)
        cv2.ellipse(room, (x, side), (side // 4, side // 3), 0, 0, 360, dark, -1)
    return np.asarray(room)


def _add_lamp(scene: Array, rng: np.random.Generator, matte: float) -> None:
    """A bulb, a tube or a window, in place: hard in clean glass, wide in a matte panel."""
    h, w = scene.shape[:2]
    diameter = min(h, w)
    length, breadth = diameter * rng.uniform(0.03, 0.35), diameter * rng.uniform(0.012, 0.06)
    if rng.random() < 0.3:
        breadth = length * rng.uniform(0.5, 1.0)
    soft = diameter * (0.002 + 0.006 * rng.random() + 0.06 * matte)
    middle = rng.uniform(0, w), rng.uniform(0, h)
    reach = int(length + 4 * soft) + 2
    x0, y0 = max(0, int(middle[0]) - reach), max(0, int(middle[1]) - reach)
    part = scene[y0 : int(middle[1]) + reach, x0 : int(middle[0]) + reach]
    if part.size == 0:
        return
    image: Array = np.zeros(part.shape[:2], np.float32)
    box = ((middle[0] - x0, middle[1] - y0), (length, breadth), rng.normal(0, 25))
    if rng.random() < 0.3:
        cv2.ellipse(image, box, 1.0, -1, cv2.LINE_8)
    else:
        cv2.fillPoly(image, [np.round(cv2.boxPoints(box)).astype(np.int32)], 1.0)
    image = cv2.GaussianBlur(image, (0, 0), max(soft, 0.5))
    warmth = rng.uniform(-0.15, 0.2)
    strength = np.exp(rng.uniform(np.log(4), np.log(60))) * np.array([1 + warmth, 1, 1 - warmth])
    part += image[..., None] * strength.astype(np.float32)


def through_glass(emitted: Array, room: Array, params: DisplayParams, light: float = 0.6) -> Array:
    """Light that comes from a display's front: its own, the veil, and the mirrored room.

    Args:
        emitted: float32 (h, w, 3) of :func:`displayed`, with the lattice and bands if any.
        room: float32 (h, w, 3) of :func:`reflection`.
        params: The display.
        light: The room's light on the glass, where white in it is about 1.
    """
    mirrored = cv2.scaleAdd(np.ascontiguousarray(room, np.float32), params.mirror, emitted)
    return np.asarray(mirrored + np.float32(params.veil * light))


@dataclass(frozen=True, slots=True)
class _Range:
    """Low and high ends of what differs between the families of displays."""

    width: tuple[float, float]
    aspect: tuple[float, float]
    """Height over width."""
    pitch: tuple[float, float]
    black: tuple[float, float]
    peak: tuple[float, float]
    gamut: tuple[float, float]
    """From washed out (below 0: share of colour lost) over sRGB (0) to P3 unmanaged (1)."""
    falloff: tuple[float, float]
    bleed: tuple[float, float]
    dimming: tuple[float, float]
    lift: tuple[float, float]
    pwm: float
    """Chance that its light is switched at a rate that a camera sees."""
    bezel: tuple[float, float]
    matte: float
    """Chance of a matte panel."""


_RANGES: dict[DisplayKind, _Range] = {
    "phone_oled": _Range(
        (0.060, 0.075), (1.9, 2.25), (5.0e-5, 6.6e-5), (1e-5, 6e-4), (0.3, 2.6), (-0.05, 1.0),
        (0.0, 0.03), (0, 0), (0.3, 1.0), (0, 0.001), 0.6, (0.0015, 0.005), 0.0,
    ),
    "phone_lcd": _Range(
        (0.055, 0.072), (1.7, 2.2), (5.8e-5, 1.0e-4), (6e-4, 2.5e-3), (0.3, 2.0), (-0.3, 0.4),
        (0.02, 0.2), (0, 0.003), (0.8, 2.0), (0.001, 0.015), 0.15, (0.002, 0.008), 0.0,
    ),
    "tablet": _Range(
        (0.130, 0.200), (1.3, 1.65), (9e-5, 1.75e-4), (6e-4, 2.5e-3), (0.3, 1.6), (-0.3, 0.7),
        (0.02, 0.2), (0, 0.004), (0.8, 2.0), (0.001, 0.015), 0.15, (0.005, 0.018), 0.05,
    ),
    "laptop": _Range(
        (0.285, 0.380), (0.56, 0.67), (1.1e-4, 2.6e-4), (7e-4, 4e-3), (0.2, 1.3), (-0.4, 0.3),
        (0.05, 0.35), (0, 0.006), (1.0, 4.0), (0.002, 0.05), 0.35, (0.004, 0.02), 0.5,
    ),
    "monitor": _Range(
        (0.470, 0.700), (0.42, 0.63), (1.5e-4, 3.2e-4), (5e-4, 2e-3), (0.25, 1.5), (-0.25, 0.6),
        (0.04, 0.25), (0, 0.005), (0.8, 3.0), (0.001, 0.03), 0.25, (0.004, 0.025), 0.85,
    ),
}  # fmt: skip


def draw_display(rng: np.random.Generator, kind: DisplayKind | None = None) -> DisplayParams:
    """A display from the whole range.

    Args:
        rng: Random numbers.
        kind: The family, else drawn.
    """
    if kind is None:
        names: tuple[DisplayKind, ...] = ("phone_oled", "phone_lcd", "tablet", "laptop", "monitor")
        kind = names[int(rng.choice(5, p=(0.26, 0.22, 0.22, 0.16, 0.14)))]
    ranges = _RANGES[kind]
    width = rng.uniform(*ranges.width)
    oled = kind == "phone_oled"
    matte = rng.uniform(0.3, 1.0) if rng.random() < ranges.matte else 0.0
    yellow = rng.normal(0.0, 0.03 if oled else 0.06)
    warm = rng.normal(-0.06, 0.09)
    return DisplayParams(
        kind=kind,
        size=(width, width * rng.uniform(*ranges.aspect)),
        pixel_pitch=_between(rng, ranges.pitch),
        lattice="pentile" if oled and rng.random() < 0.9 else _stripe_order(rng),
        opening=(rng.uniform(0.18, 0.31), rng.uniform(0.65, 0.92)),
        gamma=float(np.clip(rng.normal(2.2, 0.12), 1.8, 2.6)),
        peak=_between(rng, ranges.peak),
        black=_between(rng, ranges.black),
        white_point=(1.0 + 0.9 * warm, 1.0 + rng.normal(0, 0.012), 1.0 - warm),
        primaries=_primaries(rng.uniform(*ranges.gamut)),
        falloff=rng.uniform(*ranges.falloff),
        lean=rng.normal(0, 0.15) * ranges.falloff[1],
        lean_angle=rng.uniform(0, 360),
        bleed=rng.uniform(*ranges.bleed),
        dimming=rng.uniform(*ranges.dimming),
        side_tint=(1.0 + yellow, 1.0, 1.0 - 2.0 * yellow),
        side_lift=rng.uniform(*ranges.lift),
        refresh=float(rng.choice((60.0, 60.0, 60.0, 90.0, 120.0))) * rng.uniform(0.998, 1.002),
        refresh_depth=rng.uniform(0.02, 0.2) if oled else rng.uniform(0.0, 0.03),
        pwm=_between(rng, (180.0, 960.0)) if rng.random() < ranges.pwm else 0.0,
        pwm_duty=rng.uniform(0.25, 0.95),
        pwm_depth=rng.uniform(0.2, 1.0),
        bezel=rng.uniform(*ranges.bezel),
        bezel_reflectance=float(
            rng.choice((0.01, 0.02, 0.04, 0.4, 0.75), p=(0.3, 0.35, 0.2, 0.1, 0.05))
        ),
        veil=rng.uniform(0.002, 0.012) + 0.02 * matte,
        mirror=rng.uniform(0.01, 0.025) if matte else rng.uniform(0.02, 0.08),
        matte=matte,
    )


def _between(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """Even in the logarithm: for what differs by factors."""
    return float(np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1]))))


def _stripe_order(rng: np.random.Generator) -> LatticeKind:
    return "bgr" if rng.random() < 0.15 else "rgb"


def _primaries(gamut: float) -> tuple[Row, Row, Row]:
    """From washed out (-1: grey) over sRGB (0) to P3 fed with sRGB's codes (1)."""
    washed = np.eye(3) + min(gamut, 0.0) * (np.eye(3) - np.tile(LUMINANCE, (3, 1)))
    rows = (washed + max(gamut, 0.0) * (_P3 - np.eye(3))).tolist()
    return tuple(rows[0]), tuple(rows[1]), tuple(rows[2])
