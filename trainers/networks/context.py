"""The context network: does the edge of a sheet, a hand or a bezel stand around the face?

A small residual network (He et al., CVPR 2016) of whole convolutions on a 160x160 crop of four
times the face's mesh box, whose side in the picture is a quarter. Depthwise convolutions would
have fewer parameters, but on a CPU they train thirty times slower (measured: 22 against 640 crops
a second on two cores). The score comes from the mean, for what is everywhere, and the maximum, for
the one edge that tells.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from .base import CropNetwork, Head, Outputs

CHANNELS = (16, 32, 64, 128)
"""At 80, 40, 20 and 10 pixels a side."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, 3)
        self.second = _conv(channels, channels, 3)

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, h, w) to the same."""
        return torch.relu(features + self.second(torch.relu(self.first(features))))


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
        stem, *wider = (max(8, round(width * channels)) for channels in CHANNELS)
        layers: list[nn.Module] = [_conv(6, stem, 5, stride=2), nn.ReLU(inplace=True)]
        before = stem
        for number, channels in enumerate(wider):
            if number == 0:
                layers.append(nn.MaxPool2d(2))
            stride = 1 if number == 0 else 2
            layers += [_conv(before, channels, 3, stride), nn.ReLU(inplace=True)]
            layers.append(Residual(channels))
            before = channels
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)
        self.classify = Head(2 * before, embedding)

    def judge(self, planes: Tensor) -> Outputs:
        """Score, embedding and strangeness."""
        features = self.layers(planes)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        outputs: Outputs = self.classify(self.dropout(pooled))
        return outputs
