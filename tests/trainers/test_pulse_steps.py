import numpy as np
import pytest

from padflow.nodes.payloads import Quality, SkinSample
from padflow.nodes.rppg import PULSE_COLOUR
from padflow.nodes.skin_cells import remembered, skin_change
from padflow.nodes.skin_steps import SkinSteps
from padflow.trainers.pulse_steps import as_steps
from padflow.trainers.pulse_traces import Traces, draw_traces


def skin(times: np.ndarray) -> list[SkinSample]:
    """Noisy skin with a pulse of half a percent, and a head that turns."""
    rng = np.random.default_rng(4)
    texture = rng.uniform(80, 160, (32, 32, 3))
    found = []
    for time in times:
        change = 0.005 * np.sin(2 * np.pi * 1.3 * time) * PULSE_COLOUR
        grid = texture * (1 + change + rng.normal(0, 0.01, (32, 32, 3)))
        yaw, speed = 4 * np.sin(time), 0.1 + 0.05 * np.cos(time)
        quality = Quality(200.0, 0.6, 130.0, 0.0, yaw, 0.0, 0.0, 1.0, 0.0, speed)
        wall = np.full(3, 90.0, np.float32) + np.float32(0.3 * rng.normal())
        valid = np.ones((32, 32), bool)
        found.append(SkinSample(grid.astype(np.float32), valid, {}, wall, quality, True))
    return found


@pytest.mark.parametrize("rate", [8.0, 12.0, 25.0, 30.0, 55.0])
def test_clips_are_brought_together_as_the_stream_is(rate: float) -> None:
    rng = np.random.default_rng(int(rate))
    times = np.cumsum(rng.uniform(0.8, 1.2, round(4 * rate))) / rate
    samples, steps = skin(times), SkinSteps()
    found = [steps.take(float(time), one) for time, one in zip(times, samples, strict=True)]
    streamed = [step for step in found if step is not None]
    befores = [samples[0], *samples[:-1]]
    moved = [skin_change(remembered(a), b) for a, b in zip(befores, samples, strict=True)]
    change, seen, motion = (np.stack(part)[None] for part in zip(*moved, strict=True))
    nothing = np.zeros((1, len(times)))
    kind = np.array(["live"])
    whole = as_steps(
        Traces(times[None], change, seen, motion, nothing, nothing, kind == "live", kind)
    )
    assert len(streamed) == whole.times.shape[1]
    assert [step.time for step in streamed] == pytest.approx(whole.times[0])
    assert [step.seconds for step in streamed] == pytest.approx(whole.seconds[0], rel=1e-4)
    for name, off in (("change", 1e-4), ("seen", 0.0), ("motion", 1e-4)):
        ours = np.stack([getattr(step.moved, name) for step in streamed])
        assert np.abs(ours - getattr(whole, name)[0]).max() <= off


def test_the_wave_is_brought_together_as_well() -> None:
    traces = draw_traces(np.random.default_rng(3), 6, rate=50.0, seconds=6.0)
    steps = as_steps(traces)
    assert steps.wave.shape == steps.times.shape
    assert steps.times.shape[1] < 0.5 * traces.times.shape[1]
    for clip in np.flatnonzero(traces.alive):
        there = np.interp(steps.times[clip], traces.times[clip], traces.wave[clip])
        assert np.corrcoef(there, steps.wave[clip])[0, 1] > 0.98
