"""The views network: a face close by, with shoulders, and with what is around it.

:class:`ViewsPartsNetwork` looks at the eyes, the nose and the mouth besides.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ...engines.natural_features import FEATURES, OF_PICTURE
from ..features import VIEWS, VIEWS_PARTS
from .natural import NaturalNetwork


class ViewsNetwork(NaturalNetwork):
    """Score and embedding of the three views of a face.

    All features of the tight view are looked at, and of the others those of the whole picture:
    their faces are too small to be taken apart, or are in parts already.
    """

    crop: ClassVar[str] = VIEWS.features
    seen: ClassVar[int] = FEATURES + 2 * OF_PICTURE

    def taken(self, features: Tensor) -> Tensor:
        """All of the tight view, and of the others those of the whole picture."""
        tight, *others = torch.split(features, FEATURES, dim=1)
        # Of each view the picture's features come first, then the face's.
        return torch.cat([tight, *(other[:, :OF_PICTURE] for other in others)], dim=1)


class ViewsPartsNetwork(ViewsNetwork):
    """Score and embedding of the three views of a face and of its parts."""

    crop: ClassVar[str] = VIEWS_PARTS.features
    seen: ClassVar[int] = FEATURES + 3 * OF_PICTURE
