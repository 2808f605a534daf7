"""When a face's next pictures for the networks are due: often while it is new, then seldom.

Nearly all that a network has wrong about a face it has wrong at every look (docs/TRAINING.md,
"Fusion": 0.85 to 1.00 of its error stays), so looking often adds little. It is worth its time
while a face is new, and again when something may have come into its place: a track is a place in
the picture, and a phone that is raised before an accepted face stays on its track. Everything here
is told by the picture itself, in capture time, and the bounds are wide: a false alarm costs a few
more looks, a missed one delays what the networks would have seen by one slow look.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Interval

from .payloads import Quality

_CLOCK_SLACK = 1e-3
"""Share of a period by which a frame may come early: forgives a rounding error of the clock."""
_MISSING_FRAMES = 0.3
"""Seconds between two frames beyond which nobody saw what happened: more than 5 frames a second
leave, which is the lowest rate that is meant to work."""
_DARK_OFFSET = 8.0
"""Added to levels of 0 to 255 before their ratio is taken: in the dark noise is no change."""

Nats = Annotated[float, Gt(0)]
Share = Annotated[float, Interval(gt=0.0, le=1.0)]


@dataclass(frozen=True)
class Alarms:
    """Changes after which a face is looked at eagerly again.

    Each is how far a frame may be off the running mean of the last second (``memory``). The bounds
    lie above what a living face that talks and turns shows in 99 of 100 frames, and far below what
    an object does that comes before a face.
    """

    motion: Annotated[float, Gt(0)] = 1.5
    """Face widths a second. A face that talks stays below 0.5; a box or a mesh that jumps by 6 % of
    the face's width from one frame to the next (at 25 a second) is above."""
    growth: Nats = 0.12
    """Natural logarithm of the face's width: 12 %. A step nearer from a metre away makes more."""
    presence: Share = 0.15
    """Fall of the mesh network's probability of a face, which is above 0.95 on a plain view."""
    occlusion: Share = 0.12
    """Rise of the covered share of the face: a hand or an edge over an eighth of it."""
    sharpness: Share = 0.25
    """Change of the sharpness, 0 to 1: another lens distance, or a picture of a picture."""
    light: Nats = 0.25
    """Natural logarithm of the skin's mean luma: 25 %, half a stop is 35 %."""
    tint: Nats = 0.08
    """Natural logarithm of red or blue against green on the skin: displays and prints have other
    colours than skin in the same light; automatic white balance moves far slower."""
    surroundings: Nats = 0.35
    """Natural logarithm of the luma beside the face: what is raised before a face has an edge."""
    memory: Annotated[float, Gt(0)] = 1.0
    """Time constant in seconds of the running means."""


class Sight(NamedTuple):
    """What a frame shows of a face, as numbers that can be compared from frame to frame."""

    motion: float
    size: float
    presence: float
    occlusion: float
    sharpness: float
    light: float
    red: float
    blue: float
    beside: float

    @classmethod
    def of(cls, quality: Quality, skin: np.ndarray, background: np.ndarray) -> "Sight":
        """Of a usable frame.

        Args:
            quality: The frame's.
            skin: float (3,), mean R, G, B of the skin, 0 to 255.
            background: float (3,), mean R, G, B beside the face; NaN where it is not seen.
        """
        red, green, blue = (log(level + _DARK_OFFSET) for level in skin.tolist())
        around = float(background.mean())
        return cls(
            quality.motion,
            log(max(quality.size, 1.0)),
            quality.presence,
            quality.occlusion,
            quality.sharpness,
            log(quality.exposure + _DARK_OFFSET),
            red - green,
            blue - green,
            log(around + _DARK_OFFSET) if isfinite(around) else around,
        )


@dataclass(slots=True)
class Pace:
    """What is kept of a track. Picklable."""

    looked: float | None = None
    """Capture time at which the last pictures were due; None: there were none."""
    since: float = 0.0
    """Capture time from which the face has been usable without an alarm."""
    seen: float | None = None
    """Capture time of the last frame, if that was usable."""
    usual: Sight | None = None
    """Running means."""


class Pacer:
    """Decides frame by frame whether pictures are due. Holds only constants.

    Args:
        eager_hz: Pictures a second while a face is new, and at most; above 0.
        settled_hz: Afterwards; not more than ``eager_hz`` counts.
        eager_s: Seconds without an alarm after which a face is settled.
        alarms: What makes it new again.
    """

    def __init__(self, eager_hz: float, settled_hz: float, eager_s: float, alarms: Alarms) -> None:
        self._eager = 1.0 / eager_hz
        self._settled = max(self._eager, 1.0 / settled_hz)
        self._eager_s = eager_s
        self._alarms = alarms

    def miss(self, pace: Pace) -> None:
        """A frame that does not show the face, or not well enough: after it the face is new."""
        pace.seen = None

    def expects(self, pace: Pace, time: float) -> bool:
        """Whether pictures will be due of a frame if that is usable, an alarm aside."""
        return time >= self._due(pace, time) - _CLOCK_SLACK * self._eager

    def is_due(self, pace: Pace, time: float, sight: Callable[[], Sight]) -> bool:
        """Whether pictures are due of a usable frame.

        Args:
            pace: The track's.
            time: Capture time in seconds.
            sight: Gives what the frame shows; not asked where nothing ever settles.
        """
        before = pace.seen
        if self._settled > self._eager:
            self._watch(pace, time, sight())
        if not self.expects(pace, time):
            return False
        due = self._due(pace, time)
        # From when it was due, so that the cadence does not depend on where the frames fall; from
        # now after a pause or where an alarm has brought it forward, so that no burst follows.
        in_time = due + self._period(pace, time) > time and (before is None or due > before)
        pace.looked = due if in_time else time
        return True

    def _period(self, pace: Pace, time: float) -> float:
        return self._settled if time - pace.since > self._eager_s else self._eager

    def _due(self, pace: Pace, time: float) -> float:
        return time if pace.looked is None else pace.looked + self._period(pace, time)

    def _watch(self, pace: Pace, time: float, sight: Sight) -> None:
        before, usual = pace.seen, pace.usual
        pace.seen = time
        if (
            before is None
            or usual is None
            or time - before > _MISSING_FRAMES
            or self._is_alarming(sight, usual)
        ):
            # New: from here on compared with what is there now.
            pace.since, pace.usual = time, sight
        else:
            step = 1.0 - exp((before - time) / self._alarms.memory)
            pace.usual = Sight(*(_nearer(u, s, step) for u, s in zip(usual, sight, strict=True)))

    def _is_alarming(self, sight: Sight, usual: Sight) -> bool:
        alarms = self._alarms
        return (
            sight.motion > alarms.motion
            or abs(sight.size - usual.size) > alarms.growth
            or usual.presence - sight.presence > alarms.presence
            or sight.occlusion - usual.occlusion > alarms.occlusion
            or abs(sight.sharpness - usual.sharpness) > alarms.sharpness
            or abs(sight.light - usual.light) > alarms.light
            or abs(sight.red - usual.red) > alarms.tint
            or abs(sight.blue - usual.blue) > alarms.tint
            # False where either is NaN.
            or abs(sight.beside - usual.beside) > alarms.surroundings
        )


def _nearer(usual: float, now: float, step: float) -> float:
    """A step of a running mean; begins anew where one of the two is NaN."""
    moved = usual + step * (now - usual)
    return moved if isfinite(moved) else now
