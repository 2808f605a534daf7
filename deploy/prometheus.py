"""Prometheus metrics of a run, made from its counters when somebody asks for them.

Nothing is counted here: the counters are the runtime's (:mod:`padflow.graph.metrics`) and
:class:`EventTally`'s. docs/CLUSTER.md lists the names and what to alert on. Label ``graph`` is the
name of the run; ``actor`` is a process of it. Streams that have ended have no series of their own.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .. import __version__
from ..graph.metrics import (
    DURATION_BOUNDS,
    DurationHistogram,
    EdgeMetrics,
    NodeMetrics,
    RunMetrics,
    StreamMetrics,
    process_metrics,
)
from ..graph.spec import Graph
from ..nodes.decide import Decide
from .event_tally import EventTally, Tally
from .exits import UsageError

log = logging.getLogger("padflow")

DEFAULT_PORT = 9464
DEFAULT_ADDRESS = "127.0.0.1"
CLOSING_SECONDS = 5.0

DRIVER = "driver"
"""The process that started a run of several actors: this one."""

Actors = Mapping[str, RunMetrics]
"""By the name of an actor or process."""

_EXPORTED_BOUNDS = tuple(i for i in range(len(DURATION_BOUNDS)) if i % 10 in (0, 3, 7))
"""Three buckets a decade (1, 2, 5) are exported of the ten that are counted."""
_BOUND_NAMES = tuple(f"{DURATION_BOUNDS[i]:.4g}" for i in _EXPORTED_BOUNDS)

_NODE_COUNTERS: Sequence[tuple[str, str, Callable[[NodeMetrics], float]]] = (
    ("node_packets_in", "Packets that a node took.", lambda n: n.packets_in),
    ("node_packets_out", "Packets that a node gave.", lambda n: n.packets_out),
    ("node_calls", "Calls of a node; packets by calls is the batch fill.", lambda n: n.calls),
    ("node_cpu_seconds", "CPU time of the runtime's threads in a node.", lambda n: n.cpu),
)
_EDGE_COUNTERS: Sequence[tuple[str, str, Callable[[EdgeMetrics], float]]] = (
    ("edge_packets_in", "Packets that came to an edge.", lambda e: e.packets_in),
    ("edge_packets_out", "Packets that a node took from an edge.", lambda e: e.packets_out),
)


def by_actor(run: object) -> Callable[[], Actors]:
    """How to ask a run for its counters: by actor where it has such, else as one process."""
    actors: Callable[[], Actors] | None = getattr(run, "actor_metrics", None)
    metrics: Callable[[], RunMetrics] = run.metrics  # type: ignore[attr-defined]

    def read() -> Actors:
        if actors is None:
            return {"local": replace(metrics(), process=process_metrics())}
        found = dict(actors())
        driver = found.get(DRIVER, RunMetrics({}, {}, {}, 0))
        return found | {DRIVER: replace(driver, process=process_metrics())}

    return read


class RunCollector(Collector):
    """Turns the counters of a run into metric families at every scrape."""

    def __init__(self, name: str, tally: EventTally) -> None:
        """Collect what the events told; counters follow with :meth:`follow`.

        Args:
            name: The label ``graph``.
            tally: What the events of the run are counted in.
        """
        self._name = name
        self._tally = tally
        self._verdict_nodes: frozenset[str] = frozenset()
        self._read: Callable[[], Actors] = dict

    def follow(self, read: Callable[[], Actors], graph: Graph) -> None:
        """Ask ``read`` for the counters of a graph's run from now on.

        What it raises is logged, and told by ``padflow_up``.
        """
        self._verdict_nodes = frozenset(
            node.name for node in graph.nodes if issubclass(node.node_class, Decide)
        )
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known without asking the run."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families with a sample for everything that is there now."""
        actors: Actors = {}
        up = 1
        try:
            actors = self._read()
        except Exception as error:
            up = 0
            log.warning("metrics: the run could not be asked: %s: %s", type(error).__name__, error)
        yield self._gauge("up", "1 where the run could be asked for its counters.", [], [([], up)])
        yield self._gauge("run_info", "Version of padflow.", ["version"], [([__version__], 1)])
        yield from self._of_nodes(actors)
        yield from self._of_edges(actors)
        yield self._drops(actors)
        yield from self._of_actors(actors)
        streams = _streams_of(actors)
        yield from self._of_streams(streams)
        yield from self._of_events(self._tally.read(), running_names(streams))

    def _gauge(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        samples: Iterable[tuple[list[str], float]],
    ) -> Metric:
        family = GaugeMetricFamily(f"padflow_{name}", told, labels=["graph", *labels])
        for values, value in samples:
            family.add_metric([self._name, *values], value)
        return family

    def _counter(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        samples: Iterable[tuple[list[str], float]],
    ) -> Metric:
        family = CounterMetricFamily(f"padflow_{name}", told, labels=["graph", *labels])
        for values, value in samples:
            family.add_metric([self._name, *values], value)
        return family

    def _histogram(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        samples: Iterable[tuple[list[str], DurationHistogram]],
    ) -> Metric:
        family = HistogramMetricFamily(f"padflow_{name}", told, labels=["graph", *labels])
        for values, histogram in samples:
            family.add_metric([self._name, *values], buckets(histogram), histogram.total)
        return family

    def _of_nodes(self, actors: Actors) -> Iterator[Metric]:
        nodes = [
            ([actor, name], node)
            for actor, metrics in actors.items()
            for name, node in metrics.nodes.items()
        ]
        labels = ["actor", "node"]
        for name, told, count in _NODE_COUNTERS:
            yield self._counter(name, told, labels, [(where, count(node)) for where, node in nodes])
        yield self._gauge(
            "node_states", "Keyed states alive.", labels, [(where, n.states) for where, n in nodes]
        )
        yield self._counter(
            "node_state_resets",
            "Keyed states that began anew.",
            [*labels, "reason"],
            [([*w, reason], count) for w, n in nodes for reason, count in n.resets.items()],
        )
        yield self._histogram(
            "node_latency_seconds",
            "Wall time of a call of a node.",
            labels,
            [(where, node.latency) for where, node in nodes if any(node.latency.counts)],
        )
        yield self._histogram(
            "node_frame_age_seconds",
            "Time since its source gave a call's oldest packet, when the node was done.",
            labels,
            [(where, node.age) for where, node in nodes if any(node.age.counts)],
        )
        yield self._histogram(
            "verdict_frame_age_seconds",
            "Frame age when the nodes that give verdicts were done.",
            ["actor"],
            [
                ([w[0]], n.age)
                for w, n in nodes
                if w[1] in self._verdict_nodes and any(n.age.counts)
            ],
        )

    def _of_edges(self, actors: Actors) -> Iterator[Metric]:
        edges = [
            ([actor, name], edge)
            for actor, metrics in actors.items()
            for name, edge in metrics.edges.items()
        ]
        labels = ["actor", "edge"]
        for name, told, count in _EDGE_COUNTERS:
            yield self._counter(name, told, labels, [(where, count(edge)) for where, edge in edges])
        yield self._gauge(
            "edge_queue_packets",
            "Packets that wait.",
            labels,
            [(where, edge.depth) for where, edge in edges],
        )

    def _drops(self, actors: Actors) -> Metric:
        samples: list[tuple[list[str], float]] = []
        for actor, metrics in actors.items():
            places = {name: node.dropped for name, node in metrics.nodes.items()}
            places |= {name: edge.dropped for name, edge in metrics.edges.items()}
            for place, dropped in places.items():
                samples += [([actor, place, why], n) for why, n in dropped.items()]
        told = "Packets that were dropped, by the node or edge where, and why."
        return self._counter("dropped_packets", told, ["actor", "place", "reason"], samples)

    def _of_actors(self, actors: Actors) -> Iterator[Metric]:
        told = "Things that an operator was told of."
        counts = [([actor], float(metrics.notices)) for actor, metrics in actors.items()]
        yield self._counter("notices", told, ["actor"], counts)
        lost = sum(metrics.losses for metrics in actors.values())
        told = "Workers and engines that were lost; each is replaced."
        yield self._counter("actor_losses", told, [], [([], float(lost))])
        held = [([actor], m.process) for actor, m in actors.items() if m.process is not None]
        for name, words, values in (
            ("resident_memory_bytes", "Memory in RAM.", [(a, p.resident) for a, p in held]),
            ("open_fds", "Open files and sockets.", [(a, p.open_files) for a, p in held]),
            ("threads", "Threads.", [(a, p.threads) for a, p in held]),
        ):
            yield self._gauge(f"process_{name}", words, ["actor"], values)

    def _of_streams(self, streams: Mapping[str, tuple[str, StreamMetrics]]) -> Iterator[Metric]:
        running = [(name, *found) for name, found in streams.items() if found[1].state == "running"]
        ended: dict[str, int] = {}
        for _, stream in streams.values():
            if stream.state == "ended":
                ended[stream.reason] = ended.get(stream.reason, 0) + 1
        yield self._gauge("streams_running", "Streams that run.", [], [([], len(running))])
        told = "Streams that ended, of the last thousand, by why."
        samples = [([reason], count) for reason, count in ended.items()]
        yield self._gauge("streams_ended", told, ["reason"], samples)
        packets = [([actor, name], stream.packets) for name, actor, stream in running]
        told = "Packets that the sources of a running stream gave: frames and a few events."
        yield self._counter("stream_packets", told, ["actor", "stream"], packets)
        dropped = [
            ([actor, name, reason], count)
            for name, actor, stream in running
            for reason, count in stream.dropped.items()
        ]
        told = "Packets of a running stream that were dropped in the actor that has its source."
        labels = ["actor", "stream", "reason"]
        yield self._counter("stream_dropped_packets", told, labels, dropped)

    def _of_events(self, tally: Tally, running: frozenset[str]) -> Iterator[Metric]:
        yield self._counter(
            "verdicts",
            "Verdict events: first looks, changes, heartbeats and final ones.",
            ["state"],
            [([state], count) for state, count in tally.verdicts.items()],
        )
        yield self._counter(
            "tracks",
            "Tracks that ended, by their final state.",
            ["state"],
            [([state], count) for state, count in tally.tracks.items()],
        )
        yield self._counter(
            "track_reasons",
            "Reasons that stood in final verdicts.",
            ["state", "reason"],
            [([*key], count) for key, count in tally.reasons.items()],
        )
        yield self._counter(
            "track_cues",
            "What each cue spoke for in final verdicts: live, attack or nothing.",
            ["state", "cue", "spoke_for"],
            [([*key], count) for key, count in tally.cues.items()],
        )
        yield self._counter(
            "source_events",
            "Events of sources, by state.",
            ["state"],
            [([state], count) for state, count in tally.sources.items()],
        )
        streams = [(name, stream) for name, stream in tally.streams.items() if name in running]
        yield self._counter(
            "stream_reconnects",
            "Times that the source of a running stream came back.",
            ["stream"],
            [([name], stream.reconnects) for name, stream in streams],
        )
        yield self._counter(
            "stream_source_events",
            "Events of the source of a running stream.",
            ["stream", "state"],
            [([name, state], n) for name, s in streams for state, n in s.sources.items()],
        )
        yield self._counter(
            "stream_tracks",
            "Tracks of a running stream that ended, by their final state.",
            ["stream", "state"],
            [([name, state], n) for name, s in streams for state, n in s.tracks.items()],
        )


def buckets(histogram: DurationHistogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus has them."""
    found: list[tuple[str, float]] = []
    seen = next_bucket = 0
    for index, name in zip(_EXPORTED_BOUNDS, _BOUND_NAMES, strict=True):
        seen += sum(histogram.counts[next_bucket : index + 1])
        next_bucket = index + 1
        found.append((name, seen))
    return [*found, ("+Inf", seen + sum(histogram.counts[next_bucket:]))]


def running_names(streams: Mapping[str, tuple[str, StreamMetrics]]) -> frozenset[str]:
    """Names of the streams that run."""
    return frozenset(name for name, (_, stream) in streams.items() if stream.state == "running")


def _streams_of(actors: Actors) -> dict[str, tuple[str, StreamMetrics]]:
    """Every stream with the actor that has its source: where it runs, if it moved."""
    found: dict[str, tuple[str, StreamMetrics]] = {}
    for actor, metrics in actors.items():
        for name, stream in metrics.streams.items():
            known = found.get(name)
            if known is None or _rank(stream) > _rank(known[1]):
                found[name] = (actor, stream)
    return found


def _rank(stream: StreamMetrics) -> tuple[bool, int]:
    # Engine actors know a stream too, but give none of its packets.
    return stream.state == "running", stream.packets


class MetricsServer:
    """Serves a collector over HTTP from a thread of its own, until it is closed.

    ::

        with MetricsServer(collector, port=9464) as server, running(request, tally.take) as run:
            collector.follow(by_actor(run), run.plan.graph)
    """

    def __init__(
        self, collector: Collector, port: int = DEFAULT_PORT, address: str = DEFAULT_ADDRESS
    ) -> None:
        """Take the port and serve; port 0 takes any free one.

        Raises:
            UsageError: The port or address cannot be had.
        """
        registry = CollectorRegistry()
        registry.register(collector)
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, address, registry)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(
                f"--metrics-port {port}: expected a port that is free on {address}, found: {why}; "
                "choose another with --metrics-port or another address with --metrics-address"
            ) from error
        self.port: int = self._server.server_port
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Give the port back and end the thread; the second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(CLOSING_SECONDS)

    def __enter__(self) -> "MetricsServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
