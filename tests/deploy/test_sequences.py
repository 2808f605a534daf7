"""``padflow sequences`` and ``padflow train motion_depth`` as a shell sees them."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.cli import main
from padflow.deploy.commands import train
from padflow.deploy.exits import Exit, UsageError
from padflow.engines.bundle import read_bundle
from padflow.trainers.motion.stages import Backbone
from tests.nodes.clips import write_clip
from tests.trainers.motion.pulse_toys import write_pulse_toys, write_tiny_backbone
from tests.trainers.motion.toys import write_toys

RECIPE = """
name: toy_motion
task: Tells toys apart.
kind: motion
network: {name: motion_depth, reduced: 3, width: 6, hidden: 6, embedding: 4, dropout: 0}
sampling: {steps: 5, longest: 0.12, variants: 1}
batch: 6
epochs: 3
steps_per_epoch: 10
average: 0.5
learning_rate: 0.01
"""
PULSE_RECIPE = """
name: toy_pulse
task: Tells toys apart.
kind: pulse_depth
backbone: {backbone}
network: {{width: 6, hidden: 12}}
sampling: {{longest: 7.0, halved: 0}}
batch: 4
epochs: 2
steps_per_epoch: 12
average: 0.8
learning_rate: 0.01
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or Lightning does


def asked(*words: str) -> Namespace:
    parser = ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


def test_videos_become_a_store(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image carries a portrait")
    face = np.asarray(cv2.resize(data.astronaut(), (480, 480)))
    for place in ("live", "attack/print"):
        (tmp_path / "door" / place).mkdir(parents=True)
        write_clip(tmp_path / "door" / place / "a.mp4", range(0, 600, 40), images=[face] * 15)
    (tmp_path / "door" / "live" / "b.mp4").write_bytes(b"no video" * 99)
    words = ["sequences", "--data", str(tmp_path / "door"), "--out", str(tmp_path / "store")]
    assert main(words) == Exit.DONE
    printed = capsys.readouterr().out
    assert "b.mp4: expected a video or picture, found what cannot be read" in printed
    assert "door: 2 sequences made, 0 were there" in printed
    assert "2 sequences (1 live, 1 print) of 1 persons" in printed
    assert main([*words, "--live", str(tmp_path / "door" / "live")]) == Exit.DONE
    printed = capsys.readouterr().out
    assert "door: 0 sequences made, 2 were there" in printed
    assert "footage: 1 sequences made" in printed


def test_wrong_use_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "store")]
    for words, told in (
        ([], "--data: expected labelled videos"),
        (["--data", str(tmp_path), "--cadence", "90"], "expected 2 to 60 crops"),
        (["--data", str(tmp_path)], "expected live/ and attack/"),
        (["--live", str(tmp_path / "nothing")], "found nothing"),
        (
            ["--data", str(tmp_path / "a" / "day"), "--data", str(tmp_path / "b" / "day")],
            "found day more than once",
        ),
    ):
        assert main(["sequences", *words, *out]) == Exit.WRONG_USE
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line


def test_trains_and_writes_a_motion_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toys(tmp_path / "store", ("ann", "bob"))
    recipe, out = tmp_path / "toy.yaml", tmp_path / "toy"
    recipe.write_text(RECIPE)
    words = [str(recipe), "--data", str(tmp_path / "store"), "--out", str(out), "--threads", "1"]
    with pytest.raises(UsageError, match="--files: expected none with train motion_depth"):
        train.run(asked(*words, "--files", "f16"))
    assert train.run(asked(*words, "--hold-out", "ann")) == Exit.DONE
    assert "epoch 3/3" in capsys.readouterr().out
    manifest = read_bundle(out).manifest
    assert set(manifest.files) == {"f32", "weights"}
    assert manifest.about.name == "toy_motion"
    assert manifest.training.held_out("persons") == ("ann",)
    with pytest.raises(UsageError, match="holds a training run already"):
        train.run(asked(*words))


def test_trains_and_writes_a_pulse_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = Backbone.read(str(write_tiny_backbone(tmp_path / "tiny")))
    write_pulse_toys(tmp_path / "store", backbone)
    recipe, out = tmp_path / "toy.yaml", tmp_path / "toy"
    recipe.write_text(PULSE_RECIPE.format(backbone=backbone.bundle.folder))
    words = [str(recipe), "--data", str(tmp_path / "store"), "--out", str(out), "--threads", "1"]
    with pytest.raises(UsageError, match="--start: expected none with train pulse_depth"):
        train.run(asked(*words, "--start", str(out)))
    assert train.run(asked(*words, "--hold-out", "ann")) == Exit.DONE
    assert "epoch 2/2" in capsys.readouterr().out
    manifest = read_bundle(out).manifest
    assert set(manifest.files) == {"f32", "weights"}
    assert manifest.about.name == "toy_pulse"
    assert manifest.training.held_out("persons") == ("ann",)
    assert manifest.training.settings["backbone_edition"] == backbone.edition


def test_a_store_that_was_cut_before_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toys(tmp_path / "store", ("ann", "bob"))
    words = ["train", "pulse_depth", "--data", str(tmp_path / "store")]
    assert main([*words, "--out", str(tmp_path / "out")]) == Exit.WRONG_USE
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "expected places.npy" in line
    assert "padflow sequences" in line
