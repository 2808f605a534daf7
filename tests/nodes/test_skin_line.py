"""A pulse in clutter, by the colours of all cells at once."""

import numpy as np
import pytest

from padflow.nodes.rppg import PULSE_COLOUR
from padflow.nodes.skin_line import line_likelihood
from padflow.nodes.spectrum import pulse_frequencies, uneven_spectrum

TIMES = np.cumsum(np.random.default_rng(1).uniform(0.05, 0.09, 140))
RATES = pulse_frequencies()
LOADING = 0.03


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
    likelihood = line_likelihood(
        TIMES, colours, nothing if others is None else others, RATES, LOADING
    )
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
    first = line_likelihood(TIMES, colours, others, RATES, LOADING)
    again = line_likelihood(TIMES + 1e5, 7 * colours + 3, 0.01 * others - 2, RATES, LOADING)
    assert again == pytest.approx(first, rel=1e-3)


def test_cells_that_do_not_change_do_no_harm() -> None:
    colours = skin(1e-3, 1e-3)
    colours[4] = 0.0
    assert found(colours) == pytest.approx(78, abs=4)
    nothing = line_likelihood(TIMES, 0 * colours, np.zeros((4, TIMES.size)), RATES, LOADING)
    assert np.isfinite(nothing).all()


def directly(times: np.ndarray, colours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The same by a clutter of its own for each frequency."""
    cells, count, _ = colours.shape
    rows = np.concatenate([colours.transpose(0, 2, 1).reshape(3 * cells, count), others])
    fine = np.arange(0.4, 5.0, 1 / 30)
    spectrum = uneven_spectrum(times, rows, fine) * np.sqrt(fine)
    sizes = np.sqrt((np.abs(spectrum) ** 2).mean(axis=1))
    spectrum = spectrum / sizes[:, None]
    steering = np.concatenate([np.tile(PULSE_COLOUR, cells), np.zeros(len(others))]) / sizes
    found = []
    for rate in RATES:
        here, twice = (round((f - 0.4) * 30) for f in (rate, 2 * rate))
        taken = [*range(here - 3, here + 4), *range(twice - 3, twice + 4)]
        left = np.delete(spectrum, [k for k in taken if k < len(fine)], axis=1)
        clutter = (left @ left.conj().T).real / len(fine) + LOADING * np.eye(len(rows))
        beat = spectrum[:, here - 1 : here + 2]
        weights = np.linalg.solve(clutter, steering)
        power = (np.abs(weights @ beat) ** 2).sum() / (weights @ steering)
        whole = np.trace(beat.conj().T @ np.linalg.solve(clutter, beat)).real
        found.append(power / (3 * len(rows) + whole))
    return np.array(found)


def test_taking_each_line_out_of_one_inverse_is_what_an_inverse_for_each_gives() -> None:
    colours = skin(1e-3, 5e-3)
    others = 1e-3 * np.random.default_rng(6).normal(size=(4, TIMES.size))
    found = line_likelihood(TIMES, colours, others, RATES, LOADING)
    assert found == pytest.approx(directly(TIMES, colours, others), rel=1e-6)


def test_more_places_tell_more_movements_from_a_pulse() -> None:
    """Thirty spots of a face in which eight things move; ten cells are the means of three."""
    rng = np.random.default_rng(8)
    hits = {"spots": 0, "cells": 0}
    for _ in range(8):
        rate = float(rng.uniform(0.9, 2.6))
        spots = 6e-4 * rng.normal(size=(30, TIMES.size, 3))
        spots += 6e-4 * np.sin(2 * np.pi * rate * TIMES)[:, None] * PULSE_COLOUR
        for _thing in range(8):
            moves = np.cumsum(rng.normal(size=TIMES.size)) * 0.01
            moves = moves + np.sin(2 * np.pi * rng.uniform(0.7, 3.0) * TIMES + moves * 8)
            spots += 3e-3 * moves[:, None] * rng.normal(size=(30, 1, 3))
        cells = spots.reshape(10, 3, TIMES.size, 3).mean(axis=1)
        nothing = 1e-3 * rng.normal(size=(4, TIMES.size))
        for name, colours, loading in (("spots", spots, 0.2), ("cells", cells, 0.03)):
            likelihood = line_likelihood(TIMES, colours, nothing, RATES, loading)
            hits[name] += abs(RATES[likelihood.argmax()] - rate) < 0.1
    assert hits["spots"] > hits["cells"]
