"""Outlets: order, bounds by credit, marks, windows."""

import random
import threading
import time
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from padflow.graph.outlet import Batch, Lane, Outlet
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


def test_a_full_lane_holds_up_no_other() -> None:
    outlet = Outlet(2)
    assert outlet.send(LANE, packets(2), 0, -inf) == 0
    for other in (LANE._replace(target=4), LANE._replace(stream="t"), LANE._replace(incarnation=1)):
        assert outlet.send(other, packets(2), 0, -inf) == 0
        assert outlet.offer(other, packets(1), -inf) == 1


def test_ends_of_keys_are_counted_with_the_part_they_are_in() -> None:
    outlet = Outlet(2)
    ended = packets(1)[0].carry(End("left"), key=7)
    thread = threading.Thread(
        target=lambda: outlet.send(LANE, [ended, *packets(2), ended, ended], 3, -inf)
    )
    thread.start()
    sent: list[tuple[int, int]] = []
    while sum(count for count, _ in sent) < 5:
        batch = outlet.take(0.2)
        assert batch is not None
        sent += [(len(part), ends) for _, _, part, ends, _ in batch.messages]
        outlet.take_credit([(LANE, 2)])
    thread.join(5.0)
    assert sent == [(2, 1), (2, 1), (1, 1)]


def test_a_close_does_not_count_ends_as_packets_that_were_lost() -> None:
    outlet = Outlet(2)
    outlet.close()
    ended = packets(1)[0].carry(End("left"), key=7)
    assert outlet.send(LANE, [*packets(3), ended], 1, -inf) == 3


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


def test_an_end_drops_the_marks_of_its_lane_only() -> None:
    outlet = Outlet(1)
    other = LANE._replace(stream="t")
    outlet.advance(other, 2.0)
    outlet.advance(LANE, 2.0)
    outlet.end(LANE, Packet("s", 1.0, 0, None, End("end")), 0.0)
    batch = outlet.take(0.1)
    assert batch is not None
    assert batch.marks == {other: 2.0}


@pytest.mark.parametrize(("capacity", "little", "half"), [(8, 3, 4), (5, 2, 3), (2, 0, 1)])
def test_half_a_lane_of_credit_wakes_and_less_does_not(
    capacity: int, little: int, half: int
) -> None:
    outlet = Outlet(capacity)
    taken: list[tuple[float, Batch | None]] = []
    began = time.monotonic()
    taker = threading.Thread(
        target=lambda: taken.append((time.monotonic() - began, outlet.take(5.0)))
    )
    taker.start()
    if little:
        outlet.give_credit(LANE, little)
        time.sleep(0.05)
        assert taker.is_alive(), "so little credit wakes nobody"
    outlet.give_credit(LANE, half - little)
    taker.join(4.0)
    assert not taker.is_alive()
    batch = taken[0][1]
    assert batch is not None
    assert batch.credit == {LANE: half}


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
    st.integers(1, 4),
    st.lists(st.lists(st.integers(1, 6), max_size=6), min_size=2, max_size=4),
    st.integers(0, 2**32),
)
@settings(max_examples=25)
def test_senders_that_wait_lose_nothing_and_no_order(
    capacity: int, sends: list[list[int]], seed: int
) -> None:
    """Every lane has a thread that sends; credit comes back late and in parts."""
    outlet = Outlet(capacity)
    chance = random.Random(seed)
    got: dict[Lane, list[int]] = {Lane(n, "s", 0): [] for n in range(len(sends))}

    def send(lane: Lane, counts: list[int]) -> None:
        start = 0
        for count in counts:
            assert outlet.send(lane, packets(count, start), 0, -inf) == 0
            start += count

    threads = [
        threading.Thread(target=send, args=(lane, counts))
        for lane, counts in zip(got, sends, strict=True)
    ]
    for thread in threads:
        thread.start()
    owed = dict.fromkeys(got, 0)
    deadline = time.monotonic() + 20.0
    while sum(map(len, got.values())) < sum(map(sum, sends)) and time.monotonic() < deadline:
        batch = outlet.take(0.001)
        assert batch is not None
        for _, lane, part, _, _ in batch.messages:
            got[lane] += [p.payload for p in part]
            owed[lane] += len(part)
        assert max(owed.values()) <= capacity
        returned = {lane: chance.randint(0, count) for lane, count in owed.items()}
        for lane, count in returned.items():
            owed[lane] -= count
        outlet.take_credit(returned.items())
    outlet.close()
    for thread in threads:
        thread.join(5.0)
    assert list(got.values()) == [list(range(sum(counts))) for counts in sends]


class Traffic(RuleBasedStateMachine):
    """An outlet against what it promises, whatever comes in whichever order."""

    lanes = (Lane(0, "s", 0), Lane(1, "s", 0), Lane(0, "t", 0))

    @initialize(capacity=st.integers(1, 5))
    def begin(self, capacity: int) -> None:
        self.capacity = capacity
        self.outlet = Outlet(capacity)
        self.accepted = dict.fromkeys(self.lanes, 0)
        self.got: dict[Lane, list[int]] = {lane: [] for lane in self.lanes}
        self.credited = dict.fromkeys(self.lanes, 0)
        self.ended: list[int] = []
        self.ends = 0
        self.marks: dict[Lane, float] = {}
        self.credit: dict[Lane, int] = {}

    @rule(lane=st.sampled_from(lanes), count=st.integers(1, 7))
    def offer(self, lane: Lane, count: int) -> None:
        left = self.outlet.offer(lane, packets(count, self.accepted[lane]), -inf)
        room = self.capacity - (self.accepted[lane] - self.credited[lane])
        assert count - left == min(count, room)
        self.accepted[lane] += count - left

    @precondition(lambda self: any(self.room(lane) for lane in self.lanes))
    @rule(choice=st.integers(0, 2))
    def send(self, choice: int) -> None:
        lane = [lane for lane in self.lanes if self.room(lane)][choice % self.lanes_with_room]
        count = self.room(lane)
        assert self.outlet.send(lane, packets(count, self.accepted[lane]), 0, -inf) == 0
        self.accepted[lane] += count

    @rule(lane=st.sampled_from(lanes))
    def end(self, lane: Lane) -> None:
        self.outlet.end(lane, Packet(lane.stream, 1.0, 0, None, End(str(self.ends))), 0.0)
        self.ends += 1
        self.marks.pop(lane, None)

    @rule(lane=st.sampled_from(lanes), mark=st.integers(0, 9))
    def advance(self, lane: Lane, mark: int) -> None:
        self.outlet.advance(lane, mark)
        self.marks[lane] = max(mark, self.marks.get(lane, -inf))

    @rule(lane=st.sampled_from(lanes), count=st.integers(1, 3))
    def give_credit(self, lane: Lane, count: int) -> None:
        self.outlet.give_credit(lane, count)
        self.credit[lane] = self.credit.get(lane, 0) + count

    @rule(share=st.floats(0, 1))
    def take_credit(self, share: float) -> None:
        for lane in self.lanes:
            count = round(share * (len(self.got[lane]) - self.credited[lane]))
            self.outlet.take_credit([(lane, count)])
            self.credited[lane] += count

    @rule()
    def take(self) -> None:
        batch = self.outlet.take(0.0)
        assert batch is not None
        for kind, lane, content, *_ in batch.messages:
            if kind == "send":
                self.got[lane] += [p.payload for p in content]
            else:
                self.ended.append(int(content.payload.reason))
        assert (batch.marks, batch.credit) == (self.marks, self.credit)
        self.marks, self.credit = {}, {}

    def room(self, lane: Lane) -> int:
        return self.capacity - (self.accepted[lane] - self.credited[lane])

    @property
    def lanes_with_room(self) -> int:
        return sum(self.room(lane) > 0 for lane in self.lanes)

    @invariant()
    def comes_once_in_order_and_within_its_bounds(self) -> None:
        for lane in self.lanes:
            assert self.got[lane] == list(range(len(self.got[lane])))
            assert len(self.got[lane]) <= self.accepted[lane]
            assert self.accepted[lane] - self.credited[lane] <= self.capacity
        assert all(after == before + 1 for before, after in pairwise(self.ended))

    def teardown(self) -> None:
        if hasattr(self, "outlet"):
            self.take()
            assert [len(self.got[lane]) for lane in self.lanes] == list(self.accepted.values())
            assert self.ended == list(range(self.ends))


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
