"""Heads on a third-party network's features, which is how little data goes a long way.

EfficientNet-Lite2 (Tan and Le, ICML 2019) has learned a million natural pictures and is left as it
is (:mod:`padflow.engines.natural_features`); learned here is a head of two layers. A few thousand
simulated crops cannot teach a network from scratch what a hand, a sheet or a bezel looks like
under any camera, and what they do teach it are their own traces (numbers: docs/EXPERIMENTS.md).
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...engines.natural_features import SIDE
from ..features import SIGHTS
from .base import CropNetwork, Head, Outputs

FARTHEST = 8.0
"""Standard deviations at which a feature is cut off."""


class NaturalNetwork(CropNetwork):
    """Score and embedding of what the third-party network sees in a sight of a face."""

    seen: ClassVar[int]
    """How many of their features the head looks at."""
    takes: ClassVar[str] = "features"
    side: ClassVar[int] = SIDE
    precisions: ClassVar[tuple[str, ...]] = ("f32",)

    def __init__(self, *, embedding: int = 48, dropout: float = 0.8) -> None:
        """A head.

        Args:
            embedding: length of the embedding, 64 at most.
            dropout: share of the features that a training step does not see.
        """
        super().__init__()
        self.normalise = nn.BatchNorm1d(self.seen, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.classify = Head(self.seen, embedding, normalised=True)

    def forward(self, features: Tensor) -> Outputs:
        """What the head says of features."""
        return self.judge(features)

    def judge(self, planes: Tensor) -> Outputs:
        """Score, embedding and strangeness of a sight's features, float32 (N, V * 9728)."""
        normal = self.normalise(self.taken(planes)).clamp(-FARTHEST, FARTHEST)
        outputs: Outputs = self.classify(self.dropout(normal))
        return outputs

    @abstractmethod
    def taken(self, features: Tensor) -> Tensor:
        """Those of the features that the head looks at, (N, seen)."""

    def example(self, count: int) -> Tensor:
        """Features of nothing."""
        return torch.zeros(count, SIGHTS[self.crop].length)
