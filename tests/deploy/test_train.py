import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pytest

from padflow.deploy.commands import train
from padflow.deploy.exits import Exit, UsageError
from padflow.engines.bundle import read_bundle
from padflow.engines.errors import BackendMissing
from padflow.trainers.crops import open_crops
from padflow.trainers.recipe import RecipeError, TrainingError
from padflow.trainers.weights import bundle_weights
from tests.trainers.stores import write_store

RECIPE = """
name: toy
task: Tells toys apart.
network: {name: patch_light, embedding: 8}
hold_out: {share: 0.4}
batch: 8
epochs: 9
steps_per_epoch: 15
average: 0.5
learning_rate: 0.003
"""


def asked(*words: str) -> Namespace:
    parser = ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


def test_trains_and_writes_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or Lightning does
    write_store(tmp_path / "store", rows=64, persons=4, maker="Sons, Inc. ")
    recipe, out = tmp_path / "toy.yaml", tmp_path / "toy"
    recipe.write_text(RECIPE)
    words = [str(recipe), "--data", str(tmp_path / "store"), "--out", str(out), "--epochs", "2"]
    words += ["--files", "f16", "--threads", "1", "--validate", str(tmp_path / "store")]
    with pytest.raises(TrainingError, match=r"expected persons of .*, found nobody; name some of"):
        train.run(asked(*words, "--hold-out", "nobody"))
    people = sorted({row.person for row in open_crops(tmp_path / "store").rows})
    words += ["--hold-out", *people[:2]]
    assert train.run(asked(*words)) == Exit.DONE
    printed = capsys.readouterr().out
    assert "epoch 2/2" in printed
    assert "store: AUC" in printed
    manifest = read_bundle(out).manifest
    assert set(manifest.files) == {"f16", "weights"}
    assert manifest.training.held_out("persons") == tuple(people[:2])
    with pytest.raises(UsageError, match="holds a training run already"):
        train.run(asked(*words))
    again = [*words, "--out", str(tmp_path / "on"), "--start", str(out), "--epochs", "1"]
    again += ["--files", "f32"]
    assert train.run(asked(*again)) == Exit.DONE
    told = capsys.readouterr()
    assert loss_of_first_epoch(told.out) < loss_of_first_epoch(printed)
    assert "was kept from" not in told.err
    before, learned = manifest.training, read_bundle(tmp_path / "on").manifest.training
    assert learned.data == (before.data[0], f"{manifest.about.name}, before: {before.data[0]}")
    assert learned.settings["started_from"] == f"{manifest.about.name} {manifest.edition[:12]}"
    anew = [*words[:-2], people[2], "--out", str(tmp_path / "anew")]
    anew += ["--start", str(out), str(tmp_path / "on")]
    assert train.run(asked(*anew, "--calibrate-only")) == Exit.DONE
    assert f"if it has learned from {people[2]}, who are held out now" in capsys.readouterr().err
    media = manifest.training.held_out("media")
    assert len(media) == 3
    assert all(name.startswith("Sons, Inc. ") for name in media)
    assert learned.held_out("media") == media
    found = read_bundle(tmp_path / "anew")
    assert found.manifest.training.held_out("media") == media
    names = [read_bundle(tmp_path / name).manifest for name in ("toy", "on")]
    assert found.manifest.training.settings["started_from"] == tuple(
        f"{one.about.name} {one.edition[:12]}" for one in names
    )
    first, second, mean = (
        bundle_weights(read_bundle(tmp_path / name))["classify.score.bias"].astype(np.float64)
        for name in ("toy", "on", "anew")
    )
    np.testing.assert_allclose(mean, (first + second) / 2, rtol=1e-5)
    assert not np.allclose(first, second)


@pytest.mark.long
def test_cross_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    write_store(tmp_path / "store", rows=64, persons=4, family="Doe, ")
    recipe, out = tmp_path / "toy.yaml", tmp_path / "toy"
    recipe.write_text(RECIPE + "select_by: last\n")
    words = [str(recipe), "--data", str(tmp_path / "store"), "--out", str(out), "--epochs", "2"]
    words += ["--files", "f32", "--threads", "1", "--folds", '"Doe, p0","Doe, p1"', '"Doe, p2"']
    assert train.run(asked(*words)) == Exit.DONE
    printed = capsys.readouterr().out
    assert printed.index("fold 2 of 2, without Doe, p2") < printed.index("everybody")
    told = read_bundle(out).manifest.training.settings["folds"]
    assert told == ('"Doe, p0","Doe, p1"', '"Doe, p2"'), "as --folds takes them"
    calibrations = [
        read_bundle(folder).manifest.calibration
        for folder in (out, *(out.with_name("toy.run") / f"fold-{n}" / "bundle" for n in (1, 2)))
    ]
    assert calibrations[0] == calibrations[1] == calibrations[2]
    (out.with_name("toy.run") / "checkpoint.pt").unlink()
    with pytest.raises(UsageError, match="holds a training run already"):
        train.run(asked(*words))


def test_everybody_is_learned_from_near_a_bundle_whose_calibration_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
    write_store(tmp_path / "store", rows=64, persons=4)
    recipe, before, out = tmp_path / "toy.yaml", tmp_path / "before", tmp_path / "out"
    recipe.write_text(RECIPE)
    words = ["--data", str(tmp_path / "store"), "--files", "f32", "--threads", "1", "--epochs", "2"]
    assert train.run(asked(str(recipe), *words, "--out", str(before))) == Exit.DONE
    nobody = "hold_out: {share: 0}\nselect_by: last\n"
    recipe.write_text(RECIPE.replace("hold_out:", "#") + nobody + "share_of_learned: 0.5\n")
    words += ["--start", str(before)]
    assert train.run(asked(str(recipe), *words, "--out", str(out))) == Exit.DONE
    old, new = (read_bundle(folder).manifest for folder in (before, out))
    assert old.calibration is not None
    assert new.calibration is not None
    assert new.calibration.parameters == old.calibration.parameters
    assert old.calibration.fitted_on in new.calibration.fitted_on
    assert f"toy {old.edition[:12]}, which it went on from" in new.calibration.fitted_on
    assert new.training.settings["held_out_persons"] == ()
    assert not any(metric.name.startswith("acer") for metric in new.metrics)
    assert "of 4 persons" in new.training.data[0]
    recipe.write_text(RECIPE.replace("hold_out:", "#") + nobody + "share_of_learned: 0.6\n")
    with pytest.raises(TrainingError, match=r"go on with share_of_learned 0\.5 at most"):
        train.run(asked(str(recipe), *words, "--out", str(tmp_path / "far")))
    recipe.write_text(
        RECIPE.replace("hold_out:", "#") + "hold_out: {share: 0}\nshare_of_learned: 0.5\n"
    )
    with pytest.raises(TrainingError, match="select_by: expected 'last' with nobody held out"):
        train.run(asked(str(recipe), *words, "--out", str(tmp_path / "blind")))
    assert "do not tell whose face" not in capsys.readouterr().out


def test_folds_ask_for_a_recipe_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    write_store(tmp_path / "store", rows=24, persons=4)
    recipe, out = tmp_path / "toy.yaml", tmp_path / "toy"
    recipe.write_text(RECIPE)
    words = ["--data", str(tmp_path / "store"), "--out", str(out), "--folds", "p0,p1", "p2"]
    with pytest.raises(TrainingError, match="expected 'last' for cross-fitting"):
        train.run(asked(str(recipe), *words))
    recipe.write_text(RECIPE + "select_by: last\n")
    for others in (["--hold-out", "p3"], ["--workers", "2"], ["--start", str(out)]):
        with pytest.raises(UsageError, match="--folds: expected no --hold-out"):
            train.run(asked(str(recipe), *words, *others))
    with pytest.raises(UsageError, match="--folds: expected the recipe of a network on crops"):
        train.run(asked("fusion", *words))


def loss_of_first_epoch(printed: str) -> float:
    return float(printed.split("loss ")[1].split()[0])


def test_wrong_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
    write_store(tmp_path / "store", rows=24)
    words = ["patch_light", "--data", str(tmp_path / "store"), "--out", str(tmp_path / "b")]
    with pytest.raises(UsageError, match="--workers: expected 1 or more"):
        train.run(asked(*words, "--workers", "0"))
    (tmp_path / "other.yaml").write_text("kind: pulse_net\n" + RECIPE)
    with pytest.raises(UsageError, match=r"kind: expected network, fusion, .*found 'pulse_net'"):
        train.run(asked(str(tmp_path / "other.yaml"), *words[1:]))
    (tmp_path / "empty").mkdir()
    for out in (".", "/", str(tmp_path / "empty"), str(tmp_path / "store")):
        with pytest.raises(UsageError, match=r"--out .*expected a folder that is not there yet"):
            train.run(asked(*words[:3], "--out", out))
    with pytest.raises(UsageError, match="--start: expected a recipe and one worker"):
        train.run(asked(*words, "--start", str(tmp_path), "--workers", "2"))
    for more in ((), ("--workers", "2"), ("--folds", "p1,p2", "p3")):
        with pytest.raises(UsageError, match=r"share_of_learned: expected --start BUNDLE beside"):
            train.run(asked("views_further", *words[1:], *more))
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(BackendMissing, match="expected Ray Train, found none"):
        train.run(asked(*words, "--workers", "2"))


@pytest.mark.parametrize(
    "words", [("--hold-out", "P1"), ("--validate", "real"), ("--max-minutes", "3")]
)
def test_a_fusion_refuses_what_it_would_take_no_notice_of(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    given = ["fusion", "--data", str(tmp_path), "--out", str(tmp_path / "b")]
    with pytest.raises(UsageError, match=f"{words[0]}: expected none with fusion"):
        train.run(asked(*given, *words))
    with pytest.raises(RecipeError, match=r"seed: .*greater than or equal to 0"):
        train.run(asked(*given, "--seed", "-1"))
