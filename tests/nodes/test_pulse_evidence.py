"""From measurements to a small ratio, and the fit behind its constants."""

from dataclasses import fields, replace
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.pulse_evidence import PulseMeasurement, PulseModel, burstiness, measure_pulse
from padflow.trainers.pulse_calibration import Window, draw_windows, fit, ratio_of

MODEL = PulseModel()
RATE = 30.0


def regions(
    bpm: tuple[float, ...] = (80.0, 80.0, 80.0), noise: float = 2e-4, seed: int = 0
) -> np.ndarray:
    """Colours (k, 300, 3) with a pulse of its own rate in each region."""
    rng = np.random.default_rng(seed)
    t = np.arange(300) / RATE
    pulses = [0.004 * np.sin(2 * np.pi * b / 60 * t)[:, None] * [0.33, 0.77, 0.53] for b in bpm]
    change = np.stack(pulses) + noise * rng.normal(size=(len(bpm), 300, 3))
    colours: np.ndarray = np.array([150.0, 110.0, 90.0]) * (1 + change)
    return colours


def test_one_pulse_on_all_regions() -> None:
    found = measure_pulse(regions(), None, RATE)
    assert found.heart_rate_bpm == pytest.approx(80, abs=1)
    assert found.region_agreement > 0.98
    assert found.region_correlation > 0.9
    assert found.region_rate_share == 1.0
    assert found.method_agreement > 0.95
    assert found.method_distance_bpm < 1.0
    assert found.background_snr_db is None
    assert found.amplitude > 3 * found.noise


def test_regions_that_beat_differently_do_not_agree() -> None:
    found = measure_pulse(regions((60.0, 90.0, 130.0)), None, RATE)
    assert found.region_correlation < 0.3
    assert found.region_rate_share < 0.4
    assert MODEL.pulse_logit(found) < MODEL.pulse_logit(measure_pulse(regions(), None, RATE)) - 3


def test_the_background_control_sees_what_is_the_lights() -> None:
    t = np.arange(300) / RATE
    beat = (
        0.01 * np.sin(2 * np.pi * 1.5 * t)[:, None] * [0.8, 1.2, 1.0]
    )  # POS would cancel a white one
    rng = np.random.default_rng(0)
    noise = 1 + 3e-4 * rng.normal(size=(4, 300, 3))
    lit = measure_pulse(
        np.array([150.0, 110.0, 90.0]) * (1 + beat) * noise[:3],
        np.array([80.0, 90.0, 99.0]) * (1 + beat) * noise[3],
        RATE,
    )
    assert MODEL.light_flickers(lit)
    alive = measure_pulse(regions(), np.array([80.0, 90.0, 99.0]) * noise[3], RATE)
    assert not MODEL.light_flickers(alive)
    assert alive.background_share is not None
    assert alive.background_share < 0.3


def test_a_single_region_cannot_agree() -> None:
    found = measure_pulse(regions((80.0,)), None, RATE)
    assert found.region_agreement == 0.0
    assert found.region_correlation == 0.0


@given(logit=st.floats(-1e6, 1e6), noise=st.floats(0, 1))
def test_the_ratio_is_small_and_grows_with_the_logit(logit: float, noise: float) -> None:
    visibility = MODEL.visibility(noise)
    ratio = MODEL.ratio(logit, visibility)
    assert -1.5 <= ratio <= 1.0
    assert MODEL.ratio(logit + 1.0, visibility) >= ratio - 1e-12  # of rounding
    assert ratio * logit >= 0 or ratio == 0


def test_the_caps_are_what_the_two_shares_say() -> None:
    seen = MODEL.visibility(0.0)
    assert MODEL.ratio(50, seen) == pytest.approx(log(0.845 / 0.315), abs=1e-3)
    assert MODEL.ratio(-50, seen) == pytest.approx(log(0.155 / 0.685), abs=1e-3)
    common = replace(MODEL, attacks_with_pulse=0.845)
    assert common.ratio(50, 1.0) == pytest.approx(0.0, abs=1e-6)


def test_an_encoder_that_holds_the_colour_is_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    smooth = regions(noise=1e-3)
    assert burstiness(smooth) < 1.0
    held = smooth.copy()
    for index in range(1, 300):
        if index % 50:
            held[:, index] = held[:, index - 1] * (1 + 1e-5 * rng.normal(size=(3, 3)))
    assert burstiness(held) > 30
    assert burstiness(np.full((2, 300, 3), 90.0)) == 0.0
    assert MODEL.visibility(2e-4, burstiness(held)) < 0.3 * MODEL.visibility(2e-4)
    assert -0.3 < MODEL.ratio(-5.0, MODEL.visibility(2e-4, burstiness(held))) < 0


def test_noise_takes_the_ratio_to_nothing() -> None:
    hidden = MODEL.visibility(0.1)
    assert hidden < 0.01
    assert abs(MODEL.ratio(-5, hidden)) < 0.01
    assert MODEL.visibility(2e-4) > 0.9


@pytest.fixture(scope="module")
def population() -> list[Window]:
    return draw_windows(800, seed=77)


def test_shipped_constants_are_those_of_the_fit(population: list[Window]) -> None:
    again = fit(draw_windows(1000, seed=5))
    pairs = [
        (
            ratio_of(MODEL, w),
            ratio_of(replace(again, flicker_db=MODEL.flicker_db), w),
        )
        for w in population
    ]
    valued = np.array([p for p in pairs if p[0] is not None], float)
    assert np.corrcoef(valued.T)[0, 1] > 0.97
    assert np.abs(valued[:, 0] - valued[:, 1]).mean() < 0.1
    assert {f.name for f in fields(PulseModel)} == set(again.__dataclass_fields__)


def test_synthetic_faces_and_pictures_are_told_apart(population: list[Window]) -> None:
    def ratios(kind: str) -> np.ndarray:
        all_of = [ratio_of(MODEL, w) for w in population if w.kind == kind]
        return np.array([r for r in all_of if r is not None])

    assert ratios("live").mean() > 0.2
    assert ratios("still").mean() < -0.3
    assert (ratios("still") > 0.5).mean() < 0.05
    found = [w for w in population if w.hit]
    assert np.mean([ratio_of(MODEL, w) or 0.0 for w in found]) > 0.4


def test_a_high_snr_is_the_true_heart_rate(population: list[Window]) -> None:
    clear = [w for w in population if w.true_bpm is not None and w.found.snr_db > 4]
    errors = [abs((w.true_bpm or 0) - w.found.heart_rate_bpm) for w in clear]
    assert len(clear) > 30
    assert np.median(errors) < 2.0
    assert np.mean([w.hit for w in clear]) > 0.9


def test_measurements_are_finite_on_constant_colours() -> None:
    still = np.full((3, 300, 3), 100.0)
    found = measure_pulse(still, still[0], RATE)
    values = [getattr(found, name) for name in PulseMeasurement.__slots__]
    assert all(np.isfinite(value).all() for value in values)
    assert abs(MODEL.ratio(MODEL.pulse_logit(found), MODEL.visibility(found.noise))) <= 1.5
