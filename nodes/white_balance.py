"""Takes a cold cast off what the appearance networks are shown.

A camera that is set for lamps films daylight blue: at dusk, at a window, or by a poor automatic
balance. The networks take such a living face for a display's or a print's, while warm light does
not mislead them (docs/TRAINING.md, "Light of another colour"). So a picture that is bluer, or less
red, than those that they learned from is brought back to the edge of these, all of it alike: what
differs in colour from its surroundings still does. Nearly all pictures stay as they are.
"""

import numpy as np

MOST_BLUE = 4.0
"""Levels of U over neutral that the lit part of a picture may have; of simulated recordings with
white balances of all kinds 95 % have less."""
LEAST_RED = -8.0
"""Levels of V over neutral that it must have; 93 % have more."""
LIT = (48, 250)
"""Luma between which a pixel tells of the light: neither too dark to have a colour nor clipped."""
LEAST_LIT = 0.02
"""Share of the picture that must be lit, else nothing is known of its light."""
MOST_GAIN = 1.45
"""Of a channel, and its inverse: what is bluer still stays blue, as coloured light."""

NEUTRAL = 128.0


def gains(y: np.ndarray, u: np.ndarray, v: np.ndarray, to_rgb: np.ndarray) -> np.ndarray | None:
    """Gains of R, G and B for a picture; None where it is not too cold, or too dark to say.

    As von Kries: each channel is multiplied, so that the median colour of the lit part comes to
    the edge of what is usual.

    Args:
        y: uint8 (N,), luma of some pixels all over the picture.
        u: uint8 (N,), their U.
        v: uint8 (N,), their V.
        to_rgb: float (3, 4): R, G, B = matrix @ (Y, U, V, 1).

    Returns:
        float32 (3,).
    """
    lit = (y > LIT[0]) & (y < LIT[1])
    if not lit.mean() >= LEAST_LIT:
        return None
    blue, red = (float(np.median(plane[lit])) - NEUTRAL for plane in (u, v))
    if blue <= MOST_BLUE and red >= LEAST_RED:
        return None
    found, wanted = (
        to_rgb @ (np.median(y[lit]), NEUTRAL + b, NEUTRAL + r, 1.0)
        for b, r in ((blue, red), (min(blue, MOST_BLUE), max(red, LEAST_RED)))
    )
    whole = np.clip(wanted / np.maximum(found, 1.0), 1 / MOST_GAIN, MOST_GAIN)
    return np.asarray(whole, np.float32)
