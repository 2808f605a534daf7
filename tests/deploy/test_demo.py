"""The demo on a short feed: what it writes, what it says, and that it says what was measured."""

import json
from pathlib import Path

import cv2
import pytest

from padflow.deploy.cli import main
from padflow.trainers.attacks.feed import render_clip


@pytest.mark.usefixtures("models")
def test_demo_writes_report_video_events_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A feed of one visit, made as the demo makes its own; the demo takes what is there.
    render_clip("print", tmp_path / "feed.mp4", seed=3, size=(640, 360), seconds=3.0)

    code = main(["demo", "--out", str(tmp_path), "--seed", "3", "--size", "640x360"])

    assert code == 0
    told = capsys.readouterr().out
    assert "print" in told
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    verdicts = [e["data"] for e in events if e["type"] == "padflow.verdict.v1"]
    assert verdicts
    assert {v["state"] for v in verdicts} <= {"SPOOF", "UNDECIDED"}
    last = verdicts[-1]["state"]
    assert last in told
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert last in page
    sums = [f"{v['llr']:+.2f}" for v in verdicts if v["llr"] is not None]
    assert any(one in told and one in page for one in sums), "the sum of a verdict is told"
    for cue in ("depth", "patch", "context", "pulse"):
        assert cue in page
    assert "<script" not in page
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.std() > 10  # not a blank picture
    assert (tmp_path / "annotated.mp4").stat().st_size > 10_000


@pytest.mark.parametrize("size", ["1280", "1281x720", "12x8", "axb"])
def test_a_size_that_cannot_be_filmed_is_refused(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path), "--size", size]) == 2
    assert f"--size {size}: expected" in capsys.readouterr().err
