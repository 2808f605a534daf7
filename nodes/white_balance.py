"""Takes a cast of light off what the appearance networks are shown of a face.

A camera that is set for lamps films daylight blue: at dusk, at a window, or by a poor automatic
balance. The networks take such a living face for an attack. One that is set for daylight films what
lamps light yellow, and the networks take real prints in such light for living faces
(docs/RESULTS.md, "Light of another colour"). So where the surroundings of a face are further from
neutral than usual, they are brought back to the edge of that, and the face with them: what differs
in colour from its surroundings still does.
"""

import numpy as np

BLUE = (-4.0, 4.0)
"""Levels of U over neutral between which the lit surroundings of a face may have their median."""
RED = (-8.0, 2.0)
"""Likewise of V. Rooms at hand are a little green, and the networks have learned from these."""
LIT = (48, 250)
"""Luma between which a pixel tells of the light: neither too dark to have a colour nor clipped."""
LEAST_LIT = 0.25
"""Share of the surroundings that must be lit: a shirt before a dark wall tells nothing."""
MOST_GAIN = 1.45
"""Of a channel, and its inverse: what is more coloured still stays so, as coloured light."""

NEUTRAL = 128.0


def gains(y: np.ndarray, u: np.ndarray, v: np.ndarray, to_rgb: np.ndarray) -> np.ndarray | None:
    """Gains of R, G and B for a face; None where its light is as usual, or cannot be told.

    As von Kries: each channel is multiplied, so that the median colour of the lit pixels comes to
    the edge of what is usual.

    Args:
        y: uint8 (N,), luma of pixels around the face.
        u: uint8 (N,), their U.
        v: uint8 (N,), their V.
        to_rgb: float (3, 4): R, G, B = matrix @ (Y, U, V, 1).

    Returns:
        float32 (3,).
    """
    lit = (y > LIT[0]) & (y < LIT[1])
    if not lit.sum() >= max(1, LEAST_LIT * lit.size):
        return None
    blue, red = (float(np.median(plane[lit])) - NEUTRAL for plane in (u, v))
    usual = float(np.clip(blue, *BLUE)), float(np.clip(red, *RED))
    if usual == (blue, red):
        return None
    found, wanted = (
        to_rgb @ (np.median(y[lit]), NEUTRAL + b, NEUTRAL + r, 1.0) for b, r in ((blue, red), usual)
    )
    whole = np.clip(wanted / np.maximum(found, 1.0), 1 / MOST_GAIN, MOST_GAIN)
    return np.asarray(whole, np.float32)
