"""One step of a training on one device, in plain PyTorch: learning rate, gradient, average."""

import math
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from .checkpoint import Learner, Progress
from .recipe import TrainingFailed
from .training import LARGEST_GRADIENT, rate_at


class Schedule(Protocol):
    """What a recipe says of the learning rate."""

    @property
    def learning_rate(self) -> float:
        """The greatest."""

    @property
    def warm_up(self) -> float:
        """Share of the run in which it rises from 0."""

    @property
    def epochs(self) -> int:
        """Of the run."""

    @property
    def max_minutes(self) -> float | None:
        """Of the run; the rate follows the clock where that is ahead of the steps."""


def training_device() -> torch.device:
    """Where to train: on a GPU where there is one, as networks on crops do."""
    # NVIDIA's or AMD's: the spectra of the pulse want float64, which Apple's have not.
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def set_rate(
    optimiser: torch.optim.Optimizer, how: Schedule, progress: Progress, steps: int
) -> None:
    """Set the learning rate for the next step.

    Args:
        optimiser: whose rate it is.
        how: the recipe.
        progress: steps done and seconds used.
        steps: of an epoch.
    """
    share = progress.step / (how.epochs * steps)
    if how.max_minutes is not None:
        share = max(share, progress.seconds / (60 * how.max_minutes))
    for group in optimiser.param_groups:
        group["lr"] = how.learning_rate * rate_at(share, how.warm_up)


def learn_from(loss: Tensor, learner: Learner, folder: Path) -> float:
    """Take a step down the gradient of a loss, and give the loss as a number.

    Args:
        loss: a scalar of the learner's network.
        learner: goes on by a step.
        folder: of the run, for the error.

    Raises:
        TrainingError: the loss or its gradient is no longer a number.
    """
    network, optimiser, progress = learner.network, learner.optimiser, learner.progress
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    value = loss.item()
    if not (math.isfinite(value) and math.isfinite(norm.item())):
        raise TrainingFailed(
            f"{folder}: the loss is {value} and its gradient {norm.item()} at step "
            f"{progress.step + 1}; lower the recipe's learning_rate"
        )
    optimiser.step()
    learner.average.update(network)
    progress.step += 1
    return value
