"""What a run counts of its nodes: resets by reason, how long calls took, and their sums."""

from collections.abc import Sequence
from math import ceil, isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.local import LocalRun, RunOptions
from padflow.graph.metrics import (
    DURATION_BOUNDS,
    DurationHistogram,
    NodeCounters,
    NodeMetrics,
    RunMetrics,
    merged,
)
from padflow.graph.node import Begin, Contract, Node, Outputs, Port, StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import (
    Counter,
    Faulty,
    ListSource,
    NoParams,
    PassThrough,
    packet,
    wait_until,
)

seconds = st.floats(0, 1000, allow_nan=False)


class Remembers(Node[NoParams]):
    """Keeps a state by stream for at most a second and raises on the payload 3."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        return Contract(inputs={"in": Port(object, "any")}, state="stream", max_gap=1.0)

    def new_state(self, begin: Begin) -> str:
        return begin.reason

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        if any(given.payload == 3 for given in packets):
            raise RuntimeError("asked to raise on 3")
        return {}


def counted(calls: list[tuple[float, float | None]], resets: list[str]) -> NodeMetrics:
    counters = NodeCounters()
    for wall, age in calls:
        counters.called(wall, wall / 2, age)
    for reason in resets:
        counters.reset(reason)
    return counters.snapshot()


@given(
    st.lists(st.tuples(seconds, seconds | st.none())), st.lists(st.sampled_from(("gap", "epoch")))
)
def test_every_call_and_reset_is_counted_once(
    calls: list[tuple[float, float | None]], resets: list[str]
) -> None:
    node = counted(calls, resets)
    assert sum(node.latency.counts) == len(calls)
    assert node.latency.total == node.busy == pytest.approx(sum(wall for wall, _ in calls))
    ages = [age for _, age in calls if age is not None]
    assert sum(node.age.counts) == len(ages)
    assert node.age.total == pytest.approx(sum(ages))
    assert node.resets == {reason: resets.count(reason) for reason in set(resets)}


@given(st.lists(seconds, min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_right_to_a_bucket(durations: list[float], share: float) -> None:
    told = counted([(each, None) for each in durations], []).latency.quantile(share)
    wanted = sorted(durations)[ceil(share * len(durations)) - 1]
    lowest, highest = DURATION_BOUNDS[0], DURATION_BOUNDS[-1]
    assert min(max(wanted, lowest), highest) <= told * (1 + 1e-9)
    assert told <= max(min(wanted, highest) * 1.26, lowest)


def test_nothing_has_no_quantile() -> None:
    assert isnan(DurationHistogram().p50)


def test_processes_are_added_up() -> None:
    a = counted([(0.01, 0.02)], ["gap", "fault"])
    b = counted([(0.03, None), (0.04, 1.0)], ["gap"])
    both = merged(RunMetrics({"n": node}, {}, {}, 0) for node in (a, b)).nodes["n"]
    together = counted([(0.01, 0.02), (0.03, None), (0.04, 1.0)], ["gap", "fault", "gap"])
    assert both == together


def test_a_run_counts_resets_by_reason() -> None:
    graph = (
        Graph.build("g").add("source", ListSource).add("probe", Remembers, {}, {"in": "source.out"})
    )
    packets: list[Packet] = [
        packet("s", 0.0, 0),
        packet("s", 2.0, 1),
        packet("s", 2.5, 2, epoch=1),
        packet("s", 3.0, 3, epoch=1),
        packet("s", 3.5, 4, epoch=1),
        packet("s", 9.0, 5, epoch=2),
    ]
    with LocalRun(graph, options=RunOptions(workers=0)) as run:
        run.add_stream(StreamSpec("s", "", {"packets": packets}))
        assert run.wait(10)
        nodes = run.metrics().nodes
    assert nodes["probe"].resets == {"gap": 1, "epoch": 2, "fault": 1}
    assert nodes["source"].resets == {}
    assert sum(nodes["source"].latency.counts) == 0, "a source waits for its camera"


def test_calls_and_latencies_are_the_same_number() -> None:
    graph = (
        Graph.build("g")
        .add("source", ListSource)
        .add("first", PassThrough, {}, {"in": "source.out"})
        .add("count", Counter, {}, {"in": "first.out"})
        .add("fails", Faulty, {"every": 7}, {"in": "first.out"})
    )
    with LocalRun(graph, options=RunOptions(workers=0)) as run:
        run.add_stream(StreamSpec("s", "", {"count": 100}))
        assert run.wait(10)
        nodes = run.metrics().nodes
    for name in ("first", "count", "fails"):
        assert sum(nodes[name].latency.counts) == nodes[name].calls > 0
        assert 0 < nodes[name].latency.p50 <= nodes[name].latency.p99


def test_drops_are_counted_by_stream_while_it_runs() -> None:
    graph = (
        Graph.build("g")
        .add("source", ListSource)
        .add("slow", Faulty, {"sleep": 0.2}, {"in": "source.out"})
    )
    few = RunOptions(workers=0, entry_capacity=2)
    with LocalRun(graph, "realtime", few) as run:
        run.add_stream(StreamSpec("fast", "", {"count": 100_000, "delay": 0.001}))
        run.add_stream(StreamSpec("calm", "", {"count": 100_000, "delay": 1.0}))
        assert wait_until(lambda: sum(run.metrics().streams["fast"].dropped.values()) > 50)
        streams = run.metrics().streams
        run.remove_stream("fast")
        run.remove_stream("calm")
        assert run.wait(10)
        edges = run.metrics().edges
    assert sum(streams["calm"].dropped.values()) < 5
    of_streams = sum(sum(stream.dropped.values()) for stream in streams.values())
    assert of_streams <= sum(edges["source.out->slow.in"].dropped.values())
