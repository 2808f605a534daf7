"""Points that are followed from one picture to another, and how much texture is under them.

Pyramidal Lucas-Kanade (Bouguet, 2001); a point counts only where the way back ends where it began
(Kalal et al., *Forward-Backward Error*, ICPR 2010).
"""

from typing import NamedTuple

import cv2
import numpy as np

_LEVELS_PER_UNIT = 127.5
"""What OpenCV gives for 8-bit pictures: it scales gradients by 2 / 255."""


class Following(NamedTuple):
    """How points are followed."""

    window: tuple[int, int]
    levels: int
    """Of the pyramid, beyond the picture itself."""
    rounds: int
    """Most iterations on each level."""
    most_return: float
    """Longest way between a point and where it comes back to, in pixels."""


def follow(
    one: np.ndarray, other: np.ndarray, start: np.ndarray, guess: np.ndarray, how: Following
) -> tuple[np.ndarray, np.ndarray]:
    """Where points of one picture are in another, there and back.

    Args:
        one: uint8 (h, w).
        other: uint8 (h, w).
        start: float32 (n, 2), pixels; n at least 1.
        guess: float32 (n, 2): about where they are.
        how: window, levels, rounds, and how near they must come back.

    Returns:
        float32 (n, 2), and bool (n,) whether the point was found.
    """
    ends, there = _flow(one, other, start, guess, how)
    back, again = _flow(other, one, ends, start, how)
    return ends, there & again & (np.abs(back - start).max(1) < how.most_return)


def texture(luma: np.ndarray, block: int) -> np.ndarray:
    """Root of the smaller eigenvalue of the structure tensor of a block, levels per pixel."""
    return np.sqrt(np.maximum(cv2.cornerMinEigenVal(luma, block), 0.0)) * _LEVELS_PER_UNIT


def _flow(
    one: np.ndarray, other: np.ndarray, start: np.ndarray, guess: np.ndarray, how: Following
) -> tuple[np.ndarray, np.ndarray]:
    end, found, _ = cv2.calcOpticalFlowPyrLK(
        one,
        other,
        start.reshape(-1, 1, 2),
        guess.reshape(-1, 1, 2).copy(),  # it is written over
        winSize=how.window,
        maxLevel=how.levels,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, how.rounds, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return end[:, 0], found.ravel() > 0
