"""The views network: judges a third-party network's features of a face and what is around it.

EfficientNet-Lite2 (Tan and Le, ICML 2019) has learned a million natural pictures and is left as it
is (:mod:`padflow.engines.natural_features`); learned here is a head of two layers. A few thousand
simulated crops cannot teach a network from scratch what a hand, a sheet or a bezel looks like
under any camera, and what they do teach it are their own traces (docs/TRAINING.md has the numbers).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...engines.natural_features import FEATURES, OF_PICTURE
from ..features import VIEWS_FEATURES, VIEWS_LENGTH
from .base import CropNetwork, Head, Outputs

SEEN = FEATURES + 2 * OF_PICTURE
"""Features that the head looks at: all of the tight view, and of the others those of the whole
picture, since their faces are too small to be taken apart."""
_FARTHEST = 8.0
"""Standard deviations at which a feature is cut off."""


class ViewsNetwork(CropNetwork):
    """Score and embedding of the views of a face: close by, with shoulders, with surroundings."""

    crop: ClassVar[str] = VIEWS_FEATURES
    takes: ClassVar[str] = "features"
    side: ClassVar[int] = 160
    precisions: ClassVar[tuple[str, ...]] = ("f32",)

    def __init__(self, *, embedding: int = 48, dropout: float = 0.8) -> None:
        """A head.

        Args:
            embedding: length of the embedding, 64 at most.
            dropout: share of the features that a training step does not see.
        """
        super().__init__()
        self.normalise = nn.BatchNorm1d(SEEN, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.classify = Head(SEEN, embedding, normalised=True)

    def forward(self, features: Tensor) -> Outputs:
        """What the head says of features."""
        return self.judge(features)

    def judge(self, planes: Tensor) -> Outputs:
        """Score, embedding and strangeness of features, float32 (N, 29184)."""
        tight, middle, wide = torch.split(planes, FEATURES, dim=1)
        # Of each view the picture's features come first, then the face's.
        seen = torch.cat([tight, middle[:, :OF_PICTURE], wide[:, :OF_PICTURE]], dim=1)
        normal = self.normalise(seen).clamp(-_FARTHEST, _FARTHEST)
        outputs: Outputs = self.classify(self.dropout(normal))
        return outputs

    def example(self, count: int) -> Tensor:
        """Features of nothing."""
        return torch.zeros(count, VIEWS_LENGTH)
