"""What a run promises, on every runtime: in threads, in worker processes, on Ray."""

import time
from pathlib import Path
from typing import Any

import pytest

from padflow.graph.errors import GraphError, NodeFailed, StopTimeout
from padflow.graph.node import StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import (
    Collect,
    CollectParams,
    Counter,
    Faulty,
    ListSource,
    PassThrough,
    PerTrack,
    Renumber,
    chain,
    packet,
    wait_until,
)
from tests.graph.conftest import MakeRun
from tests.graph.probes import Numbered, Probe, ProbeParams, Stuck, StuckParams, read_log

PATIENCE = 60.0


def fork(into: list[tuple[str, Packet]], faulty: dict[str, Any] | None = None) -> Graph:
    """A fork that joins, with state, an engine on one branch, and a single sink."""
    return (
        Graph.build("fork")
        .add("source", ListSource, {"chunk": 2})
        .add("faulty", Faulty, faulty or {}, {"in": "source.out"})
        .add("count", Counter, {}, {"in": "faulty.out"})
        .add("engine", Probe, ProbeParams(scope="shared", batch=4), {"in": "count.out"})
        .add("join", PassThrough, {}, {"in": ["engine.out", "source.out"]})
        .add("sink", Collect, CollectParams(into), {"in": ["join.out", "count.out"]})
    )


def told(packets: list[Packet]) -> dict[str, list[tuple[float, Any]]]:
    by_stream: dict[str, list[tuple[float, Any]]] = {}
    for each in packets:
        by_stream.setdefault(each.stream, []).append((each.time, each.payload))
    return by_stream


def ping_pong() -> Graph:
    """From streams to engines and back, twice: stages that feed each other between processes."""
    graph = Graph.build("ping-pong").add("source", ListSource)
    before = "source"
    for index in range(2):
        engine = ProbeParams(scope="shared", batch=2)
        graph = graph.add(f"engine{index}", Probe, engine, {"in": f"{before}.out"})
        graph = graph.add(f"back{index}", Counter, {}, {"in": f"engine{index}.out"})
        before = f"back{index}"
    return graph.add("join", PassThrough, {}, {"in": ["back1.out", "source.out"]})


def test_every_runtime_gives_the_same_packets_in_the_same_order(runtime: MakeRun) -> None:
    into: list[tuple[str, Packet]] = []
    tapped: list[Packet] = []
    with runtime(fork(into), taps={"count.out": tapped.append}) as run:
        for index in range(4):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 20 + index}))
        assert run.wait(PATIENCE)
        metrics = run.metrics()
    assert run.notices() == ()
    for index in range(4):
        count = 20 + index
        numbers = [(n / 25, n + 1) for n in range(count)]
        assert told(tapped)[f"s{index}"] == [*numbers, ((count - 1) / 25, -count)]
        joined = [p for port, p in into if p.stream == f"s{index}"]
        times = [p.time for p in joined]
        assert times == sorted(times)
        # Counts by both ways into the sink, the engine's last word, and what the source gave.
        assert len(joined) == 3 * count + 3
    for name, edge in metrics.edges.items():
        assert edge.packets_in == edge.packets_out, name
        assert not edge.dropped, name
    assert {name: s.packets for name, s in run.streams().items()} == {
        f"s{index}": 20 + index for index in range(4)
    }
    assert all(node.states == 0 for node in metrics.nodes.values())


@pytest.mark.parametrize("capacity", [1, 2, 16])
def test_stages_that_feed_each_other_back_and_forth_do_not_wait_for_each_other(
    runtime: MakeRun, capacity: int
) -> None:
    got: list[Packet] = []
    options = RunOptions(lane_capacity=capacity)
    with runtime(ping_pong(), "lossless", options, {"join.out": got.append}) as run:
        for index in range(3):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 60}))
        assert run.wait(PATIENCE)
    for packets in told(got).values():
        times = [at for at, _ in packets]
        assert times == sorted(times)
        assert len(packets) == 60 + 60 + 4  # what was given, its counts, four last words


def test_state_by_track_ends_with_its_track(runtime: MakeRun) -> None:
    graph = (
        Graph.build("tracks")
        .add("source", ListSource)
        .add("tracks", Renumber, {}, {"in": "source.out"})
        .add("counts", PerTrack, {}, {"in": "tracks.out"})
        .add("engine", PerTrack, {"shared": True}, {"in": "counts.out"})
        .add("last", PerTrack, {}, {"in": ["engine.out", "counts.out"]})
    )
    got: list[Packet] = []
    with runtime(graph, taps={"last.out": got.append}) as run:
        for index in range(2):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 40}))
        assert run.wait(PATIENCE)
        metrics = run.metrics()
    assert [node.states for node in metrics.nodes.values()] == [0] * 5
    keys = {(p.stream, p.key) for p in got}
    assert keys == {(f"s{index}", key) for index in range(2) for key in range(1, 41)}
    assert {p.payload for p in got} == {1, 2}


def test_gaps_and_epochs_reset_and_the_reasons_are_told(runtime: MakeRun, tmp_path: Path) -> None:
    log = tmp_path / "log"
    graph = (
        Graph.build("g")
        .add("source", ListSource)
        .add("probe", Probe, ProbeParams(str(log), max_gap=2.0), {"in": "source.out"})
    )
    packets = [packet("s", at, index) for index, at in enumerate((0.0, 1.0, 9.0))]
    packets += [packet("s", 9.5, 3, epoch=1), packet("s", 10.0, 4, epoch=1)]
    with runtime(graph) as run:
        run.add_stream(StreamSpec("s", "", {"packets": packets}))
        assert run.wait(PATIENCE)
        resets = run.metrics().nodes["probe"].resets
    seen = [entry for entry in read_log(log) if entry[0] in ("new_state", "finish")]
    assert [entry[3] for entry in seen if entry[0] == "new_state"] == ["first", "gap", "epoch"]
    assert [entry[5] for entry in seen if entry[0] == "finish"] == [[0, 1], [2], [3, 4]]
    assert dict(resets) == {"gap": 1, "epoch": 1}


def test_a_stream_may_begin_in_a_later_epoch_with_later_tracks(runtime: MakeRun) -> None:
    graph = (
        Graph.build("g").add("source", ListSource).add("tracks", Renumber, {}, {"in": "source.out"})
    )
    got: list[Packet] = []
    with runtime(graph, taps={"tracks.out": got.append}) as run:
        run.add_stream(StreamSpec("s", "", {"count": 3}, epoch=4, first_key=17))
        assert run.wait(PATIENCE)
    assert [(p.epoch, p.key) for p in got] == [(4, 17), (4, 18), (4, 19)]


def test_faults_lose_their_batch_and_are_told_and_counted(runtime: MakeRun) -> None:
    into: list[tuple[str, Packet]] = []
    with runtime(fork(into, {"every": 7})) as run:
        run.add_stream(StreamSpec("s", "", {"count": 20, "delay": 0.002}))
        assert run.wait(PATIENCE)
        dropped = run.metrics().nodes["faulty"].dropped
    assert dropped["fault"] >= 3
    assert any(n.node == "faulty" and "asked to raise" in n.message for n in run.notices())
    assert run.streams()["s"].reason == "end"


def test_a_node_that_keeps_raising_fails_the_run(runtime: MakeRun) -> None:
    run = runtime(fork([], {"every": 1}), "lossless", RunOptions(max_faults_in_a_row=3))
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 50, "delay": 0.002}))
    with pytest.raises(NodeFailed, match="'faulty' raised 3 times in a row"):
        run.wait(PATIENCE)
    run.stop()


def test_a_node_that_does_not_open_fails_the_start(runtime: MakeRun) -> None:
    run = runtime(fork([], {"in_open": True}))
    with pytest.raises(NodeFailed, match=r"'faulty' could not be opened.*asked to raise in open"):
        run.start()


def test_a_tap_that_raises_fails_the_run(runtime: MakeRun) -> None:
    def tap(given: Packet) -> None:
        raise ZeroDivisionError("by zero")

    run = runtime(chain(1), "lossless", None, {"n0.out": tap})
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 3}))
    with pytest.raises(GraphError, match=r"tap on 'n0.out' raised ZeroDivisionError"):
        run.wait(PATIENCE)
    run.stop()


def test_processes_beside_each_other_have_numbers_of_their_own(make_run_across: MakeRun) -> None:
    """By which engines take another GPU each."""
    seen: list[Packet] = []
    graph = (
        Graph.build("numbers")
        .add("source", ListSource)
        .add("number", Numbered, {}, {"in": "source.out"})
    )
    with make_run_across(graph, taps={"number.out": seen.append}) as run:
        for name in ("a", "b"):
            run.add_stream(StreamSpec(name, "", {"count": 20, "delay": 0.01}))
        assert run.wait(PATIENCE)
    assert {packet.payload for packet in seen} == {"0", "1"}


def test_what_does_not_pickle_is_told_with_what_to_do(make_run_across: MakeRun) -> None:
    run = make_run_across(
        fork([], {"lambdas": True}), "lossless", None, {"faulty.out": lambda packet: None}
    )
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 3}))
    with pytest.raises(GraphError, match=r"cannot leave their .*process.*workers=0"):
        run.wait(PATIENCE)
    run.stop(drain=False)


def test_streams_come_and_go_while_it_runs(runtime: MakeRun) -> None:
    with runtime(chain(2)) as run:
        run.add_stream(StreamSpec("long", "", {"count": 20_000, "delay": 0.002}))
        for index in range(5):
            run.add_stream(StreamSpec(f"short{index}", "", {"count": 5}))
        assert wait_until(lambda: run.streams()["short4"].state == "ended", PATIENCE)
        with pytest.raises(GraphError, match="found a stream of this name running"):
            run.add_stream(StreamSpec("long", ""))
        assert wait_until(lambda: run.streams()["long"].packets > 5, PATIENCE)
        run.remove_stream("long")
        assert run.wait(PATIENCE)
        assert run.streams()["long"].reason == "removed"
        run.add_stream(StreamSpec("long", "", {"count": 3}))
        assert run.wait(PATIENCE)
        with pytest.raises(GraphError, match="found 'lung'"):
            run.remove_stream("lung")
        streams = run.streams()
    assert (streams["long"].packets, streams["long"].reason) == (3, "end")


@pytest.mark.parametrize("drain", [True, False])
def test_stop_is_bounded_and_drains_where_asked(runtime: MakeRun, drain: bool) -> None:
    into: list[tuple[str, Packet]] = []
    graph = chain(2).add("sink", Collect, CollectParams(into), {"in": "n1.out"})
    run = runtime(graph)
    run.start()
    for index in range(2):
        run.add_stream(StreamSpec(f"s{index}", "", {"count": 50_000, "delay": 0.001}))
    assert wait_until(lambda: len(into) > 10, PATIENCE)
    started = time.monotonic()
    run.stop(drain=drain)
    assert time.monotonic() - started < 15.0
    streams = run.streams()
    assert {stream.reason for stream in streams.values()} == {"stopped"}
    if drain:
        assert sum(stream.packets for stream in streams.values()) == len(into)


def test_a_node_that_does_not_return_cannot_hang_the_stop(runtime: MakeRun, tmp_path: Path) -> None:
    release = tmp_path / "release"
    graph = chain(1).add("stuck", Stuck, StuckParams(str(release)), {"in": "n0.out"})
    run = runtime(graph, "lossless", RunOptions(stop_timeout=1.5))
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 1000}))
    assert wait_until(lambda: run.metrics().nodes["stuck"].packets_in > 0, PATIENCE)
    started = time.monotonic()
    with pytest.raises(StopTimeout, match=r"node 'stuck'|worker"):
        run.stop()
    assert time.monotonic() - started < 12.0
    release.touch()


def test_wait_gives_up_after_its_timeout_and_leaves_the_run_alone(runtime: MakeRun) -> None:
    with runtime(chain(1)) as run:
        run.add_stream(StreamSpec("s", "", {"count": 30, "delay": 0.01}))
        assert run.wait(0.05) is False
        assert run.wait(PATIENCE) is True


def test_states_move_out_of_a_run_and_into_another(runtime: MakeRun) -> None:
    graph = Graph.build("g").add("source", ListSource).add("n", Counter, {}, {"in": "source.out"})
    with runtime(graph) as run:
        run.add_stream(StreamSpec("s", "", {"count": 50_000, "delay": 0.002}))
        assert wait_until(lambda: run.streams()["s"].packets > 20, PATIENCE)
        exported = run.export_states()
        run.stop(drain=False)
    assert {(ref.node, ref.stream) for ref in exported} == {("n", "s")}
    got: list[Packet] = []
    with runtime(graph, "lossless", None, {"n.out": got.append}) as run:
        run.restore_states(exported)
        run.add_stream(StreamSpec("s", "", {"packets": [packet("s", 1000.0, 0)]}))
        assert run.wait(PATIENCE)
    assert got[0].payload > 5


def test_overload_in_realtime_drops_at_the_entry_and_stays_fresh(runtime: MakeRun) -> None:
    graph = (
        Graph.build("g")
        .add("source", ListSource)
        .add("slow", Probe, ProbeParams(scope="shared", delay=0.02), {"in": "source.out"})
        .add("after", PassThrough, {}, {"in": "slow.out"})
    )
    ages: list[float] = []
    options = RunOptions(entry_capacity=4, max_staleness=0.4, lane_capacity=4)

    def tap(given: Packet) -> None:
        ages.append(time.monotonic() - given.arrival)

    with runtime(graph, "realtime", options, {"after.out": tap}) as run:
        run.add_stream(StreamSpec("s", "", {"count": 600, "delay": 0.005}))
        assert run.wait(PATIENCE)
        metrics = run.metrics()
    edge = metrics.edges["source.out->slow.in"]
    assert sum(edge.dropped.values()) > 20
    assert set(edge.dropped) <= {"oldest", "stale", "full"}
    assert edge.packets_in == 600 == edge.packets_out + sum(edge.dropped.values())
    # However long the overload lasts: what is told is never much older than was allowed. Without
    # drops the last would be nine seconds old.
    assert max(ages) < 0.4 + 5.0
    late = ages[len(ages) // 2 :]
    assert sum(late) / len(late) < 2.5


def test_a_slow_sink_holds_up_the_source_and_nothing_is_lost(runtime: MakeRun) -> None:
    into: list[tuple[str, Packet]] = []
    graph = chain(1).add("sink", Collect, CollectParams(into, 0.002), {"in": "n0.out"})
    with runtime(graph, "lossless", RunOptions(lane_capacity=2)) as run:
        run.add_stream(StreamSpec("s", "", {"count": 400}))
        most = 0
        while not run.wait(0.02):
            most = max(most, run.streams()["s"].packets - len(into))
    assert len(into) == 400
    # Lanes and batches on the way hold some, a pipe between processes many that are so small.
    assert most < (400 if runtime.kind == "workers" else 60)
