"""Bounded lanes: exact counts, order, fairness, ends that are never dropped."""

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.graph.inbox import Inbox, LanePolicy, count_ends
from padflow.graph.packet import End, Packet
from padflow.graph.testing import wait_until

BLOCK = LanePolicy(4)
DROP = LanePolicy(3, drop_oldest=True)


def packets(stream: str, values: Sequence[int], arrival: float = 1.0) -> list[Packet]:
    return [Packet(stream, float(v), 0, None, v, arrival) for v in values]


def taken(inbox: Inbox, **options: float) -> list[tuple[str, int, list[int]]]:
    found = inbox.take(**options) or []  # type: ignore[arg-type]  # ints and floats by name
    return [
        (each.stream, chunk.link, [p.payload for p in chunk.packets])
        for each in found
        for chunk in each.chunks
    ]


def test_the_oldest_is_dropped_and_counted() -> None:
    inbox = Inbox([DROP])
    inbox.put(0, "s", packets("s", range(5)))
    inbox.put(0, "s", packets("s", [5]))
    assert taken(inbox) == [("s", 0, [3, 4, 5])]
    assert inbox.counters[0].dropped == {"oldest": 3}


def test_links_that_take_turns_leave_nothing_of_what_was_dropped() -> None:
    inbox = Inbox([DROP, DROP])
    for value in range(1000):
        for link in (0, 1):
            inbox.put(link, "s", packets("s", [value]))
    assert len(inbox._streams["s"].chunks) == 6
    assert taken(inbox) == [("s", link, [value]) for value in (997, 998, 999) for link in (0, 1)]


def test_each_stream_has_a_lane_of_its_own() -> None:
    inbox = Inbox([DROP])
    inbox.put(0, "a", packets("a", range(3)))
    inbox.put(0, "b", packets("b", range(3)))
    assert inbox.counters[0].dropped == {}
    assert taken(inbox, streams=2) == [("a", 0, [0, 1, 2]), ("b", 0, [0, 1, 2])]


def test_a_fast_stream_does_not_starve_another() -> None:
    inbox = Inbox([LanePolicy(1000)])
    inbox.put(0, "fast", packets("fast", range(1000)))
    inbox.put(0, "slow", packets("slow", [0]))
    first = taken(inbox, packets=10)
    inbox.put(0, "fast", packets("fast", [1000]))
    second = taken(inbox, packets=10)
    assert first == [("fast", 0, list(range(10)))]
    assert second[0][0] == "slow"


def test_a_full_lane_makes_its_producer_wait_and_no_other() -> None:
    inbox = Inbox([BLOCK])
    producer = threading.Thread(target=inbox.put, args=(0, "a", packets("a", range(10))))
    producer.start()
    assert wait_until(lambda: inbox.counters[0].packets_in == 10)
    inbox.put(0, "b", packets("b", range(4)))
    got: list[int] = []
    while len(got) < 10:
        batch = [v for stream, _, values in taken(inbox) if stream == "a" for v in values]
        assert len(batch) <= 4
        got += batch
    producer.join(5)
    assert not producer.is_alive()
    assert got == list(range(10))


def test_ends_are_never_dropped() -> None:
    inbox = Inbox([DROP])
    end = Packet("s", 9.0, 0, 1, End("lost"), 1.0)
    inbox.put(0, "s", [end], ends=1)
    for value in range(20):
        inbox.put(0, "s", packets("s", [value]))
    inbox.put(0, "s", [end._replace(key=2)], ends=1)
    found = inbox.take()
    assert found is not None
    all_packets = [p for chunk in found[0].chunks for p in chunk.packets]
    assert [p.key for p in all_packets if isinstance(p.payload, End)] == [1, 2]
    assert inbox.counters[0].packets_in == 20
    assert inbox.counters[0].packets_out + inbox.counters[0].dropped["oldest"] == 20


def test_what_is_stale_is_not_handed_out() -> None:
    inbox = Inbox([LanePolicy(10, max_staleness=0.5)])
    now = time.monotonic()
    inbox.put(0, "s", packets("s", [1, 2], arrival=now - 1.0) + packets("s", [3], arrival=now))
    inbox.put(0, "s", [Packet("s", 4.0, 0, None, End("end"), now - 1.0)], ends=1)
    found = inbox.take()
    assert found is not None
    assert [p.time for chunk in found[0].chunks for p in chunk.packets] == [3.0, 4.0]
    assert inbox.counters[0].dropped == {"stale": 2}
    assert inbox.counters[0].snapshot().depth == 0


def test_where_all_was_stale_nobody_is_called() -> None:
    inbox = Inbox([LanePolicy(10, max_staleness=0.5)])
    inbox.put(0, "s", packets("s", [1, 2], arrival=time.monotonic() - 1.0), mark=3.0)
    found = inbox.take()
    assert found is not None
    assert (found[0].chunks, found[0].marks) == ([], (3.0,))
    assert inbox.counters[0].dropped == {"stale": 2}


def test_a_batch_waits_for_its_size_but_not_longer() -> None:
    inbox = Inbox([LanePolicy(100)])
    inbox.put(0, "s", packets("s", [0]))
    started = time.monotonic()
    assert taken(inbox, streams=9, packets=4, max_wait=0.05) == [("s", 0, [0])]
    assert 0.04 < time.monotonic() - started < 1.0
    inbox.put(0, "s", packets("s", [1]))
    later = threading.Timer(0.02, inbox.put, (0, "t", packets("t", [1, 2, 3])))
    later.start()
    started = time.monotonic()
    assert taken(inbox, streams=9, packets=4, max_wait=5.0) == [("s", 0, [1]), ("t", 0, [1, 2, 3])]
    assert time.monotonic() - started < 2.0
    later.join()


def test_closing_lets_everybody_go_and_counts_what_is_left() -> None:
    inbox = Inbox([BLOCK])
    inbox.put(0, "s", packets("s", range(4)))
    producer = threading.Thread(target=inbox.put, args=(0, "s", packets("s", [4, 5])))
    producer.start()
    assert wait_until(lambda: inbox.counters[0].packets_in == 6)
    inbox.close()
    producer.join(5)
    assert not producer.is_alive()
    assert inbox.take() is None
    assert inbox.counters[0].dropped == {"stopped": 6}


def test_a_waiting_consumer_uses_no_processor() -> None:
    inbox = Inbox([BLOCK])
    used: list[float] = []

    def consume() -> None:
        started = time.thread_time()
        inbox.take()
        used.append(time.thread_time() - started)

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.3)
    inbox.close()
    consumer.join(5)
    assert used[0] < 0.01


def test_a_mark_wakes_the_consumer_and_is_held_back_by_a_split() -> None:
    inbox = Inbox([BLOCK, BLOCK])
    inbox.advance(1, "s", 5.0)
    found = inbox.take()
    assert found is not None
    assert found[0].marks == (float("-inf"), 5.0)
    inbox.put(0, "s", packets("s", [6, 7]), mark=8.0)
    first = inbox.take(packets=1)
    assert first is not None
    assert first[0].marks == ()
    rest = inbox.take(packets=1)
    assert rest is not None
    assert rest[0].marks == (8.0, 5.0)


def test_a_stream_that_ended_leaves_nothing_behind() -> None:
    inbox = Inbox([BLOCK])
    for index in range(100):
        inbox.put(0, f"s{index}", packets(f"s{index}", [1]))
        inbox.take()
        inbox.forget(f"s{index}")
    assert not inbox._streams
    assert not inbox._turns


Step = tuple[str, str, int, bool]


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "take"]),
            st.sampled_from(["a", "b"]),
            st.integers(1, 6),
            st.booleans(),
        ),
        max_size=40,
    ),
    capacity=st.integers(1, 5),
    limit=st.integers(0, 4),
)
def test_every_packet_is_out_waiting_or_counted_as_dropped(
    steps: list[Step], capacity: int, limit: int
) -> None:
    inbox = Inbox([LanePolicy(capacity, drop_oldest=True)])
    given_packets: dict[str, list[Packet]] = {"a": [], "b": []}
    got: dict[str, list[Packet]] = {"a": [], "b": []}
    for action, stream, count, with_end in steps:
        if action == "put":
            start = len(given_packets[stream])
            batch = packets(stream, range(start, start + count))
            if with_end:
                batch[-1] = batch[-1]._replace(key=start, payload=End("lost"))
            given_packets[stream] += batch
            inbox.put(0, stream, batch, ends=count_ends(batch))
        elif inbox._turns:
            for each in inbox.take(streams=2, packets=limit) or []:
                got[each.stream] += [p for chunk in each.chunks for p in chunk.packets]
        counted = inbox.counters[0].snapshot()
        waiting = [p for w in inbox._streams.values() for c in w.chunks for p in c.packets]
        assert counted.depth == len(waiting) - count_ends(waiting)
        for lane in inbox._streams.values():
            lane_packets = [p for c in lane.chunks for p in c.packets]
            assert len(lane_packets) - count_ends(lane_packets) <= capacity
    while inbox._turns:
        for each in inbox.take() or []:
            got[each.stream] += [p for chunk in each.chunks for p in chunk.packets]
    for stream, expected in given_packets.items():
        assert [p for p in got[stream] if isinstance(p.payload, End)] == [
            p for p in expected if isinstance(p.payload, End)
        ]
        order = [p.time for p in got[stream]]
        assert order == sorted(order)
    entered = sum(len(p) - count_ends(p) for p in given_packets.values())
    left = sum(len(p) - count_ends(p) for p in got.values())
    assert entered == left + sum(inbox.counters[0].dropped.values())


@pytest.mark.parametrize("link", [0, 1])
def test_links_of_one_stream_come_in_order_of_arrival(link: int) -> None:
    inbox = Inbox([BLOCK, BLOCK])
    inbox.put(link, "s", packets("s", [1]))
    inbox.put(1 - link, "s", packets("s", [2]))
    inbox.put(link, "s", packets("s", [3]))
    assert [values for _, _, values in taken(inbox)] == [[1], [2], [3]]
