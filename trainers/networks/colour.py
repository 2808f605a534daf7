"""RGB and HSV planes from uint8 pictures, inside the network so that nothing else can differ."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

CHANNELS = 6
"""Red, green, blue, hue, saturation, value."""


class Colour(nn.Module):
    """uint8 (N, h, w, 3) RGB to float32 (N, 6, h, w), each plane within -1..1.

    Hue is turned by half a circle, which puts red, the hue of skin and lips, in the middle of the
    range and its jump at cyan; a grey pixel gets the hue of red. No branch depends on the data, and
    the largest channel is found among whole numbers up to 255, which bfloat16 holds exactly.
    """

    fused = False
    """Compile the planes into one pass: four times as fast on a CPU, after half a minute. For
    training; a network that is exported or loaded is as written."""

    def forward(self, image: Tensor) -> Tensor:
        """The six planes of a batch of pictures."""
        if self.fused:
            with torch.no_grad():
                return _fused()(image)
        return colour_planes(image)


@cache
def _fused() -> Callable[[Tensor], Tensor]:
    compiled: Callable[[Tensor], Tensor] = torch.compile(colour_planes, dynamic=True)
    return compiled


def colour_planes(image: Tensor) -> Tensor:
    """The six planes; see :class:`Colour`."""
    rgb = image.to(torch.float32).permute(0, 3, 1, 2)  # TensorRT takes uint8 into a cast only
    red, green, blue = rgb[:, 0:1], rgb[:, 1:2], rgb[:, 2:3]
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    is_red = (red == value).to(rgb.dtype)
    is_green = (green == value).to(rgb.dtype) * (1 - is_red)
    is_blue = (1 - is_red) * (1 - is_green)
    per_chroma = 1 / torch.clamp(chroma, min=1)
    hue = (
        is_red * (3 + (green - blue) * per_chroma)
        + is_green * (5 + (blue - red) * per_chroma)
        + is_blue * (1 + (red - green) * per_chroma)
    )
    saturation = chroma / torch.clamp(value, min=1)
    levels = torch.cat([rgb, value], dim=1) / 127.5 - 1
    return torch.cat([levels[:, :3], hue / 3 - 1, saturation * 2 - 1, levels[:, 3:]], dim=1)
