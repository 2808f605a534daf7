"""A pulse in clutter, by the colours of all cells at once."""

import numpy as np
import pytest

from padflow.nodes.rppg import PULSE_COLOUR
from padflow.nodes.skin_line import line_likelihood
from padflow.nodes.spectrum import pulse_frequencies

TIMES = np.cumsum(np.random.default_rng(1).uniform(0.05, 0.09, 140))
RATES = pulse_frequencies()


def skin(pulse: float, clutter: float, rate: float = 1.3, seed: int = 0) -> np.ndarray:
    """Cells with a pulse, and two movements that shade each cell in its own way, white and not."""
    rng = np.random.default_rng(seed)
    colours = 3e-4 * rng.normal(size=(10, TIMES.size, 3))
    colours += pulse * np.sin(2 * np.pi * rate * TIMES)[:, None] * PULSE_COLOUR
    for frequency, width in ((0.9, 0.3), (1.9, 0.5)):
        wander = np.cumsum(rng.normal(0, width, TIMES.size)) * np.sqrt(np.diff(TIMES, prepend=0))
        moves = np.sin(2 * np.pi * frequency * TIMES + wander)
        shade = rng.normal(size=(10, 1, 1)) * (1 + 0.3 * rng.normal(size=(10, 1, 3)))
        colours += clutter * moves[:, None] * shade
    return colours


def found(colours: np.ndarray, others: np.ndarray | None = None) -> float:
    nothing = 1e-3 * np.random.default_rng(9).normal(size=(4, TIMES.size))
    likelihood = line_likelihood(TIMES, colours, nothing if others is None else others, RATES)
    assert likelihood.shape == RATES.shape
    assert (likelihood >= 0).all()
    return 60 * float(RATES[likelihood.argmax()])


@pytest.mark.parametrize("rate", [0.85, 1.3, 2.4, 3.0])
def test_a_pulse_is_found_under_movements_ten_times_as_strong(rate: float) -> None:
    hits = [abs(found(skin(1e-3, 1e-2, rate, seed)) - 60 * rate) < 6 for seed in range(8)]
    assert sum(hits) >= 6


def test_light_that_is_seen_beside_the_face_too_is_taken_out() -> None:
    rng = np.random.default_rng(3)
    light = 5e-3 * rng.normal(size=TIMES.size)
    colours = skin(6e-4, 0.0) + light[:, None] * PULSE_COLOUR
    others = 1e-3 * rng.normal(size=(4, TIMES.size))
    assert abs(found(colours, others) - 78) > 4
    others[0] = light + 1e-5 * rng.normal(size=TIMES.size)
    assert found(colours, others) == pytest.approx(78, abs=4)


def test_units_and_origin_do_not_matter() -> None:
    colours, others = skin(1e-3, 1e-3), np.random.default_rng(2).normal(size=(4, TIMES.size))
    first = line_likelihood(TIMES, colours, others, RATES)
    again = line_likelihood(TIMES + 1e5, 7 * colours + 3, 0.01 * others - 2, RATES)
    assert again == pytest.approx(first, rel=1e-3)


def test_cells_that_do_not_change_do_no_harm() -> None:
    colours = skin(1e-3, 1e-3)
    colours[4] = 0.0
    assert found(colours) == pytest.approx(78, abs=4)
    assert np.isfinite(line_likelihood(TIMES, 0 * colours, np.zeros((4, TIMES.size)), RATES)).all()
