"""What state the picture as a whole is in: why a camera may show no face.

Looks at a coarse grid of luma values, some tens of microseconds an observation. Nothing is
amplified: a dark picture is called dark, not searched harder.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from .frame import Frame

GRID = 40
"""About this many luma values are looked at along either side."""
FULL_RANGE_COLOURS = 2
"""Value of FFmpeg's AVColorRange for luma from 0 to 255; other pictures have 16 to 235."""


_STRETCHED = {
    True: np.arange(256.0),
    False: np.clip((np.arange(256.0) - 16.0) * (255.0 / 219.0), 0.0, 255.0),
}
"""Luma 0 to 255 of every code, by whether the coding has the full range."""


class SceneState(StrEnum):
    """One word for the whole picture."""

    OK = "ok"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    COVERED = "covered"
    """One flat tone: lens covered, camera against a wall, picture lost."""
    FROZEN = "frozen"
    """The very same picture for longer than a camera's noise or an encoder allows."""


NO_FACE_FOUND = "no_face_found"
"""Reason for a stream that showed a fair picture and no face."""


@dataclass(frozen=True, slots=True)
class SceneLimits:
    """When a picture is called what. Luma is 0 (black) to 255 (white), whatever the coding."""

    dark_luma: Annotated[float, Ge(0)] = 24.0
    """Too dark where 95 % of the picture is below this."""
    bright_luma: Annotated[float, Ge(0)] = 245.0
    """Too bright where half of the picture is above this."""
    flat_contrast: Annotated[float, Ge(0)] = 3.0
    """Covered where the standard deviation of luma is below this."""
    frozen_s: Annotated[float, Gt(0)] = 10.0
    """Frozen where the picture has not changed at all for this long. Encoders that skip static
    blocks repeat a quiet scene exactly between two key frames, so keep it above the camera's
    key-frame interval."""
    hysteresis_s: Annotated[float, Ge(0)] = 1.0
    """A new state must hold this long before it is told."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Luma of one picture."""

    state: SceneState
    mean_luma: float
    contrast: float
    """Standard deviation of luma."""


@dataclass(slots=True)
class SceneWatch:
    """The scene of one stream. Picklable; its size does not grow."""

    limits: SceneLimits
    told: SceneState = SceneState.OK
    """The state after hysteresis."""
    last: Measured | None = None
    counts: dict[SceneState, int] = field(default_factory=dict)
    """Observations by what each looked like."""
    _grid: np.ndarray | None = None
    _same_since: float = 0.0
    _differs_since: float | None = None

    @property
    def is_frozen(self) -> bool:
        """The last observation was of a frozen picture; without hysteresis, unlike ``told``."""
        return self.last is not None and self.last.state is SceneState.FROZEN

    def observe(self, frame: Frame, time: float) -> bool:
        """Look at a frame of capture time ``time``; True where the told state has changed."""
        grid = luma_grid(frame)
        measured = measure(grid, self.limits, has_full_range(frame))
        if self._grid is None or not np.array_equal(grid, self._grid):
            self._grid, self._same_since = grid, time
        elif measured.state is SceneState.OK and time - self._same_since >= self.limits.frozen_s:
            measured = Measured(SceneState.FROZEN, measured.mean_luma, measured.contrast)
        self.last = measured
        self.counts[measured.state] = self.counts.get(measured.state, 0) + 1
        if measured.state is self.told:
            self._differs_since = None
            return False
        if self._differs_since is None:
            self._differs_since = time
        if time - self._differs_since < self.limits.hysteresis_s:
            return False
        self.told, self._differs_since = measured.state, None
        return True

    def why_no_face(self) -> str:
        """The most frequent state of a stream in which no face was found, or that it was fair."""
        if not self.counts:
            return NO_FACE_FOUND
        commonest = max(self.counts, key=lambda state: self.counts[state])
        return NO_FACE_FOUND if commonest is SceneState.OK else str(commonest)


def luma_grid(frame: Frame) -> np.ndarray:
    """uint8 (rows, columns): every n-th luma value, n the same along both sides."""
    luma = frame.luma()
    step = max(1, min(luma.shape) // GRID)
    return np.ascontiguousarray(luma[step // 2 :: step, step // 2 :: step])


def has_full_range(frame: Frame) -> bool:
    """True where luma runs from 0 to 255 and not from 16 to 235."""
    picture = frame.picture
    return picture.color_range == FULL_RANGE_COLOURS or picture.format.name.startswith("yuvj")


def measure(grid: np.ndarray, limits: SceneLimits, full_range: bool = True) -> Measured:
    """State, mean and contrast of a grid of luma values."""
    stretched = _STRETCHED[full_range]
    counts = np.bincount(grid.ravel(), minlength=256)
    mean = float(counts @ stretched) / grid.size
    contrast = sqrt(max(0.0, float(counts @ stretched**2) / grid.size - mean * mean))
    # The values at two places of the sorted picture, read off the histogram.
    places = (grid.size // 2, int(grid.size * 0.95))
    half, most = stretched[np.searchsorted(np.cumsum(counts), places, side="right")].tolist()
    if most < limits.dark_luma:
        state = SceneState.TOO_DARK
    elif half > limits.bright_luma:
        state = SceneState.TOO_BRIGHT
    elif contrast < limits.flat_contrast:
        state = SceneState.COVERED
    else:
        state = SceneState.OK
    return Measured(state, mean, contrast)
