"""The same input gives the same events, however the run is spread over the machine."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import padflow
from padflow.deploy.session import RunRequest, running
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.ray_options import RayOptions
from tests.graph.conftest import RAY
from tests.nodes.tiny_nets import write_tiny_bundle

SPREADS: dict[str, dict[str, Any]] = {
    "again": {},
    "four threads": {"threads": 4},
    "unfused": {"fuse": False},
    "unfused, four threads": {"fuse": False, "threads": 4},
    "shortest queues": {"fuse": False, "threads": 2, "lane_capacity": 1},
}

SHORT_PULSE = (("pulse", "window", 5.0), ("pulse", "minimum", 4.0))
"""So that clips of five seconds give the pulse a value, and the verdicts scores to compare."""


def event_lines(
    folder: Path,
    sources: list[Path],
    overrides: tuple[tuple[str, str, Any], ...] = (),
    ray: RayOptions | None = None,
    **options: Any,
) -> list[bytes]:
    """The event file of a lossless run with everything private in it, line by line."""
    out = folder / "events.jsonl"
    request = RunRequest(
        sources=tuple(map(str, sources)),
        events=str(out),
        private=True,
        overrides=SHORT_PULSE + overrides,
        options=RunOptions(**{"workers": 0, **options}),
        ray=ray,
    )
    tapped: list[Packet] = []
    with running(request, tapped.append) as run:
        run.wait()
    lines = out.read_bytes().splitlines()
    assert len(tapped) == len(lines)
    return lines


def of_stream(lines: list[bytes], stream: str) -> list[bytes]:
    return [line for line in lines if json.loads(line)["data"]["stream"] == stream]


@pytest.fixture(scope="module")
def reference(live_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    lines = event_lines(tmp_path_factory.mktemp("reference"), [live_clip])
    kinds = Counter(json.loads(line)["type"] for line in lines)
    assert kinds["padflow.source.v1"] == 2
    assert kinds["padflow.track.v1"] == 2
    assert kinds["padflow.verdict.v1"] >= 5, "one at the start, one a second, one at the end"
    scores = [json.loads(line)["data"].get("p_live") for line in lines]
    assert any(score is not None for score in scores), "there are scores to compare"
    return lines


@pytest.mark.parametrize("options", SPREADS.values(), ids=SPREADS)
def test_threads_and_fusion_change_no_byte(
    options: dict[str, Any], reference: list[bytes], live_clip: Path, tmp_path: Path
) -> None:
    assert event_lines(tmp_path, [live_clip], **options) == reference


def test_worker_processes_change_no_byte(
    reference: list[bytes], live_clip: Path, tmp_path: Path
) -> None:
    assert event_lines(tmp_path, [live_clip], workers=2) == reference


@pytest.mark.parametrize("options", [{}, {"threads": 3, "fuse": False}], ids=["one", "three"])
def test_streams_beside_each_other_change_nothing_in_one_another(
    options: dict[str, Any],
    reference: list[bytes],
    live_clip: Path,
    print_clip: Path,
    tmp_path: Path,
) -> None:
    # The same film under another name differs in no more than the name.
    twin = tmp_path / "twin.mp4"
    twin.write_bytes(live_clip.read_bytes())
    alone = tmp_path / "alone"
    alone.mkdir()
    printed = event_lines(alone, [print_clip])
    together = event_lines(tmp_path, [live_clip, print_clip, twin], **options)
    assert of_stream(together, "live") == reference
    assert of_stream(together, "print") == printed
    twins = of_stream(together, "twin")
    assert len(together) == 2 * len(reference) + len(printed)
    for line, same in zip(twins, reference, strict=True):
        assert content(line) == content(same)


def content(line: bytes) -> dict[str, Any]:
    """An event's data without the names of stream and file."""
    data: dict[str, Any] = json.loads(line)["data"]
    return {name: value for name, value in data.items() if name not in ("stream", "uri")}


def test_the_iterator_gives_what_the_file_has(reference: list[bytes], live_clip: Path) -> None:
    options = RunOptions(workers=0)
    events = list(
        padflow.run([str(live_clip)], private=True, overrides=SHORT_PULSE, options=options)
    )
    # Outputs reach the program side by side, each in its own order; an id holds an event's number
    # among those of its kind.
    by_id = {event["id"]: event for event in events}
    assert len(by_id) == len(events)
    assert by_id == {event["id"]: event for event in map(json.loads, reference)}


def test_networks_that_batch_change_no_byte(live_clip: Path, tmp_path: Path) -> None:
    """The appearance networks serve all streams at once; what they say hangs on no batch."""
    engines = tuple(
        (f"{cue}_net", "engine", str(write_tiny_bundle(tmp_path / cue, cue)))
        for cue in ("depth", "patch", "context")
    )
    twin = tmp_path / "twin.mp4"
    twin.write_bytes(live_clip.read_bytes())
    first = event_lines(tmp_path, [live_clip], overrides=engines)
    options: dict[str, Any] = {"threads": 3, "fuse": False, "lane_capacity": 2}
    second = event_lines(tmp_path, [live_clip, twin], overrides=engines, **options)
    assert of_stream(second, "live") == first
    data = [json.loads(line)["data"] for line in first]
    valued = {e["cue"] for d in data for e in d.get("evidence", ()) if e["llr"] is not None}
    assert valued >= {"depth", "patch", "context"}
    assert {"depth", "patch", "context"} <= set().union(*(d.get("engines", ()) for d in data))


def test_ray_changes_no_byte(
    local_ray: Any, reference: list[bytes], live_clip: Path, tmp_path: Path
) -> None:
    apart = replace(RAY["ray-apart"], workers=1)
    assert event_lines(tmp_path, [live_clip], ray=apart) == reference
