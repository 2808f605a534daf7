"""The thread of one source and stream: fills in arrival, guards the clock, ends the stream."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from .execute import Exit
from .inbox import count_ends
from .metrics import NodeCounters, Notice
from .node import Outputs, Source, StreamSpec
from .packet import End, Packet
from .stage_thread import MarkExit


@dataclass(frozen=True, slots=True)
class SourceExits:
    """Where the packets of a source go."""

    by_port: Mapping[str, Sequence[Exit]]
    marked: Mapping[str, Sequence[MarkExit]]
    """By port: exits that must know how far in capture time the source has come."""


@dataclass(slots=True)
class StreamControl:
    """What a run and the threads of one stream share."""

    spec: StreamSpec
    cancel: threading.Event
    reason: str = "end"
    """Why the stream ends; ``cancel`` sets it before the event."""
    grace: float = 5.0
    """Seconds that a source may go on after ``cancel``."""


class SourceThread:
    """Iterates one source for one stream and sends what it gives."""

    def __init__(
        self,
        name: str,
        node: Source[Any],
        control: StreamControl,
        exits: SourceExits,
        report: "SourceReport",
    ) -> None:
        self.name = name
        self.stream = control.spec.name
        self.counters = NodeCounters()
        self.running = True
        self._node = node
        self._control = control
        self._exits = exits
        self._report = report
        self._last = -inf
        self._epoch = 0
        self._warned = False
        self.thread = threading.Thread(
            target=self._run, name=f"padflow {name} {self.stream}", daemon=True
        )

    def _run(self) -> None:
        try:
            error = self._pump()
            self._end("error" if error else self._control.reason)
        except Exception as failure:
            # Not the source's fault: what it gave could not be handed on.
            self._report.failed(failure)
        finally:
            self.running = False
            self._report.ended(self)

    def _pump(self) -> bool:
        """Send all that the source gives; True if it raised."""
        iterator: Iterator[Outputs] | None = None
        cancelled_at = inf
        try:
            while True:
                try:
                    if iterator is None:
                        iterator = iter(self._node.stream(self._control.spec, self._control.cancel))
                    outputs = self._next(iterator)
                    if outputs:
                        outputs = self._checked(outputs)
                except Exception as error:
                    self._tell(f"raised {type(error).__name__}: {error}; the stream ends")
                    return True
                if outputs is None:
                    return False
                if outputs:
                    self._send(outputs)
                if self._control.cancel.is_set():
                    now = time.monotonic()
                    cancelled_at = min(cancelled_at, now)
                    if now - cancelled_at > self._control.grace:
                        return False
        finally:
            self._close(iterator)

    def _next(self, iterator: Iterator[Outputs]) -> Outputs | None:
        wall, cpu = time.monotonic(), time.thread_time()
        try:
            return next(iterator, None)
        finally:
            self.counters.calls += 1
            self.counters.busy += time.monotonic() - wall
            self.counters.cpu += time.thread_time() - cpu

    def _close(self, iterator: Iterator[Outputs] | None) -> None:
        close = getattr(iterator, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            self._tell(f"raised {type(error).__name__} while it was closed: {error}")

    def _send(self, outputs: Outputs) -> None:
        for port, packets in outputs.items():
            if packets:
                ends = count_ends(packets)
                self.counters.packets_out += len(packets) - ends
                for leaving in self._exits.by_port[port]:
                    leaving.send(self.stream, packets, ends, -inf)
        for port, marked in self._exits.marked.items():
            if not outputs.get(port):
                for waiting in marked:
                    waiting.advance(self.stream, self._last)

    def _checked(self, outputs: Outputs) -> Outputs:
        """Outputs that may be sent; raises where the source breaks its contract."""
        before = self._last
        checked = {}
        for port, packets in outputs.items():
            if port not in self._exits.by_port:
                listed = ", ".join(self._exits.by_port)
                raise ValueError(f"expected outputs on ports {listed}, found port '{port}'")
            checked[port] = self._checked_port(packets, before)
        return checked

    def _checked_port(self, packets: Sequence[Packet], before: float) -> list[Packet]:
        """The packets with arrival filled in, without those whose time goes backwards."""
        now = time.monotonic()
        name = self.stream
        last = before
        checked = []
        for packet in packets:
            stream, captured, epoch, key, payload, arrival = packet
            if stream != name:
                raise ValueError(f"expected packets of stream '{name}', found '{stream}'")
            if not last <= captured < inf:
                self._drop(captured, last)
            elif key is not None or not isinstance(payload, End):
                last = captured
                self._epoch = epoch
                checked.append(
                    packet if arrival else Packet(stream, captured, epoch, key, payload, now)
                )
        self._last = max(self._last, last)
        return checked

    def _drop(self, captured: float, last: float) -> None:
        self.counters.drop("time_backwards", 1)
        if not self._warned:
            self._warned = True
            self._tell(
                f"expected capture times of at least {last:.6f} s, found {captured:.6f} s; such "
                "packets are dropped and counted as time_backwards"
            )

    def _end(self, reason: str) -> None:
        captured = self._last if self._last > -inf else 0.0
        self._control.reason = reason
        end = Packet(self.stream, captured, self._epoch, None, End(reason), time.monotonic())
        for exits in self._exits.by_port.values():
            for leaving in exits:
                leaving.end(self.stream, end, -inf)

    def _tell(self, message: str) -> None:
        self._report.notice(Notice(self.name, self.stream, message))


@dataclass(frozen=True, slots=True)
class SourceReport:
    """Whom a source thread tells."""

    notice: Callable[[Notice], None]
    ended: Callable[[SourceThread], None]
    failed: Callable[[Exception], None]
