"""What each node of a graph costs for a face, and how often each cue looks and tells."""

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from ..graph.local import LocalRun
from ..graph.node import StreamSpec
from ..graph.options import RunOptions
from ..graph.packet import Packet
from ..nodes.evidence import Evidence
from ..nodes.payloads import FaceObservation
from .bench_pipeline import bench_clips
from .exits import UsageError
from .session import RunRequest, build_graph, ports_of_type


@dataclass(frozen=True, slots=True)
class NodeCost:
    """Of one node, for each second of a face."""

    taken: float
    """Packets that came in."""
    told: float
    """Evidence that went out."""
    valued: float
    """Of it, with a ratio."""
    cpu: float
    """CPU milliseconds."""


@dataclass(frozen=True, slots=True)
class GraphCost:
    """What a graph cost over a clip."""

    faces: float
    """Seconds of faces."""
    nodes: Mapping[str, NodeCost]
    total: float
    """CPU milliseconds of the whole process for each second of a face."""


def bench_cues(args: argparse.Namespace) -> None:
    """Print a table of each graph's nodes, on the first clip."""
    console = Console()
    with bench_clips(args.clip, args.seconds, console, args.visit_every) as clips:
        clip = next(iter(clips.values()))
        for graph in args.graph:
            _print_costs(console, clip, graph, args.rounds)


def _print_costs(console: Console, clip: Path, graph: str, rounds: int) -> None:
    costs = [graph_cost(clip, graph) for _ in range(rounds)]
    console.print(
        f"{clip.name}, graph {graph}: for each of {costs[0].faces:.1f} s of a face, median of "
        f"{len(costs)} rounds"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("node")
    for name in ("packets in", "evidence", "with a ratio", "CPU-ms", "CPU-ms a packet"):
        table.add_column(name, justify="right")
    for name, first in costs[0].nodes.items():
        cpu = statistics.median(cost.nodes[name].cpu for cost in costs)
        told = (f"{first.told:.1f}", f"{first.valued:.1f}") if first.told else ("", "")
        each = f"{cpu / first.taken:.2f}" if first.taken else ""
        table.add_row(name, f"{first.taken:.1f}", *told, f"{cpu:.1f}", each)
    rest = statistics.median(c.total - sum(n.cpu for n in c.nodes.values()) for c in costs)
    table.add_row("runtime and start", "", "", "", f"{rest:.1f}")
    table.add_row("in all", "", "", "", f"{statistics.median(c.total for c in costs):.1f}")
    console.print(table)


def graph_cost(clip: Path, name: str) -> GraphCost:
    """Run a graph over a clip as fast as it goes, in this process.

    Raises:
        UsageError: no face is in the clip.
    """
    cv2.setNumThreads(1)
    graph = build_graph(RunRequest((), graph=name, mode="lossless"))
    told: dict[str, list[bool]] = {}
    seen: dict[int | None, list[float]] = {}
    lock = threading.Lock()
    cues = {port: port.partition(".")[0] for port in ports_of_type(graph, Evidence)}

    def hear(node: str, packet: Packet) -> None:
        with lock:
            told.setdefault(node, []).append(packet.payload.llr is not None)

    def see(packet: Packet) -> None:
        with lock:
            seen.setdefault(packet.key, []).append(packet.time)

    taps: dict[str, Callable[[Packet], None]] = {
        port: partial(hear, node) for port, node in cues.items()
    }
    taps |= dict.fromkeys(ports_of_type(graph, FaceObservation), see)
    with LocalRun(graph, "lossless", RunOptions(workers=0), taps) as run:
        before = time.process_time()
        run.add_stream(StreamSpec("clip", str(clip)))
        run.wait()
        used = time.process_time() - before
        nodes = run.metrics().nodes
    faces = sum(times[-1] - times[0] for times in seen.values())
    if not faces:
        raise UsageError(f"{clip}: expected a face for a while, found none; give another clip")
    return GraphCost(
        faces,
        {
            node: NodeCost(
                found.packets_in / faces,
                len(told.get(node, ())) / faces,
                sum(told.get(node, ())) / faces,
                1e3 * found.cpu / faces,
            )
            for node, found in nodes.items()
        },
        1e3 * used / faces,
    )
