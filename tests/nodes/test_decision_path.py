"""A real clip through the real nodes: what fuse, decide, events and video make of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Event as Cancel
from typing import Any

import av
import jsonschema
import pytest

from padflow.graph.local import LocalRun
from padflow.graph.node import Contract, Outputs, Port, Source, StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.nodes.frame import Frame
from padflow.nodes.scores import score_item
from padflow.nodes.summary import RunSummary

SECONDS = 11.0


@dataclass(frozen=True)
class ClipParams:
    """No parameters."""


class Clip(Source[ClipParams]):
    """The first seconds of a file with its own timestamps."""

    Params = ClipParams

    @classmethod
    def contract(cls, params: ClipParams) -> Contract:
        return Contract(outputs={"frames": Port(Frame, "decoded frames")})

    def stream(self, spec: StreamSpec, cancel: Cancel) -> Iterator[Outputs]:
        with av.open(spec.uri) as container:
            container.streams.video[0].thread_count = 1
            for index, picture in enumerate(container.decode(video=0)):
                if cancel.is_set() or picture.time is None or picture.time > SECONDS:
                    return
                frame = Frame(picture, index, media_time=picture.time)
                yield {"frames": [Packet(spec.name, picture.time, 0, None, frame)]}


def graph(folder: Path) -> Graph:
    return (
        Graph.build("path")
        .add("clip", Clip)
        .add("detect", "detect", inputs={"frames": "clip.frames"})
        .add("track", "track", inputs={"faces": "detect.faces"})
        .add("align", "align", inputs={"tracks": "track.tracks"})
        .add("pulse", "pulse", inputs={"skin": "align.skin"})
        .add(
            "fuse",
            "fuse",
            inputs={"evidence": "pulse.evidence", "observations": "align.observations"},
        )
        .add("decide", "decide", inputs={"fused": "fuse.fused"})
        .add(
            "events",
            "events",
            {"path": str(folder / "events.jsonl")},
            {"events": ("detect.events", "track.events", "decide.events")},
        )
        .add(
            "video",
            "video",
            {"path": str(folder / "video.mp4")},
            {
                "frames": "clip.frames",
                "observations": "align.observations",
                "events": ("detect.events", "decide.events"),
                "trace": "pulse.trace",
            },
        )
    )


def run(clip: Path, folder: Path) -> list[Packet]:
    folder.mkdir()
    verdicts: list[Packet] = []
    taps = {"decide.events": verdicts.append}
    with LocalRun(graph(folder), mode="lossless", taps=taps) as running:
        running.add_stream(StreamSpec("door", str(clip)))
        running.wait()
    return verdicts


@pytest.mark.usefixtures("models")
def test_a_living_person_without_appearance_evidence_is_undecided(
    shared_data: Path, tmp_path: Path
) -> None:
    clip = shared_data / "clips" / "webcam_a_53s.mp4"
    verdicts = run(clip, tmp_path / "first")
    run(clip, tmp_path / "second")
    content = (tmp_path / "first" / "events.jsonl").read_bytes()
    assert content == (tmp_path / "second" / "events.jsonl").read_bytes()
    events = [json.loads(line) for line in content.splitlines()]
    for event in events:
        check(event)
    told = [event["data"] for event in events if event["type"] == "padflow.verdict.v1"]
    assert {data["state"] for data in told} == {"UNDECIDED"}
    assert all("no_appearance_evidence" in data["reasons"] for data in told)
    assert [data["final"] for data in told].count(True) == 1
    assert told[-1]["final"]
    assert {data["track"] for data in told} == {1}
    assert 0 < told[-1]["p_live"] < 1, "the pulse has a value after ten seconds"
    row = score_item("webcam", verdicts, 275, 275)
    assert row.p_live == told[-1]["p_live"]
    assert set(row.llr) == {"pulse"}
    summary = RunSummary()
    for packet in verdicts:
        summary.take(packet)
    assert summary.streams["door"].by_state() == {"UNDECIDED": 1}
    assert_same_times(clip, tmp_path / "first" / "video.mp4")


def check(event: dict[str, Any]) -> None:
    kind = event["type"].split(".")[1]
    schema = json.loads(files("padflow.nodes").joinpath(f"schemas/{kind}.v1.json").read_text())
    jsonschema.validate(event, schema, cls=jsonschema.Draft202012Validator)


def assert_same_times(clip: Path, video: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(video)) as annotated:
        wanted = [f.time for f in source.decode(video=0) if f.time is not None]
        found = [f.time for f in annotated.decode(video=0)]
    assert found == pytest.approx([t for t in wanted if t <= SECONDS], abs=1e-4)
