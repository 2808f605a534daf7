"""Counts the events of a run in bounded memory, for whoever watches it by numbers."""

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from ..graph.packet import Packet
from ..nodes.capture import SOURCE_EVENT
from ..nodes.decide import VERDICT
from ..nodes.payloads import Event

KEPT_STREAMS = 10_000
"""So many streams are remembered; those that were silent longest are forgotten first."""


@dataclass(slots=True)
class StreamTally:
    """What one stream came to."""

    sources: Counter[str] = field(default_factory=Counter)
    """Events of its source by state."""
    tracks: Counter[str] = field(default_factory=Counter)
    """Tracks that ended, by their final state."""

    @property
    def reconnects(self) -> int:
        """Times that the source came back."""
        return max(self.sources["connected"] - 1, 0)


@dataclass(slots=True)
class Tally:
    """What the events of a run came to. Totals hold streams that have long ended too."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Verdict events by state: first looks, changes, heartbeats and final ones."""
    tracks: Counter[str] = field(default_factory=Counter)
    """Tracks that ended, by their final state."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Final verdicts by state and reason code."""
    cues: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Final verdicts by state, cue, and what it spoke for: ``live``, ``attack``, ``nothing``."""
    sources: Counter[str] = field(default_factory=Counter)
    """Events of sources by state."""
    streams: dict[str, StreamTally] = field(default_factory=dict)


class EventTally:
    """Takes events on any thread; :meth:`read` gives a copy at any time."""

    def __init__(self, kept_streams: int = KEPT_STREAMS) -> None:
        self._kept = kept_streams
        self._lock = threading.Lock()
        self._total = Tally()
        self._streams: OrderedDict[str, StreamTally] = OrderedDict()

    def take(self, packet: Packet) -> None:
        """Count one packet that carries an :class:`Event`."""
        event: Event = packet.payload
        if event.type == VERDICT:
            with self._lock:
                self._take_verdict(packet.stream, event)
        elif event.type == SOURCE_EVENT:
            state = str(event.data.get("state", ""))
            with self._lock:
                self._total.sources[state] += 1
                self._stream(packet.stream).sources[state] += 1

    def _take_verdict(self, stream: str, event: Event) -> None:
        state = str(event.data["state"])
        self._total.verdicts[state] += 1
        if not event.data["final"]:
            return
        self._total.tracks[state] += 1
        self._stream(stream).tracks[state] += 1
        self._total.reasons.update((state, str(reason)) for reason in event.data["reasons"])
        for evidence in event.data["evidence"]:
            told = _spoke_for(evidence["llr"])
            self._total.cues[state, str(evidence["cue"]), told] += 1

    def _stream(self, name: str) -> StreamTally:
        found = self._streams.setdefault(name, StreamTally())
        self._streams.move_to_end(name)
        while len(self._streams) > self._kept:
            self._streams.popitem(last=False)
        return found

    def read(self) -> Tally:
        """The counts as they stand."""
        with self._lock:
            total = self._total
            return Tally(
                Counter(total.verdicts),
                Counter(total.tracks),
                Counter(total.reasons),
                Counter(total.cues),
                Counter(total.sources),
                {
                    name: StreamTally(Counter(stream.sources), Counter(stream.tracks))
                    for name, stream in self._streams.items()
                },
            )


def _spoke_for(llr: float | None) -> str:
    if llr is None or llr == 0:
        return "nothing"
    return "live" if llr > 0 else "attack"
