"""Small fakes and the conformance suite for nodes: for your tests as much as for ours.

A plugin's test file is a factory and sample packets::

    class TestBlur(NodeConformance):
        def node(self):
            return Blur(Blur.Params(radius=2))

        def sample(self):
            return [("frames", packet("door", t, Picture(t))) for t in (0.0, 0.04, 0.08)]

The suite needs no test framework: pytest and unittest collect its ``test_…`` methods.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, ClassVar

from .node import (
    NOTHING,
    Batching,
    Begin,
    Contract,
    Finish,
    Mode,
    Node,
    NodeContext,
    Outputs,
    Port,
    Source,
    StreamSpec,
)
from .packet import End, Packet
from .spec import Graph

Sample = Sequence[tuple[str, Packet]]
"""Input port and packet, in time order per stream."""


def packet(
    stream: str, time: float, payload: Any, *, key: int | None = None, epoch: int = 0
) -> Packet:
    """A packet for a test."""
    return Packet(stream, time, epoch, key, payload)


@dataclass(frozen=True)
class ListSourceParams:
    """Settings of :class:`ListSource`."""

    count: int = 100
    """Packets that a stream gives where its ``StreamSpec`` brings none."""
    rate: float = 25.0
    """Packets a second of capture time."""
    delay: float = 0.0
    """Seconds to wait before each packet."""
    chunk: int = 1
    """Packets given at once."""


class ListSource(Source[ListSourceParams]):
    """Gives the packets of ``StreamSpec.options["packets"]``, or counts from 0.

    Options of a stream: ``packets`` (a list), ``count``, ``delay``, and ``raise_after`` (packets
    after which it raises).
    """

    Params = ListSourceParams

    @classmethod
    def contract(cls, params: ListSourceParams) -> Contract:
        """Gives anything on ``out``."""
        return Contract(outputs={"out": Port(object, "what the list holds")})

    def stream(self, spec: StreamSpec, cancel: Event) -> Iterator[Outputs]:
        """See :class:`Source`."""
        params = self.params
        packets = spec.options.get("packets")
        if packets is None:
            count = spec.options.get("count", params.count)
            packets = [packet(spec.name, n / params.rate, n) for n in range(count)]
        delay = spec.options.get("delay", params.delay)
        fail_at = spec.options.get("raise_after", len(packets) + 1)
        for start in range(0, len(packets), params.chunk):
            if cancel.is_set() or (delay and cancel.wait(delay)):
                return
            if start >= fail_at:
                raise ValueError(f"asked to raise after {fail_at} packets")
            yield {"out": packets[start : start + params.chunk]}
        if fail_at == len(packets):
            raise ValueError(f"asked to raise after {fail_at} packets")


@dataclass(frozen=True)
class NoParams:
    """No settings."""


class PassThrough(Node[NoParams]):
    """Hands its packets on as they are."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        """Anything in, the same out."""
        return Contract(
            inputs={"in": Port(object, "anything")}, outputs={"out": Port(object, "the same")}
        )

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """See :class:`Node`."""
        return {"out": packets}


@dataclass
class _Count:
    seen: int = 0


class Counter(Node[NoParams]):
    """Gives how many packets of its stream it has seen; its last word is the total, negative."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        """Keeps its count by stream."""
        return Contract(
            inputs={"in": Port(object, "anything")},
            outputs={"out": Port(int, "the count so far")},
            state="stream",
        )

    def new_state(self, begin: Begin) -> _Count:
        """Nothing seen yet."""
        return _Count()

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """See :class:`Node`."""
        out = []
        for given, state in zip(packets, states, strict=True):
            state.seen += 1
            out.append(given.carry(state.seen))
        return {"out": out}

    def finish(self, state: Any, finish: Finish) -> Outputs:
        """The total as a negative number."""
        return {"out": [finish.packet(-state.seen)]}


class Renumber(Node[NoParams]):
    """Makes every packet a track of its own, ended with the next one."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        """Makes keys."""
        return Contract(
            inputs={"in": Port(object, "anything")},
            outputs={"out": Port(object, "the same, as tracks")},
            state="stream",
            makes_keys=True,
        )

    def new_state(self, begin: Begin) -> _Count:
        """The number of the last track; goes on after a break."""
        before = begin.previous
        return _Count(before.seen if isinstance(before, _Count) else begin.first_key - 1)

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """See :class:`Node`."""
        out = []
        for given, state in zip(packets, states, strict=True):
            if state.seen:
                out.append(given.carry(End("next"), state.seen))
            state.seen += 1
            out.append(given.carry(given.payload, state.seen))
        return {"out": out}


@dataclass(frozen=True)
class PerTrackParams:
    """Where :class:`PerTrack` runs."""

    shared: bool = False
    """Among all streams, as an engine does."""


class PerTrack(Node[PerTrackParams]):
    """Counts the packets of each track."""

    Params = PerTrackParams

    @classmethod
    def contract(cls, params: PerTrackParams) -> Contract:
        """Keeps its count by track."""
        return Contract(
            inputs={"in": Port(object, "anything")},
            outputs={"out": Port(int, "the count so far")},
            state="track",
            scope="shared" if params.shared else "stream",
            batching=Batching(4 if params.shared else 1),
        )

    def new_state(self, begin: Begin) -> _Count:
        """Nothing seen yet."""
        return _Count()

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """See :class:`Node`."""
        out = []
        for given, state in zip(packets, states, strict=True):
            state.seen += 1
            out.append(given.carry(state.seen))
        return {"out": out}


@dataclass(frozen=True)
class FaultyParams:
    """What goes wrong in :class:`Faulty`."""

    every: int = 0
    """Raise on each packet whose number divides by this; 0: on none."""
    in_open: bool = False
    """Raise in ``open``."""
    sleep: float = 0.0
    """Seconds to spend on each call."""
    lambdas: bool = False
    """Give payloads that do not pickle."""


class Faulty(Node[FaultyParams]):
    """A pass-through node with troubles of your choice."""

    Params = FaultyParams

    @classmethod
    def contract(cls, params: FaultyParams) -> Contract:
        """Anything in, the same out."""
        return Contract(
            inputs={"in": Port(object, "anything")}, outputs={"out": Port(object, "the same")}
        )

    def open(self, context: NodeContext) -> None:
        """Raise if asked to."""
        if self.params.in_open:
            raise RuntimeError("asked to raise in open")

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """See :class:`Node`."""
        if self.params.sleep:
            time.sleep(self.params.sleep)
        for given in packets:
            if self.params.every and given.payload % self.params.every == 0:
                raise RuntimeError(f"asked to raise on {given.payload}")
        if self.params.lambdas:
            return {"out": [given.carry(lambda: None) for given in packets]}
        return {"out": packets}


@dataclass(frozen=True)
class CollectParams:
    """Settings of :class:`Collect`."""

    into: list[tuple[str, Packet]]
    """Gets (port, packet) of everything that arrives. Shared, so only within one process."""
    delay: float = 0.0
    """Seconds to spend on each call."""


class Collect(Node[CollectParams]):
    """A sink that keeps what it gets, one instance a run."""

    Params = CollectParams

    @classmethod
    def contract(cls, params: CollectParams) -> Contract:
        """Takes anything on ``in``."""
        return Contract(inputs={"in": Port(object, "anything")}, scope="single")

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """See :class:`Node`."""
        if self.params.delay:
            time.sleep(self.params.delay)
        self.params.into.extend((port, given) for given in packets)
        return NOTHING


class NodeConformance:
    """What every node must keep; a subclass gives a node and sample packets.

    Besides :meth:`node` and :meth:`sample`, override :meth:`describe` if your payloads do not
    compare with ``==`` (arrays, engines' floats).
    """

    mode: ClassVar[Mode] = "lossless"

    def node(self) -> Node[Any]:
        """A new node, not opened."""
        raise NotImplementedError("give a node")

    def sample(self) -> Sample:
        """Packets of one stream for its input ports, in time order, at least three."""
        raise NotImplementedError("give packets")

    def describe(self, payload: Any) -> Any:
        """Something that compares: a copy of what matters in a payload."""
        return payload

    def test_contract_is_pure(self) -> None:
        """The contract is the same each time, before and after the node is used."""
        node = self.node()
        before = type(node).contract(node.params)
        with _Opened(node, self.mode) as driver:
            driver.feed(self.sample())
        assert type(node).contract(node.params) == before

    def test_sample_fits_the_contract(self) -> None:
        """The sample is of the declared ports and types, in time order (else it proves nothing)."""
        contract = _contract(self.node())
        sample = self.sample()
        assert len(sample) >= 3, "give at least three packets"
        times = [given.time for _, given in sample]
        assert times == sorted(times), "the sample must be in time order"
        for port, given in sample:
            assert port in contract.inputs, f"the sample names input '{port}'"
            wanted = contract.inputs[port].type
            assert isinstance(given.payload, wanted), f"'{port}' takes {wanted.__name__}"

    def test_outputs_fit_the_contract(self) -> None:
        """Outputs are on declared ports, of declared types, at capture times of the inputs."""
        node = self.node()
        contract = _contract(node)
        sample = self.sample()
        times = {given.time for _, given in sample}
        with _Opened(node, self.mode) as driver:
            outputs = driver.feed(sample)
            outputs += driver.finish("end")
        for port, given in outputs:
            assert port in contract.outputs, f"output port '{port}' is not declared"
            assert given.time in times, f"{port}: {given.time} is no capture time of the input"
            assert given.stream == sample[0][1].stream
            if not isinstance(given.payload, End):
                wanted = contract.outputs[port].type
                assert isinstance(given.payload, wanted), (
                    f"{port}: expected {wanted.__name__}, found {type(given.payload).__name__}"
                )

    def test_order_is_kept(self) -> None:
        """Each output port gives the packets of one key in time order."""
        with _Opened(self.node(), self.mode) as driver:
            outputs = driver.feed(self.sample())
        latest: dict[tuple[str, int | None], float] = {}
        for port, given in outputs:
            place = (port, given.key)
            assert given.time >= latest.get(place, given.time), f"{port} went back in time"
            latest[place] = given.time

    def test_batches_do_not_matter(self) -> None:
        """One packet a call or all of a port's run at once: the same outputs by port."""
        sample = self.sample()
        with _Opened(self.node(), self.mode) as driver:
            one_by_one = self._by_port(driver.feed(sample, batch=1))
        with _Opened(self.node(), self.mode) as driver:
            at_once = self._by_port(driver.feed(sample, batch=len(sample)))
        assert one_by_one == at_once

    def test_states_are_independent(self) -> None:
        """A second stream between the packets changes nothing for the first."""
        sample = self.sample()
        with _Opened(self.node(), self.mode) as driver:
            alone = self._by_port(driver.feed(sample, batch=1))
        other = [(port, given._replace(stream="conformance-other")) for port, given in sample]
        mixed = [item for pair in zip(sample, other, strict=True) for item in pair]
        with _Opened(self.node(), self.mode) as driver:
            outputs = driver.feed(mixed, batch=1)
        stream = sample[0][1].stream
        assert self._by_port([o for o in outputs if o[1].stream == stream]) == alone

    def test_states_survive_export(self) -> None:
        """Exported half-way and restored in a new node, the outputs go on as if nothing was."""
        sample = self.sample()
        half = len(sample) // 2
        with _Opened(self.node(), self.mode) as driver:
            whole = self._by_port(driver.feed(sample, batch=1) + driver.finish("end"))
        with _Opened(self.node(), self.mode) as driver:
            outputs = driver.feed(sample[:half], batch=1)
            exported = driver.export()
        with _Opened(self.node(), self.mode) as driver:
            driver.restore(exported)
            outputs += driver.feed(sample[half:], batch=1) + driver.finish("end")
        assert self._by_port(outputs) == whole

    def test_every_way_of_finishing(self) -> None:
        """``finish`` copes with each reason, on a fresh state and on a used one."""
        for used in (False, True):
            for reason in ("end", "epoch", "gap"):
                with _Opened(self.node(), self.mode) as driver:
                    driver.feed(self.sample() if used else self.sample()[:1])
                    driver.finish(reason)

    def test_opened_and_closed_twice(self) -> None:
        """A node closes without having seen a packet, and a new one opens after it."""
        for _ in range(2):
            with _Opened(self.node(), self.mode):
                pass

    def _by_port(self, outputs: Sequence[tuple[str, Packet]]) -> Mapping[str, Sequence[Any]]:
        by_port: dict[str, list[Any]] = {}
        for port, given in outputs:
            told = given.payload if isinstance(given.payload, End) else self.describe(given.payload)
            by_port.setdefault(port, []).append((given.time, given.key, given.epoch, told))
        return by_port


class _Opened:
    """Drives one node by its contract, without a runtime."""

    def __init__(self, node: Node[Any], mode: Mode) -> None:
        self._node = node
        self._mode = mode
        self._contract = _contract(node)
        self._states: dict[tuple[str, int | None], Any] = {}
        self._last: dict[tuple[str, int | None], Packet] = {}

    def __enter__(self) -> "_Opened":
        self._node.open(NodeContext("conformance", self._mode))
        return self

    def __exit__(self, *error: object) -> None:
        self._node.close()

    def feed(self, sample: Sample, batch: int = 1) -> list[tuple[str, Packet]]:
        outputs: list[tuple[str, Packet]] = []
        start = 0
        for index in range(1, len(sample) + 1):
            whole = index == len(sample) or index - start >= batch
            if whole or sample[index][0] != sample[start][0]:
                port = sample[start][0]
                packets = [given for _, given in sample[start:index]]
                states = [self._state(given) for given in packets]
                kept = states if self._contract.state != "none" else ()
                outputs += _flat(self._node.process(port, packets, kept))
                start = index
        return outputs

    def finish(self, reason: Any) -> list[tuple[str, Packet]]:
        outputs: list[tuple[str, Packet]] = []
        if self._contract.state == "none":
            return outputs
        for (stream, key), state in self._states.items():
            last = self._last[stream, key]
            finish = Finish(stream, key, last.time, last.epoch, reason, "conformance", last.arrival)
            outputs += _flat(self._node.finish(state, finish))
        return outputs

    def export(self) -> Any:
        import pickle

        exported = {place: self._node.export_state(s) for place, s in self._states.items()}
        return pickle.dumps((exported, self._last_without_payloads()))

    def restore(self, data: Any) -> None:
        import pickle

        exported, self._last = pickle.loads(data)
        self._states = {place: self._node.restore_state(s) for place, s in exported.items()}

    def _last_without_payloads(self) -> dict[tuple[str, int | None], Packet]:
        return {place: last._replace(payload=None) for place, last in self._last.items()}

    def _state(self, given: Packet) -> Any:
        if self._contract.state == "none":
            return None
        place = (given.stream, given.key if self._contract.state == "track" else None)
        if place not in self._states:
            begin = Begin(place[0], place[1], given.time, given.epoch, "first")
            self._states[place] = self._node.new_state(begin)
        self._last[place] = given
        return self._states[place]


def _contract(node: Node[Any]) -> Contract:
    return type(node).contract(node.params)


def _flat(outputs: Outputs) -> list[tuple[str, Packet]]:
    return [(port, given) for port, packets in outputs.items() for given in packets]


def wait_until(condition: Callable[[], bool], timeout: float = 15.0) -> bool:
    """Poll a condition until it holds; false if ``timeout`` seconds passed first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def chain(length: int, *, source: Mapping[str, Any] | None = None) -> Graph:
    """A source named ``source`` and ``length`` pass-through nodes ``n0``, ``n1`` and so on."""
    graph = Graph.build("chain").add("source", ListSource, dict(source or {}))
    before = "source"
    for index in range(length):
        graph = graph.add(f"n{index}", PassThrough, {}, {"in": f"{before}.out"})
        before = f"n{index}"
    return graph


__all__ = [
    "Collect",
    "CollectParams",
    "Counter",
    "Faulty",
    "FaultyParams",
    "ListSource",
    "ListSourceParams",
    "NoParams",
    "NodeConformance",
    "PassThrough",
    "PerTrack",
    "PerTrackParams",
    "Renumber",
    "chain",
    "packet",
    "wait_until",
]
