"""The hub of a graph on a Ray cluster: an actor that holds the run, its sinks and its cameras.

It outlives the command that started it (``padflow up``); ``padflow streams`` and ``padflow down``
find it by its name. Its workers and engines end with it.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ..graph.errors import Refused
from ..graph.metrics import Notice
from ..graph.node import Mode, StreamSpec
from ..graph.options import RunOptions
from ..graph.packet import Packet
from ..graph.ray_options import RayOptions
from ..graph.ray_run import RayRun
from ..graph.spec import Graph
from ..nodes.sources import parse_source, redact, shown_address
from .event_tally import EventTally
from .prometheus import MetricsServer, RunCollector, by_actor
from .session import event_ports

log = logging.getLogger("padflow")

KEPT_NOTICES = 200


@dataclass(frozen=True, slots=True)
class HubJob:
    """What a hub is made with."""

    name: str
    graph: Graph
    """With its sinks."""
    cameras: tuple[StreamSpec, ...]
    mode: Mode = "realtime"
    options: RunOptions = field(default_factory=RunOptions)
    ray: RayOptions = field(default_factory=RayOptions)
    metrics_port: int | None = None
    metrics_address: str = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream as an operator sees it."""

    name: str
    uri: str
    """Without credentials."""
    state: str
    """``running``, ``waiting`` (for a worker), ``pausing`` or ``removing`` (what it gave is being
    worked off), ``paused`` or ``ended``."""
    reason: str
    packets: int
    worker: str
    engine: str
    verdicts: dict[str, int]
    """Tracks that ended, by their final state."""
    reconnects: int


@dataclass(frozen=True, slots=True)
class HubStatus:
    """Where a hub stands."""

    name: str
    graph: str
    up_seconds: float
    actors: tuple[str, ...]
    losses: int
    metrics_url: str
    notices: tuple[str, ...]


class Hub:
    """Holds one run. Several threads may call it."""

    def __init__(self, job: HubJob) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._tally = EventTally()
        self._notices: deque[str] = deque(maxlen=KEPT_NOTICES)
        self._uris: dict[str, str] = {}
        self._removed: set[str] = set()
        self._began = time.monotonic()
        taps = dict.fromkeys(event_ports(job.graph), self._take)
        self._run = RayRun(job.graph, job.mode, job.options, taps, self._tell, job.ray)
        self._server: MetricsServer | None = None
        self._stopped = False

    def start(self) -> None:
        """Serve metrics, make the actors, begin the cameras.

        Raises:
            UsageError, SourceError: The metrics port is taken, or a camera's address is none.
            GraphError: The cluster has no room, or a node could not be opened.
        """
        for camera in self._job.cameras:
            parse_source(camera.uri)
        collector = RunCollector(self._job.name, self._tally)
        if self._job.metrics_port is not None:
            self._server = MetricsServer(
                collector, self._job.metrics_port, self._job.metrics_address
            )
        try:
            self._run.start()
            for camera in self._job.cameras:
                self._begin(camera)
        except BaseException:
            self.stop(drain=False)
            raise
        collector.follow(by_actor(self._run), self._run.plan.graph)

    def add(self, name: str, uri: str, options: dict[str, Any] | None = None) -> None:
        """Begin a stream.

        Raises:
            SourceError: The address is no source.
            GraphError: The name is in use, or all workers are full.
        """
        parse_source(uri)
        self._begin(StreamSpec(name, uri, options or {}))

    def _begin(self, spec: StreamSpec) -> None:
        if spec.name in self._run.paused():
            raise Refused(
                f"stream '{spec.name}': expected a name that is not in use, found it paused; "
                "resume or remove it"
            )
        self._run.add_stream(spec)
        with self._lock:
            self._uris[spec.name] = shown_address(spec.uri)
            self._removed.discard(spec.name)

    def remove(self, name: str) -> None:
        """End a stream, running or paused.

        Raises:
            GraphError: There is none of this name.
        """
        if not self._run.forget_paused(name):
            self._run.remove_stream(name)
        with self._lock:
            self._removed.add(name)

    def pause(self, name: str) -> None:
        """End a stream and keep it for :meth:`resume`.

        Raises:
            GraphError: There is none of this name.
        """
        self._run.pause_stream(name)

    def resume(self, name: str) -> None:
        """Begin a paused stream again.

        Raises:
            GraphError: There is none of this name, or all workers are full.
        """
        self._run.resume_stream(name)

    def list(self) -> list[StreamRow]:
        """All streams, those that ended included (the last thousand)."""
        streams, placement = self._run.streams(), self._run.placement()
        tally, paused = self._tally.read(), self._run.paused()
        with self._lock:
            uris, removed = dict(self._uris), set(self._removed)
        rows = []
        for name, metrics in sorted(streams.items()):
            worker, engine = placement.get(name, ("", ""))
            shown: str = metrics.state
            if name in paused:
                shown = "paused" if shown == "ended" else "pausing"
            elif name in removed and shown != "ended":
                shown = "removing"
            elif shown == "running" and not worker:
                shown = "waiting"
            known = tally.streams.get(name)
            rows.append(
                StreamRow(
                    name,
                    uris.get(name, ""),
                    shown,
                    metrics.reason,
                    metrics.packets,
                    worker,
                    engine,
                    dict(known.tracks) if known else {},
                    known.reconnects if known else 0,
                )
            )
        return rows

    def status(self) -> HubStatus:
        """Where the hub stands, with the newest notices.

        Raises:
            GraphError: What made the run fail.
        """
        self._run.wait(0)
        actors = self._run.actor_metrics()
        return HubStatus(
            self._job.name,
            self._job.graph.name,
            time.monotonic() - self._began,
            tuple(sorted(actors)),
            self._run.losses(),
            self._server.url if self._server is not None else "",
            tuple(self._notices)[-20:],
        )

    def ended(self) -> bool:
        """Whether the hub was stopped.

        Raises:
            GraphError: What made the run fail.
        """
        if not self._stopped:
            self._run.wait(0)
        return self._stopped

    def stop(self, drain: bool = True) -> None:
        """End all streams, work off what they gave, stop the actors and the metrics."""
        self._stopped = True
        try:
            self._run.stop(drain)
        finally:
            if self._server is not None:
                self._server.close()
                self._server = None

    def _take(self, packet: Packet) -> None:
        self._tally.take(packet)

    def _tell(self, notice: Notice) -> None:
        where = " ".join(part for part in (notice.node, notice.stream) if part)
        told = redact(f"{where}: {notice.message}" if where else notice.message)
        self._notices.append(told)
        log.warning("%s", told)
