"""Moving average of a network's weights, which is steadier than the weights themselves."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class WeightAverage(Generic[N]):
    """Exponential moving average of weights and of normalisation statistics.

    The decay rises from 0.1 to ``decay`` over the first steps, so that the random start is
    forgotten.
    """

    def __init__(self, network: N, decay: float) -> None:
        """Start from the network's weights."""
        self.decay = decay
        self.steps = 0
        self.network: N = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: N) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (9 + self.steps))
        ours, theirs = self.network.state_dict(), network.state_dict()
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], weight)
            else:
                value.copy_(theirs[name])
