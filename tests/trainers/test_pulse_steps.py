import numpy as np
import pytest

from padflow.nodes.skin_cells import SkinChange
from padflow.nodes.skin_steps import SkinSteps
from padflow.trainers.pulse_steps import as_steps
from padflow.trainers.pulse_traces import draw_traces


@pytest.mark.parametrize("rate", [6.0, 12.0, 25.0, 30.0, 55.0])
def test_clips_are_brought_together_as_the_stream_is(rate: float) -> None:
    traces = draw_traces(np.random.default_rng(int(rate)), 6, rate=rate, seconds=5.0)
    whole = as_steps(traces)
    assert whole.change.shape[1] == whole.times.shape[1] == whole.wave.shape[1]
    for clip in range(6):
        steps, found = SkinSteps(), []
        for index, time in enumerate(traces.times[clip]):
            parts = (traces.change, traces.seen, traces.motion)
            moved = SkinChange(*(part[clip, index] for part in parts))
            if (step := steps.take(float(time), moved)) is not None:
                found.append(step)
        count = whole.times.shape[1]
        assert len(found) >= count
        assert [step.time for step in found[:count]] == pytest.approx(whole.times[clip])
        assert [step.seconds for step in found[:count]] == pytest.approx(
            whole.seconds[clip], rel=1e-4
        )
        for name in ("change", "seen", "motion"):
            streamed = np.stack([getattr(step.moved, name) for step in found[:count]])
            assert np.abs(streamed - getattr(whole, name)[clip]).max() < 1e-5
