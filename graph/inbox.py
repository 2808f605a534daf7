"""Bounded waiting room of one stage replica.

Packets wait in lanes, one per link and stream. A full lane makes its producer wait (``block``) or
gives up its oldest packet (``drop_oldest``, at the entry of a realtime run). Streams are served in
turn, so a fast one cannot starve another. Ends are never dropped.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from .metrics import EdgeCounters
from .packet import End, Packet


@dataclass(frozen=True, slots=True)
class LanePolicy:
    """How the lanes of one link are bounded."""

    capacity: int
    """Packets per stream."""
    drop_oldest: bool = False
    """Drop instead of making the producer wait."""
    max_staleness: float = inf
    """Seconds since arrival after which a packet is not handed out any more."""


class Chunk:
    """Consecutive packets of one link and stream."""

    __slots__ = ("ends", "floor", "link", "packets")

    def __init__(self, link: int, packets: list[Packet], ends: int, floor: float) -> None:
        self.link = link
        self.packets = packets
        self.ends = ends
        """How many of the packets are ends."""
        self.floor = floor
        """Capture time at which the producer was when it sent them."""


class Taken(NamedTuple):
    """What an inbox hands out for one stream."""

    stream: str
    chunks: list[Chunk]
    marks: tuple[float, ...]
    """By link: nothing earlier than this capture time will come. Empty where packets were left."""


class _Waiting:
    """The lanes of one stream."""

    __slots__ = ("chunks", "depth", "dropped", "marks", "queued")

    def __init__(self, links: int) -> None:
        self.chunks: list[Chunk] = []
        self.depth = [0] * links
        self.marks = [-inf] * links
        self.queued = False
        self.dropped: dict[str, int] = {}


class Inbox:
    """Lanes of all links into one stage replica: many producers, one consumer."""

    def __init__(
        self,
        policies: Sequence[LanePolicy],
        left: Callable[[int, str, int], None] | None = None,
    ) -> None:
        """Lanes of the given policies; ``left`` is told link, stream and number of what leaves."""
        self.counters = [EdgeCounters() for _ in policies]
        """By link."""
        self._policies = list(policies)
        self._left = left
        self._may_be_stale = any(policy.max_staleness < inf for policy in policies)
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._sleeping = False
        self._blocked = 0
        self._streams: dict[str, _Waiting] = {}
        self._turns: deque[str] = deque()
        self._count = 0
        self._closed = False

    def put(
        self,
        link: int,
        stream: str,
        packets: Sequence[Packet],
        ends: int = 0,
        floor: float = -inf,
        mark: float = -inf,
    ) -> None:
        """Hand over packets of one stream; waits while the lane is full if its policy is to block.

        After :meth:`close` they are counted as dropped (``stopped``).

        Args:
            link: Index of the link.
            stream: The stream of all the packets.
            packets: In order. Not changed and not kept.
            ends: How many of them are ends.
            floor: Capture time at which the producer is; its packets may be late.
            mark: As in :meth:`advance`, told together with the packets.
        """
        policy = self._policies[link]
        total = len(packets)
        with self._lock:
            waiting = self._streams.get(stream) or self._waiting(stream)
            self.counters[link].packets_in += total - ends
            if policy.drop_oldest or waiting.depth[link] + total <= policy.capacity:
                if self._closed:
                    self.counters[link].drop("stopped", total - ends)
                    return
                self._append(waiting, link, stream, packets, ends, floor)
                if waiting.depth[link] > policy.capacity:
                    self._drop_oldest(waiting, link, waiting.depth[link] - policy.capacity)
            else:
                self._put_as_room_allows(link, stream, packets, floor)
            if mark > -inf:
                waiting.marks[link] = max(mark, waiting.marks[link])

    def _put_as_room_allows(
        self, link: int, stream: str, packets: Sequence[Packet], floor: float
    ) -> None:
        start = 0
        capacity = self._policies[link].capacity
        while start < len(packets):
            waiting = self._waiting(stream)
            room = capacity - waiting.depth[link]
            if self._closed:
                left = packets[start:]
                self.counters[link].drop("stopped", len(left) - count_ends(left))
                return
            if room <= 0:
                self._blocked += 1
                self._room.wait()
                self._blocked -= 1
                continue
            part = packets[start : start + room]
            start += room
            self._append(waiting, link, stream, part, count_ends(part), floor)

    def advance(self, link: int, stream: str, mark: float) -> None:
        """Tell that nothing earlier than ``mark`` will come on this link for the stream."""
        with self._lock:
            waiting = self._waiting(stream)
            if mark > waiting.marks[link]:
                waiting.marks[link] = mark
                self._queue(waiting, stream)

    def _waiting(self, stream: str) -> _Waiting:
        waiting = self._streams.get(stream)
        if waiting is None:
            waiting = self._streams[stream] = _Waiting(len(self._policies))
        return waiting

    def _append(
        self,
        waiting: _Waiting,
        link: int,
        stream: str,
        packets: Sequence[Packet],
        ends: int,
        floor: float,
    ) -> None:
        count = len(packets)
        waiting.depth[link] += count
        self._count += count
        chunks = waiting.chunks
        if chunks and chunks[-1].link == link and chunks[-1].floor == floor:
            chunks[-1].packets.extend(packets)
            chunks[-1].ends += ends
        else:
            chunks.append(Chunk(link, list(packets), ends, floor))
        if not waiting.queued:
            waiting.queued = True
            self._turns.append(stream)
        if self._sleeping:
            self._sleeping = False
            self._arrived.notify()

    def _queue(self, waiting: _Waiting, stream: str) -> None:
        if not waiting.queued:
            waiting.queued = True
            self._turns.append(stream)
        if self._sleeping:
            self._sleeping = False
            self._arrived.notify()

    def _drop_oldest(self, waiting: _Waiting, link: int, count: int) -> None:
        left = count
        for chunk in waiting.chunks:
            if chunk.link != link or left == 0:
                continue
            if chunk.ends:
                kept = []
                for packet in chunk.packets:
                    if left and not isinstance(packet.payload, End):
                        left -= 1
                    else:
                        kept.append(packet)
                chunk.packets = kept
            else:
                cut = min(left, len(chunk.packets))
                del chunk.packets[:cut]
                left -= cut
        # Where links take turns, each packet has a chunk of its own.
        waiting.chunks = [chunk for chunk in waiting.chunks if chunk.packets]
        dropped = count - left
        waiting.depth[link] -= dropped
        self._count -= dropped
        self._dropped(waiting, link, "oldest", dropped)

    def _dropped(self, waiting: _Waiting, link: int, reason: str, count: int) -> None:
        self.counters[link].drop(reason, count)
        waiting.dropped[reason] = waiting.dropped.get(reason, 0) + count

    def dropped_of(self, stream: str) -> Mapping[str, int]:
        """Packets of a stream that were dropped for newer ones or for their age, by reason."""
        waiting = self._streams.get(stream)
        return {} if waiting is None else dict(waiting.dropped)

    def take(
        self, *, streams: int = 1, packets: int = 0, max_wait: float = 0.0
    ) -> list[Taken] | None:
        """Everything that waits for the next streams in turn; waits until there is something.

        Args:
            streams: Serve at most so many streams.
            packets: Stop after so many packets (0: no limit), leaving the rest in its turn.
            max_wait: Seconds to wait for that many packets once the first one is there.

        Returns:
            One entry a stream, or None once the inbox is closed.
        """
        with self._lock:
            while not self._turns:
                if self._closed:
                    return None
                self._sleep(None)
            if packets > 1 and max_wait > 0:
                self._wait_for(packets, max_wait)
            if self._closed:
                return None
            taken: list[Taken] = []
            count = 0
            for _ in range(min(streams, len(self._turns))):
                stream = self._turns.popleft()
                waiting = self._streams[stream]
                share = packets - count if packets else 0
                chunks = self._take_stream(waiting, stream, share)
                # A mark is ahead of packets that were left behind.
                marks = () if waiting.chunks else tuple(waiting.marks)
                taken.append(Taken(stream, chunks, marks))
                count += sum(len(chunk.packets) for chunk in chunks)
                if packets and count >= packets:
                    break
            if self._blocked:
                self._room.notify_all()
            return taken

    def _wait_for(self, packets: int, max_wait: float) -> None:
        deadline = time.monotonic() + max_wait
        while self._count < packets and not self._closed:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._sleep(left)

    def _sleep(self, timeout: float | None) -> None:
        self._sleeping = True
        self._arrived.wait(timeout)
        self._sleeping = False

    def _take_stream(self, waiting: _Waiting, stream: str, limit: int) -> list[Chunk]:
        chunks = waiting.chunks
        if limit and sum(len(chunk.packets) for chunk in chunks) > limit:
            chunks, waiting.chunks = _split(chunks, limit)
            self._turns.append(stream)
        else:
            waiting.chunks = []
            waiting.queued = False
        if self._may_be_stale:
            now = time.monotonic()
            for chunk in chunks:
                self._drop_stale(waiting, stream, chunk, now)
            # With nothing in them a node would be called, and its time counted, for nothing.
            chunks = [chunk for chunk in chunks if chunk.packets]
        for chunk in chunks:
            count = len(chunk.packets)
            waiting.depth[chunk.link] -= count
            self._count -= count
            self.counters[chunk.link].packets_out += count - chunk.ends
            if self._left is not None:
                self._left(chunk.link, stream, count)
        return chunks

    def _drop_stale(self, waiting: _Waiting, stream: str, chunk: Chunk, now: float) -> None:
        oldest_allowed = now - self._policies[chunk.link].max_staleness
        kept = [p for p in chunk.packets if p[5] >= oldest_allowed or isinstance(p[4], End)]
        dropped = len(chunk.packets) - len(kept)
        if dropped:
            chunk.packets = kept
            waiting.depth[chunk.link] -= dropped
            self._count -= dropped
            self._dropped(waiting, chunk.link, "stale", dropped)
            if self._left is not None:
                self._left(chunk.link, stream, dropped)

    def forget(self, stream: str) -> None:
        """Free the lanes of a stream that has ended on all links."""
        with self._lock:
            waiting = self._streams.get(stream)
            if waiting is not None and not waiting.chunks:
                del self._streams[stream]
                if waiting.queued:
                    self._turns.remove(stream)

    def close(self) -> None:
        """Let nobody wait any longer; what still waits is counted as dropped (``stopped``)."""
        with self._lock:
            self._closed = True
            for waiting in self._streams.values():
                for chunk in waiting.chunks:
                    self.counters[chunk.link].drop("stopped", len(chunk.packets) - chunk.ends)
                waiting.chunks = []
            self._arrived.notify_all()
            self._room.notify_all()


def count_ends(packets: Sequence[Packet]) -> int:
    """How many of the packets are ends."""
    return sum(1 for packet in packets if isinstance(packet[4], End))


def _split(chunks: Sequence[Chunk], limit: int) -> tuple[list[Chunk], list[Chunk]]:
    """The first ``limit`` packets of chunks, and the rest."""
    head: list[Chunk] = []
    tail: list[Chunk] = []
    for chunk in chunks:
        count = len(chunk.packets)
        if limit >= count:
            head.append(chunk)
        elif limit <= 0:
            tail.append(chunk)
        else:
            first, rest = chunk.packets[:limit], chunk.packets[limit:]
            ends = count_ends(first)
            head.append(Chunk(chunk.link, first, ends, chunk.floor))
            tail.append(Chunk(chunk.link, rest, chunk.ends - ends, chunk.floor))
        limit -= count
    return head, tail
