from pathlib import Path

import numpy as np
import pytest
import torch

from padflow.engines.bundle import Bundle, read_bundle
from padflow.trainers.bundling import make_bundle
from padflow.trainers.calibration import ScoredCrops, fit_calibration
from padflow.trainers.crops import CropStore
from padflow.trainers.cross_fitting import CrossFitted, cross_fit
from padflow.trainers.recipe import TrainingError
from padflow.trainers.scoring import score_rows
from padflow.trainers.training import train
from tests.trainers.stores import write_store
from tests.trainers.test_training import recipe

FOLDS = (("p0", "p1"), ("p2",))


def silent(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return write_store(tmp_path_factory.mktemp("store"), rows=64, persons=4)


@pytest.fixture(scope="module")
def fitted(store: CropStore, tmp_path_factory: pytest.TempPathFactory) -> CrossFitted:
    torch.set_num_threads(1)
    wanted = recipe(select_by="last", epochs=2, steps_per_epoch=15)
    run = tmp_path_factory.mktemp("run")
    return cross_fit(wanted, store, run, FOLDS, tensorboard=False, say=silent)


@pytest.fixture(scope="module")
def bundle(fitted: CrossFitted, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "torch"))  # or the exporter sets it
        return make_bundle(
            fitted.everybody, folder / "patch", files=["f32"], folds=fitted.folds, say=silent
        )


def test_each_fold_is_kept_from_its_people_and_everybody_from_nobody(
    store: CropStore, fitted: CrossFitted
) -> None:
    for fold, persons in zip(fitted.folds, FOLDS, strict=True):
        learned = {store.rows[i].person for i in fold.split.train}
        assert learned == {"p0", "p1", "p2", "p3"} - set(persons)
        assert {store.rows[i].person for i in fold.split.validation} == set(persons)
        assert "validation" in fold.best
    assert len(fitted.everybody.split.train) == len(store)
    assert not len(fitted.everybody.split.validation)
    assert "validation" not in fitted.everybody.best
    assert fitted.minutes > fitted.everybody.minutes > 0


def test_crops_like_those_of_the_folds_are_not_strange_to_everybody(fitted: CrossFitted) -> None:
    everybody = fitted.everybody
    strangeness = everybody.network.head.strangeness
    ours = score_rows(everybody.network, everybody.store, everybody.split.train).embedding
    with torch.inference_mode():
        assert float(strangeness(torch.from_numpy(ours)).median()) < 1
        assert float(strangeness(torch.from_numpy(ours * 20 + 50)).min()) > 1
    ratios = []
    for fold in fitted.folds:
        held = score_rows(fold.network, fold.store, fold.split.validation).embedding
        known = score_rows(fold.network, fold.store, fold.split.train).embedding
        reach = [
            np.quantile(fold.network.head.strangeness(torch.from_numpy(e)).detach().numpy(), 0.995)
            for e in (held, known)
        ]
        ratios.append(reach[0] / reach[1])
    with torch.inference_mode():
        reached = np.quantile(strangeness(torch.from_numpy(ours)).numpy(), 0.995)
    assert reached == pytest.approx(1 / np.mean(ratios), rel=1e-3)


def test_everybody_is_calibrated_by_those_who_had_not_seen_them(
    store: CropStore, fitted: CrossFitted, bundle: Bundle
) -> None:
    scores, rows = [], []
    for fold in fitted.folds:
        held = fold.split.validation
        scores.append(score_rows(fold.network, store, held).by_row(len(held)))
        rows += [store.rows[i] for i in held]
    expected = fit_calibration(
        ScoredCrops(
            np.concatenate(scores).astype(np.float64),
            np.array([row.label == "live" for row in rows]),
            [row.person for row in rows],
            [row.clip for row in rows],
            [row.species for row in rows],
        )
    )
    manifest = read_bundle(bundle.folder).manifest
    assert manifest.calibration is not None
    assert manifest.calibration.parameters == pytest.approx(expected.parameters, rel=1e-3)
    assert "each by one of 2 networks that had not seen them" in manifest.calibration.fitted_on
    assert manifest.training.settings["folds"] == ("p0,p1", "p2")
    assert manifest.training.held_out("persons") == ()
    assert "64 crops" in manifest.training.data[0]
    for fold, persons in zip(fitted.folds, FOLDS, strict=True):
        own = read_bundle(fold.folder / "bundle").manifest
        assert own.calibration == manifest.calibration
        assert own.training.held_out("persons") == tuple(persons)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", rows=40, persons=4)
    wanted = recipe(select_by="last", steps_per_epoch=3)
    whole = cross_fit(wanted, store, tmp_path / "a", FOLDS, tensorboard=False, say=silent)

    class Power(Exception):
        pass

    told: list[str] = []

    def cut(line: str) -> None:
        told.append(line)
        if sum(one.startswith("epoch") for one in told) == 3:
            raise Power

    with pytest.raises(Power):
        cross_fit(wanted, store, tmp_path / "b", FOLDS, tensorboard=False, say=cut)
    again = cross_fit(
        wanted, store, tmp_path / "b", FOLDS, resume=True, tensorboard=False, say=silent
    )
    for one, other in zip(
        (*whole.folds, whole.everybody), (*again.folds, again.everybody), strict=True
    ):
        for name, value in one.network.state_dict().items():
            torch.testing.assert_close(value, other.network.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("folds", "select_by", "told"),
    [
        ([["p0"]], "last", "expected two or more groups of persons"),
        ([["p0"], []], "last", "expected two or more groups of persons"),
        ([["p0", "p1"], ["p1"]], "last", "expected every person once, found p1 2 times"),
        ([["p0"], ["p1"]], "validation", "expected 'last' for cross-fitting"),
        ([["p0"], ["nobody"]], "last", "found nobody; name some of"),
    ],
)
def test_wrong_folds_are_told(
    store: CropStore, tmp_path: Path, folds: list[list[str]], select_by: str, told: str
) -> None:
    wanted = recipe(select_by=select_by, epochs=1, steps_per_epoch=1)
    with pytest.raises(TrainingError, match=told):
        cross_fit(wanted, store, tmp_path, folds, tensorboard=False, say=silent)


def test_nobody_held_out_and_no_folds_is_no_bundle(store: CropStore, tmp_path: Path) -> None:
    alone = recipe(select_by="last", hold_out={"share": 0}, epochs=1, steps_per_epoch=1)
    trained = train(alone, store, tmp_path / "run", tensorboard=False, say=silent)
    assert not len(trained.split.validation)
    with pytest.raises(TrainingError, match="expected held-out persons to calibrate on"):
        make_bundle(trained, tmp_path / "bundle", say=silent)
    assert not (tmp_path / "bundle").exists()
