"""What a graph of :class:`Mix` and :class:`Splitter` must give, said in sixty lines.

The reference knows no threads, batches, lanes or stages: each node takes its packets in order of
capture time, then edge, then arrival, one at a time.
"""

from collections.abc import Sequence
from typing import Any

from padflow.graph.node import Begin, Finish, Outputs
from padflow.graph.packet import End, Packet
from padflow.graph.plan import topological
from padflow.graph.spec import Graph, NodeSpec
from tests.graph.probes import Splitter

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
