"""Worker processes give what threads give, and tell their troubles."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from padflow.graph.errors import GraphError, NodeFailed, StopTimeout, WorkerLost
from padflow.graph.local import LocalRun, RunOptions, worker_count
from padflow.graph.node import StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import (
    Collect,
    CollectParams,
    Counter,
    Faulty,
    ListSource,
    PassThrough,
    chain,
    packet,
    wait_until,
)
from tests.graph.probes import SlowToEnd, Vow, Vowing

SPEC = ("count.out", "join.out")


def graph(
    into: list[tuple[str, Packet]] | None = None, faulty: dict[str, Any] | None = None
) -> Graph:
    """A fork that joins, with state, and a single sink where ``into`` is given."""
    made = (
        Graph.build("g")
        .add("source", ListSource, {"chunk": 2})
        .add("faulty", Faulty, faulty or {}, {"in": "source.out"})
        .add("count", Counter, {}, {"in": "faulty.out"})
        .add("join", PassThrough, {}, {"in": ["count.out", "source.out"]})
    )
    if into is None:
        return made
    return made.add("sink", Collect, CollectParams(into), {"in": ["join.out", "count.out"]})


def pool_of(run: LocalRun) -> Any:
    crew: Any = run._crew
    return crew.pool


def told(packets: list[Packet]) -> dict[str, list[tuple[float, Any]]]:
    by_stream: dict[str, list[tuple[float, Any]]] = {}
    for each in packets:
        by_stream.setdefault(each.stream, []).append((each.time, each.payload))
    return by_stream


def run_with(options: RunOptions) -> tuple[Any, Any, Any]:
    into: list[tuple[str, Packet]] = []
    tapped: list[Packet] = []
    with LocalRun(graph(into), options=options, taps={"count.out": tapped.append}) as run:
        for index in range(5):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 20 + index}))
        assert run.wait(30)
        metrics = run.metrics()
    assert run.notices() == ()
    return told([p for _, p in into]), told(tapped), metrics


def test_workers_give_the_same_as_threads() -> None:
    in_threads = run_with(RunOptions(workers=0))
    many_threads = run_with(RunOptions(workers=0, threads=4, lane_capacity=2, fuse=False))
    in_workers = run_with(RunOptions(workers=2, threads=2, lane_capacity=4))
    assert in_threads[0] == many_threads[0] == in_workers[0]
    assert in_threads[1] == many_threads[1] == in_workers[1]
    for name, node in in_threads[2].nodes.items():
        other = in_workers[2].nodes[name]
        assert (node.packets_in, node.packets_out) == (other.packets_in, other.packets_out), name
    for name, edge in in_workers[2].edges.items():
        assert edge.packets_in == edge.packets_out, name
    assert {name: s.packets for name, s in in_workers[2].streams.items()} == {
        f"s{index}": 20 + index for index in range(5)
    }


def test_a_lost_worker_ends_its_streams_and_no_others() -> None:
    into: list[tuple[str, Packet]] = []
    with LocalRun(graph(into), options=RunOptions(workers=2)) as run:
        for index in range(4):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 400, "delay": 0.005}))
        assert wait_until(lambda: len(into) > 20)
        pool = pool_of(run)
        of_first = set(pool._workers[0].streams)
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        assert run.wait(30)
        streams = run.streams()
    reasons = {name: stream.reason for name, stream in streams.items()}
    assert len(of_first) == 2
    assert {name for name, reason in reasons.items() if reason == "worker_lost"} == of_first
    assert sorted(reasons.values()) == ["end", "end", "worker_lost", "worker_lost"]
    assert any("WorkerLost: worker 0" in n.message and "-9" in n.message for n in run.notices())
    whole = [p for _, p in into if reasons[p.stream] == "end" and p.payload == -400]
    assert len(whole) == 2 * 2  # the last word of both counts, by both edges into the sink


def test_a_lost_worker_leaves_its_last_words_to_sinks_and_taps() -> None:
    into: list[tuple[str, Packet]] = []
    tapped: list[Packet] = []
    made = (
        Graph.build("g")
        .add("source", ListSource)
        .add("vows", Vowing, {}, {"in": "source.out"})
        .add("sink", Collect, CollectParams(into), {"in": "vows.out"})
    )
    with LocalRun(made, options=RunOptions(workers=2), taps={"vows.out": tapped.append}) as run:
        run.add_stream(StreamSpec("lost", "", {"count": 100_000, "delay": 0.005}))
        run.add_stream(StreamSpec("kept", "", {"count": 50, "delay": 0.005}))
        assert wait_until(lambda: sum(p.stream == "lost" for _, p in into) > 2)
        os.kill(pool_of(run)._workers[0].process.pid, signal.SIGKILL)
        assert run.wait(30)
        assert run.streams()["lost"].reason == "worker_lost"
    words = {"lost": [Vow("track/0", "worker_lost"), Vow("track/1", "worker_lost")], "kept": []}
    for told in ([p for _, p in into], tapped):
        for stream, expected in words.items():
            of_stream = [p.payload for p in told if p.stream == stream]
            assert [vow for vow in of_stream if vow.told == "worker_lost"] == expected
            assert of_stream[-len(expected) :] == expected or not expected


def test_nothing_is_alive_or_waits_in_a_lost_worker() -> None:
    made = graph().add("slow", Faulty, {"sleep": 0.01}, {"in": "join.out"}, fuse=False)
    with LocalRun(made, options=RunOptions(workers=2)) as run:
        run.add_stream(StreamSpec("lost", "", {"count": 100_000}))
        run.add_stream(StreamSpec("kept", "", {"count": 20}))
        assert wait_until(lambda: run.streams()["kept"].state == "ended")
        assert wait_until(lambda: run.metrics().edges["join.out->slow.in"].depth > 10)
        os.kill(pool_of(run)._workers[0].process.pid, signal.SIGKILL)
        assert run.wait(30)
        metrics = run.metrics()
    assert {node.states for node in metrics.nodes.values()} == {0}
    for name, edge in metrics.edges.items():
        assert edge.depth == 0, name
        assert edge.packets_in == edge.packets_out + sum(edge.dropped.values()), name
    assert metrics.edges["join.out->slow.in"].dropped["lost"] > 0


def test_the_loss_of_all_workers_fails_the_run() -> None:
    run = LocalRun(graph(), options=RunOptions(workers=1, stop_timeout=5.0))
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 100_000, "delay": 0.01}))
    pool = pool_of(run)
    os.kill(pool._workers[0].process.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="exit code -9"):
        run.wait(10)
    run.stop()


def test_faults_and_notices_come_across() -> None:
    with LocalRun(graph(faulty={"every": 7}), options=RunOptions(workers=1)) as run:
        run.add_stream(StreamSpec("s", "", {"count": 20, "delay": 0.002}))
        assert run.wait(20)
        dropped = run.metrics().nodes["faulty"].dropped
    assert dropped["fault"] >= 3
    assert any(n.node == "faulty" and "asked to raise" in n.message for n in run.notices())


def test_a_node_that_keeps_raising_fails_the_run() -> None:
    options = RunOptions(workers=1, max_faults_in_a_row=3)
    run = LocalRun(graph(faulty={"every": 1}), options=options)
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 50, "delay": 0.002}))
    with pytest.raises(NodeFailed, match="'faulty' raised 3 times in a row"):
        run.wait(20)
    run.stop()


def test_a_node_that_does_not_open_fails_the_start() -> None:
    run = LocalRun(graph(faulty={"in_open": True}), options=RunOptions(workers=2))
    with pytest.raises(NodeFailed, match="'faulty' could not be opened"):
        run.start()


def test_what_does_not_pickle_is_told_with_what_to_do() -> None:
    options = RunOptions(workers=1)
    run = LocalRun(graph(faulty={"lambdas": True}), options=options, taps={"faulty.out": print})
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 3}))
    with pytest.raises(GraphError, match=r"cannot leave their worker process.*workers=0"):
        run.wait(20)
    run.stop()


def test_a_stream_that_cannot_go_to_a_worker_is_refused_and_forgotten() -> None:
    into: list[tuple[str, Packet]] = []
    with LocalRun(graph(into), options=RunOptions(workers=1)) as run:
        with pytest.raises(GraphError, match=r"'s': expected options that pickle.*workers=0"):
            run.add_stream(StreamSpec("s", "", {"packets": [packet("s", 0.0, lambda: None)]}))
        assert run.wait(5), "nothing runs"
        run.add_stream(StreamSpec("s", "", {"count": 3}))
        assert run.wait(20)
        assert run.streams()["s"].reason == "end"


def test_a_start_that_fails_at_a_stream_leaves_nothing_behind() -> None:
    run = LocalRun(graph(), options=RunOptions(workers=1))
    run.add_stream(StreamSpec("s", "", {"count": 100_000, "delay": 0.001}))
    run.add_stream(StreamSpec("t", "", {"packets": [packet("t", 0.0, lambda: None)]}))
    with pytest.raises(GraphError, match="'t': expected options that pickle"):
        run.start()
    assert {stream.state for stream in run.streams().values()} == {"ended"}


def test_streams_that_ended_leave_nothing_behind_in_a_pool() -> None:
    into: list[tuple[str, Packet]] = []
    with LocalRun(graph(into), options=RunOptions(workers=1)) as run:
        for index in range(20):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 2}))
        assert run.wait(20)
        worker = pool_of(run)._workers[0]
        assert not worker.streams
        assert not worker.ended_links


def test_a_tap_that_raises_does_not_keep_a_worker_from_stopping() -> None:
    def tap(given: Packet) -> None:
        raise ZeroDivisionError("by zero")

    run = LocalRun(chain(1), options=RunOptions(workers=1), taps={"n0.out": tap})
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 100_000}))
    with pytest.raises(GraphError, match="raised ZeroDivisionError"):
        run.wait(20)
    before = run.metrics().nodes["n0"].packets_in
    assert wait_until(lambda: run.metrics().nodes["n0"].packets_in > before + 2000), "it waits"
    run.stop(drain=False)


@pytest.mark.parametrize("drain", [True, False])
def test_stop_ends_the_processes(drain: bool) -> None:
    into: list[tuple[str, Packet]] = []
    run = LocalRun(graph(into), options=RunOptions(workers=2))
    run.start()
    for index in range(3):
        run.add_stream(StreamSpec(f"s{index}", "", {"count": 100_000, "delay": 0.001}))
    assert wait_until(lambda: len(into) > 10)
    pool = pool_of(run)
    processes = [worker.process for worker in pool._workers]
    started = time.monotonic()
    run.stop(drain=drain)
    assert time.monotonic() - started < 12.0
    assert [process.exitcode for process in processes] == [0, 0]
    if drain:
        sent = sum(stream.packets for stream in run.streams().values())
        totals = [-p.payload for _, p in into if isinstance(p.payload, int) and p.payload < 0]
        assert sum(totals) == sent * 2


def test_a_worker_that_takes_its_time_to_end_is_not_killed() -> None:
    slow = Graph.build("g").add("source", ListSource).add("n", SlowToEnd, {}, {"in": "source.out"})
    run = LocalRun(slow, options=RunOptions(workers=1))
    run.start()
    process = pool_of(run)._workers[0].process
    run.stop()
    assert process.exitcode == 0


def test_a_stuck_worker_cannot_hang_the_stop() -> None:
    options = RunOptions(workers=1, stop_timeout=1.0)
    run = LocalRun(graph(faulty={"sleep": 30.0}), options=options)
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 10}))
    assert wait_until(lambda: run.metrics().nodes["faulty"].packets_in > 0)
    started = time.monotonic()
    with pytest.raises(StopTimeout, match="node 'faulty'"):
        run.stop()
    assert time.monotonic() - started < 10.0


def test_states_move_into_workers_and_out() -> None:
    made = graph()
    with LocalRun(made, options=RunOptions(workers=2)) as run:
        for index in range(2):
            run.add_stream(StreamSpec(f"s{index}", "", {"count": 100_000, "delay": 0.002}))
        assert wait_until(lambda: min(s.packets for s in run.streams().values()) > 40, 20.0)
        exported = run.export_states()
        run.stop(drain=False)
    assert {ref.stream for ref in exported if ref.node == "count"} == {"s0", "s1"}
    got: list[Packet] = []
    with LocalRun(made, options=RunOptions(workers=1), taps={"count.out": got.append}) as run:
        run.restore_states(exported)
        run.add_stream(StreamSpec("s0", "", {"packets": [packet("s0", 1000.0, 0)]}))
        assert run.wait(20)
    assert got[0].payload > 5


def test_workers_are_chosen_by_the_number_of_streams() -> None:
    processors = len(os.sched_getaffinity(0))
    assert worker_count(RunOptions(), 3) == 0
    assert worker_count(RunOptions(), 4) == (min(4, processors) if processors > 1 else 0)
    assert worker_count(RunOptions(workers=2), 1) == 2


PARENT = """
    import sys, time
    from padflow.graph.local import LocalRun, RunOptions
    from padflow.graph.node import StreamSpec
    from padflow.graph.testing import chain

    def main():
        run = LocalRun(chain(2), options=RunOptions(workers=1))
        run.start()
        run.add_stream(StreamSpec("s", "", {"count": 1000000, "delay": 0.01}))
        print(run._crew.pool._workers[0].process.pid, flush=True)
        time.sleep(60)

    {guard}main()
"""


def script(tmp_path: Path, guard: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PARENT).replace("{guard}", guard))
    return path


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    path = script(tmp_path, 'if __name__ == "__main__": ')
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
    assert wait_until(lambda: not _is_running(worker), 10.0)


def test_a_script_without_a_guard_is_told_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, script(tmp_path, "")], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert 'must start its run under if __name__ == "__main__":' in done.stderr


def test_ctrl_c_reaches_the_program_and_not_its_workers(tmp_path: Path) -> None:
    path = script(tmp_path, 'if __name__ == "__main__": ')
    begun = "    print(run._crew.pool._workers[0].process.pid, flush=True)\n    time.sleep(60)"
    text = path.read_text().replace(
        begun,
        "    try:\n        print(flush=True)\n        run.wait()\n    except KeyboardInterrupt:\n"
        "        run.stop()\n        print(run.streams()['s'].reason, flush=True)",
    )
    path.write_text(text)
    with subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "stopped\n"
    assert parent.returncode == 0


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
