"""What a frame costs beside a hand-written loop, and how many streams run in real time."""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from ..graph.local import LocalRun
from ..graph.machine import processors
from ..graph.metrics import RunMetrics
from ..graph.node import StreamSpec
from ..graph.options import RunOptions
from ..trainers.attacks.feed import render_clip
from .floor_loop import run_floor_loop
from .session import RunRequest, build_graph, event_ports, running

SIZES = {"720p25": (1280, 720), "1080p25": (1920, 1080)}
STEP = 1
CARRIED_DROPS = 0.001
"""A number of streams is carried if at most this share of frames was dropped ..."""
CARRIED_AGE = 0.5
"""... and 99 % of frames were decided within so many seconds of their decoding."""
ENTRY = "capture.frames->detect.frames"


@dataclass(frozen=True, slots=True)
class FrameCost:
    """CPU milliseconds a frame."""

    floor: float
    """Of the hand-written loop."""
    total: float
    """Of the whole process while the graph ran, its own threads included."""
    nodes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StreamsResult:
    """How a number of streams fared in real time."""

    streams: int
    frames: int
    dropped: int
    age_p50: float
    age_p99: float
    cores: float
    """CPU seconds per second."""

    @property
    def carried(self) -> bool:
        """Whether the machine kept up."""
        share = self.dropped / max(1, self.frames + self.dropped)
        return self.frames > 0 and share <= CARRIED_DROPS and self.age_p99 <= CARRIED_AGE


def bench_pipeline(args: argparse.Namespace) -> None:
    """Print the tables of one frame's cost and of the number of streams."""
    console = Console()
    with bench_clips(args.clip, args.seconds, console, args.visit_every) as clips:
        for name, clip in clips.items():
            if args.what in ("all", "frame"):
                _print_cost(console, name, [frame_cost(clip) for _ in range(args.rounds)])
        for name, clip in clips.items():
            if args.what in ("all", "streams"):
                console.print(f"\n{name}: streams in real time on {processors()} processors")
                for graph in args.graph:
                    _print_streams(console, clip, graph, args)


@contextmanager
def bench_clips(
    given: Path | None, seconds: float, console: Console, visit_every: float | None = None
) -> Iterator[dict[str, Path]]:
    """The clip that was given, or rendered ones by name while the block lasts.

    ``visit_every``: seconds after which another face comes in; None: one is there all the time.
    """
    if given is not None:
        yield {given.name: given}
        return
    with tempfile.TemporaryDirectory(prefix="padflow-bench-") as folder:
        clips = {}
        for name, size in SIZES.items():
            clip = Path(folder) / f"{name}.mp4"
            with console.status(f"rendering {seconds:g} s of a living face at {name}"):
                render_clip(
                    "live", clip, size=size, fps=25, seconds=seconds, visit_every=visit_every
                )
            megabits = clip.stat().st_size * 8e-6 / seconds
            console.print(f"{name}: rendered, {megabits:.1f} Mbit/s H.264")
            clips[name] = clip
        yield clips


def frame_cost(clip: Path) -> FrameCost:
    """Run the hand-written loop and the default graph over a clip, one after the other."""
    cv2.setNumThreads(1)
    floor = run_floor_loop(clip)
    request = RunRequest((str(clip),), options=RunOptions(workers=0))
    with running(request, lambda packet: None) as run:
        before = time.process_time()
        run.wait()
        used = time.process_time() - before
        metrics = run.metrics()
    frames = metrics.edges[ENTRY].packets_out
    nodes = {name: 1e3 * node.cpu / frames for name, node in metrics.nodes.items()}
    return FrameCost(floor.total_ms, 1e3 * used / frames, nodes)


def _print_cost(console: Console, name: str, costs: list[FrameCost]) -> None:
    console.print(f"\n{name}: CPU-ms a frame, one face, median of {len(costs)} rounds")
    table = Table(box=None, pad_edge=False)
    table.add_column("part")
    table.add_column("median", justify="right")
    for node in costs[0].nodes:
        table.add_row(node, f"{statistics.median(c.nodes[node] for c in costs):.3f}")
    total = statistics.median(c.total for c in costs)
    rest = statistics.median(c.total - sum(c.nodes.values()) for c in costs)
    table.add_row("runtime and start", f"{rest:.3f}")
    table.add_row("graph in all", f"{total:.3f}")
    table.add_row("hand-written loop", f"{statistics.median(c.floor for c in costs):.3f}")
    table.add_row("ratio", f"{statistics.median(c.total / c.floor for c in costs):.3f}")
    console.print(table)


def _print_streams(console: Console, clip: Path, name: str, args: argparse.Namespace) -> None:
    console.print(f"\ngraph {name}")
    console.print(f"{'streams':>8} {'frames':>8} {'dropped':>8} {'p50 ms':>8} {'p99 ms':>8} cores")
    workers = processors() if args.workers is None else args.workers
    best = 0
    for count in range(args.least, args.most + 1, STEP):
        result = run_streams(clip, count, workers, name)
        console.print(
            f"{result.streams:8} {result.frames:8} {result.dropped:8} "
            f"{1e3 * result.age_p50:8.0f} {1e3 * result.age_p99:8.0f} {result.cores:.2f} "
            f"{'carried' if result.carried else 'not carried'}"
        )
        if not result.carried:
            break
        best = count
    console.print(f"carried: {best} streams" if best else f"fewer than {args.least} are carried")


def run_streams(clip: Path, count: int, workers: int, name: str = "default") -> StreamsResult:
    """Play a clip at camera speed as ``count`` streams of a graph, a frame's time apart each."""
    graph = build_graph(RunRequest(sources=(), graph=name))
    taps = dict.fromkeys(event_ports(graph), _ignore)
    with LocalRun(graph, "realtime", RunOptions(workers=workers), taps) as run:
        began, used = time.monotonic(), _cpu_seconds()
        for number in range(count):
            run.add_stream(StreamSpec(f"camera-{number}", str(clip)))
            time.sleep(0.04 / count)
        run.wait()
        seconds = time.monotonic() - began
        metrics = run.metrics()
    # Worker processes are counted once they have ended.
    cores = (_cpu_seconds() - used) / seconds
    return _streams_result(metrics, count, cores)


def _ignore(packet: object) -> None:
    """A tap that keeps events travelling to this process, as they would for a sink."""


def _streams_result(metrics: RunMetrics, count: int, cores: float) -> StreamsResult:
    age = metrics.nodes["decide"].age
    return StreamsResult(
        streams=count,
        frames=metrics.nodes["detect"].packets_in,
        dropped=sum(sum(edge.dropped.values()) for edge in metrics.edges.values()),
        age_p50=age.p50,
        age_p99=age.p99,
        cores=cores,
    )


def _cpu_seconds() -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime
