"""Executes one fused stage: nodes in topological order, by plain calls, on whatever calls it.

Knows nothing of threads, queues or processes; what leaves the stage goes through exits.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from .errors import NodeNotOpened
from .merge import Tick
from .metrics import EdgeCounters, NodeMetrics, Notice
from .node import Mode, NodeContext
from .packet import Packet
from .plan import Plan, Stage
from .runner import NodeRunner
from .state import ExportedStates, StateRef, export_states, restore_state
from .validate import key_edges


class Exit(Protocol):
    """Where packets go that leave a stage by one output port."""

    def send(self, stream: str, packets: Sequence[Packet], ends: int, floor: float) -> None:
        """Packets of one stream, of which ``ends`` are ends; ``floor`` as in :meth:`Inbox.put`."""

    def end(self, stream: str, end: Packet, floor: float) -> None:
        """The end of the stream: the last that is ever sent for it."""


@dataclass(frozen=True, slots=True)
class StageSetting:
    """What a stage executor is told about the run it is part of."""

    mode: Mode
    replica: int
    max_faults_in_a_row: int
    notice: Callable[[Notice], None]


Exits = Mapping[tuple[str, str], Sequence[Exit]]
"""By node and output port."""

Outgoing = tuple[Callable[..., None], tuple[Any, ...]]


class StageExecutor:
    """One replica of a stage. One thread at a time calls it."""

    def __init__(self, plan: Plan, stage: Stage, setting: StageSetting, exits: Exits) -> None:
        self.stage = stage
        self.setting = setting
        self.running = ""
        """Name of the node that is being called, for whoever waits for it in vain."""
        self.ended: list[str] = []
        """Streams that have ended on all nodes; whoever runs the stage empties it."""
        self.outbox: list[Outgoing] = []
        self.first_keys: dict[str, int] = {}
        """By stream, where it is not 1."""
        self.floor = -inf
        self.floors: Mapping[str, float] = {}
        self._runners = self._make_runners(plan, exits)
        self._by_name = {runner.name: runner for runner in self._runners}
        self._unfinished: dict[str, int] = {}
        self._opened: list[NodeRunner] = []
        self._inner_edges = self._connect(plan)
        self._entries = [
            [
                (self._by_name[edge.consumer], self._by_name[edge.consumer].edges.index(edge))
                for edge in link.edges
            ]
            for link in plan.into(stage)
        ]

    def _make_runners(self, plan: Plan, exits: Exits) -> list[NodeRunner]:
        keyed = key_edges(plan.graph)
        incoming = plan.graph.edges()
        runners = []
        for name in self.stage.nodes:
            spec = plan.graph.node(name)
            edges = [edge for edge in incoming if edge.consumer == name]
            leaving = {port: list(exits.get((name, port), ())) for port in spec.contract().outputs}
            key_count = sum(edge in keyed for edge in edges)
            runners.append(NodeRunner(self, spec, edges, key_count, leaving))
        return runners

    def _connect(self, plan: Plan) -> dict[str, EdgeCounters]:
        counters = {}
        for edge in plan.graph.edges():
            producer = self._by_name.get(edge.producer)
            consumer = self._by_name.get(edge.consumer)
            if producer is not None and consumer is not None:
                counted = counters[edge.name] = EdgeCounters()
                index = consumer.edges.index(edge)
                producer.routes[edge.output].inner.append((consumer, index, counted))
        return counters

    def open(self) -> None:
        """Open all nodes.

        Raises:
            NodeFailed: A node could not be opened; those before it are closed again.
        """
        for runner in self._runners:
            context = NodeContext(
                runner.name,
                self.setting.mode,
                self.setting.replica,
                runner.told_by_node,
                runner.connected_ports(),
            )
            # Before the call: a node that fails half-way in open may hold things to give back.
            self._opened.append(runner)
            try:
                runner.node.open(context)
            except Exception as error:
                self.close()
                raise NodeNotOpened.of(runner.name, error) from error

    def close(self) -> None:
        """Close all nodes that were opened; what goes wrong is told as a notice."""
        while self._opened:
            runner = self._opened.pop()
            self.running = runner.name
            try:
                runner.node.close()
            except Exception as error:
                runner.tell("", f"could not be closed: {_told(error)}", fault=True)
        self.running = ""

    def execute(self, tick: Tick) -> None:
        """Run one tick of one stream through the stage.

        Raises:
            NodeFailed: A node raised more often in a row than the run allows.
        """
        self.floor = tick.time
        for link, packets, ends in tick.arrivals:
            for runner, edge in self._entries[link]:
                runner.deliver(edge, packets, ends)
        self._run()

    def execute_together(self, ticks: Mapping[str, Tick]) -> None:
        """Run one tick of each of several streams as one batch (for stages they share).

        Raises:
            NodeFailed: A node raised more often in a row than the run allows.
        """
        self.floors = {stream: tick.time for stream, tick in ticks.items()}
        for tick in ticks.values():
            for link, packets, ends in tick.arrivals:
                for runner, edge in self._entries[link]:
                    runner.deliver(edge, packets, ends)
        self._run()

    def _run(self) -> None:
        wall, cpu = time.monotonic(), time.thread_time()
        for runner in self._runners:
            if runner.waiting:
                self.running = runner.name
                oldest = runner.run()
                now, used = time.monotonic(), time.thread_time()
                age = now - oldest if oldest else None
                runner.counters.called(now - wall, used - cpu, age)
                wall, cpu = now, used
        self.running = ""
        # Sent last: waiting for room in the next stage's lanes is not time inside a node.
        if self.outbox:
            outbox, self.outbox = self.outbox, []
            for send, arguments in outbox:
                send(*arguments)

    def node_ended(self, stream: str) -> None:
        """Called by each node's runner once, when it has handled the end of a stream."""
        left = self._unfinished.get(stream, len(self._runners)) - 1
        if left:
            self._unfinished[stream] = left
        else:
            self._unfinished.pop(stream, None)
            self.first_keys.pop(stream, None)
            self.ended.append(stream)

    def node_metrics(self) -> dict[str, NodeMetrics]:
        """Counters by node."""
        return {
            runner.name: runner.counters.snapshot(len(runner.states or ()))
            for runner in self._runners
        }

    def edge_counters(self) -> Mapping[str, EdgeCounters]:
        """Counters of the edges inside the stage."""
        return self._inner_edges

    def export_states(self) -> dict[StateRef, bytes]:
        """All keyed states as bytes. Not while :meth:`execute` runs."""
        exported: dict[StateRef, bytes] = {}
        for runner in self._runners:
            if runner.states is not None:
                exported.update(export_states(runner.name, runner.node, runner.states, runner.live))
        return exported

    def restore_states(self, exported: ExportedStates) -> None:
        """Put exported states back; those of nodes that are not in this stage are left alone."""
        for ref, data in exported.items():
            runner = self._by_name.get(ref.node)
            if runner is not None and runner.states is not None:
                restore_state(ref, data, runner.node, runner.states, runner.live)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
