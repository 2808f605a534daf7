"""The context network: does the edge of a sheet, a hand or a bezel stand around the face?

Inverted residuals (Sandler et al., MobileNetV2, CVPR 2018) on a 160x160 crop of four times the
face's mesh box, whose side in the picture is a quarter. The score comes from the mean, for what
is everywhere, and the maximum, for the one edge that tells.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from .base import CropNetwork, Head, Outputs

EXPANSION = 3
STAGES = ((24, 2), (48, 3), (96, 4))
"""Channels and blocks at 40, 20 and 10 pixels a side."""


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to its input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * inputs
        self.added = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *_conv(inputs, wide, 1),
            nn.ReLU(inplace=True),
            *_conv(wide, wide, 3, stride, groups=wide),
            nn.ReLU(inplace=True),
            *_conv(wide, outputs, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        found: Tensor = self.layers(features)
        return features + found if self.added else found


class ContextNetwork(CropNetwork):
    """Score and embedding of a 160x160 context crop."""

    crop: ClassVar[str] = "context"
    side: ClassVar[int] = 160

    def __init__(self, *, embedding: int = 48, width: float = 1.0) -> None:
        """A context network.

        Args:
            embedding: length of the embedding, 64 at most.
            width: share of the channel counts.
        """
        super().__init__()
        channels = max(8, round(16 * width))
        layers: list[nn.Module] = [*_conv(6, channels, 3, stride=2), nn.ReLU(inplace=True)]
        for full, blocks in STAGES:
            outputs = max(8, round(full * width))
            for number in range(blocks):
                layers.append(InvertedResidual(channels, outputs, 2 if number == 0 else 1))
                channels = outputs
        wide = 2 * channels
        layers += [*_conv(channels, wide, 1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)
        self.classify = Head(2 * wide, embedding)

    def judge(self, planes: Tensor) -> Outputs:
        """Score, embedding and strangeness."""
        features = self.layers(planes)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        outputs: Outputs = self.classify(self.dropout(pooled))
        return outputs
