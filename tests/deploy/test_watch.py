"""What the progress line and the table at the end of ``padflow run`` count."""

from pathlib import Path

import pytest

from padflow.deploy.session import RunRequest, running
from padflow.deploy.watch import status_line, watch
from padflow.graph.options import RunOptions

RENAMED = """
version: 1
name: renamed
nodes:
  door: {type: capture}
  faces:
    type: detect
    inputs: {frames: door.frames}
  again:
    type: detect
    inputs: {frames: door.frames}
"""


def test_frames_are_counted_once_whatever_the_nodes_are_called(
    live_clip: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "renamed.yaml"
    graph.write_text(RENAMED)
    request = RunRequest((str(live_clip),), graph=str(graph), options=RunOptions(workers=0))
    with running(request, lambda packet: None) as run:
        run.wait()
        told = status_line(run.metrics(), run.plan.graph)
    assert told == "0 of 1 streams running, 125 frames, 0 dropped"


def test_drops_of_several_streams_are_told_together(
    live_clip: Path, print_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Files at full speed and room for a single frame: some must be dropped.
    request = RunRequest(
        (str(live_clip), str(print_clip)),
        mode="realtime",
        overrides=(("capture", "pace", "full"),),
        options=RunOptions(workers=0, lane_capacity=1),
    )
    watch(request)
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().err.splitlines() if line}
    assert rows["live"][-2] == rows["print"][-2] == "-", "edges count all streams together"
    assert rows["all"][:2] == ["all", "streams"]
    assert int(rows["all"][2]) > 0
