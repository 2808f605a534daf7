import numpy as np
import pytest

from padflow.nodes.skin_cells import cell_count
from padflow.nodes.spectrum import pulse_frequencies, uneven_spectrum
from padflow.trainers.pulse_pictures import film_traces
from padflow.trainers.pulse_traces import FASTEST, SLOWEST, Traces, draw_course, draw_traces


def check_form(traces: Traces, count: int, frames: int) -> None:
    assert traces.times.shape == (count, frames)
    assert (np.diff(traces.times, axis=1) > 0).all()
    assert traces.change.shape == (count, frames, cell_count() + 1, 3)
    assert traces.change.dtype == np.float32
    for part in (traces.change, traces.motion, traces.seconds, traces.wave):
        assert np.isfinite(part).all()
    assert (traces.change[traces.seen == 0] == 0).all()
    assert (traces.wave[~traces.alive] == 0).all()
    if traces.alive.any():
        assert traces.wave[traces.alive].std() > 0.1


def test_drawn_clips_have_the_form_of_what_the_node_sees() -> None:
    traces = draw_traces(np.random.default_rng(0), 24, rate=20.0, seconds=6.0)
    check_form(traces, 24, 121)
    assert set(traces.kind) == {"live", "still", "display"}
    assert np.median(traces.seconds) == pytest.approx(0.05, rel=0.2)
    again = draw_traces(np.random.default_rng(0), 24, rate=20.0, seconds=6.0)
    assert np.array_equal(traces.change, again.change)
    some = traces.only(np.array([3, 5]))
    assert np.array_equal(some.change, traces.change[[3, 5]])


def test_frame_rates_are_drawn_from_five_to_sixty() -> None:
    rates = []
    for seed in range(12):
        times = draw_course(np.random.default_rng(seed), 2, seconds=2.0).times
        rates.append(1 / np.median(np.diff(times, axis=1)))
    assert min(rates) > 0.7 * SLOWEST
    assert max(rates) < 1.3 * FASTEST
    assert max(rates) > 3 * min(rates)


def test_the_pulse_is_in_the_colours_of_the_living_alone() -> None:
    """With little else going on, green falls with the volume; without a pulse it does not."""
    course = draw_course(np.random.default_rng(3), 40, rate=25.0)
    assert (course.blood[course.alive].max(axis=(1, 2, 3)) < 0).all()
    assert (course.blood[~course.alive] == 0).all()
    traces = draw_traces(np.random.default_rng(3), 40, rate=25.0)
    colours = np.cumsum(traces.change[:, :, :-1].astype(np.float64), axis=1)
    chroma = (colours @ np.array((-0.5, 1.0, -0.5))).mean(axis=2)
    shares = []
    for index in np.flatnonzero(traces.alive):
        at = traces.times[index]
        power = np.abs(uneven_spectrum(at, chroma[index], pulse_frequencies())) ** 2
        true = np.abs(uneven_spectrum(at, traces.wave[index].astype(float), pulse_frequencies()))
        near = true > 0.5 * true.max()
        shares.append(power[near].sum() / power.sum())
    assert max(shares) > 0.5
    assert np.mean(shares) > 0.15


def test_filmed_clips_have_the_same_form() -> None:
    traces = film_traces(np.random.default_rng(1), 4, rate=8.0, seconds=3.0)
    check_form(traces, 4, 25)
    assert np.abs(traces.change[:, 1:]).max() > 1e-3
