"""Ticks: packets of one stream and one capture time, complete and in order.

A stage with a join goes tick by tick, so that what a node sees does not depend on how packets
happened to be batched. In lossless mode a tick also waits until no link can add to it, which the
links tell by their marks. What waits here has left its lane, so a producer never waits for a
merge, and a fork that joins again cannot deadlock; what bounds the memory is the lane before the
slower branch.

The place of a packet is its capture time, or the time at which its producer was if that is later:
the last word of a state that ended may be older than what has gone before.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from .inbox import Chunk, Taken, count_ends
from .packet import Packet

Arrivals = list[tuple[int, Sequence[Packet], int]]
"""Link, packets, and how many of them are ends."""


class Tick(NamedTuple):
    """What a stage handles at once."""

    time: float
    """Capture time of the tick; minus infinity for a batch that was not cut."""
    arrivals: Arrivals


class _Placed(NamedTuple):
    time: float
    link: int
    packet: Packet


class Merger:
    """Puts the packets of many links in order of capture time, then link, then arrival."""

    def __init__(self, links: int) -> None:
        self._links = links
        self._held: dict[str, list[_Placed]] = {}
        self._marks: dict[str, list[float]] = {}

    def add(self, taken: Taken) -> list[Tick]:
        """Take packets of one stream in; give the ticks that are complete now."""
        stream = taken.stream
        held = self._held.setdefault(stream, [])
        marks = self._marks.setdefault(stream, [-inf] * self._links)
        for chunk in taken.chunks:
            floor = chunk.floor
            link = chunk.link
            for packet in chunk.packets:
                time = packet[1] if packet[1] > floor else floor
                held.append(_Placed(time, link, packet))
            if chunk.packets:
                marks[link] = max(marks[link], held[-1].time)
        for link, mark in enumerate(taken.marks):
            if mark > marks[link]:
                marks[link] = mark
        frontier = min(marks)
        ready = [placed for placed in held if placed.time < frontier]
        if not ready:
            return []
        self._held[stream] = [placed for placed in held if placed.time >= frontier]
        ready.sort(key=_order)
        return _ticks(ready)

    def frontier(self, stream: str) -> float:
        """Nothing earlier than this capture time is to come for the stream."""
        marks = self._marks.get(stream)
        return min(marks) if marks else -inf

    def forget(self, stream: str) -> None:
        """Free what is kept of a stream that has ended."""
        self._held.pop(stream, None)
        self._marks.pop(stream, None)


def cut_into_ticks(chunks: Sequence[Chunk]) -> list[Tick]:
    """The ticks of packets that need not wait for others, in order of arrival."""
    placed = [
        _Placed(max(packet[1], chunk.floor), chunk.link, packet)
        for chunk in chunks
        for packet in chunk.packets
    ]
    return _ticks(placed)


def whole_batch(chunks: Sequence[Chunk]) -> Tick:
    """All packets at once, uncut."""
    return Tick(-inf, [(chunk.link, chunk.packets, chunk.ends) for chunk in chunks])


def _order(placed: _Placed) -> tuple[float, int]:
    return placed.time, placed.link


def _ticks(ordered: Sequence[_Placed]) -> list[Tick]:
    ticks: list[Tick] = []
    start = 0
    for index in range(1, len(ordered) + 1):
        if index == len(ordered) or ordered[index].time != ordered[start].time:
            ticks.append(Tick(ordered[start].time, _arrivals(ordered[start:index])))
            start = index
    return ticks


def _arrivals(placed: Sequence[_Placed]) -> Arrivals:
    arrivals: Arrivals = []
    start = 0
    for index in range(1, len(placed) + 1):
        if index == len(placed) or placed[index].link != placed[start].link:
            packets = [p.packet for p in placed[start:index]]
            arrivals.append((placed[start].link, packets, count_ends(packets)))
            start = index
    return arrivals
