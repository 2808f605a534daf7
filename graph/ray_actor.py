"""What runs inside a Ray actor: a host of some stages, and its ways to the other actors.

An actor knows its peers by name. Packets that leave its stages go into the outlet of the peer that
has the next stage of their stream: to another actor a courier thread sends what an outlet holds as
one call, the driver fetches its own. Ray carries bytes; back-pressure, order and the lives of
streams are decided here and in :mod:`padflow.graph.ray_crew`.
"""

import os
import resource
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from .errors import GraphError, NodeFailed
from .host import Host, HostSetting
from .metrics import EdgeCounters, ProcessMetrics, RunMetrics, merged, process_metrics
from .node import Mode, StreamSpec
from .options import RunOptions
from .outlet import Batch, Lane, Outlet, Target
from .packet import End, Packet
from .plan import Link, make_plan
from .post import Address, Line, Office
from .spec import Graph
from .stage_thread import SINK_MARK_PERIOD, MarkPace
from .state import ExportedStates, StateRef
from .wire import pack, unpack
from .workers import LIBRARY_THREADS, WORKER

DRIVER = "driver"
"""Name of the peer that fetches what is for it."""
PAUSED = "paused"
"""Reason with which a stream ends that is to go on later."""
IDLE = 1.0
"""Seconds after which an outlet with nothing in it is looked at again."""
IN_FLIGHT = 2
"""Calls to one peer that may be unanswered."""


@dataclass(frozen=True, slots=True)
class ActorJob:
    """What an actor is made with."""

    name: str
    graph: Graph
    stages: tuple[str, ...]
    mode: Mode
    options: RunOptions
    window: float
    """Least time in seconds between two batches to one peer."""
    taps: tuple[tuple[str, str], ...] = ()
    """Output ports whose packets the driver wants."""
    secret: bytes = b""
    """By which the actors of a run know each other on sockets; empty: batches go as calls."""
    index: int = 0
    """Number among the actors of its kind."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an actor's process uses."""

    pid: int
    cpu: float
    """CPU seconds since it began."""
    rss: int
    """Bytes of memory."""
    threads: int
    """Those of libraries included."""
    files: int
    streams: int


@dataclass(slots=True)
class _Incarnation:
    number: int
    routes: Mapping[str, str]
    """Peer by stage."""
    ended_links: set[int] = field(default_factory=set)
    """Links on which the end of the stream has come in."""


class StageActor:
    """A Ray actor's object: see the module."""

    def __init__(self, job: ActorJob) -> None:
        # There is an actor for each processor: libraries that start a pool of spinning threads in
        # each only take processors from one another. Read when they are imported.
        for name in LIBRARY_THREADS:
            os.environ[name] = "1"
        # Ray shows an actor that asked for GPUs only its own, and any other one all of them.
        os.environ[WORKER] = str(job.index)
        self._job = job
        self._plan = make_plan(job.graph, fuse=job.options.fuse)
        self._lock = threading.Lock()
        self._streams: dict[str, _Incarnation] = {}
        self._outlets: dict[str, Outlet] = {DRIVER: self._new_outlet()}
        self._couriers: dict[str, _Courier] = {}
        self._office: Office | None = None
        self._entries: dict[Link, EdgeCounters] = {}
        """What was dropped before links that lead from a source to another actor."""
        self._host = Host(self._plan, self._stages(), self._setting())
        self._incoming = {
            index: self._host.link_exit(link)
            for index, link in enumerate(self._plan.links)
            if self._is_here(link.stage) and not self._is_here(self._stage_of(link))
        }

    def _new_outlet(self) -> Outlet:
        return Outlet(self._job.options.lane_capacity, self._job.window)

    def _stages(self) -> list[Any]:
        return [stage for stage in self._plan.stages if self._is_here(stage.name)]

    def _is_here(self, stage: str) -> bool:
        return stage in self._job.stages

    def _stage_of(self, link: Link) -> str:
        return self._plan.stage_of[link.producer].name

    def _setting(self) -> HostSetting:
        driver = self._outlets[DRIVER]
        return HostSetting(
            mode=self._job.mode,
            options=self._job.options,
            notice=lambda notice: driver.tell("notice", notice),
            failed=self._failed,
            stream_ended=self._stream_ended,
            bridge=self._bridge,
            taps={place: _PeerExit(self, place, "") for place in self._job.taps},
            left=self._left,
        )

    def _failed(self, error: Exception) -> None:
        self._outlets[DRIVER].tell("failed", portable(error))

    def _bridge(self, link: Link) -> "_PeerExit":
        single = self._plan.graph.node(link.edges[0].consumer).contract().scope == "single"
        period = SINK_MARK_PERIOD if single else 0.0
        exit_ = _PeerExit(self, self._plan.links.index(link), link.stage, period)
        if link.from_source and self._job.mode == "realtime" and not single:
            exit_.dropped = self._entries.setdefault(link, EdgeCounters())
        return exit_

    # What the driver asks for.

    def start(self) -> None:
        """Open all nodes: engines are loaded and have run once when this returns.

        Raises:
            NodeFailed: A node could not be opened.
        """
        try:
            self._host.start()
        except Exception as error:
            raise portable(error) from None

    def open_office(self) -> Address | None:
        """Begin to take batches on a socket, if that is how they go; gives where."""
        if not self._job.secret:
            return None
        if self._office is None:
            import ray

            host = ray.util.get_node_ip_address()
            self._office = Office(host, self._job.secret, self.take_in, self._failed)
        return self._office.address

    def connect(self, name: str, handle: Any, address: Address | None) -> None:
        """Make another actor known."""
        with self._lock:
            if name in self._couriers:
                return
            outlet = self._outlets[name] = self._new_outlet()
            courier = self._couriers[name] = _Courier(self, name, handle, address, outlet)
        courier.thread.start()

    def add_stream(
        self,
        spec: StreamSpec,
        incarnation: int,
        routes: Mapping[str, str],
        states: ExportedStates | None = None,
    ) -> None:
        """Begin a stream (or its part in the stages that are here)."""
        with self._lock:
            self._streams[spec.name] = _Incarnation(incarnation, dict(routes))
        self._host.add_stream(spec, states)

    def cancel(self, name: str, reason: str) -> None:
        """Ask the sources of a stream to end."""
        self._host.cancel(name, reason)

    def abandon(self, name: str, incarnation: int, peer: str, reason: str) -> None:
        """A peer was lost: what it would still have sent for a stream is taken as ended."""
        with self._lock:
            known = self._streams.get(name)
            if known is None or known.number != incarnation:
                return
            missing = [
                index
                for index in self._incoming
                if known.routes.get(self._stage_of(self._plan.links[index])) == peer
                and index not in known.ended_links
            ]
            known.ended_links.update(missing)
        self._host.cancel(name, reason)
        for index in missing:
            end = Packet(name, 0.0, 0, None, End(reason), time.monotonic())
            self._incoming[index].end(name, end, -inf)

    def disconnect(self, name: str) -> None:
        """Forget a lost peer; what is for it is dropped."""
        with self._lock:
            courier, outlet = self._couriers.pop(name, None), self._outlets.pop(name, None)
        if outlet is not None:
            outlet.close()
        if courier is not None:
            courier.hang_up()
        if courier is not None and courier.thread is not threading.current_thread():
            courier.thread.join(1.0)

    def receive(self, sender: str, *chunks: bytes) -> None:
        """Take in what a peer sent as a call."""
        try:
            self.take_in(sender, unpack(chunks))
        except Exception as error:
            self._failed(error)

    def take_in(self, sender: str, batch: Batch) -> None:
        """Take in what a peer sent. Never waits."""
        outlet = self._outlets.get(sender)
        if outlet is not None and batch.credit:
            outlet.take_credit(batch.credit.items())
        self._take(batch)

    def collect(self, *credit: bytes) -> list[bytes]:
        """What is for the driver; waits a second for it. Its credit comes with the question."""
        outlet = self._outlets[DRIVER]
        if credit:
            outlet.take_credit(unpack(credit).credit.items())
        batch = outlet.take(IDLE)
        if not batch:
            return []
        try:
            return pack(batch)
        except GraphError as error:
            return pack(Batch([("failed", portable(error))]))

    def metrics(self) -> RunMetrics:
        """Counters of the stages here."""
        dropped = {
            edge.name: counters.snapshot()
            for link, counters in self._entries.items()
            for edge in link.edges
        }
        before = dict(self._streams)
        known = merged([self._host.metrics(), RunMetrics({}, dropped, {}, 0)])
        streams = {
            name: replace(stream, incarnation=before[name].number)
            for name, stream in known.streams.items()
            if name in before and self._streams.get(name) is before[name]
        }
        return replace(known, streams=streams, process=process_metrics())

    def load(self) -> Load:
        """What this process uses."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        held = process_metrics() or ProcessMetrics(0, 0, 0)
        return Load(
            os.getpid(),
            usage.ru_utime + usage.ru_stime,
            held.resident,
            held.threads,
            held.open_files,
            len(self._streams),
        )

    def export_states(self) -> dict[StateRef, bytes]:
        """All keyed states of the stages here."""
        return self._host.export_states()

    def close(self, seconds: float) -> list[str]:
        """Stop within some seconds; gives what did not, in words."""
        with self._lock:
            couriers = list(self._couriers.values())
            outlets = list(self._outlets.values())
        for outlet in outlets:
            outlet.close()
        stuck = self._host.shutdown(time.monotonic() + seconds)
        for courier in couriers:
            courier.hang_up()
            courier.thread.join(1.0)
        if self._office is not None:
            self._office.close()
        return stuck

    # What the stages here give.

    def route(self, target: Target, stage: str, stream: str) -> tuple[Outlet | None, Lane]:
        """The way to whoever has a stage of a stream (empty: a tap), and the lane there."""
        known = self._streams.get(stream)
        if known is None:
            return None, Lane(target, stream, -1)
        peer = known.routes.get(stage, DRIVER)
        return self._outlets.get(peer), Lane(target, stream, known.number)

    def _left(self, link: int, stream: str, count: int) -> None:
        outlet, lane = self.route(link, self._stage_of(self._plan.links[link]), stream)
        if outlet is not None:
            outlet.give_credit(lane, count)

    def _take(self, batch: Batch) -> None:
        for message in batch.messages:
            kind, lane = message[:2]
            known = self._streams.get(lane.stream)
            if known is None or known.number != lane.incarnation:
                continue  # Said by an earlier incarnation: nobody waits for it.
            if lane.target in known.ended_links:
                continue
            if kind == "send":
                _, _, packets, ends, floor = message
                self._incoming[lane.target].send(lane.stream, packets, ends, floor)
            else:
                _, _, packet, floor = message
                known.ended_links.add(lane.target)
                self._incoming[lane.target].end(lane.stream, packet, floor)
        for lane, mark in batch.marks.items():
            known = self._streams.get(lane.stream)
            if known is None or known.number != lane.incarnation:
                continue
            if isinstance(lane.target, int) and lane.target not in known.ended_links:
                self._incoming[lane.target].advance(lane.stream, mark)

    def _stream_ended(self, name: str, reason: str, packets: int) -> None:
        with self._lock:
            known = self._streams.pop(name, None)
            outlets = list(self._outlets.values())
        for outlet in outlets:
            outlet.forget(name)
        number = -1 if known is None else known.number
        self._outlets[DRIVER].tell("ended", name, number, reason, packets)

    def peer_failed(self, name: str, error: Exception) -> None:
        """A call to a peer failed; the driver decides what becomes of it."""
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        self._outlets[DRIVER].tell("unreachable", name, why)


class _PeerExit:
    """Leads out of an actor by one link or tap, to whichever peer has the stream."""

    def __init__(
        self, actor: StageActor, target: Target, stage: str, mark_period: float = 0.0
    ) -> None:
        self._actor = actor
        self._target = target
        self._stage = stage
        self._pace = MarkPace(mark_period)
        self.dropped: EdgeCounters | None = None
        """Where this is the entry of a realtime run: a camera must not be made to wait."""

    def send(self, stream: str, packets: Sequence[Packet], ends: int, floor: float) -> None:
        """See :class:`Exit`."""
        outlet, lane = self._actor.route(self._target, self._stage, stream)
        if outlet is None:
            return
        if self.dropped is None or ends:
            outlet.send(lane, packets, ends, floor)
            return
        lost = outlet.offer(lane, packets, floor)
        if lost:
            self.dropped.packets_in += lost
            self.dropped.drop("full", lost)

    def end(self, stream: str, end: Packet, floor: float) -> None:
        """See :class:`Exit`."""
        self._pace.forget(stream)
        if not self._stage:
            return
        outlet, lane = self._actor.route(self._target, self._stage, stream)
        if outlet is not None:
            outlet.end(lane, end, floor)

    def advance(self, stream: str, mark: float) -> None:
        """See :class:`MarkExit`."""
        outlet, lane = self._actor.route(self._target, self._stage, stream)
        if outlet is not None and self._pace.is_due(stream, mark):
            outlet.advance(lane, mark)


class _Courier:
    """The thread that carries what an outlet holds to one peer."""

    def __init__(
        self,
        actor: StageActor,
        name: str,
        handle: Any,
        address: Address | None,
        outlet: Outlet,
    ) -> None:
        self._actor = actor
        self._name = name
        self._handle = handle
        self._address = address
        self._outlet = outlet
        self._sender = actor._job.name
        self._line: Line | None = None
        self.thread = threading.Thread(target=self._run, name=f"padflow to {name}", daemon=True)

    def hang_up(self) -> None:
        """Let the thread not wait for a peer that is gone."""
        if self._line is not None:
            self._line.close()

    def _run(self) -> None:
        try:
            if self._address is None:
                self._send_calls()
            else:
                self._line = Line(self._address, self._actor._job.secret, self._sender)
                for batch in self._batches():
                    self._line.send(batch)
        except GraphError as error:
            self._actor._failed(error)
        except Exception as error:
            # The peer is gone, or Ray is: either way nothing can be sent there any more.
            self._outlet.close()
            self._actor.peer_failed(self._name, error)
        finally:
            self.hang_up()

    def _batches(self) -> Iterator[Batch]:
        while (batch := self._outlet.take(IDLE)) is not None:
            if batch:
                yield batch

    def _send_calls(self) -> None:
        import ray

        unanswered: deque[Any] = deque()
        for batch in self._batches():
            unanswered.append(self._handle.receive.remote(self._sender, *pack(batch)))
            if len(unanswered) >= IN_FLIGHT:
                ray.get(unanswered.popleft())


def portable(error: Exception) -> GraphError:
    """An error that pickles, whatever it was."""
    if isinstance(error, GraphError):
        return type(error)(str(error))
    return NodeFailed(f"{type(error).__name__}: {error}")
