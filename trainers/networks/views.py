"""The views network: a face close by, with shoulders, and with what is around it.

:class:`ViewsPartsNetwork` looks at the eyes, the nose and the mouth besides.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...engines.natural_features import FEATURES, OF_PICTURE
from ..features import VIEWS, VIEWS_PARTS
from ..weights import Weights
from .base import Outputs
from .natural import FARTHEST, NaturalNetwork

PARTS_COUNT = 0.3
"""What the logit of the parts counts beside that of the views. Parts tell masks, worn papers and
the living, and hardly screens: with more, screens and prints lose what papers and masks gain
(docs/EXPERIMENTS.md, "A fourth view")."""


class ViewsNetwork(NaturalNetwork):
    """Score and embedding of the three views of a face."""

    crop: ClassVar[str] = VIEWS.features
    seen: ClassVar[int] = FEATURES + 2 * OF_PICTURE

    def taken(self, features: Tensor) -> Tensor:
        """All of the tight view, and of the others those of the whole picture.

        Their faces are too small to be taken apart.
        """
        tight, middle, wide = torch.split(features, FEATURES, dim=1)
        # Of each view the picture's features come first, then the face's.
        return torch.cat([tight, middle[:, :OF_PICTURE], wide[:, :OF_PICTURE]], dim=1)


class ViewsPartsNetwork(ViewsNetwork):
    """Score and embedding of the three views of a face, and a word of its parts to the score.

    Both are learned for themselves and added. A network that learns from views and parts together
    leaves the parts little to say, since it knows the training's people by their views: on people
    never seen it is the parts that hold (docs/EXPERIMENTS.md, "A fourth view").
    """

    crop: ClassVar[str] = VIEWS_PARTS.features

    def __init__(self, *, embedding: int = 48, dropout: float = 0.8) -> None:
        """As a views network.

        Args:
            embedding: length of the embedding, 64 at most.
            dropout: share of the features that a training step does not see.
        """
        super().__init__(embedding=embedding, dropout=dropout)
        self.parts_normalise = nn.BatchNorm1d(OF_PICTURE, affine=False)
        self.parts_dropout = nn.Dropout(dropout)
        self.parts = nn.Linear(OF_PICTURE, 1)
        self._views_stay = False

    def judge(self, planes: Tensor) -> Outputs:
        """Score, embedding and strangeness; in training the two logits apart."""
        three, parts = planes[:, : 3 * FEATURES], planes[:, 3 * FEATURES :]
        views = super().judge(three)
        normal = self.parts_normalise(parts[:, :OF_PICTURE]).clamp(-FARTHEST, FARTHEST)
        told = self.parts(self.parts_dropout(normal)).float().squeeze(1)
        if self.training:
            return views._replace(parts=told)
        return views._replace(score=views.score + PARTS_COUNT * told)

    def grown(self, weights: Weights) -> Weights:
        """A views network's too, which stays as it is: the parts are learned beside it."""
        state = self.state_dict()
        # Copies: a training changes the network in place, and its start has to stay.
        mine = {name: state[name].numpy().copy() for name in state if name.startswith("parts")}
        if mine.keys() & weights.keys():
            return weights
        self._views_stay = True
        for module in self._views():
            module.requires_grad_(False)
        self.train(self.training)
        return {**weights, **mine}

    def train(self, mode: bool = True) -> "ViewsPartsNetwork":
        """Views that stay are never in training: their normalisation stays as well."""
        super().train(mode)
        if self._views_stay:
            for module in self._views():
                module.eval()
        return self

    def _views(self) -> tuple[nn.Module, ...]:
        return self.normalise, self.dropout, self.classify
