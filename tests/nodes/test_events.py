import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin, Finish, Mode, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.cloudevents import Envelopes
from padflow.nodes.decide import Decide, DecideParams
from padflow.nodes.events import Events, EventsFileError, EventsParams, mend, write_whole
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.payloads import Event, Fused
from padflow.nodes.testing import face_observation


def event(number: int) -> Packet:
    payload = Event("padflow.track.v1", f"track/{number}", {"track": number, "state": "started"})
    return Packet("cam", float(number), 0, None, payload)


def write(params: EventsParams, packets: list[Packet], mode: Mode = "lossless") -> list[str]:
    notices: list[str] = []
    node = Events(params)
    node.open(NodeContext("events", mode, notice=notices.append))
    try:
        node.process("events", packets, [])
    finally:
        node.close()
    return notices


def lines(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def test_a_lossless_run_overwrites_and_repeats_itself_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(EventsParams(str(path)), [event(i) for i in range(5)])
    first = path.read_bytes()
    write(EventsParams(str(path)), [event(i) for i in range(5)])
    assert path.read_bytes() == first
    assert [line["data"]["track"] for line in lines(path)] == [0, 1, 2, 3, 4]


def test_a_realtime_run_appends_with_ids_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        write(EventsParams(str(path)), [event(i) for i in range(3)], "realtime")
    found = lines(path)
    assert len(found) == 6
    assert len({(line["source"], line["id"]) for line in found}) == 6


@pytest.mark.parametrize(("existing", "kept"), [("append", 2), ("overwrite", 1)])
def test_the_user_may_choose(tmp_path: Path, existing: Any, kept: int) -> None:
    path = tmp_path / "events.jsonl"
    for mode in ("lossless", "realtime"):
        write(EventsParams(str(path), existing), [event(0)], mode)
    assert len(lines(path)) == kept


def test_a_partial_last_line_is_cut_off_and_told(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(EventsParams(str(path)), [event(0)])
    with path.open("ab") as file:
        file.write(b'{"specversion":"1.0","id":"ver')
    (notice,) = write(EventsParams(str(path), "append"), [event(1)])
    assert "30 bytes" in notice
    assert [line["data"]["track"] for line in lines(path)] == [0, 1]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id":"a"}')
    assert write(EventsParams(str(path), "append"), [event(1)]) == []
    assert lines(path)[0]["id"] == "a"


unbroken = st.binary(max_size=50).map(lambda content: content.replace(b"\n", b""))


@given(st.lists(unbroken, max_size=5), unbroken)
@settings(deadline=None)
def test_mending_keeps_every_whole_line(whole: list[bytes], tail: bytes) -> None:
    kept = b"".join(line + b"\n" for line in whole)
    file = os.memfd_create("events")
    try:
        os.write(file, kept + tail)
        lost = mend(file)
        content = os.pread(file, 1 << 20, 0)
    finally:
        os.close(file)
    assert content in (kept, kept + tail + b"\n")
    assert lost in (0, len(tail))


def test_a_partial_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    file = os.open(path, os.O_RDWR)
    assert mend(file) == 200_000
    os.close(file)
    assert path.read_bytes() == b"{}\n"


def test_an_unwritable_path_is_told_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "no" / "folder" / "events.jsonl"
    with pytest.raises(
        EventsFileError, match=r"cannot open .*events.jsonl: No such file"
    ) as caught:
        write(EventsParams(str(path)), [])
    assert "--events" in str(caught.value)
    with pytest.raises(EventsFileError, match="Is a directory"):
        write(EventsParams(str(tmp_path)), [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_names_the_path() -> None:
    with pytest.raises(EventsFileError, match=r"/dev/full: No space left"):
        write(EventsParams("/dev/full", "overwrite"), [event(0)])


def test_a_half_written_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"{}\n")
    file = os.open(path, os.O_RDWR | os.O_APPEND)
    really, calls = os.write, []

    def fills_up(to: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return really(to, data[:4])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b'{"id":"b"}\n')
    monkeypatch.undo()
    os.close(file)
    assert path.read_bytes() == b"{}\n"


PROGRAM = """
import sys
from padflow.graph.node import NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.events import Events, EventsParams
from padflow.nodes.payloads import Event
node = Events(EventsParams(sys.argv[1]))
node.open(NodeContext("events", "lossless"))
for i in range(100_000_000):
    data = {"track": i, "state": "started", "filler": "x" * 3000}
    event = Event("padflow.track.v1", "track/1", data)
    node.process("events", [Packet("cam", float(i), 0, None, event)], [])
"""


def start(path: str, **more: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PROGRAM, path], **more)


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_whole_lines(tmp_path: Path, kill: signal.Signals) -> None:
    path = tmp_path / "events.jsonl"
    process = start(str(path), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > 1e6):
        time.sleep(0.01)
    process.send_signal(kill)
    process.wait(10)
    found = lines(path)
    assert [line["data"]["track"] for line in found] == list(range(len(found)))
    assert len(found) > 100


def test_a_closed_standard_output_is_told_and_nothing_else_is_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of ``>&-``
    with pytest.raises(EventsFileError, match="cannot open standard output: Bad file descriptor"):
        write(EventsParams("-"), [event(0)])


def test_standard_output_gets_every_event_at_once() -> None:
    process = start("-", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    for i in range(20):
        assert json.loads(process.stdout.readline())["data"]["track"] == i
    process.stdout.close()
    trouble = process.stderr.read().decode()
    process.stderr.close()
    process.wait(10)
    assert "cannot write to standard output: Broken pipe" in trouble


# The shipped schemas, and that what the nodes emit follows them.


def schema(kind: str) -> Mapping[str, Any]:
    text = files("padflow.nodes").joinpath("schemas", f"{kind}.v1.json").read_text()
    return dict(json.loads(text))


def check(packet: Packet, private: bool = False) -> None:
    payload: Event = packet.payload
    kind = payload.type.split(".")[1]
    wrapped = json.loads(json.dumps(Envelopes(True, private).wrap(packet), allow_nan=False))
    jsonschema.validate(wrapped, schema(kind), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("kind", ["verdict", "source", "track", "scene"])
def test_every_shipped_schema_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(kind))
    assert schema(kind)["properties"]["type"]["const"] == f"padflow.{kind}.v1"


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("mode", ["lossless", "realtime"])
def test_verdicts_follow_their_schema(mode: Any, private: bool) -> None:
    node = Decide(DecideParams())
    node.open(NodeContext("decide", mode))
    state = node.new_state(Begin("cam", 1, 0.0, 0, "first"))
    emitted: list[Packet] = []
    for i in range(40):
        evidence = (
            Evidence("pulse", (0.0, i / 5), None, ("window_too_short",)),
            Evidence("context", (i / 5, i / 5), 5.0, (), "views", "ab" * 32, {"score": 0.4}),
        )
        fused = Fused(5.0 if i else None, evidence, face_observation(), i / 5, 1.0)
        packet = Packet("cam", i / 5, 0, 1, fused, time.monotonic())
        emitted += node.process("fused", [packet], [state]).get("events", ())
    emitted += node.finish(state, Finish("cam", 1, 8.0, 0, "end"))["events"]
    assert {p.payload.data["state"] for p in emitted} == {"UNDECIDED", "LIVE"}
    for packet in emitted:
        check(packet, private)


def test_the_verdict_schema_refuses_what_is_not_a_verdict() -> None:
    wrong = Packet("cam", 0.0, 0, 1, Event("padflow.verdict.v1", "track/1", {"state": "ALIVE"}))
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_every_line() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    line = b"x" * 9_999 + b"\n"
    got: list[bytes] = []

    def read() -> None:
        while part := os.read(reads, 4096):
            got.append(part)

    reader = threading.Thread(target=read)
    while True:  # nobody reads yet: until it is full
        try:
            os.write(writes, line[-1:] * 4096)
        except BlockingIOError:
            break
    reader.start()
    for _ in range(100):
        write_whole(writes, line)
    os.close(writes)
    reader.join()
    os.close(reads)
    assert b"".join(got).lstrip(b"\n") == line * 100


def test_every_reason_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/EVENTS.md").read_text()
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in text] == []


def test_source_track_and_scene_events_follow_their_schemas() -> None:
    for kind, data in (
        ("source", {"state": "connected", "reason": ""}),
        ("track", {"track": 1, "state": "ended", "reason": "lost", "duration": 3.0}),
        ("scene", {"state": "too_dark", "reason": "changed", "mean_luma": 3.0, "contrast": 1.0}),
    ):
        check(Packet("cam", 1.0, 0, None, Event(f"padflow.{kind}.v1", "", data)))
