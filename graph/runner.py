"""Runs one node inside a stage: finds its states, calls it, contains its faults, handles ends.

The rules, in the order in which they apply to a batch of one input port:

* A packet of a later epoch, or one past the node's ``max_gap``, resets its key's state: what came
  before it is processed, then ``finish`` is called, then a fresh state is made. A packet of an
  earlier epoch (the last word of something upstream) resets nothing.
* ``End`` of a key is handled once all edges that carry keys have delivered it, ``End`` of a stream
  once all edges have: ``finish``, its outputs, then the ``End`` on every output port.
* A node that makes keys owns them. It may end a key on any one of its ports: the runner ends it on
  all, and calls it with one packet at a time. Keys that it has not ended when its state is reset
  or its stream ends are ended for it.
* An exception loses the batch of this node and resets the states that the batch touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .errors import NodeFailed
from .inbox import count_ends
from .metrics import EdgeCounters, NodeCounters, Notice
from .node import Begin, Finish, Outputs
from .packet import End, Packet
from .spec import Edge, NodeSpec
from .state import KeyedStates, Slot

if TYPE_CHECKING:
    from .execute import Exit, StageExecutor


class Route:
    """Where the packets of one output port go."""

    __slots__ = ("exits", "inner")

    def __init__(self, exits: "list[Exit]") -> None:
        self.inner: list[tuple[NodeRunner, int, EdgeCounters]] = []
        self.exits = exits


class NodeRunner:
    """One replica of a node, as part of a stage."""

    def __init__(
        self,
        stage: "StageExecutor",
        spec: NodeSpec,
        edges: Sequence[Edge],
        key_edges: int,
        exits: "Mapping[str, list[Exit]]",
    ) -> None:
        contract = spec.contract()
        self.stage = stage
        self.name = spec.name
        self.node = spec.make()
        self.edges = tuple(edges)
        """Incoming edges in the order in which packets of equal time are taken."""
        self.routes = {port: Route(exits[port]) for port in contract.outputs}
        self.counters = NodeCounters()
        self.states: KeyedStates | None = None
        if contract.state != "none":
            self.states = KeyedStates(contract.state == "track", contract.max_gap)
        self.live: dict[str, set[int]] = {}
        """By stream the keys that this node made and that have not ended."""
        self.waiting = False
        self._makes_keys = contract.makes_keys
        self._batch = contract.batching.size if contract.scope != "stream" else 0
        if contract.makes_keys:
            # One packet a call, so that an end has one place among the packets of each port.
            self._batch = 1
        self._by_stream = contract.scope != "stream"
        self._ports = tuple(edge.input for edge in edges)
        self._key_edges = max(key_edges, 1)
        self._pending: list[Sequence[Packet] | None] = [None] * len(edges)
        self._pending_ends = 0
        self._ends_seen: dict[tuple[str, int | None], int] = {}
        self._faults_in_a_row = 0

    def connected_ports(self) -> frozenset[str]:
        """Output ports from which packets go somewhere: along an edge or into a tap."""
        return frozenset(port for port, route in self.routes.items() if route.inner or route.exits)

    def deliver(self, edge: int, packets: Sequence[Packet], ends: int) -> None:
        """Put packets of an incoming edge before the node; :meth:`run` handles them."""
        before = self._pending[edge]
        self._pending[edge] = packets if before is None else [*before, *packets]
        self._pending_ends += ends
        self.counters.packets_in += len(packets) - ends
        self.waiting = True

    def run(self) -> float:
        """Handle everything that was delivered; give the arrival of its oldest packet (or 0)."""
        self.waiting = False
        pending = self._pending
        self._pending = [None] * len(pending)
        has_ends = self._pending_ends > 0
        self._pending_ends = 0
        self.counters.calls += 1
        oldest = 0.0
        for port, packets in zip(self._ports, pending, strict=True):
            if not packets:
                continue
            arrival = packets[0][5]
            if arrival and (not oldest or arrival < oldest):
                oldest = arrival
            if has_ends:
                self._run_with_ends(port, packets)
            elif self.states is None:
                self._call(port, packets, ())
            else:
                self._run_with_states(port, packets, self.states)
        return oldest

    def _run_with_ends(self, port: str, packets: Sequence[Packet]) -> None:
        start = 0
        for index, packet in enumerate(packets):
            if isinstance(packet[4], End):
                self._run_data(port, packets[start:index])
                start = index + 1
                self._end(packet)
        self._run_data(port, packets[start:])

    def _run_data(self, port: str, packets: Sequence[Packet]) -> None:
        if not packets:
            return
        if self.states is None:
            self._call(port, packets, ())
        else:
            self._run_with_states(port, packets, self.states)

    def _run_with_states(self, port: str, packets: Sequence[Packet], states: KeyedStates) -> None:
        by_track, max_gap = states.by_track, states.max_gap
        found: list[Any] = []
        start = 0
        for index, packet in enumerate(packets):
            stream, now, epoch, key, _, _ = packet
            slots = states.by_stream.get(stream)
            if slots is None:
                slots = states.slots(stream)
            slot = slots.get(key if by_track else None)
            if slot is not None and (epoch > slot.epoch or now - slot.time > max_gap):
                # finish() must come exactly between what was before and what is after the break.
                if found:
                    self._call(port, packets[start:index], found)
                    found, start = [], index
                slot = slots.get(key if by_track else None)
                if slot is not None:
                    self._reset(slot, packet, "epoch" if epoch > slot.epoch else "gap")
            if slot is None:
                slot = self._begin(slots, packet)
                if slot is None:
                    if found:
                        self._call(port, packets[start:index], found)
                    found, start = [], index + 1
                    continue
            if now > slot.time:
                slot.time = now
            found.append(slot.state)
        if found:
            self._call(port, packets[start:] if start else packets, found)

    def _begin(self, slots: dict[int | None, Slot], packet: Packet) -> Slot | None:
        stream, now, epoch, key, _, _ = packet
        assert self.states is not None
        of = key if self.states.by_track else None
        try:
            first = self.stage.first_keys.get(stream, 1)
            begin = Begin(stream, of, now, epoch, "first", first_key=first)
            state = self.node.new_state(begin)
        except Exception as error:
            self._fault(error, stream, 1)
            return None
        slot = slots[of] = Slot(state, now, epoch)
        return slot

    def _reset(self, slot: Slot, packet: Packet, reason: Literal["epoch", "gap"]) -> None:
        stream, now, epoch, key, _, _ = packet
        assert self.states is not None
        of = key if self.states.by_track else None
        self._finish(slot, of, packet, reason, "")
        self._end_live_keys(packet, reason)
        self._renew(slot, Begin(stream, of, now, epoch, reason, slot.state))
        slot.time, slot.epoch = now, epoch

    def _renew(self, slot: Slot, begin: Begin) -> None:
        try:
            slot.state = self.node.new_state(begin)
        except Exception as error:
            # The old state is all there is; the node has been told and counted.
            self._fault(error, begin.stream, 0)
        else:
            self.counters.reset(begin.reason)

    def _call(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> None:
        size = self._batch
        if size and len(packets) > size:
            for start in range(0, len(packets), size):
                part = packets[start : start + size]
                self._call_once(port, part, self._present_states(part))
        else:
            self._call_once(port, packets, states)

    def _present_states(self, packets: Sequence[Packet]) -> Sequence[Any]:
        """Looked up anew, since a fault in the part before may have replaced some."""
        kept = self.states
        if kept is None:
            return ()
        return [kept.slots(p[0])[p[3] if kept.by_track else None].state for p in packets]

    def _call_once(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> None:
        try:
            outputs = self.node.process(port, packets, states)
            if outputs and (self._makes_keys or not outputs.keys() <= self.routes.keys()):
                outputs = self._checked(outputs)
        except Exception as error:
            self._lost(error, packets)
            return
        self._faults_in_a_row = 0
        if outputs:
            self._emit(outputs)

    def _emit(self, outputs: Outputs) -> None:
        for port, packets in outputs.items():
            if packets:
                self._send(
                    self.routes[port], packets, count_ends(packets) if self._makes_keys else 0
                )

    def _send(self, route: Route, packets: Sequence[Packet], ends: int) -> None:
        count = len(packets) - ends
        self.counters.packets_out += count
        for runner, edge, counters in route.inner:
            counters.packets_in += count
            counters.packets_out += count
            runner.deliver(edge, packets, ends)
        if route.exits:
            self._leave(route.exits, packets, ends)

    def _leave(self, exits: "list[Exit]", packets: Sequence[Packet], ends: int) -> None:
        stage = self.stage
        if not self._by_stream:
            for leaving in exits:
                stage.outbox.append((leaving.send, (packets[0][0], packets, ends, stage.floor)))
            return
        groups: dict[str, list[Packet]] = {}
        for packet in packets:
            groups.setdefault(packet[0], []).append(packet)
        for stream, group in groups.items():
            floor = stage.floors.get(stream, float("-inf"))
            count = count_ends(group) if ends else 0
            for leaving in exits:
                stage.outbox.append((leaving.send, (stream, group, count, floor)))

    def _checked(self, outputs: Outputs) -> Outputs:
        """Outputs with the ends of owned keys on every port; refuses what breaks the contract."""
        for port in outputs:
            if port not in self.routes:
                listed = ", ".join(self.routes) or "none"
                raise ValueError(f"expected outputs on ports {listed}, found port '{port}'")
        return self._with_own_ends(outputs) if self._makes_keys else outputs

    def _with_own_ends(self, outputs: Outputs) -> Outputs:
        ended: dict[tuple[str, int], Packet] = {}
        for packets in outputs.values():
            for packet in packets:
                key = packet[3]
                if isinstance(packet[4], End):
                    if key is None:
                        raise ValueError("expected an End with a key, found one of a whole stream")
                    ended.setdefault((packet[0], key), packet)
                elif key is not None:
                    self.live.setdefault(packet[0], set()).add(key)
        if not ended:
            return outputs
        for stream, key in ended:
            self.live.get(stream, set()).discard(key)
        return {port: _completed(outputs.get(port, ()), ended.values()) for port in self.routes}

    def _finish(
        self,
        slot: Slot,
        key: int | None,
        cause: Packet,
        reason: Literal["end", "epoch", "gap"],
        detail: str,
    ) -> None:
        stream, arrival = cause[0], cause[5]
        finish = Finish(stream, key, slot.time, slot.epoch, reason, detail, arrival)
        try:
            outputs = self.node.finish(slot.state, finish)
            if outputs:
                outputs = self._checked(outputs)
        except Exception as error:
            self._fault(error, stream, 0)
            return
        if outputs:
            self._emit(outputs)

    def _end(self, packet: Packet) -> None:
        stream, key = packet[0], packet[3]
        needed = len(self.edges) if key is None else self._key_edges
        if needed > 1:
            seen = self._ends_seen.get((stream, key), 0) + 1
            if seen < needed:
                self._ends_seen[stream, key] = seen
                return
            self._ends_seen.pop((stream, key), None)
        if key is None:
            self._end_stream(packet)
        else:
            self._end_key(packet)

    def _end_key(self, packet: Packet) -> None:
        end: End = packet[4]
        if self.states is not None and self.states.by_track:
            slot = self.states.pop(packet[0], packet[3])
            if slot is not None:
                self._finish(slot, packet[3], packet, "end", end.reason)
        if not self._makes_keys:
            for route in self.routes.values():
                self._send(route, [packet], 1)

    def _end_stream(self, packet: Packet) -> None:
        stream, end = packet[0], packet[4]
        if self.states is not None:
            for key, slot in self.states.pop_stream(stream):
                self._finish(slot, key, packet, "end", end.reason)
        self._end_live_keys(packet, end.reason)
        self.live.pop(stream, None)
        for seen in [seen for seen in self._ends_seen if seen[0] == stream]:
            del self._ends_seen[seen]
        stage = self.stage
        floor = stage.floors.get(stream, stage.floor) if self._by_stream else stage.floor
        for route in self.routes.values():
            for runner, edge, _ in route.inner:
                runner.deliver(edge, [packet], 1)
            for leaving in route.exits:
                stage.outbox.append((leaving.end, (stream, packet, floor)))
        stage.node_ended(stream)

    def _end_live_keys(self, cause: Packet, reason: str) -> None:
        live = self.live.get(cause[0])
        if not live:
            return
        stream, now, epoch, _, _, arrival = cause
        ends = [Packet(stream, now, epoch, key, End(reason), arrival) for key in sorted(live)]
        live.clear()
        for route in self.routes.values():
            self._send(route, ends, len(ends))

    def _lost(self, error: Exception, packets: Sequence[Packet]) -> None:
        self._fault(error, packets[0][0], len(packets))
        if self.states is not None:
            of_key = {(p[0], p[3] if self.states.by_track else None): p for p in packets}
            for (stream, key), packet in of_key.items():
                slot = self.states.slots(stream).get(key)
                if slot is not None:
                    begin = Begin(stream, key, packet[1], slot.epoch, "fault", slot.state)
                    self._renew(slot, begin)
        if self._makes_keys:
            for packet in {p[0]: p for p in packets}.values():
                self._end_live_keys(packet, "fault")

    def _fault(self, error: Exception, stream: str, lost: int) -> None:
        if lost:
            self.counters.drop("fault", lost)
        self._faults_in_a_row += 1
        told = f"{type(error).__name__}: {error}"
        self.tell(stream, f"raised {told}; {lost} packets lost", fault=True)
        allowed = self.stage.setting.max_faults_in_a_row
        if self._faults_in_a_row >= allowed:
            raise NodeFailed(
                f"node '{self.name}' raised {self._faults_in_a_row} times in a row, last on stream "
                f"'{stream}': {told}"
            ) from error

    def told_by_node(self, message: str) -> None:
        """What a node calls through its context."""
        self.tell("", message)

    def tell(self, stream: str, message: str, fault: bool = False) -> None:
        """Give a notice in the node's name."""
        self.stage.setting.notice(Notice(self.name, stream, message, fault))


def _completed(packets: Sequence[Packet], ends: Iterable[Packet]) -> list[Packet]:
    """Packets of one port, with the ends that are missing among them put behind."""
    present = {(p[0], p[3]) for p in packets if isinstance(p[4], End)}
    return [*packets, *(end for end in ends if (end[0], end[3]) not in present)]
