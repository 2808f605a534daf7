import numpy as np
import pytest

from padflow.nodes.spectrum import peak_frequency, periodogram
from padflow.trainers.attacks.acts import Person
from padflow.trainers.attacks.parameters import generator
from padflow.trainers.attacks.pulse import (
    COLOUR,
    PulseParams,
    PulseWave,
    beat_shape,
    perfuse,
    pulse_wave,
)


def test_a_beat_has_a_peak_and_a_lower_wave_after_a_notch() -> None:
    wave = beat_shape(np.arange(1000) / 1000)
    assert wave.mean() == pytest.approx(0.0, abs=1e-9)
    assert np.ptp(wave) == pytest.approx(1.0)
    later = np.roll(wave, -100)
    tops = np.flatnonzero((later[1:-1] > later[:-2]) & (later[1:-1] >= later[2:])) + 1
    assert len(tops) == 2
    assert later[tops[0]] > later[tops[1]]


@pytest.mark.parametrize("rate", [48.0, 72.0, 130.0])
def test_the_wave_beats_at_its_rate_and_not_like_a_clock(rate: float) -> None:
    wave = pulse_wave(PulseParams(heart_rate=rate), 25 * 60, 25.0, generator(7))
    frequencies, power = periodogram(wave.value, 25.0)
    peak = float(peak_frequency(frequencies, power)) * 60
    assert peak == pytest.approx(float(wave.rate.mean()), abs=3.0)
    assert wave.rate.mean() == pytest.approx(rate, rel=0.03)
    assert 0.002 < wave.rate.std() / rate < 0.06


def test_the_slope_is_the_change_of_the_wave() -> None:
    wave = pulse_wave(PulseParams(baseline=0.0), 3000, 300.0, generator(7))
    assert wave.slope[1:-1] == pytest.approx(np.gradient(wave.value, 1 / 300.0)[1:-1], abs=0.15)


def test_blood_takes_light_from_skin_in_its_colour_and_from_nothing_else(
    cast: dict[str, Person],
) -> None:
    identity = cast["astronaut"].identity
    texture = identity.figure.texture.copy()
    wave = PulseWave(*(np.array([value], np.float32) for value in (1.0, 0.0, 72.0)))
    perfuse(texture, identity, wave, 0, PulseParams(amplitude=0.01))
    x, y, w, h = identity.perfusion.window
    inside = np.zeros(texture.shape[:2], bool)
    inside[y : y + h, x : x + w] = True
    assert (texture[~inside] == identity.figure.texture[~inside]).all()
    assert (texture[..., 3] == identity.figure.texture[..., 3]).all()
    now, rest = (t[y : y + h, x : x + w, :3] for t in (texture, identity.figure.texture))
    skin = (identity.perfusion.strength > 0.9) & (rest.min(axis=2) > 0.05)
    assert skin.sum() > 500
    loss = 1.0 - now[skin] / rest[skin]
    full = loss / identity.perfusion.strength[skin][:, None]
    assert full == pytest.approx(np.tile(0.02 * COLOUR, (len(full), 1)), abs=2e-4)
