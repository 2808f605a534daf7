"""Batches as bytes."""

import time
from math import inf

import numpy as np
import pytest

from padflow.graph import wire
from padflow.graph.errors import GraphError
from padflow.graph.outlet import Batch, Lane
from padflow.graph.packet import End, Packet
from padflow.graph.testing import packet

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


def test_what_does_not_pickle_is_told_with_what_to_do() -> None:
    batch = Batch([("send", LANE, [packet("s", 1.0, lambda: None)], 0, -inf)])
    with pytest.raises(GraphError, match=r"packets for 1 cannot leave their process.*workers=0"):
        wire.pack(batch)
