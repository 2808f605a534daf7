"""How a face moved from one frame to the next, by the pixels inside its box.

Sparse pyramidal Lucas-Kanade (Bouguet, 2001) of a grid of points on a small luma picture around
the face; points are kept whose way forward and back ends where it began (Kalal et al.,
*Forward-Backward Error*, ICPR 2010), and a similarity is fitted to those that agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, sqrt

import cv2
import numpy as np

from .payloads import Box

FACE_PIXELS = 44
"""About this wide is a face in the small picture: 31 to 62, as it shrinks by powers of two."""
REACH = 1.6
"""Side of the small picture over the face's size."""
ROOM = 0.12
"""The small picture is cut anew when less room than this (share of the face) is left beside it."""
POINTS = 5
"""Points along either side of the grid."""
SPREAD = 0.7
"""The grid spans this share of the box."""
_ALONG = np.linspace(-SPREAD / 2, SPREAD / 2, POINTS, dtype=np.float32)
WINDOW = (9, 9)
LEVELS = 2
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 5, 0.03)
MOST_RETURN_ERROR = 0.8
"""Longest way between a point and where it comes back to, in pixels of the small picture."""
MOST_DIFFERENCE = 24.0
"""Largest mean difference of luma around a point before and after."""
AGREE = 1.5
"""Points within this of the common motion agree, in pixels of the small picture."""
LEAST_UNHIDDEN = 13
"""Least number of points that lie outside the boxes of other faces."""
LOOK_SIDE = 12
"""Side in pixels of the picture that :func:`appearance` compares."""
MOST_JERK = 0.05
"""Beside another face a motion must be what was expected within this, in face sizes: the rest of
the other person also moves."""
LEAST_LIKENESS = 0.6
"""Least correlation of a face between two frames."""
BESIDE = 0.25
"""A face's head hides this much more beside its box, as a share of the box."""
LEAST_AGREEING = 9
"""Of the 25 points: fewer say nothing of the face."""
MOST_TURN = 0.3
"""Largest change of scale or angle between two frames that a face makes."""


@dataclass(frozen=True, slots=True)
class Motion:
    """A similarity of the picture plane; points are x + iy in pixels of the frame."""

    pivot: complex
    """Middle of the tracked points before."""
    shift: complex
    """How far it moved."""
    turn: complex
    """Scale and rotation about it."""

    def move(self, points: np.ndarray) -> np.ndarray:
        """complex64 (n,) points after the motion."""
        moved = (points - self.pivot) * self.turn + (self.pivot + self.shift)
        return moved.astype(np.complex64)


@dataclass(frozen=True, slots=True)
class Patch:
    """The small luma picture around a face, and where it was cut."""

    pixels: np.ndarray
    """uint8 (height, width), every pixel the mean of luma values in a square of side ``step``."""
    left: int
    top: int
    step: int

    def fits(self, box: Box) -> bool:
        """Whether the box still lies well inside, at about the right scale."""
        size = max(box.w, box.h)
        apparent = size / self.step / FACE_PIXELS
        if apparent > 1.6 or (apparent < 0.6 and self.step > 1):
            return False
        height, width = self.pixels.shape
        room = ROOM * size
        return (
            box.x - room >= self.left
            and box.y - room >= self.top
            and box.x + box.w + room <= self.left + width * self.step
            and box.y + box.h + room <= self.top + height * self.step
        )

    def cut_again(self, luma: np.ndarray) -> "Patch | None":
        """The same place in another frame; None where that frame is too small for it."""
        bottom = self.top + self.pixels.shape[0] * self.step
        right = self.left + self.pixels.shape[1] * self.step
        if bottom > luma.shape[0] or right > luma.shape[1]:
            return None
        return _cut(luma, self.left, self.top, self.step, self.pixels.shape)


def cut_patch(luma: np.ndarray, box: Box) -> Patch | None:
    """The small picture around a box; None where too little of it is inside the frame.

    Args:
        luma: uint8 (height, width), upright.
        box: The face, in pixels of ``luma``.
    """
    height, width = luma.shape
    size = max(box.w, box.h)
    step = 2 ** max(0, round(log2(size / FACE_PIXELS)))
    side = int(REACH * size / step) + 1
    rows, columns = min(side, height // step), min(side, width // step)
    centre_x, centre_y = box.centre
    inside_x = min(box.x + box.w, width) - max(box.x, 0)
    inside_y = min(box.y + box.h, height) - max(box.y, 0)
    smallest = 2 * WINDOW[0]
    if inside_x < box.w / 3 or inside_y < box.h / 3 or min(rows, columns) < smallest:
        return None
    left = min(max(0, int(centre_x - columns * step / 2)), width - columns * step)
    top = min(max(0, int(centre_y - rows * step / 2)), height - rows * step)
    return _cut(luma, left, top, step, (rows, columns))


def _cut(luma: np.ndarray, left: int, top: int, step: int, shape: tuple[int, ...]) -> Patch:
    rows, columns = shape
    region = luma[top : top + rows * step, left : left + columns * step]
    if step == 1:
        # A copy: the decoder's buffer is not ours to keep.
        return Patch(region.copy(), left, top, step)
    if step > 2:
        # Linear at a whole even ratio is the mean of the middle 2x2: all of them at 4 to 2, enough
        # above, and several times faster than the area mean of everything.
        region = cv2.resize(region, (2 * columns, 2 * rows), interpolation=cv2.INTER_LINEAR)
    return Patch(cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA), left, top, step)


def appearance(luma: np.ndarray, box: Box) -> np.ndarray | None:
    """What a face looks like, coarsely: tells two people apart, not one from a thousand.

    Args:
        luma: uint8 (height, width), upright.
        box: The detected face, in pixels of ``luma``.

    Returns:
        float32 (LOOK_SIDE ** 2,) of zero mean and unit length, so that the product of two is their
        correlation; None where too little of the box is in the picture or it is all one tone.
    """
    height, width = luma.shape
    left, right = max(0, int(box.x)), min(width, int(box.x + box.w))
    top, bottom = max(0, int(box.y)), min(height, int(box.y + box.h))
    if right - left < 0.8 * box.w or bottom - top < 0.8 * box.h:
        return None
    thin = max(1, int(min(box.w, box.h)) // (4 * LOOK_SIDE))
    region = luma[top:bottom:thin, left:right:thin]
    small = cv2.resize(region, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA)
    look = small.astype(np.float32).ravel()
    look -= look.mean()
    length = float(np.sqrt(look @ look))
    return None if length < LOOK_SIDE else look / length


def find_motion(
    before: Patch, after: Patch, box: Box, guess: complex = 0j, others: Sequence[Box] = ()
) -> Motion | None:
    """How the face in ``box`` moved between two patches cut at the same place.

    Args:
        before: Around the face, in the earlier frame.
        after: ``before.cut_again`` of the later frame.
        box: The face in the earlier frame, in pixels of the frame.
        guess: Expected shift in pixels of the frame, x + iy.
        others: Boxes of other faces: points in them may be theirs and are not used.

    Returns:
        The motion, or None where too few points can be followed or agree.
    """
    start = _grid(before, box)
    for other in others:
        start = _outside(start, other, before)
    whole = len(start) == POINTS**2
    if len(start) < (LEAST_AGREEING if whole else LEAST_UNHIDDEN):
        return None
    hint = np.array([guess.real, guess.imag], dtype=np.float32) / before.step
    end, found, difference = _follow(before.pixels, after.pixels, start, start + hint)
    back, found_back, _ = _follow(after.pixels, before.pixels, end, end - hint)
    a, b, returned = _complex(start), _complex(end), _complex(back)
    good = (found & found_back).ravel().astype(bool)
    good &= difference.ravel() < MOST_DIFFERENCE
    good &= np.abs(returned - a) < MOST_RETURN_ERROR
    a, b = a[good], b[good]
    if len(a) < LEAST_AGREEING:
        return None
    shifts = b - a
    agree = np.abs(shifts - _median(shifts)) < AGREE
    if np.count_nonzero(agree) < max(LEAST_AGREEING, len(a) // 2):
        return None
    motion = _similarity(a[agree], b[agree], before, turns=whole)
    if not whole and abs(motion.shift - guess) > MOST_JERK * max(box.w, box.h):
        return None
    return motion if _still_alike(before, after, box, motion.shift) else None


def _still_alike(before: Patch, after: Patch, box: Box, shift: complex) -> bool:
    """Whether the box shows the same thing after the shift, and not what a face uncovered."""
    step = before.step
    x, y = int((box.x - before.left) / step), int((box.y - before.top) / step)
    to_x, to_y = x + round(shift.real / step), y + round(shift.imag / step)
    rows, columns = before.pixels.shape
    top, left = max(0, -y, -to_y), max(0, -x, -to_x)
    bottom = min(int(box.h / step), rows - y, rows - to_y)
    right = min(int(box.w / step), columns - x, columns - to_x)
    if bottom - top < LOOK_SIDE or right - left < LOOK_SIDE:
        return False
    a = before.pixels[y + top : y + bottom : 2, x + left : x + right : 2].astype(np.float32)
    b = after.pixels[to_y + top : to_y + bottom : 2, to_x + left : to_x + right : 2]
    return _correlation(a.ravel(), b.astype(np.float32).ravel()) > LEAST_LIKENESS


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two float32 vectors, 0 where one is constant."""
    a = a - a.sum() / len(a)
    b = b - b.sum() / len(b)
    length = float((a @ a) * (b @ b))
    return float(a @ b) / sqrt(length) if length > 0 else 0.0


def _median(values: np.ndarray) -> complex:
    """Of real and imaginary parts each; np.median takes ten times as long for so few."""
    middle = len(values) // 2
    return complex(np.sort(values.real)[middle], np.sort(values.imag)[middle])


def _follow(
    before: np.ndarray, after: np.ndarray, start: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where points went, whether they were found, and how much luma around them differs."""
    return cv2.calcOpticalFlowPyrLK(
        before,
        after,
        start,
        guess,
        winSize=WINDOW,
        maxLevel=LEVELS,
        criteria=STOP,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )


def _similarity(a: np.ndarray, b: np.ndarray, patch: Patch, turns: bool) -> Motion:
    """Least-squares similarity that takes points a to b (complex, small-picture pixels)."""
    middle_a, middle_b = complex(a.sum()) / len(a), complex(b.sum()) / len(b)
    spread = a - middle_a
    turn = complex(np.vdot(spread, b - middle_b)) / max(float(np.vdot(spread, spread).real), 1e-6)
    # Points on one side of the face say little about its scale and turn.
    if not turns or abs(turn - 1) > MOST_TURN:
        turn = 1 + 0j
    corner = complex(patch.left, patch.top)
    return Motion(middle_a * patch.step + corner, (middle_b - middle_a) * patch.step, turn)


def _grid(patch: Patch, box: Box) -> np.ndarray:
    """float32 (n, 1, 2): points over the middle of the box, in small-picture pixels."""
    centre_x, centre_y = box.centre
    points = np.empty((POINTS, POINTS, 2), np.float32)
    points[:, :, 0] = (_ALONG * box.w + (centre_x - patch.left)) / patch.step
    points[:, :, 1] = ((_ALONG * box.h + (centre_y - patch.top)) / patch.step)[:, np.newaxis]
    return points.reshape(-1, 1, 2)


def _outside(points: np.ndarray, box: Box, patch: Patch) -> np.ndarray:
    """The points that do not lie in a box of the frame, or a little beside it."""
    centre_x, centre_y = box.centre
    x = points[:, 0, 0] * patch.step + (patch.left - centre_x)
    y = points[:, 0, 1] * patch.step + (patch.top - centre_y)
    reach = 0.5 + BESIDE
    return points[(np.abs(x) > reach * box.w) | (np.abs(y) > reach * box.h)]


def _complex(points: np.ndarray) -> np.ndarray:
    return points.view(np.complex64).ravel()
