import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from padflow.trainers.crops import CropStore, write_crops
from padflow.trainers.networks import Outputs
from padflow.trainers.recipe import Losses, Recipe, TrainingError, load_recipe, parse_recipe
from padflow.trainers.scoring import measures, score_rows, spread
from padflow.trainers.strangeness import reach_of
from padflow.trainers.training import (
    Trained,
    computed_in,
    loss_of,
    rate_at,
    train,
)
from padflow.trainers.weights import weights_of
from tests.trainers.stores import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return write_store(tmp_path_factory.mktemp("store"), rows=64, persons=4)


def recipe(**changes: Any) -> Recipe:
    least = {
        "name": "toy",
        "task": "Tells.",
        "network": {"name": "patch_light", "embedding": 8},
        "hold_out": {"share": 0.4},
        "batch": 8,
        "epochs": 2,
        "steps_per_epoch": 6,
        "average": 0.5,
        "validation_crops": 24,
        "learning_rate": 3e-3,
    }
    return parse_recipe(least | changes)


def quietly(*args: Any, **kwargs: Any) -> tuple[Trained, list[str]]:
    lines: list[str] = []
    torch.set_num_threads(1)
    trained = train(*args, tensorboard=False, say=lines.append, **kwargs)
    return trained, lines


@pytest.mark.parametrize(
    "network",
    [
        {"name": "patch_light"},
        {"name": "depth_light", "width": 0.5},
        pytest.param({"name": "context"}, marks=pytest.mark.long),
    ],
)
def test_learns_what_can_be_told(network: dict[str, Any], store: CropStore, tmp_path: Path) -> None:
    wanted = recipe(network=network | {"embedding": 8}, epochs=3, steps_per_epoch=15)
    trained, lines = quietly(wanted, store, tmp_path, extra_validation={"again": store})
    assert trained.best["validation"]["auc"] > 0.95
    assert len(lines) == 3
    assert "again: AUC" in lines[-1]
    assert "steps/s" in lines[-1]
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert {"auc", "eer", "acer", "apcer_mask", "clip_auc"} <= set(history[0]["again"])
    rows = trained.split.validation
    strangeness = trained.network.head.strangeness
    ours = score_rows(trained.network, store, rows).embedding
    assert strangeness(torch.from_numpy(ours)).median() < 1
    assert strangeness(torch.from_numpy(ours * 20 + 50)).min() > 1


def test_a_resumed_run_is_an_uninterrupted_one(store: CropStore, tmp_path: Path) -> None:
    whole, _ = quietly(recipe(epochs=3), store, tmp_path / "whole")
    again, _ = quietly(recipe(epochs=3), store, tmp_path / "again")

    class Power(Exception):
        pass

    def cut(line: str) -> None:
        if line.startswith("epoch 2"):
            raise Power

    with pytest.raises(Power):
        train(recipe(epochs=3), store, tmp_path / "cut", tensorboard=False, say=cut)
    resumed, lines = quietly(recipe(epochs=3), store, tmp_path / "cut", resume=True)
    assert len(lines) == 1
    for other in (again, resumed):
        expected, found = whole.network.state_dict(), other.network.state_dict()
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_another_recipe_cannot_resume(store: CropStore, tmp_path: Path) -> None:
    quietly(recipe(epochs=1, steps_per_epoch=1), store, tmp_path)
    with pytest.raises(TrainingError, match="made with another recipe"):
        quietly(recipe(epochs=1, steps_per_epoch=1, seed=9), store, tmp_path, resume=True)
    # The one that the refusal points to is still there.
    assert load_recipe(tmp_path / "recipe.yaml").seed == 0


def test_a_run_is_not_judged_on_people_that_it_learned_from(tmp_path: Path) -> None:
    """More people in the store, and others of them are drawn to be held out."""
    before = write_store(tmp_path / "store", rows=64, persons=4)
    quietly(recipe(epochs=1, steps_per_epoch=1), before, tmp_path / "run")
    more = [
        (replace(row, id=f"n{row.id}", person=f"q{row.person}"), before.crops(i))
        for i, row in enumerate(before.rows)
    ]
    grown = write_crops(tmp_path / "store", more)
    wanted = recipe(epochs=2, steps_per_epoch=1)
    with pytest.raises(TrainingError, match=r"hold out persons that it has learned from \(p3\)"):
        quietly(wanted, grown, tmp_path / "run", resume=True)
    quietly(wanted, before, tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_named(store: CropStore, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: cannot be read"):
        quietly(recipe(), store, tmp_path, resume=True)


def test_stops_when_the_time_is_up(store: CropStore, tmp_path: Path) -> None:
    _, lines = quietly(recipe(epochs=50, max_minutes=1e-6), store, tmp_path)
    assert len(lines) == 1


@pytest.mark.parametrize("names", [("validation",), ("loss",), ("x/real", "y/real")])
def test_extra_stores_have_names_of_their_own(
    names: tuple[str, ...], store: CropStore, tmp_path: Path
) -> None:
    """One called ``validation`` would choose the epoch, and of two of one name one was lost."""
    places = [tmp_path / name for name in names]
    with pytest.raises(TrainingError, match="extra validation: expected stores with names"):
        quietly(recipe(), store, tmp_path / "run", extra_validation=places)


def test_extra_stores_choose_only_where_the_recipe_says_so(
    store: CropStore, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="select_by: expected one of last, validation"):
        quietly(recipe(select_by="real"), store, tmp_path)
    flipped = tuple(
        type(row)(
            **{f: getattr(row, f) for f in row.__slots__}
            | (
                {"label": "attack", "species": "print"}
                if row.label == "live"
                else {"label": "live", "species": "live"}
            )
        )
        for row in store.rows
    )
    lies = CropStore(store.folders, flipped, store._maps, store._starts)
    extra = {"lies": lies}
    honest, _ = quietly(recipe(epochs=4), store, tmp_path / "a", extra_validation=extra)
    lying, _ = quietly(
        recipe(epochs=4, select_by="lies"), store, tmp_path / "b", extra_validation=extra
    )
    last, _ = quietly(recipe(select_by="last"), store, tmp_path / "c")
    assert honest.best["validation"]["eer"] <= lying.best["validation"]["eer"]
    assert lying.best["lies"]["eer"] <= honest.best["lies"]["eer"]
    assert last.best["epoch"] == 2


def test_a_loss_that_is_no_number_stops_the_run(store: CropStore, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is .* lower the recipe's"):
        quietly(recipe(learning_rate=1e30, warm_up=0.0), store, tmp_path)


def test_writes_logs_for_tensorboard(store: CropStore, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(recipe(epochs=1, steps_per_epoch=1), store, tmp_path, say=lambda line: None)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def outputs(score: float, depth: torch.Tensor) -> Outputs:
    empty = torch.zeros(len(depth), 1)
    return Outputs(torch.full((len(depth),), score), empty, empty[:, 0], depth)


def test_loss_counts_only_known_depth() -> None:
    depth = torch.rand(4, 32, 32)
    batch = {
        "live": torch.ones(4),
        "depth": torch.zeros(4, 32, 32),
        "depth_weight": torch.tensor([1.0, 0, 0, 0]),
    }
    losses = Losses(score=0, contrastive=0, depth=2)
    found = loss_of(outputs(0.0, depth), batch, losses)
    assert found.item() == pytest.approx(2 * depth[0].mean().item() / 4, rel=1e-5)
    with_contrast = loss_of(outputs(0.0, depth), batch, Losses(score=0, contrastive=1, depth=2))
    assert with_contrast > found


def test_label_smoothing_pulls_to_the_middle() -> None:
    flat = torch.zeros(1, 32, 32)
    batch = {"live": torch.ones(1), "depth": flat, "depth_weight": torch.zeros(1)}
    losses = Losses(depth=0, smoothing=0.05)
    best = float(np.log(0.975 / 0.025))
    at = [loss_of(outputs(score, flat), batch, losses) for score in (best - 0.5, best, best + 0.5)]
    assert at[1] < min(at[0], at[2])


def test_rate_rises_then_falls() -> None:
    rates = [rate_at(share, 0.1) for share in (0.0, 0.05, 0.1, 0.55, 1.0, 1.5)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.505, 0.01, 0.01])
    assert rate_at(0.0, 0.0) == 1


def test_spread_takes_both_classes(store: CropStore) -> None:
    rows = np.arange(len(store))
    assert store.live[spread(store, rows, 10)].sum() == 5
    few = np.concatenate([np.flatnonzero(store.live)[:2], np.flatnonzero(~store.live)])
    assert store.live[spread(store, few, 10)].sum() == 2
    assert len(spread(store, few, 10)) == 10
    np.testing.assert_array_equal(spread(store, rows, 1000), rows)


@pytest.fixture
def scored(store: CropStore) -> Callable[..., dict[str, float]]:
    def of(rows: np.ndarray, live: float, attack: float) -> dict[str, float]:
        score = np.where(store.live[rows], live, attack).astype(np.float32)
        return measures(store, rows, score)

    return of


def test_measures(store: CropStore, scored: Callable[..., dict[str, float]]) -> None:
    rows = np.arange(len(store))
    right = scored(rows, 1.0, -1.0)
    assert (right["auc"], right["eer"], right["acer"], right["clip_auc"]) == (1, 0, 0, 1)
    wrong = scored(rows, -1.0, -2.0)
    assert (wrong["auc"], wrong["bpcer"], wrong["acer"]) == (1, 1, 0.5)
    assert scored(np.flatnonzero(store.live), -1.0, 0.0) == {"bpcer": 1.0}
    assert scored(np.flatnonzero(~store.live), 0.0, 1.0) == {"apcer": 1.0}


@pytest.mark.parametrize(("on_gpu", "able"), [(True, True), (True, False), (False, True)])
def test_bf16_is_computed_where_it_need_not_be_imitated(
    monkeypatch: pytest.MonkeyPatch, on_gpu: bool, able: bool
) -> None:
    """A GPU before Ampere imitates it, as processors without it do."""

    def supported(including_emulation: bool = True) -> bool:
        return able or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": not on_gpu})
    assert computed_in(recipe(precision="bf16")) == ("bf16" if able else "f32")
    assert computed_in(recipe(precision="f32")) == "f32"


def test_with_nobody_held_out_strangeness_reaches_as_far_as_the_start_s(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", rows=64, persons=4)
    before, _ = quietly(recipe(), store, tmp_path / "before")
    rows = np.arange(len(store))
    half = recipe(hold_out={"share": 0}, select_by="last", share_of_learned=0.5)
    with torch.no_grad():
        before.network.head.strangeness.whitening.mul_(0.5)
    after, _ = quietly(half, store, tmp_path / "after", start=weights_of(before.network))
    assert not len(after.split.validation)
    reached = reach_of(before.network, store, rows)
    assert reached < 0.9
    assert reach_of(after.network, store, rows) == pytest.approx(reached, rel=1e-3)
    with pytest.raises(TrainingError, match="select_by: expected 'last' with nobody held out"):
        quietly(recipe(hold_out={"share": 0}), store, tmp_path / "blind")
