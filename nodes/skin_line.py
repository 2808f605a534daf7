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
from scipy import linalg

from .rppg import PULSE_COLOUR
from .spectrum import uneven_spectrum

_BAND = (0.4, 5.0)
"""Hz that the clutter is taken from."""
_SPACING = 1 / 30
_LINE = np.arange(-3, 4)
"""Neighbours of a line, and of its harmonic, that are no clutter: 0.1 Hz to both sides."""
_BEAT = np.arange(-1, 2)
"""Neighbours of the nearest frequency that belong to a beat as well."""
_LEAST = 1e-12


def line_likelihood(
    times: np.ndarray,
    colours: np.ndarray,
    others: np.ndarray,
    frequencies: np.ndarray,
    loading: float,
) -> np.ndarray:
    """How much speaks for a pulse of each frequency, 0 and more.

    Args:
        times: float64 (n,), seconds.
        colours: float (k, n, 3): logarithms of R, G, B of the cells, of arbitrary origin.
        others: float (m, n): what else may explain a change of colour: light and pose.
        frequencies: float64 (f,) in Hz, within 0.7 and 4.
        loading: added to the clutter's correlations of a channel with itself, which are about 1:
            what is uncorrelated in every case. The more cells there are for the seconds of the
            window, the less of their correlations can be known, and the more it must be.

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
    products = _cleared(spectrum, steering, frequencies, loading)
    power = np.square(products[:, 0, 1:]).sum(axis=1) / products[:, 0, 0]
    everything = np.trace(products[:, 1:, 1:], axis1=1, axis2=2)
    return np.asarray(power / (len(_BEAT) * len(rows) + everything))


def _cleared(
    spectrum: np.ndarray, steering: np.ndarray, frequencies: np.ndarray, loading: float
) -> np.ndarray:
    """Inner products of the pulse's colour and a beat's parts once clutter is whitened.

    The clutter of a frequency is the mean of all others' products but those of its line and its
    harmonic. It is the mean of all less a few: so all are inverted once, and for each frequency the
    few are taken out (Woodbury's identity).

    Returns:
        float64 (f, 1 + b, 1 + b): of the colour, then of the b real and imaginary parts.
    """
    count = spectrum.shape[1]
    parts = np.concatenate([spectrum.real, spectrum.imag], axis=1)
    whole = parts @ parts.T / count + loading * np.eye(len(parts))
    # A last column of nothing stands for what lies beyond the band.
    columns = np.concatenate([parts, np.zeros((len(parts), 1)), steering[:, None]], axis=1)
    gram = columns.T @ linalg.solve(whole, columns, assume_a="pos")
    beat = np.insert(_parts_around(frequencies, _BEAT, count), 0, 2 * count + 1, axis=1)
    line, harmonic = (_parts_around(f, _LINE, count) for f in (frequencies, 2 * frequencies))
    taken = np.concatenate([line, harmonic], axis=1)
    out = _products(gram, taken, beat)
    kept = count * np.eye(taken.shape[1]) - _products(gram, taken, taken)
    back = out.transpose(0, 2, 1) @ np.linalg.solve(kept, out)
    return np.asarray(_products(gram, beat, beat) + back)


def _products(gram: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(f, r, c) of a matrix, by the places (f, r) and (f, c) of each frequency."""
    return np.asarray(gram[rows[:, :, None], columns[:, None, :]])


def _parts_around(frequencies: np.ndarray, reach: np.ndarray, count: int) -> np.ndarray:
    """Columns (f, 2 r) of the real and imaginary parts of each frequency's neighbours."""
    middle = np.rint((frequencies - _BAND[0]) / _SPACING).astype(int)
    places = middle[:, None] + reach
    inside = places < count
    nothing = 2 * count
    both = (np.where(inside, places + shift, nothing) for shift in (0, count))
    return np.concatenate(list(both), axis=1)
