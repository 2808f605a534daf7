"""Signal processing for pulse traces: uniform grid, detrending, band-pass, heart rate, SNR.

Every function works along the last axis and takes any number of axes before it. METHODS 9.0, 9.8.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import linalg, signal

Band = tuple[float, float]
"""Lower and upper frequency in Hz."""

HEART_BAND: Band = (0.6, 3.3)
"""Where heart rate and SNR are looked for: 36 to 198 beats per minute (METHODS 9.8)."""
PULSE_BAND: Band = (0.7, 4.0)
"""Hz, 42 to 240 beats per minute: what the pulse spectrum of METHODS 8.4 and 8.7 spans."""
PULSE_BINS = 50
"""Frequencies of that spectrum."""
HALF_WIDTH_BPM = 6.0
"""Half width of a spectral line, for the SNR and for two heart rates that agree (METHODS 9.13)."""


@lru_cache(maxsize=64)
def _smoother(n: int, strength: float) -> np.ndarray:
    """Banded Cholesky factor (3, n) of I + strength^2 D2^T D2."""
    second = np.zeros((3, n))
    for offset, weight in enumerate((1.0, -2.0, 1.0)):
        second[offset, : n - 2] = weight  # weight of sample row + offset in each row of D2
    bands = np.zeros((3, n))
    for lag in range(3):
        for first in range(3 - lag):
            product = second[first, : n - 2] * second[first + lag, : n - 2]
            bands[2 - lag, first + lag : first + lag + n - 2] += product
    bands *= strength**2
    bands[2] += 1.0
    factor: np.ndarray = linalg.cholesky_banded(bands, lower=False, check_finite=False)
    factor.setflags(write=False)
    return factor


def detrend(x: np.ndarray, strength: float = 100.0) -> np.ndarray:
    """Take the slow trend out by smoothness priors (Tarvainen et al. 2002; METHODS 9.0).

    ``x - (I + strength^2 D2^T D2)^-1 x`` with D2 the second difference: a high-pass without
    phase, whose corner in samples depends on ``strength`` (100 at 30 Hz: about 0.4 Hz).

    Args:
        x: float (..., n), n >= 3.
        strength: the smoothness parameter lambda, unitless.
    """
    n = x.shape[-1]
    if n < 3:
        raise ValueError(f"detrend: needs at least 3 samples, found {n}")
    columns = x.reshape(-1, n).T
    trend = linalg.cho_solve_banded((_smoother(n, strength), False), columns, check_finite=False)
    return x - trend.T.reshape(x.shape)


@lru_cache(maxsize=32)
def _butterworth(band: Band, rate: float, order: int) -> np.ndarray:
    sections: np.ndarray = signal.butter(order, band, "bandpass", fs=rate, output="sos")
    return sections


def bandpass(x: np.ndarray, rate: float, band: Band = HEART_BAND, order: int = 1) -> np.ndarray:
    """Butterworth band-pass forwards and backwards: no phase, twice the order.

    Args:
        x: float (..., n).
        rate: samples per second.
        band: corner frequencies in Hz, below ``rate / 2``.
        order: order of the prototype.
    """
    filtered: np.ndarray = signal.sosfiltfilt(_butterworth(band, rate, order), x)
    return filtered


@lru_cache(maxsize=32)
def _window(n: int, name: str) -> np.ndarray:
    taper: np.ndarray = signal.get_window(name, n)
    return taper


def periodogram(
    x: np.ndarray, rate: float, resolution_bpm: float = 0.5, window: str = "hamming"
) -> tuple[np.ndarray, np.ndarray]:
    """Power spectrum of the mean-free signal, zero-padded to at least the given resolution.

    Args:
        x: float (..., n).
        rate: samples per second.
        resolution_bpm: largest distance of two bins, in beats per minute.
        window: taper, a name known to ``scipy.signal.get_window``.

    Returns:
        Frequencies in Hz (m,) and power (..., m), unscaled.
    """
    n = x.shape[-1]
    bins = 1 << int(np.ceil(np.log2(max(n, 60.0 * rate / resolution_bpm))))
    tapered = (x - x.mean(axis=-1, keepdims=True)) * _window(n, window)
    spectrum = np.fft.rfft(tapered, bins)
    return np.fft.rfftfreq(bins, 1.0 / rate), spectrum.real**2 + spectrum.imag**2


def peak_frequency(
    frequencies: np.ndarray, power: np.ndarray, band: Band = HEART_BAND
) -> np.ndarray:
    """Frequency in Hz (...) of the strongest line of each spectrum (..., m) within the band."""
    low, high = np.searchsorted(frequencies, band)
    peaks: np.ndarray = frequencies[low + np.argmax(power[..., low:high], axis=-1)]
    return peaks


def snr_db(
    frequencies: np.ndarray,
    power: np.ndarray,
    pulse: np.ndarray | float,
    band: Band = HEART_BAND,
    half_width_bpm: float = HALF_WIDTH_BPM,
) -> np.ndarray:
    """Power near the pulse and its first harmonic over the rest of the band (METHODS 9.8).

    Args:
        frequencies: Hz (m,).
        power: (..., m).
        pulse: pulse frequency in Hz (...): the reference's, or the signal's own peak.
        band: what counts as the rest, in Hz.
        half_width_bpm: half width of a line in beats per minute.

    Returns:
        dB (...), within -100 to 100.
    """
    low, high = np.searchsorted(frequencies, band)
    inside, spectrum = frequencies[low:high], power[..., low:high]
    beat = np.asarray(pulse)[..., None]
    half = half_width_bpm / 60.0
    near = (np.abs(inside - beat) <= half) | (np.abs(inside - 2 * beat) <= half)
    line = (spectrum * near).sum(axis=-1)
    rest = (spectrum * ~near).sum(axis=-1)
    ratio = 10.0 * (np.log10(line + 1e-300) - np.log10(rest + 1e-300))
    clipped: np.ndarray = np.clip(ratio, -100.0, 100.0)
    return clipped


@dataclass(frozen=True, slots=True)
class Resampled:
    """Unevenly timed samples brought to a uniform grid."""

    times: np.ndarray
    """float64 (m,), seconds, evenly spaced."""
    values: np.ndarray
    """float64 (m, channels); held at the nearest known value where ``known`` is False."""
    known: np.ndarray
    """bool (m,): False where the samples around the grid point are further apart than allowed."""


def resample(
    times: np.ndarray, values: np.ndarray, grid: np.ndarray, longest_gap: float
) -> Resampled:
    """Bring samples to a uniform grid by their own times, never by a declared frame rate.

    Between samples the value is interpolated linearly. Where samples come faster than the grid,
    each grid point is the mean over its cell: a plain choice of one sample would fold what
    lies above half the grid's rate into the pulse band.

    Args:
        times: float64 (n,), seconds, increasing.
        values: float (n, channels), finite.
        grid: float64 (m,), seconds, evenly spaced.
        longest_gap: gaps between samples longer than this, in seconds, are not bridged.
    """
    channels = values.shape[1]
    if times.size < 2 or grid.size < 2:
        nothing = np.zeros(grid.size, bool)
        return Resampled(grid, np.zeros((grid.size, channels)), nothing)
    cell = grid[1] - grid[0]
    after = np.clip(np.searchsorted(times, grid), 1, times.size - 1)
    reach = 0.5 * cell + 1e-9  # the grid's ends may lie that far outside the samples
    known = times[after] - times[after - 1] <= longest_gap
    known &= (grid >= times[0] - reach) & (grid <= times[-1] + reach)
    if (times[-1] - times[0]) / (times.size - 1) < 0.75 * cell:
        resampled = _cell_means(times, values, grid, cell)
    else:
        resampled = np.stack([np.interp(grid, times, c) for c in values.T], axis=-1)
    return Resampled(grid, resampled, known)


def _cell_means(times: np.ndarray, values: np.ndarray, grid: np.ndarray, cell: float) -> np.ndarray:
    steps = np.diff(times)[:, None]
    areas = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum(steps * (values[1:] + values[:-1]) / 2, axis=0)]
    )
    lower = np.clip(grid - cell / 2, times[0], times[-1])
    upper = np.clip(grid + cell / 2, times[0], times[-1])
    width = np.maximum(upper - lower, 1e-12)
    means = [
        (np.interp(upper, times, area) - np.interp(lower, times, area)) / width for area in areas.T
    ]
    return np.stack(means, axis=-1)


def pulse_frequencies() -> np.ndarray:
    """float64 (50,): middle of each bin of the pulse spectrum in Hz."""
    edges = np.linspace(*PULSE_BAND, PULSE_BINS + 1)
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def uneven_spectrum(times: np.ndarray, waves: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Spectrum of unevenly timed waves: a Fourier sum over the true capture times.

    The FFT layer of METHODS 8.3 for cameras whose frames do not come evenly. Samples are weighted
    by the time that they stand for and by a Hann window over the whole stretch. Scaled so that
    the squares of a sine's magnitudes sum to its amplitude's square times the share of the line
    that lies within the frequencies, if these are spaced by ``frequencies[1] - frequencies[0]``
    and close to one another.

    Args:
        times: float64 (n,), n >= 3, seconds, increasing.
        waves: float (..., n).
        frequencies: float64 (m,) in Hz, evenly spaced.

    Returns:
        Complex (..., m).
    """
    first, last = times[0], times[-1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (times - first) / (last - first))
    weights = window * np.gradient(times)
    centred = waves - ((waves @ weights) / weights.sum())[..., None]
    turns = np.exp(-2j * np.pi * np.outer(times - last, frequencies))
    energy = (window * weights).sum()
    scale = np.sqrt(4.0 * (frequencies[1] - frequencies[0]) / energy)
    spectrum: np.ndarray = (centred * weights) @ turns * scale
    return spectrum
