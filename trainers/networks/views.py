"""The views network: a face close by, with shoulders, and with what is around it."""

from typing import ClassVar

import torch
from torch import Tensor

from ...engines.natural_features import FEATURES, OF_PICTURE
from ..features import VIEWS
from .natural import NaturalNetwork


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
