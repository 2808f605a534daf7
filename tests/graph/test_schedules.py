"""Lossless mode under any schedule gives what a sixty-line reference gives, packet by packet.

The reference knows no threads, batches, lanes or stages: each node takes its packets in order of
capture time, then edge, then arrival, one at a time.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padflow.graph.local import LocalRun, RunOptions
from padflow.graph.node import (
    Batching,
    Begin,
    Contract,
    Finish,
    Node,
    Outputs,
    Port,
    StreamSpec,
)
from padflow.graph.packet import End, Packet
from padflow.graph.plan import topological
from padflow.graph.spec import Graph, NodeSpec
from padflow.graph.testing import ListSource


@dataclass(frozen=True)
class MixParams:
    state: str = "stream"
    scope: str = "stream"
    batch: int = 1
    max_gap: float = 1e9
    keeps: bool = True
    slow: bool = False


@dataclass
class Sum:
    value: int = 0
    resets: int = 0


class Mix(Node[MixParams]):
    """Order-sensitive: gives a running hash of all that it has seen, and its odd values apart."""

    Params = MixParams

    @classmethod
    def contract(cls, params: MixParams) -> Contract:
        return Contract(
            inputs={"a": Port(object, "any"), "b": Port(object, "any", optional=True)},
            outputs={"out": Port(object, "hash"), "odd": Port(object, "hash where odd")},
            state=params.state,  # type: ignore[arg-type]  # drawn by hypothesis
            scope=params.scope,  # type: ignore[arg-type]
            batching=Batching(params.batch, 0.001 if params.batch > 1 else 0.0),
            max_gap=params.max_gap,
        )

    def new_state(self, begin: Begin) -> Sum:
        before = begin.previous
        return Sum(resets=before.resets + 1 if before else 0)

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        if self.params.slow:
            time.sleep(random.random() * 0.0005)
        out = []
        for index, packet in enumerate(packets):
            state = states[index] if states else Sum()
            extra = packet.payload if isinstance(packet.payload, int) else 0
            state.value = (state.value * 31 + extra * 2 + ord(port[0]) + state.resets) % 10007
            out.append(packet.carry(state.value))
        return {"out": out, "odd": [p for p in out if p.payload % 2]}

    def finish(self, state: Any, finish: Finish) -> Outputs:
        return {"out": [finish.packet(-state.value)]}


@dataclass(frozen=True)
class SplitParams:
    tracks: int = 3


@dataclass
class Split:
    alive: set[int] = field(default_factory=set)
    seen: int = 0


class Splitter(Node[SplitParams]):
    """Gives packets keys of its own and ends a key now and then, on one of its ports only."""

    Params = SplitParams

    @classmethod
    def contract(cls, params: SplitParams) -> Contract:
        return Contract(
            inputs={"a": Port(object, "any"), "b": Port(object, "any", optional=True)},
            outputs={"out": Port(object, "keyed"), "odd": Port(object, "keyed, where odd")},
            state="stream",
            makes_keys=True,
        )

    def new_state(self, begin: Begin) -> Split:
        return Split()

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        out, odd = [], []
        for packet, state in zip(packets, states, strict=True):
            state.seen += 1
            key = state.seen % self.params.tracks + 1
            out.append(packet.carry(state.seen, key))
            if state.seen % 2:
                odd.append(packet.carry(state.seen, key))
            if state.seen % 7 == 0:
                out.append(packet.carry(End("lost"), key))
        return {"out": out, "odd": odd}


Placed = tuple[float, Packet]


def reference(graph: Graph, packets: Sequence[Packet]) -> dict[str, list[Packet]]:
    """What each output port gives for one stream."""
    given: dict[str, list[Placed]] = {}
    last = packets[-1] if packets else Packet("", 0.0, 0, None, None)
    end = Packet(last.stream, last.time, last.epoch, None, End("end"))
    given["source.out"] = [(p.time, p) for p in [*packets, end]]
    for spec in topological(graph)[1:]:
        refs = [ref for port in ("a", "b") for ref in spec.inputs.get(port, ())]
        ports = [port for port in ("a", "b") for _ in spec.inputs.get(port, ())]
        arriving = sorted(
            (time, edge, index, packet)
            for edge, ref in enumerate(refs)
            for index, (time, packet) in enumerate(given[ref])
        )
        for port, gives in _run_node(spec, ports, arriving, graph).items():
            given[f"{spec.name}.{port}"] = gives
    return {
        name: [packet for _, packet in gives if not isinstance(packet.payload, End)]
        for name, gives in given.items()
    }


def _keyed(graph: Graph, name: str) -> bool:
    spec = graph.node(name)
    producers = [ref.split(".")[0] for refs in spec.inputs.values() for ref in refs]
    return spec.type is Splitter or any(_keyed(graph, producer) for producer in producers)


def _run_node(
    spec: NodeSpec, ports: list[str], arriving: list[Any], graph: Graph
) -> dict[str, list[Placed]]:
    node, contract = spec.make(), spec.contract()
    gives: dict[str, list[Placed]] = {"out": [], "odd": []}
    states: dict[int | None, list[Any]] = {}
    ends: dict[int | None, int] = {}
    live: set[int] = set()
    refs = [ref for port in ("a", "b") for ref in spec.inputs.get(port, ())]
    key_edges = sum(_keyed(graph, ref.split(".")[0]) for ref in refs)

    def emit(place: float, outputs: Outputs) -> None:
        closing = {}
        for port, packets in outputs.items():
            for packet in packets:
                gives[port].append((place, packet))
                if isinstance(packet.payload, End):
                    closing[packet.key] = (port, packet)
                elif contract.makes_keys and packet.key is not None:
                    live.add(packet.key)
        for key, (port, packet) in closing.items():
            live.discard(key)
            gives["odd" if port == "out" else "out"].append((place, packet))

    def close(key: int | None, packet: Packet, reason: Any, place: float) -> None:
        if key in states:
            state, time, epoch = states.pop(key)
            emit(place, node.finish(state, Finish(packet.stream, key, time, epoch, reason)))

    def end_live(packet: Packet, place: float) -> None:
        for key in sorted(live):
            for port in gives:
                gives[port].append((place, packet.carry(End("reset"), key)))
        live.clear()

    for place, edge, _, packet in arriving:
        key = packet.key if contract.state == "track" else None
        if isinstance(packet.payload, End):
            ends[packet.key] = ends.get(packet.key, 0) + 1
            if ends[packet.key] < (len(refs) if packet.key is None else key_edges):
                continue
            ends[packet.key] = 0
            if packet.key is None:
                for each in sorted(k for k in states if k is not None):
                    close(each, packet, "end", place)
                close(None, packet, "end", place)
                end_live(packet, place)
            elif contract.state == "track":
                close(packet.key, packet, "end", place)
            if packet.key is None or not contract.makes_keys:
                for port in gives:
                    gives[port].append((place, packet))
            continue
        kept: list[Any] = []
        if contract.state != "none":
            known = states.get(key)
            stale = known is not None and packet.time - known[1] > contract.max_gap
            if known is not None and (stale or packet.epoch > known[2]):
                why: Any = "epoch" if packet.epoch > known[2] else "gap"
                close(key, packet, why, place)
                end_live(packet, place)
                begin = Begin(packet.stream, key, packet.time, packet.epoch, why, known[0])
                states[key] = [node.new_state(begin), packet.time, packet.epoch]
            elif known is None:
                begin = Begin(packet.stream, key, packet.time, packet.epoch, "first")
                states[key] = [node.new_state(begin), packet.time, packet.epoch]
            states[key][1] = max(states[key][1], packet.time)
            kept = [states[key][0]]
        emit(place, node.process(ports[edge], [packet], kept))
    return gives


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph.build("random").add("source", ListSource, {"chunk": draw(st.integers(1, 4))})
    outputs = ["source.out"]
    keyed: set[str] = set()
    for index in range(draw(st.integers(1, 6))):
        name = f"n{index}"
        many = st.lists(st.sampled_from(outputs), min_size=1, max_size=3, unique=True)
        inputs = {"a": draw(many)}
        if draw(st.booleans()):
            inputs["b"] = draw(many)
        used = [ref.split(".")[0] for refs in inputs.values() for ref in refs]
        fuse = draw(st.booleans())
        if draw(st.integers(0, 3)) == 0:
            graph = graph.add(name, Splitter, {}, inputs, fuse=fuse)
            keyed.add(name)
        else:
            if keyed.intersection(used):
                keyed.add(name)
            states = ["none", "stream", "track"] if name in keyed else ["none", "stream"]
            params = {
                "state": draw(st.sampled_from(states)),
                "scope": draw(st.sampled_from(["stream", "stream", "shared"])),
                "max_gap": draw(st.sampled_from([1e9, 2.5])),
                "slow": draw(st.booleans()),
            }
            if params["scope"] == "shared":
                params["batch"] = draw(st.sampled_from([1, 4]))
            graph = graph.add(name, Mix, params, inputs, fuse=fuse)
        outputs += [f"{name}.out", f"{name}.odd"]
    return graph


@st.composite
def streams(draw: st.DrawFn) -> dict[str, list[Packet]]:
    found = {}
    for name in ("s1", "s2", "s3")[: draw(st.integers(1, 3))]:
        packets, now, epoch = [], 0.0, 0
        for value in range(draw(st.integers(0, 25))):
            now += draw(st.sampled_from([0.0, 1.0, 1.0, 1.0, 4.0]))
            epoch += draw(st.integers(0, 9)) == 0
            packets.append(Packet(name, now, epoch, None, value))
        found[name] = packets
    return found


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    graph=graphs(),
    feeds=streams(),
    threads=st.integers(1, 4),
    capacity=st.integers(1, 6),
    fuse=st.booleans(),
)
def test_any_schedule_gives_what_the_reference_gives(
    graph: Graph,
    feeds: dict[str, list[Packet]],
    threads: int,
    capacity: int,
    fuse: bool,
) -> None:
    places = [f"{s.name}.{port}" for s in graph.nodes for port in s.contract().outputs]
    got: dict[tuple[str, str], list[tuple[Any, ...]]] = {
        (place, stream): [] for place in places for stream in feeds
    }

    def tap(place: str) -> Any:
        return lambda p: got[place, p.stream].append((p.time, p.epoch, p.key, p.payload))

    options = RunOptions(
        threads=threads, workers=0, fuse=fuse, lane_capacity=capacity, stop_timeout=20.0
    )
    with LocalRun(graph, "lossless", options, {place: tap(place) for place in places}) as run:
        for name, packets in feeds.items():
            run.add_stream(StreamSpec(name, "", {"packets": packets}))
        assert run.wait(20.0), "the run did not end"
        metrics = run.metrics()
    assert run.notices() == ()
    for stream, packets in feeds.items():
        for place, expected in reference(graph, packets).items():
            told = [(p.time, p.epoch, p.key, p.payload) for p in expected]
            assert got[place, stream] == told, f"{place} of {stream}"
    for name, edge in metrics.edges.items():
        assert edge.packets_in == edge.packets_out, name
        assert not edge.dropped, name
    assert all(node.states == 0 for node in metrics.nodes.values())
