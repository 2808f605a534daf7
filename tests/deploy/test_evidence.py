"""``padflow evidence``: what the graph's cues say of a small dataset, resumably."""

import shutil
from pathlib import Path

import pytest

from padflow.deploy.cli import main
from padflow.nodes.evidence import Evidence
from padflow.nodes.payloads import FaceObservation
from padflow.trainers.evidence import read_folder


@pytest.fixture(scope="module")
def dataset(print_clip: Path, live_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evidence") / "data"
    for clip, place in ((live_clip, "live/eve.mp4"), (print_clip, "attack/print/laser/adam.mp4")):
        (root / place).parent.mkdir(parents=True)
        shutil.copy(clip, root / place)
    (root / "labels.csv").write_text(
        "item,person,medium,camera,onset\n"
        "live/eve.mp4,eve,,camera-01,\n"
        "attack/print/laser/adam.mp4,adam,printer-07,camera-02,0.5\n"
    )
    return root


def test_every_cue_of_every_recording_is_kept(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "evidence"
    words = ["evidence", "--data", str(dataset), "--out", str(out)]
    assert main(words) == 0
    assert "2 recordings written" in capsys.readouterr().out
    attack, live = read_folder(out)
    assert live.presentation.live
    assert (attack.presentation.medium, attack.presentation.onset) == ("printer-07", 0.5)
    assert attack.presentation.instrument == "print:laser"
    cues = {p.payload.cue for p in live.main if isinstance(p.payload, Evidence)}
    assert {"depth", "patch", "context", "pulse"} <= cues
    assert sum(isinstance(p.payload, FaceObservation) for p in live.main) > 100
    assert live.engines.keys() >= {"depth_light", "patch_light", "views"}
    # What is there is not made again.
    (gone,) = out.glob("live*")
    gone.unlink()
    stays = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main(words) == 0
    assert "1 recordings written" in capsys.readouterr().out
    assert len(list(out.iterdir())) == 2
    assert all(path.stat().st_mtime_ns == then for path, then in stays.items())
    # Nor where only what comes after the cues is another, but not beside what other cues said.
    assert main([*words, "--set", "fuse.period=0.5"]) == 0
    assert "2 were there" in capsys.readouterr().out
    for more, told_of in (
        (["--graph", "every_cue"], "made without motion_depth, pulse_net"),
        (["--set", "life.max_gap=9"], "made with other settings or networks of life"),
        (["--set", "depth_net.engine=patch_light"], "or networks of depth_net"),
    ):
        assert main([*words, *more]) == 2
        err = capsys.readouterr().err
        assert told_of in err
        assert "give another --out" in err
    # Of another folder's recording of the same name it is not.
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    (other / "labels.csv").write_text("item,person\nlive/eve.mp4,ann\n")
    shutil.rmtree(other / "attack")
    capsys.readouterr()
    assert main(["evidence", "--data", str(other), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert "is of another recording of this name" in told.err
    assert "0 recordings written" in told.out
    assert "0 were there" in told.out


def test_what_cannot_be_read_is_told_and_the_rest_is_kept(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    (root / "live").mkdir(parents=True)
    (root / "live" / "broken.mp4").write_bytes(b"no video" * 99)
    shutil.copytree(dataset / "attack", root / "attack")
    assert main(["evidence", "--data", str(root), "--out", str(tmp_path / "out"), "--quiet"]) == 3
    assert "live/broken.mp4:" in capsys.readouterr().err
    (kept,) = read_folder(tmp_path / "out")
    assert kept.presentation.species == "print"


def test_no_dataset_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "expected live/ and attack/<species>/" in capsys.readouterr().err
