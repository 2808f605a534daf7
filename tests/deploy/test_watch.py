"""What the progress line and the table at the end of ``padflow run`` count."""

import signal
from pathlib import Path

import pytest

from padflow.deploy.session import RunRequest, running
from padflow.deploy.watch import (
    RunWatch,
    _counters,
    status_line,
    terminated_like_interrupted,
    watch,
)
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


@pytest.mark.parametrize("workers", [0, 1])
def test_the_frames_of_a_stopped_stream_are_counted(grey_clip: Path, workers: int) -> None:
    request = RunRequest((str(grey_clip),), mode="realtime", options=RunOptions(workers=workers))
    seen = RunWatch()
    with running(request, seen.take) as run:
        while run.metrics().streams["grey"].packets < 5:  # all but one of them frames
            assert not run.wait(0.1)
    (counted,) = _counters(run.metrics(), seen, run.plan.graph, 1.0).values()
    assert 4 <= counted.frames < 200, "of forty seconds at five a second"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_not_cut_short_by_a_second_one(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver(which: signal.Signals) -> None:
        handler = signal.getsignal(which)
        assert callable(handler)
        handler(which, None)

    before = signal.getsignal(number)
    with terminated_like_interrupted():
        with pytest.raises(KeyboardInterrupt):
            deliver(number)
        deliver(signal.SIGINT)
        deliver(signal.SIGTERM)
        monkeypatch.setattr("padflow.deploy.watch.INSIST_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            deliver(number)
    assert signal.getsignal(number) is before


def test_under_nohup_an_interruption_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminated_like_interrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
