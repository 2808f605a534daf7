"""Carries a run out on Ray: places streams on actors and makes losses good.

A supervisor thread decides everything about who runs what. A stream lives in *incarnations*: if an
actor that has a part of it is lost, what is left of the incarnation is ended everywhere (wills are
opened, sinks see an end), and only then the stream begins anew on other actors, in a new epoch. So
no state, verdict or late packet of one incarnation can reach the next.

Spares are actors that are ready and have no stream. Whoever is lost at work is followed by a spare
at once; the actor that is made in its place becomes the new spare, so that nobody moves again.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import GraphError, Refused
from .host import HostSetting
from .metrics import (
    Notice,
    RunMetrics,
    StreamMetrics,
    merged,
    of_lost_process,
    process_metrics,
)
from .node import StreamSpec
from .outlet import Batch, Lane
from .packet import Packet
from .plan import Plan
from .ray_actor import DRIVER, PAUSED, Load
from .ray_members import Member, Members
from .ray_options import Layout, RayOptions
from .ray_placed import Placed
from .ray_return import Return, last_packet
from .state import ExportedStates, StateRef
from .supervisor import Supervisor

LOSS_MEMORY = 60.0
"""Seconds for which a loss counts against restarts."""
LONGEST_DELAY = 30.0
"""Longest time in seconds that a restart waits."""
SINKS = "sinks"
"""Name of the part of a stream that the driver has."""


class RayCrew:
    """The actors of a run and its streams; see the module."""

    def __init__(
        self, plan: Plan, setting: HostSetting, options: RayOptions, layout: Layout
    ) -> None:
        self._plan = plan
        self._setting = setting
        self._options = options
        self.layout = layout
        self._lock = threading.RLock()
        self._streams: dict[str, Placed] = {}
        self._paused: dict[str, tuple[int, int]] = {}
        self._losses: deque[float] = deque(maxlen=64)
        self.losses = 0
        """Actors lost so far."""
        self._gone = RunMetrics({}, {}, {}, 0)
        self._supervisor = Supervisor("padflow ray supervisor", setting.failed)
        self._members = Members(plan, setting, options, layout, self._heard, self._unreachable)
        self._return = Return(plan, setting, self._left_sink, self._sinks_ended)

    # ---- start and stop

    def start(self) -> None:
        """Make all actors, side by side, and wait until each has opened its nodes.

        Raises:
            NodeFailed: A node could not be opened.
            WorkerLost: An actor was lost or not ready in time.
        """
        try:
            self._return.start()
            members = [self._members.make(*actor) for actor in self.layout.actors()]
            self._members.start(members)
        except BaseException:
            self._members.kill()
            self._return.shutdown(time.monotonic() + self._setting.options.stop_timeout)
            raise
        self._supervisor.start()

    def release(self) -> None:
        """See :class:`Crew`."""
        self._return.release()

    def shutdown(self, deadline: float) -> list[str]:
        """Stop all actors by a deadline; those that do not are killed.

        Returns:
            What did not stop, in words.
        """
        self._supervisor.stop(max(0.1, deadline - time.monotonic()))
        stuck = self._members.close(deadline)
        return stuck + self._return.shutdown(max(deadline, time.monotonic() + 0.5))

    # ---- streams

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None = None) -> None:
        """Place a stream on the worker that has fewest.

        Raises:
            GraphError: All workers are full.
        """
        most = self._options.streams_per_worker * self.layout.workers
        with self._lock:
            if len(self._streams) >= most:
                raise Refused(
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

        self._supervisor.later(0.0, begin)
        while not done.wait(0.2):
            if self._supervisor.over:
                return
        if problem:
            with self._lock:
                self._streams.pop(spec.name, None)
            raise problem[0]

    def cancel(self, name: str, reason: str) -> None:
        """See :class:`Crew`."""
        self._supervisor.later(0.0, lambda: self._cancel(name, reason))

    def _cancel(self, name: str, reason: str) -> None:
        with self._lock:
            placed = self._streams.get(name)
            if placed is None:
                return
            placed.reason = placed.reason or reason
            placed.again = ""
            worker = self._members.find(placed.worker)
            waits = placed.waits
        if waits:
            self._end(name, placed)
        elif worker is not None:
            self._members.ask(worker, "cancel", name, reason)

    def take_paused(self, name: str) -> tuple[int, int]:
        """Newest epoch and highest track number of a paused stream; they are forgotten here."""
        with self._lock:
            return self._paused.pop(name, (-1, 0))

    def _begin(self, placed: Placed) -> None:
        """Give a stream to actors; it waits where there are none."""
        name = placed.spec.name
        with self._lock:
            if self._supervisor.over or self._streams.get(name) is not placed:
                return
            if not placed.waits:
                return  # An actor that became ready meanwhile has taken it.
            worker = self._members.least_loaded("worker")
            engine = self._members.least_loaded("engine") if self.layout.engines else None
            if worker is None or (self.layout.engines and engine is None):
                return  # The next actor that is ready takes it.
            parts = [m for m in (engine, worker) if m is not None]
            spec, states = self._next_incarnation(placed, parts)
        self._return.add_stream(spec, states)
        routes = dict.fromkeys(self.layout.engine_stages, placed.engine)
        routes |= dict.fromkeys(self.layout.worker_stages, placed.worker)
        for member in parts:  # The engine first: packets may come as soon as the worker begins.
            self._members.ask(member, "add_stream", spec, placed.incarnation, routes, states)
        if spec.taken_up:
            told = f"{spec.taken_up}: the stream goes on in {worker.name}, epoch {spec.epoch}"
            self._notice(name, told)

    def _next_incarnation(
        self, placed: Placed, parts: list[Member]
    ) -> tuple[StreamSpec, ExportedStates | None]:
        spec = placed.next_spec()
        placed.incarnation += 1
        placed.waits, placed.again = False, ""
        names = {member.kind: member.name for member in parts}
        placed.worker, placed.engine = names["worker"], names.get("engine", "")
        placed.left = set(names.values()) | ({SINKS} if self._return.has_sinks else set())
        placed.ended_links = set()
        placed.packets_before += placed.packets
        placed.packets = 0
        for member in parts:
            member.streams.add(placed.spec.name)
        states, placed.states = placed.states, None
        return spec, states

    def _part_over(self, placed: Placed, part: str, reason: str, packets: int = 0) -> None:
        """One part of a stream's incarnation has ended."""
        name = placed.spec.name
        with self._lock:
            placed.left.discard(part)
            placed.packets = max(placed.packets, packets)
            member = self._members.find(part)
            if member is not None:
                member.streams.discard(name)
            if not placed.again and reason not in ("", "end"):
                placed.reason = placed.reason or reason
            if placed.left:
                return
        self._supervisor.later(0.0, lambda: self._all_over(name, placed))

    def _all_over(self, name: str, placed: Placed) -> None:
        with self._lock:
            if self._streams.get(name) is not placed or placed.left or placed.waits:
                return
            placed.waits = True
            again = bool(placed.again) and not placed.reason
            delay = _delay(placed.losses)
        if not again:
            self._end(name, placed)
        elif delay > 0:
            self._supervisor.later(delay, lambda: self._begin(placed))
        else:
            self._begin(placed)

    def _end(self, name: str, placed: Placed) -> None:
        with self._lock:
            if self._streams.get(name) is placed:
                del self._streams[name]
            if placed.reason == PAUSED:
                self._paused[name] = (placed.epoch, placed.key)
        self._return.forget(name)
        packets = placed.packets_before + placed.packets
        self._setting.stream_ended(name, placed.reason or "end", packets)

    def _sinks_ended(self, name: str) -> None:
        with self._lock:
            placed = self._streams.get(name)
        if placed is not None:
            self._part_over(placed, SINKS, "")

    # ---- what the actors say

    def _heard(self, member: Member, batch: Batch) -> None:
        """Hand packets, ends and marks on; take in what else was told."""
        told = []
        for message in batch.messages:
            if message[0] == "send":
                self._take_packets(member, *message[1:])
            elif message[0] == "end":
                self._take_end(member, *message[1:])
            else:
                told.append(message)
        for lane, mark in batch.marks.items():
            if self._placed(member, lane) is not None:
                self._return.advance(lane, mark)
        for message in told:
            self._take_word(member, message)

    def _placed(self, member: Member, lane: Lane) -> Placed | None:
        """The stream of a lane, if this incarnation of it is what runs."""
        placed = self._streams.get(lane.stream)
        if placed is None or placed.incarnation != lane.incarnation:
            return None
        if lane.target in placed.ended_links:
            return None
        return placed if member.name in (placed.worker, placed.engine) else None

    def _take_packets(
        self, member: Member, lane: Lane, packets: list[Packet], ends: int, floor: float
    ) -> None:
        placed = self._placed(member, lane)
        if placed is None:
            return
        last = packets[-1]
        placed.time, placed.epoch = max(placed.time, last.time), max(placed.epoch, last.epoch)
        placed.key = max([placed.key, *(p.key for p in packets if p.key is not None)])
        if self._return.take(lane, packets, ends, floor):
            self._members.give_credit(member, lane, len(packets))

    def _take_end(self, member: Member, lane: Lane, packet: Packet, floor: float) -> None:
        placed = self._placed(member, lane)
        if placed is not None and isinstance(lane.target, int):
            placed.ended_links.add(lane.target)
            self._return.end(lane.target, packet, floor)

    def _left_sink(self, link: int, stream: str, count: int) -> None:
        """Packets have left a sink's lane: whoever sent them may send as many more."""
        with self._lock:
            placed = self._streams.get(stream)
            if placed is None:
                return
            stage = self._plan.stage_of[self._plan.links[link].producer].name
            engine = stage in self.layout.engine_stages
            member = self._members.find(placed.engine if engine else placed.worker)
            lane = Lane(link, stream, placed.incarnation)
        if member is not None:
            self._members.give_credit(member, lane, count)

    def _take_word(self, member: Member, message: tuple[Any, ...]) -> None:
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
            other = self._members.find(message[1])
            if other is not None:
                self._unreachable(other, message[2])

    # ---- losses

    def _unreachable(self, member: Member, why: str) -> None:
        self._supervisor.later(0.0, lambda: self._lost(member, why))

    def _lost(self, member: Member, why: str) -> None:
        """End what a lost actor had part in, so that it begins anew; replace the actor."""
        if not self._members.drop(member):
            return
        now = time.monotonic()
        with self._lock:
            last = of_lost_process(replace(member.metrics, streams={}))
            self._gone = merged([self._gone, last])
            self.losses += 1
            self._losses.append(now)
            having = [
                placed
                for placed in self._streams.values()
                if member.name in (placed.worker, placed.engine) and not placed.waits
            ]
        names = ", ".join(placed.spec.name for placed in having) or "none"
        self._notice("", f"{member.name} was lost ({why}); its streams begin anew: {names}")
        for other in self._members.others(member):
            other.handle.disconnect.remote(member.name)
        if not member.spare:
            self._members.promote(member.kind)
        for placed in having:
            self._give_up(placed, member, now)
        delay = _delay(self._losses, self._options.most_losses)
        if delay:
            recent = sum(now - moment < LOSS_MEMORY for moment in self._losses)
            told = f"{recent} losses in a minute: the next {member.kind} is made in {delay:.0f} s"
            self._notice("", told)
        self._supervisor.later(delay, lambda: self._replace(member.kind, member.cpu))

    def _give_up(self, placed: Placed, member: Member, now: float) -> None:
        """End everywhere what is left of a stream's incarnation."""
        name, reason = placed.spec.name, f"{member.kind}_lost"
        with self._lock:
            placed.note_packets(member.metrics.streams.get(name))
            if member.kind == "worker":
                placed.losses.append(now)
            if not placed.reason:
                placed.again = reason
            rest = [self._members.find(part) for part in (placed.worker, placed.engine)]
        for other in rest:
            if other is not None:
                other.handle.abandon.remote(name, placed.incarnation, member.name, reason)
        lost = self.layout.worker_stages
        if member.kind == "worker":
            self._return.open_wills(name, reason, placed.ended_links)
        else:
            lost = self.layout.engine_stages
        last = last_packet(name, max(placed.time, 0.0), max(placed.epoch, 0), reason)
        self._return.end_from(lost, last, placed.ended_links)
        self._part_over(placed, member.name, "")

    def _replace(self, kind: str, cpu: float) -> None:
        """Make a new actor in a thread, so that the supervisor goes on; streams may wait for it."""

        def make() -> None:
            member = self._members.make(kind, cpu, spare=True)
            try:
                self._members.start([member])
            except Exception as error:
                self._members.drop(member)
                if self._supervisor.over:
                    return
                self._notice("", f"a new {kind} could not be made: {error}")
                self._losses.append(time.monotonic())
                delay = max(1.0, _delay(self._losses, self._options.most_losses))
                self._supervisor.later(delay, lambda: self._replace(kind, cpu))
                return
            self._supervisor.later(0.0, lambda: self._joined(member))

        if not self._supervisor.over:
            threading.Thread(target=make, name=f"padflow new {kind}", daemon=True).start()

    def _joined(self, member: Member) -> None:
        """A new actor is ready: it works where one is lacking, else it is the new spare."""
        wanted = self.layout.workers if member.kind == "worker" else self.layout.engines
        if len(self._members.working(member.kind)) < wanted:
            member.spare = False
        self._notice("", f"{member.name} is ready{' to take over' if member.spare else ''}")
        with self._lock:
            waiting = [placed for placed in self._streams.values() if placed.waits]
        for placed in waiting:
            self._begin(placed)
        if member.kind == "worker" and not member.spare and not waiting:
            self._rebalance()

    def _rebalance(self) -> None:
        """Move what a loss piled up on others to workers that have less, newest first.

        A move costs a stream its state; so only those move that lost it a moment ago, and only
        until no worker has more than two streams more than its share.
        """
        with self._lock:
            workers = self._members.working("worker")
            share = len(self._streams) / max(1, len(workers))
            moving: list[tuple[Member, Placed]] = []
            for worker in workers:
                having = [self._streams[n] for n in worker.streams if n in self._streams]
                having = [p for p in having if p.losses and not p.reason and not p.again]
                having.sort(key=lambda p: p.losses[-1])
                excess = int(len(worker.streams) - share - 1)
                moving += [(worker, p) for p in having[-excess:]] if excess > 0 else []
            for _, placed in moving:
                placed.again = "rebalanced"
        for worker, placed in moving:
            self._members.ask(worker, "cancel", placed.spec.name, "rebalanced")

    def _notice(self, stream: str, message: str) -> None:
        self._setting.notice(Notice("", stream, message))

    # ---- what is known of them

    def actor_metrics(self) -> dict[str, RunMetrics]:
        """Counters by actor; of one that does not answer the last that it gave."""
        own = replace(
            self._return.metrics(), streams={}, process=process_metrics(), losses=self.losses
        )
        return {**self._members.metrics(), DRIVER: own}

    def metrics(self) -> RunMetrics:
        """See :class:`Crew`."""
        actors = self.actor_metrics()
        together = merged([self._gone, *actors.values()])
        streams = {}
        with self._lock:
            for name, placed in self._streams.items():
                worker = actors.get(placed.worker)
                known = worker.streams.get(name) if worker is not None else None
                placed.note_packets(known)
                number = int(placed.worker.rpartition("-")[2]) if placed.worker else None
                streams[name] = replace(
                    known or StreamMetrics(),
                    packets=placed.packets_before + placed.packets,
                    worker=number,
                )
        return replace(together, streams=streams)

    def loads(self) -> dict[str, Load]:
        """What each actor's process uses."""
        return self._members.loads()

    def placement(self) -> Mapping[str, tuple[str, str]]:
        """Worker and engine by stream; empty names while it waits for them."""
        with self._lock:
            return {
                name: ("", "") if placed.waits else (placed.worker, placed.engine)
                for name, placed in self._streams.items()
            }

    def export_states(self) -> dict[StateRef, bytes]:
        """See :class:`Crew`."""
        exported = self._return.export_states()
        for member in self._members.ready():
            exported.update(self._members.ask(member, "export_states") or {})
        return exported


def _delay(losses: deque[float], allowed: int = 3) -> float:
    """Seconds to wait after so many losses in the last minute: none at first, then doubling."""
    recent = sum(1 for moment in losses if time.monotonic() - moment < LOSS_MEMORY)
    if recent <= allowed:
        return 0.0
    return float(min(LONGEST_DELAY, 2.0 ** (recent - allowed - 1)))
