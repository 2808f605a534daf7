"""What it costs to pass a packet from node to node: ``python -m padflow.deploy.bench_hops``.

Microseconds of CPU (all threads of the process) for each packet and hop, for chains of pass-through
nodes, beside a bare ``queue.Queue`` between threads and bytewax, measured in the same run. A hop is
the way into one node; making the packets and starting the threads are part of the measured time.
"""

import argparse
import queue
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..graph.execute import StageExecutor, StageSetting
from ..graph.local import LocalRun, RunOptions
from ..graph.merge import Tick
from ..graph.node import StreamSpec
from ..graph.packet import Packet
from ..graph.plan import make_plan
from ..graph.testing import chain, packet

STREAM = "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    hops: int
    microseconds: float | None
    """CPU microseconds for each packet and hop, the median of the rounds."""
    note: str = ""


def measure_chain(
    packets: Sequence[Packet], length: int, *, fuse: bool, chunk: int, capacity: int
) -> float:
    """CPU seconds that a chain of pass-through nodes takes for the packets."""
    graph = chain(length, source={"chunk": chunk})
    options = RunOptions(workers=0, fuse=fuse, lane_capacity=capacity)
    with LocalRun(graph, options=options) as run:
        before = time.process_time()
        run.add_stream(StreamSpec(STREAM, "", {"packets": packets}))
        run.wait()
        used = time.process_time() - before
        handled = run.metrics().nodes[f"n{length - 1}"].packets_out
    if handled != len(packets):
        raise RuntimeError(f"expected {len(packets)} packets through the chain, found {handled}")
    return used


def measure_queue(packets: Sequence[Packet], length: int, capacity: int) -> float:
    """CPU seconds that as many threads with a ``queue.Queue`` before each take."""
    queues: list[queue.Queue[Packet | None]] = [queue.Queue(capacity) for _ in range(length)]

    def hand_on(index: int) -> None:
        get = queues[index].get
        put = queues[index + 1].put if index + 1 < length else None
        while (item := get()) is not None:
            if put is not None:
                put(item)
        if put is not None:
            put(None)

    threads = [threading.Thread(target=hand_on, args=(i,), daemon=True) for i in range(length)]
    before = time.process_time()
    for thread in threads:
        thread.start()
    for item in packets:
        queues[0].put(item)
    queues[0].put(None)
    for thread in threads:
        thread.join()
    return time.process_time() - before


def measure_bytewax(packets: Sequence[Packet], length: int) -> float:
    """CPU seconds that a bytewax dataflow of as many ``map`` steps takes.

    Raises:
        ImportError: bytewax is not installed.
    """
    import bytewax.operators as op
    from bytewax import testing
    from bytewax.dataflow import Dataflow

    out: list[Any] = []
    flow = Dataflow("bench")
    stream = op.input("source", flow, testing.TestingSource(packets, batch_size=256))
    for index in range(length):
        stream = op.map(f"n{index}", stream, lambda item: item)
    op.output("sink", stream, testing.TestingSink(out))
    before = time.process_time()
    run: Callable[[Any], None] = testing.run_main
    run(flow)
    return time.process_time() - before


class _Nowhere:
    def __call__(self, *_: object) -> None: ...


def measure_call_overhead(length: int, calls: int) -> float:
    """CPU seconds for each call of a fused stage with one packet: the price of a frame."""
    plan = make_plan(chain(length))
    setting = StageSetting("realtime", 0, 10, _Nowhere())
    executor = StageExecutor(plan, plan.stages[1], setting, {})
    executor.open()
    ticks = [Tick(n / 25, [(0, [packet(STREAM, n / 25, n)], 0)]) for n in range(calls)]
    before = time.process_time()
    for tick in ticks:
        executor.execute(tick)
    used = time.process_time() - before
    executor.close()
    return used / calls


def measure(count: int, rounds: int, capacity: int) -> list[Row]:
    """All rows of the table."""
    packets = [packet(STREAM, n / 25, n) for n in range(count)]
    rows = []
    for hops in (1, 10):
        for name, once in _contenders(packets, hops, capacity).items():
            try:
                each = [once() / count / hops * 1e6 for _ in range(rounds)]
                rows.append(Row(name, hops, statistics.median(each)))
            except ImportError as error:
                rows.append(Row(name, hops, None, f"skipped: {error}"))
    return rows


def _contenders(
    packets: Sequence[Packet], hops: int, capacity: int
) -> dict[str, Callable[[], float]]:
    found: dict[str, Callable[[], float]] = {
        "queue.Queue between threads": partial(measure_queue, packets, hops, capacity)
    }
    for fuse in (False, True):
        for chunk in (1, 32):
            name = f"padflow {'fused' if fuse else 'unfused'}, source gives {chunk} at once"
            found[name] = partial(
                measure_chain, packets, hops, fuse=fuse, chunk=chunk, capacity=capacity
            )
    found["bytewax map, 256 at once"] = partial(measure_bytewax, packets, hops)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="padflow.deploy.bench_hops", description=__doc__)
    parser.add_argument("--packets", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is told")
    parser.add_argument("--capacity", type=int, default=256, help="packets a lane or queue holds")
    args = parser.parse_args(argv)
    print(f"{'µs CPU per packet and hop':44} {'hops':>4} {'µs':>8}")
    for row in measure(args.packets, args.rounds, args.capacity):
        told = row.note if row.microseconds is None else f"{row.microseconds:8.2f}"
        print(f"{row.name:44} {row.hops:4} {told}")
    calls = max(1000, args.packets // 10)
    overhead = statistics.median(measure_call_overhead(8, calls) for _ in range(args.rounds))
    print(f"one packet through a fused stage of 8 nodes: {overhead * 1e6:.1f} µs CPU a call")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
