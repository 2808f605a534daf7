"""The actors of a run as the driver sees them: made, introduced to each other, asked, heard."""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from .errors import GraphError, NodeFailed, WorkerLost
from .host import HostSetting
from .metrics import RunMetrics
from .outlet import Batch, Lane
from .plan import Plan
from .post import Address
from .ray_actor import DRIVER, ActorJob, Load, StageActor
from .ray_options import Layout, RayOptions
from .wire import pack, unpack

ANSWER_TIMEOUT = 20.0
"""Seconds that an actor has to answer what the driver asks."""


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


@dataclass(slots=True, eq=False)
class Member:
    """The driver's view of one actor."""

    name: str
    kind: str
    """``worker`` or ``engine``."""
    handle: Any
    cpu: float
    """Processors that it asked for."""
    spare: bool = False
    """It is to take over from one that is lost, and has no stream until then."""
    streams: set[str] = field(default_factory=set)
    alive: bool = True
    address: Address | None = None
    """Where it takes batches on a socket, if that is how they go."""
    collector: threading.Thread | None = None
    """Fetches what it has for the driver; None until it is ready."""
    credit: dict[Lane, int] = field(default_factory=dict)
    """To be told with the next question."""
    metrics: RunMetrics = field(default_factory=lambda: RunMetrics({}, {}, {}, 0))
    """The last that it gave."""
    hearing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a batch of it is handed on."""


class Members:
    """All actors of a run. ``heard`` takes each batch, ``lost`` what can no longer be reached."""

    def __init__(
        self,
        plan: Plan,
        setting: HostSetting,
        options: RayOptions,
        layout: Layout,
        heard: Callable[[Member, Batch], None],
        lost: Callable[[Member, str], None],
    ) -> None:
        self._plan = plan
        self._setting = setting
        self._options = options
        self._layout = layout
        self._heard = heard
        self._lost = lost
        self._lock = threading.Lock()
        self._by_name: dict[str, Member] = {}
        self._made = {"worker": 0, "engine": 0}
        self._secret = secrets.token_bytes(32) if options.transport == "sockets" else b""
        self._closing = False

    def make(self, kind: str, cpu: float, spare: bool) -> Member:
        """Ask Ray for one more actor of a kind; it is not ready yet."""
        layout = self._layout
        with self._lock:
            index = self._made[kind]
            self._made[kind] += 1
        name, of_worker = f"{kind}-{index}", kind == "worker"
        stages = layout.worker_stages if of_worker else layout.engine_stages
        job = ActorJob(
            name,
            self._plan.graph,
            stages,
            self._setting.mode,
            self._setting.options,
            self._options.window,
            tuple(p for p in self._setting.taps if self._plan.stage_of[p[0]].name in stages),
            self._secret,
            index,
        )
        handle = _REMOTE.options(
            num_cpus=cpu,
            num_gpus=0 if of_worker else layout.engine_gpu,
            max_restarts=0,
            max_task_retries=0,
        ).remote(job)
        member = Member(name, kind, handle, cpu, spare)
        with self._lock:
            self._by_name[name] = member
        return member

    def start(self, members: list[Member]) -> None:
        """Let actors open their nodes, side by side, know each other, and be heard.

        Raises:
            NodeFailed: A node could not be opened.
            WorkerLost: An actor was lost or not ready in time.
        """
        answers = [(member, member.handle.start.remote()) for member in members]
        for member, answer in answers:
            self._await_start(member, answer)
        for member in members:
            member.address = self.ask(member, "open_office")
        for member in members:
            self._introduce(member)

    def _await_start(self, member: Member, answer: Any) -> None:
        limit = self._options.start_timeout
        try:
            ray.get(answer, timeout=limit)
        except GetTimeoutError as error:
            raise WorkerLost(
                f"{member.name}: expected it to be ready within {limit:g} s, found it is not; "
                "see whether the cluster has the room that it was promised, and where TensorRT "
                "builds plans, start again: those that are built are kept"
            ) from error
        except RayError as error:
            raise told(error, member.name) from error

    def _introduce(self, member: Member) -> None:
        for other in self.others(member):
            self.ask(member, "connect", other.name, other.handle, other.address)
            self.ask(other, "connect", member.name, member.handle, member.address)
        member.collector = threading.Thread(
            target=self._collect, args=(member,), name=f"padflow from {member.name}", daemon=True
        )
        member.collector.start()

    def find(self, name: str) -> Member | None:
        """The living actor of a name."""
        with self._lock:
            return self._by_name.get(name)

    def ready(self, kind: str = "") -> list[Member]:
        """Living actors (of a kind) that are heard."""
        with self._lock:
            return [m for m in self._by_name.values() if m.collector and kind in ("", m.kind)]

    def others(self, member: Member) -> list[Member]:
        """Living actors of the other kind, its peers."""
        with self._lock:
            return [m for m in self._by_name.values() if m.kind != member.kind]

    def working(self, kind: str) -> list[Member]:
        """Ready actors of a kind that are no spares."""
        return [member for member in self.ready(kind) if not member.spare]

    def promote(self, kind: str) -> Member | None:
        """Let a ready spare of a kind work, if there is one."""
        spare = next((member for member in self.ready(kind) if member.spare), None)
        if spare is not None:
            spare.spare = False
        return spare

    def least_loaded(self, kind: str) -> Member | None:
        """The working actor of a kind with the fewest streams; a spare where none works."""
        working = self.working(kind)
        return min(working, key=lambda m: len(m.streams)) if working else self.promote(kind)

    def drop(self, member: Member) -> bool:
        """Take a lost actor out and end its process; False where that was done before.

        Nothing that it said is handed on any more when this returns.
        """
        with self._lock:
            if self._by_name.pop(member.name, None) is None:
                return False
            member.alive = False
        _kill(member)
        with member.hearing:
            return True

    def ask(self, member: Member, method: str, *arguments: Any) -> Any:
        """Ask an actor and wait; one that does not answer is lost, and None is given.

        Raises:
            GraphError: What the actor raised.
        """
        try:
            answer = getattr(member.handle, method).remote(*arguments)
            return ray.get(answer, timeout=ANSWER_TIMEOUT)
        except (GetTimeoutError, RayActorError) as error:
            self._lost(member, why(error))
            return None
        except RayError as error:
            raise told(error, member.name) from error

    def give_credit(self, member: Member, lane: Lane, count: int) -> None:
        """Let credit go with the next question, or at once where somebody may wait for it."""
        with self._lock:
            credit = member.credit
            credit[lane] = credit.get(lane, 0) + count
            if credit[lane] * 2 < self._setting.options.lane_capacity:
                return
            member.credit = {}
        if member.alive:
            member.handle.receive.remote(DRIVER, *pack(Batch(credit=credit)))

    def _collect(self, member: Member) -> None:
        """The collector thread of one actor."""
        while member.alive:
            with self._lock:
                credit, member.credit = member.credit, {}
            question = pack(Batch(credit=credit)) if credit else []
            try:
                answer = ray.get(
                    member.handle.collect.remote(*question), timeout=self._options.silence
                )
            except Exception as error:  # Also where Ray was shut down under us.
                if member.alive and not self._closing:
                    silent = isinstance(error, GetTimeoutError)
                    _kill(member)  # Whoever waits for its answer is told, and waits no longer.
                    limit = f"silent for {self._options.silence:g} s"
                    self._lost(member, limit if silent else why(error))
                return
            if not answer:
                continue
            try:
                with member.hearing:
                    if member.alive:
                        self._heard(member, unpack(answer))
            except Exception as failure:
                self._setting.failed(failure)

    def metrics(self) -> dict[str, RunMetrics]:
        """Counters by actor; of one that does not answer the last that it gave."""
        ready = self.ready()
        if not self._closing:
            asked = [(member, member.handle.metrics.remote()) for member in ready]
            for member, answer in asked:
                with suppress(RayError, GetTimeoutError):
                    member.metrics = ray.get(answer, timeout=2.0)
        # Sources run in workers: an engine knows of streams, not what they gave.
        return {
            m.name: m.metrics if m.kind == "worker" else replace(m.metrics, streams={})
            for m in ready
        }

    def loads(self) -> dict[str, Load]:
        """What each actor's process uses."""
        found: dict[str, Load] = {}
        for member in self.ready():
            with suppress(RayError, GetTimeoutError):
                found[member.name] = ray.get(member.handle.load.remote(), timeout=5.0)
        return found

    def close(self, deadline: float) -> list[str]:
        """Stop all actors by a deadline and end their processes.

        Returns:
            What did not stop, in words.
        """
        self.metrics()
        self._closing = True
        stuck: list[str] = []
        left = max(0.3, deadline - time.monotonic())
        members = self.ready()
        closing = [(member, member.handle.close.remote(left * 0.8)) for member in members]
        for member, answer in closing:
            try:
                stuck += ray.get(answer, timeout=max(0.2, deadline - time.monotonic() + 0.5))
            except GetTimeoutError:
                stuck.append(member.name)
            except RayError:
                continue
        self.kill()
        for member in members:
            if member.collector is not None:
                member.collector.join(2.0)
        return stuck

    def kill(self) -> None:
        """End all processes at once."""
        self._closing = True
        with self._lock:
            members = list(self._by_name.values())
        for member in members:
            member.alive = False
            _kill(member)


def _kill(member: Member) -> None:
    with suppress(RayError):
        ray.kill(member.handle, no_restart=True)


def why(error: BaseException) -> str:
    """The first line of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def told(error: RayError, name: str) -> GraphError:
    """What an actor raised, as itself."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, GraphError):
        return type(cause)(str(cause))
    if isinstance(error, RayActorError):
        return WorkerLost(f"{name}: expected it to start, found it ended: {why(error)}")
    return NodeFailed(f"{name}: {why(error)}")
