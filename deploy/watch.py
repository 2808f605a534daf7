"""``padflow run`` as a person sees it: progress while it runs, a table at its end, an exit code."""

import logging
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..graph.metrics import Notice, RunMetrics
from ..graph.packet import Packet
from ..graph.run import GraphRun
from ..graph.spec import Graph
from ..nodes.capture import SOURCE_EVENT
from ..nodes.frame import Frame
from ..nodes.payloads import Event
from ..nodes.sources import redact
from ..nodes.summary import RunSummary, StreamCounters
from .event_tally import EventTally
from .exits import Exit
from .open_files import room_for_files
from .prometheus import MetricsServer, RunCollector, by_actor
from .session import EVENTS_SINK, RunRequest, mode_of, ports_of_type, running

log = logging.getLogger("padflow")

REFRESH_SECONDS = 0.5
INSIST_SECONDS = 15.0
"""A run stops sooner than that: where it does not, it may be interrupted once more."""
LOG_WIDTH = 120
"""Columns of the summary where nobody's terminal says."""


class RunWatch:
    """Takes the events of a run on its threads and knows at the end how each source fared."""

    def __init__(self) -> None:
        self.summary = RunSummary()
        self._lock = threading.Lock()
        self._last: dict[str, Event] = {}
        self._told: Counter[str] = Counter()
        self._faults: dict[str, str] = {}

    def take(self, packet: Packet) -> None:
        """Note one event; called on threads of the run."""
        with self._lock:
            self.summary.take(packet)
            if packet.payload.type == SOURCE_EVENT:
                self._last[packet.stream] = packet.payload
                self._told[packet.stream] += 1

    def hear(self, notice: Notice) -> None:
        """Keep the first fault of each node; called on threads of the run."""
        if notice.fault:
            with self._lock:
                self._faults.setdefault(notice.node, notice.message)

    def unwritten(self, graph: Graph) -> dict[str, str]:
        """The sinks that did not write all they were to write, and why, without credentials."""
        sinks = [node.name for node in graph.nodes if not node.contract().outputs]
        with self._lock:
            return {
                name: redact(f"{name}: not everything was written: {self._faults[name]}")
                for name in sinks
                if name in self._faults
            }

    def failures(self) -> dict[str, str]:
        """Why each stream failed that did, without credentials."""
        with self._lock:
            return {
                stream: redact(f"{event.data.get('uri', stream)}: {event.data.get('reason', '')}")
                for stream, event in self._last.items()
                if event.data.get("state") in ("error", "lost", "stalled")
            }

    def frames(self) -> dict[str, int]:
        """Frames that each stream's source told of last."""
        with self._lock:
            return {name: int(e.data.get("frames", 0)) for name, e in self._last.items()}

    def told(self) -> Counter[str]:
        """How many events each stream's source gave."""
        with self._lock:
            return Counter(self._told)


@dataclass(frozen=True, slots=True)
class MetricsAt:
    """Where Prometheus metrics are served."""

    port: int
    address: str


def watch(
    request: RunRequest,
    *,
    duration: float | None = None,
    quiet: bool = False,
    metrics_at: MetricsAt | None = None,
) -> Exit:
    """Run a request to its end, to ``duration`` seconds or to Ctrl-C; returns the exit code.

    Raises:
        UsageError: ``metrics_at`` cannot be had, or too few files may be open for so many sources;
            nothing was opened.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=LOG_WIDTH)
    seen, tally = RunWatch(), EventTally()

    def take(packet: Packet) -> None:
        seen.take(packet)
        tally.take(packet)

    def tell(notice: Notice) -> None:
        seen.hear(notice)
        where = " ".join(part for part in (notice.node, notice.stream) if part)
        log.warning("%s", redact(f"{where}: {notice.message}" if where else notice.message))

    began = time.monotonic()
    interrupted = False
    view = nullcontext() if quiet else _progress(console, request)
    with (
        room_for_files(request),
        _served(metrics_at, request, tally, console, quiet) as collector,
        terminated_like_interrupted(),
        running(request, take, tell) as run,
        view as progress,
    ):
        if collector is not None:
            collector.follow(by_actor(run), run.plan.graph)
        try:
            _wait(run, began, duration, progress, to_stdout=request.events == "-")
        except KeyboardInterrupt:
            interrupted = True
    metrics = run.metrics()
    if not quiet:
        counters = _counters(metrics, seen, run.plan.graph, time.monotonic() - began)
        together = _dropped(metrics) if len(counters) > 1 else None
        console.print(seen.summary.table(counters, together))
    unwritten = seen.unwritten(run.plan.graph)
    if request.events == "-" and _nobody_reads():
        unwritten.pop(EVENTS_SINK, None)  # ``padflow run … | head``
    if interrupted:
        # A camera ends no other way: that lines are missing must be seen here too.
        _tell(unwritten.values(), console)
        console.print("interrupted: everything written so far is whole", style="yellow")
        return Exit.FAILED if unwritten else Exit.INTERRUPTED
    return _verdict(seen, metrics, unwritten, console)


@contextmanager
def _served(
    metrics_at: MetricsAt | None,
    request: RunRequest,
    tally: EventTally,
    console: Console,
    quiet: bool,
) -> "Iterator[RunCollector | None]":
    """The collector behind a metrics server, if one is asked for."""
    if metrics_at is None:
        yield None
        return
    collector = RunCollector(Path(request.graph).stem, tally)
    with MetricsServer(collector, metrics_at.port, metrics_at.address) as server:
        if not quiet:
            console.print(f"metrics: {server.url}", soft_wrap=True)
        yield collector


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has gone."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file of the system's
        return False
    poller = select.poll()
    poller.register(output, 0)
    return any(event & select.POLLERR for _, event in poller.poll(0))


def _wait(
    run: GraphRun,
    began: float,
    duration: float | None,
    progress: Progress | None,
    to_stdout: bool,
) -> None:
    task = None if progress is None else progress.add_task("starting", total=None)
    while not run.wait(REFRESH_SECONDS):
        if progress is not None and task is not None:
            progress.update(task, description=status_line(run.metrics(), run.plan.graph))
        if duration is not None and time.monotonic() - began >= duration:
            return
        if to_stdout and _nobody_reads():
            return


def status_line(metrics: RunMetrics, graph: Graph) -> str:
    """Where a run stands, for the progress line."""
    alive = sum(stream.state == "running" for stream in metrics.streams.values())
    frames, dropped = _frames(metrics, graph), _dropped(metrics)
    return f"{alive} of {len(metrics.streams)} streams running, {frames} frames, {dropped} dropped"


def _frames(metrics: RunMetrics, graph: Graph) -> int:
    """Frames that went on from the sources, whatever the nodes of the graph are called.

    A frame that goes to several nodes counts once.
    """
    sources = {node.name for node in graph.nodes if node.is_source}
    taken = {port: 0 for port in ports_of_type(graph, Frame) if port.partition(".")[0] in sources}
    for name, edge in metrics.edges.items():
        port = name.partition("->")[0]
        if port in taken:
            taken[port] = max(taken[port], edge.packets_out)
    return sum(taken.values())


def _dropped(metrics: RunMetrics) -> int:
    return sum(sum(edge.dropped.values()) for edge in metrics.edges.values())


def _counters(
    metrics: RunMetrics, seen: RunWatch, graph: Graph, seconds: float
) -> dict[str, StreamCounters]:
    frames = seen.frames()
    if _give_frames_and_events(graph):
        # A source that is stopped has told of its frames last when it connected.
        told = seen.told()
        for name, stream in metrics.streams.items():
            frames[name] = max(frames.get(name, 0), stream.packets - told[name])
    alone = len(metrics.streams) == 1
    dropped = _dropped(metrics)
    return {
        name: StreamCounters(
            frames=frames.get(name, 0),
            seconds=seconds,
            # Edges count for all streams together.
            dropped=dropped if alone else None,
        )
        for name in metrics.streams
    }


def _give_frames_and_events(graph: Graph) -> bool:
    """Whether the sources give nothing else, and only one of them frames."""
    ports = [port.type for node in graph.sources for port in node.contract().outputs.values()]
    return sum(issubclass(port, Frame) for port in ports) == 1 and all(
        issubclass(port, Frame | Event) for port in ports
    )


def _verdict(
    seen: RunWatch, metrics: RunMetrics, unwritten: Mapping[str, str], console: Console
) -> Exit:
    failures = seen.failures()
    for stream, metric in metrics.streams.items():
        if metric.reason in ("error", "worker_lost"):
            failures.setdefault(stream, f"{stream}: ended with {metric.reason}")
    _tell((*failures.values(), *unwritten.values()), console)
    if not failures:
        return Exit.FAILED if unwritten else Exit.DONE
    frames = seen.frames()
    nothing = all(frames.get(stream, 0) == 0 for stream in metrics.streams)
    return Exit.WRONG_USE if nothing else Exit.FAILED


def _tell(reasons: Iterable[str], console: Console) -> None:
    for reason in reasons:
        console.print(Text(f"padflow run: {reason}"), soft_wrap=True)


@contextmanager
def _progress(console: Console, request: RunRequest) -> Iterator[Progress]:
    mode = mode_of(request)
    with Progress(
        SpinnerColumn(),
        TextColumn(f"[bold]padflow[/] {mode}"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        yield progress


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM (a service being stopped) drains like Ctrl-C, where this is the main thread.

    A second one of either does not cut that short, which would leave half a video: only one that
    comes after ``INSIST_SECONDS`` does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first < INSIST_SECONDS:
            return
        raise KeyboardInterrupt

    heeded = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not so under nohup
        heeded.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
