"""Pulse labels: the spectrum of a living clip's pulse (METHODS 8.7).

As published (Liu, Jourabloo and Liu, CVPR 2018): 50 frequencies of the magnitude of the CHROM wave
of the face's mean colours, unit L2 norm, one label for all sequences of a person's clip; attacks
have none. Unlike there, a bin is the root mean square over its width, so that a long clip's sharp
line does not fall between two bins, and the bins span only where hearts beat.
"""

import numpy as np

from ...nodes.rppg import WINDOW_SECONDS, chrom
from ...nodes.spectrum import PULSE_BAND, PULSE_BINS, detrend, periodogram, pulse_frequencies
from ..attacks.parameters import Array

PULSE_VERSION = 1
"""Raised whenever the same traces get another label."""

__all__ = [
    "PULSE_BAND",
    "PULSE_BINS",
    "PULSE_VERSION",
    "pulse_frequencies",
    "pulse_label",
    "still_label",
]

_FINEST_BPM = 0.5
_SILENT = 1e-9
"""Relative change of colour below which a trace does not change at all."""


def pulse_label(colours: Array, rate: float) -> Array:
    """The spectrum of a clip's pulse.

    Args:
        colours: float (n, 3): mean R, G, B of the face's skin, all positive, evenly spaced in
            time, little motion in it; at least 1.6 s, some 10 s to be of use.
        rate: Samples per second, above 8.

    Returns:
        float32 (50,): magnitude by :func:`pulse_frequencies`, not negative, unit L2 norm; all 0
        where the colours do not change.

    Raises:
        ValueError: The trace has another shape, is too short or too slow, or holds what is no
            positive number.
    """
    _check(colours, rate)
    mean = colours.mean(axis=0)
    steady = detrend((colours / mean - 1.0).T).T + 1.0
    wave = chrom(steady, rate, band=PULSE_BAND)
    if float(np.abs(wave).max()) < _SILENT:
        return still_label()
    frequencies, power = periodogram(wave, rate, _FINEST_BPM, "hann")
    edges = np.linspace(*PULSE_BAND, PULSE_BINS + 1)
    places = np.searchsorted(edges, frequencies, side="right") - 1
    inside = (places >= 0) & (places < PULSE_BINS)
    total = np.bincount(places[inside], power[inside], PULSE_BINS)
    count = np.bincount(places[inside], minlength=PULSE_BINS)
    magnitude = np.sqrt(total / np.maximum(count, 1))
    return np.asarray(magnitude / np.linalg.norm(magnitude), np.float32)


def still_label() -> Array:
    """The label of an attack, which has no pulse: float32 (50,), all 0."""
    return np.zeros(PULSE_BINS, np.float32)


def _check(colours: Array, rate: float) -> None:
    if colours.ndim != 2 or colours.shape[1] != 3:
        raise ValueError(
            f"colours: expected shape (n, 3), found {colours.shape}; give mean R, G, B by time"
        )
    if not rate > 2 * PULSE_BAND[1]:
        raise ValueError(
            f"rate: expected more than {2 * PULSE_BAND[1]:g} samples a second, found {rate:g}; "
            "take a faster clip"
        )
    if len(colours) < WINDOW_SECONDS * rate + 2:
        raise ValueError(
            f"colours: expected more than {WINDOW_SECONDS} s, found {len(colours) / rate:.2f} s; "
            "take a longer clip"
        )
    if not (np.isfinite(colours).all() and (colours > 0).all()):
        raise ValueError(
            "colours: expected positive numbers, found NaN, infinity or a value that is not above "
            "0; leave out frames without a face"
        )
