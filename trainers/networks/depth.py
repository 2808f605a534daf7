"""The depth network of Liu, Jourabloo, Liu (CVPR 2018), single frame, and its light variant.

Stem 64, three blocks of 128-196-128 each followed by max pooling, the three outputs brought to
32x32 and concatenated to 384, head 128-64-1. ReLU and batch normalisation as in CDCN (CVPR 2020).

The papers sum the map to get a score. Here a small head learns the score from the map's own
statistics (means and deviations of 4x4 blocks, after Atoum et al. 2017) and from the averaged
384 features. The map's statistics carry no gradient back: the depth loss alone shapes the map.

The outputs of the three blocks are given as they are too: the motion network
(:mod:`.motion_depth`) goes on from them.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import CropNetwork, Head, Outputs
from .layers import conv3, strided

MAP_SIDE = 32


class Block(nn.Sequential):
    """Three convolutions and a max pooling that halves the picture."""

    def __init__(self, inputs: int, widths: tuple[int, int, int], theta: float) -> None:
        first, second, third = widths
        super().__init__(
            conv3(inputs, first, theta),
            conv3(first, second, theta),
            conv3(second, third, theta),
            nn.MaxPool2d(2),
        )


class DepthNetwork(CropNetwork):
    """Depth map 32x32, score and embedding of a 256x256 face crop."""

    crop: ClassVar[str] = "face"
    side: ClassVar[int] = 256

    def __init__(
        self, *, embedding: int = 48, theta: float = 0.0, width: float = 1.0, coarse: bool = False
    ) -> None:
        """A depth network.

        Args:
            embedding: length of the embedding, 64 at most.
            theta: share of the central difference in every 3x3 convolution, 0..1.
            width: share of the published channel counts.
            coarse: let the stem step by four pixels (7x7), so that the blocks work at 64, 32 and 16
                pixels a side instead of 256, 128 and 64: sixteen times cheaper.
        """
        super().__init__()
        stem, wide, middle, narrow = (max(8, round(width * c)) for c in (64, 196, 128, 64))
        widths = (middle, wide, middle)
        self.stem = strided(6, stem) if coarse else conv3(6, stem, theta)
        self.blocks = nn.ModuleList(Block(c, widths, theta) for c in (stem, middle, middle))
        last = nn.Conv2d(narrow, 1, 3, padding=1)
        self.map = nn.Sequential(
            conv3(3 * middle, middle, theta), conv3(middle, narrow, theta), last
        )
        self.classify = Head(3 * middle + 32, embedding)
        self._first = (middle, 32 if coarse else 128)

    @property
    def has_depth(self) -> bool:
        """Always."""
        return True

    @property
    def stage_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Of the three blocks' outputs."""
        channels, side = self._first
        return tuple((channels, side >> stage, side >> stage) for stage in range(3))

    def judge(self, planes: Tensor) -> Outputs:
        """Depth map, score, embedding, strangeness and the blocks' outputs."""
        features = self.stem(planes)
        stages = []
        for block in self.blocks:
            features = block(features)
            stages.append(features)
        merged = torch.cat([to_map_side(stage) for stage in stages], dim=1)
        depth = torch.sigmoid(self.map(merged).float().squeeze(1))
        pooled = torch.cat([merged.mean(dim=(2, 3)).float(), map_statistics(depth.detach())], dim=1)
        outputs: Outputs = self.classify(pooled)
        first, second, third = (stage.float() for stage in stages)
        return outputs._replace(depth=depth, features_1=first, features_2=second, features_3=third)


def to_map_side(features: Tensor) -> Tensor:
    """A square map (N, C, s, s) of a stage brought to (N, C, 32, 32): averaged, or interpolated."""
    side = features.shape[-1]
    if side > MAP_SIDE:
        return functional.avg_pool2d(features, side // MAP_SIDE)
    if side < MAP_SIDE:
        return functional.interpolate(
            features, scale_factor=float(MAP_SIDE // side), mode="bilinear", align_corners=False
        )
    return features


def map_statistics(depth: Tensor) -> Tensor:
    """Mean and standard deviation of the map's 4x4 blocks, (N, 32, 32) to (N, 32)."""
    maps = depth.unsqueeze(1)
    mean = functional.avg_pool2d(maps, 8)
    square = functional.avg_pool2d(maps * maps, 8)
    deviation = torch.sqrt(torch.clamp(square - mean * mean, min=0) + 1e-6)
    return torch.cat([mean.flatten(1), deviation.flatten(1)], dim=1)
