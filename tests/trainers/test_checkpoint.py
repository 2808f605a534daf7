"""A run goes on from its checkpoint as if nothing had been, and from no other run's."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from padflow.trainers.average import WeightAverage
from padflow.trainers.checkpoint import (
    Learner,
    Progress,
    check_recipe,
    load_state,
    save_state,
)
from padflow.trainers.pulse_recipe import load_pulse_recipe
from padflow.trainers.recipe import TrainingError


def learner(seed: int) -> Learner:
    torch.manual_seed(seed)
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    return Learner(network, WeightAverage(network, 0.9), optimiser, Progress())


def weight(network: torch.nn.Module) -> torch.Tensor:
    return next(network.parameters())


def step(one: Learner) -> None:
    loss = one.network(torch.ones(4, 3)).square().sum()
    one.optimiser.zero_grad()
    loss.backward()
    one.optimiser.step()
    one.average.update(one.network)
    one.progress.step += 1


def anything(path: Path, state: Mapping[str, Any]) -> None:
    assert state["recipe"] == "mine"


def test_what_is_kept_goes_on_as_if_nothing_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's optimiser sets it
    first, second = learner(1), learner(2)
    for _ in range(3):
        step(first)
    first.progress.history.append({"loss": 1.0})
    first.keep(tmp_path, {"recipe": "mine"})
    second.restore(tmp_path, anything)
    assert second.progress == first.progress
    for one in (first, second):
        step(one)
    assert torch.equal(weight(first.network), weight(second.network))
    assert torch.equal(weight(first.average.network), weight(second.average.network))
    assert (tmp_path / "history.jsonl").read_text() == '{"loss": 1.0}\n'


def test_a_checkpoint_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    learner(1).keep(tmp_path, {"recipe": "mine"})
    other = learner(2)
    before = weight(other.network).clone()

    def refuse(path: Path, state: Mapping[str, Any]) -> None:
        raise TrainingError(f"{path}: not mine")

    with pytest.raises(TrainingError, match="not mine"):
        other.restore(tmp_path, refuse)
    assert torch.equal(before, weight(other.network))


def test_nobody_is_advised_to_unpickle_a_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(pickle.dumps({"network": Path}))
    with pytest.raises(TrainingError, match="it is damaged, or was not written by padflow") as told:
        load_state(path)
    assert "weights_only" not in str(told.value)
    with pytest.raises(TrainingError, match="No such file"):
        load_state(tmp_path / "gone.pt")


def test_a_full_disk_is_told_and_what_was_kept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state({"step": 1}, tmp_path / "checkpoint.pt")

    def full(state: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise RuntimeError("unexpected pos 2311488 vs 2311380")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: cannot be written: .*make room"):
        save_state({"step": 2}, tmp_path / "checkpoint.pt")
    assert load_state(tmp_path / "checkpoint.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_longer_run_is_the_same_recipe_and_another_seed_is_not() -> None:
    recipe = load_pulse_recipe("pulse_net")
    where = Path("run/checkpoint.pt")
    check_recipe(where, recipe, load_pulse_recipe("pulse_net", epochs=99, max_minutes=5.0))
    with pytest.raises(TrainingError, match="another recipe"):
        check_recipe(where, recipe, load_pulse_recipe("pulse_net", seed=5))


def test_a_run_is_over_after_its_epochs_or_its_time() -> None:
    assert not Progress(epoch=2, seconds=59.0).over(3, 1.0)
    assert Progress(epoch=3).over(3, None)
    assert Progress(epoch=1, seconds=60.0).over(3, 1.0)
