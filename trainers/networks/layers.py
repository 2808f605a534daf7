"""Layers that torch does not have."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CentralDifferenceConv(nn.Conv2d):
    """3x3 convolution minus ``theta`` of the centre's own response (Yu et al., CDCN, CVPR 2020).

    y = conv(x, w) - theta * (sum of w) * x at the centre. With theta 0 it is a convolution; on
    constant input the interior gives (1 - theta) * sum(w) * x. Both terms are one kernel.
    """

    def __init__(self, inputs: int, outputs: int, theta: float) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)
        self.theta = theta
        centre = torch.zeros(1, 1, 3, 3)
        centre[0, 0, 1, 1] = 1
        self.register_buffer("centre", centre, persistent=False)

    def kernel(self) -> Tensor:
        """The kernel with the central difference in it, of the weight's shape."""
        total = self.weight.sum(dim=(2, 3), keepdim=True)
        return self.weight - self.theta * total * self.get_buffer("centre")

    def forward(self, input: Tensor) -> Tensor:
        """Same height and width, zero padding."""
        return functional.conv2d(input, self.kernel(), padding=1)

    def folded(self) -> nn.Conv2d:
        """An ordinary convolution that does the same."""
        plain = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, bias=False)
        plain.weight = nn.Parameter(self.kernel().detach().clone())
        return plain


def conv3(inputs: int, outputs: int, theta: float = 0.0) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU; with central differences where theta > 0."""
    conv = (
        CentralDifferenceConv(inputs, outputs, theta)
        if theta
        else nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def contrastive_depth_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the contrasts to the 8 neighbours (Wang et al., CVPR 2020).

    The kernels have -1 at the centre and +1 at one neighbour and are applied without padding, so
    that a constant offset costs nothing.

    Args:
        predicted: float (N, h, w).
        target: float (N, h, w).
    """
    error = predicted - target
    height, width = error.shape[1:]
    centre = error[:, 1:-1, 1:-1]
    contrasts = [
        error[:, dy : height - 2 + dy, dx : width - 2 + dx] - centre
        for dy in range(3)
        for dx in range(3)
        if (dy, dx) != (1, 1)
    ]
    return torch.stack(contrasts).square().mean()


def strided(inputs: int, outputs: int) -> nn.Sequential:
    """A 7x7 convolution that steps by four pixels, with BN and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 7, stride=4, padding=3, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
