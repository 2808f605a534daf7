"""Counters of a run: plain integers written by one thread each, read at any time."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Literal

DURATION_BOUNDS: tuple[float, ...] = tuple(1e-5 * 10 ** (i / 10) for i in range(71))
"""Upper bounds in seconds of the buckets of durations: 10 µs to 100 s, ten a decade."""

StreamState = Literal["running", "ended"]


@dataclass(frozen=True, slots=True)
class DurationHistogram:
    """Many durations in bounded memory."""

    counts: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS) + 1)
    """By bucket; the last holds what is longer than every bound."""
    total: float = 0.0
    """Sum of the durations in seconds."""

    def quantile(self, share: float) -> float:
        """Duration in seconds that this share stays under; NaN where none was counted.

        Exact to a bucket, that is to 26 %; the upper bound is given.
        """
        total = sum(self.counts)
        if total == 0:
            return nan
        seen = 0
        for bound, count in zip((*DURATION_BOUNDS, DURATION_BOUNDS[-1]), self.counts, strict=True):
            seen += count
            if seen >= share * total:
                return bound
        return DURATION_BOUNDS[-1]

    @property
    def p50(self) -> float:
        """Median in seconds."""
        return self.quantile(0.50)

    @property
    def p99(self) -> float:
        """99th percentile in seconds."""
        return self.quantile(0.99)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an operator should know of."""

    node: str
    """Name of the node, or empty for the run as a whole."""
    stream: str
    """Name of the stream, or empty."""
    message: str
    fault: bool = False
    """The node raised: what it was to do was not done."""


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """What one node did, all its replicas together. Ends are not counted as packets."""

    packets_in: int = 0
    packets_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Packets lost in the node by reason: ``fault``, and at sources ``time_backwards``."""
    calls: int = 0
    busy: float = 0.0
    """Wall seconds inside the node."""
    cpu: float = 0.0
    """CPU seconds of the runtime's own thread inside the node (not of threads a library keeps);
    of a source, those of its whole thread."""
    states: int = 0
    """Keyed states alive."""
    resets: Mapping[str, int] = field(default_factory=dict)
    """Keyed states that began anew, by reason: ``epoch``, ``gap``, ``fault``."""
    age: DurationHistogram = DurationHistogram()
    """How old packets were (seconds since their source handed them over) when the node was done.
    Counted once per call, for its oldest packet."""
    latency: DurationHistogram = DurationHistogram()
    """Wall seconds of each call; nothing for sources, whose calls wait for the camera."""


@dataclass(frozen=True, slots=True)
class EdgeMetrics:
    """What went over one edge: ``packets_in == packets_out + depth + sum(dropped)``."""

    packets_in: int = 0
    packets_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    """By reason: ``oldest`` (lane full), ``full`` (no room in another process), ``stale``,
    ``stopped`` (left behind by a hard stop), ``lost`` (with the process in which they waited)."""
    depth: int = 0
    """Packets waiting."""


@dataclass(frozen=True, slots=True)
class StreamMetrics:
    """Where one stream stands."""

    packets: int = 0
    """Packets that its sources gave."""
    state: StreamState = "running"
    reason: str = ""
    """Why it ended: ``end``, ``error``, ``removed``, ``stopped``, ``worker_lost``."""
    worker: int | None = None
    """The worker process that has it, if one does."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Its packets that were dropped while it runs, by reason: ``oldest``, ``stale``."""
    incarnation: int = -1
    """On Ray: how often it was begun anew before."""


@dataclass(frozen=True, slots=True)
class ProcessMetrics:
    """What one process holds."""

    resident: int
    """Bytes of memory that lie in RAM."""
    open_files: int
    threads: int


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """A snapshot of a run."""

    nodes: Mapping[str, NodeMetrics]
    edges: Mapping[str, EdgeMetrics]
    """By ``capture.frames->detect.frames``."""
    streams: Mapping[str, StreamMetrics]
    notices: int
    """How many notices were given so far."""
    process: ProcessMetrics | None = None
    """The process that all of it ran in; None where there are several, or nobody looked."""
    losses: int = 0
    """How many actors were lost so far, on Ray."""


def process_metrics() -> ProcessMetrics | None:
    """What this process holds now; None where the system has no ``/proc``. Takes some 50 µs."""
    try:
        resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        # The folder itself is open while it is listed.
        open_files = len(os.listdir("/proc/self/fd")) - 1
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        return None
    return ProcessMetrics(resident_pages * os.sysconf("SC_PAGE_SIZE"), open_files, threads)


def merged(parts: Iterable[RunMetrics]) -> RunMetrics:
    """Snapshots of several processes as one, without what the processes hold."""
    nodes: dict[str, NodeMetrics] = {}
    edges: dict[str, EdgeMetrics] = {}
    streams: dict[str, StreamMetrics] = {}
    notices = losses = 0
    for part in parts:
        for name, node in part.nodes.items():
            nodes[name] = _add_nodes(nodes.get(name, NodeMetrics()), node)
        for name, edge in part.edges.items():
            edges[name] = _add_edges(edges.get(name, EdgeMetrics()), edge)
        streams.update(part.streams)
        notices += part.notices
        losses += part.losses
    return RunMetrics(nodes, edges, streams, notices, losses=losses)


def of_lost_process(known: RunMetrics) -> RunMetrics:
    """The last that a lost process told: what it counted stays, nothing is alive or waits there."""
    nodes = {name: replace(node, states=0) for name, node in known.nodes.items()}
    edges = {
        name: replace(edge, depth=0, dropped=_add_counts(edge.dropped, {"lost": edge.depth}))
        if edge.depth
        else edge
        for name, edge in known.edges.items()
    }
    return replace(known, nodes=nodes, edges=edges)


def _add_nodes(a: NodeMetrics, b: NodeMetrics) -> NodeMetrics:
    return NodeMetrics(
        packets_in=a.packets_in + b.packets_in,
        packets_out=a.packets_out + b.packets_out,
        dropped=_add_counts(a.dropped, b.dropped),
        calls=a.calls + b.calls,
        busy=a.busy + b.busy,
        cpu=a.cpu + b.cpu,
        states=a.states + b.states,
        resets=_add_counts(a.resets, b.resets),
        age=_add_durations(a.age, b.age),
        latency=_add_durations(a.latency, b.latency),
    )


def _add_durations(a: DurationHistogram, b: DurationHistogram) -> DurationHistogram:
    counts = tuple(x + y for x, y in zip(a.counts, b.counts, strict=True))
    return DurationHistogram(counts, a.total + b.total)


def _add_edges(a: EdgeMetrics, b: EdgeMetrics) -> EdgeMetrics:
    return EdgeMetrics(
        packets_in=a.packets_in + b.packets_in,
        packets_out=a.packets_out + b.packets_out,
        dropped=_add_counts(a.dropped, b.dropped),
        depth=a.depth + b.depth,
    )


def _add_counts(a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
    return {reason: a.get(reason, 0) + b.get(reason, 0) for reason in {**a, **b}}


class NodeCounters:
    """What one replica of a node counts. One thread writes, any thread reads."""

    __slots__ = (
        "age_total",
        "ages",
        "busy",
        "calls",
        "cpu",
        "dropped",
        "latencies",
        "packets_in",
        "packets_out",
        "resets",
    )

    def __init__(self) -> None:
        self.packets_in = 0
        self.packets_out = 0
        self.calls = 0
        self.busy = 0.0
        self.cpu = 0.0
        self.dropped: dict[str, int] = {}
        self.resets: dict[str, int] = {}
        self.ages = [0] * (len(DURATION_BOUNDS) + 1)
        self.age_total = 0.0
        self.latencies = [0] * (len(DURATION_BOUNDS) + 1)

    def drop(self, reason: str, count: int) -> None:
        """Count packets that this node lost."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def reset(self, reason: str) -> None:
        """Count one state that began anew."""
        self.resets[reason] = self.resets.get(reason, 0) + 1

    def called(self, wall: float, cpu: float, age: float | None) -> None:
        """Count what one call took in seconds, and the age of its oldest packet if it has one."""
        self.busy += wall
        self.cpu += cpu
        self.latencies[bisect_left(DURATION_BOUNDS, wall)] += 1
        if age is not None:
            self.ages[bisect_left(DURATION_BOUNDS, age)] += 1
            self.age_total += age

    def snapshot(self, states: int = 0) -> NodeMetrics:
        """The counters as they stand."""
        latencies = tuple(self.latencies)
        return NodeMetrics(
            packets_in=self.packets_in,
            packets_out=self.packets_out,
            dropped=dict(self.dropped),
            calls=self.calls,
            busy=self.busy,
            cpu=self.cpu,
            states=states,
            resets=dict(self.resets),
            age=DurationHistogram(tuple(self.ages), self.age_total),
            latency=DurationHistogram(latencies, self.busy if any(latencies) else 0.0),
        )


class EdgeCounters:
    """What went over one edge or link, counted at both of its ends."""

    __slots__ = ("dropped", "packets_in", "packets_out")

    def __init__(self) -> None:
        self.packets_in = 0
        self.packets_out = 0
        self.dropped: dict[str, int] = {}

    def drop(self, reason: str, count: int) -> None:
        """Count packets that were dropped on the way."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def snapshot(self) -> EdgeMetrics:
        """The counters as they stand; what is neither out nor dropped waits."""
        dropped = dict(self.dropped)
        out = self.packets_out
        entered = max(self.packets_in, out + sum(dropped.values()))
        return EdgeMetrics(entered, out, dropped, entered - out - sum(dropped.values()))
