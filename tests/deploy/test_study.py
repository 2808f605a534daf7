import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.commands import study
from padflow.deploy.exits import Exit, UsageError
from padflow.engines.errors import EngineError
from padflow.trainers.baseline import detail
from padflow.trainers.crops import open_crops
from padflow.trainers.recipe import HoldOut
from tests.trainers.stores import write_store
from tests.trainers.studies.bundles import write_tiny

FORBIDDEN = ("NaN", "Infinity")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four people and two bundles that held out a medium of each species."""
    folder = tmp_path_factory.mktemp("study")
    write_store(folder / "store", rows=96, persons=4)
    rule = HoldOut(media=("print-1", "screen-1", "mask-1"))
    write_tiny(folder / "patch", "patch_light", rule, slope=100.0)
    write_tiny(folder / "context", "context", rule, slope=100.0)
    return folder


def asked(place: Path, kind: str, out: Path, *more: str) -> Namespace:
    parser = ArgumentParser()
    study.add_arguments(parser)
    words = [kind, "--store", str(place / "store"), "--resamples", "30", "--out", str(out)]
    words += ["--networks", f"patch={place / 'patch'}", f"context={place / 'context'}", *more]
    return parser.parse_args(words)


def merged(out: Path, *files: Path) -> Namespace:
    parser = ArgumentParser()
    study.add_arguments(parser)
    words = ["merge", *map(str, files), "--out", str(out), "--resamples", "30"]
    return parser.parse_args(words)


def test_synthetic_folds_are_made_and_merged(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y, both, again = (tmp_path / name for name in ("x", "y", "both", "again"))
    without = {"X": ("p0", "p1"), "Y": ("p2", "p3")}
    for fold, out in (("X", x), ("Y", y)):
        words = ("--without", *without[fold], "--fold", fold)
        assert study.run(asked(place, "synthetic", out, *words)) == Exit.DONE
    assert study.run(merged(both, x / "study.json", y / "study.json")) == Exit.DONE
    assert study.run(merged(again, x / "study.json", y / "study.json")) == Exit.DONE
    text = (both / "study.json").read_text()
    assert text == (again / "study.json").read_text()
    assert not any(word in text for word in FORBIDDEN)
    assert str(tmp_path) not in text
    assert str(place) not in text
    found = json.loads(text)
    columns = found["tables"]["protocols"]["S2"]["columns"]
    assert list(columns) == ["patch", "context", "fusion", "colour LBP + SVM"]
    assert columns["fusion"]["persons"] == 4
    assert columns["colour LBP + SVM"]["auc"]["value"] > 0.9  # rough and smooth are told apart
    assert "left_out" in found["tables"]["protocols"]["S3"]
    page = (both / "study.md").read_text()
    assert capsys.readouterr().out.endswith(page)
    assert "### S4\n\nNot measured" in page


def test_real_and_live_sequences(place: Path, tmp_path: Path) -> None:
    assert study.run(asked(place, "real", tmp_path / "real", "--worst", "3")) == Exit.DONE
    found = json.loads((tmp_path / "real" / "study.json").read_text())
    (one,) = found["tables"]["sets"]
    assert one["columns"]["patch"]["live"] == 4
    (fold,) = found["folds"]
    clip = fold["rows"]["clip"].index("p1-live-")
    store = open_crops(place / "store")
    own = [i for i, row in enumerate(store.rows) if row.clip == "p1-live-"]
    sharp = np.mean([detail(store.one("face", i), 100.0) for i in own])
    assert fold["scores"]["sharpness alone"][clip] == pytest.approx(sharp, abs=1e-4)
    assert set(one["columns"]["fusion"]["at_policy"]) == {"apcer", "bpcer", "live"}
    sheet = cv2.imread(str(tmp_path / "real" / "worst-context.png"))
    assert sheet is not None
    assert sheet.shape == (2 * 208, 3 * 164, 3)
    words = ("--persons", "p1", "--fold", "X")
    assert study.run(asked(place, "live", tmp_path / "live", *words)) == Exit.DONE
    fold = json.loads((tmp_path / "live" / "study.json").read_text())["folds"][0]
    assert set(fold["rows"]["species"]) == {"live"}
    assert set(fold["rows"]["person"]) == {"p1"}
    page = (tmp_path / "live" / "study.md").read_text()
    assert "### X" in page
    assert "p1-live-" in page


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        ("synthetic", ("--without", "p9", "p8"), "the stores hold p0, p1, p2, p3"),
        ("synthetic", ("--without", "p0", "p1", "p2", "p3"), "baseline: expected crops of people"),
        ("live", ("--persons", "p9"), "expected people of the stores, found 'p9'"),
        ("live", ("--step", "-1"), "--step: expected seconds, 0 or more, found -1"),
        ("real", ("--threads", "0"), "--threads: expected 1 or more, found 0"),
    ],
)
def test_wrong_use_is_told(
    place: Path, tmp_path: Path, kind: str, more: tuple[str, ...], told: str
) -> None:
    with pytest.raises((UsageError, EngineError), match=told) as refusal:
        study.run(asked(place, kind, tmp_path / "out", *more))
    assert getattr(refusal.value, "wrong_use", True)
    assert not (tmp_path / "out").exists()


def test_studies_that_do_not_go_together_are_told(place: Path, tmp_path: Path) -> None:
    study.run(asked(place, "live", tmp_path / "live", "--fold", "X"))
    study.run(asked(place, "real", tmp_path / "real", "--fold", "X"))
    live, real = (tmp_path / name / "study.json" for name in ("live", "real"))
    with pytest.raises(UsageError, match="merge studies of one kind"):
        study.run(merged(tmp_path / "out", live, real))
    with pytest.raises(UsageError, match="found 'X' more than once"):
        study.run(merged(tmp_path / "out", live, live))
    for text in (
        "[]",
        '{"format": 1, "folds": [{}], "study": "real"}',
        '{"format": 1, "folds": []}',
        '{"format": 1, "folds": [{"name": "X"}], "study": "stream"}',
    ):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(UsageError, match="make it with padflow study"):
            study.run(merged(tmp_path / "out", tmp_path / "other.json"))
    (tmp_path / "other.json").write_text('{"format": 1, "folds": [{"name": "X"}], "study": "real"}')
    with pytest.raises(UsageError, match="KeyError: 'rows'; make it anew"):
        study.run(merged(tmp_path / "out", tmp_path / "other.json"))


def test_the_pulse_study_tells_wrong_use(tmp_path: Path) -> None:
    parser = ArgumentParser()
    study.add_arguments(parser)
    with pytest.raises(UsageError, match="--clips: expected 1 or more, found 0"):
        study.run(parser.parse_args(["pulse", "--clips", "0", "--out", str(tmp_path / "out")]))
    assert not (tmp_path / "out").exists()
