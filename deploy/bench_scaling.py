"""How batching and routing scale: engines that sleep in the place of networks that compute.

A simulated engine sleeps ``CALL + EACH x batch`` seconds a call, as a network on a device of its
own would let the processor wait. So what is measured is ours alone: whether the batches fill,
whether every engine has work, and what the processor spends on a packet on its way.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from rich.console import Console
from rich.table import Table

from ..graph.node import Batching, Contract, Node, Outputs, Port, Source, StreamSpec
from ..graph.options import RunOptions
from ..graph.packet import Packet
from ..graph.ray_options import RayOptions
from ..graph.ray_run import RayRun
from ..graph.spec import Graph
from ..graph.testing import NoParams
from .process_tree import tree_cpu

CALL, EACH = 0.050, 0.010
"""Seconds that a simulated engine sleeps for each call, and for each packet of it."""
BATCH = 16
STREAMS_PER_ENGINE = 16
COUNTS = (1, 2, 4, 8, 16, 32, 64)
MOST_AT_SPEED = 32
"""More engines than this are slower, so that two processors carry their packets: it is routing that
is measured, and not where the processor is full."""
SLOWER, FEWER_STREAMS = 4.0, 8


@dataclass(frozen=True, slots=True)
class SleepParams:
    """How slow a simulated engine is."""

    slower: float = 1.0


class SleepingEngine(Node[SleepParams]):
    """Takes the time of a network and no processor."""

    Params = SleepParams

    def __init__(self, params: SleepParams) -> None:
        """Remember how slow."""
        super().__init__(params)
        self._slower = params.slower

    @classmethod
    def contract(cls, params: SleepParams) -> Contract:
        """Shared, in batches."""
        return Contract(
            inputs={"in": Port(object, "anything")},
            outputs={"out": Port(object, "the same")},
            scope="shared",
            batching=Batching(BATCH, 0.05),
        )

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Sleep and hand on."""
        time.sleep(self._slower * (CALL + EACH * len(packets)))
        return {"out": packets}


class Endless(Source[NoParams]):
    """Packets as fast as they are taken."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        """Numbers."""
        return Contract(outputs={"out": Port(int, "counts up")})

    def stream(self, spec: StreamSpec, cancel: Event) -> Iterator[Outputs]:
        """See :class:`Source`."""
        number = 0
        while not cancel.is_set():
            yield {"out": [Packet(spec.name, number / 5.0, 0, None, number)]}
            number += 1


@dataclass(frozen=True, slots=True)
class Scaled:
    """How a number of engines fared."""

    engines: int
    streams: int
    packets_a_second: float
    ideal: float
    """Packets a second of engines that always have full batches."""
    fill: float
    """Packets a call."""
    cpu_us: float
    """CPU microseconds a packet, all processes."""
    cores: float

    @property
    def efficiency(self) -> float:
        """Share of the ideal."""
        return self.packets_a_second / self.ideal


def bench_scaling(seconds: float, counts: Sequence[int] = COUNTS) -> None:
    """Print the table."""
    console = Console()
    console.print(
        f"engines sleep {1e3 * CALL:g} ms a call and {1e3 * EACH:g} ms a packet, "
        f"batches of {BATCH}; "
        f"{SLOWER:g} times as long where there are more than {MOST_AT_SPEED}"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("engines", "streams", "packets/s", "efficiency", "fill", "CPU-us a packet"):
        table.add_column(column, justify="right")
    table.add_column("cores", justify="right")
    for count in counts:
        scaled = scale(count, seconds)
        table.add_row(
            str(count),
            str(scaled.streams),
            f"{scaled.packets_a_second:.0f}",
            f"{scaled.efficiency:.3f}",
            f"{scaled.fill:.1f}",
            f"{scaled.cpu_us:.0f}",
            f"{scaled.cores:.2f}",
        )
        console.print(f"{count} engines: {scaled.efficiency:.3f} of the ideal")
    console.print(table)


def scale(engines: int, seconds: float) -> Scaled:
    """Run so many simulated engines at their limit for some seconds."""
    many = engines > MOST_AT_SPEED
    slower = SLOWER if many else 1.0
    graph = (
        Graph.build("scaling")
        .add("source", Endless)
        .add("engine", SleepingEngine, {"slower": slower}, {"in": "source.out"})
        .add("sink", _Count, {}, {"in": "engine.out"})
    )
    workers = min(2, engines)
    streams = engines * (FEWER_STREAMS if many else STREAMS_PER_ENGINE)
    spread = RayOptions(
        workers=workers,
        worker_cpu=0.01,
        engines="apart",
        engine_replicas=engines,
        engine_cpu=0.01,
        streams_per_worker=streams,
    )
    with RayRun(
        graph, "lossless", RunOptions(lane_capacity=4, stop_timeout=60.0), ray_options=spread
    ) as run:
        for number in range(streams):
            run.add_stream(StreamSpec(f"s{number}", ""))
        time.sleep(3.0)
        before, used, began = run.metrics(), tree_cpu(os.getpid()), time.monotonic()
        time.sleep(seconds)
        used = tree_cpu(os.getpid()) - used
        after, took = run.metrics(), time.monotonic() - began
        run.stop(drain=False)
    packets = after.nodes["engine"].packets_in - before.nodes["engine"].packets_in
    calls = after.nodes["engine"].calls - before.nodes["engine"].calls
    ideal = engines * BATCH / (slower * (CALL + EACH * BATCH))
    return Scaled(
        engines, streams, packets / took, ideal, packets / calls, 1e6 * used / packets, used / took
    )


class _Count(Node[NoParams]):
    """Takes packets and gives none."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        """Per stream."""
        return Contract(inputs={"in": Port(object, "anything")})

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        """Nothing."""
        return {}
