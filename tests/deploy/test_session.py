"""``padflow.run``: what a program gets, what it is refused, and what a plugin adds."""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import padflow
from padflow.deploy.exits import UsageError
from padflow.deploy.session import RunRequest, build_graph, event_ports, load_graph, mode_of
from padflow.graph import registry
from padflow.graph.errors import GraphDefinitionError
from padflow.nodes.sources import SourceError

HERE = padflow.RunOptions(workers=0)

PLUGIN = '''
"""A node type from outside padflow: tells how bright the picture is, once a second."""

from dataclasses import dataclass

from padflow import Contract, Event, Node, Port
from padflow.nodes.frame import Frame


@dataclass(frozen=True)
class BrightnessParams:
    period: float = 1.0
    """Seconds between two events."""


class Brightness(Node[BrightnessParams]):
    """Gives the mean luma of a frame now and then."""

    Params = BrightnessParams

    @classmethod
    def contract(cls, params):
        return Contract(
            inputs={"frames": Port(Frame, "frames")},
            outputs={"events": Port(Event, "their brightness")},
            state="stream",
        )

    def new_state(self, begin):
        return {"next": 0.0}

    def process(self, port, packets, states):
        told = []
        for packet, state in zip(packets, states, strict=True):
            if packet.time >= state["next"]:
                state["next"] = packet.time + self.params.period
                mean = float(packet.payload.luma().mean())
                told.append(packet.carry(Event("example.brightness.v1", "", {"mean": mean})))
        return {"events": told}
'''

PLUGIN_GRAPH = """
version: 1
name: brightness
nodes:
  capture: {type: capture}
  brightness:
    type: brightness
    inputs: {frames: capture.frames}
    params: {period: 2.0}
"""

SCENE_GRAPH = """
version: 1
name: scene
nodes:
  capture: {type: capture}
  detect:
    type: detect
    inputs: {frames: capture.frames}
"""


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A graph file that uses an installed plugin: its module and a dist-info on the path."""
    (tmp_path / "padflow_brightness.py").write_text(PLUGIN)
    info = tmp_path / "padflow_brightness-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: padflow-brightness\nVersion: 1\n")
    entry = "brightness = padflow_brightness:Brightness"
    (info / "entry_points.txt").write_text(f"[padflow.nodes]\n{entry}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    graph = tmp_path / "brightness.yaml"
    graph.write_text(PLUGIN_GRAPH)
    yield graph
    registry._installed.cache_clear()
    sys.modules.pop("padflow_brightness", None)


def kinds(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(event["type"] for event in events)


def test_events_are_cloudevents_in_plain_dictionaries(live_clip: Path) -> None:
    events = list(padflow.run([str(live_clip)], options=HERE))
    assert kinds(events).keys() == {f"padflow.{k}.v1" for k in ("source", "track", "verdict")}
    for event in events:
        assert event["specversion"] == "1.0"
        assert event == json.loads(json.dumps(event, allow_nan=False))
        assert "private" not in event["data"]
    final = [e["data"] for e in events if e["type"] == "padflow.verdict.v1" and e["data"]["final"]]
    assert [data["state"] in ("LIVE", "SPOOF", "UNDECIDED") for data in final] == [True]
    assert set(final[0]["engines"]) >= {"depth_light", "patch_light", "views"}


def test_without_networks_a_living_person_is_undecided(
    live_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("padflow.engines.bundle.SHIPPED", tmp_path / "none")
    events = list(padflow.run([str(live_clip)], options=HERE))
    final = [e["data"] for e in events if e["type"] == "padflow.verdict.v1" and e["data"]["final"]]
    assert [data["state"] for data in final] == ["UNDECIDED"]
    assert "no_appearance_evidence" in final[0]["reasons"]


def test_private_details_are_given_to_who_asks_for_them(live_clip: Path) -> None:
    events = padflow.run([str(live_clip)], private=True, options=HERE)
    assert any("private" in event["data"] for event in events)


def test_closing_early_stops_the_run(grey_clip: Path, compiled: None) -> None:
    before = set(threading.enumerate())
    events = padflow.run([str(grey_clip)], mode="realtime", options=HERE)
    assert next(events)["type"] == "padflow.source.v1"
    assert set(threading.enumerate()) > before
    began = time.monotonic()
    events.close()  # type: ignore[attr-defined]  # a generator, which Iterator does not say
    assert time.monotonic() - began < 15, "it would go on for forty seconds"
    assert set(threading.enumerate()) == before


def test_a_run_that_is_not_asked_for_events_does_not_start() -> None:
    before = set(threading.enumerate())
    padflow.run(["nothing.mp4"], options=HERE)
    assert set(threading.enumerate()) == before


def test_a_program_that_raises_leaves_no_thread(live_clip: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        raise_in_the_loop(live_clip)
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) == before


def raise_in_the_loop(clip: Path) -> None:
    for _ in padflow.run([str(clip)], options=HERE):
        raise ZeroDivisionError


def test_two_runs_beside_each_other_do_not_mix(live_clip: Path, print_clip: Path) -> None:
    first = padflow.run([str(live_clip)], options=HERE)
    second = padflow.run([str(print_clip)], options=HERE)
    streams: tuple[set[str], set[str]] = (set(), set())
    for one, other in zip(first, second, strict=False):
        streams[0].add(one["data"]["stream"])
        streams[1].add(other["data"]["stream"])
    first.close()  # type: ignore[attr-defined]  # as above
    second.close()  # type: ignore[attr-defined]  # as above
    assert streams == ({"live"}, {"print"})


def test_a_text_is_no_list_of_sources() -> None:
    with pytest.raises(UsageError, match=r"expected a list of sources.*'door\.mp4'"):
        next(padflow.run("door.mp4"))


@pytest.mark.parametrize("uri", ["nothing.mp4", "ftp://127.0.0.1/a.mp4", "rtsp://", "/dev/null"])
def test_what_is_no_source_is_refused_before_anything_starts(uri: str) -> None:
    before = set(threading.enumerate())
    with pytest.raises(SourceError, match="expected"):
        next(padflow.run([uri], options=HERE))
    assert set(threading.enumerate()) == before


def test_a_file_that_is_no_video_is_told_as_an_event(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all\n" * 50)
    (event,) = padflow.run([str(text)], options=HERE)
    assert event["type"] == "padflow.source.v1"
    assert event["data"]["state"] == "error"
    assert event["data"]["frames"] == 0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (("detcet", "cadence_hz", 10), "did you mean 'detect'"),
        (("detect", "cadense_hz", 10), "did you mean 'cadence_hz'"),
        (("detect", "cadence_hz", -1), "cadence_hz"),
        (("detect", "detector", "no_such_range"), "detector"),
    ],
)
def test_a_wrong_override_names_its_place(override: tuple[str, str, Any], told: str) -> None:
    with pytest.raises(GraphDefinitionError, match=told):
        build_graph(RunRequest(("door.mp4",), overrides=(override,)))


def test_the_sinks_of_a_request_take_overrides_too() -> None:
    overrides = (("events_file", "existing", "append"), ("video_file", "least_height", 480))
    request = RunRequest(("a.mp4",), events="-", video=Path("v.mp4"), overrides=overrides)
    graph = build_graph(request)
    assert graph.node("events_file").parsed_params.existing == "append"
    assert graph.node("events_file").parsed_params.path == "-"
    assert graph.node("video_file").parsed_params.least_height == 480
    with pytest.raises(GraphDefinitionError, match="did you mean 'existing'"):
        build_graph(replace(request, overrides=(("events_file", "exsting", "append"),)))
    with pytest.raises(GraphDefinitionError, match="found 'events_file'"):
        build_graph(replace(request, events=None))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nodes: [", "YAML"),
        ("version: 1\nname: g\nnodes:\n  a: {type: captuer}\n", "did you mean 'capture'"),
        ("version: 99\nname: g\nnodes: {}\n", "version"),
    ],
)
def test_a_wrong_graph_file_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(text)
    with pytest.raises(GraphDefinitionError, match=told):
        build_graph(RunRequest(("door.mp4",), graph=str(path)))


def test_an_unknown_graph_names_those_that_there_are() -> None:
    with pytest.raises(
        GraphDefinitionError, match="expected one of default, every_cue or a YAML file"
    ):
        load_graph("defualt")


def test_a_plugins_node_is_used_by_name_and_its_events_come_out(
    brightness: Path, live_clip: Path
) -> None:
    assert event_ports(load_graph(str(brightness))) == ("capture.events", "brightness.events")
    events = list(padflow.run([str(live_clip)], graph=str(brightness), options=HERE))
    told = [event for event in events if event["type"] == "example.brightness.v1"]
    assert [event["time"][17:19] for event in told] == ["00", "02", "04"]
    assert all(0 < event["data"]["mean"] < 255 for event in told)


def test_a_graph_of_ones_own_runs_what_it_names(live_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(SCENE_GRAPH)
    events = list(padflow.run([str(live_clip)], graph=str(path), options=HERE))
    assert kinds(events)["padflow.source.v1"] == 2
    assert kinds(events)["padflow.verdict.v1"] == 0


def test_a_policy_of_ones_own_decides_and_is_named(print_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "strict.yaml"
    path.write_text("name: strict\ntargets: {apcer: 0.001, bpcer: 0.1}\n")
    events = padflow.run([str(print_clip)], policy=path, options=HERE)
    policies = {e["data"]["policy"] for e in events if e["type"] == "padflow.verdict.v1"}
    assert {policy.partition("@")[0] for policy in policies} == {"strict"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("tagrets: {apcer: 0.1}\n", "did you mean 'targets'"),
        ("targets: {apcer: 2}\n", "apcer"),
        ("- a list\n", "must be a mapping"),
    ],
)
def test_a_wrong_policy_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(GraphDefinitionError, match=told):
        build_graph(RunRequest(("door.mp4",), policy=path))


def test_fuse_and_decide_have_one_policy(tmp_path: Path) -> None:
    path = tmp_path / "strict.yaml"
    path.write_text("name: strict\ntargets: {apcer: 0.001, bpcer: 0.1}\n")
    alone = (("decide", "policy", str(path)),)
    with pytest.raises(
        GraphDefinitionError, match=r"policy of node 'fuse', default@.* found strict@.*--policy"
    ):
        build_graph(RunRequest(("door.mp4",), overrides=alone))
    build_graph(RunRequest(("door.mp4",), overrides=(*alone, ("fuse", "policy", str(path)))))
    build_graph(RunRequest(("door.mp4",), overrides=alone, policy=path))


def test_files_are_run_lossless_and_cameras_in_real_time(live_clip: Path) -> None:
    camera = "rtsp://127.0.0.1/door"
    assert mode_of(RunRequest((str(live_clip),))) == "lossless"
    assert mode_of(RunRequest((str(live_clip), camera))) == "realtime"
    assert mode_of(RunRequest((camera,), mode="lossless")) == "lossless"
