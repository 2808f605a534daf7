"""The thread of one source and stream: fills in arrival, guards the clock, ends the stream."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from .execute import Exit
from .metrics import NodeCounters, Notice
from .node import Outputs, Source, StreamSpec
from .packet import End, Packet
from .stage_thread import MarkExit

CPU_READING_PERIOD = 0.1
"""Seconds between two readings of a source thread's CPU time."""

new_packet = tuple.__new__
"""Half the price of calling the class, which matters only here: once for every packet."""

_Sending = tuple[str, Sequence[Exit], list[Packet], int]
"""Port, where it goes, packets, and how many of them are ends."""


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
        self._first_epoch = control.spec.epoch
        self._epoch = control.spec.epoch
        self._warned = False
        self._cpu_due = -inf
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
        try:
            iterator = iter(self._node.stream(self._control.spec, self._control.cancel))
        except Exception as error:
            return self._raised(error)
        cancel, counters, clock = self._control.cancel, self.counters, time.monotonic
        cancelled_at = inf
        try:
            while True:
                asked = clock()
                try:
                    outputs = next(iterator, None)
                    now = clock()
                    checked = self._checked(outputs, now) if outputs else ()
                except Exception as error:
                    return self._raised(error)
                counters.calls += 1
                counters.busy += now - asked
                if outputs is None:
                    return False
                if checked:
                    self._send(checked)
                if now > self._cpu_due:
                    self._read_cpu(now)
                if cancel.is_set():
                    cancelled_at = min(cancelled_at, now)
                    if now - cancelled_at > self._control.grace:
                        return False
        finally:
            self._close(iterator)
            self._read_cpu(clock())

    def _raised(self, error: Exception) -> bool:
        self._tell(f"raised {type(error).__name__}: {error}; the stream ends")
        return True

    def _read_cpu(self, now: float) -> None:
        # The thread's whole time, read now and then: a reading for every packet costs as much as
        # handing the packet on.
        self.counters.cpu = time.thread_time()
        self._cpu_due = now + CPU_READING_PERIOD

    def _close(self, iterator: Iterator[Outputs] | None) -> None:
        close = getattr(iterator, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            self._tell(f"raised {type(error).__name__} while it was closed: {error}")

    def _checked(self, outputs: Outputs, now: float) -> list[_Sending]:
        """What may be sent, arrival filled in; raises where the source breaks its contract."""
        before = self._last
        checked = []
        for port, packets in outputs.items():
            exits = self._exits.by_port.get(port)
            if exits is None:
                listed = ", ".join(self._exits.by_port)
                raise ValueError(f"expected outputs on ports {listed}, found port '{port}'")
            if packets:
                sending, ends = self._checked_port(packets, before, now)
                checked.append((port, exits, sending, ends))
        return checked

    def _checked_port(
        self, packets: Sequence[Packet], before: float, now: float
    ) -> tuple[list[Packet], int]:
        """The packets without those whose time goes backwards, and how many ends are in them."""
        name, last, ends = self.stream, before, 0
        checked: list[Packet] = []
        for packet in packets:
            stream, captured, epoch, key, payload, arrival = packet
            if stream != name:
                raise ValueError(f"expected packets of stream '{name}', found '{stream}'")
            if not last <= captured < inf:
                self._drop(captured, last)
                continue
            if isinstance(payload, End):
                if key is None:
                    continue  # Streams are ended by the runtime.
                ends += 1
            last = captured
            epoch += self._first_epoch
            self._epoch = epoch
            if not arrival or self._first_epoch:
                arrival = arrival or now
                packet = new_packet(Packet, (stream, captured, epoch, key, payload, arrival))
            checked.append(packet)
        if last > self._last:
            self._last = last
        return checked, ends

    def _send(self, checked: Sequence[_Sending]) -> None:
        stream = self.stream
        for _, exits, packets, ends in checked:
            self.counters.packets_out += len(packets) - ends
            for leaving in exits:
                leaving.send(stream, packets, ends, -inf)
        if self._exits.marked:
            sent = {port for port, _, packets, _ in checked if packets}
            for port, marked in self._exits.marked.items():
                if port not in sent:
                    for waiting in marked:
                        waiting.advance(stream, self._last)

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
