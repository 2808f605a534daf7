"""Capture time: what a stream's timestamps, or the lack of them, say about when a frame was taken.

Pure logic, no clock is read here: presentation times and arrivals go in, stream times come out.
"""

from collections import deque
from dataclasses import dataclass, field
from math import isfinite
from statistics import median
from typing import Literal, NamedTuple

Break = Literal["", "first", "jump_back", "jump_forward", "gap", "wrap", "reconnect"]
"""Why an epoch begins, empty where none does. ``gap``: a live source was silent for that long."""

WRAPS = (2**33 / 90_000, 2**32 / 90_000)
"""Seconds after which MPEG transport streams and RTP video timestamps start again from 0."""

LEAST_STEP = 7.5e-3
"""Seconds between two frames below which their times say nothing of a speed: a frame whose
presentation time was repeated is put closer to its predecessor than it was taken. Cameras of 120
frames a second are above."""

_CADENCE_FRAMES = 9
_REPEATS_BEFORE_STUCK = 3
_ARRIVAL_PULL = 0.1
_LONGEST_STEP = 1e7


class Moment(NamedTuple):
    """When a frame was taken."""

    time: float
    """Seconds of stream time: starts at 0 and never decreases."""
    epoch: int
    reason: Break


@dataclass(slots=True)
class StreamClock:
    """Turns presentation times into stream times and epochs.

    - Stream time follows the presentation times, whatever the frame rate does.
    - A repeated or slightly earlier one (by less than a frame) is no break: the frame is put just
      behind its predecessor. Where they stay on one value they count as missing.
    - A missing one is taken from the recent cadence; in a live stream the arrivals pull it right.
      The declared rate serves only where nothing has been learned yet.
    - A jump back, a wrap, a step of more than ``max_gap`` or a reconnect begins an epoch. Stream
      time goes on: by the time that passed in the world in a live stream, by one frame in a file.
    """

    live: bool = False
    max_gap: float = 2.0
    """Longest step in seconds that is not a break."""
    declared_interval: float = 0.04
    """Seconds per frame as the container claims: the last resort."""
    _time: float = 0.0
    _epoch: int = -1
    _pts: float | None = None
    """Last presentation time."""
    _anchor: tuple[float, float] | None = None
    """A presentation time and its stream time."""
    _arrival: float | None = None
    _world: tuple[float, float] | None = None
    """An arrival and its stream time."""
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=_CADENCE_FRAMES))
    _repeats: int = 0
    _reconnected: bool = False

    @property
    def interval(self) -> float:
        """Seconds per frame: median of the recent steps, as declared before there are any."""
        return median(self._steps) if self._steps else self.declared_interval

    def reconnect(self) -> None:
        """Say that the source was opened anew: the next frame begins an epoch."""
        self._reconnected = self._epoch >= 0

    def at(self, pts: float | None, arrival: float | None = None) -> Moment:
        """When the next frame was taken.

        Args:
            pts: Presentation time in seconds, None where there is none. NaN counts as none.
            arrival: Monotonic time in seconds at which the frame came; used in live streams.
        """
        pts = pts if pts is not None and isfinite(pts) else None
        arrival = arrival if arrival is not None and isfinite(arrival) and self.live else None
        time, reason = self._next(pts, arrival)
        if reason:
            self._epoch += 1
        elif time - self._time > 1.01 * self._nudge():  # a nudge says nothing of the cadence
            self._steps.append(time - self._time)
        self._time = max(self._time, time)
        self._remember(pts, arrival, bool(reason))
        return Moment(self._time, self._epoch, reason)

    def _next(self, pts: float | None, arrival: float | None) -> tuple[float, Break]:
        if self._epoch < 0:
            return 0.0, "first"
        if self._reconnected:
            self._reconnected = False
            return self._resumed(arrival), "reconnect"
        self._repeats = self._repeats + 1 if pts is not None and pts == self._pts else 0
        if pts is None or self._repeats > _REPEATS_BEFORE_STUCK:
            return self._guessed(arrival)
        if self._pts is None or self._anchor is None:
            # First presentation time after frames without: those came in a burst, if at all.
            time, reason = self._guessed(arrival)
            return max(time, self._time + self.interval), reason
        back = self._pts - pts
        if back >= self.interval:
            for modulus in WRAPS:
                if 0 < modulus - back <= self.max_gap:
                    return self._time + modulus - back, "wrap"
            return self._resumed(arrival), "jump_back"
        time = self._anchor[1] + (pts - self._anchor[0])
        if time - self._time > self.max_gap:
            return self._resumed(arrival), "gap" if self._was_silent(arrival) else "jump_forward"
        return max(time, self._time + self._nudge()), ""

    def _guessed(self, arrival: float | None) -> tuple[float, Break]:
        """The time of a frame without a usable presentation time."""
        if arrival is None or self._world is None:
            return self._time + self.interval, ""
        seen = self._world[1] + (arrival - self._world[0])
        if seen - self._time > self.max_gap:
            return self._resumed(arrival), "gap"
        if len(self._steps) < 3:
            return max(seen, self._time + self._nudge()), ""
        expected = self._time + self.interval
        pulled = expected + _ARRIVAL_PULL * (seen - expected)
        return max(pulled, self._time + self.interval / 4), ""

    def _resumed(self, arrival: float | None) -> float:
        """Where stream time goes on after a break."""
        passed = 0.0
        if arrival is not None and self._arrival is not None:
            passed = min(arrival - self._arrival, _LONGEST_STEP)
        return self._time + max(passed, self.interval)

    def _was_silent(self, arrival: float | None) -> bool:
        if arrival is None or self._arrival is None:
            return False
        return arrival - self._arrival > self.max_gap

    def _nudge(self) -> float:
        return min(1e-3, self.interval / 8)

    def _remember(self, pts: float | None, arrival: float | None, broke: bool) -> None:
        if pts is not None:
            moved = pts != self._pts
            ran_ahead = (
                self._anchor is not None
                and self._time - (self._anchor[1] + pts - self._anchor[0]) > self.max_gap
            )
            if broke or self._anchor is None or (moved and ran_ahead):
                self._anchor = (pts, self._time)
            self._pts = pts
        elif broke:
            self._pts = self._anchor = None
        if arrival is not None:
            # Presentation times are the truth where there are any: arrivals follow them.
            if broke or self._world is None or (pts is not None and not self._repeats):
                self._world = (arrival, self._time)
            self._arrival = arrival
