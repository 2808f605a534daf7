"""The patch network of Atoum, Liu, Jourabloo, Liu (IJCB 2017), its light variant, and ours.

A 96x96 patch at the frame's own resolution, so that the medium's texture is not resampled away.
Five convolutions of 50-100-150-200-250, each halved by max pooling (96, 48, 24, 12, 6, 3), then
fully connected 1000 and 400. The frame's score is the mean over its patches.

:class:`PatchNaturalNetwork` sees the same pixels through a network of natural pictures, the middles
of four patches side by side, and judges them together.
"""

from typing import ClassVar

from torch import Tensor, nn

from ...engines.natural_features import OF_PICTURE
from ..features import MOSAIC
from .base import CropNetwork, Head, Outputs
from .natural import NaturalNetwork


def _stage(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


class PatchNetwork(CropNetwork):
    """Score and embedding of one 96x96 patch."""

    crop: ClassVar[str] = "patches"
    side: ClassVar[int] = 96

    def __init__(
        self,
        *,
        embedding: int = 48,
        widths: tuple[int, ...] = (50, 100, 150, 200, 250),
        connected: tuple[int, int] = (1000, 400),
        first_kernel: int = 5,
    ) -> None:
        """A patch network; the defaults are the published ones.

        Args:
            embedding: length of the embedding, 64 at most.
            widths: channels of the five convolutions.
            connected: lengths of the two fully connected layers.
            first_kernel: side of the first convolution's kernel; the others have 3.
        """
        super().__init__()
        inputs = (6, *widths[:-1])
        kernels = (first_kernel, 3, 3, 3, 3)
        self.stages = nn.Sequential(*map(_stage, inputs, widths, kernels))
        wide, narrow = connected
        self.connect = nn.Sequential(
            nn.Conv2d(widths[-1], wide, 3, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(wide, narrow, bias=False),
            nn.BatchNorm1d(narrow),
            nn.ReLU(inplace=True),
        )
        self.classify = Head(narrow, embedding)

    def judge(self, planes: Tensor) -> Outputs:
        """Score, embedding and strangeness."""
        outputs: Outputs = self.classify(self.connect(self.stages(planes)))
        return outputs


class PatchNaturalNetwork(NaturalNetwork):
    """Score and embedding of four patches of a face together."""

    crop: ClassVar[str] = MOSAIC.features
    seen: ClassVar[int] = OF_PICTURE

    def taken(self, features: Tensor) -> Tensor:
        """Those of the whole picture: a mosaic has no face that could be taken apart."""
        return features[:, :OF_PICTURE]
