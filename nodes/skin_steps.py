"""Frames brought together to steps of the pulse network: at 50 frames a second three, at 25 two.

A pulse needs no more than a dozen samples a second, and a network that is called less often costs
less, sees less noise at a time, and has to know fewer rates. A step is the mean of its frames: a
choice of some of them would fold what lies above half the steps' rate into the pulse band.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .skin_cells import MOTIONS, SkinChange, cell_count

SHORTEST = 0.055
"""Seconds that a step takes at least, unless frames are lost: 18 steps a second at most."""
FIRST = 0.06
"""Seconds that the first step is said to take."""


class SkinStep(NamedTuple):
    """What happened from the middle of one step to that of the next."""

    time: float
    """Mean capture time of its frames, seconds."""
    seconds: float
    """Since the step before."""
    moved: SkinChange
    """Between the means of the two; a cell is seen if it was in all of the step's frames."""


def ends(began: float, before: float, now: float) -> bool:
    """Whether a step ends with this frame: one more would make it longer than need be.

    Args:
        began: capture time of the step's first frame, seconds.
        before: of the frame before, which may belong to the step before.
        now: of this frame.
    """
    return (now - began) + (now - before) >= SHORTEST - 1e-9


def _nothing(*shape: int) -> np.ndarray:
    return np.zeros(shape)


@dataclass(slots=True)
class SkinSteps:
    """The frames of a track since its last step. Picklable."""

    last: float | None = None
    """Capture time of the frame before; None before the first."""
    ended: float | None = None
    """Time of the last step."""
    began: float = 0.0
    count: int = 0
    times: float = 0.0
    """Sum of the frames' times since ``began``."""
    level: np.ndarray = field(default_factory=lambda: _nothing(cell_count() + 1, 3))
    """Where the colours are now, against the mean of the step before."""
    levels: np.ndarray = field(default_factory=lambda: _nothing(cell_count() + 1, 3))
    """Sum over the step's frames, like those that follow."""
    seen: np.ndarray = field(default_factory=lambda: 1.0 + _nothing(cell_count() + 1))
    """1 where seen in all frames."""
    pose: np.ndarray = field(default_factory=lambda: _nothing(MOTIONS - 1))
    poses: np.ndarray = field(default_factory=lambda: _nothing(MOTIONS - 1))
    speeds: float = 0.0

    def take(self, time: float, moved: SkinChange) -> SkinStep | None:
        """Take a frame's change; gives the step that ends with it, if one does."""
        before = time if self.last is None else self.last
        if not self.count:
            self.began = time
        self.last = time
        self.count += 1
        self.times += time - self.began
        self.level += moved.change
        self.levels += self.level
        self.seen *= moved.seen
        self.pose += moved.motion[:-1]
        self.poses += self.pose
        self.speeds += float(moved.motion[-1])
        return self._step() if ends(self.began, before, time) else None

    def _step(self) -> SkinStep:
        mean, pose = self.levels / self.count, self.poses / self.count
        time = self.began + self.times / self.count
        seen = self.seen.astype(np.float32)
        motion = np.append(pose, self.speeds / self.count).astype(np.float32)
        change = (mean * seen[:, None]).astype(np.float32)
        seconds = FIRST if self.ended is None else time - self.ended
        self.level -= mean
        self.pose -= pose
        self.levels[:], self.poses[:], self.seen[:] = 0.0, 0.0, 1.0
        self.count, self.times, self.speeds, self.ended = 0, 0.0, 0.0, time
        return SkinStep(time, seconds, SkinChange(change, seen, motion))
