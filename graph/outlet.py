"""What one process has to tell another: batched while it waits, bounded by credit.

Packets of one link and stream may be sent for as long as no more of them are on their way or wait
at the other side than a lane holds; the other side gives the credit back when they leave the lane.
So the receiver never makes anybody wait, one slow stage holds up nobody else on the same way, and
stages that feed each other back and forth between two processes cannot wait for each other.

Marks, ends, credit and notices need no credit. A mark is overtaken by a later one.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from .inbox import count_ends
from .packet import Packet

Target = int | tuple[str, str]
"""Index of a link in the plan, or node and output port of a tap."""


class Lane(NamedTuple):
    """Where packets go: a link (or tap) of one stream in one of its incarnations."""

    target: Target
    stream: str
    incarnation: int
    """Counts how often the stream was begun anew: what an earlier one still says is not heard."""


@dataclass(slots=True)
class Batch:
    """What travels at once."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    """In order: ``("send", lane, packets, ends, floor)``, ``("end", lane, packet, floor)`` and what
    else is told."""
    marks: dict[Lane, float] = field(default_factory=dict)
    """Valid once the messages are taken."""
    credit: dict[Lane, int] = field(default_factory=dict)
    """Packets of the other side that left the lanes here."""
    clock: tuple[str, float] = ("", 0.0)
    """Machine, and its monotonic time in seconds when the batch was sent."""

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.messages or self.marks or self.credit)


class Outlet:
    """What waits to be sent to one other process; many threads fill it, one empties it."""

    def __init__(self, capacity: int, window: float = 0.0) -> None:
        """An empty outlet.

        Args:
            capacity: Packets of one lane that may be under way or wait at the other side.
            window: Least time in seconds between two batches.
        """
        self._capacity = capacity
        self._window = window
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._filled = threading.Condition(self._lock)
        self._batch = Batch()
        self._used: dict[Lane, int] = {}
        self._urgent = False
        self._closed = False
        self._taken = -inf

    def send(self, lane: Lane, packets: Sequence[Packet], ends: int, floor: float) -> int:
        """Hand packets over; waits for credit.

        Returns:
            How many were not taken, since the outlet was closed (ends are not counted).
        """
        start = 0
        with self._lock:
            while start < len(packets):
                if self._closed:
                    left = packets[start:]
                    return len(left) - count_ends(left)
                used = self._used.get(lane, 0)
                if used >= self._capacity:
                    self._room.wait()
                    continue
                part = packets[start : start + self._capacity - used]
                start += len(part)
                whole = len(part) == len(packets)
                self._used[lane] = used + len(part)
                self._batch.messages.append(
                    ("send", lane, part, ends if whole else count_ends(part), floor)
                )
                self._wake()
        return 0

    def offer(self, lane: Lane, packets: Sequence[Packet], floor: float) -> int:
        """Hand over what there is credit for, and wait for none; gives how many were not taken."""
        with self._lock:
            room = 0 if self._closed else max(0, self._capacity - self._used.get(lane, 0))
            part = packets[:room]
            if part:
                self._used[lane] = self._used.get(lane, 0) + len(part)
                self._batch.messages.append(("send", lane, part, 0, floor))
                self._wake()
            return len(packets) - len(part)

    def end(self, lane: Lane, packet: Packet, floor: float) -> None:
        """The last that is said on a lane."""
        with self._lock:
            self._batch.marks.pop(lane, None)
            self._batch.messages.append(("end", lane, packet, floor))
            self._wake()

    def advance(self, lane: Lane, mark: float) -> None:
        """Nothing earlier than this capture time will come on the lane."""
        with self._lock:
            self._batch.marks[lane] = max(mark, self._batch.marks.get(lane, -inf))
            self._wake()

    def tell(self, *message: Any) -> None:
        """Say something that is no packet."""
        with self._lock:
            self._batch.messages.append(message)
            self._wake()

    def give_credit(self, lane: Lane, count: int) -> None:
        """Packets that the other side had sent have left their lane here."""
        with self._lock:
            credit = self._batch.credit
            credit[lane] = credit.get(lane, 0) + count
            # It rides along with what is sent anyway, until somebody may come to wait for it.
            if credit[lane] * 2 >= self._capacity:
                self._wake()

    def take_credit(self, credit: Iterable[tuple[Lane, int]]) -> None:
        """The other side has room again."""
        with self._lock:
            for lane, count in credit:
                left = self._used.get(lane, 0) - count
                if left > 0:
                    self._used[lane] = left
                else:
                    self._used.pop(lane, None)
            self._room.notify_all()

    def forget(self, stream: str) -> None:
        """Free what is kept of a stream; who waits for its credit waits no longer."""
        with self._lock:
            for lane in [lane for lane in self._used if lane.stream == stream]:
                del self._used[lane]
            self._room.notify_all()

    def _wake(self) -> None:
        self._urgent = True
        self._filled.notify()

    def take(self, timeout: float) -> Batch | None:
        """What is to be sent; waits up to ``timeout`` seconds for something.

        Returns:
            A batch, which may be empty; None once the outlet is closed and emptied.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            while not self._urgent and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._filled.wait(left)
            early = self._taken + self._window - time.monotonic()
        if early > 0:
            time.sleep(early)  # What comes meanwhile goes along.
        with self._lock:
            batch, self._batch = self._batch, Batch()
            self._urgent = False
            self._taken = time.monotonic()
            if self._closed and not batch:
                return None
            return batch

    def close(self) -> None:
        """Let nobody wait any longer; what is sent from now on is not taken."""
        with self._lock:
            self._closed = True
            self._room.notify_all()
            self._filled.notify_all()
