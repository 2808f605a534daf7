"""``padflow synthesise`` and ``padflow crops`` as a shell sees them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.cli import main
from padflow.trainers.attacks.portraits import load_portrait
from padflow.trainers.crops import open_crops
from tests.trainers.stores import write_store


def test_portraits_give_a_store(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    words = ["synthesise", "--out", str(out), "--rows", "12", "--seed", "3", "--identities", "3"]
    assert main([*words, "--workers", "2", "--rows-per-seed", "6"]) == 0
    store = open_crops(out)
    assert len(store) == 12
    assert {row.person for row in store.rows} == {"astronaut", "hopper"}
    assert {row.seed // 10_000_000 for row in store.rows} == {3, 4}
    assert any(row.label == "attack" for row in store.rows)
    for row in range(12):
        assert store.one("face", row).std() > 5
        flat = not store.one("depth", row).any()
        assert flat == (store.rows[row].species not in ("live", "mask"))
    printed = capsys.readouterr().out
    assert "12 rows" in printed
    assert "live" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "0"], "--rows: expected 1 or more, found 0"),
        (["--seed", "-1"], "--seed: expected 0 or more, found -1"),
        (["--workers", "0"], "--workers: expected 1 or more, found 0"),
        (["gone.mp4"], "source gone.mp4: expected a video, a picture or a folder"),
        (["--people", "gone.csv"], "list gone.csv: expected a CSV file"),
        (["--enlarge", "900"], "--enlarge: expected 0 to 300 pixels, found 900"),
        (["--enlarge", "nan"], "--enlarge: expected 0 to 300 pixels, found nan"),
        (["--portraits", "--lend-portraits"], "found both"),
        (["--share", "papier=3"], "--share: expected one of live, print, screen, mask, partial"),
        (["--share", "mask=-1"], "found 'mask=-1'"),
        (
            [f"--share={name}=0" for name in ("live", "print", "screen", "mask", "partial")],
            "--share: expected at least one species above 0",
        ),
    ],
)
def test_wrong_use_of_synthesise_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synthesise", *words, "--out", str(tmp_path / "store")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_labelled_footage_gives_a_store(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, name in (
        ("live", "astronaut"),
        ("attack/print", "hopper"),
        ("attack/makeup", "hopper"),
    ):
        folder = tmp_path / "data" / kind
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), load_portrait(name).image[..., ::-1])
    cv2.imwrite(str(tmp_path / "data/live/b.png"), np.full((64, 64, 3), 90, np.uint8))
    words = ["crops", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "store")]
    assert main(words) == 0
    store = open_crops(tmp_path / "store")
    assert sorted((row.label, row.species) for row in store.rows) == [
        ("attack", "print"),
        ("live", "live"),
    ]
    assert {row.species: bool(store.one("depth", i).any()) for i, row in enumerate(store.rows)} == {
        "live": True,
        "print": False,
    }
    printed = capsys.readouterr()
    assert "2 of 3 pictures have a face" in printed.out
    assert "left out: 1 items of the species makeup" in printed.err
    assert main(words) == 0
    assert "0 of 1 further pictures have a face, 2 crops were there" in capsys.readouterr().out


def test_wrong_use_of_crops_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["crops", "--out", str(tmp_path / "store"), "--data"]
    assert main([*words, str(tmp_path / "gone")]) == 2
    assert "expected a folder, found none" in capsys.readouterr().err
    assert main([*words, str(tmp_path), "--step", "0"]) == 2
    assert "--step: expected 1 or more" in capsys.readouterr().err
    assert main([*words, str(tmp_path), "--layout", "nuuaa"]) == 2
    assert "nuaa" in capsys.readouterr().err


def test_wrong_use_of_train_site_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    live = ["--live", str(tmp_path / "door.mp4")]
    (tmp_path / "file").write_text("x")
    (tmp_path / "out.run").mkdir()
    for words, said in (
        (["site", *out], "expected footage of living people, found none; give --live"),
        (["site", *out, *live, "--minutes", "0"], "--minutes: expected more than 0"),
        (["site", *out, *live, "--epochs", "3"], "--epochs: expected none with train site"),
        (["site", "--out", str(tmp_path / "file"), *live], "expected a folder, found a file"),
        (["context", *out], "--data: expected a crop store to learn from, found none"),
        (["context", *out, *live, "--data", "x"], "expected with train site only"),
    ):
        assert main(["train", *words]) == 2, words
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1
    (tmp_path / "out.run" / "stores.json").write_text("{}")
    assert main(["train", "site", *out, *live]) == 2
    assert "holds an adaptation already" in capsys.readouterr().err


def test_a_store_of_others_is_not_added_to(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_store(tmp_path / "store", rows=8)
    assert main(["synthesise", "--out", str(tmp_path / "store"), "--rows", "9"]) == 2
    assert "found p0 in it; give another folder" in capsys.readouterr().err
