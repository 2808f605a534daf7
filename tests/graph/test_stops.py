"""Streams come and go; stops are bounded, whatever a node or source does."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from padflow.graph.errors import GraphDefinitionError, GraphError, StopTimeout
from padflow.graph.local import LocalRun, RunOptions
from padflow.graph.node import StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import Collect, CollectParams, Faulty, chain, wait_until
from tests.graph.probes import Stuck, StuckParams, StuckSource


def options(**changed: Any) -> RunOptions:
    return RunOptions(**{"workers": 0, "stop_timeout": 5.0, **changed})


def test_streams_come_and_go_while_it_runs() -> None:
    with LocalRun(chain(2), options=options(threads=2)) as run:
        run.add_stream(StreamSpec("long", "", {"count": 100_000, "delay": 0.002}))
        for index in range(5):
            run.add_stream(StreamSpec(f"short{index}", "", {"count": 5}))
        assert wait_until(lambda: run.streams()["short4"].state == "ended")
        with pytest.raises(GraphError, match="found a stream of this name running"):
            run.add_stream(StreamSpec("long", ""))
        run.remove_stream("long")
        assert run.wait(5)
        run.add_stream(StreamSpec("long", "", {"count": 3}))
        assert run.wait(5)
        with pytest.raises(GraphError, match="found 'lung'"):
            run.remove_stream("lung")
        streams = run.streams()
    assert streams["long"].packets == 3
    assert streams["long"].reason == "end"


def test_a_stream_that_is_removed_while_it_begins_does_not_run_on() -> None:
    with LocalRun(chain(1), options=options()) as run:
        crew: Any = run._crew
        begin = crew.add_stream

        def remove_then_begin(*arguments: Any) -> None:
            run.remove_stream("s")
            begin(*arguments)

        crew.add_stream = remove_then_begin
        run.add_stream(StreamSpec("s", "", {"count": 100_000, "delay": 0.01}))
        assert run.wait(10)
        assert run.streams()["s"].reason == "removed"


@pytest.mark.parametrize(
    ("raised", "reason"), [(KeyboardInterrupt(), "stopped"), (OSError("no thread"), "error")]
)
def test_what_keeps_a_stream_from_beginning_says_how_it_ended(
    raised: BaseException, reason: str
) -> None:
    with LocalRun(chain(1), options=options()) as run:
        crew: Any = run._crew

        def begin_and_raise(*arguments: Any) -> None:
            raise raised

        crew.add_stream = begin_and_raise
        with pytest.raises(type(raised)):
            run.add_stream(StreamSpec("s", "", {"count": 3}))
        assert run.streams()["s"].reason == reason


class Rung(Exception):
    """What the handler of a signal raises."""


def test_a_signal_that_another_thread_gets_ends_the_wait() -> None:
    """As one does that comes while the wait begins: nothing wakes the lock that it waits for."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Rung

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with LocalRun(chain(1), options=options()) as run:
            run.add_stream(StreamSpec("s", "", {"count": 800, "delay": 0.01}))

            def ring_here() -> None:
                time.sleep(0.2)
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

            rings = threading.Thread(target=ring_here)
            rings.start()
            started = time.monotonic()
            with pytest.raises(Rung):
                run.wait()
            rings.join()
            assert time.monotonic() - started < 4.0, "the stream lasts eight seconds"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_stop_works_off_what_the_sources_gave() -> None:
    into: list[tuple[str, Packet]] = []
    graph = chain(2).add("sink", Collect, CollectParams(into, 0.002), {"in": "n1.out"})
    run = LocalRun(graph, options=options())
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 100_000}))
    assert wait_until(lambda: len(into) > 20)
    run.stop(drain=True)
    metrics = run.metrics()
    assert metrics.streams["s"].reason == "stopped"
    assert metrics.nodes["source"].packets_out == len(into) == metrics.nodes["sink"].packets_in


def test_stop_at_once_counts_what_it_left_behind() -> None:
    graph = chain(2).add("slow", Faulty, {"sleep": 0.01}, {"in": "n1.out"}, fuse=False)
    run = LocalRun(graph, options=options(fuse=False))
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 100_000}))
    assert wait_until(lambda: run.metrics().nodes["slow"].packets_in > 3)
    started = time.monotonic()
    run.stop(drain=False)
    assert time.monotonic() - started < 5.0
    for name, edge in run.metrics().edges.items():
        assert edge.packets_in == edge.packets_out + sum(edge.dropped.values()), name
        assert edge.depth == 0, name
    run.stop()


@pytest.mark.parametrize("drain", [True, False])
def test_a_node_that_does_not_return_cannot_hang_the_stop(drain: bool, tmp_path: Path) -> None:
    release = tmp_path / "release"
    graph = chain(1).add("stuck", Stuck, StuckParams(str(release)), {"in": "n0.out"})
    run = LocalRun(graph, options=options(stop_timeout=0.5))
    run.start()
    run.add_stream(StreamSpec("s", "", {"count": 1000}))
    assert wait_until(lambda: run.metrics().nodes["stuck"].packets_in > 0)
    started = time.monotonic()
    with pytest.raises(StopTimeout, match="node 'stuck'"):
        run.stop(drain=drain)
    assert time.monotonic() - started < 2.0
    release.touch()


def test_a_source_that_ignores_cancel_cannot_hang_the_stop(tmp_path: Path) -> None:
    release = tmp_path / "release"
    graph = Graph.build("g").add("camera", StuckSource, StuckParams(str(release)))
    run = LocalRun(graph, options=options(stop_timeout=0.5))
    run.start()
    run.add_stream(StreamSpec("door", ""))
    with pytest.raises(StopTimeout, match=r"node 'camera' \(stream 'door'\)"):
        run.stop()
    release.touch()


def test_an_exception_in_the_block_stops_at_once_and_is_kept() -> None:
    run = LocalRun(chain(1), options=options())

    def fail_in_the_block() -> None:
        with run:
            run.add_stream(StreamSpec("s", "", {"count": 100_000, "delay": 0.001}))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_block()
    assert run.streams()["s"].state == "ended"


def test_wait_gives_up_after_its_timeout_and_leaves_the_run_alone() -> None:
    with LocalRun(chain(1), options=options()) as run:
        run.add_stream(StreamSpec("s", "", {"count": 30, "delay": 0.01}))
        assert run.wait(0.05) is False
        assert run.wait(10) is True


def test_a_run_without_streams_ends_at_once() -> None:
    with LocalRun(chain(1), options=options()) as run:
        assert run.wait(1)


def test_an_idle_run_uses_no_processor() -> None:
    with LocalRun(chain(3), options=options(fuse=False, threads=2)) as run:
        run.add_stream(StreamSpec("s", "", {"count": 2, "delay": 0.6}))
        used = []
        for _ in range(3):
            before = time.process_time()
            time.sleep(0.4)
            used.append(time.process_time() - before)
        assert run.wait(10)
    # What else this process does now and then only adds.
    assert min(used) < 0.05


@pytest.mark.parametrize(
    ("name", "value"), [("threads", 0), ("workers", -1), ("max_staleness", 0.0)]
)
def test_options_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(GraphDefinitionError, match=rf"{name}: expected .* found {value}"):
        RunOptions(**{name: value})
