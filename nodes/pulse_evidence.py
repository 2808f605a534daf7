"""How much a window of skin colours speaks for a living person: measurements and their ratio.

The ratio is small by construction. Some attacks carry a pulse (a replayed video does) and some
living faces show none to a camera (cold or covered skin, dark skin in dim light, a coarse video
encoder). With p1 and p0 the densities of what is measured with and without a visible pulse, and
v the chance that a pulse would be seen through this window's noise,

    live:    v (1 - e) p1 + (1 - v (1 - e)) p0      e: living faces that show no pulse
    attack:  v r p1 + (1 - v r) p0                  r: attacks that carry one

so the ratio lies between ln(e / (1 - r)) and ln((1 - e) / r), and goes to 0 with v: not seeing a
pulse through noise says nothing. METHODS 9.10, 9.13.
"""

from dataclasses import dataclass
from math import exp, log
from typing import Annotated

import numpy as np
from annotated_types import Gt, Interval

from .rppg import WINDOW_SECONDS, chrom, pos
from .spectrum import (
    HALF_WIDTH_BPM,
    HEART_BAND,
    bandpass,
    detrend,
    peak_frequency,
    periodogram,
    snr_db,
)


@dataclass(frozen=True)
class PulseWorth:
    """What finding or missing a pulse is worth: the constants of the ratio above."""

    noise_half: Annotated[float, Gt(0)] = 1.22e-3
    """Noise (relative change of colour) at which half of the pulses are found."""
    noise_steepness: Annotated[float, Gt(0)] = 3.39
    """Logits by which that chance falls when the noise grows tenfold."""
    bursts_half: Annotated[float, Gt(0)] = 20.0
    """:func:`burstiness` at which an encoder halves that chance once more. Two portraits with an
    animated pulse, encoded by x264 at constant quality: at CRF 14 (up to 18) the pulse was found,
    at CRF 18 (40 to 70) and 26 (65 to 85) it was lost."""
    attacks_with_pulse: Annotated[float, Interval(gt=0, lt=1)] = 0.315
    """Share of attacks that carry a visible pulse: replayed videos of living people on good
    displays. One in three of the attacks at a door without other knowledge; it caps the ratio
    for life at ln((1 - 0.155) / 0.315) = +0.99 nats."""
    living_without_pulse: Annotated[float, Interval(gt=0, lt=1)] = 0.155
    """Share of living faces that show no pulse although the noise would allow it: make-up, cold
    or dark skin, coarse encoders. It caps the ratio against life at
    ln(0.155 / (1 - 0.315)) = -1.49 nats."""

    def visibility(self, noise: float, bursts: float = 0.0) -> float:
        """Chance, 0 to 1, that a living face's pulse comes through this noise and encoder.

        Args:
            noise: :attr:`PulseMeasurement.noise`.
            bursts: :func:`burstiness` of the samples.
        """
        decades = log(max(noise, 1e-12) / self.noise_half) / log(10.0)
        coarse = (max(bursts, 0.0) / self.bursts_half) ** 2
        return 1.0 / (1.0 + exp(self.noise_steepness * decades)) / (1.0 + coarse)

    def ratio(self, logit: float, visibility: float) -> float:
        """Log-likelihood ratio in nats of a living person against an attack."""
        alive = visibility * (1.0 - self.living_without_pulse)
        attack = visibility * self.attacks_with_pulse
        odds = exp(min(max(logit, -50.0), 50.0))
        return log((1.0 - alive + alive * odds) / (1.0 - attack + attack * odds))


@dataclass(frozen=True)
class PulseModel(PulseWorth):
    """Constants of the ratio.

    The weights are a logistic regression between windows in which the pulse was found and windows
    without one, the two ``noise`` constants one of whether it was found, both on the synthetic
    population of ``trainers/pulse_population.py``; ``python -m padflow.trainers.pulse_calibration``
    makes them again. The two shares are judgements, not measurements: see each.
    """

    intercept: float = -4.94
    """Nats; the sum of weighted measurements is ln(p1 / p0)."""
    per_snr_db: float = 0.331
    """Nats per dB of :attr:`PulseMeasurement.snr_db`."""
    per_region_agreement: float = 1.63
    """Nats per unit of :attr:`PulseMeasurement.region_agreement`."""
    per_region_correlation: float = 0.332
    """Nats per unit of :attr:`PulseMeasurement.region_correlation`."""
    per_region_rate_share: float = 1.10
    """Nats per unit of :attr:`PulseMeasurement.region_rate_share`."""
    per_method_agreement: float = 5.23
    """Nats per unit of :attr:`PulseMeasurement.method_agreement`."""
    flicker_db: float = 1.5
    """Where the face's line stands out this far beside the face too, it is the light's."""

    def pulse_logit(self, found: "PulseMeasurement") -> float:
        """ln(p1 / p0) of what was measured."""
        return (
            self.intercept
            + self.per_snr_db * found.snr_db
            + self.per_region_agreement * found.region_agreement
            + self.per_region_correlation * found.region_correlation
            + self.per_region_rate_share * found.region_rate_share
            + self.per_method_agreement * found.method_agreement
        )

    def light_flickers(self, found: "PulseMeasurement") -> bool:
        """Whether the line on the face is the light's own."""
        return found.background_snr_db is not None and found.background_snr_db > self.flicker_db


@dataclass(frozen=True, slots=True)
class PulseMeasurement:
    """What one window of skin colours shows."""

    wave: np.ndarray
    """float64 (n,): band-passed POS wave of the face, relative change of colour."""
    heart_rate_bpm: float
    """Strongest line of the wave, whether or not it is a pulse."""
    snr_db: float
    """Of the wave, against that line."""
    amplitude: float
    """Root mean square of the wave on the line, relative change of colour."""
    noise: float
    """Root mean square of the wave off the line."""
    region_agreement: float
    """Mean coherence of the regions' waves around that line, -1 to 1; 0 for a single region."""
    region_correlation: float
    """Mean correlation of the regions' waves over the whole band; 0 for a single region."""
    region_rate_share: float
    """Share of the regions whose own line is within 6 bpm, 0 to 1."""
    method_agreement: float
    """Correlation of the POS and the CHROM wave, -1 to 1."""
    method_distance_bpm: float
    """Distance of the lines that POS and CHROM find."""
    background_snr_db: float | None
    """SNR at the face's line of colour or brightness beside the face, the larger; None unseen."""
    background_share: float | None
    """Change of brightness on the line beside the face over that of the face; None unseen."""


def measure_pulse(
    regions: np.ndarray, background: np.ndarray | None, rate: float
) -> PulseMeasurement:
    """Measure the pulse of one face.

    Args:
        regions: float (k, n, 3), k >= 1: mean colours of skin regions, evenly timed, no gaps.
        background: float (n, 3) of a place beside the face, or None where none is seen.
        rate: samples per second.
    """
    count = len(regions)
    filtered = bandpass(detrend(_signals(regions, background, rate)), rate)
    frequencies, power = periodogram(filtered, rate)
    beats = peak_frequency(frequencies, power)
    ratios = snr_db(frequencies, power, beats[FACE])
    own = slice(REGIONS, REGIONS + count)
    distances = 60.0 * np.abs(beats - beats[FACE])
    noise, amplitude = _split(filtered[FACE], float(ratios[FACE]))
    beside = _background(frequencies, power, ratios, float(beats[FACE]), REGIONS + count)
    return PulseMeasurement(
        wave=filtered[FACE],
        heart_rate_bpm=60.0 * float(beats[FACE]),
        snr_db=float(ratios[FACE]),
        amplitude=amplitude,
        noise=noise,
        region_agreement=_mean_pair(_line(filtered[own], rate, float(beats[FACE]))),
        region_correlation=_mean_pair(filtered[own]),
        region_rate_share=float((distances[own] <= HALF_WIDTH_BPM).mean()),
        method_agreement=_mean_pair(filtered[[FACE, CHROM]]),
        method_distance_bpm=float(distances[CHROM]),
        background_snr_db=beside[0],
        background_share=beside[1],
    )


FACE, CHROM, REGIONS = 0, 1, 2
"""Rows of the signals: POS and CHROM of the whole face, then POS of each region, then, where the
background is seen, its POS and the brightness of face and background."""


def burstiness(regions: np.ndarray) -> float:
    """How much the skin's colour changes in bursts, as an encoder leaves it.

    Sensor noise and motion change the colour a little in every frame; an encoder of few bits
    holds it for many frames and then moves it at once, which takes a pulse away and leaves little
    noise, so that the window looks cleaner than it is.

    Args:
        regions: float (k, n, 3), mean colours of k regions, as sampled (not resampled).

    Returns:
        Excess kurtosis of the frame-to-frame changes of R - G, median over the regions: about -1
        to 0 for noise, above 20 where an encoder hides the pulse; 0 where nothing changes.
    """
    shares = regions / np.maximum(regions.mean(axis=1, keepdims=True), 1e-6)
    return step_kurtosis(np.diff(shares[..., 0] - shares[..., 1], axis=1))


def step_kurtosis(steps: np.ndarray) -> float:
    """Excess kurtosis of steps (k, n) of k traces, the median over the traces; see above."""
    steps = steps - steps.mean(axis=1, keepdims=True)
    variance = np.square(steps).mean(axis=1)
    kurtosis = (steps**4).mean(axis=1) / np.maximum(variance**2, 1e-30) - 3.0
    return float(np.median(np.where(variance > 1e-14, kurtosis, 0.0)))


def _signals(regions: np.ndarray, background: np.ndarray | None, rate: float) -> np.ndarray:
    shares = regions / regions.mean(axis=1, keepdims=True)
    face = shares.mean(axis=0)  # of shares: a region that enters late makes no step
    colours = [face, *shares] if background is None else [face, *shares, background]
    waves = pos(np.stack(colours), rate) / np.ceil(WINDOW_SECONDS * rate)
    upright = -chrom(face, rate, band=HEART_BAND)  # CHROM falls where POS rises
    rows = [waves[0], upright, *waves[1:]]
    if background is not None:
        rows += [np.log(np.maximum(c.mean(axis=-1), 1e-6)) for c in (face, background)]
    return np.stack(rows)


def _split(wave: np.ndarray, ratio_db: float) -> tuple[float, float]:
    """Root mean square off and on the line, from the wave's own and its SNR."""
    total = float(wave.std())
    share = 1.0 / (1.0 + 10.0 ** (ratio_db / 10.0))
    return total * share**0.5, total * (1.0 - share) ** 0.5


def _line(waves: np.ndarray, rate: float, beat: float) -> np.ndarray:
    """Complex spectrum (k, m) of the waves within 6 bpm of the line."""
    offsets = np.linspace(-HALF_WIDTH_BPM, HALF_WIDTH_BPM, 5) / 60.0
    turns = np.outer(np.arange(waves.shape[-1]) / rate, beat + offsets)
    spectrum: np.ndarray = waves @ np.exp(-2j * np.pi * turns)
    return spectrum


def _mean_pair(waves: np.ndarray) -> float:
    """Mean normalised inner product of all pairs of rows; 0 for a single row."""
    norms = np.maximum(np.sqrt((np.abs(waves) ** 2).sum(axis=-1)), 1e-150)
    products = np.real(waves @ waves.conj().T) / np.outer(norms, norms)
    pairs = products[np.triu_indices(len(waves), 1)]
    return float(pairs.mean()) if pairs.size else 0.0


def _background(
    frequencies: np.ndarray, power: np.ndarray, ratios: np.ndarray, beat: float, first: int
) -> tuple[float | None, float | None]:
    if len(power) <= first:
        return None, None
    near = np.abs(frequencies - beat) <= HALF_WIDTH_BPM / 60.0
    face, beside = power[first + 1 :, near].sum(axis=-1)
    share = float(np.sqrt(beside / max(face, 1e-300)))
    return float(max(ratios[first], ratios[first + 2])), min(share, 1e3)
