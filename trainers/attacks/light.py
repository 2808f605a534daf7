"""Linear light: where all synthesis happens, and how 8-bit pictures come from and go to it.

Light adds, and skin, paper and paint multiply it, only in linear units. So pictures are decoded
with the sRGB transfer function (IEC 61966-2-1) when they are read, and encoded with it by the
camera alone. 1.0 is the white of the 8-bit range.
"""

from functools import cache

import numpy as np

from .parameters import Array

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Share of R, G, B in luminance (Rec. 709 primaries)."""


def to_linear(encoded: Array) -> Array:
    """Linear light of an sRGB picture.

    Args:
        encoded: uint8 0..255, or float 0..1, of any shape.

    Returns:
        float32 of the same shape, 0..1.
    """
    if encoded.dtype == np.uint8:
        return _decoding_table()[encoded]
    value = encoded.astype(np.float32)
    dark = value <= 0.04045
    return np.where(dark, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: Array) -> Array:
    """The sRGB code values of linear light, float32 0..1; what is beyond 0..1 is clipped."""
    value = np.clip(linear, 0.0, 1.0).astype(np.float32)
    dark = value <= 0.0031308
    return np.where(dark, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055).astype(np.float32)


@cache
def _decoding_table() -> Array:
    return to_linear(np.arange(256, dtype=np.float32) / 255.0)
