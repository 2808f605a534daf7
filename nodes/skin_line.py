"""Where in the spectrum the whole face changes colour as blood does, and nothing else explains it.

A detector for a known colour in clutter that is not: at a frequency the colours of all cells, the
light beside the face and the pose are held against what they do at the other frequencies of the
same seconds. The combination that passes the pulse's colour, the same on all cells, and holds
least of the rest is looked through (the pulse vector of METHODS 9.7 over all cells at once, in the
frequency domain so that the pulse does not cancel itself), and its power is weighed as in the
generalised likelihood ratio of Kelly (An adaptive detection algorithm, IEEE Transactions on
Aerospace and Electronic Systems 22(2), 1986). Nothing in it is learned.
"""

import numpy as np

from .rppg import PULSE_COLOUR
from .spectrum import uneven_spectrum

_BAND = (0.4, 5.0)
"""Hz that the clutter is taken from."""
_SPACING = 1 / 30
_LINE = np.arange(-3, 4)
"""Neighbours of a line, and of its harmonic, that are no clutter: 0.1 Hz to both sides."""
_BEAT = np.arange(-1, 2)
"""Neighbours of the nearest frequency that belong to a beat as well."""
_LOADING = 0.03
"""Added to the diagonal of the clutter's correlations: what is uncorrelated in every case."""
_LEAST = 1e-12


def line_likelihood(
    times: np.ndarray, colours: np.ndarray, others: np.ndarray, frequencies: np.ndarray
) -> np.ndarray:
    """How much speaks for a pulse of each frequency, 0 and more.

    Args:
        times: float64 (n,), seconds.
        colours: float (k, n, 3): logarithms of R, G, B of the cells, of arbitrary origin.
        others: float (m, n): what else may explain a change of colour: light and pose.
        frequencies: float64 (f,) in Hz, within 0.7 and 4.

    Returns:
        float64 (f,): power of the best combination, in units of what clutter would give it, against
        that of all channels together.
    """
    cells, count, _ = colours.shape
    rows = np.concatenate([colours.transpose(0, 2, 1).reshape(3 * cells, count), others])
    steering = np.concatenate([np.tile(PULSE_COLOUR, cells), np.zeros(len(others))])
    fine = np.arange(*_BAND, _SPACING)
    # Clutter falls with the frequency: as if it were flat, slow sways would be taken for lines.
    spectrum = uneven_spectrum(times, rows, fine) * np.sqrt(fine)
    sizes = np.sqrt((np.abs(spectrum) ** 2).mean(axis=1)) + _LEAST
    spectrum, steering = spectrum / sizes[:, None], steering / sizes
    parts = np.stack([spectrum.real, spectrum.imag], axis=2)  # (c, fine, 2)
    clutter = _clutter(parts, frequencies) + _LOADING * np.eye(len(rows))
    beat = _around(parts, frequencies, _BEAT)  # (f, c, 6)
    right = np.concatenate([np.tile(steering[:, None], (len(frequencies), 1, 1)), beat], axis=2)
    cleared = np.linalg.solve(clutter, right)
    weights = cleared[:, :, 0]
    power = np.square(np.einsum("fc,fcp->fp", weights, beat)).sum(axis=1) / (weights @ steering)
    everything = (beat * cleared[:, :, 1:]).sum(axis=(1, 2))
    return np.asarray(power / (len(_BEAT) * len(rows) + everything))


def _clutter(parts: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Mean products (f, c, c) of all frequencies but those of each line and its harmonic."""
    count = parts.shape[1]
    line = _around(parts, frequencies, _LINE)
    harmonic = _around(parts, 2 * frequencies, _LINE)
    taken = np.concatenate([line, harmonic], axis=2)
    flat = parts.reshape(len(parts), -1)
    places = [_middle(f)[:, None] + _LINE for f in (frequencies, 2 * frequencies)]
    free = count - sum((place < count).sum(axis=1) for place in places)
    rest = flat @ flat.T - taken @ taken.transpose(0, 2, 1)
    return np.asarray(rest / free[:, None, None])


def _around(parts: np.ndarray, frequencies: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Parts (f, c, 2 m) of m neighbours of each frequency; 0 beyond the band."""
    places = _middle(frequencies)[:, None] + reach
    inside = places < parts.shape[1]
    found = parts[:, np.where(inside, places, 0)] * inside[..., None]
    return np.asarray(found.transpose(1, 0, 2, 3).reshape(len(frequencies), len(parts), -1))


def _middle(frequencies: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint((frequencies - _BAND[0]) / _SPACING).astype(int))
