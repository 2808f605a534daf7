"""The contract between a node and whatever runtime runs it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from threading import Event
from typing import Any, ClassVar, Generic, Literal, TypeVar

from .packet import Packet

Outputs = Mapping[str, Sequence[Packet]]
"""Packets by output port. A port that is absent gave nothing."""

NOTHING: Outputs = {}

StateKey = Literal["none", "stream", "track"]
Scope = Literal["stream", "shared", "single"]
Mode = Literal["lossless", "realtime"]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a node."""

    type: type
    """Class of the payloads: an edge joins an output with an input of the same or a base class."""
    doc: str
    optional: bool = False
    """An input that may be left unconnected."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many packets a shared node wants at once."""

    size: int = 1
    max_wait: float = 0.0
    """Longest time in seconds that the first packet of a batch waits for the others."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica of a node needs."""

    cpu: float = 1.0
    gpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Contract:
    """What a node takes, gives and keeps: checked before anything runs."""

    inputs: Mapping[str, Port] = field(default_factory=dict)
    outputs: Mapping[str, Port] = field(default_factory=dict)
    state: StateKey = "none"
    """What the node's state is kept by."""
    max_gap: float = inf
    """Longest gap in seconds of capture time between two packets of one key; past it the state
    is reset with the reason ``gap``."""
    makes_keys: bool = False
    """True for a node that gives packets keys of its own and ends them with ``End``. It is called
    with one packet at a time; an ``End`` on one of its ports is given on all; keys that it has not
    ended when its state is reset or its stream ends are ended for it."""
    scope: Scope = "stream"
    """``stream``: sees whole streams, in order; replicas share the streams among them.
    ``shared``: batches across streams (engines). ``single``: one instance a run, in the process
    that started it (an event file)."""
    batching: Batching = Batching()
    resources: Resources = Resources()


@dataclass(frozen=True, slots=True)
class Begin:
    """Why a fresh state is made: ``first``, ``epoch``, ``gap`` or ``fault``."""

    stream: str
    key: int | None
    time: float
    epoch: int
    reason: Literal["first", "epoch", "gap", "fault"]
    previous: Any = None
    """The state that this one replaces, where there was one (to carry counters over)."""
    first_key: int = 1
    """Where a node that makes keys begins to number them, as :attr:`StreamSpec.first_key`."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Why a state ends: ``end`` (with the End's own reason in ``detail``), ``epoch`` or ``gap``."""

    stream: str
    key: int | None
    time: float
    """Capture time of the last packet that the state has seen."""
    epoch: int
    reason: Literal["end", "epoch", "gap"]
    detail: str = ""
    arrival: float = 0.0

    def packet(self, payload: Any, key: int | None = None) -> Packet:
        """A last packet of the ending key."""
        of = self.key if key is None else key
        return Packet(self.stream, self.time, self.epoch, of, payload, self.arrival)


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a node may know of the run it is part of."""

    name: str
    """The node's name in the graph."""
    mode: Mode
    replica: int = 0
    notice: Callable[[str], None] = lambda message: None
    """Tell the operator something in one sentence; kept with the node's name and counted."""
    connected: frozenset[str] | None = None
    """Output ports that an edge or a tap takes packets from; None where that is not known. What a
    node would make for no other port it may leave out."""

    def wants(self, port: str) -> bool:
        """Whether packets of an output port may go anywhere."""
        return self.connected is None or port in self.connected


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream to feed into a graph."""

    name: str
    uri: str
    options: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    """Epoch in which the stream begins: above 0 where it goes on after its state was lost."""
    first_key: int = 1
    """Number of its first track, likewise, so that no number means two tracks."""
    resume_at: float = -inf
    """Capture time in seconds before which a source that plays again what it played before (a
    file) gives no packets; live sources begin where they are."""
    taken_up: str = ""
    """Why the stream goes on here (``worker_lost``); empty: it begins."""


P = TypeVar("P")


class Node(ABC, Generic[P]):
    """Something that happens to packets.

    A subclass names its parameters in ``Params`` (a frozen dataclass whose fields carry
    docstrings), says its contract, and writes :meth:`process`. The object is made in the process
    that runs it. One thread at a time calls it; which one may change, so no thread-locals.
    """

    Params: ClassVar[type]

    def __init__(self, params: P) -> None:
        self.params = params

    @classmethod
    @abstractmethod
    def contract(cls, params: P) -> Contract:
        """What a node with these parameters takes, gives and keeps. No side effects."""

    def open(self, context: NodeContext) -> None:
        """Make what is heavy (engines, files). Called once, before the first packet."""

    def new_state(self, begin: Begin) -> Any:
        """A fresh state for one key. Only called where the contract keeps state."""
        return None

    @abstractmethod
    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Handle packets of one input port, in time order per stream.

        ``states[i]`` is the state of ``packets[i]``'s key (the same object for the same key);
        empty where the contract keeps none. Output packets carry the capture time of an input
        packet of this call. Keep neither packets nor states beyond the call, except inside the
        states. An exception loses this batch and resets the states it touched.
        """

    def finish(self, state: Any, finish: Finish) -> Outputs:
        """Last word of a state before it is freed or reset."""
        return NOTHING

    def export_state(self, state: Any) -> Any:
        """A picklable copy of a state (default: the state itself, which must then pickle)."""
        return state

    def restore_state(self, exported: Any) -> Any:
        """The inverse of :meth:`export_state`."""
        return exported

    def close(self) -> None:
        """Give back what ``open`` took. Called once, also after errors."""


class Source(Node[P]):
    """A node without inputs: one call of :meth:`stream` per stream, each in a thread of its own."""

    @abstractmethod
    def stream(self, spec: StreamSpec, cancel: Event) -> Iterator[Outputs]:
        """Yield packets in capture order until the stream ends or ``cancel`` is set.

        Must look at ``cancel`` at least every five seconds. Yield ``NOTHING`` freely. ``arrival``
        may be left 0: the runtime fills it in. May be called from several threads at once.
        """

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Sources have no inputs."""
        raise AssertionError("a source has no inputs")
