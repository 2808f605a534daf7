"""Synthetic skin traces, with and without a pulse, that the pulse cue is calibrated on.

Colours of three skin regions and of a place beside the face, 30 samples a second. What changes
them: the pulse, slow and beating light, motion (shading, shine and colour of what slides under a
region, from aperiodic to a steady sway), sensor noise, and an encoder that holds blocks until
they have changed enough. Sizes are drawn wide on purpose; each has its source or reason beside
it. These are models of traces, not of pictures: figures on them say how the parts act together,
not how good the cue is in the field.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from ..nodes.rppg import PULSE_COLOUR

RATE = 30.0
LIGHT_SKIN, DARK_SKIN = np.array([205.0, 155.0, 135.0]), np.array([95.0, 62.0, 48.0])
NOISE_COLOUR = np.array([1.1, 0.7, 1.3])
"""Sensor noise of R, G, B: one of four sensor pixels is red or blue, two are green."""


@dataclass(frozen=True, slots=True)
class SyntheticTrace:
    """One window of a face."""

    regions: np.ndarray
    """float64 (3, n, 3), 0 to 255."""
    background: np.ndarray
    """float64 (n, 3)."""
    heart_rate_bpm: float | None
    """None: no pulse in it."""
    kind: str


def draw_trace(rng: np.random.Generator, kind: str, seconds: float = 10.0) -> SyntheticTrace:
    """Draw one trace.

    Args:
        rng: where chance comes from.
        kind: ``live``, ``still`` (print or mask), or ``display`` (a still picture on a screen
            whose brightness beats).
        seconds: length.
    """
    n = int(seconds * RATE)
    tone = rng.uniform()
    skin = ((1 - tone) * LIGHT_SKIN + tone * DARK_SKIN) * rng.uniform(0.5, 1.1)
    change = np.zeros((3, n, 3))
    rate = None
    if kind == "live":
        rate = _heart_rate(rng)
        change += _pulse(rng, n, rate, tone)
    light = _light(rng, n)
    beat = rng.uniform() < (0.5 if kind == "display" else 0.1)
    flicker = _flicker(rng, n) if beat else np.zeros((n, 3))
    change += (light[:, None] + flicker) * (1 + 0.1 * rng.normal(size=(3, 1, 1)))
    change += _motion(rng, n, skin)
    noise = 10 ** rng.normal(-3.1, 0.35)  # of a region's mean: 0.04 to 0.18 % in most
    level = skin * (1 + 0.08 * rng.normal(size=(3, 1, 1)))
    regions = level * (1 + change + noise * NOISE_COLOUR * rng.normal(size=(3, n, 3)))
    if rng.uniform() < 0.4:
        regions = np.stack([_encode(rng, region) for region in regions])
    share = rng.uniform(0.3, 1.0)
    wall = share * (light[:, None] + flicker) + noise * rng.normal(size=(n, 3))
    background = rng.uniform(30, 200, 3) * (1 + wall)
    return SyntheticTrace(np.clip(regions, 1, 255), np.clip(background, 1, 255), rate, kind)


def _heart_rate(rng: np.random.Generator) -> float:
    """Seven in ten at rest, the others anywhere from 40 to 180."""
    if rng.uniform() < 0.7:
        return float(np.clip(rng.normal(75, 13), 45, 120))
    return float(rng.uniform(40, 180))


def _pulse(rng: np.random.Generator, n: int, rate: float, tone: float) -> np.ndarray:
    """Breathing and drift move the rate by a few beats; dark skin gives half the amplitude."""
    t = np.arange(n) / RATE
    breath = 0.02 * np.sin(2 * np.pi * rng.uniform(0.15, 0.35) * t + rng.uniform(0, 6.28))
    drift = 0.01 * np.cumsum(rng.normal(size=n)) / np.sqrt(RATE)
    phase = 2 * np.pi * np.cumsum(rate / 60 * (1 + breath + drift)) / RATE
    # Of green's level; the median over all tones is 0.12 %. The reference recordings of the tests
    # have about 0.1 % (UBFC) and 0.27 % (BP4D), as their POS waves of 0.41e-3 and 1.2e-3 say.
    amplitude = 10 ** rng.normal(-2.78, 0.28) * (1 - 0.5 * tone)
    colour = PULSE_COLOUR / 0.77 * (1 + 0.08 * rng.normal(size=3))
    lag = rng.uniform(-0.03, 0.03, (3, 1)) * 2 * np.pi * rate / 60
    shape = np.sin(phase + lag) + 0.3 * np.sin(2 * (phase + lag) + rng.uniform(0, 6.28))
    gain = np.exp(0.25 * rng.normal(size=(3, 1)))
    wave: np.ndarray = (amplitude * gain * shape)[..., None] * colour
    return wave


def _wander(rng: np.random.Generator, n: int, seconds: float) -> np.ndarray:
    """Unit-variance noise that forgets itself within the given time."""
    keep = np.exp(-1.0 / (seconds * RATE))
    steps = rng.normal(size=n + int(5 * seconds * RATE))
    walk = lfilter([np.sqrt(1 - keep**2)], [1, -keep], steps)
    return np.asarray(walk)[-n:]


def _light(rng: np.random.Generator, n: int) -> np.ndarray:
    return 10 ** rng.normal(-2.3, 0.4) * _wander(rng, n, rng.uniform(0.5, 5.0))


def _sway(rng: np.random.Generator, n: int) -> np.ndarray:
    """A rhythm of 0.4 to 3 Hz as steady as a hand's tremor or a walk."""
    rate = rng.uniform(0.4, 3.0) * (1 + 0.05 * _wander(rng, n, 2.0))
    sway: np.ndarray = np.sqrt(2) * np.sin(2 * np.pi * np.cumsum(rate) / RATE)
    return sway


def _flicker(rng: np.random.Generator, n: int) -> np.ndarray:
    """Beat of a lamp or display against the shutter, nearly the same in all colours."""
    beat = np.sin(2 * np.pi * rng.uniform(0.1, 4.0) * np.arange(n) / RATE + rng.uniform(0, 6.28))
    colour = 1 + 0.15 * rng.normal(size=3)
    flicker: np.ndarray = 10 ** rng.normal(-2.3, 0.4) * beat[:, None] * colour
    return flicker


def _motion(rng: np.random.Generator, n: int, skin: np.ndarray) -> np.ndarray:
    """Shading (white), shine (the lamp's own colour) and another colour sliding in."""
    moves = [_wander(rng, n, 10 ** rng.uniform(-1, 0.3))]
    if rng.uniform() < 0.3:
        moves.append(_sway(rng, n) * rng.uniform(0.3, 1.5))
    strength = 10 ** rng.normal(-2.4, 0.5)
    leak = 0.1 * (rng.normal(size=3) + rng.normal(size=(3, 3)))
    shine = skin.mean() / skin
    motion = np.zeros((3, n, 3))
    for move in moves:
        own = np.sqrt(0.7) * move + np.sqrt(0.3) * np.stack([_wander(rng, n, 0.3) for _ in "fcc"])
        colour = 1 + rng.uniform(0, 0.5) * (shine - 1) + leak
        motion += strength * own[..., None] * colour[:, None]
    return motion


def _encode(rng: np.random.Generator, region: np.ndarray) -> np.ndarray:
    """Twelve blocks, each held until it is off by more than a step; whole refresh every group."""
    blocks = region[:, None] + rng.normal(size=(len(region), 12, 3)) * rng.uniform(0.2, 1.5)
    step = 10 ** rng.uniform(-0.5, 0.5)
    group = int(rng.choice([12, 30, 60, 250]))
    held = blocks[0].copy()
    shown = np.empty_like(blocks)
    for index, block in enumerate(blocks):
        moved = (np.abs(block - held) > step) | (index % group == 0)
        held = np.where(moved, block, held)
        shown[index] = held
    means: np.ndarray = shown.mean(axis=1)
    return means
