"""What the waves of the pulse network show, and what that is worth.

The rate is the line that four witnesses speak for together: the face's wave, the cells' own waves,
and two detectors without weights (:mod:`.skin_line`), over the colours of all cells and over those
of all areas, which know nothing of what the network was trained on. Each counts as much as it says:
weights that were learned on 160 rendered clips did worse on others. The score is
METHODS 8.5's, the power of the face's spectrum; what stands beside it keeps it honest: how much of
the power is one line and its harmonic, whether the cells' own waves beat with the face (the
correspondence of METHODS 9.12, 9.13), whether the light beside the face beats too, and whether the
line is white: a display's flicker is in all regions alike and not beside the face, but blood takes
away more green than red and blue.
"""

from dataclasses import dataclass, fields
from functools import cache
from math import log

import numpy as np

from .pulse_evidence import PulseWorth, step_kurtosis
from .skin_line import line_likelihood
from .spectrum import (
    HALF_WIDTH_BPM,
    HEART_BAND,
    PULSE_BAND,
    pulse_frequencies,
    snr_db,
    uneven_spectrum,
)

LEAST_SEEN = 0.8
"""Share of the samples in which a cell must be seen to be asked."""
_LEAST_STRENGTH = 1e-4
_LINE = 1.2
"""Half width of a line in bins of the window's own resolution, for a Hann window."""
_FINEST_BPM = 0.5
_CELL_LOADING, _AREA_LOADING = 0.2, 0.03
"""Of :func:`.line_likelihood`."""
_LEAST = 1e-12
_LEAST_SHARE = 1e-3
"""Of a spectrum's mean: what lies below is nothing, however far below."""
TINT = np.array((-0.5, 1.0, -0.5))
"""What is told as a cell's tint: green against red and blue."""


@dataclass(frozen=True, slots=True)
class WaveMeasurement:
    """What one window of the network's waves shows."""

    heart_rate_bpm: float
    """The line that wave and colours speak for most, whether or not it is a pulse."""
    strength: float
    """Power of the face's spectrum, ||f||^2: about 1 for a sure pulse, 0 for none."""
    snr_db: float
    """Of the face's wave, against that line."""
    agreement: float
    """Mean coherence of the cells' waves with the face's around that line, -1 to 1."""
    cells: int
    """How many cells were seen long enough to be asked."""
    noise: float
    """Root mean square of the face's colour in the band but off the line, relative change."""
    bursts: float
    """Excess kurtosis of the cells' changes of colour, as of ``burstiness``."""
    background_snr_db: float | None
    """SNR at the face's line of the brightness beside the face; None unseen."""
    brightness_snr_db: float
    """SNR at the face's line of the face's own brightness."""
    tint: float
    """Change of green against red and blue over that of brightness at the line: about 0.6 for
    blood, 0 for white light."""

    def named(self) -> dict[str, float]:
        """The values that are there, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: float(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, eq=False)
class WaveWindow:
    """One window of the network's waves and of what the skin itself shows."""

    times: np.ndarray
    """float64 (n,), seconds."""
    face: np.ndarray
    """float (n,): the face's wave."""
    cells: np.ndarray
    """float (K, n): the cells' waves; NaN where a cell was not seen."""
    colours: np.ndarray
    """float (K, n, 3): logarithms of R, G, B of each cell; their origin is arbitrary."""
    pose: np.ndarray
    """float (3, n): yaw, pitch and roll, of arbitrary origin and unit."""
    brightness: np.ndarray
    """float (n,): logarithm of the face's brightness, of arbitrary origin."""
    background: np.ndarray | None = None
    """float (n,): the same beside the face."""
    areas: np.ndarray | None = None
    """float (A, n, 3): colours as the cells', of the areas that were seen long enough."""

    @property
    def asked(self) -> np.ndarray:
        """Cells that were seen long enough, bool (K,)."""
        return np.asarray(np.isfinite(self.cells).mean(axis=1) >= LEAST_SEEN)


@cache
def heart_frequencies() -> np.ndarray:
    """Hz, evenly spaced by 2 a minute: where the rate is looked for."""
    return np.arange(PULSE_BAND[0], HEART_BAND[1], 1 / 30)


def rate_evidence(window: WaveWindow, frequencies: np.ndarray) -> np.ndarray:
    """What speaks for each frequency as the heart's, float64 (f,): nats, up to a constant.

    Args:
        window: of the waves.
        frequencies: float64 (f,) in Hz, within 0.7 and 4.
    """
    asked, times = window.asked, window.times
    waves = np.stack([window.face, *np.nan_to_num(window.cells[asked])])
    powers = np.abs(uneven_spectrum(times, waves, frequencies)) ** 2
    said = np.log(powers[0] + _LEAST)
    if asked.any():
        shares = powers[1:] / (powers[1:].sum(axis=1, keepdims=True) + _LEAST)
        said += _log_share(shares.mean(axis=0))
    others = window.pose
    if window.background is not None:
        others = np.concatenate([others, window.background[None]])
    shown = ((window.colours[asked], _CELL_LOADING), (window.areas, _AREA_LOADING))
    for colours, loading in shown:
        if colours is not None and len(colours):
            said += np.log(line_likelihood(times, colours, others, frequencies, loading) + _LEAST)
    return np.asarray(said)


def _log_share(power: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(power / (power.mean() + _LEAST) + _LEAST_SHARE))


def measure_waves(window: WaveWindow) -> WaveMeasurement:
    """Measure a window of the network's waves."""
    frequencies = pulse_frequencies()
    times, face, background, asked = window.times, window.face, window.background, window.asked
    wall = np.zeros_like(face) if background is None else background
    colour = window.colours @ TINT
    own_waves = np.nan_to_num(window.cells[asked])
    rows = [face, colour.mean(axis=0), window.brightness, wall, *own_waves]
    spectrum, tint, bright, beside, *own = uneven_spectrum(times, np.stack(rows), frequencies)
    power = np.abs(spectrum) ** 2
    rates = heart_frequencies()
    beat = _summit(rates, rate_evidence(window, rates))
    half = max(HALF_WIDTH_BPM / 60.0, _LINE / float(times[-1] - times[0]))
    near = np.abs(frequencies - beat) <= half

    def ratio(of: np.ndarray) -> float:
        return float(snr_db(frequencies, np.abs(of) ** 2, beat, PULSE_BAND, 60.0 * half))

    share = np.linalg.norm(tint[near]) / max(float(np.linalg.norm(bright[near])), 1e-12)
    return WaveMeasurement(
        heart_rate_bpm=60.0 * beat,
        strength=float(power.sum()),
        snr_db=ratio(spectrum),
        agreement=_coherence(np.array(own)[:, near] if own else None, spectrum[near]),
        cells=int(asked.sum()),
        noise=float(np.sqrt((np.abs(tint[~near]) ** 2).sum() / 2)),
        bursts=step_kurtosis(np.diff(colour, axis=1)),
        background_snr_db=None if background is None else ratio(beside),
        brightness_snr_db=ratio(bright),
        tint=float(share),
    )


def strongest_line(times: np.ndarray, wave: np.ndarray) -> float:
    """Beats a minute of the strongest line of a wave (n,) at times (n,)."""
    frequencies = pulse_frequencies()
    power = np.abs(uneven_spectrum(times, wave, frequencies))
    return 60.0 * _peak(times, wave, float(frequencies[power.argmax()]))


def _summit(frequencies: np.ndarray, rank: np.ndarray) -> float:
    """The highest of evenly spaced values, by the parabola through it and its neighbours."""
    at = int(rank.argmax())
    if not 0 < at < len(rank) - 1 or not np.isfinite(rank[at - 1 : at + 2]).all():
        return float(frequencies[at])
    before, here, after = rank[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(frequencies[at] + shift * (frequencies[1] - frequencies[0]))


def _peak(times: np.ndarray, wave: np.ndarray, about: float) -> float:
    """The strongest line in Hz near a bin of the spectrum."""
    bin_width = (PULSE_BAND[1] - PULSE_BAND[0]) / len(pulse_frequencies())
    fine = about + np.arange(-bin_width, bin_width + 1e-9, _FINEST_BPM / 60.0)
    return float(fine[np.abs(uneven_spectrum(times, wave, fine)).argmax()])


def _coherence(cells: np.ndarray | None, face: np.ndarray) -> float:
    """Mean normalised inner product of the cells' lines (k, m) with the face's (m,)."""
    if cells is None:
        return 0.0
    sizes = np.linalg.norm(cells, axis=1) * np.linalg.norm(face)
    products = np.real(cells @ face.conj()) / np.maximum(sizes, 1e-30)
    return float(products.mean())


@dataclass(frozen=True, kw_only=True)
class WaveModel(PulseWorth):
    """Constants of the ratio, which a bundle's manifest holds as its calibration."""

    intercept: float
    """Nats; the sum of weighted measurements is ln(p1 / p0) of the module's ratio."""
    per_log_strength: float
    """Nats per e-fold of :attr:`WaveMeasurement.strength`."""
    per_snr_db: float
    """Nats per dB of :attr:`WaveMeasurement.snr_db`."""
    per_agreement: float
    """Nats per unit of :attr:`WaveMeasurement.agreement`."""
    bursts_half: float = 10.0
    """As :class:`PulseWorth` has it, but for steps of two or three frames, whose means burst less:
    on rendered clips 0.6 of the frames' kurtosis at 25 and 0.3 at 50 a second."""
    flicker_db: float = 1.5
    """Where the face's line stands out this far beside the face too, it is the light's."""
    white_tint: float = 0.3
    """Tint below which a line that stands out as far in the face's brightness is a light's: half of
    that of blood."""

    def pulse_logit(self, found: WaveMeasurement) -> float:
        """ln(p1 / p0) of what was measured."""
        return (
            self.intercept
            + self.per_log_strength * log_strength(found)
            + self.per_snr_db * found.snr_db
            + self.per_agreement * found.agreement
        )

    def light_flickers(self, found: WaveMeasurement) -> bool:
        """Whether the line on the face is the light's own."""
        beside = found.background_snr_db
        if beside is not None and beside > self.flicker_db:
            return True
        return found.brightness_snr_db > self.flicker_db and found.tint < self.white_tint


def log_strength(found: WaveMeasurement) -> float:
    """Natural logarithm of the strength, which ends where there is nothing."""
    return log(max(found.strength, 0.0) + _LEAST_STRENGTH)
