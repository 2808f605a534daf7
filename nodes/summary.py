"""What a run came to, stream by stream: the table at its end."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from rich.table import Table
from rich.text import Text

from ..graph.packet import Packet
from .decide import VERDICT, State
from .evidence import Reason
from .payloads import Event

COLOURS = {State.LIVE.value: "green", State.SPOOF.value: "red", State.UNDECIDED.value: "yellow"}
TOP_REASONS = 2

AGE_BOUNDS_MS = tuple(1.05**i for i in range(260))
"""Upper bounds of the histogram's bins in milliseconds: 5 % apart, 1 ms to 5 minutes."""


@dataclass(frozen=True, slots=True)
class StreamCounters:
    """What the runtime counted for one stream; None where it did not."""

    frames: int = 0
    """Frames decoded."""
    seconds: float = 0.0
    """Wall-clock time of the stream in seconds."""
    dropped: int | None = 0
    """Packets dropped anywhere on the way; None where all streams were counted together."""
    frame_age_ms: tuple[float, float] | None = None
    """50th and 99th percentile. None: taken from the verdict events, where they tell it."""


@dataclass(slots=True)
class AgeHistogram:
    """Percentiles of many ages in bounded memory, to 5 %."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(AGE_BOUNDS_MS) + 1))

    def add(self, age_ms: float) -> None:
        """Count one age."""
        self.counts[bisect_left(AGE_BOUNDS_MS, age_ms)] += 1

    def percentile(self, share: float) -> float | None:
        """Upper bound in ms of the bin that holds the given share (0 to 1); None if empty."""
        wanted = ceil(share * sum(self.counts))
        seen = 0
        for bound, count in zip((*AGE_BOUNDS_MS, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= wanted > 0:
                return bound
        return None


@dataclass(slots=True)
class StreamSummary:
    """What the events of one stream came to. Its size does not grow with the run."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Tracks by their final state."""
    watched: dict[int | None, str] = field(default_factory=dict)
    """Newest state of the tracks that have not ended."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each reason stood in an undecided verdict."""
    ages: AgeHistogram = field(default_factory=AgeHistogram)
    connections: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    """Source and scene events that tell of trouble, by state."""

    @property
    def tracks(self) -> int:
        """Faces seen."""
        return self.verdicts.total() + len(self.watched)

    @property
    def reconnects(self) -> int:
        """Times that the source came back."""
        return max(self.connections - 1, 0)

    def by_state(self) -> Counter[str]:
        """All tracks by their newest state."""
        return self.verdicts + Counter(self.watched.values())


@dataclass(slots=True)
class RunSummary:
    """Takes the events of a run as they come and makes the table at its end."""

    streams: dict[str, StreamSummary] = field(default_factory=dict)

    def take(self, packet: Packet) -> None:
        """Note one event packet."""
        event: Event = packet.payload
        stream = self.streams.setdefault(packet.stream, StreamSummary())
        state = event.data.get("state", "")
        if event.type == VERDICT:
            _take_verdict(stream, event, packet.key)
        elif event.type == "padflow.source.v1":
            stream.connections += state == "connected"
            if state in ("stalled", "lost", "error"):
                stream.trouble[state] += 1
        elif event.type == "padflow.scene.v1" and state != "ok":
            told = event.data.get("reason") if state == "no_face" else state
            stream.trouble[str(told)] += 1

    def table(
        self, counters: Mapping[str, StreamCounters] | None = None, dropped: int | None = None
    ) -> Table:
        """The table, one row a stream, streams without any event included.

        Args:
            counters: by stream.
            dropped: packets dropped of all streams together, where only that was counted; it
                stands below the streams.
        """
        counters = counters or {}
        table = Table(
            box=None, pad_edge=False, header_style="bold", show_footer=dropped is not None
        )
        table.add_column("stream", "all streams", overflow="fold")
        for name in ("frames", "fps", "faces"):
            table.add_column(name, justify="right", no_wrap=True)
        for state in State:
            table.add_column(state.value, justify="right", style=COLOURS[state.value], no_wrap=True)
        table.add_column("why undecided, trouble")
        table.add_column("age p50/p99", justify="right", no_wrap=True)
        total = "" if dropped is None else str(dropped)
        table.add_column("drops", total, justify="right", no_wrap=True)
        table.add_column("reconnects", justify="right", no_wrap=True)
        for name in sorted({*self.streams, *counters}):
            stream = self.streams.get(name, StreamSummary())
            table.add_row(Text(name), *_cells(stream, counters.get(name)))
        return table


def _take_verdict(stream: StreamSummary, event: Event, track: int | None) -> None:
    state = event.data["state"]
    # The last word may have waited for a camera that was away: no age of a frame on its way.
    if event.data["frame_age_ms"] is not None and not event.data["final"]:
        stream.ages.add(event.data["frame_age_ms"])
    if state == State.UNDECIDED.value:
        # Told on the way to LIVE or SPOOF, it says only that a verdict is coming.
        stream.reasons.update(r for r in event.data["reasons"] if r != Reason.DECISION_PENDING)
    if event.data["final"]:
        stream.watched.pop(track, None)
        stream.verdicts[state] += 1
    else:
        stream.watched[track] = state


def _cells(stream: StreamSummary, counted: StreamCounters | None) -> list[str]:
    states = stream.by_state()
    why = [_words(reason) for reason, _ in stream.reasons.most_common(TOP_REASONS)]
    trouble = [f"{_words(state)} ({n})" for state, n in stream.trouble.most_common()]
    return [
        "-" if counted is None else str(counted.frames),
        "-"
        if counted is None or counted.seconds <= 0
        else f"{counted.frames / counted.seconds:.1f}",
        str(stream.tracks),
        *(str(states[state.value]) for state in State),
        ", ".join([*why, *trouble]) or "-",
        _ages(stream, counted),
        "-" if counted is None or counted.dropped is None else str(counted.dropped),
        str(stream.reconnects),
    ]


def _ages(stream: StreamSummary, counted: StreamCounters | None) -> str:
    if counted is not None and counted.frame_age_ms is not None:
        return "{:.0f}/{:.0f}".format(*counted.frame_age_ms)
    middle, high = stream.ages.percentile(0.5), stream.ages.percentile(0.99)
    return "-" if middle is None or high is None else f"{middle:.0f}/{high:.0f}"


def _words(code: str) -> str:
    return code.replace("_", " ")
