import numpy as np
import pytest

from padflow.trainers.attacks.motion import (
    MotionParams,
    Side,
    VisitParams,
    living_face,
    placed,
    smooth_noise,
    standing,
    visiting,
)
from padflow.trainers.attacks.parameters import generator

FPS = 25.0


def test_noise_has_unit_deviation_and_little_above_its_cutoff() -> None:
    noise = smooth_noise(generator(1), 50_000, FPS, 0.4)
    assert noise.std() == pytest.approx(1.0, abs=0.1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(len(noise), 1 / FPS)
    assert power[frequency < 0.8].sum() / power.sum() > 0.93


def test_people_stay_where_they_stand() -> None:
    path = placed(standing(MotionParams(), 2000, FPS, generator(2)), (0.1, 0.2, 0.7))
    assert np.abs(path.position - (0.1, 0.2, 0.7)).max() < 0.05
    assert np.abs(path.angles).max(axis=0) == pytest.approx([0, 0, 0], abs=8.0)
    speed = np.diff(path.position, axis=0) * FPS
    assert np.abs(speed).max() < 0.2


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_visit_begins_and_ends_out_of_sight(side: Side) -> None:
    still = MotionParams(sway=0.0, head_turn=(0.0, 0.0, 0.0))
    path = standing(still, 300, FPS, generator(3))
    other: Side = "right" if side == "left" else "left"
    visit = visiting(path, VisitParams(enter_from=side, leave_to=other), FPS)
    sign = -1 if side == "left" else 1
    assert visit.position[0, 0] == pytest.approx(sign * 1.1)
    assert visit.position[-1, 0] == pytest.approx(-sign * 1.1, abs=0.01)
    standing_still = visit.position[40:250]
    assert np.abs(standing_still).max() < 1e-9
    assert np.abs(np.diff(visit.position, axis=0)).max() * FPS < 2.5  # a brisk walk


def test_blinks_come_at_the_rate_asked_for() -> None:
    face = living_face(MotionParams(blinks_per_minute=17.0), 25 * 600, FPS, generator(4))
    assert face.blink.min() == 0.0
    assert 0.7 < face.blink.max() <= 1.0
    begins = np.flatnonzero((face.blink[1:] > 0) & (face.blink[:-1] == 0))
    assert len(begins) / 10.0 == pytest.approx(17.0, rel=0.2)
    assert np.abs([face.smile, face.brows]).max() <= 1.0


def test_no_blinks_where_none_are_wanted() -> None:
    face = living_face(MotionParams(blinks_per_minute=0.0), 500, FPS, generator(4))
    assert not face.blink.any()


def test_the_same_seed_moves_the_same_way() -> None:
    first, again, other = (
        standing(MotionParams(tremor=0.001), 200, FPS, generator(s)) for s in (5, 5, 6)
    )
    assert (first.position == again.position).all()
    assert not np.allclose(first.position, other.position)
