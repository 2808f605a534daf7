"""Detrending, spectra, SNR and resampling against definitions and known signals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.spectrum import (
    bandpass,
    detrend,
    peak_frequency,
    periodogram,
    pulse_frequencies,
    resample,
    snr_db,
    uneven_spectrum,
)

RATE = 30.0


@pytest.mark.parametrize("n", [3, 4, 5, 180, 301])
@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_detrend_is_its_definition(n: int, strength: float) -> None:
    x = np.random.default_rng(n).normal(size=(2, n)).cumsum(axis=-1)
    second = np.diff(np.eye(n), 2, axis=0)
    trend = np.linalg.solve(np.eye(n) + strength**2 * second.T @ second, x.T).T
    np.testing.assert_allclose(detrend(x, strength), x - trend, atol=1e-8)


def test_detrend_takes_lines_and_leaves_the_pulse() -> None:
    t = np.arange(300) / RATE
    pulse = np.sin(2 * np.pi * 1.2 * t)
    np.testing.assert_allclose(detrend(5 + 3 * t), 0.0, atol=1e-6)
    assert detrend(5 + 3 * t + pulse)[30:-30].std() == pytest.approx(pulse.std(), rel=0.05)


def test_detrend_needs_three_samples() -> None:
    with pytest.raises(ValueError, match="at least 3 samples, found 2"):
        detrend(np.zeros(2))


def test_bandpass_has_no_phase_and_stops_what_is_outside() -> None:
    t = np.arange(900) / RATE
    inside, slow, fast = (np.sin(2 * np.pi * f * t) for f in (1.4, 0.05, 10.0))
    filtered = bandpass(inside + slow + fast, RATE, (0.6, 3.3), order=3)[150:-150]
    np.testing.assert_allclose(filtered, inside[150:-150], atol=0.05)


@settings(max_examples=40, deadline=None)
@given(bpm=st.floats(42, 190), phase=st.floats(0, 6.28), gain=st.floats(1e-6, 1e6))
def test_heart_rate_of_a_sine(bpm: float, phase: float, gain: float) -> None:
    t = np.arange(300) / RATE
    frequencies, power = periodogram(gain * np.sin(2 * np.pi * bpm / 60 * t + phase), RATE)
    assert 60 * float(peak_frequency(frequencies, power)) == pytest.approx(bpm, abs=1.0)


def test_snr_is_the_ratio_that_was_put_in() -> None:
    """White noise with the band's power spread evenly: SNR follows from the line's power."""
    rng = np.random.default_rng(0)
    n = 1200  # long enough that the taper spreads a line by less than 6 bpm
    t = np.arange(n) / RATE
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    share = ((frequencies >= 0.6) & (frequencies < 3.3)).sum() / (frequencies > 0).sum()
    noise = rng.normal(size=(100, n)) / np.sqrt(share)  # in-band variance 1
    expected = 10 * np.log10((10.0 + 0.14) / 0.86)  # two lines of 12 of 162 bpm hold 14 % of it
    waves = np.sqrt(20.0) * np.sin(2 * np.pi * 1.2 * t) + noise
    frequencies, power = periodogram(waves, RATE)
    measured = np.median(snr_db(frequencies, power, np.full(100, 1.2)))
    assert measured == pytest.approx(expected, abs=1.0)
    wrong = np.median(snr_db(frequencies, power, np.full(100, 1.9)))
    assert wrong < -5.0


def test_snr_counts_the_first_harmonic_as_pulse() -> None:
    t = np.arange(600) / RATE
    wave = np.sin(2 * np.pi * 1.2 * t) + 0.5 * np.sin(2 * np.pi * 2.4 * t)
    frequencies, power = periodogram(wave, RATE)
    assert snr_db(frequencies, power, 1.2) > 15.0
    assert snr_db(frequencies, power, 2.4) < 0.0


def test_silence_has_a_finite_snr() -> None:
    frequencies, power = periodogram(np.zeros((2, 300)), RATE)
    assert np.isfinite(snr_db(frequencies, power, peak_frequency(frequencies, power))).all()


@settings(max_examples=30, deadline=None)
@given(
    bpm=st.floats(45, 180),
    rate=st.floats(14, 120),
    jitter=st.floats(0, 0.45),
    lost=st.floats(0, 0.25),
    seed=st.integers(0, 1000),
)
def test_uneven_sampling_gives_the_same_heart_rate(
    bpm: float, rate: float, jitter: float, lost: float, seed: int
) -> None:
    """No declared frame rate enters: only capture times do, so a wrong one cannot harm."""
    rng = np.random.default_rng(seed)
    times = (np.arange(int(12 * rate)) + rng.uniform(-jitter, jitter, int(12 * rate))) / rate
    times = times[rng.uniform(size=times.size) >= lost]
    grid = np.arange(300) / RATE + 1.0
    values = np.sin(2 * np.pi * bpm / 60 * times)[:, None]
    even = resample(times, values, grid, longest_gap=0.5)
    frequencies, power = periodogram(even.values[:, 0], RATE)
    assert 60 * float(peak_frequency(frequencies, power)) == pytest.approx(bpm, abs=1.5)


def test_gaps_are_bridged_only_up_to_the_limit() -> None:
    times = np.arange(300) / RATE
    times = times[~((times > 2.0) & (times < 2.2)) & ~((times > 5.0) & (times < 6.0))]
    grid = np.arange(300) / RATE
    even = resample(times, times[:, None], grid, longest_gap=0.25)
    np.testing.assert_allclose(even.values[even.known, 0], grid[even.known], atol=1e-9)
    unknown = grid[~even.known]
    assert unknown.min() > 5.0 - 1 / RATE
    assert unknown.max() < 6.0 + 1 / RATE
    assert unknown.size >= 28


def test_nothing_is_known_outside_the_samples() -> None:
    times = np.arange(30) / RATE
    even = resample(times, np.ones((30, 1)), np.arange(-30, 60) / RATE, longest_gap=1.0)
    np.testing.assert_array_equal(np.flatnonzero(even.known), np.arange(30, 60))
    assert not resample(times[:1], np.ones((1, 1)), times, 1.0).known.any()


def test_a_fast_camera_does_not_fold_noise_into_the_pulse_band() -> None:
    """28.7 Hz seen at 60 Hz would become 1.3 Hz on a 30 Hz grid if samples were picked."""
    times = np.arange(720) / 60.0
    grid = np.arange(300) / RATE + 1.0
    beat = np.sin(2 * np.pi * 28.7 * times)
    picked = beat[60:660:2]
    even = resample(times, beat[:, None], grid, longest_gap=0.25).values[:, 0]
    assert picked.std() > 0.6
    assert even.std() < 0.1


def test_the_uneven_spectrum_finds_a_line_at_the_true_times() -> None:
    rng = np.random.default_rng(2)
    even = np.linspace(0.0, 10.0, 301)
    dropped = even[np.sort(rng.choice(301, 200, replace=False))]
    for times in (even, dropped, even + rng.uniform(0, 0.02, 301)):
        found = uneven_spectrum(times, 2.0 * np.sin(2 * np.pi * 1.6 * times), pulse_frequencies())
        power = np.abs(found) ** 2
        assert pulse_frequencies()[power.argmax()] == pytest.approx(1.6, abs=0.04)
        assert power.sum() == pytest.approx(4.0, rel=0.2)  # what is lost blurs the line


def test_the_uneven_spectrum_of_what_does_not_change_is_nothing() -> None:
    times = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.06, 200))
    found = uneven_spectrum(times, np.full((2, 200), 7.0), pulse_frequencies())
    assert found.shape == (2, 50)
    assert np.abs(found).max() < 1e-9
