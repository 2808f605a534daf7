"""One run of a graph: its streams, its notices and its end, whatever carries it out."""

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import inf
from types import TracebackType
from typing import Protocol, Self, get_args

from .errors import GraphDefinitionError, GraphError, Refused, StopTimeout
from .host import HostSetting
from .metrics import Notice, RunMetrics, StreamMetrics
from .node import Mode, StreamSpec
from .options import RunOptions
from .packet import End, Packet
from .plan import make_plan
from .schema import unknown_name
from .spec import Graph
from .state import ExportedStates, StateRef

Tap = Callable[[Packet], None]
"""Called with each packet of an output port, one at a time, on a thread of the run."""

SIGNALS_HEARD_AFTER = 0.5
"""Seconds for which ``wait`` waits at once."""
KEPT_NOTICES = 1000
KEPT_ENDED_STREAMS = 1000


class Crew(Protocol):
    """What carries the streams of a run out, its sinks included."""

    def start(self) -> None:
        """Open all nodes."""

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None = None) -> None:
        """Begin a stream."""

    def cancel(self, name: str, reason: str) -> None:
        """Ask the sources of a stream to end; what they gave is still worked off."""

    def release(self) -> None:
        """Let nothing wait for room any longer."""

    def shutdown(self, deadline: float) -> list[str]:
        """Stop by a deadline on ``time.monotonic()``; gives what did not, in words."""

    def export_states(self) -> dict[StateRef, bytes]:
        """All keyed states as bytes."""

    def metrics(self) -> RunMetrics:
        """A snapshot of all counters."""


class GraphRun(ABC):
    """One run of a graph; what carries it out is a subclass's word.

    ::

        with LocalRun(graph, mode="lossless", taps={"decide.events": print}) as run:
            run.add_stream(StreamSpec("door", "door.mp4"))
            run.wait()

    Leaving the block stops the run: without an exception it works off what the sources gave, with
    one it stops at once.
    """

    def __init__(
        self,
        graph: Graph,
        mode: Mode = "lossless",
        options: RunOptions | None = None,
        taps: Mapping[str, Tap] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> None:
        """Prepare a run; nothing is opened yet.

        Args:
            graph: What to run.
            mode: ``lossless`` waits and never drops, ``realtime`` drops at the entry.
            options: How to spread it, and its limits.
            taps: By ``node.port``: called in this process with each packet of that output, never
                with an ``End``. A tap that raises fails the run.
            on_notice: Called with each notice, on a thread of the run.

        Raises:
            GraphDefinitionError: The graph is not valid, a tap names no output port, or there is
                no such mode.
        """
        if mode not in get_args(Mode):
            raise GraphDefinitionError(f"mode: {unknown_name(mode, get_args(Mode))}")
        self.options = options or RunOptions()
        self.plan = make_plan(graph, fuse=self.options.fuse)
        self.mode: Mode = mode
        self._taps = {_tap_place(graph, name): tap for name, tap in (taps or {}).items()}
        self._on_notice = on_notice
        self._changed = threading.Condition()
        self._tap_lock = threading.Lock()
        self._waiting: OrderedDict[str, StreamSpec] = OrderedDict()
        self._running: dict[str, StreamMetrics] = {}
        self._beginning: dict[str, str] = {}
        """Running streams that the crew may not know yet; why they are to end, if they are."""
        self._ended: OrderedDict[str, StreamMetrics] = OrderedDict()
        self._restored: dict[StateRef, bytes] = {}
        self._notices: deque[Notice] = deque(maxlen=KEPT_NOTICES)
        self._notice_count = 0
        self._failure: Exception | None = None
        self._failure_told = False
        self._crew: Crew | None = None
        self._stopped = False

    def start(self) -> None:
        """Open all nodes and start; streams may be added before and after.

        Raises:
            NodeFailed: A node could not be opened.
            WorkerLost: A worker process ended while starting.
            GraphError: A stream that was added before could not begin.
        """
        if self._crew is not None or self._stopped:
            raise GraphError("a run starts once; make a new one to run again")
        self._crew = self._make_crew(self._setting(), len(self._waiting))
        try:
            self._crew.start()
        except BaseException:
            self._stopped = True
            raise
        try:
            for spec in self._waiting.values():
                self._give(spec)
        except BaseException as error:
            self._stop_after(error)
            raise
        self._waiting.clear()

    @abstractmethod
    def _make_crew(self, setting: HostSetting, streams: int) -> Crew:
        """What will carry the run out; ``streams`` were added before the start."""

    def _setting(self) -> HostSetting:
        return HostSetting(
            mode=self.mode,
            options=self.options,
            notice=self._notice,
            failed=self._fail,
            stream_ended=self._stream_ended,
            taps=self._tap_exits(),
        )

    def _tap_exits(self) -> "dict[tuple[str, str], TapExit]":
        return {
            place: TapExit(f"{place[0]}.{place[1]}", tap, self._tap_lock)
            for place, tap in self._taps.items()
        }

    def add_stream(self, spec: StreamSpec) -> None:
        """Feed one stream more; before ``start`` it waits for it.

        Raises:
            GraphError: A stream of this name runs, or the run was stopped.
        """
        with self._changed:
            if self._stopped:
                raise GraphError(
                    f"stream '{spec.name}': expected a running run, found a stopped one"
                )
            if spec.name in self._running or spec.name in self._waiting:
                raise Refused(
                    f"stream '{spec.name}': expected a name that is not in use, found a stream of "
                    "this name running; choose another or remove it first"
                )
            if self._crew is None:
                self._waiting[spec.name] = spec
                return
            self._running[spec.name] = StreamMetrics()
            self._beginning[spec.name] = ""
        self._give(spec)

    def _give(self, spec: StreamSpec) -> None:
        assert self._crew is not None
        with self._changed:
            self._running[spec.name] = StreamMetrics()
            self._beginning.setdefault(spec.name, "")
            self._ended.pop(spec.name, None)
            mine = {ref: data for ref, data in self._restored.items() if ref.stream == spec.name}
            for ref in mine:
                del self._restored[ref]
        try:
            self._crew.add_stream(spec, mine)
        except BaseException as error:
            with self._changed:
                self._beginning.pop(spec.name, "")
                if spec.name in self._running:
                    # Ctrl-C is no fault of the stream.
                    why = "error" if isinstance(error, Exception) else "stopped"
                    self._finish_stream(spec.name, why)
                self._changed.notify_all()
            raise
        with self._changed:
            reason = self._beginning.pop(spec.name, "")
        if reason:
            self._crew.cancel(spec.name, reason)

    def _cancel(self, name: str, reason: str) -> None:
        """Ask a stream to end; one that is just beginning, as soon as it has begun."""
        assert self._crew is not None
        with self._changed:
            if name in self._beginning:
                self._beginning[name] = self._beginning[name] or reason
                return
        self._crew.cancel(name, reason)

    def remove_stream(self, name: str, reason: str = "removed") -> None:
        """End one stream; what it gave is still worked off.

        Raises:
            GraphError: No such stream runs.
        """
        with self._changed:
            if self._waiting.pop(name, None) is not None:
                return
            if name not in self._running:
                raise Refused(f"stream: {unknown_name(name, list(self._running))}")
        self._cancel(name, reason)

    def streams(self) -> dict[str, StreamMetrics]:
        """Where every stream stands, those that ended (the last thousand) included."""
        return dict(self.metrics().streams)

    def notices(self) -> tuple[Notice, ...]:
        """The last thousand things an operator should know of."""
        with self._changed:
            return tuple(self._notices)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all streams have ended and everything they gave is worked off.

        Returns:
            False if ``timeout`` seconds passed first.

        Raises:
            GraphError: What made the run fail: ``NodeFailed``, ``WorkerLost``.
        """
        until = inf if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not (self._failure or not self._running):
                left = until - time.monotonic()
                if left <= 0:
                    return False
                # Never for long: a signal that comes as the wait begins, or to another thread,
                # does not end it, and Ctrl-C would be heard when the stream has ended.
                self._changed.wait(min(left, SIGNALS_HEARD_AFTER))
            self._raise_failure()
            return True

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_told = True
            raise self._failure

    def stop(self, drain: bool = True) -> None:
        """Stop the run within ``stop_timeout`` seconds; the second call does nothing.

        Args:
            drain: Let the sources end and work off what they gave. False drops what waits: tracks
                that are alive get neither an end nor a final verdict, as where the power fails.

        Raises:
            StopTimeout: Something did not stop in time; the error names the node. Its thread is
                left behind and ends with the process.
            GraphError: What made the run fail, if ``wait`` has not told it.
        """
        with self._changed:
            if self._stopped or self._crew is None:
                self._stopped = True
                return
            self._stopped = True
            names = list(self._running)
        deadline = time.monotonic() + self.options.stop_timeout
        for name in names:
            self._cancel(name, "stopped")
        late = False
        if drain:
            # Half of the time is kept for closing.
            with self._changed:
                half = self.options.stop_timeout / 2
                over = self._changed.wait_for(lambda: self._failure or not self._running, half)
                late = not over
        self._crew.release()
        stuck = self._crew.shutdown(deadline)
        self._end_all()
        if stuck:
            raise StopTimeout(
                f"expected the run to stop within {self.options.stop_timeout:g} s, found "
                f"{', '.join(dict.fromkeys(stuck))} still busy; its thread is left behind"
            )
        if late:
            self._notice(Notice("", "", "the stop could not wait for all packets; some were lost"))
        if not self._failure_told:
            self._raise_failure()

    def _end_all(self) -> None:
        with self._changed:
            for name in list(self._running):
                self._finish_stream(name, "stopped")
            self._changed.notify_all()

    def metrics(self) -> RunMetrics:
        """A snapshot of all counters, to be taken at any time."""
        of_crew = RunMetrics({}, {}, {}, 0) if self._crew is None else self._crew.metrics()
        with self._changed:
            live = {name: of_crew.streams.get(name, known) for name, known in self._running.items()}
            return replace(of_crew, streams={**self._ended, **live}, notices=self._notice_count)

    def export_states(self) -> dict[StateRef, bytes]:
        """All keyed states as bytes, each stage between two batches.

        Packets that wait between stages are not part of it: to lose none, export after ``wait``
        of a checkpoint of your own, or when the sources pause.
        """
        return {} if self._crew is None else self._crew.export_states()

    def restore_states(self, exported: ExportedStates) -> None:
        """Give exported states to the streams of these names that are added (or start) from now on.

        The bytes hold pickles: restore only what you exported yourself.
        """
        with self._changed:
            self._restored.update(exported)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop(drain=True)
        else:
            self._stop_after(error)

    def _stop_after(self, error: BaseException) -> None:
        try:
            self.stop(drain=False)
        except GraphError as also:
            # The error that is on its way out matters more.
            error.add_note(str(also))

    def _notice(self, notice: Notice) -> None:
        with self._changed:
            self._notices.append(notice)
            self._notice_count += 1
        if self._on_notice is not None:
            self._on_notice(notice)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()

    def _stream_ended(self, name: str, reason: str, packets: int) -> None:
        with self._changed:
            if name not in self._running:
                return
            known = self._running[name]
            self._running[name] = replace(known, packets=max(known.packets, packets))
            self._finish_stream(name, reason)
            self._changed.notify_all()

    def _finish_stream(self, name: str, reason: str) -> None:
        known = self._running.pop(name)
        self._ended[name] = replace(known, state="ended", reason=reason)
        while len(self._ended) > KEPT_ENDED_STREAMS:
            self._ended.popitem(last=False)


class TapExit:
    """Hands packets to a tap, one at a time."""

    def __init__(self, name: str, tap: Tap, lock: threading.Lock) -> None:
        self._name = name
        self._tap = tap
        self._lock = lock

    def send(self, stream: str, packets: Iterable[Packet], ends: int, floor: float) -> None:
        """See :class:`Exit`."""
        with self._lock:
            for packet in packets:
                if ends and isinstance(packet.payload, End):
                    continue
                try:
                    self._tap(packet)
                except Exception as error:
                    raise GraphError(
                        f"the tap on '{self._name}' raised {type(error).__name__}: {error}"
                    ) from error

    def end(self, stream: str, end: Packet, floor: float) -> None:
        """Taps are not told of ends."""


def _tap_place(graph: Graph, name: str) -> tuple[str, str]:
    node, _, port = name.rpartition(".")
    known = [f"{spec.name}.{port}" for spec in graph.nodes for port in spec.contract().outputs]
    if name not in known:
        raise GraphDefinitionError(f"tap: {unknown_name(name, known)}")
    return node, port
