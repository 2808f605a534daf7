"""The benchmarks measure what they say; how fast this machine is, no test asserts."""

from pathlib import Path

import pytest

from padflow.deploy.bench_pipeline import StreamsResult, frame_cost, run_streams
from padflow.trainers.attacks.feed import render_clip

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def clip(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "clip.mp4"
    render_clip("live", path, size=(640, 360), seconds=2.0)
    return path


def test_frame_cost_covers_every_node_and_the_loop(clip: Path) -> None:
    cost = frame_cost(clip)

    faces = {"capture", "detect", "track", "align", "pulse", "life", "planarity", "surroundings"}
    networks = {"patches", "patch_net", "depth_net", "context_net"}
    assert set(cost.nodes) == faces | networks | {"fuse", "decide"}
    assert all(milliseconds > 0 for milliseconds in cost.nodes.values())
    assert cost.total >= 0.9 * sum(cost.nodes.values())
    assert cost.floor > 0


def test_streams_play_at_camera_speed_and_are_counted(clip: Path) -> None:
    result = run_streams(clip, 2, workers=0)

    assert result.streams == 2
    # On a busy machine something of a frame that was looked at may be dropped further on.
    assert result.frames <= 2 * 50 <= result.frames + result.dropped
    assert result.age_p50 <= result.age_p99


def test_streams_that_drop_or_lag_are_not_carried() -> None:
    assert StreamsResult(2, 1000, 0, 0.01, 0.1, 1.0).carried
    assert not StreamsResult(2, 1000, 2, 0.01, 0.1, 1.0).carried
    assert not StreamsResult(2, 1000, 0, 0.01, 0.6, 1.0).carried
    assert not StreamsResult(2, 0, 0, 0.0, 0.0, 0.0).carried
