from dataclasses import replace

import numpy as np
import pytest

from padflow.nodes.rppg import PULSE_COLOUR
from padflow.nodes.wave_evidence import (
    WaveMeasurement,
    WaveModel,
    WaveWindow,
    measure_waves,
    rate_evidence,
    strongest_line,
)

TIMES = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.06, 250))
MODEL = WaveModel(intercept=2.0, per_log_strength=1.0, per_snr_db=0.2, per_agreement=2.0)


def coloured(noise: np.ndarray, beat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells (10, n, 3) whose tint is a hundredth of a beat (n,), and a pose that wanders."""
    colours = np.zeros((10, TIMES.size, 3))
    colours[..., 1] = 1e-4 * noise + 0.01 * beat
    return colours, 1e-3 * np.cumsum(noise[:3], axis=1)


def measured(
    size: float = 1.0,
    shared: float = 1.0,
    beside: float = 0.0,
    green: float = 0.6,
    seed: int = 0,
) -> WaveMeasurement:
    """A face whose wave beats at 78 a minute; a share of the cells' waves beats with it."""
    rng = np.random.default_rng(seed)
    beat = np.sin(2 * np.pi * 1.3 * TIMES)
    face = size * beat + 0.02 * rng.normal(size=TIMES.size)
    noise = rng.normal(size=(10, TIMES.size))
    cells = shared * beat + (1 - shared) * noise + 0.02 * noise
    wall = beside * beat + 0.01 * rng.normal(size=TIMES.size)
    bright = 0.01 * beat + 1e-4 * rng.normal(size=TIMES.size)
    window = WaveWindow(TIMES, face, cells, *coloured(noise, green * beat), bright, wall)
    return measure_waves(window)


def test_a_sure_pulse_has_strength_one_and_cells_that_agree() -> None:
    found = measured()
    assert found.heart_rate_bpm == pytest.approx(78, abs=1)
    assert found.strength == pytest.approx(1.0, rel=0.15)
    assert found.agreement > 0.95
    assert found.snr_db > 10
    assert found.cells == 10
    assert not MODEL.light_flickers(found)


def test_cells_that_do_not_beat_with_the_face_count_against_it() -> None:
    alone = measured(shared=0.0)
    assert abs(alone.agreement) < 0.5
    assert MODEL.pulse_logit(alone) < MODEL.pulse_logit(measured())
    assert MODEL.pulse_logit(measured(size=0.01)) < MODEL.pulse_logit(measured())


def test_a_wall_that_beats_with_the_face_is_the_lights() -> None:
    assert MODEL.light_flickers(measured(beside=0.05))
    assert not MODEL.light_flickers(replace(measured(), background_snr_db=None))


def test_a_white_line_is_a_displays() -> None:
    assert measured().tint == pytest.approx(0.6, rel=0.05)
    white = measured(green=0.1)
    assert white.tint == pytest.approx(0.1, rel=0.2)
    assert MODEL.light_flickers(white)
    assert not MODEL.light_flickers(replace(white, brightness_snr_db=-5.0))


def test_cells_out_of_sight_are_not_asked() -> None:
    cells = np.tile(np.sin(2 * np.pi * 1.3 * TIMES), (10, 1))
    cells[:4] = np.nan
    cells[4, :10] = np.nan
    face = cells[9]
    still = np.zeros((10, TIMES.size, 3)), np.zeros((3, TIMES.size))
    found = measure_waves(WaveWindow(TIMES, face, cells, *still, face))
    assert found.cells == 6
    assert found.agreement > 0.98
    assert found.background_snr_db is None
    assert "background_snr_db" not in found.named()
    cells[:] = np.nan
    nothing = WaveWindow(TIMES, face, cells, *still, face)
    assert measure_waves(nothing).agreement == 0.0


def test_the_rate_is_where_wave_and_colours_meet() -> None:
    """A wave with two lines of like strength; blood's colour has but one of them."""
    rng = np.random.default_rng(5)
    lines = [np.sin(2 * np.pi * f * TIMES) for f in (1.2, 2.0)]
    face = lines[0] + 1.05 * lines[1]
    cells = np.tile(face, (10, 1))
    colours = 1e-4 * rng.normal(size=(10, TIMES.size, 3)) - 1e-3 * lines[0][:, None] * PULSE_COLOUR
    colours += 1e-3 * lines[1][:, None]
    pose = 1e-3 * rng.normal(size=(3, TIMES.size))
    window = WaveWindow(TIMES, face, cells, colours, pose, lines[1])
    found = measure_waves(window)
    assert found.heart_rate_bpm == pytest.approx(72, abs=2)
    assert strongest_line(TIMES, face) == pytest.approx(120, abs=2)


def test_the_ratio_stays_within_what_replays_and_cold_skin_allow() -> None:
    sure, none = MODEL.ratio(50.0, 1.0), MODEL.ratio(-50.0, 1.0)
    assert sure == pytest.approx(
        np.log((1 - MODEL.living_without_pulse) / MODEL.attacks_with_pulse)
    )
    assert none == pytest.approx(
        np.log(MODEL.living_without_pulse / (1 - MODEL.attacks_with_pulse))
    )
    assert abs(MODEL.ratio(-50.0, MODEL.visibility(1.0))) < 0.01


def test_each_witness_is_heard() -> None:
    """The waves beat at 72 a minute; the colours of areas at 120, and of cells at 150."""
    rng = np.random.default_rng(7)
    lines = {f: np.sin(2 * np.pi * f / 60 * TIMES)[:, None] for f in (72, 120, 150)}
    noise = 1e-4 * rng.normal(size=(50, TIMES.size, 3))
    cells = noise[:10] - 1e-3 * lines[150] * PULSE_COLOUR
    areas = noise[10:44] - 1e-3 * lines[120] * PULSE_COLOUR
    wave = lines[72][:, 0]
    pose, bright = noise[44:47, :, 0], noise[47, :, 0]
    waves = np.tile(wave, (10, 1))
    every = WaveWindow(TIMES, wave, waves, cells, pose, bright, None, areas)
    frequencies = np.arange(0.8, 3.0, 1 / 30)
    still = rng.normal(size=(10, TIMES.size))
    without = {
        72: [replace(every, face=still[0]), replace(every, cells=still)],
        150: [replace(every, colours=noise[:10])],
        120: [replace(every, areas=None)],
    }
    whole = rate_evidence(every, frequencies)
    for rate, windows in without.items():
        for window in windows:
            lost = whole - rate_evidence(window, frequencies)
            near = np.abs(60 * frequencies - rate) <= 4
            assert lost[near].max() > np.quantile(lost, 0.9)
