import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from padflow.engines.bundle import SHIPPED
from padflow.engines.engine import load_engine
from padflow.trainers.calibration import Fit
from padflow.trainers.recipe import TrainingError
from padflow.trainers.site import SiteOptions, adapt, mixed
from tests.nodes.tiny_nets import CALIBRATION, write_tiny_bundle
from tests.trainers.door import write_door

BASE = SHIPPED / "patch_light"
"""A door is adapted from what padflow ships, as a user would do it."""


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or the exporter sets it
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or Lightning does


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_door_gives_a_bundle_and_a_report(models: Path, tmp_path: Path, twice: bool) -> None:
    torch.set_num_threads(1)
    door, out, work = write_door(tmp_path / "door.mp4"), tmp_path / "out", tmp_path / "work"
    # Of some 20 crops to check on, living ones score no higher than attacks by chance.
    options = SiteOptions(minutes=0.01, bases=[BASE], workers=1, least=(80, 20))
    lines: list[str] = []
    (bundle,) = adapt([door], out, work, options, lines.append)
    about = bundle.manifest.about
    assert (about.name, about.version) == ("patch_light_site", "0.1.1")
    assert set(bundle.manifest.files) >= {"f32", "weights"}
    assert bundle.manifest.training.settings["base"] == "patch_light 0.1.0"
    kept = bundle.manifest.training.settings["kept"]
    share = bundle.manifest.training.settings["share_of_learned"]
    assert (kept, share) in {("base", 0.0), ("learned", 0.5)}
    assert bundle.manifest.calibration is not None
    assert bundle.manifest.calibration.parameters["slope"] > 0
    assert str(tmp_path) not in (bundle.folder / "bundle.json").read_text()
    with load_engine(out / "patch_light_site") as engine:
        found = engine.infer({"image": np.zeros((2, 96, 96, 3), np.uint8)})
    assert np.isfinite(found["score"]).all()
    report = json.loads((out / "site.json").read_text())
    (network,) = report["networks"]
    assert report["crops_checked_on"] >= 20
    assert network["simulated"]["before"]["eer"] < 0.5
    assert "parted by time" in (out / "site.html").read_text()
    if twice:
        going_on = replace(options, resume=True)
        (again,) = adapt([door], out, work, going_on, lines.append)
        assert again.manifest.about.version == "0.1.2"
        assert "going on with the crops of the run before" in lines


def test_a_base_without_weights_is_told_before_any_work(tmp_path: Path) -> None:
    bare = write_tiny_bundle(tmp_path / "tiny", "context")
    with pytest.raises(TrainingError, match="expected weights to start from, found only f32"):
        adapt([tmp_path], tmp_path / "out", tmp_path / "work", SiteOptions(bases=[bare]))
    assert not (tmp_path / "work").exists()


def test_a_calibration_of_few_presentations_changes_little() -> None:
    rng = np.random.default_rng(1)
    before = rng.normal(0, 2, 400)
    score = 0.5 * before + 1.0  # the adapted network says the same on another scale
    few = Fit(0.2, 0.0, -1.0, 1.0, live=2.0, attacks=2.0)
    found, told = mixed(few, CALIBRATION, score, before)
    theirs = np.expm1(-CALIBRATION["min_llr"])
    assert told["share_of_site"] == pytest.approx(2 / (2 + theirs))
    share = told["share_of_site"]
    assert found.slope == pytest.approx(share * 0.2 + (1 - share) * 2 * CALIBRATION["slope"])
    expected = (1 - share) * (CALIBRATION["offset"] - 2 * CALIBRATION["slope"])
    assert found.offset == pytest.approx(expected)
    assert CALIBRATION["min_llr"] < found.min_llr < few.min_llr
    assert few.max_llr < found.max_llr < CALIBRATION["max_llr"]


def test_a_base_that_says_the_opposite_is_not_mixed_in() -> None:
    before = np.linspace(-2, 2, 50)
    fit = Fit(0.7, 0.1, -2.0, 3.0, live=6.4, attacks=19.1)
    assert mixed(fit, CALIBRATION, -before, before) == (fit, {"share_of_site": 1.0})
