"""A hub of cameras: streams come, pause, go, and are told of."""

import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="ray is not installed (padflow[cluster])")

from padflow.deploy.exits import UsageError
from padflow.deploy.hub import Hub, HubJob, StreamRow
from padflow.graph.errors import GraphError
from padflow.graph.metrics import StreamMetrics
from padflow.graph.node import StreamSpec
from padflow.graph.ray_options import RayOptions
from padflow.graph.spec import Graph
from padflow.graph.testing import wait_until
from padflow.nodes.sources import SourceError

pytestmark = pytest.mark.usefixtures("local_ray")

PATIENCE = 60.0


def made(clip: Path, *names: str, **job: Any) -> Hub:
    graph = Graph.build("hub").add("capture", "capture")
    cameras = tuple(StreamSpec(name, str(clip)) for name in names)
    few = RayOptions(workers=1, worker_cpu=0.5, streams_per_worker=3, spare_workers=0)
    return Hub(HubJob("door", graph, cameras, ray=few, **job))


def row(hub: Hub, name: str) -> StreamRow:
    return next(row for row in hub.list() if row.name == name)


def test_streams_of_a_hub_come_pause_and_go(grey_clip: Path) -> None:
    hub = made(grey_clip, "a", "b", metrics_port=0, metrics_address="127.0.0.1")
    hub.start()
    try:
        assert wait_until(lambda: row(hub, "a").packets > 2, PATIENCE)
        assert (row(hub, "a").state, row(hub, "a").worker) == ("running", "worker-0")
        assert row(hub, "a").uri == str(grey_clip)
        status = hub.status()
        assert status.actors == ("driver", "worker-0")
        with urllib.request.urlopen(status.metrics_url, timeout=10) as page:
            assert b'padflow_up{graph="door"} 1.0' in page.read()

        hub.pause("a")
        assert wait_until(lambda: row(hub, "a").state == "paused", PATIENCE)
        with pytest.raises(GraphError, match="found it paused; resume or remove it"):
            hub.add("a", str(grey_clip))
        hub.resume("a")
        assert wait_until(lambda: row(hub, "a").state == "running", PATIENCE)

        hub.add("c", str(grey_clip))
        with pytest.raises(GraphError, match="found all 3 places taken"):
            hub.add("d", str(grey_clip))
        with pytest.raises(GraphError, match="found a stream of this name running"):
            hub.add("c", str(grey_clip))
        with pytest.raises(SourceError, match="expected a video file"):
            hub.add("e", "ftp://somewhere/x")
        hub.remove("c")
        assert wait_until(lambda: row(hub, "c").state == "ended", PATIENCE)
        assert row(hub, "c").reason == "removed"
        with pytest.raises(GraphError, match="paused stream"):
            hub.resume("b")
        assert not hub.ended()
    finally:
        hub.stop()
    assert hub.ended()
    assert {known.state for known in hub.list()} == {"ended"}


def test_a_stream_is_pausing_or_removing_until_what_it_gave_is_worked_off(
    grey_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = made(grey_clip)
    streams = {name: StreamMetrics() for name in "abc"}
    monkeypatch.setattr(hub._run, "streams", lambda: streams)
    monkeypatch.setattr(hub._run, "placement", lambda: {"a": ("worker-0", ""), "b": ("w", "")})
    monkeypatch.setattr(hub._run, "paused", lambda: ("a",))
    assert {known.name: known.state for known in hub.list()} == {
        "a": "pausing",
        "b": "running",
        "c": "waiting",
    }
    monkeypatch.setattr(hub._run, "remove_stream", lambda name: None)
    hub.remove("b")
    assert row(hub, "b").state == "removing"
    streams["a"] = StreamMetrics(state="ended", reason="paused")
    streams["b"] = StreamMetrics(state="ended", reason="removed")
    assert [known.state for known in hub.list()] == ["paused", "ended", "waiting"]


def test_a_wrong_camera_is_refused_before_anything_runs(tmp_path: Path) -> None:
    hub = made(tmp_path / "none.mp4", "a")
    with pytest.raises(SourceError, match=r"none\.mp4"):
        hub.start()


def test_too_small_a_cluster_is_refused(grey_clip: Path) -> None:
    graph = Graph.build("hub").add("capture", "capture")
    job = HubJob("door", graph, (StreamSpec("a", str(grey_clip)),), ray=RayOptions(workers=99))
    with pytest.raises(GraphError, match="99 workers of 1 CPU need 99 CPU"):
        Hub(job).start()


def test_what_a_hub_shows_has_no_passwords(grey_clip: Path) -> None:
    hub = made(grey_clip, "a")
    hub.start()
    try:
        hub.add("yard", "rtsp://admin:hunter2@127.0.0.1:9/main", {"retry_min": 0.05})
        assert wait_until(lambda: row(hub, "yard").packets > 1, PATIENCE)
        assert row(hub, "yard").uri.startswith("rtsp://")
        assert row(hub, "yard").uri.endswith("127.0.0.1:9/main")
        assert row(hub, "yard").state == "running"
        shown = f"{hub.list()} {hub.status()}"
        assert "hunter2" not in shown
        assert "admin" not in shown
    finally:
        hub.stop(drain=False)
    assert "hunter2" not in str(hub.list())


def test_paused_streams_are_kept_until_there_is_a_place_or_they_go(
    grey_clip: Path,
) -> None:
    hub = made(grey_clip, "a", "b", "c")
    hub.start()
    try:
        assert wait_until(lambda: all(known.packets for known in hub.list()), PATIENCE)
        for name in ("a", "b"):
            hub.pause(name)
        assert wait_until(lambda: all(row(hub, name).state == "paused" for name in "ab"), PATIENCE)
        for name in ("d", "e"):
            hub.add(name, str(grey_clip))
        with pytest.raises(GraphError, match="found all 3 places taken") as refusal:
            hub.resume("a")
        assert "\n" not in str(refusal.value)
        assert row(hub, "a").state == "paused", "it can be tried again"
        hub.remove("b")
        assert row(hub, "b").state == "ended"
        hub.remove("d")
        assert wait_until(lambda: row(hub, "d").state == "ended", PATIENCE)
        hub.resume("a")
        assert wait_until(lambda: row(hub, "a").packets > 0, PATIENCE)
        assert running(hub) == {"a", "c", "e"}
    finally:
        hub.stop(drain=False)


def running(hub: Hub) -> set[str]:
    return {known.name for known in hub.list() if known.state == "running"}


def test_names_that_are_not_there_are_told_in_one_sentence(grey_clip: Path) -> None:
    hub = made(grey_clip, "door")
    hub.start()
    try:
        for action in (hub.pause, hub.remove, hub.resume):
            with pytest.raises(GraphError, match="found 'dor'") as refusal:
                action("dor")
            assert "\n" not in str(refusal.value)
        assert [known.name for known in hub.list()] == ["door"]
    finally:
        hub.stop(drain=False)
        hub.stop()
    with pytest.raises(GraphError, match="expected a running run, found a stopped one"):
        hub.add("late", str(grey_clip))


def test_a_metrics_port_that_is_taken_is_told_before_any_actor_is_made(grey_clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        hub = made(grey_clip, "a", metrics_port=port, metrics_address="127.0.0.1")
        with pytest.raises(UsageError, match=str(port)):
            hub.start()
