"""Nodes that watch a runtime, or are a burden to it, in whatever process they run.

What they see they write into a file, a line at a time, since a list would stay in their process.
"""

import atexit
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Literal

from padflow.graph.node import (
    Batching,
    Begin,
    Contract,
    Finish,
    Node,
    NodeContext,
    Outputs,
    Port,
    Scope,
    Source,
    StateKey,
    StreamSpec,
)
from padflow.graph.packet import End, Packet
from padflow.graph.testing import NoParams, PassThrough
from padflow.graph.workers import WORKER


def read_log(path: Path | str) -> list[tuple[Any, ...]]:
    """What nodes have written into a log so far."""
    if not Path(path).exists():
        return []
    return [tuple(json.loads(line)) for line in Path(path).read_text().splitlines()]


def _write(path: str, *seen: Any) -> None:
    if path:
        # One write of one line at the end of the file: safe beside other processes.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, (json.dumps(seen) + "\n").encode())
        os.close(file)


@dataclass(frozen=True)
class ProbeParams:
    """What the probe does and where it writes what it saw."""

    log: str = ""
    raise_on: tuple[int, ...] = ()
    raise_in: Literal["", "open", "close", "new_state", "finish"] = ""
    state: StateKey = "stream"
    scope: Scope = "stream"
    batch: int = 1
    max_gap: float = float("inf")
    delay: float = 0.0
    """Seconds that each packet takes."""


class Probe(Node[ProbeParams]):
    """Writes down what happens to it; raises where it is asked to."""

    Params = ProbeParams

    @classmethod
    def contract(cls, params: ProbeParams) -> Contract:
        return Contract(
            inputs={"in": Port(object, "any")},
            outputs={"out": Port(object, "the same")},
            state=params.state,
            scope=params.scope,
            batching=Batching(params.batch, 0.002 if params.batch > 1 else 0.0),
            max_gap=params.max_gap,
        )

    def _do(self, what: str, *seen: Any) -> None:
        _write(self.params.log, what, *seen)
        if self.params.raise_in == what:
            raise RuntimeError(f"asked to raise in {what}")

    def open(self, context: NodeContext) -> None:
        self._do("open", sorted(context.connected or ()))

    def close(self) -> None:
        self._do("close")

    def new_state(self, begin: Begin) -> dict[str, Any]:
        self._do("new_state", begin.stream, begin.key, begin.reason, begin.time)
        return {"reason": begin.reason, "seen": []}

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        time.sleep(self.params.delay * len(packets))
        for index, given in enumerate(packets):
            if given.payload in self.params.raise_on:
                raise RuntimeError(f"asked to raise on {given.payload}")
            if states:
                states[index]["seen"].append(given.payload)
        return {"out": packets}

    def finish(self, state: Any, finish: Finish) -> Outputs:
        self._do("finish", finish.stream, finish.key, finish.reason, finish.detail, state["seen"])
        return {"out": [finish.packet("last word")]}


class Tracks(Node[NoParams]):
    """Every packet is a track of its own, ended with the next one."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        return Contract(
            inputs={"in": Port(object, "any")},
            outputs={"out": Port(object, "keyed")},
            state="stream",
            makes_keys=True,
        )

    def new_state(self, begin: Begin) -> list[int]:
        return []

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        out = []
        for given, state in zip(packets, states, strict=True):
            if state and given.payload != "keep":
                out.append(given.carry(End("lost"), state.pop()))
            if given.payload == "raise":
                raise RuntimeError("asked to")
            state.append(given.payload if isinstance(given.payload, int) else 0)
            out.append(given.carry(given.payload, state[-1]))
        return {"out": out}


@dataclass(frozen=True)
class StuckParams:
    release: str
    """A file; it waits until there is one of this name, at most half a minute."""

    def wait(self) -> None:
        deadline = time.monotonic() + 30.0
        while not Path(self.release).exists() and time.monotonic() < deadline:
            time.sleep(0.01)


@dataclass(frozen=True)
class Vow:
    """Something that has a will."""

    subject: str
    told: str = "it stands"

    def last_word(self, reason: str) -> "Vow":
        return Vow(self.subject, reason)


class Vowing(PassThrough):
    """Gives a vow, on one of two subjects in turn, for every number."""

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        return {"out": [p.carry(Vow(f"track/{p.payload % 2}")) for p in packets]}


class Numbered(PassThrough):
    """Gives the number of the process that it runs in, for every packet."""

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        return {"out": [p.carry(os.environ[WORKER]) for p in packets]}


class SlowToEnd(PassThrough):
    """Its process takes two seconds to end, as on a busy machine."""

    def open(self, context: NodeContext) -> None:
        atexit.register(time.sleep, 2.0)


class Stuck(Node[StuckParams]):
    """Does not return from process until it is released."""

    Params = StuckParams

    @classmethod
    def contract(cls, params: StuckParams) -> Contract:
        return Contract(inputs={"in": Port(object, "any")})

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        self.params.wait()
        return {}


class StuckSource(Source[StuckParams]):
    """Does not look at cancel."""

    Params = StuckParams

    @classmethod
    def contract(cls, params: StuckParams) -> Contract:
        return Contract(outputs={"out": Port(object, "nothing")})

    def stream(self, spec: StreamSpec, cancel: Event) -> Iterator[Outputs]:
        self.params.wait()
        yield {}


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
