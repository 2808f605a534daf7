"""Runs stages of a plan in threads of this process.

A host knows nothing of other processes: where a link leads to a stage that it does not run, a
bridge says where the packets go. The local run and every worker process stand on it.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, cast

from .errors import NodeFailed, NodeNotOpened
from .execute import Exit, StageExecutor, StageSetting
from .inbox import Inbox, LanePolicy
from .metrics import (
    EdgeMetrics,
    NodeMetrics,
    Notice,
    RunMetrics,
    StreamMetrics,
    merged,
)
from .node import Mode, NodeContext, Source, StreamSpec
from .options import RunOptions
from .packet import Packet
from .plan import Link, Plan, Stage
from .source_thread import SourceExits, SourceReport, SourceThread, StreamControl
from .stage_thread import SINK_MARK_PERIOD, MarkExit, MarkPace, StageThread
from .state import ExportedStates, StateRef


@dataclass(frozen=True, slots=True)
class HostSetting:
    """What a host is told about the run, and whom it tells."""

    mode: Mode
    options: RunOptions
    notice: Callable[[Notice], None]
    failed: Callable[[Exception], None]
    stream_ended: Callable[[str, str, int], None]
    """Called with name, reason and the packets that its sources gave, once a stream has ended on
    all stages of this host."""
    bridge: "Callable[[Link], BridgeExit] | None" = None
    """Where the packets of links go that lead to stages which this host does not run."""
    taps: Mapping[tuple[str, str], Exit] = field(default_factory=dict)
    """By node and output port."""
    left: Callable[[int, str, int], None] | None = None
    """Called with the link's index in the plan, stream and number of the packets that leave a lane
    whose producer another host runs. Given, such lanes never make a producer wait: it may send only
    as many packets as it was told have left."""


class BridgeExit(Exit, MarkExit, Protocol):
    """An exit that leads out of this host."""


class LinkExit:
    """An exit into the inboxes of the stage that a link leads to."""

    def __init__(
        self,
        index: int,
        inboxes: Sequence[Inbox],
        replicas: Mapping[str, int],
        mark_period: float = 0.0,
    ) -> None:
        self._index = index
        self._pace = MarkPace(mark_period)
        self._inboxes = inboxes
        self._replicas = replicas
        self._only = inboxes[0] if len(inboxes) == 1 else None

    def _inbox(self, stream: str) -> Inbox:
        return self._only or self._inboxes[self._replicas.get(stream, 0)]

    def send(self, stream: str, packets: Sequence[Packet], ends: int, floor: float) -> None:
        """See :class:`Exit`."""
        (self._only or self._inbox(stream)).put(self._index, stream, packets, ends, floor)

    def end(self, stream: str, end: Packet, floor: float) -> None:
        """See :class:`Exit`."""
        self._pace.forget(stream)
        self._inbox(stream).put(self._index, stream, [end], 1, floor, inf)

    def advance(self, stream: str, mark: float) -> None:
        """See :class:`MarkExit`."""
        if self._pace.is_due(stream, mark):
            self._inbox(stream).advance(self._index, stream, mark)


@dataclass(slots=True)
class _Stream:
    control: StreamControl
    replica: int
    left: int
    """Stages and sources that have not ended it yet."""
    sources: list[SourceThread]
    """Those that have not ended."""
    packets: int = 0
    """What the sources gave that have ended."""


class Host:
    """Stages and sources of one process, each in its threads."""

    def __init__(self, plan: Plan, stages: Sequence[Stage], setting: HostSetting) -> None:
        self._plan = plan
        self._setting = setting
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._replicas: dict[str, int] = {}
        self._source_totals: dict[str, NodeMetrics] = {}
        self._all_stages = tuple(stages)
        self._stages = [stage for stage in stages if not stage.is_source]
        self._inboxes = {
            stage.name: [self._inbox(stage) for _ in range(self._count(stage))]
            for stage in self._stages
        }
        self._exits: dict[tuple[str, str], list[Exit]] = {}
        self._marked: dict[tuple[str, str], list[MarkExit]] = {}
        for link in plan.links:
            self._add_exit(link)
        for place, tap in setting.taps.items():
            self._exits.setdefault(place, []).append(tap)
        self._threads = [
            self._stage_thread(stage, replica, inbox)
            for stage in self._stages
            for replica, inbox in enumerate(self._inboxes[stage.name])
        ]
        self._sources: dict[str, Source[Any]] = {
            stage.nodes[0]: cast(Source[Any], plan.graph.node(stage.nodes[0]).make())
            for stage in stages
            if stage.is_source
        }
        self._opened_sources: list[str] = []

    def _count(self, stage: Stage) -> int:
        return self._setting.options.threads if stage.scope == "stream" else 1

    def _inbox(self, stage: Stage) -> Inbox:
        links = self._plan.into(stage)
        policies = [self._policy(stage, link) for link in links]
        told = self._setting.left
        if told is None:
            return Inbox(policies)
        # Looked up here and not for every packet.
        remote = {
            index: self._plan.links.index(link)
            for index, link in enumerate(links)
            if not self._runs_here(link.producer)
        }

        def left(index: int, stream: str, count: int) -> None:
            if index in remote:
                told(remote[index], stream, count)

        return Inbox(policies, left if remote else None)

    def _runs_here(self, node: str) -> bool:
        return any(node in stage.nodes for stage in self._all_stages)

    def _policy(self, stage: Stage, link: Link) -> LanePolicy:
        options = self._setting.options
        block = LanePolicy(options.lane_capacity)
        if self._setting.left is not None and not self._runs_here(link.producer):
            # Its producer waits for what it is told has left, so nothing has to wait here.
            realtime = self._setting.mode == "realtime" and stage.scope == "shared"
            return LanePolicy(sys.maxsize, False, options.max_staleness if realtime else inf)
        if self._setting.mode == "lossless" or stage.scope == "single":
            return block
        if link.from_source:
            return LanePolicy(options.entry_capacity, True, options.max_staleness)
        if stage.scope == "shared":
            return LanePolicy(options.lane_capacity, False, options.max_staleness)
        return block

    def _add_exit(self, link: Link) -> None:
        target = next(stage for stage in self._plan.stages if stage.name == link.stage)
        if link.stage in self._inboxes:
            period = SINK_MARK_PERIOD if target.scope == "single" else 0.0
            leaving: BridgeExit = self.link_exit(link, period)
        elif self._setting.bridge is not None:
            leaving = self._setting.bridge(link)
        else:
            return
        place = (link.producer, link.output)
        self._exits.setdefault(place, []).append(leaving)
        if self._setting.mode == "lossless" and (target.joins or target.feeds_joins):
            self._marked.setdefault(place, []).append(leaving)

    def link_exit(self, link: Link, mark_period: float = 0.0) -> LinkExit:
        """The exit into a stage of this host."""
        target = next(stage for stage in self._stages if stage.name == link.stage)
        index = self._plan.into(target).index(link)
        return LinkExit(index, self._inboxes[link.stage], self._replicas, mark_period)

    def _stage_thread(self, stage: Stage, replica: int, inbox: Inbox) -> StageThread:
        setting = self._setting
        told = StageSetting(
            setting.mode, replica, setting.options.max_faults_in_a_row, setting.notice
        )
        executor = StageExecutor(self._plan, stage, told, self._exits)
        marked = [
            leaving
            for (node, _), exits in self._marked.items()
            if node in stage.nodes
            for leaving in exits
        ]
        return StageThread(executor, inbox, marked, self._part_ended, setting.failed)

    def start(self) -> None:
        """Open all nodes, then start the threads.

        Raises:
            NodeFailed: A node could not be opened; all others are closed again.
        """
        try:
            for name, source in self._sources.items():
                self._open_source(name, source)
            for runner in self._threads:
                runner.executor.open()
        except NodeFailed:
            self._close_nodes()
            raise
        for runner in self._threads:
            runner.thread.start()

    def _open_source(self, name: str, source: Source[Any]) -> None:
        def notice(message: str) -> None:
            self._setting.notice(Notice(name, "", message))

        connected = frozenset(port for node, port in self._exits if node == name)
        self._opened_sources.append(name)
        try:
            source.open(NodeContext(name, self._setting.mode, 0, notice, connected))
        except Exception as error:
            raise NodeNotOpened.of(name, error) from error

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None = None) -> None:
        """Give a stream to the replica that has fewest, and start its sources, if they run here."""
        control = StreamControl(
            spec, threading.Event(), grace=self._setting.options.stop_timeout / 2
        )
        with self._lock:
            replica = self._least_loaded()
            stream = _Stream(control, replica, len(self._stages) + len(self._sources), [])
        if states:
            self._restore(replica, states)
        if spec.first_key > 1:
            for runner in self._threads:
                runner.executor.first_keys[spec.name] = spec.first_key
        with self._lock:
            self._streams[spec.name] = stream
            self._replicas[spec.name] = replica
        for name, node in self._sources.items():
            stream.sources.append(self._source_thread(name, node, control))
        for source in stream.sources:
            source.thread.start()

    def _least_loaded(self) -> int:
        load = [0] * self._setting.options.threads
        for stream in self._streams.values():
            load[stream.replica] += 1
        return load.index(min(load))

    def _source_thread(self, name: str, node: Source[Any], control: StreamControl) -> SourceThread:
        ports = self._plan.graph.node(name).contract().outputs
        exits = SourceExits(
            {port: self._exits.get((name, port), []) for port in ports},
            {port: self._marked[name, port] for port in ports if (name, port) in self._marked},
        )
        report = SourceReport(self._setting.notice, self._source_ended, self._setting.failed)
        return SourceThread(name, node, control, exits, report)

    def _source_ended(self, source: SourceThread) -> None:
        with self._lock:
            total = self._source_totals.get(source.name, NodeMetrics())
            self._source_totals[source.name] = _sum(total, source.counters.snapshot())
            stream = self._streams[source.stream]
            stream.sources.remove(source)
            stream.packets += source.counters.packets_out
        self._part_ended(source.stream)

    def _part_ended(self, name: str) -> None:
        with self._lock:
            stream = self._streams[name]
            stream.left -= 1
            if stream.left:
                return
            del self._streams[name]
            del self._replicas[name]
        self._setting.stream_ended(name, stream.control.reason, stream.packets)

    def cancel(self, name: str, reason: str) -> None:
        """Ask the sources of a stream to end; what they gave is still worked off."""
        with self._lock:
            stream = self._streams.get(name)
        if stream is not None and not stream.control.cancel.is_set():
            stream.control.reason = reason
            stream.control.cancel.set()

    def shutdown(self, deadline: float) -> list[str]:
        """Stop all threads and close all nodes, by a deadline on ``time.monotonic()``.

        Returns:
            What did not stop, each in words that name the node.
        """
        self.release()
        with self._lock:
            sources = [source for stream in self._streams.values() for source in stream.sources]
            for stream in self._streams.values():
                stream.control.cancel.set()
        stuck = []
        for source in sources:
            if not _join(source.thread, deadline):
                stuck.append(f"node '{source.name}' (stream '{source.stream}')")
        for runner in self._threads:
            if not _join(runner.thread, deadline):
                node = runner.executor.running or runner.executor.stage.nodes[0]
                stuck.append(f"node '{node}'")
        # In a thread of its own, since close() of a node may hang as well.
        closing = threading.Thread(
            target=self._close_nodes, args=(set(stuck),), name="padflow closing", daemon=True
        )
        closing.start()
        if not _join(closing, max(deadline, time.monotonic() + 0.2)):
            stuck.append(self._closing_node())
        return stuck

    def release(self) -> None:
        """Let nobody wait for room any longer; what waits is dropped and counted (``stopped``)."""
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.close()

    def _close_nodes(self, stuck: set[str] | None = None) -> None:
        for runner in self._threads:
            if not (stuck and runner.thread.is_alive()):
                runner.executor.close()
        for name in reversed(self._opened_sources):
            if stuck and any(f"'{name}'" in words for words in stuck):
                continue
            try:
                self._sources[name].close()
            except Exception as error:
                told = f"could not be closed: {type(error).__name__}: {error}"
                self._setting.notice(Notice(name, "", told))
        self._opened_sources = []

    def _closing_node(self) -> str:
        running = [runner.executor.running for runner in self._threads]
        named = [name for name in running if name]
        return f"node '{named[0]}'" if named else "a source"

    def export_states(self) -> dict[StateRef, bytes]:
        """All keyed states, each stage between two batches."""
        exported: dict[StateRef, bytes] = {}
        for runner in self._threads:
            with runner.lock:
                exported.update(runner.executor.export_states())
        return exported

    def _restore(self, replica: int, states: ExportedStates) -> None:
        for runner in self._threads:
            of_all = runner.executor.stage.scope != "stream"
            if of_all or runner.executor.setting.replica == replica:
                with runner.lock:
                    runner.executor.restore_states(states)

    def metrics(self) -> RunMetrics:
        """A snapshot of all counters of this host."""
        parts = [RunMetrics(self._source_metrics(), {}, self._stream_metrics(), 0)]
        for runner in self._threads:
            edges = {
                name: counters.snapshot()
                for name, counters in runner.executor.edge_counters().items()
            }
            edges.update(self._link_metrics(runner))
            parts.append(RunMetrics(runner.executor.node_metrics(), edges, {}, 0))
        return merged(parts)

    def _link_metrics(self, runner: StageThread) -> dict[str, EdgeMetrics]:
        links = self._plan.into(runner.executor.stage)
        return {
            edge.name: counters.snapshot()
            for link, counters in zip(links, runner.inbox.counters, strict=True)
            for edge in link.edges
        }

    def _source_metrics(self) -> dict[str, NodeMetrics]:
        with self._lock:
            totals = {name: self._source_totals.get(name, NodeMetrics()) for name in self._sources}
            for stream in self._streams.values():
                for source in stream.sources:
                    totals[source.name] = _sum(totals[source.name], source.counters.snapshot())
        return totals

    def _stream_metrics(self) -> dict[str, StreamMetrics]:
        with self._lock:
            return {
                name: StreamMetrics(
                    stream.packets + sum(s.counters.packets_out for s in stream.sources),
                    dropped=self._dropped_of(name),
                )
                for name, stream in self._streams.items()
            }

    def _dropped_of(self, stream: str) -> Mapping[str, int]:
        dropped: dict[str, int] = {}
        for runner in self._threads:
            for reason, count in runner.inbox.dropped_of(stream).items():
                dropped[reason] = dropped.get(reason, 0) + count
        return dropped


def _sum(a: NodeMetrics, b: NodeMetrics) -> NodeMetrics:
    both = [RunMetrics({"": a}, {}, {}, 0), RunMetrics({"": b}, {}, {}, 0)]
    return merged(both).nodes[""]


def _join(thread: threading.Thread, deadline: float) -> bool:
    """Wait for a thread until a deadline; true if it has ended (or is the caller itself)."""
    if thread is threading.current_thread() or thread.ident is None:
        return True
    thread.join(max(0.0, deadline - time.monotonic()))
    return not thread.is_alive()
