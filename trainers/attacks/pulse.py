"""The heart's colour on skin: the wave, its irregularity, and what it does to a texture.

Blood under the skin takes light away, most in green: the relative change of the reflected linear
light along R, G, B is an amplitude times (0.33, 0.77, 0.53) (METHODS 17).
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from ...nodes.rppg import PULSE_COLOUR
from .identity import Identity
from .motion import smooth_noise
from .parameters import Array, Share

COLOUR = PULSE_COLOUR.astype(np.float32)
"""Strength of the pulse in R, G, B (METHODS 17)."""


@dataclass(frozen=True, slots=True)
class PulseParams:
    """A heart and the skin that shows it."""

    heart_rate: Annotated[float, Interval(ge=40, le=180)] = 72.0
    """Mean beats per minute."""
    amplitude: Annotated[float, Interval(ge=0, le=0.03)] = 0.010
    """Half the peak-to-peak relative change of linear light, times the colour: a face under a
    camera has some 0.003 to 0.01."""
    variability: Share = 0.012
    """Standard deviation of the slow wandering of the rate, as a share of it."""
    breathing_rate: Annotated[float, Interval(ge=6, le=30)] = 15.0
    """Breaths per minute."""
    sinus_arrhythmia: Share = 0.02
    """Amplitude of the rate's change with the breath, as a share of the rate."""
    baseline: Share = 0.15
    """Amplitude of the breath in the wave itself, as a share of the pulse."""


@dataclass(frozen=True, slots=True)
class PulseWave:
    """A pulse over the frames of a clip."""

    value: Array
    """float32 (n,): relative blood volume, mean 0, peak to peak about 1."""
    slope: Array
    """float32 (n,): its change per second."""
    rate: Array
    """float32 (n,): beats per minute at each frame."""


def beat_shape(phase: Array) -> Array:
    """One beat: systolic rise, peak, dicrotic notch and the lower wave after it.

    Args:
        phase: Beats; only the fraction counts.

    Returns:
        Mean 0, peak to peak 1 (sums of wrapped Gaussians, after McSharry et al. 2003).
    """
    return np.asarray((_raw_beat(phase) - _BEAT_MEAN) / _BEAT_RANGE)


def _raw_beat(phase: Array) -> Array:
    total = np.zeros_like(np.asarray(phase, float))
    for centre, width, height in ((0.20, 0.085, 1.0), (0.34, 0.10, 0.42), (0.56, 0.085, 0.30)):
        away = (np.asarray(phase) - centre + 0.5) % 1.0 - 0.5
        total += height * np.exp(-0.5 * (away / width) ** 2)
    return total


_BEAT = _raw_beat(np.arange(1000) / 1000.0)
_BEAT_MEAN = float(_BEAT.mean())
_BEAT_RANGE = float(np.ptp(_BEAT))


def pulse_wave(params: PulseParams, frames: int, fps: float, rng: np.random.Generator) -> PulseWave:
    """A pulse of a person who stands still, one value a frame."""
    times = np.arange(frames) / fps
    breath = np.sin(2 * np.pi * (params.breathing_rate / 60.0 * times + rng.uniform()))
    wander = params.variability * smooth_noise(rng, frames, fps, 0.1)
    rate = params.heart_rate * (1.0 + params.sinus_arrhythmia * breath + wander)
    phase = rng.uniform() + np.concatenate([[0.0], np.cumsum(rate[:-1] / 60.0 / fps)])
    value = beat_shape(phase) + params.baseline * 0.5 * breath
    step = 1e-3
    slope = (beat_shape(phase + step) - beat_shape(phase - step)) / (2 * step) * rate / 60.0
    return PulseWave(*(part.astype(np.float32) for part in (value, slope, rate)))


def perfuse(
    texture: Array, identity: Identity, wave: PulseWave, index: int, params: PulseParams
) -> None:
    """Colour the skin of a texture by the blood in it at one frame, in place.

    Args:
        texture: A writable copy of the identity's texture; other parts stay as they are.
        identity: Whose skin it is.
        wave: The pulse.
        index: The frame.
        params: The amplitude.
    """
    x, y, w, h = identity.perfusion.window
    perfusion = identity.perfusion
    # To first order a late wave is the wave less its delay times its slope.
    volume = perfusion.strength * (wave.value[index] - perfusion.delay * wave.slope[index])
    loss = volume * np.float32(2.0 * params.amplitude)
    rest = identity.figure.texture[y : y + h, x : x + w, :3]
    texture[y : y + h, x : x + w, :3] = rest * (1.0 - loss[..., None] * COLOUR)
