"""How a graph is spread over a Ray cluster, and whether the cluster has room for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Literal

from .errors import GraphDefinitionError, Refused
from .node import Mode
from .plan import Plan

Engines = Literal["auto", "apart", "within"]
Transport = Literal["sockets", "calls"]

ACTOR_MEMORY = 600 * 2**20
"""Bytes that an actor takes with the default graph's networks and a few streams, by measurement
(docs/PERFORMANCE.md); where a cluster has less for each, nobody is kept in reserve unasked."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How a graph is spread over a Ray cluster.

    Workers are actors that run the stages of whole streams, many streams each. Stages of scope
    ``shared`` (the networks) run in engine actors of their own, which batch across all workers, or
    within every worker.
    """

    address: str = ""
    """Ray's address, or ``auto`` for the cluster that this machine is part of; empty starts Ray on
    this machine and stops it at the end."""
    workers: int | None = None
    """None: what fits into the cluster's free processors beside the engines."""
    worker_cpu: float = 1.0
    """Processors that a worker asks for."""
    engines: Engines = "auto"
    """``auto``: apart where they ask for a GPU, since batches pay there (padflow's own nodes ask
    for none, so give ``apart`` on a cluster with GPUs); else within the workers, since on a CPU a
    batch gains nothing and the crops need not travel."""
    engine_replicas: int | None = None
    """Engine actors; a stream stays with one of them. None: the most that a shared node of the
    graph asks for, else one for each GPU or, without, for every three workers."""
    engine_cpu: float = 1.0
    """Processors that an engine actor asks for."""
    engine_gpu: float | None = None
    """GPUs, or a part of one, that an engine actor asks for; None: as its nodes do, or one where
    the cluster has any and engines are ``apart``."""
    streams_per_worker: int = 16
    """A stream more than this times the workers is refused."""
    spare_workers: int | None = None
    """Workers beside ``workers`` that are ready, with their networks open, and have no stream until
    one that has is lost: its streams go on there at once, not after a start. None: one in realtime
    where there is room for it, none in lossless mode. One costs the memory of a worker. On a single
    machine it asks for no processor, since whoever is lost leaves one free there."""
    spare_engines: int | None = None
    """The same for engine actors. None: as many as ``spare_workers``, but none where engines ask
    for a GPU: with two or more of them the others take over."""
    transport: Transport = "sockets"
    """How batches go from actor to actor: by sockets between them, or as calls of Ray, which costs
    several times as much processor time but needs no port of our own (``bench transport``)."""
    window: float = 0.02
    """Least time in seconds between two batches from one actor to another: what is to be said
    meanwhile goes along, so the price of one is paid at most so often."""
    silence: float = 5.0
    """Seconds without an answer after which an actor counts as lost."""
    most_losses: int = 5
    """So many losses of actors in a minute are made good at once; more wait, longer each time."""
    start_timeout: float = 300.0
    """Seconds that an actor has to open its nodes: a TensorRT plan may have to be built first."""

    def __post_init__(self) -> None:
        least = {
            "workers": 1,
            "engine_replicas": 1,
            "streams_per_worker": 1,
            "most_losses": 1,
            "spare_workers": 0,
            "spare_engines": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise GraphDefinitionError(
                    f"ray options, {name}: expected at least {bound}, found {value}; give more"
                )
        for name in ("worker_cpu", "engine_cpu", "silence", "start_timeout"):
            if not getattr(self, name) > 0:
                raise GraphDefinitionError(
                    f"ray options, {name}: expected more than 0, found {getattr(self, name)}; "
                    "give more"
                )
        for name in ("engine_gpu", "window"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise GraphDefinitionError(
                    f"ray options, {name}: expected 0 or more, found {value}; give more"
                )
        if self.transport not in ("sockets", "calls"):
            raise GraphDefinitionError(
                f"ray options, transport: expected sockets or calls, found '{self.transport}'"
            )
        if self.engines not in ("auto", "apart", "within"):
            raise GraphDefinitionError(
                f"ray options, engines: expected auto, apart or within, found '{self.engines}'"
            )


@dataclass(frozen=True, slots=True)
class Layout:
    """Which actors there will be, and what each asks for."""

    workers: int
    worker_cpu: float
    worker_stages: tuple[str, ...]
    engines: int
    engine_cpu: float
    engine_gpu: float
    engine_stages: tuple[str, ...]
    spare_workers: int = 0
    spare_engines: int = 0
    spares_ask: bool = False
    """Whether a spare asks for processors, as it must where it may be on another machine than
    whoever it follows."""

    @property
    def cpu(self) -> float:
        """Processors in all."""
        return sum(cpu for _, cpu, _ in self.actors())

    @property
    def gpu(self) -> float:
        """GPUs in all."""
        return (self.engines + self.spare_engines) * self.engine_gpu

    def actors(self) -> list[tuple[str, float, bool]]:
        """Kind, processors asked for and whether it is a spare, of every actor."""
        of_spare = float(self.spares_ask)
        return [
            *[("engine", self.engine_cpu, False)] * self.engines,
            *[("worker", self.worker_cpu, False)] * self.workers,
            *[("engine", self.engine_cpu * of_spare, True)] * self.spare_engines,
            *[("worker", self.worker_cpu * of_spare, True)] * self.spare_workers,
        ]


def lay_out(
    plan: Plan,
    options: RayOptions,
    free: Mapping[str, float],
    mode: Mode = "lossless",
    machines: int = 1,
) -> Layout:
    """Fit a plan to what a cluster has free.

    Args:
        plan: Stages and links.
        options: What is asked for.
        free: Resources by Ray's names: ``CPU``, ``GPU``, ``memory`` (bytes).
        mode: Of the run: in lossless mode nobody waits at a door, and there are no spares unless
            they are asked for.
        machines: How many the cluster has.

    Raises:
        GraphDefinitionError: An engine asks for GPUs as Ray gives none.
        GraphError: It does not fit; the text has the names and sums.
    """
    if mode == "realtime":
        layout = _spread(plan, options, free, machines, spares=1)
        memory = len(layout.actors()) * ACTOR_MEMORY
        if not _lacking(layout, free) and memory <= free.get("memory", inf):
            return layout
    layout = _spread(plan, options, free, machines, spares=0)
    _check_room(plan, layout, free)
    return layout


def _spread(
    plan: Plan, options: RayOptions, free: Mapping[str, float], machines: int, spares: int
) -> Layout:
    """A layout that may not fit, with so many spares of a kind where none are asked for."""
    shared = tuple(stage for stage in plan.stages if stage.scope == "shared")
    whole = tuple(stage.name for stage in plan.stages if stage.scope == "stream")
    names = tuple(stage.name for stage in shared)
    asked_gpu = max((stage.resources.gpu for stage in shared), default=0.0)
    apart = bool(shared) and (
        options.engines == "apart" or (options.engines == "auto" and asked_gpu > 0)
    )
    gpu = _engine_gpu(options, asked_gpu, free) if apart else 0.0
    layout = Layout(
        workers=options.workers or 0,
        worker_cpu=options.worker_cpu,
        worker_stages=whole if apart else whole + names,
        engines=_engine_replicas(plan, options, gpu, free) if apart else 0,
        engine_cpu=options.engine_cpu if apart else 0.0,
        engine_gpu=gpu,
        engine_stages=names if apart else (),
        spare_workers=_given(options.spare_workers, spares),
        spare_engines=_given(options.spare_engines, 0 if gpu else spares) if apart else 0,
        spares_ask=machines > 1,
    )
    if options.workers:
        return layout
    left = free.get("CPU", 1.0) - layout.cpu
    return replace(layout, workers=max(1, int(left / options.worker_cpu)))


def _given(asked: int | None, default: int) -> int:
    return default if asked is None else asked


def _engine_gpu(options: RayOptions, asked: float, free: Mapping[str, float]) -> float:
    if options.engine_gpu is not None:
        asked = options.engine_gpu
    elif not asked:
        asked = 1.0 if free.get("GPU", 0.0) >= 1.0 else 0.0
    if asked > 1 and asked % 1:
        raise GraphDefinitionError(
            "engine actors on Ray: expected a part of one GPU each, or whole ones, found "
            f"{asked:g} (engine_gpu, or what their nodes ask for); Ray gives no other"
        )
    return asked


def _engine_replicas(plan: Plan, options: RayOptions, gpu: float, free: Mapping[str, float]) -> int:
    if options.engine_replicas is not None:
        return options.engine_replicas
    asked = max((spec.replicas for spec in plan.graph.nodes), default=0)
    if asked:
        return asked
    if gpu > 0:
        return max(1, int(free.get("GPU", 0.0) / gpu))
    return max(1, ceil((options.workers or free.get("CPU", 1.0) / 4) / 3))


def _lacking(layout: Layout, free: Mapping[str, float]) -> list[str]:
    return [
        f"{wanted:g} {kind} (found {free.get(kind, 0.0):g} free)"
        for kind, wanted in (("CPU", layout.cpu), ("GPU", layout.gpu))
        if wanted > free.get(kind, 0.0) + 1e-6
    ]


def _check_room(plan: Plan, layout: Layout, free: Mapping[str, float]) -> None:
    lacking = _lacking(layout, free)
    if not lacking:
        return
    parts = [f"{_with_spares(layout.workers, 'workers', layout.spare_workers)} of "]
    parts[0] += f"{layout.worker_cpu:g} CPU"
    if layout.engines:
        gpu = f" and {layout.engine_gpu:g} GPU" if layout.engine_gpu else ""
        told = _with_spares(layout.engines, "engine actors", layout.spare_engines)
        names = ", ".join(layout.engine_stages)
        parts.append(f"{told} ({names}) of {layout.engine_cpu:g} CPU{gpu}")
    raise Refused(
        f"graph '{plan.graph.name}' on Ray: {' and '.join(parts)} need {' and '.join(lacking)}; "
        "ask for fewer or smaller ones (--workers, --spare-workers, worker_cpu, engine_replicas), "
        "stop what else runs there, or add nodes to the cluster"
    )


def _with_spares(count: int, what: str, spares: int) -> str:
    return f"{count} {what} and {spares} spare" if spares else f"{count} {what}"
