"""Training on several workers of a Ray cluster: one recipe, one run, one network."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric

from padflow.trainers.checkpoint import HISTORY
from padflow.trainers.recipe import TrainingError
from tests.trainers.stores import write_store
from tests.trainers.test_training import recipe

pytest.importorskip("ray.train.torch", reason="Ray Train is not installed (padflow[cluster-train])")

from padflow.trainers.workers import _trainer, fabric_among_workers, train_on_workers

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "store", rows=64, persons=4).folders[0]


@pytest.mark.long
def test_two_workers_learn_together(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    first = recipe(epochs=2, steps_per_epoch=8, batch=8)
    trained = train_on_workers(first, [data], tmp_path, 2, say=lines.append)
    assert [line.split(" | ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    history = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    # A step of two workers has two batches.
    shares = [line["crops_per_s"] / line["steps_per_s"] for line in history]
    assert shares == pytest.approx([16, 16])
    assert trained.best["validation"]["auc"] > 0.8
    learned = trained.network.state_dict()
    fresh: dict[str, Any] = torch.load(tmp_path / "network.pt", weights_only=True)["network"]
    assert all(torch.equal(learned[name], fresh[name]) for name in learned)


@pytest.mark.long
def test_their_run_goes_on(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    train_on_workers(recipe(epochs=1), [data], tmp_path, 2, say=lines.append)
    train_on_workers(recipe(epochs=2), [data], tmp_path, 2, resume=True, say=lines.append)
    assert [line.split(" | ")[0] for line in lines] == ["epoch 1/1", "epoch 2/2"]


def test_more_workers_than_processors_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"99 workers: expected as many .* found 4"):
        train_on_workers(recipe(), [data], tmp_path, 99)


@pytest.mark.long
def test_a_workers_error_is_told(data: Path, tmp_path: Path) -> None:
    nobody = recipe(hold_out={"persons": ["nobody"]})
    with pytest.raises(TrainingError, match=r"one could not go on: .*nobody"):
        train_on_workers(nobody, [data], tmp_path, 2)


def test_machines_may_have_different_numbers_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers, two of them here: Lightning alone wants as many on every machine."""
    places = {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in (places | {"GROUP_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    begun: list[tuple[int, int]] = []

    def launch(fabric: Fabric) -> None:
        strategy: Any = fabric.strategy
        environment = strategy.cluster_environment
        environment.validate_settings(num_devices=2, num_nodes=1)
        begun.append((environment.world_size(), environment.global_rank()))

    monkeypatch.setattr(Fabric, "launch", launch)
    fabric_among_workers(recipe())
    assert begun == [(3, 0)]


@pytest.mark.parametrize(
    ("built", "gpus", "noun", "found"),
    [(True, 2, "GPUs", 2), (True, 0, "processors", 1), (False, 2, "processors", 1)],
)
def test_the_cluster_decides_whether_workers_have_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: bool, gpus: int, noun: str, found: int
) -> None:
    """Not the machine that asks: the head of a cluster with GPUs has none."""
    monkeypatch.setattr(torch.version, "cuda", "13.0" if built else None)
    cluster = SimpleNamespace(cluster_resources=lambda: {"CPU": 1.0, "GPU": float(gpus)})
    with pytest.raises(TrainingError, match=rf"expected as many {noun} .* found {found}"):
        _trainer(cluster, {}, tmp_path, 3)
