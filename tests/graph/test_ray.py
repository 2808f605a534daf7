"""Actors are lost: their streams go on in a new epoch, the others notice nothing."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("ray", reason="ray is not installed (padflow[cluster])")

from padflow.graph.errors import GraphError
from padflow.graph.node import StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.ray_crew import LONGEST_DELAY, _delay
from padflow.graph.ray_options import RayOptions
from padflow.graph.ray_run import RayRun
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, PerTrack, Renumber, wait_until
from tests.graph.conftest import RAY

pytestmark = pytest.mark.usefixtures("local_ray")

PATIENCE = 60.0
APART = RAY["ray-apart"]
SPARE = RayOptions(workers=1, worker_cpu=0.5, engines="within", spare_workers=1)
WITHIN = RayOptions(workers=2, worker_cpu=0.5, engines="within", streams_per_worker=4)


def graph() -> Graph:
    """Tracks, with state by track in an engine."""
    return (
        Graph.build("lossy")
        .add("source", ListSource)
        .add("tracks", Renumber, {}, {"in": "source.out"})
        .add("engine", PerTrack, {"shared": True}, {"in": "tracks.out"})
        .add("last", PerTrack, {}, {"in": "engine.out"})
    )


class Watched:
    """A run and what its tap saw."""

    def __init__(self, options: RayOptions, count: int = 300) -> None:
        self.seen: list[Packet] = []
        self.count = count
        self.run = RayRun(
            graph(), "lossless", RunOptions(), {"last.out": self.seen.append}, None, options
        )

    def __enter__(self) -> "Watched":
        self.run.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.run.stop(drain=False)

    def add(self, *names: str) -> None:
        for name in names:
            self.run.add_stream(StreamSpec(name, "", {"count": self.count, "delay": 0.01}))
        assert wait_until(lambda: {p.stream for p in self.seen} >= set(names), PATIENCE)

    def of(self, name: str) -> list[Packet]:
        return [p for p in self.seen if p.stream == name]

    def kill(self, actor: str) -> None:
        os.kill(self.run.loads()[actor].pid, signal.SIGKILL)

    def went_on_before_a_start(self, reason: str) -> bool:
        """Whether two streams went on before an actor that was made for it was ready."""

        def told() -> list[str]:
            kinds = ("ready", f"{reason}: the stream goes on")
            messages = [n.message for n in self.run.notices()]
            return [kind for m in messages for kind in kinds if kind in m]

        assert wait_until(lambda: len(told()) >= 2, PATIENCE)
        return "ready" not in told()[:2]

    def has_come(self, worker: str, count: int) -> bool:
        """Whether stream a comes to be on a worker and gives so many packets more."""
        if not wait_until(lambda: self.run.placement()["a"][0] == worker, PATIENCE):
            return False
        before = len(self.seen)
        return wait_until(lambda: len(self.seen) >= before + count, PATIENCE)

    def back_in_epoch(self, name: str, epoch: int) -> bool:
        return wait_until(lambda: any(p.epoch == epoch for p in self.of(name)), PATIENCE)


def assert_every_track_once(packets: list[Packet]) -> None:
    """No number means two tracks, whatever epoch it is of, and epochs are in order."""
    keys = [p.key for p in packets]
    assert len(keys) == len(set(keys))
    assert keys == sorted(keys, key=lambda key: key or 0)
    epochs = [p.epoch for p in packets]
    assert epochs == sorted(epochs)


def test_streams_of_a_lost_worker_go_on_in_a_new_epoch_and_no_others() -> None:
    with Watched(APART, count=600) as watched:
        watched.add("a", "b", "c", "d")
        lost = {n for n, (worker, _) in watched.run.placement().items() if worker == "worker-0"}
        watched.kill("worker-0")
        for name in lost:
            assert watched.back_in_epoch(name, 1)
        assert watched.run.wait(PATIENCE)
        metrics = watched.run.metrics()
        notices = [n.message for n in watched.run.notices()]
    assert len(lost) == 2
    for name in "abcd":
        packets = watched.of(name)
        assert_every_track_once(packets)
        if name in lost:
            assert {p.epoch for p in packets} >= {0, 1}
        else:
            assert {p.epoch for p in packets} == {0}
            assert len(packets) == watched.count
        assert watched.run.streams()[name].reason == "end"
    assert any(m.startswith("worker-0 was lost") for m in notices)
    assert any("worker_lost: the stream goes on in" in m for m in notices)
    assert metrics.losses == 1
    assert all(node.states == 0 for node in metrics.nodes.values())


def test_streams_of_a_lost_engine_go_on_with_another() -> None:
    with Watched(APART) as watched:
        watched.add("a", "b")
        watched.kill("engine-0")
        for name in "ab":
            assert watched.back_in_epoch(name, 1)
        assert watched.run.placement()["a"][1] == "engine-1"
        assert watched.run.wait(PATIENCE)
    for name in "ab":
        assert_every_track_once(watched.of(name))
        assert watched.run.streams()[name].reason == "end"


def test_the_only_worker_is_replaced_and_its_streams_wait_for_it() -> None:
    one = RayOptions(workers=1, worker_cpu=0.5, engines="within")
    with Watched(one) as watched:
        watched.add("a")
        watched.kill("worker-0")
        assert watched.back_in_epoch("a", 1)
        assert watched.run.placement()["a"][0] == "worker-1"
        watched.run.remove_stream("a")
        assert watched.run.wait(PATIENCE)
        assert watched.run.streams()["a"].reason == "removed"


def test_the_streams_of_a_lost_worker_go_to_the_spare_and_stay_there() -> None:
    with Watched(SPARE, count=2000) as watched:
        watched.add("a", "b")
        assert {worker for worker, _ in watched.run.placement().values()} == {"worker-0"}
        assert set(watched.run.loads()) == {"worker-0", "worker-1"}
        watched.kill("worker-0")
        for name in "ab":
            assert watched.back_in_epoch(name, 1)
        assert watched.went_on_before_a_start("worker_lost")
        assert wait_until(lambda: "worker-2" in watched.run.loads(), PATIENCE)
        assert watched.run.placement() == {"a": ("worker-1", ""), "b": ("worker-1", "")}
        watched.kill("worker-1")
        for name in "ab":
            assert watched.back_in_epoch(name, 2)
        assert watched.run.placement()["a"] == ("worker-2", "")
        epochs = {p.epoch for p in watched.seen}
    assert epochs == {0, 1, 2}, "a new spare moves nobody"


def test_a_spare_that_is_lost_is_replaced_and_nobody_notices() -> None:
    with Watched(SPARE, count=2000) as watched:
        watched.add("a")
        watched.kill("worker-1")
        assert wait_until(lambda: "worker-2" in watched.run.loads(), PATIENCE)
        assert watched.run.placement()["a"] == ("worker-0", "")
        assert {p.epoch for p in watched.seen} == {0}
        assert watched.run.losses() == 1


def test_a_stream_begins_once_though_an_actor_comes_while_it_is_added() -> None:
    with Watched(WITHIN) as watched:
        crew: Any = watched.run._crew

        def come() -> None:
            assert wait_until(lambda: "a" in crew._streams, PATIENCE)
            crew._joined(crew._members.find("worker-1"))

        crew._supervisor.later(0.0, come)
        watched.add("a")
        assert watched.run.wait(PATIENCE)
        assert watched.run.metrics().nodes["source"].packets_out == watched.count
        assert {load.streams for load in watched.run.loads().values()} == {0}


def test_the_streams_of_a_lost_engine_go_to_the_spare_engine() -> None:
    with Watched(replace(APART, spare_engines=1), count=2000) as watched:
        watched.add("a", "b")
        assert {engine for _, engine in watched.run.placement().values()} == {"engine-0"}
        watched.kill("engine-0")
        for name in "ab":
            assert watched.back_in_epoch(name, 1)
        assert watched.went_on_before_a_start("engine_lost")
        assert {engine for _, engine in watched.run.placement().values()} == {"engine-1"}


def test_counts_of_a_stream_never_fall_whatever_is_lost() -> None:
    with Watched(SPARE, count=2000) as watched:
        watched.add("a")
        counts: list[int] = []
        for actor in ("worker-0", "worker-1"):
            assert watched.has_come(actor, 20)
            counts += [watched.run.streams()["a"].packets for _ in range(5)]
            watched.kill(actor)
            while watched.run.placement()["a"][0] in (actor, ""):
                counts.append(watched.run.streams()["a"].packets)
        counts.append(watched.run.streams()["a"].packets)
        watched.run.remove_stream("a")
        assert watched.run.wait(PATIENCE)
        counts.append(watched.run.streams()["a"].packets)
    assert counts == sorted(counts)
    assert counts[0] > 0


def test_a_frozen_actor_is_lost_too() -> None:
    quick = RayOptions(workers=2, worker_cpu=0.5, engines="within", silence=2.5)
    with Watched(quick, count=2000) as watched:
        watched.add("a", "b")
        frozen = watched.run.placement()["a"][0]
        pid = watched.run.loads()[frozen].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert watched.back_in_epoch("a", 1)
            assert any("silent for 2.5 s" in n.message for n in watched.run.notices())
        finally:
            _end(pid)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_stream_is_paused_and_goes_on_with_new_numbers() -> None:
    with Watched(WITHIN) as watched:
        watched.add("a")
        watched.run.pause_stream("a")
        assert watched.run.wait(PATIENCE)
        assert watched.run.paused() == ("a",)
        assert watched.run.streams()["a"].reason == "paused"
        before = len(watched.seen)
        watched.run.resume_stream("a")
        assert watched.back_in_epoch("a", 1)
        with pytest.raises(GraphError, match="paused stream: "):
            watched.run.resume_stream("a")
        assert watched.run.wait(PATIENCE)
    assert before < len(watched.seen)
    assert_every_track_once(watched.of("a"))


def test_a_stream_that_is_paused_while_it_gives_much_repeats_no_number() -> None:
    """What it gave before the pause may come after it; nothing may have come before the next."""
    with Watched(WITHIN) as watched:
        watched.add("a")
        for _ in range(4):
            watched.run.pause_stream("a")
            watched.run.resume_stream("a")
        assert watched.back_in_epoch("a", 4)
        watched.run.remove_stream("a")
        assert watched.run.wait(PATIENCE)
    assert_every_track_once(watched.of("a"))


def test_more_streams_than_there_is_room_for_are_refused() -> None:
    few = RayOptions(workers=1, worker_cpu=0.5, engines="within", streams_per_worker=2)
    with Watched(few) as watched:
        watched.add("a", "b")
        with pytest.raises(GraphError, match=r"found all 2 places taken \(1 workers of 2"):
            watched.run.add_stream(StreamSpec("c", ""))
        watched.run.remove_stream("a")
        assert wait_until(lambda: watched.run.streams()["a"].state == "ended", PATIENCE)
        watched.add("c")


def test_more_streams_before_the_start_than_there_is_room_for_leave_nothing_behind() -> None:
    few = RayOptions(workers=1, worker_cpu=0.5, engines="within", streams_per_worker=1)
    run = RayRun(graph(), "lossless", RunOptions(), {}, None, few)
    for name in "ab":
        run.add_stream(StreamSpec(name, "", {"count": 300, "delay": 0.01}))
    with pytest.raises(GraphError, match="found all 1 places taken"):
        run.start()


def test_too_much_is_refused_at_once_with_names_and_sums() -> None:
    began = time.monotonic()
    run = RayRun(graph(), ray_options=RayOptions(workers=40))
    with pytest.raises(GraphError, match=r"40 workers of 1 CPU need 40 CPU \(found 4 free\)"):
        run.start()
    assert time.monotonic() - began < 5.0


def test_restarts_are_quick_at_first_and_capped_in_a_storm() -> None:
    now = time.monotonic()
    assert _delay(deque([now] * 5), 5) == 0.0
    delays = [_delay(deque([now] * count), 5) for count in range(6, 20)]
    assert delays == sorted(delays)
    assert delays[0] == 1.0
    assert delays[-1] == LONGEST_DELAY
    assert _delay(deque([now - 61.0] * 20), 5) == 0.0


@pytest.fixture(autouse=True)
def no_process_is_left(local_ray: Any) -> Iterator[None]:
    """A run leaves no actor behind, whatever became of it."""
    yield
    free = local_ray.available_resources
    assert wait_until(lambda: free().get("CPU", 0.0) >= 4.0, 15.0)
