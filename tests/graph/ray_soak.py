"""Streams and tracks come and go by the thousand on Ray: what does not go with them?

``python tests/graph/ray_soak.py --streams 1000 --tracks 10`` adds a stream, waits for its end and
adds the next, so often; every stream has so many tracks, with state by track in a worker and in an
engine. Prints what each process holds after the first tenth and at the end; exits 1 if it grew.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from padflow.deploy.process_tree import tree_of
from padflow.graph.node import StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.ray_options import RayOptions
from padflow.graph.ray_run import RayRun
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, PerTrack, Renumber

SIDE_BY_SIDE = 8
MOST_GROWTH = 8 << 20
"""Bytes by which a process may grow: pages that allocators keep."""


def graph() -> Graph:
    """Tracks with state on both sides."""
    return (
        Graph.build("soak")
        .add("source", ListSource)
        .add("tracks", Renumber, {}, {"in": "source.out"})
        .add("counts", PerTrack, {}, {"in": "tracks.out"})
        .add("engine", PerTrack, {"shared": True}, {"in": "counts.out"})
        .add("last", PerTrack, {}, {"in": ["engine.out", "counts.out"]})
    )


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--tracks", type=int, default=10, help="of each stream")
    args = parser.parse_args()
    spread = RayOptions(
        workers=1, worker_cpu=0.5, engines="apart", engine_replicas=1, engine_cpu=0.5
    )
    with RayRun(graph(), "lossless", RunOptions(), ray_options=spread) as run:
        first, last = soak(run, args.streams, args.tracks)
        states = {name: node.states for name, node in run.metrics().nodes.items()}
    print(f"{'process':12} {'':7} {'MiB':>8} {'threads':>8} {'files':>8} {'streams':>8}")
    for name in last:
        for when, found in (("first", first), ("last", last)):
            rss, threads, files, streams = found[name]
            print(f"{name:12} {when:7} {rss / 2**20:8.1f} {threads:8} {files:8} {streams:8}")
    grown = growth(first, last, states)
    print("\n".join(grown) or "nothing grew")
    return bool(grown)


def soak(run: RayRun, streams: int, tracks: int) -> tuple[Mapping[str, tuple[int, ...]], ...]:
    """What each process holds after the first tenth of the streams and after all."""
    first: Mapping[str, tuple[int, ...]] = {}
    for number in range(streams):
        # Every fourth would go on for long: it is removed while it gives.
        endless = number % 4 == 3
        options = {"count": 5_000 if endless else tracks, "rate": 5.0, "delay": 0.001}
        run.add_stream(StreamSpec(f"s{number}", "", options))
        if endless:
            time.sleep(0.002 * tracks)
            run.remove_stream(f"s{number}")
        while sum(s.state == "running" for s in run.streams().values()) >= SIDE_BY_SIDE:
            time.sleep(0.005)
        if number == streams // 10:
            run.wait(30)
            first = holds(run)
    if not run.wait(60):
        raise RuntimeError("expected all streams to end, found some that run")
    time.sleep(1.0)
    return first, holds(run)


def holds(run: RayRun) -> Mapping[str, tuple[int, ...]]:
    """Resident bytes, threads, open files and streams by process; all of Ray's as ``processes``."""
    found: dict[str, tuple[int, ...]] = {
        name: (load.rss, load.threads, load.files, load.streams)
        for name, load in run.loads().items()
    }
    own = Path("/proc/self")
    pages = int((own / "statm").read_text().split()[1])
    found["driver"] = (
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(list((own / "task").iterdir())),
        len(list((own / "fd").iterdir())),
        len(run.placement()),
    )
    found["processes"] = (0, len(tree_of(os.getpid())), 0, 0)
    return found


def growth(
    first: Mapping[str, tuple[int, ...]],
    last: Mapping[str, tuple[int, ...]],
    states: Mapping[str, int],
) -> list[str]:
    """What grew, in words."""
    told = [f"node {name} still has {count} states" for name, count in states.items() if count]
    for name, (rss, threads, files, streams) in last.items():
        before = first[name]
        if rss > before[0] + MOST_GROWTH:
            told.append(f"{name}: {(rss - before[0]) / 2**20:.1f} MiB more")
        if threads > before[1] + 2 or files > before[2] + 4 or streams:
            told.append(f"{name}: threads {before[1]} -> {threads}, files {before[2]} -> {files}")
    return told


if __name__ == "__main__":
    sys.exit(main())
