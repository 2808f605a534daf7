"""The command line as a shell sees it: exit codes, one line for each error, whole files."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest

from padflow import __version__
from padflow.deploy import scoring
from padflow.deploy import watch as deploy_watch
from padflow.deploy.cli import COMMANDS, main
from padflow.graph.run import GraphRun
from padflow.nodes.detect import Detect

PADFLOW = (sys.executable, "-m", "padflow.deploy.cli")
PATIENCE = 60.0
STATES = {"LIVE", "SPOOF", "UNDECIDED"}


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A text that calls itself a video."""
    path = tmp_path / "notes.mp4"
    path.write_text("no video at all\n" * 50)
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_run_writes_events_and_video_and_sums_up(
    live_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events, video = tmp_path / "events.jsonl", tmp_path / "video.mp4"
    args = ["run", str(live_clip), "--events", str(events), "--video", str(video)]
    assert main([*args, "--workers", "0"]) == 0
    out, err = capsys.readouterr()
    assert out == "", "standard output is for events"
    assert "live" in err
    (row,) = [line.split() for line in err.splitlines() if line.startswith("live ")]
    assert row[1] == "125", "frames"
    assert sum(map(int, row[4:7])) == 1, "one track has one last state"
    kinds = {event["type"] for event in lines_of(events)}
    assert kinds == {"padflow.source.v1", "padflow.track.v1", "padflow.verdict.v1"}
    assert frames_of(video) == 125


def test_quiet_says_nothing(live_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(live_clip), "--quiet", "--workers", "0"]) == 0
    assert capfd.readouterr() == ("", "")


def test_private_details_are_written_to_who_asks(print_clip: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    common = ["run", str(print_clip), "--events", str(events), "--quiet", "--workers", "0"]
    assert main(common) == 0
    assert not any("private" in event["data"] for event in lines_of(events))
    assert main([*common, "--private"]) == 0
    assert any("private" in event["data"] for event in lines_of(events))


def test_a_duration_ends_a_run_well(live_clip: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    args = ["run", str(live_clip), "--mode", "realtime", "--duration", "1.5", "--quiet"]
    began = time.monotonic()
    assert main([*args, "--events", str(events), "--workers", "0"]) == 0
    assert time.monotonic() - began < 4.5, "the clip lasts five seconds"
    verdicts = [e["data"] for e in lines_of(events) if e["type"] == "padflow.verdict.v1"]
    assert verdicts[-1]["final"]


WRONG_USE = {
    "no such file": (["run", "nothing.mp4"], "no such file"),
    "no such scheme": (["run", "ftp://127.0.0.1/a"], "ftp://"),
    "no such graph": (["run", "{clip}", "--graph", "defualt"], "expected one of default"),
    "no such node": (["run", "{clip}", "--set", "detcet.cadence_hz=1"], "'detect'"),
    "no such parameter": (["run", "{clip}", "--set", "detect.cadense_hz=1"], "'cadence_hz'"),
    "no parameter": (["run", "{clip}", "--set", "detect"], "NODE.PARAM=VALUE"),
    "no YAML": (["run", "{clip}", "--set", "detect.cadence_hz=[: {"], "YAML value"),
    "YAML without end": (["run", "{clip}", "--set", f"a.b={'[' * 3000}"], "YAML value"),
    "no such policy": (["run", "{clip}", "--policy", "nothing.yaml"], "cannot be read"),
    "no folder for events": (["run", "{clip}", "--events", "{tmp}/no/e.jsonl"], "existing folder"),
    "no folder for video": (["run", "{clip}", "--video", "{tmp}/no/v.mp4"], "existing folder"),
    "frames on Ray": (
        ["run", "{clip}", "--runtime", "ray", "--video", "{tmp}/v.mp4"],
        "expected --runtime local",
    ),
    "no threads": (["run", "{clip}", "--threads", "0"], "at least 1"),
    "Ray's options without Ray": (
        ["run", "{clip}", "--address", "head:6379"],
        "--address head:6379: expected --runtime ray, found local",
    ),
    "no time": (["run", "{clip}", "--duration", "-1"], "seconds above 0"),
    "one of two is no file": (["run", "{clip}", "nothing.mp4"], "no such file"),
    "nothing to score": (["score", "nothing.mp4", "--out", "{tmp}/s.csv"], "no such file"),
    "no folder for scores": (["score", "{clip}", "--out", "{tmp}/no/s.csv"], "existing folder"),
    "a folder for scores": (["score", "{clip}", "--out", "{tmp}"], "found a folder"),
    "events over a source": (["run", "{clip}", "--events", "{clip}"], "would overwrite"),
    "a video over a source": (["run", "file://{clip}", "--video", "{clip}"], "would overwrite"),
    "scores over an item": (["score", "{clip}", "--out", "{clip}"], "would overwrite"),
    "two outputs in one file": (
        ["run", "{clip}", "--events", "{tmp}/v.mp4", "--video", "{tmp}/../{name}/v.mp4"],
        "would overwrite",
    ),
    "no clip to measure on": (["bench", "cues", "--clip", "nothing.mp4"], "expected a video file"),
    "no rounds": (["bench", "frame", "--clip", "{clip}", "--rounds", "0"], "at least 1"),
    "no seconds to measure": (["bench", "streams", "--seconds", "-1"], "seconds above 0"),
    "fewer than the least": (["bench", "streams", "--most", "1"], "no less than --least 2"),
    "no picture format": (["graph", "show", "--out", "{tmp}/graph.bmp"], "graph.bmp"),
    "no graph to show": (["graph", "show", "defualt"], "expected one of default"),
}


@pytest.mark.parametrize(("words", "told"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_one_line_and_exit_code_2(
    words: list[str],
    told: str,
    live_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"{clip}": str(live_clip), "{tmp}": str(tmp_path), "{name}": tmp_path.name}
    args = words
    for mark, value in given.items():
        args = [word.replace(mark, value) for word in args]
    quiet = [] if words[0] in ("graph", "bench") else ["--quiet"]
    size = live_clip.stat().st_size
    assert main([*args, *quiet]) == 2
    assert live_clip.stat().st_size == size
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"padflow {words[0]}: ")
    assert told in line
    assert "unexpected" not in line


def test_an_error_of_the_system_says_where_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "missing.jsonl"]) == 2
    told = "padflow check: missing.jsonl: No such file or directory; check the path and its "
    assert capsys.readouterr().err == f"{told}permissions\n"


@pytest.mark.parametrize("bench", ["cues", "frame", "streams"])
def test_a_clip_that_cannot_be_read_is_wrong_use_of_bench(
    bench: str, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", bench, "--clip", str(text_file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"padflow bench: --clip {text_file}: expected a video, found what cannot")


@pytest.mark.parametrize("words", [["run"], ["nope"], ["models"], ["run", "a", "--mode", "slow"]])
def test_what_the_parser_refuses_is_told_with_the_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: padflow")
    assert "error: " in err


def test_a_run_of_nothing_but_rubbish_is_wrong_use(
    text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(text_file), "--quiet", "--workers", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("padflow run: ")
    assert "notes.mp4" in line


def test_a_source_that_fails_beside_one_that_does_not_is_exit_code_3(
    text_file: Path, print_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["run", str(print_clip), str(text_file), "--quiet", "--workers", "0"]
    assert main(args) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "notes.mp4" in line


def test_score_gives_a_row_for_each_item(
    live_clip: Path,
    print_clip: Path,
    text_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "scores.csv"
    items = [str(live_clip), str(print_clip)]
    assert main(["score", *items, "--out", str(out), "--quiet"]) == 0
    rows = rows_of(out)
    assert [row["item"] for row in rows] == items
    assert [row["frames"] for row in rows] == ["125", "30"]
    assert {row["state"] for row in rows} <= STATES
    cues = ("context", "depth", "life", "patch", "planarity", "pulse", "surroundings")
    ratios = [f"llr_{cue}" for cue in cues]
    assert list(rows[0])[5:] == ratios, "a column for each cue of the graph, with a value or not"
    assert capsys.readouterr().err == ""
    assert main(["score", *items, str(text_file), "--out", str(out), "--quiet"]) == 3
    rows = rows_of(out)
    assert [row["state"] in STATES for row in rows] == [True, True, False]
    assert rows[2]["state"] == "ERROR"
    (line,) = capsys.readouterr().err.splitlines()
    assert "notes.mp4" in line


def test_score_is_the_same_twice(live_clip: Path, print_clip: Path, tmp_path: Path) -> None:
    items = [str(print_clip), str(live_clip), str(print_clip)]
    contents = []
    for threads in ("1", "3"):
        out = tmp_path / f"{threads}.csv"
        assert main(["score", *items, "--out", str(out), "--quiet", "--threads", threads]) == 0
        contents.append(out.read_bytes())
    assert contents[0] == contents[1]


def test_a_picture_beside_videos_does_not_hide_them_from_score(tmp_path: Path) -> None:
    for name in ("cover.jpg", "a.mp4", "b/c.MKV", "b/notes.txt", "d/1.png", "d/2.png", "e/f/g.txt"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    (tmp_path / "clips" / "b" / "back").symlink_to(tmp_path / "clips")
    (tmp_path / "empty").mkdir()
    given = [tmp_path / name for name in ("clips", "empty", "missing.mp4")]
    found = [str(item.relative_to(tmp_path)) for item in scoring.items_of(given)]
    assert found == ["clips", "clips/a.mp4", "clips/b/c.MKV", "clips/d", "empty", "missing.mp4"]


def test_score_tells_of_a_node_that_raised(
    print_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    process, calls = Detect.process, []

    def raises_once(node: Detect, port: str, packets: Any, states: Any) -> Any:
        calls.append(packets)
        if len(calls) == 3:
            raise RuntimeError("a cosmic ray")
        return process(node, port, packets, states)

    monkeypatch.setattr(Detect, "process", raises_once)
    out = tmp_path / "scores.csv"
    assert main(["score", str(print_clip), "--out", str(out), "--quiet"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{print_clip}: detect raised RuntimeError: a cosmic ray" in line
    assert rows_of(out)[0]["state"] in STATES


INTERRUPTED_IN_THE_SECOND = """
import os, sys
from padflow.deploy import scoring
from padflow.deploy.cli import main
take = scoring._take
def one_at_a_time(run, most):
    while any(stream.state == "running" for stream in run.streams().values()):
        run.wait(0.02)
def interrupt(item, packet):
    take(item, packet)
    if packet.stream == "1" and packet.payload.data.get("state") == "connected":
        os.kill(os.getpid(), int(sys.argv[1]))
scoring._wait_below, scoring._take = one_at_a_time, interrupt
raise SystemExit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_interrupted_scores_are_those_of_the_items_that_are_done(
    number: signal.Signals, print_clip: Path, grey_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    # At camera speed the second item lasts forty seconds.
    items = ("score", str(print_clip), str(grey_clip), "--set", "capture.pace=camera")
    program = (sys.executable, "-c", INTERRUPTED_IN_THE_SECOND, str(int(number)))
    ended = shell(*program, *items, "--out", str(out), "--quiet")
    assert ended.returncode == 130, ended.stderr
    assert [row["item"] for row in rows_of(out)] == [str(print_clip)]


@pytest.mark.usefixtures("models")
def test_scores_of_before_outlast_a_run_that_could_not_begin(
    live_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("the scores of before\n")
    words = ["--set", "depth_net.engine=gone", "--out", str(out), "--quiet"]
    assert main(["score", str(live_clip), *words]) == 2
    assert out.read_text() == "the scores of before\n"


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert "Apache-2.0" in out
    assert "modelfolder:" in out
    assert main(["models", "verify"]) == 0
    assert "whole" in capsys.readouterr().out


def test_the_graph_is_shown_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "show"]) == 0
    text = capsys.readouterr().out
    for node in ("capture", "detect", "track", "align", "pulse", "fuse", "decide"):
        assert node in text
    assert main(["graph", "show", "--no-fuse"]) == 0
    assert capsys.readouterr().out != text
    out = tmp_path / "graph.svg"
    assert main(["graph", "show", "--out", str(out)]) == 0
    assert out.read_text().lstrip().startswith("<")
    assert "decide" in out.read_text()


@pytest.mark.usefixtures("models")
def test_doctor_finds_this_machine_able(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    states = {finding["what"]: finding["state"] for finding in findings}
    assert states["backend openvino"] == "ok"
    assert states["model face_mesh"] == "ok"
    lacks = [finding for finding in findings if finding["state"] != "ok"]
    assert all(finding["remedy"] for finding in lacks), "every lack comes with what to do about it"
    assert main(["doctor"]) == 0
    assert "openvino" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"padflow {__version__}\n"


def shell(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, timeout=PATIENCE, check=False, **more
    )


def test_help_is_quick() -> None:
    took = []
    for _ in range(3):
        began = time.perf_counter()
        helped = shell(*PADFLOW, "--help")
        took.append(time.perf_counter() - began)
        assert helped.returncode == 0
        assert all(command in helped.stdout for command in COMMANDS)
    print(f"padflow --help: {min(took):.3f} s")
    assert min(took) < 2.0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: padflow {command}" in capsys.readouterr().out


def test_a_camera_s_password_is_not_told(tmp_path: Path) -> None:
    url = "rtsp://guard:hunter2@127.0.0.1:9/door"
    events = tmp_path / "events.jsonl"
    args = ("run", url, "--events", str(events), "--duration", "1.5", "--debug")
    ended = shell(*PADFLOW, *args)
    assert ended.returncode == 2, "no frame came, and the last word of the source was that it lost"
    assert "127.0.0.1" in ended.stderr
    assert "padflow run: " in ended.stderr
    for text in (ended.stdout, ended.stderr, events.read_text()):
        assert "hunter2" not in text
        assert "guard" not in text


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM]
)
def test_an_interrupted_run_leaves_whole_events_and_a_playable_video(
    number: signal.Signals, live_clip: Path, tmp_path: Path
) -> None:
    events, video = tmp_path / "events.jsonl", tmp_path / "video.mp4"
    words = (*PADFLOW, "run", str(live_clip), "--mode", "realtime", "--workers", "0")
    process = subprocess.Popen(
        [*words, "--events", str(events), "--video", str(video)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_verdicts(events, 2)
        process.send_signal(number)
        err = process.communicate(timeout=15)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted: everything written so far is whole" in err
    assert "Traceback" not in err
    assert events.read_bytes().endswith(b"\n")
    verdicts = [e["data"] for e in lines_of(events) if e["type"] == "padflow.verdict.v1"]
    assert verdicts[-1]["final"], "the track that was being watched is brought to its end"
    assert 10 < frames_of(video) < 125


def wait_for_verdicts(events: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if events.exists() and events.read_bytes().count(b'"padflow.verdict.v1"') >= count:
            return
        time.sleep(0.05)
    pytest.fail(f"no {count} verdicts in {PATIENCE:g} s")


def test_a_reader_that_goes_away_is_no_crash(live_clip: Path) -> None:
    reading, writing = os.pipe()
    words = (*PADFLOW, "run", str(live_clip), "--events", "-", "--quiet", "--workers", "0")
    process = subprocess.Popen(words, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        first = json.loads(pipe.readline())
    err = process.communicate(timeout=PATIENCE)[1]
    assert first["type"] == "padflow.source.v1"
    assert "Traceback" not in err
    assert process.returncode in (0, 3)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("words", [("models", "list"), ("doctor",), ("graph", "show")])
def test_a_table_that_nobody_reads_to_its_end_is_no_failure(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            (*PADFLOW, *words),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_is_not_the_exit_code_of_a_whole_log(
    grey_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A short run: fewer faults in a row than end it.
    args = ["run", str(grey_clip), "--events", "/dev/full", "--quiet", "--workers", "0"]
    assert main(args) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("padflow run: events_file: not everything was written: ")
    assert "No space left on device" in last


def test_lost_lines_are_told_where_the_run_is_interrupted_too(
    grey_clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted_at_its_end(run: GraphRun, *rest: object, **more: object) -> None:
        run.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy_watch, "_wait", interrupted_at_its_end)
    args = ["run", str(grey_clip), "--events", "/dev/full", "--quiet", "--workers", "0"]
    assert main(args) == 3
    told, last = capsys.readouterr().err.splitlines()[-2:]
    assert told.startswith("padflow run: events_file: not everything was written: ")
    assert last.startswith("interrupted: ")


def test_events_alone_go_to_standard_output(
    print_clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(print_clip), "--events", "-", "--workers", "0"]) == 0
    out, err = capfd.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    sources = [e["data"]["state"] for e in events if e["type"] == "padflow.source.v1"]
    assert sources == ["connected", "ended"]
    assert "print" in err, "the summary stands beside"
