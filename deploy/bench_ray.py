"""The same clip on the local runtime and on Ray, one after the other in one run.

CPU is that of every process of the tree: this one, workers, and all of Ray's own. Frames are played
at camera speed (realtime), so that ages mean something; starting and stopping are not counted.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..graph.local import LocalRun
from ..graph.node import StreamSpec
from ..graph.options import RunOptions
from ..graph.ray_options import RayOptions
from ..graph.ray_run import RayRun
from ..graph.run import GraphRun
from .process_tree import tree_cpu
from .session import RunRequest, build_graph, event_ports

COUNTS = (1, 4, 8)
SETTLING = 2.0
"""Seconds before the measuring begins."""


@dataclass(frozen=True, slots=True)
class RuntimeCost:
    """How one runtime fared with a number of streams."""

    runtime: str
    streams: int
    frames_a_second: float
    cpu_ms: float
    """CPU milliseconds a frame."""
    age_p50: float
    age_p99: float
    dropped: int


def bench_ray(clip: Path, seconds: float, counts: tuple[int, ...] = COUNTS) -> None:
    """Print the table of runtimes and streams."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("streams", "runtime"):
        table.add_column(column)
    for column in ("frames/s", "CPU-ms a frame", "to local", "age p50 ms", "p99 ms", "dropped"):
        table.add_column(column, justify="right")
    for count in counts:
        local = None
        for name in ("local", "ray, within", "ray, apart"):
            cost = runtime_cost(name, clip, count, seconds)
            local = local or cost
            table.add_row(
                str(count),
                name,
                f"{cost.frames_a_second:.1f}",
                f"{cost.cpu_ms:.2f}",
                f"{cost.cpu_ms / local.cpu_ms:.3f}",
                f"{1e3 * cost.age_p50:.0f}",
                f"{1e3 * cost.age_p99:.0f}",
                str(cost.dropped),
            )
            console.print(f"{count} streams, {name}: {cost.cpu_ms:.2f} CPU-ms a frame")
    console.print(table)


def runtime_cost(name: str, clip: Path, streams: int, seconds: float) -> RuntimeCost:
    """Play a clip as so many cameras for some seconds on one runtime."""
    with _run(name) as run:
        for number in range(streams):
            run.add_stream(StreamSpec(f"camera-{number}", str(clip)))
            time.sleep(0.2 / streams)
        time.sleep(SETTLING)
        before, used, began = run.metrics(), tree_cpu(os.getpid()), time.monotonic()
        time.sleep(seconds)
        used = tree_cpu(os.getpid()) - used
        after, took = run.metrics(), time.monotonic() - began
        frames = after.nodes["detect"].packets_in - before.nodes["detect"].packets_in
        age = after.nodes["decide"].age
        dropped = sum(sum(edge.dropped.values()) for edge in after.edges.values())
        run.stop(drain=False)
    return RuntimeCost(name, streams, frames / took, 1e3 * used / frames, age.p50, age.p99, dropped)


@contextmanager
def _run(name: str) -> Iterator[GraphRun]:
    graph = build_graph(RunRequest(sources=()))
    taps = dict.fromkeys(event_ports(graph), _ignore)
    run: GraphRun
    if name == "local":
        run = LocalRun(graph, "realtime", RunOptions(workers=2), taps)
    else:
        apart = name.endswith("apart")
        spread = RayOptions(
            spare_workers=0,  # what is measured is what works
            spare_engines=0,
            workers=1 if apart else 2,
            engines="apart" if apart else "within",
            engine_replicas=1,
        )
        run = RayRun(graph, "realtime", RunOptions(), taps, None, spread)
    with run:
        yield run


def _ignore(packet: object) -> None:
    """A tap that keeps events travelling to this process, as they would for a sink."""
