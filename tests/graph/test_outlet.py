"""Outlets: order, bounds by credit, marks, windows."""

import threading
import time
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.outlet import Lane, Outlet
from padflow.graph.packet import End, Packet
from padflow.graph.testing import packet

LANE = Lane(3, "s", 0)


def packets(count: int, start: int = 0) -> list[Packet]:
    return [packet("s", n / 25, n) for n in range(start, start + count)]


def blocked(outlet: Outlet, count: int) -> tuple[threading.Thread, list[int]]:
    """A thread that sends more than there is room for, and what it could not send."""
    left: list[int] = []
    thread = threading.Thread(
        target=lambda: left.append(outlet.send(LANE, packets(count), 0, -inf))
    )
    thread.start()
    return thread, left


def values(outlet: Outlet, timeout: float = 0.2) -> list[int]:
    batch = outlet.take(timeout)
    assert batch is not None
    return [p.payload for message in batch.messages if message[0] == "send" for p in message[2]]


def test_a_sender_waits_for_credit_and_no_more_than_a_lane_is_under_way() -> None:
    outlet = Outlet(4)
    thread, left = blocked(outlet, 10)
    got = values(outlet)
    assert got == [0, 1, 2, 3]
    assert values(outlet, 0.05) == []
    outlet.take_credit([(LANE, 3)])
    while len(got) < 7:
        got += values(outlet, 0.05)
    outlet.take_credit([(LANE, 4)])
    thread.join(5.0)
    got += values(outlet)
    assert got == list(range(10))
    assert left == [0]


def test_close_lets_a_sender_go_and_says_what_was_not_taken() -> None:
    outlet = Outlet(2)
    thread, left = blocked(outlet, 5)
    assert values(outlet) == [0, 1]
    outlet.close()
    thread.join(5.0)
    assert left == [3]
    assert outlet.send(LANE, packets(2), 0, -inf) == 2
    assert outlet.take(0.0) is None


def test_what_was_told_before_the_close_is_still_taken() -> None:
    outlet = Outlet(2)
    outlet.tell("notice", "a last word")
    outlet.close()
    batch = outlet.take(0.0)
    assert batch is not None
    assert batch.messages == [("notice", "a last word")]
    assert outlet.take(0.0) is None


def test_a_stream_that_left_lets_its_sender_go() -> None:
    outlet = Outlet(2)
    thread, left = blocked(outlet, 4)
    assert values(outlet) == [0, 1]
    outlet.forget("other")
    time.sleep(0.02)
    assert thread.is_alive()
    outlet.forget("s")
    thread.join(5.0)
    assert left == [0]
    assert values(outlet) == [2, 3]


def test_an_offer_never_waits() -> None:
    outlet = Outlet(3)
    assert outlet.offer(LANE, packets(5), -inf) == 2
    assert outlet.offer(LANE, packets(1), -inf) == 1
    assert values(outlet) == [0, 1, 2]


def test_ends_need_no_credit_and_drop_the_mark_before_them() -> None:
    outlet = Outlet(1)
    outlet.send(LANE, packets(1), 0, -inf)
    outlet.advance(LANE, 5.0)
    outlet.end(LANE, Packet("s", 1.0, 0, None, End("end")), 0.0)
    batch = outlet.take(0.1)
    assert batch is not None
    assert [message[0] for message in batch.messages] == ["send", "end"]
    assert batch.marks == {}


def test_marks_only_grow() -> None:
    outlet = Outlet(1)
    for mark in (1.0, 3.0, 2.0):
        outlet.advance(LANE, mark)
    batch = outlet.take(0.1)
    assert batch is not None
    assert batch.marks == {LANE: 3.0}


def test_credit_rides_along_until_half_a_lane_waits_for_it() -> None:
    outlet = Outlet(8)
    outlet.give_credit(LANE, 3)
    began = time.monotonic()
    early = outlet.take(0.05)
    assert early is not None
    assert time.monotonic() - began >= 0.05, "so little credit wakes nobody"
    assert early.credit == {LANE: 3}
    outlet.give_credit(LANE, 4)
    began = time.monotonic()
    batch = outlet.take(5.0)
    assert batch is not None
    assert batch.credit == {LANE: 4}
    assert time.monotonic() - began < 2.0


def test_batches_keep_their_distance() -> None:
    outlet = Outlet(8, window=0.1)
    outlet.send(LANE, packets(1), 0, -inf)
    assert values(outlet) == [0]
    taken = time.monotonic()
    outlet.send(LANE, packets(1, 1), 0, -inf)
    assert values(outlet) == [1]
    assert time.monotonic() - taken >= 0.09


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=30),
    st.randoms(),
)
def test_every_packet_comes_once_and_in_order(
    capacity: int, sends: list[tuple[str, int]], rng: object
) -> None:
    outlet = Outlet(capacity)
    counts = dict.fromkeys("abc", 0)
    got: dict[str, list[int]] = {name: [] for name in "abc"}

    def receive() -> None:
        batch = outlet.take(0.0)
        assert batch is not None
        for _, lane, part, _, _ in batch.messages:
            got[lane.stream] += [p.payload for p in part]
            assert len(part) <= capacity
            outlet.take_credit([(lane, len(part))])

    for name, count in sends:
        lane = Lane(0, name, 0)
        given_packets = [packet(name, n / 25, n) for n in range(counts[name], counts[name] + count)]
        counts[name] += count
        while given_packets:
            lost = outlet.offer(lane, given_packets, -inf)
            given_packets = given_packets[len(given_packets) - lost :]
            if given_packets:
                receive()
    receive()
    assert got == {name: list(range(count)) for name, count in counts.items()}
