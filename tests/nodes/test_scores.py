import csv
import os
from pathlib import Path
from typing import Any

import pytest

from padflow.graph.packet import Packet
from padflow.nodes.payloads import Event
from padflow.nodes.scores import ScoreRow, ScoresFileError, score_item, write_scores


def verdict(
    track: int, time: float, state: str, p_live: float | None, **llr: float | None
) -> Packet:
    data: dict[str, Any] = {
        "state": state,
        "p_live": p_live,
        "evidence": [{"cue": cue, "llr": value} for cue, value in llr.items()],
    }
    return Packet("cam", time, 0, track, Event("padflow.verdict.v1", f"track/{track}", data))


def test_no_face_is_undecided_without_a_score() -> None:
    other = Packet("cam", 0.0, 0, None, Event("padflow.scene.v1", "", {"state": "too_dark"}))
    assert score_item("a.mp4", [other], 10, 0) == ScoreRow("a.mp4", 10, 0, None, "UNDECIDED", {})


def test_the_final_state_and_the_newest_numbers_count() -> None:
    events = [
        verdict(1, 0.0, "UNDECIDED", None, depth=None),
        verdict(1, 2.0, "LIVE", 0.99, depth=4.6, pulse=None),
        verdict(1, 9.0, "UNDECIDED", None, depth=None, pulse=None),
    ]
    row = score_item("a.mp4", events, 250, 200)
    assert row == ScoreRow("a.mp4", 250, 200, 0.99, "UNDECIDED", {"depth": 4.6})


def test_an_attack_speaks_for_the_item_however_short() -> None:
    events = [
        verdict(1, 0.0, "LIVE", 0.99, depth=5.0),
        verdict(2, 1.0, "SPOOF", 0.01, depth=-5.0),
        verdict(2, 1.5, "SPOOF", 0.02, depth=-4.0),
        verdict(1, 30.0, "LIVE", 0.99, depth=5.0),
    ]
    row = score_item("a.mp4", events, 1, 1)
    assert (row.state, row.p_live, row.llr) == ("SPOOF", 0.02, {"depth": -4.0})


def test_a_track_with_evidence_goes_before_a_longer_one_without() -> None:
    events = [
        verdict(1, 0.0, "UNDECIDED", None),
        verdict(1, 30.0, "UNDECIDED", None),
        verdict(2, 3.0, "UNDECIDED", 0.6, pulse=0.4),
    ]
    assert score_item("a.mp4", events, 1, 1).p_live == 0.6


def test_else_the_track_watched_longest_and_of_equals_the_first() -> None:
    events = [
        verdict(1, 0.0, "LIVE", 0.97),
        verdict(2, 0.0, "UNDECIDED", 0.6),
        verdict(1, 5.0, "LIVE", 0.98),
        verdict(2, 9.0, "UNDECIDED", 0.5),
    ]
    assert score_item("a.mp4", events, 1, 1).p_live == 0.5
    equal = [verdict(1, 0.0, "LIVE", 0.9), verdict(2, 0.0, "LIVE", 0.8)]
    assert score_item("a.mp4", equal, 1, 1).p_live == 0.9
    assert score_item("a.mp4", equal[::-1], 1, 1).p_live == 0.9


def test_the_file_has_the_promised_columns(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    rows = [
        ScoreRow('odd, "name"\n.mp4', 250, 200, 0.25, "UNDECIDED", {"pulse": -1.09861}),
        ScoreRow("b.jpg", 1, 0, None, "UNDECIDED", {}),
        ScoreRow("c.jpg", 1, 1, 1.0, "LIVE", {"depth": 5.0}),
    ]
    write_scores(path, rows, cues=("patch",))
    with path.open(newline="") as file:
        read = list(csv.reader(file))
    assert read[0][:5] == ["item", "frames", "frames_with_face", "p_live", "state"]
    assert read[0][5:] == ["llr_depth", "llr_patch", "llr_pulse"]
    assert read[1] == [rows[0].item, "250", "200", "0.250000", "UNDECIDED", "", "", "-1.0986"]
    assert read[2] == ["b.jpg", "1", "0", "", "UNDECIDED", "", "", ""]
    assert read[3][3:] == ["1.000000", "LIVE", "5.0000", "", ""]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_a_name_that_is_no_utf8_costs_nobody_a_row(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    item = os.fsdecode(b"d\xffr.mp4")
    write_scores(
        path, [ScoreRow("a.mp4", 1, 0, None, "LIVE", {}), ScoreRow(item, 1, 0, None, "", {})]
    )
    with path.open(newline="", encoding="utf-8") as file:
        assert [row["item"] for row in csv.DictReader(file)] == ["a.mp4", "d\\xffr.mp4"]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "scores.csv"
    folder.mkdir()
    with pytest.raises(ScoresFileError, match=r"cannot write .*scores.csv: Is a directory"):
        write_scores(folder, [])
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]
    with pytest.raises(ScoresFileError, match=r"No such file.*--out"):
        write_scores(tmp_path / "no" / "scores.csv", [])
