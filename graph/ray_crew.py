"""Carries a run out on Ray: places streams on actors, hears them, and makes losses good.

One supervisor thread decides everything about who runs what; one collector thread an actor fetches
what the actor has for the driver. A stream lives in *incarnations*: if an actor that has a part of
it is lost, what is left of the incarnation is ended everywhere (wills are opened, sinks see an
end), and only then the stream begins anew on other actors, in a new epoch. So no state, verdict or
late packet of one incarnation can reach the next.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from .errors import GraphError, NodeFailed, WorkerLost
from .host import Host, HostSetting, LinkExit
from .metrics import Notice, RunMetrics, StreamMetrics, merged, process_metrics
from .node import StreamSpec
from .outlet import Batch, Lane
from .packet import End, Packet
from .plan import Plan, topological
from .ray_actor import DRIVER, ActorJob, Load, StageActor
from .ray_options import Layout, RayOptions
from .state import ExportedStates, StateRef
from .wills import Wills
from .wire import pack, unpack

ANSWER_TIMEOUT = 20.0
"""Seconds that an actor has to answer what the supervisor asks."""
LOSS_MEMORY = 60.0
"""Seconds for which a loss counts against restarts."""
LONGEST_DELAY = 30.0


class RemoteStages(StageActor):
    """Its methods in groups of threads, so that none waits for another kind."""

    @ray.method(concurrency_group="data")  # type: ignore[untyped-decorator]
    def receive(self, sender: str, *chunks: bytes) -> None:
        """See :class:`StageActor`."""
        super().receive(sender, *chunks)

    @ray.method(concurrency_group="wait")  # type: ignore[untyped-decorator]
    def collect(self, *credit: bytes) -> list[bytes]:
        """See :class:`StageActor`."""
        return super().collect(*credit)


_REMOTE = ray.remote(num_cpus=0, max_concurrency=2, concurrency_groups={"data": 1, "wait": 1})(
    RemoteStages
)


@dataclass(slots=True)
class Member:
    """The driver's view of one actor."""

    name: str
    kind: str
    """``worker`` or ``engine``."""
    handle: Any
    streams: set[str] = field(default_factory=set)
    alive: bool = True
    collector: threading.Thread | None = None
    credit: dict[Lane, int] = field(default_factory=dict)
    """To be told with the next question."""
    metrics: RunMetrics = field(default_factory=lambda: RunMetrics({}, {}, {}, 0))


@dataclass(slots=True)
class Placed:
    """One stream and where it is."""

    spec: StreamSpec
    """As it was added."""
    states: ExportedStates | None
    incarnation: int = -1
    worker: str = ""
    engine: str = ""
    left: set[str] = field(default_factory=set)
    """Parts of this incarnation that have not ended: actors, and ``sinks``."""
    ended_links: set[int] = field(default_factory=set)
    reason: str = ""
    """Why it ends, where it was asked to."""
    again: str = ""
    """Why it begins anew once all parts have ended; empty: it does not."""
    waits: bool = True
    """It has no actors."""
    time: float = -inf
    """Capture time of the newest packet that came back."""
    epoch: int = -1
    """Newest epoch that came back."""
    key: int = 0
    packets: int = 0
    packets_before: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=16))

    def next_spec(self) -> StreamSpec:
        """What the next incarnation is told."""
        if not self.again:
            return self.spec
        return replace(
            self.spec,
            epoch=max(self.epoch, self.spec.epoch) + 1,
            first_key=max(self.key + 1, self.spec.first_key),
            resume_at=max(self.time, self.spec.resume_at),
            taken_up=self.again,
        )


class RayCrew:
    """The actors of a run; see the module."""

    def __init__(
        self,
        plan: Plan,
        setting: HostSetting,
        options: RayOptions,
        layout: Layout,
    ) -> None:
        self._plan = plan
        self._setting = setting
        self._options = options
        self.layout = layout
        self._lock = threading.RLock()
        self._members: dict[str, Member] = {}
        self._made = {"worker": 0, "engine": 0}
        self._streams: dict[str, Placed] = {}
        self._jobs: queue.PriorityQueue[tuple[float, int, Callable[[], None]]] = (
            queue.PriorityQueue()
        )
        self._job_number = 0
        self._stopping = threading.Event()
        self._losses: deque[float] = deque(maxlen=64)
        self.losses = 0
        """Actors lost so far."""
        self._gone = RunMetrics({}, {}, {}, 0)
        self._wills = Wills([spec.name for spec in topological(plan.graph)])
        single = [stage for stage in plan.stages if stage.scope == "single"]
        self._sinks: Host | None = None
        self._sink_links: dict[int, LinkExit] = {}
        self._places = {
            index: (link.producer, link.output) for index, link in enumerate(plan.links)
        }
        if single:
            within = replace(setting, taps={}, stream_ended=self._sinks_ended, left=self._left_sink)
            self._sinks = Host(plan, single, within)
            names = {stage.name for stage in single}
            self._sink_links = {
                index: self._sinks.link_exit(link)
                for index, link in enumerate(plan.links)
                if link.stage in names
            }
        self._supervisor = threading.Thread(
            target=self._supervise, name="padflow ray supervisor", daemon=True
        )

    # ---- start and stop

    def start(self) -> None:
        """Make all actors, side by side, and wait until each has opened its nodes.

        Raises:
            NodeFailed: A node could not be opened.
            WorkerLost: An actor was lost or not ready in time.
        """
        if self._sinks is not None:
            self._sinks.start()
        try:
            members = [self._make("engine") for _ in range(self.layout.engines)]
            members += [self._make("worker") for _ in range(self.layout.workers)]
            started = [(member, member.handle.start.remote()) for member in members]
            for member, answer in started:
                self._await_start(member, answer)
            for member in members:
                self._introduce(member)
        except BaseException:
            self._kill_all()
            if self._sinks is not None:
                self._sinks.shutdown(time.monotonic() + self._setting.options.stop_timeout)
            raise
        self._supervisor.start()

    def _make(self, kind: str) -> Member:
        layout = self.layout
        with self._lock:
            name = f"{kind}-{self._made[kind]}"
            self._made[kind] += 1
        of_worker = kind == "worker"
        job = ActorJob(
            name,
            self._plan.graph,
            layout.worker_stages if of_worker else layout.engine_stages,
            self._setting.mode,
            self._setting.options,
            self._options.window,
            tuple(
                place
                for place in self._setting.taps
                if self._plan.stage_of[place[0]].name
                in (layout.worker_stages if of_worker else layout.engine_stages)
            ),
        )
        handle = _REMOTE.options(
            num_cpus=layout.worker_cpu if of_worker else layout.engine_cpu,
            num_gpus=0 if of_worker else layout.engine_gpu,
            max_restarts=0,
            max_task_retries=0,
        ).remote(job)
        member = Member(name, kind, handle)
        with self._lock:
            self._members[name] = member
        return member

    def _await_start(self, member: Member, answer: Any) -> None:
        limit = self._options.start_timeout
        try:
            ray.get(answer, timeout=limit)
        except GetTimeoutError as error:
            raise WorkerLost(
                f"{member.name}: expected it to be ready within {limit:g} s, found it is not; "
                "see whether the cluster has the room that it was promised"
            ) from error
        except RayError as error:
            raise _told(error, member.name) from error

    def _introduce(self, member: Member) -> None:
        """Let a new actor and those of the other kind know each other; hear it."""
        with self._lock:
            others = [m for m in self._members.values() if m.alive and m.kind != member.kind]
        for other in others:
            self._ask(member, "connect", other.name, other.handle)
            self._ask(other, "connect", member.name, member.handle)
        member.collector = threading.Thread(
            target=self._collect, args=(member,), name=f"padflow from {member.name}", daemon=True
        )
        member.collector.start()

    def release(self) -> None:
        """See :class:`Crew`."""
        if self._sinks is not None:
            self._sinks.release()

    def shutdown(self, deadline: float) -> list[str]:
        """Stop all actors by a deadline; those that do not are killed.

        Returns:
            What did not stop, in words.
        """
        self._stopping.set()
        self._later(0.0, lambda: None)
        if self._supervisor.ident is not None:
            self._supervisor.join(max(0.1, deadline - time.monotonic()))
        self._drain_metrics()
        stuck: list[str] = []
        left = max(0.3, deadline - time.monotonic())
        with self._lock:
            members = [m for m in self._members.values() if m.alive]
        closing = [(m, m.handle.close.remote(left * 0.8)) for m in members]
        for member, answer in closing:
            try:
                stuck += ray.get(answer, timeout=max(0.2, deadline - time.monotonic() + 0.5))
            except GetTimeoutError:
                stuck.append(member.name)
            except RayError:
                continue
        self._kill_all()
        for member in members:
            if member.collector is not None:
                member.collector.join(2.0)
        if self._sinks is not None:
            stuck += self._sinks.shutdown(max(deadline, time.monotonic() + 0.5))
        return stuck

    def _kill_all(self) -> None:
        self._stopping.set()
        with self._lock:
            members = list(self._members.values())
        for member in members:
            member.alive = False
            with suppress(RayError):
                ray.kill(member.handle, no_restart=True)

    # ---- streams

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None = None) -> None:
        """Place a stream on the worker that has fewest.

        Raises:
            GraphError: All workers are full.
        """
        most = self._options.streams_per_worker * self.layout.workers
        with self._lock:
            if len(self._streams) >= most:
                raise GraphError(
                    f"stream '{spec.name}': expected room for it, found all {most} places taken "
                    f"({self.layout.workers} workers of {self._options.streams_per_worker} "
                    "streams); remove one, or run more workers"
                )
            placed = self._streams[spec.name] = Placed(spec, states)
        done = threading.Event()
        problem: list[GraphError] = []

        def begin() -> None:
            try:
                self._begin(placed)
            except GraphError as error:
                problem.append(error)
            finally:
                done.set()

        self._later(0.0, begin)
        while not done.wait(0.2):
            if self._stopping.is_set():
                return
        if problem:
            with self._lock:
                self._streams.pop(spec.name, None)
            raise problem[0]

    def cancel(self, name: str, reason: str) -> None:
        """See :class:`Crew`."""
        self._later(0.0, lambda: self._cancel(name, reason))

    def _cancel(self, name: str, reason: str) -> None:
        with self._lock:
            placed = self._streams.get(name)
            if placed is None:
                return
            placed.reason = placed.reason or reason
            placed.again = ""
            worker = self._members.get(placed.worker)
            waits = placed.waits
        if waits:
            self._end(name, placed)
        elif worker is not None and worker.alive:
            self._ask(worker, "cancel", name, reason)

    def last_seen(self, name: str) -> tuple[int, int]:
        """Newest epoch and highest track number of a stream that came back."""
        with self._lock:
            placed = self._streams.get(name)
            return (-1, 0) if placed is None else (placed.epoch, placed.key)

    def _begin(self, placed: Placed) -> None:
        """Give a stream to actors; it waits where there are none."""
        name = placed.spec.name
        with self._lock:
            if self._stopping.is_set() or self._streams.get(name) is not placed:
                return
            worker = self._least_loaded("worker")
            engine = self._least_loaded("engine") if self.layout.engines else None
            if worker is None or (self.layout.engines and engine is None):
                return  # The next actor that is ready takes it.
            spec = placed.next_spec()
            placed.incarnation += 1
            placed.waits, placed.again = False, ""
            placed.worker, placed.engine = worker.name, engine.name if engine else ""
            parts = [m for m in (engine, worker) if m is not None]
            placed.left = {m.name for m in parts}
            placed.ended_links = set()
            placed.packets_before += placed.packets
            placed.packets = 0
            for member in parts:
                member.streams.add(name)
            if self._sinks is not None:
                placed.left.add("sinks")
            states, placed.states = placed.states, None
        if self._sinks is not None:
            self._sinks.add_stream(spec, states)
        routes = dict.fromkeys(self.layout.engine_stages, placed.engine)
        routes |= dict.fromkeys(self.layout.worker_stages, placed.worker)
        if engine is not None:
            self._ask(engine, "add_stream", spec, placed.incarnation, routes, states)
        self._ask(worker, "add_stream", spec, placed.incarnation, routes, states)
        if spec.taken_up:
            self._notice(
                name,
                f"{spec.taken_up}: the stream goes on in {worker.name}, epoch {spec.epoch}",
            )

    def _least_loaded(self, kind: str) -> Member | None:
        alive = [m for m in self._members.values() if m.alive and m.kind == kind and m.collector]
        return min(alive, key=lambda m: len(m.streams), default=None)

    def _part_over(self, placed: Placed, part: str, reason: str, packets: int = 0) -> None:
        """One part of a stream's incarnation has ended."""
        name = placed.spec.name
        with self._lock:
            placed.left.discard(part)
            placed.packets = max(placed.packets, packets)
            member = self._members.get(part)
            if member is not None:
                member.streams.discard(name)
            if not placed.again and reason not in ("", "end"):
                placed.reason = placed.reason or reason
            if placed.left:
                return
        self._later(0.0, lambda: self._all_over(name, placed))

    def _all_over(self, name: str, placed: Placed) -> None:
        with self._lock:
            if self._streams.get(name) is not placed or placed.left or placed.waits:
                return
            placed.waits = True
            again = bool(placed.again) and not placed.reason
            delay = self._delay(placed.losses)
        if not again:
            self._end(name, placed)
        elif delay > 0:
            self._later(delay, lambda: self._begin(placed))
        else:
            self._begin(placed)

    def _end(self, name: str, placed: Placed) -> None:
        with self._lock:
            if self._streams.get(name) is placed:
                del self._streams[name]
        self._wills.forget(name)
        packets = placed.packets_before + placed.packets
        self._setting.stream_ended(name, placed.reason or "end", packets)

    def _sinks_ended(self, name: str, reason: str, packets: int) -> None:
        with self._lock:
            placed = self._streams.get(name)
        if placed is not None:
            self._part_over(placed, "sinks", "")

    # ---- hearing the actors

    def _collect(self, member: Member) -> None:
        error = ""
        while member.alive:
            with self._lock:
                credit, member.credit = member.credit, {}
            question = pack(Batch(credit=credit)) if credit else []
            try:
                answer = ray.get(
                    member.handle.collect.remote(*question), timeout=self._options.silence
                )
            except GetTimeoutError:
                error = f"silent for {self._options.silence:g} s"
                break
            except RayActorError as death:
                error = _why(death)
                break
            except RayError as other:
                error = _why(other)
                break
            except Exception as other:  # Ray was shut down under us.
                error = f"{type(other).__name__}: {other}"
                break
            if not answer:
                continue
            try:
                for message in self._heard(member, unpack(answer)):
                    self._obey(member, message)
            except Exception as failure:
                self._setting.failed(failure)
        if member.alive and not self._stopping.is_set():
            self._later(0.0, lambda: self._lost(member, error))

    def _heard(self, member: Member, batch: Batch) -> list[tuple[Any, ...]]:
        """Hand packets and marks on; give what else was told."""
        told = []
        for message in batch.messages:
            if message[0] == "send":
                self._take_packets(member, *message[1:])
            elif message[0] == "end":
                self._take_end(member, *message[1:])
            else:
                told.append(message)
        for lane, mark in batch.marks.items():
            if self._placed(member, lane) is not None and isinstance(lane.target, int):
                self._sink_links[lane.target].advance(lane.stream, mark)
        return told

    def _placed(self, member: Member, lane: Lane) -> Placed | None:
        """The stream of a lane, if this incarnation of it is what runs."""
        placed = self._streams.get(lane.stream)
        if placed is None or placed.incarnation != lane.incarnation:
            return None
        return placed if member.name in (placed.worker, placed.engine) else None

    def _take_packets(
        self, member: Member, lane: Lane, packets: list[Packet], ends: int, floor: float
    ) -> None:
        placed = self._placed(member, lane)
        if placed is None or lane.target in placed.ended_links:
            return
        last = packets[-1]
        placed.time, placed.epoch = max(placed.time, last.time), max(placed.epoch, last.epoch)
        placed.key = max([placed.key, *(p.key for p in packets if p.key is not None)])
        if isinstance(lane.target, int):
            self._wills.note(self._places[lane.target], packets)
            self._sink_links[lane.target].send(lane.stream, packets, ends, floor)
            return
        self._wills.note(lane.target, packets)
        self._setting.taps[lane.target].send(lane.stream, packets, ends, floor)
        self._give_credit(member, lane, len(packets))

    def _give_credit(self, member: Member, lane: Lane, count: int) -> None:
        """Let credit go with the next question, or at once where somebody may wait for it."""
        with self._lock:
            credit = member.credit
            credit[lane] = credit.get(lane, 0) + count
            if credit[lane] * 2 < self._setting.options.lane_capacity:
                return
            member.credit = {}
        if member.alive:
            member.handle.receive.remote(DRIVER, *pack(Batch(credit=credit)))

    def _take_end(self, member: Member, lane: Lane, packet: Packet, floor: float) -> None:
        placed = self._placed(member, lane)
        if placed is None or lane.target in placed.ended_links:
            return
        assert isinstance(lane.target, int)
        placed.ended_links.add(lane.target)
        self._sink_links[lane.target].end(lane.stream, packet, floor)

    def _left_sink(self, link: Any, stream: str, count: int) -> None:
        with self._lock:
            placed = self._streams.get(stream)
            if placed is None:
                return
            stage = self._plan.stage_of[link.producer].name
            engine = stage in self.layout.engine_stages
            member = self._members.get(placed.engine if engine else placed.worker)
            lane = Lane(self._plan.links.index(link), stream, placed.incarnation)
        if member is not None:
            self._give_credit(member, lane, count)

    def _obey(self, member: Member, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == "notice":
            self._setting.notice(message[1])
        elif kind == "failed":
            self._setting.failed(message[1])
        elif kind == "ended":
            _, name, incarnation, reason, packets = message
            placed = self._streams.get(name)
            if placed is not None and placed.incarnation == incarnation:
                self._part_over(placed, member.name, reason, packets)
        elif kind == "unreachable":
            other = self._members.get(message[1])
            if other is not None and other.alive:
                self._later(0.0, lambda: self._lost(other, message[2]))

    # ---- losses

    def _lost(self, member: Member, why: str) -> None:
        """End what a lost actor had part in, so that it begins anew; replace the actor."""
        with self._lock:
            if not member.alive or self._stopping.is_set():
                return
            member.alive = False
            del self._members[member.name]
            self._gone = merged([self._gone, replace(member.metrics, streams={})])
            self.losses += 1
            now = time.monotonic()
            self._losses.append(now)
            having = [p for p in self._streams.values() if member.name in (p.worker, p.engine)]
            having = [p for p in having if not p.waits]
            names = [p.spec.name for p in having]
        self._notice(
            "",
            f"{member.name} was lost ({why}); its streams begin anew: {', '.join(names) or 'none'}",
        )
        with suppress(RayError):
            ray.kill(member.handle, no_restart=True)
        for other in self._others(member):
            other.handle.disconnect.remote(member.name)
        for placed in having:
            self._give_up(placed, member, now)
        delay = self._delay(self._losses, self._options.most_losses)
        if delay:
            self._notice(
                "", f"{len(self._losses)} losses: the next {member.kind} is made in {delay:.0f} s"
            )
        self._later(delay, lambda: self._replace(member.kind))

    def _others(self, member: Member) -> list[Member]:
        with self._lock:
            return [m for m in self._members.values() if m.alive and m.kind != member.kind]

    def _give_up(self, placed: Placed, member: Member, now: float) -> None:
        """End everywhere what is left of a stream's incarnation."""
        name, reason = placed.spec.name, f"{member.kind}_lost"
        known = member.metrics.streams.get(name)
        with self._lock:
            if known is not None:  # What was told of it must not be told to be less.
                placed.packets = max(placed.packets, known.packets)
            if member.kind == "worker":
                placed.losses.append(now)
            if not placed.reason:
                placed.again = reason
            rest = [
                m
                for m in (self._members.get(placed.worker), self._members.get(placed.engine))
                if m is not None and m.alive
            ]
        for other in rest:
            other.handle.abandon.remote(name, placed.incarnation, member.name, reason)
        if member.kind == "worker":
            self._open_wills(placed, reason)
        self._end_sinks(placed, member, reason)
        self._part_over(placed, member.name, "")

    def _open_wills(self, placed: Placed, reason: str) -> None:
        for place, packet in self._wills.open(placed.spec.name, reason):
            for index, link in self._sink_links.items():
                if self._places[index] == place and index not in placed.ended_links:
                    link.send(packet.stream, [packet], 0, -inf)
            tap = self._setting.taps.get(place)
            if tap is not None:
                tap.send(packet.stream, [packet], 0, -inf)

    def _end_sinks(self, placed: Placed, member: Member, reason: str) -> None:
        """End, for the sinks, what the lost actor would still have sent."""
        stages = self.layout.engine_stages if member.kind == "engine" else self.layout.worker_stages
        name = placed.spec.name
        time_, epoch = max(placed.time, 0.0), max(placed.epoch, 0)
        for index, link in self._sink_links.items():
            producer = self._plan.stage_of[self._plan.links[index].producer].name
            if producer in stages and index not in placed.ended_links:
                placed.ended_links.add(index)
                end = Packet(name, time_, epoch, None, End(reason), time.monotonic())
                link.end(name, end, -inf)

    def _replace(self, kind: str) -> None:
        """Make a new actor in a thread, so that the supervisor goes on; streams may wait for it."""
        if self._stopping.is_set():
            return

        def make() -> None:
            try:
                member = self._make(kind)
                self._await_start(member, member.handle.start.remote())
            except Exception as error:
                if not self._stopping.is_set():
                    self._notice("", f"a new {kind} could not be made: {error}")
                    with self._lock:
                        self._losses.append(time.monotonic())
                        self._members = {n: m for n, m in self._members.items() if m is not member}
                    delay = max(1.0, self._delay(self._losses, self._options.most_losses))
                    self._later(delay, lambda: self._replace(kind))
                return
            self._later(0.0, lambda: self._joined(member))

        threading.Thread(target=make, name=f"padflow new {kind}", daemon=True).start()

    def _joined(self, member: Member) -> None:
        if self._stopping.is_set():
            with suppress(RayError):
                ray.kill(member.handle, no_restart=True)
            return
        self._introduce(member)
        self._notice("", f"{member.name} is ready")
        with self._lock:
            waiting = [p for p in self._streams.values() if p.waits]
        for placed in waiting:
            self._begin(placed)

    def _delay(self, losses: deque[float], allowed: int = 2) -> float:
        """Seconds to wait after so many losses in the last minute: none at first, then doubling."""
        recent = sum(1 for moment in losses if time.monotonic() - moment < LOSS_MEMORY)
        if recent <= allowed:
            return 0.0
        return float(min(LONGEST_DELAY, 2.0 ** (recent - allowed - 1)))

    # ---- the supervisor

    def _later(self, delay: float, job: Callable[[], None]) -> None:
        with self._lock:
            self._job_number += 1
            number = self._job_number
        self._jobs.put((time.monotonic() + delay if delay else 0.0, number, job))

    def _supervise(self) -> None:
        while True:
            due, number, job = self._jobs.get()
            if self._stopping.is_set():
                return
            wait = due - time.monotonic()
            if wait > 0:
                # Something else may become due first.
                self._jobs.put((due, number, job))
                self._stopping.wait(min(wait, 0.05))
                continue
            try:
                job()
            except Exception as error:
                self._setting.failed(error)

    def _ask(self, member: Member, method: str, *arguments: Any) -> Any:
        """Ask an actor and wait; one that does not answer is lost, and None is given."""
        try:
            return ray.get(
                getattr(member.handle, method).remote(*arguments), timeout=ANSWER_TIMEOUT
            )
        except (GetTimeoutError, RayActorError) as error:
            why = _why(error)
            self._later(0.0, lambda: self._lost(member, why))
            return None
        except RayError as error:
            raise _told(error, member.name) from error

    def _notice(self, stream: str, message: str) -> None:
        self._setting.notice(Notice("", stream, message))

    # ---- what is known of them

    def actor_metrics(self) -> dict[str, RunMetrics]:
        """Counters by actor; of one that does not answer the last that it gave."""
        with self._lock:
            members = list(self._members.values())
        if not self._stopping.is_set():
            asked = [(m, m.handle.metrics.remote()) for m in members if m.alive and m.collector]
            for member, answer in asked:
                with suppress(RayError, GetTimeoutError):
                    member.metrics = ray.get(answer, timeout=2.0)
        # Sources run in workers: an engine knows of streams, not what they gave.
        of_actors = {
            m.name: m.metrics if m.kind == "worker" else replace(m.metrics, streams={})
            for m in members
        }
        if self._sinks is not None:
            of_actors[DRIVER] = replace(
                self._sinks.metrics(), streams={}, process=process_metrics()
            )
        return of_actors

    def _drain_metrics(self) -> None:
        """The last counters of all, before they close."""
        with self._lock:
            members = [m for m in self._members.values() if m.alive]
        for member in members:
            with suppress(RayError, GetTimeoutError):
                member.metrics = ray.get(member.handle.metrics.remote(), timeout=1.0)

    def metrics(self) -> RunMetrics:
        """See :class:`Crew`."""
        with self._lock:
            asked = {name: placed.incarnation for name, placed in self._streams.items()}
        together = merged([self._gone, *self.actor_metrics().values()])
        with self._lock:
            streams = {}
            for name, placed in self._streams.items():
                known = together.streams.get(name, StreamMetrics())
                # What an earlier incarnation gave is in ``packets_before`` already.
                told = known.packets if asked.get(name) == placed.incarnation else 0
                packets = placed.packets_before + max(placed.packets, told)
                worker = int(placed.worker.rpartition("-")[2]) if placed.worker else None
                streams[name] = replace(known, packets=packets, worker=worker)
        return replace(together, streams=streams)

    def loads(self) -> dict[str, Load]:
        """What each actor's process uses."""
        with self._lock:
            members = [m for m in self._members.values() if m.alive and m.collector]
        found: dict[str, Load] = {}
        for member in members:
            with suppress(RayError, GetTimeoutError):
                found[member.name] = ray.get(member.handle.load.remote(), timeout=5.0)
        return found

    def placement(self) -> Mapping[str, tuple[str, str]]:
        """Worker and engine by stream; empty names while it waits for them."""
        with self._lock:
            return {
                name: ("", "") if placed.waits else (placed.worker, placed.engine)
                for name, placed in self._streams.items()
            }

    def export_states(self) -> dict[StateRef, bytes]:
        """See :class:`Crew`."""
        exported: dict[StateRef, bytes] = {}
        with self._lock:
            members = [m for m in self._members.values() if m.alive]
        for member in members:
            exported.update(self._ask(member, "export_states") or {})
        if self._sinks is not None:
            exported.update(self._sinks.export_states())
        return exported


def _why(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _told(error: RayError, name: str) -> GraphError:
    """What an actor raised, as itself."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, GraphError):
        return type(cause)(str(cause))
    if isinstance(error, RayActorError):
        return WorkerLost(f"{name}: expected it to start, found it ended: {_why(error)}")
    return NodeFailed(f"{name}: {_why(error)}")
