"""Pulse methods against reference outputs, known pulses and the formulas they come from."""

from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from padflow.nodes.rppg import chrom, filter_colour_distortion, green, pos
from padflow.nodes.spectrum import bandpass, detrend, peak_frequency, periodogram, snr_db

RATE = 30.0
SKIN = np.array([150.0, 110.0, 90.0])
PULSE = np.array([0.33, 0.77, 0.53])


def skin_trace(
    seconds: float = 20.0, beat: float = 1.2, drift: float = 0.02, seed: int = 0
) -> np.ndarray:
    """Colours (n, 3): a pulse and a common change of the light (METHODS 17)."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    light = np.cumsum(rng.normal(size=t.size))
    light = drift * light / np.abs(light).max()
    pulse = 0.005 * PULSE * np.sin(2 * np.pi * beat * t)[:, None]
    colours: np.ndarray = SKIN * (1.0 + pulse + light[:, None])
    return colours


def heart_rate(wave: np.ndarray, rate: float = RATE) -> float:
    frequencies, power = periodogram(bandpass(detrend(wave), rate), rate)
    return 60.0 * float(peak_frequency(frequencies, power))


def own_snr(wave: np.ndarray) -> float:
    frequencies, power = periodogram(bandpass(detrend(wave), RATE), RATE)
    return float(snr_db(frequencies, power, 1.2))


# Settings of the reference outputs: CDF over 0.4 to 412/60 Hz before POS and CHROM with windows of
# 1.6 s; CHROM with a third-order band-pass over the same band. bp4d: 25 Hz, CDF over the whole
# trace; ubfc: 30 Hz, CDF in segments of 12.8 s. The reference's loop leaves out the last POS
# window, so the last 1.6 s of its wave are smaller.
REFERENCE_BAND = (0.4, 412 / 60)


@pytest.mark.parametrize(("name", "rate", "segment"), [("bp4d", 25.0, None), ("ubfc", 30.0, 12.8)])
def test_reference_outputs(
    shared_data: Path, name: str, rate: float, segment: float | None
) -> None:
    folder = shared_data / "vectors" / name
    colours = loadmat(folder / "mean_rgb.mat")["mean_rgb"]
    filtered = filter_colour_distortion(colours, rate, REFERENCE_BAND, segment)
    window = ceil(1.6 * rate)

    expected = loadmat(folder / "bvp_POS_cdf.mat")["POS"][:, 0]
    found = pos(filtered, rate)
    assert np.corrcoef(found, expected)[0, 1] > 0.99999
    np.testing.assert_allclose(found[:-window], expected[:-window], atol=1e-9 * expected.std())

    expected = loadmat(folder / "bvp_CHROM_cdf.mat")["CHROM"][:, 0]
    found = chrom(filtered, rate, band=REFERENCE_BAND)[: expected.size]
    np.testing.assert_allclose(found, expected, atol=1e-9 * expected.std())


def test_known_pulse_is_found_under_a_change_of_light() -> None:
    colours = skin_trace()
    assert heart_rate(pos(colours, RATE)) == pytest.approx(72.0, abs=0.5)
    assert heart_rate(chrom(colours, RATE)) == pytest.approx(72.0, abs=0.5)


def test_green_suffers_from_the_light_that_pos_and_chrom_cancel() -> None:
    snrs = np.array(
        [
            [own_snr(method) for method in (green(c), pos(c, RATE), chrom(c, RATE))]
            for c in (skin_trace(drift=0.1, seed=seed) for seed in range(10))
        ]
    )
    by_green, by_pos, by_chrom = snrs.mean(axis=0)
    assert by_pos > by_green + 10.0
    assert by_chrom > by_green + 8.0


def test_light_alone_gives_no_wave() -> None:
    t = np.arange(300) / RATE
    flicker = SKIN * (1.0 + 0.05 * np.sin(2 * np.pi * 1.5 * t))[:, None]
    assert np.abs(pos(flicker, RATE)).max() < 1e-9
    assert np.abs(chrom(flicker, RATE)).max() < 1e-9


def test_constant_skin_gives_a_flat_finite_wave() -> None:
    still = np.broadcast_to(SKIN, (300, 3))
    assert np.abs(pos(still, RATE)).max() < 1e-9
    assert np.abs(chrom(still, RATE)).max() < 1e-9


def test_pos_is_the_published_loop() -> None:
    colours = skin_trace(seconds=6.0) * (
        1.0 + 0.01 * np.random.default_rng(1).normal(size=(180, 3))
    )
    length, expected = 48, np.zeros(180)
    for start in range(180 - length + 1):
        window = colours[start : start + length]
        normalised = (window / window.mean(axis=0)).T
        s1 = normalised[1] - normalised[2]
        s2 = normalised[1] + normalised[2] - 2 * normalised[0]
        wave = s1 + s1.std() / s2.std() * s2
        expected[start : start + length] += wave - wave.mean()
    np.testing.assert_allclose(pos(colours, RATE), expected, atol=1e-12 * length)


def test_chrom_is_the_identity_of_the_auxiliary_label() -> None:
    """One window: x - gamma y equals 3(1-g/2) r - 2(1+g/2) g + 3g/2 b (METHODS 8.7)."""
    colours = skin_trace(seconds=1.6)
    r, g, b = bandpass((colours / colours.mean(axis=0) - 1.0).T, RATE, (0.7, 2.5), 3)
    x, y = 3 * r - 2 * g, 1.5 * r + g - 1.5 * b
    gamma = x.std() / y.std()
    label = 3 * (1 - gamma / 2) * r - 2 * (1 + gamma / 2) * g + 1.5 * gamma * b
    np.testing.assert_allclose(chrom(colours, RATE), label * np.hanning(48), atol=1e-12)


def test_regions_in_a_batch_are_as_one_by_one() -> None:
    regions = np.stack([skin_trace(seed=seed) for seed in range(3)])
    for method in (pos, chrom):
        batched = method(regions, RATE)
        assert batched.shape == (3, 600)
        for wave, colours in zip(batched, regions, strict=True):
            np.testing.assert_allclose(wave, method(colours, RATE), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.tuples(*[st.floats(0.05, 20.0)] * 3),
    beat=st.floats(0.8, 2.4),
    shift=st.integers(1, 60),
)
def test_camera_gain_and_start_do_not_matter(
    scale: tuple[float, float, float], beat: float, shift: int
) -> None:
    colours = skin_trace(beat=beat)
    for method in (pos, chrom):
        wave = method(colours, RATE)
        np.testing.assert_allclose(method(colours * scale, RATE), wave, atol=1e-9)
        # away from the ends the same samples give the same POS wave wherever the trace starts
        assert heart_rate(method(colours[shift:], RATE)) == pytest.approx(60 * beat, abs=1.5)
    inner = slice(48, -48)
    shifted = pos(colours[shift:], RATE)
    np.testing.assert_allclose(shifted[inner], pos(colours, RATE)[shift:][inner], atol=1e-9)


def test_colour_distortion_filter_keeps_the_pulse_and_drops_the_light() -> None:
    colours = skin_trace(drift=0.0)
    t = np.arange(600) / RATE
    filtered = filter_colour_distortion(
        colours * (1 + 0.01 * np.sin(2 * np.pi * 2.0 * t))[:, None], RATE, (0.6, 3.3)
    )
    power = np.abs(np.fft.rfft(filtered[:, 1] / filtered[:, 1].mean() - 1.0)) ** 2
    frequencies = np.fft.rfftfreq(600, 1 / RATE)
    at = [float(power[np.abs(frequencies - f) < 0.06].max()) for f in (1.2, 2.0)]
    assert at[0] > 100 * at[1]


def test_too_short_a_trace_says_so() -> None:
    with pytest.raises(ValueError, match="takes 48 samples, found 30"):
        pos(np.ones((30, 3)), RATE)
    with pytest.raises(ValueError, match="takes 48 samples, found 30"):
        chrom(np.ones((30, 3)), RATE)
