"""Frames brought together to steps of the pulse network: at 50 frames a second three, at 25 two.

A pulse needs no more than a dozen samples a second, and a network that is called less often costs
less, sees less noise at a time, and has to know fewer rates. A step is the mean of its frames: a
choice of some of them would fold what lies above half the steps' rate into the pulse band.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .payloads import SkinSample
from .skin_cells import (
    AreaChange,
    SkinBefore,
    SkinChange,
    areas_between,
    change_between,
    remembered,
)

SHORTEST = 0.055
"""Seconds that a step takes at least: 18 steps a second at most."""
FIRST = 0.06
"""Seconds that the first step is said to take."""
_ROUNDING = 0.002
"""Seconds by which a frame may come early: timestamps are rounded to milliseconds."""


class SkinStep(NamedTuple):
    """What happened from the middle of one step to that of the next."""

    time: float
    """Mean capture time of its frames, seconds."""
    seconds: float
    """Since the step before."""
    moved: SkinChange
    """Between the means of the two; of places that are seen in all frames of both."""
    areas: AreaChange
    """The same, of the areas."""


def ends(began: float, before: float, now: float, shortest: float = SHORTEST) -> bool:
    """Whether a step ends with this frame: one more would make it longer than need be.

    Args:
        began: capture time of the step's first frame, seconds.
        before: of the frame before, which may belong to the step before.
        now: of this frame.
        shortest: seconds that a step takes at least.
    """
    return (now - began) + (now - before) >= shortest - _ROUNDING


@dataclass(slots=True)
class SkinSteps:
    """The frames of a track since its last step, and the means of that. Picklable."""

    shortest: float = SHORTEST
    """Seconds that a step takes at least; 0 makes one of each frame."""
    mean: SkinBefore | None = None
    """Of the last step's frames; None before the first."""
    ended: float = 0.0
    """Time of the last step."""
    seen: float | None = None
    """Capture time of the frame before; None before the first."""
    began: float = 0.0
    count: int = 0
    times: float = 0.0
    """Sum of the frames' times since ``began``."""
    sums: SkinBefore | None = None
    """Sums over the frames; valid where all are."""
    speeds: float = 0.0

    def take(self, time: float, sample: SkinSample) -> SkinStep | None:
        """Take a frame; gives the step that ends with it, if one does."""
        now, before = remembered(sample), time if self.seen is None else self.seen
        self.seen = time
        if not self.count or self.sums is None:
            self.began, self.times, self.speeds, self.sums = time, 0.0, 0.0, now
        else:
            self.sums = SkinBefore(
                self.sums.grid + now.grid,
                self.sums.valid & now.valid,
                self.sums.background + now.background,
                self.sums.pose + now.pose,
            )
        self.count += 1
        self.times += time - self.began
        self.speeds += sample.quality.motion
        return self._step(self.sums) if ends(self.began, before, time, self.shortest) else None

    def _step(self, sums: SkinBefore) -> SkinStep:
        count = self.count
        mean = SkinBefore(sums.grid / count, sums.valid, sums.background / count, sums.pose / count)
        time = self.began + self.times / count
        first = self.mean is None
        before = self.mean or mean
        moved = change_between(before, mean, self.speeds / count)
        areas = areas_between(before, mean)
        seconds = FIRST if first else time - self.ended
        self.mean, self.ended, self.count = mean, time, 0
        return SkinStep(time, seconds, moved, areas)


@dataclass(slots=True)
class AreaColours:
    """Colours of the areas at the newest steps of a track. Picklable."""

    seconds: float
    """Seconds of steps that are kept."""
    times: deque[float] = field(default_factory=deque)
    colours: deque[np.ndarray] = field(default_factory=deque)
    """float32 (A, 3): logarithms of R, G, B, of arbitrary origin."""
    seen: deque[np.ndarray] = field(default_factory=deque)
    """bool (A,)"""

    def append(self, time: float, areas: AreaChange) -> None:
        """Keep a step and forget what is too old."""
        before = self.colours[-1] if self.colours else np.zeros_like(areas.change)
        self.times.append(time)
        self.colours.append(before + areas.change)
        self.seen.append(areas.seen)
        while time - self.times[0] > self.seconds:
            for kept in (self.times, self.colours, self.seen):
                kept.popleft()

    def at(self, times: np.ndarray, least_seen: float) -> np.ndarray:
        """float64 (S, n, 3): colours at the steps nearest to times (n,), by area.

        Args:
            times: float64 (n,), seconds, increasing.
            least_seen: share of these steps in which an area must be seen, or it is left out.
        """
        places = np.searchsorted(np.array(self.times) + 1e-3, times)
        places = np.minimum(places, len(self.times) - 1)
        seen = np.stack(self.seen)[places].mean(axis=0) >= least_seen
        return np.stack(self.colours)[places][:, seen].transpose(1, 0, 2).astype(np.float64)
