"""Derived arrays of a crop store: the views of a face, and what the third-party network sees."""

import os
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from padflow.engines import load_engine
from padflow.nodes.crops import MOSAIC_SCALES, VIEW_SCALES, face_views, patch_mosaic
from padflow.trainers import features
from padflow.trainers.bundling import make_bundle
from padflow.trainers.crops import CropStore, open_crops
from padflow.trainers.features import MOSAIC, SIGHTS, VIEWS, VIEWS_PARTS, Sight
from padflow.trainers.studies.judging import Running, judge, members
from padflow.trainers.training import Trained, train
from tests.trainers.stores import write_store
from tests.trainers.test_training import recipe

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def store(tmp_path: Path) -> CropStore:
    return write_store(tmp_path / "store", rows=24)


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
def test_features_are_what_the_network_sees(store: CropStore, sight: Sight) -> None:
    crops = store.crops(21)
    shown = {
        "views": face_views(crops.face, crops.context)[:3],
        "views_parts": face_views(crops.face, crops.context),
        "mosaic": patch_mosaic(crops.patches),
    }[sight.pictures]
    pictures = store.take(sight.pictures, [21])
    np.testing.assert_array_equal(pictures[0], shown)
    with load_engine("natural_features", precision="f32") as engine:
        seen = engine.infer({"image": shown})["features"]
    found = store.take(sight.features, [3, 21])
    assert found.shape == (2, sight.length)
    np.testing.assert_allclose(found[1], seen.reshape(-1), atol=1e-3, rtol=1e-3)
    np.testing.assert_array_equal(store.only([21]).features(sight, 0), found[1])


def test_both_sights_are_kept_apart(store: CropStore) -> None:
    views, mosaic = (store.take(sight.features, [0]) for sight in (VIEWS, MOSAIC))
    again = open_crops(*store.folders)
    np.testing.assert_array_equal(again.take(MOSAIC.features, [0]), mosaic)
    np.testing.assert_array_equal(again.take(VIEWS.features, [0]), views)


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
def test_nothing_asked_for_is_an_empty_array(store: CropStore, sight: Sight) -> None:
    assert store.take(sight.pictures, []).shape == (0, len(sight.scales), 160, 160, 3)
    assert store.take(sight.features, []).shape == (0, sight.length)


def test_features_are_computed_once_and_anew_where_damaged(
    store: CropStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.take(VIEWS.features, range(24))
    kept = sorted(store.folders[0].glob(f"part-*/{VIEWS.features}-*.npy"))
    assert len(kept) == 2
    kept[0].write_bytes(b"cut short")
    anew = open_crops(*store.folders)
    np.testing.assert_array_equal(anew.take(VIEWS.features, range(24)), before)
    monkeypatch.setattr(
        features, "_computed", lambda shape, pictures: pytest.fail("computed again")
    )
    again = open_crops(*store.folders)
    np.testing.assert_array_equal(again.take(VIEWS.features, range(24)), before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_read(
    store: CropStore, caplog: pytest.LogCaptureFixture
) -> None:
    for part in store.folders[0].glob("part-*"):
        part.chmod(0o555)
    assert store.take(VIEWS.features, [0]).shape == (1, VIEWS.length)
    assert "cannot be kept" in caplog.text


def test_a_full_disk_is_told_and_nothing_is_left(
    store: CropStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: IO[bytes], array: np.ndarray) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    before = sorted(store.folders[0].rglob("*"))
    monkeypatch.setattr(np, "save", full)
    assert store.take(VIEWS.features, [0]).shape == (1, VIEWS.length)
    assert "cannot be kept" in caplog.text
    assert sorted(store.folders[0].rglob("*")) == before


NETWORKS = {
    "views": (VIEWS, VIEW_SCALES[:3], "context"),
    "views_parts": (VIEWS_PARTS, VIEW_SCALES, "context"),
    "patch_natural": (MOSAIC, MOSAIC_SCALES, "patch"),
}
"""What each looks at, how its bundle tells that, and its cue."""


@pytest.fixture(
    scope="module",
    params=["views", "views_parts", pytest.param("patch_natural", marks=pytest.mark.long)],
)
def trained(
    tmp_path_factory: pytest.TempPathFactory, models: Path, request: pytest.FixtureRequest
) -> Trained:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    store = write_store(folder / "store", rows=64, persons=4)
    wanted = recipe(network={"name": request.param, "embedding": 8}, epochs=3, steps_per_epoch=15)
    return train(wanted, store, folder / "run", tensorboard=False, say=lambda line: None)


def test_a_head_learns_from_features(trained: Trained) -> None:
    assert trained.best["validation"]["auc"] > 0.95


def test_its_bundle_takes_pictures_and_says_what_the_head_says(
    trained: Trained, tmp_path: Path
) -> None:
    sight, scales, cue = NETWORKS[trained.recipe.network.name]
    bundle = make_bundle(trained, tmp_path / "bundle", say=lambda line: None)
    assert set(bundle.manifest.files) == {"f32", "weights"}
    assert bundle.manifest.features is not None
    assert bundle.manifest.features.scales == scales
    rows = np.arange(6)
    with torch.inference_mode():
        wanted = trained.network(torch.from_numpy(trained.store.take(sight.features, rows)))
    with load_engine(bundle.folder, precision="f32") as engine:
        found = engine.infer({"image": trained.store.take(sight.pictures, rows)})
    np.testing.assert_allclose(found["score"], wanted.score, atol=1e-2, rtol=1e-3)
    (member,) = members({cue: bundle.folder})
    judged = judge(member, trained.store.only(rows), Running(precision="f32"))
    calibration = bundle.manifest.calibration
    assert calibration is not None
    line = calibration.parameters
    np.testing.assert_allclose(
        judged.llr, line["slope"] * found["score"] + line["offset"], atol=1e-3
    )
