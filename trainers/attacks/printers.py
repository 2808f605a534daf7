"""The printers that portraits are taken from: inks, papers, faults, and how often each is met."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from .parameters import NotNegative, Positive, Share

PrinterKind = Literal["laser", "inkjet", "photo", "newspaper", "poster"]
Reflectance = tuple[Share, Share, Share]
"""Linear R, G, B that a surface gives back of white light."""
Angle = Annotated[float, Interval(ge=0, lt=180)]


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
        screen_angles=((15 + turn) % 180, (75 + turn) % 180, turn % 180, (45 + turn) % 180),
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
