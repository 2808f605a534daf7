"""What cells of skin do from one frame to the next: the input of the pulse network.

The registered grid of a :class:`SkinSample` is pooled into cells some five grid places wide. A
cell's change is taken over the places that are seen in both frames, so that places which come into
sight or go out of it make no step, and summed over frames the changes are the cell's colour again.
What moves shades each cell in its own way: the more of them there are, the better that is told from
blood, which all show alike. Areas are larger and fewer, some nine places wide, with less noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from .canonical import GRID_SIDE, canonical_face
from .payloads import SkinSample

_ROWS = ((0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 24), (24, 28), (28, GRID_SIDE))
_COLUMNS = ((0, 5), (5, 11), (11, 16), (16, 21), (21, 27), (27, GRID_SIDE))
"""From the forehead down, and from a person's right side to the left."""
_FEWEST_PLACES = 8
"""A cell of less skin is left out."""
_AREA_ROWS = ((0, 7), (7, 13), (13, 20), (20, GRID_SIDE))
_AREA_COLUMNS = ((0, 11), (11, 21), (21, GRID_SIDE))
"""Forehead, eyes and nose, cheeks, mouth and chin; a person's right side, middle, left side."""
_FEWEST_AREA_PLACES = 24
"""An area of less skin is left out."""
_LEAST_SEEN = 0.4
"""Share of a cell's places that must be seen in both frames."""
_DARKEST = 1.0
"""Mean level below which a cell has no relative change."""
POSE_UNIT = 10.0
"""Degrees that a change of pose is given in."""
MOTIONS = 4
"""Changes of yaw, pitch and roll, and the speed."""


class SkinChange(NamedTuple):
    """What happened since the frame before."""

    change: np.ndarray
    """float32 (K + 1, 3): natural logarithm of the ratio of mean R, G, B of each cell and, last, of
    what is beside the face; 0 where not seen in both frames."""
    seen: np.ndarray
    """float32 (K + 1,): 1 where seen in both frames, else 0."""
    motion: np.ndarray
    """float32 (4,): changes of yaw, pitch and roll in tens of degrees, and the face's speed in
    face widths a second."""


@dataclass(slots=True)
class SkinBefore:
    """What is kept of a frame. Picklable."""

    grid: np.ndarray
    valid: np.ndarray
    background: np.ndarray
    pose: np.ndarray


class AreaChange(NamedTuple):
    """What happened on the areas since the step before."""

    change: np.ndarray
    """float32 (A, 3): natural logarithm of the ratio of mean R, G, B; 0 where not seen in both."""
    seen: np.ndarray
    """bool (A,): seen in both."""


@cache
def cell_places() -> np.ndarray:
    """float32 (K, 1024): 1 where a place of the grid belongs to a cell."""
    return _places(_ROWS, _COLUMNS, _FEWEST_PLACES)


@cache
def area_places() -> np.ndarray:
    """float32 (A, 1024): 1 where a place of the grid belongs to an area."""
    return _places(_AREA_ROWS, _AREA_COLUMNS, _FEWEST_AREA_PLACES)


def _places(
    rows: Sequence[tuple[int, int]], columns: Sequence[tuple[int, int]], fewest: int
) -> np.ndarray:
    skin = canonical_face().skin
    parts = []
    for top, bottom in rows:
        for left, right in columns:
            part = np.zeros((GRID_SIDE, GRID_SIDE), np.float32)
            part[top:bottom, left:right] = skin[top:bottom, left:right]
            if part.sum() >= fewest:
                parts.append(part.ravel())
    places = np.stack(parts)
    places.setflags(write=False)
    return places


@cache
def cell_count() -> int:
    """K: how many cells there are."""
    return len(cell_places())


def remembered(sample: SkinSample) -> SkinBefore:
    """What the next frame is compared with."""
    quality = sample.quality
    pose = np.array((quality.yaw, quality.pitch, quality.roll))
    return SkinBefore(sample.grid, sample.valid, sample.background, pose)


def skin_change(before: SkinBefore, sample: SkinSample) -> SkinChange:
    """What happened between two frames of a track.

    Args:
        before: :func:`remembered` of the earlier frame.
        sample: the later frame.
    """
    return change_between(before, remembered(sample), sample.quality.motion)


def change_between(before: SkinBefore, later: SkinBefore, speed: float) -> SkinChange:
    """What happened between two frames or means of frames, at a speed in face widths a second."""
    count = cell_count()
    change = np.zeros((count + 1, 3), np.float32)
    seen = np.zeros(count + 1, np.float32)
    change[:count], seen[:count] = _pooled_change(cell_places(), before, later)
    beside = np.concatenate([later.background, before.background])
    if np.isfinite(beside).all() and beside.min() > _DARKEST:
        seen[count] = 1.0
        change[count] = np.log(later.background / before.background)
    moved = np.empty(MOTIONS, np.float32)
    moved[:3] = (later.pose - before.pose) / POSE_UNIT
    moved[3] = speed
    motion = np.nan_to_num(moved, nan=0.0, posinf=0.0, neginf=0.0)
    return SkinChange(change, seen, motion)


def areas_between(before: SkinBefore, later: SkinBefore) -> AreaChange:
    """What happened on the areas between two frames or means of frames."""
    return AreaChange(*_pooled_change(area_places(), before, later))


def _pooled_change(
    places: np.ndarray, before: SkinBefore, later: SkinBefore
) -> tuple[np.ndarray, np.ndarray]:
    """Changes float32 (m, 3), 0 where not seen in both, and bool (m,) where they are."""
    both = places * (before.valid & later.valid).ravel()
    shared = both.sum(axis=1)
    now, then = (both @ grid.reshape(-1, 3) for grid in (later.grid, before.grid))
    seen = shared >= _LEAST_SEEN * places.sum(axis=1)
    seen &= np.minimum(now, then).min(axis=1) > _DARKEST * shared
    change = np.zeros((len(places), 3), np.float32)
    change[seen] = np.log(now[seen] / then[seen])
    return change, seen
