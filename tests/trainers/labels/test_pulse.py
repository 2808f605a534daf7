import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.rppg import PULSE_COLOUR
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.labels import (
    PULSE_BAND,
    PULSE_BINS,
    pulse_frequencies,
    pulse_label,
    still_label,
)
from padflow.trainers.pulse_population import draw_trace

SKIN = np.array([170.0, 120.0, 100.0])


def trace(
    hertz: float, seconds: float = 12.0, rate: float = 30.0, amplitude: float = 0.004
) -> Array:
    """Skin whose colour beats, in light that drifts and flickers alike in all channels."""
    t = np.arange(int(seconds * rate)) / rate
    beat = amplitude * np.sin(2 * np.pi * hertz * t)
    light = 0.02 * np.sin(2 * np.pi * 0.11 * t) + 0.004 * np.sin(2 * np.pi * 3.1 * t + 1)
    return np.asarray(SKIN * (1 + beat[:, None] * PULSE_COLOUR) * (1 + light[:, None]))


@settings(deadline=None, max_examples=25)
@given(st.floats(0.9, 3.0), st.sampled_from([20.0, 30.0, 60.0]), st.floats(8.0, 40.0))
def test_the_strongest_bin_is_the_pulses(hertz: float, rate: float, seconds: float) -> None:
    label = pulse_label(trace(hertz, seconds, rate), rate)
    assert label.shape == (PULSE_BINS,) == (50,)
    assert label.dtype == np.float32
    assert np.linalg.norm(label) == pytest.approx(1.0, abs=1e-5)
    assert (label >= 0).all()
    # CHROM's windows of 1.6 s modulate the wave a little.
    assert abs(pulse_frequencies()[label.argmax()] - hertz) < 0.12


def test_bins_span_the_band_evenly() -> None:
    found = pulse_frequencies()
    width = (PULSE_BAND[1] - PULSE_BAND[0]) / 50
    assert np.diff(found) == pytest.approx(width)
    assert (found[0] - width / 2, found[-1] + width / 2) == pytest.approx(PULSE_BAND)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.3, 3.0), st.tuples(*[st.floats(0.7, 1.4)] * 3))
def test_exposure_and_white_balance_do_not_count(
    exposure: float, balance: tuple[float, float, float]
) -> None:
    seen = trace(1.3)
    assert pulse_label(seen * exposure * np.array(balance), 30.0) == pytest.approx(
        pulse_label(seen, 30.0), abs=1e-5
    )


def test_a_long_clips_sharp_line_does_not_fall_between_bins() -> None:
    edge = float(pulse_frequencies()[10] + (PULSE_BAND[1] - PULSE_BAND[0]) / 100)
    for hertz in (float(pulse_frequencies()[10]), edge):
        label = pulse_label(trace(hertz, 60.0), 30.0)
        assert np.linalg.norm(label[9:13]) > 0.85


def test_realistic_faces_with_a_pulse_are_told_from_prints() -> None:
    """A living face has most of its label in few bins, a still one has noise all over."""
    rng = np.random.default_rng(11)
    peaks = {
        kind: [
            pulse_label(draw_trace(rng, kind).regions.mean(axis=0), 30.0).max() for _ in range(40)
        ]
        for kind in ("live", "still")
    }
    assert np.median(peaks["live"]) > np.median(peaks["still"])


def test_what_does_not_change_has_no_spectrum() -> None:
    assert not pulse_label(np.tile(SKIN, (300, 1)), 30.0).any()
    assert still_label().shape == (50,)
    assert not still_label().any()


@pytest.mark.parametrize(
    ("colours", "rate", "expected"),
    [
        (np.ones((300, 2)), 30.0, r"expected shape \(n, 3\), found \(300, 2\)"),
        (np.ones((300, 3)), 8.0, "rate: expected more than 8 samples"),
        (np.ones((40, 3)), 30.0, r"found 1\.33 s"),
        (np.zeros((300, 3)), 30.0, "positive"),
        (np.full((300, 3), np.nan), 30.0, "positive"),
    ],
)
def test_what_is_no_trace_is_told(colours: Array, rate: float, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        pulse_label(colours, rate)
