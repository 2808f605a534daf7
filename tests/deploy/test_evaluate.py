"""``padflow evaluate`` as a shell sees it: through the real graph, or from scores at hand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.cli import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four grey pictures called live and four called prints, two persons."""
    root = tmp_path / "door"
    lines = ["item,person"]
    for kind in ("live", "attack/print"):
        folder = root / kind
        folder.mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), np.full((64, 64, 3), 128, np.uint8))
            lines.append(f"{kind}/{number}.png,p{number}")
    (root / "persons.csv").write_text("\n".join(lines) + "\n")
    return root


def scores_of(data: Path, path: Path, live: float = 0.9, attack: float = 0.1) -> Path:
    lines = ["item,frames,frames_with_face,p_live,state,llr_depth"]
    for kind, p in (("live", live), ("attack/print", attack)):
        lines += [f"{data / kind / f'{n}.png'},1,1,{p},UNDECIDED,{p}" for n in range(4)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_scores_at_hand_are_evaluated(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, out = scores_of(data, tmp_path / "s.csv"), tmp_path / "out"
    args = ["evaluate", "--data", str(data), "--scores", str(scores), "--threshold", "0.95"]
    assert main([*args, "--out", str(out)]) == 0
    printed, err = capsys.readouterr()
    assert printed == ""
    assert "report.html" in err
    found = json.loads((out / "evaluation.json").read_text())
    (one,) = found["sets"]
    (fold,) = one["folds"]
    assert one["name"] == "door"
    assert found["measured"]["scores"] == str(scores)
    assert found["measured"]["data"][0]["layout"] == "plain"
    assert fold["counts"]["persons"] == 4
    assert fold["summary"]["auc"]["value"] == 1.0
    assert fold["operating_points"][0]["strict"]["bpcer"]["value"] == 1.0
    page = (out / "report.html").read_bytes()
    assert page.count(b"data:image/jpeg") == 8
    again = ["--out", str(tmp_path / "again"), "--quiet", "--no-pictures"]
    assert main([*args, *again]) == 0
    assert capsys.readouterr() == ("", "")
    same = (tmp_path / "again" / "evaluation.json").read_bytes()
    assert same == (out / "evaluation.json").read_bytes()
    assert b"data:image" not in (tmp_path / "again" / "report.html").read_bytes()
    assert sorted(p.name for p in out.iterdir()) == ["evaluation.json", "report.html"]


def test_several_sets_give_a_cross_set_table_and_a_protocol_gives_dev(
    data: Path, tmp_path: Path
) -> None:
    scores, out = scores_of(data, tmp_path / "s.csv"), tmp_path / "out"
    common = ["evaluate", "--scores", str(scores), "--out", str(out), "--quiet"]
    assert main([*common, "--data", str(data), "--data", str(data)]) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert [one["name"] for one in found["sets"]] == ["door", "door (2)"]
    assert len(found["cross_set"]) == 4
    assert main([*common, "--data", str(data), "--protocol", "by-person"]) == 0
    (one,) = json.loads((out / "evaluation.json").read_text())["sets"]
    assert one["name"] == "protocol by-person"
    assert one["folds"][0]["operating_points"][0]["name"] == "dev EER"
    assert one["folds"][0]["counts"]["dev"] > 0


def test_the_real_graph_scores_what_has_no_score(
    live_clip: Path, print_clip: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "door", tmp_path / "out"
    for kind, clip in (("live", live_clip), ("attack/print", print_clip)):
        (root / kind).mkdir(parents=True)
        (root / kind / clip.name).symlink_to(clip)
    broken = root / "attack" / "print" / "broken.mp4"
    broken.write_text("no video at all")
    args = ["evaluate", "--data", str(root), "--out", str(out), "--quiet"]
    assert main(args) == 3, "a broken item is told, the others are evaluated"
    rows = (out / "scores.csv").read_text().splitlines()
    assert len(rows) == 4
    (one,) = json.loads((out / "evaluation.json").read_text())["sets"]
    (fold,) = one["folds"]
    assert fold["counts"]["failed"] == [str(broken)]
    assert fold["counts"]["bona_fide"] == 1
    assert sum(fold["verdicts"]["counts"]["live"].values()) == 1
    assert "live.mp4" in (out / "report.html").read_text() or not fold["worst"]["bona_fide"]


def test_folds_that_the_data_cannot_make_are_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, out = scores_of(data, tmp_path / "s.csv"), tmp_path / "out"
    args = ["--scores", str(scores), "--out", str(out), "--protocol", "leave-one-species-out"]
    folder = data / "attack" / "screen"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((64, 64, 3), 90, np.uint8))
    with scores.open("a") as file:
        file.writelines(f"{folder / f'{n}.png'},1,1,0.2,SPOOF,-1\n" for n in range(4))
    with (data / "persons.csv").open("a") as file:
        file.writelines(f"attack/screen/{n}.png,p{n}\n" for n in range(4))
    assert main(["evaluate", "--data", str(data), *args]) == 0
    assert "left out: protocol leave-one-species-out" in capsys.readouterr().err
    (one,) = json.loads((out / "evaluation.json").read_text())["sets"]
    assert [fold["name"] for fold in one["folds"]] == ["print", "screen"]
    assert len(one["left_out"]) == 3
    assert "Left out: " in (out / "report.html").read_text()


WRONG_USE = {
    "no data": (["--data", "{tmp}/nothing"], "expected a folder"),
    "no layout": (["--data", "{data}", "--layout", "olu-npu"], "oulu-npu"),
    "layouts": (["--data", "{data}", "--layout", "plain", "--layout", "plain"], "one for all"),
    "no protocol": (["--data", "{data}", "--protocol", "by-persn"], "by-person"),
    "no scores": (["--data", "{data}", "--scores", "{tmp}/nothing.csv"], "found none"),
    "bad threshold": (["--data", "{data}", "--threshold", "2"], "between 0 and 1"),
    "bad number": (["--data", "{data}", "--worst", "-1"], "0 or more"),
    "one class": (["--data", "{data}/half"], "found 1 and 0"),
    "other scores": (["--data", "{data}", "--scores", "{tmp}/other.csv"], "expected a row"),
    "out is a file": (["--data", "{data}", "--out", "{tmp}/other.csv"], "expected a folder"),
}


@pytest.mark.parametrize(("words", "told"), WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_one_line_and_exit_code_2(
    words: list[str],
    told: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    half = data / "half" / "live"
    half.mkdir(parents=True)
    cv2.imwrite(str(half / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "other.csv").write_text("item,p_live\nelsewhere.png,0.5\n")
    args = [w.replace("{data}", str(data)).replace("{tmp}", str(tmp_path)) for w in words]
    out = [] if "--out" in args else ["--out", str(tmp_path / "out")]
    assert main(["evaluate", *args, *out, "--quiet"]) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    (line,) = err.splitlines()
    assert line.startswith("padflow evaluate: ")
    assert told in line
    assert "unexpected" not in line
