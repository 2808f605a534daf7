"""A step of a training in plain PyTorch."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from padflow.trainers.average import WeightAverage
from padflow.trainers.checkpoint import Learner, Progress
from padflow.trainers.learning import learn_from, set_rate, training_device
from padflow.trainers.recipe import TrainingError


@dataclass(frozen=True)
class How:
    learning_rate: float = 0.1
    warm_up: float = 0.0
    epochs: int = 2
    max_minutes: float | None = None


def learner() -> Learner:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    return Learner(network, WeightAverage(network, 0.5), optimiser, Progress())


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_device() == torch.device("cpu") or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training_device() == torch.device("cuda:0")


def test_a_step_goes_down_and_is_counted(tmp_path: Path) -> None:
    one = learner()
    given = torch.ones(4, 3)
    losses = [learn_from(one.network(given).square().mean(), one, tmp_path) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert one.progress.step == one.average.steps == 5


def test_a_loss_that_is_no_number_ends_the_run_and_harms_no_weight(tmp_path: Path) -> None:
    one = learner()
    before = [weight.clone() for weight in one.network.parameters()]
    with pytest.raises(TrainingError, match=r"the loss is nan .* at step 1; lower the recipe's"):
        learn_from(one.network(torch.full((1, 3), torch.nan)).mean(), one, tmp_path)
    for weight, old in zip(one.network.parameters(), before, strict=True):
        assert torch.equal(weight, old)


def test_the_rate_follows_the_steps_or_the_clock_whichever_is_ahead() -> None:
    one = learner()

    def rate(step: int, seconds: float, minutes: float | None) -> float:
        set_rate(one.optimiser, How(max_minutes=minutes), Progress(step=step, seconds=seconds), 10)
        return float(one.optimiser.param_groups[0]["lr"])

    assert rate(0, 0.0, None) == pytest.approx(0.1)
    assert 0 < rate(10, 0.0, None) < 0.06
    assert rate(10, 0.0, 1.0) == rate(10, 30.0, 1.0) == rate(10, 999.0, None)
    assert rate(10, 45.0, 1.0) == rate(0, 45.0, 1.0) < rate(10, 30.0, 1.0)
