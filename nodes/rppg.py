"""Pulse from the colour of skin: GREEN, CHROM and POS, and colour-distortion filtering.

Colours are (..., n, 3): any number of regions, n samples evenly spaced in time, mean R, G, B of
the skin. All channels must be positive. METHODS 9.1 to 9.3.
"""

from math import ceil

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .spectrum import Band, bandpass

WINDOW_SECONDS = 1.6
"""Length of the sliding window of CHROM and POS: at least one beat from 38 bpm on."""

PULSE_COLOUR = np.array([0.33, 0.77, 0.53])
"""Relative strength of the pulse in R, G, B (METHODS 17)."""

_POS_PLANE = np.array([[0.0, 1.0, -1.0], [-2.0, 1.0, 1.0]])
_POS_PAIRS = np.einsum("pi,pj->pij", _POS_PLANE, _POS_PLANE).reshape(2, 9)
_CHROM_PLANE = np.array([[3.0, -2.0, 0.0], [1.5, 1.0, -1.5]])


def green(colours: np.ndarray) -> np.ndarray:
    """Green channel as it is (Verkruysse et al. 2008; METHODS 9.1): (..., n)."""
    channel: np.ndarray = colours[..., 1]
    return channel


def _check_length(colours: np.ndarray, length: int) -> None:
    if colours.shape[-2] < length:
        raise ValueError(
            f"colours: one window takes {length} samples, found {colours.shape[-2]}; "
            "give a longer trace"
        )


def _unit_mean_windows(colours: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Windows (..., w, 3, length) in which each channel is divided by its mean there."""
    _check_length(colours, length)
    windows = sliding_window_view(colours, length, axis=-2)[..., ::hop, :, :]
    normalised: np.ndarray = windows / windows.mean(axis=-1, keepdims=True)
    return normalised


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient of two deviations; 0 where the second is none (a constant window)."""
    tiny = np.finfo(float).tiny
    quotient: np.ndarray = np.divide(
        numerator, denominator, np.zeros_like(numerator), where=denominator > tiny
    )
    return quotient


def _moving_sums(x: np.ndarray, length: int) -> np.ndarray:
    """Sums of every ``length`` neighbours along the last axis: (..., n - length + 1)."""
    sums = np.cumsum(x, axis=-1)
    sums[..., length:] = sums[..., length:] - sums[..., :-length]
    return sums[..., length - 1 :]


def pos(colours: np.ndarray, rate: float, window: float = WINDOW_SECONDS) -> np.ndarray:
    """Plane orthogonal to skin (Wang et al. 2017, algorithm 1; METHODS 9.3).

    Windows of ``ceil(window * rate)`` samples, one sample apart, each normalised by its mean and
    projected, are added where they overlap. No detrending and no band-pass: see
    :func:`~.spectrum.detrend` and :func:`~.spectrum.bandpass`.

    The windows are not formed one by one. A window's wave is a weighted sum of the three colours,
    with weights from its means and covariances; so moving sums give all weights, and the moving
    sums of the weights give the overlapped wave. Same numbers, a tenth of the time.

    Args:
        colours: float (..., n, 3).
        rate: samples per second.
        window: length of a window in seconds.

    Returns:
        Pulse wave (..., n), unitless: relative change of colour times the windows per sample.
    """
    length = ceil(window * rate)
    _check_length(colours, length)
    change = colours / colours.mean(axis=-2, keepdims=True) - 1.0  # small: sums keep their digits
    change = np.swapaxes(change, -1, -2)
    mean = _moving_sums(change, length) / length
    products = change[..., :, None, :] * change[..., None, :, :]
    covariance = _moving_sums(products, length) / length
    covariance -= mean[..., :, None, :] * mean[..., None, :, :]
    scale = 1.0 / (1.0 + mean)
    covariance *= scale[..., :, None, :] * scale[..., None, :, :]
    pairs = covariance.reshape(*covariance.shape[:-3], 9, covariance.shape[-1])
    variance = np.maximum(_POS_PAIRS @ pairs, 0.0)
    tuning = np.sqrt(_ratio(variance[..., 0, :], variance[..., 1, :]))
    plane = _POS_PLANE[0][:, None] + tuning[..., None, :] * _POS_PLANE[1][:, None]
    weights = plane * scale
    around = [(0, 0)] * (weights.ndim - 1) + [(length - 1, length - 1)]
    gain = _moving_sums(np.pad(weights, around), length)
    offset = _moving_sums(np.pad(weights * mean, around), length)
    wave: np.ndarray = (change * gain - offset).sum(axis=-2)
    return wave


def chrom(
    colours: np.ndarray,
    rate: float,
    window: float = WINDOW_SECONDS,
    band: Band = (0.7, 2.5),
    order: int = 3,
) -> np.ndarray:
    """Chrominance method (de Haan and Jeanne 2013; METHODS 9.2).

    Windows of an even number of samples, half overlapping: normalised, projected, band-passed,
    tuned, tapered by a Hann window and added.

    Args:
        colours: float (..., n, 3).
        rate: samples per second.
        window: length of a window in seconds.
        band: pass band in Hz.
        order: order of the Butterworth prototype, run forwards and backwards.

    Returns:
        Pulse wave (..., n), unitless; the samples after the last whole window are 0.
    """
    length = ceil(window * rate)
    length += length % 2
    projected = _CHROM_PLANE @ (_unit_mean_windows(colours, length, length // 2) - 1.0)
    filtered = bandpass(projected, rate, band, order)
    deviation = filtered.std(axis=-1)
    tuning = _ratio(deviation[..., 0], deviation[..., 1])
    waves = filtered[..., 0, :] - tuning[..., None] * filtered[..., 1, :]
    waves *= np.hanning(length)
    wave = np.zeros(colours.shape[:-1])
    for index in range(waves.shape[-2]):
        start = index * (length // 2)
        wave[..., start : start + length] += waves[..., index, :]
    return wave


def filter_colour_distortion(
    colours: np.ndarray, rate: float, band: Band, segment: float | None = None
) -> np.ndarray:
    """Weaken every frequency by how little of its colour change lies along the pulse's.

    Colour-distortion filtering (Wang et al., Color-distortion filtering for remote
    photoplethysmography, FG 2017): each Fourier coefficient of the mean-normalised colours is
    weighted by the share of its energy along (-1, 2, -1)/sqrt(6), and those outside the band are
    dropped. As in the paper only positive frequencies are kept, which halves the amplitude of
    what passes. Optional before :func:`pos` and :func:`chrom`.

    Args:
        colours: float (..., n, 3).
        rate: samples per second.
        band: frequencies kept, in Hz.
        segment: seconds that are filtered at a time, one after the other, each brought to the
            mean of the one before; None filters the whole trace at once.

    Returns:
        Colours (..., n, 3).
    """
    n = colours.shape[-2]
    length = n if segment is None else min(n, int(segment * rate))
    parts: list[np.ndarray] = []
    for start in range(0, n, length):
        part = _weigh_frequencies(colours[..., start : start + length, :], rate, band)
        if parts:
            step = part.mean(axis=-2, keepdims=True) - parts[-1].mean(axis=-2, keepdims=True)
            part = part - step
        parts.append(part)
    return np.concatenate(parts, axis=-2)


def _weigh_frequencies(colours: np.ndarray, rate: float, band: Band) -> np.ndarray:
    n = colours.shape[-2]
    mean = colours.mean(axis=-2, keepdims=True)
    spectrum = np.fft.fft(colours / mean - 1.0, axis=-2)
    along = spectrum @ (np.array([-1.0, 2.0, -1.0]) / np.sqrt(6.0))
    weight = _ratio(np.abs(along) ** 2, (np.abs(spectrum) ** 2).sum(axis=-1))
    frequencies = np.arange(n) * rate / n
    weight[..., (frequencies < band[0]) | (frequencies > band[1])] = 0.0
    filtered: np.ndarray = np.fft.ifft(spectrum * weight[..., None], axis=-2).real
    restored: np.ndarray = mean * (filtered + 1.0)
    return restored
