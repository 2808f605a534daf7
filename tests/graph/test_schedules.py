"""Lossless mode under any schedule gives what the reference gives, packet by packet."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padflow.graph.local import LocalRun, RunOptions
from padflow.graph.node import StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.run import GraphRun
from padflow.graph.spec import Graph
from padflow.graph.testing import Faulty, ListSource, PassThrough
from tests.graph.conftest import MakeRun
from tests.graph.probes import Mix, Splitter
from tests.graph.reference import reference


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph.build("random").add("source", ListSource, {"chunk": draw(st.integers(1, 4))})
    outputs = ["source.out"]
    keyed: set[str] = set()
    for index in range(draw(st.integers(1, 6))):
        name = f"n{index}"
        many = st.lists(st.sampled_from(outputs), min_size=1, max_size=3, unique=True)
        inputs = {"a": draw(many)}
        if draw(st.booleans()):
            inputs["b"] = draw(many)
        used = [ref.split(".")[0] for refs in inputs.values() for ref in refs]
        fuse = draw(st.booleans())
        if draw(st.integers(0, 3)) == 0:
            graph = graph.add(name, Splitter, {}, inputs, fuse=fuse)
            keyed.add(name)
        else:
            if keyed.intersection(used):
                keyed.add(name)
            states = ["none", "stream", "track"] if name in keyed else ["none", "stream"]
            params = {
                "state": draw(st.sampled_from(states)),
                "scope": draw(st.sampled_from(["stream", "stream", "shared"])),
                "max_gap": draw(st.sampled_from([1e9, 2.5])),
                "slow": draw(st.booleans()),
            }
            if params["scope"] == "shared":
                params["batch"] = draw(st.sampled_from([1, 4]))
            graph = graph.add(name, Mix, params, inputs, fuse=fuse)
        outputs += [f"{name}.out", f"{name}.odd"]
    return graph


@st.composite
def streams(draw: st.DrawFn) -> dict[str, list[Packet]]:
    found = {}
    for name in ("s1", "s2", "s3")[: draw(st.integers(1, 3))]:
        packets, now, epoch = [], 0.0, 0
        for value in range(draw(st.integers(0, 25))):
            now += draw(st.sampled_from([0.0, 1.0, 1.0, 1.0, 4.0]))
            epoch += draw(st.integers(0, 9)) == 0
            packets.append(Packet(name, now, epoch, None, value))
        found[name] = packets
    return found


def run_and_compare(graph: Graph, feeds: dict[str, list[Packet]], make_run: Any) -> None:
    places = [f"{s.name}.{port}" for s in graph.nodes for port in s.contract().outputs]
    got: dict[tuple[str, str], list[tuple[Any, ...]]] = {
        (place, stream): [] for place in places for stream in feeds
    }

    def tap(place: str) -> Any:
        return lambda p: got[place, p.stream].append((p.time, p.epoch, p.key, p.payload))

    run: GraphRun = make_run(taps={place: tap(place) for place in places})
    with run:
        for name, packets in feeds.items():
            run.add_stream(StreamSpec(name, "", {"packets": packets}))
        assert run.wait(20.0), "the run did not end"
        metrics = run.metrics()
    assert run.notices() == ()
    for stream, packets in feeds.items():
        for place, expected in reference(graph, packets).items():
            told = [(p.time, p.epoch, p.key, p.payload) for p in expected]
            assert got[place, stream] == told, f"{place} of {stream}"
    for name, edge in metrics.edges.items():
        assert edge.packets_in == edge.packets_out, name
        assert not edge.dropped, name
    assert all(node.states == 0 for node in metrics.nodes.values())


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    graph=graphs(),
    feeds=streams(),
    threads=st.integers(1, 4),
    capacity=st.integers(1, 6),
    fuse=st.booleans(),
)
def test_any_schedule_gives_what_the_reference_gives(
    graph: Graph, feeds: dict[str, list[Packet]], threads: int, capacity: int, fuse: bool
) -> None:
    options = RunOptions(
        threads=threads, workers=0, fuse=fuse, lane_capacity=capacity, stop_timeout=20.0
    )
    run_and_compare(graph, feeds, lambda taps: LocalRun(graph, "lossless", options, taps))


def test_a_slow_link_into_a_stage_with_others_keeps_its_place_at_a_join() -> None:
    graph = (
        Graph.build("g")
        .add("source", ListSource, {"count": 60})
        .add("slow", Faulty, {"sleep": 0.005}, {"in": "source.out"}, fuse=False)
        .add("quick", PassThrough, {}, {"in": "source.out"}, fuse=False)
        .add("x", PassThrough, {}, {"in": "slow.out"}, stage="both")
        .add("y", PassThrough, {}, {"in": "quick.out"}, stage="both")
        .add("join", PassThrough, {}, {"in": ["x.out", "y.out"]}, fuse=False)
    )
    times: list[float] = []
    taps = {"join.out": lambda given: times.append(given.time)}
    with LocalRun(graph, options=RunOptions(workers=0), taps=taps) as run:
        run.add_stream(StreamSpec("s", ""))
        assert run.wait(20.0)
    assert len(times) == 120
    assert times == sorted(times)


@settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(graph=graphs(), feeds=streams(), capacity=st.integers(1, 6), fuse=st.booleans())
def test_any_graph_gives_the_same_in_other_processes(
    make_run_across: MakeRun,
    graph: Graph,
    feeds: dict[str, list[Packet]],
    capacity: int,
    fuse: bool,
) -> None:
    options = RunOptions(fuse=fuse, lane_capacity=capacity, stop_timeout=20.0)
    run_and_compare(graph, feeds, lambda taps: make_run_across(graph, "lossless", options, taps))
