"""Batches as bytes."""

import time
from math import inf

import numpy as np
import pytest

from padflow.graph import wire
from padflow.graph.errors import GraphError
from padflow.graph.options import RunOptions
from padflow.graph.outlet import Batch, Lane
from padflow.graph.packet import End, Packet
from padflow.graph.ray_actor import ActorJob, StageActor
from padflow.graph.testing import chain, packet
from padflow.graph.workers import LIBRARY_THREADS, WORKER

LANE = Lane(1, "s", 2)


def test_a_batch_comes_back_as_it_was() -> None:
    end = Packet("s", 2.0, 1, None, End("end"), 5.0)
    batch = Batch([("send", LANE, [packet("s", 1.0, "x")], 0, -inf), ("end", LANE, end, 0.5)])
    batch.marks[LANE] = 3.0
    batch.credit[LANE] = 7
    back = wire.unpack(wire.pack(batch))
    assert (back.messages, back.marks, back.credit) == (batch.messages, batch.marks, batch.credit)


def test_large_batches_are_cut_so_that_ray_carries_them_inline() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    chunks = wire.pack(Batch([("send", LANE, [packet("s", 1.0, picture)], 0, -inf)]))
    assert len(chunks) > 5
    assert max(map(len, chunks)) <= wire.CHUNK < 100_000
    back = wire.unpack(chunks)
    np.testing.assert_array_equal(back.messages[0][2][0].payload, picture)


def test_a_picture_for_two_networks_is_written_once() -> None:
    picture = np.zeros(300_000, np.uint8)
    both = [("send", Lane(n, "s", 0), [packet("s", 1.0, picture)], 0, -inf) for n in range(2)]
    assert len(wire.pack_whole(Batch(list(both)))) < 310_000


def test_arrivals_of_another_machine_are_moved_to_this_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = time.monotonic()
    aged = Packet("s", 1.0, 0, None, "x", sent - 0.5)
    without = Packet("s", 1.0, 0, None, "x")
    data = wire.pack(Batch([("send", LANE, [aged, without], 0, -inf)]))
    same = wire.unpack(data).messages[0][2]
    assert [p.arrival for p in same] == [aged.arrival, 0.0]
    monkeypatch.setattr(wire, "MACHINE", "another")
    monkeypatch.setattr(time, "monotonic", lambda: sent + 1000.0)
    moved = wire.unpack(data).messages[0][2]
    assert time.monotonic() - moved[0].arrival == pytest.approx(0.5, abs=0.2)
    assert moved[1].arrival == 0.0


def test_what_an_actor_cannot_read_is_told_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LIBRARY_THREADS, WORKER):
        monkeypatch.setenv(name, "1")  # As the actor does, and puts it back.
    job = ActorJob("engine-0", chain(1), ("n0",), "lossless", RunOptions(), 0.0)
    actor = StageActor(job)
    actor.receive("worker-0", b"of another version")
    (told,) = wire.unpack(actor.collect()).messages
    assert told[0] == "failed"
    assert isinstance(told[1], GraphError)
    assert "install the same packages wherever the graph runs" in str(told[1])
    assert actor.close(1.0) == []


def test_what_does_not_pickle_is_told_with_what_to_do() -> None:
    batch = Batch([("send", LANE, [packet("s", 1.0, lambda: None)], 0, -inf)])
    with pytest.raises(GraphError, match=r"packets for 1 cannot leave their process.*workers=0"):
        wire.pack(batch)


def test_the_end_of_a_lane_is_moved_to_this_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = time.monotonic()
    last = Packet("s", 1.0, 0, None, End("end"), sent - 2.0)
    untimed = Packet("s", 1.0, 0, None, End("end"))
    data = wire.pack(Batch([("end", LANE, last, 0.5), ("end", LANE, untimed, 0.5), ("notice", 7)]))
    monkeypatch.setattr(wire, "MACHINE", "another")
    monkeypatch.setattr(time, "monotonic", lambda: sent + 1000.0)
    (kind, lane, moved, floor), (_, _, still, _), notice = wire.unpack(data).messages
    assert (kind, lane, floor) == ("end", LANE, 0.5)
    assert time.monotonic() - moved.arrival == pytest.approx(2.0, abs=0.2)
    assert moved._replace(arrival=0.0) == untimed
    assert still.arrival == 0.0
    assert notice == ("notice", 7)


@pytest.mark.parametrize("surplus", [-1, 0, 1])
def test_a_batch_of_just_a_chunk(surplus: int) -> None:
    overhead = len(wire.pack_whole(Batch([("notice", b"x" * 90_000)]))) - 90_000
    batch = Batch([("notice", b"x" * (wire.CHUNK - overhead + surplus))])
    chunks = wire.pack(batch)
    assert [len(chunk) for chunk in chunks] == (
        [wire.CHUNK, 1] if surplus == 1 else [wire.CHUNK + surplus]
    )
    assert wire.unpack(chunks).messages == batch.messages


def test_a_picture_that_came_once_is_one_object_there_too() -> None:
    picture = np.zeros(1000, np.uint8)
    both = [("send", Lane(n, "s", 0), [packet("s", 1.0, picture)], 0, -inf) for n in range(2)]
    first, second = wire.unpack(wire.pack(Batch(list(both)))).messages
    assert first[2][0].payload is second[2][0].payload


def test_a_tap_that_does_not_pickle_is_named() -> None:
    tap = Lane(("decide", "events"), "s", 0)
    batch = Batch([("send", tap, [packet("s", 1.0, lambda: None)], 0, -inf)])
    with pytest.raises(GraphError, match=r"decide.*events.*cannot leave their process") as refusal:
        wire.pack(batch)
    assert "\n" not in str(refusal.value)
