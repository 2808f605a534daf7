"""Stream time from good, bad and missing timestamps."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.clock import WRAPS, Moment, StreamClock

finite = st.floats(-1e9, 1e9)
timestamps = st.lists(
    st.tuples(
        st.one_of(st.none(), finite, st.sampled_from((math.nan, math.inf, 0.0, 0.04, 0.08, 1e300))),
        st.one_of(st.none(), st.floats(0, 1e7), st.just(math.nan)),
    ),
    max_size=60,
)


def run(clock: StreamClock, pts: Sequence[float | None]) -> list[Moment]:
    return [clock.at(p) for p in pts]


@given(timestamps, st.booleans(), st.sets(st.integers(0, 60)))
def test_time_never_decreases_whatever_comes(
    ticks: list[tuple[float | None, float | None]], live: bool, reconnects: set[int]
) -> None:
    clock = StreamClock(live=live)
    moments = []
    for index, (pts, arrival) in enumerate(ticks):
        if index in reconnects:
            clock.reconnect()
        moments.append(clock.at(pts, arrival))
    for moment in moments:
        assert math.isfinite(moment.time)
    if moments:
        assert moments[0] == (0.0, 0, "first")
    for before, after in pairwise(moments):
        assert after.time >= before.time
        assert after.epoch - before.epoch == bool(after.reason)


@given(
    st.lists(st.floats(0.001, 1.9), min_size=1, max_size=100),
    st.floats(-1e5, 1e5),
    st.floats(0.01, 0.2),
    st.booleans(),
)
def test_good_timestamps_are_followed_exactly_at_any_declared_rate(
    steps: list[float], start: float, declared: float, live: bool
) -> None:
    clock = StreamClock(live=live, declared_interval=declared)
    pts, expected = start, 0.0
    assert clock.at(pts, 5.0) == (0.0, 0, "first")
    for index, step in enumerate(steps):
        pts += step
        expected += step
        moment = clock.at(pts, 5.0 + index * 0.04)
        assert moment.time == pytest.approx(expected, abs=1e-6)
        assert moment.epoch == 0


@given(st.floats(0.8, 1.2), st.integers(12, 60), st.sets(st.integers(11, 60)))
def test_a_lie_of_a_fifth_in_the_declared_rate_moves_nothing(
    lie: float, count: int, missing: set[int]
) -> None:
    pts = [None if i in missing else i * 0.04 for i in range(count)]
    honest = run(StreamClock(declared_interval=0.04), pts)
    lied = run(StreamClock(declared_interval=0.04 * lie), pts)
    assert [m.time for m in lied] == [m.time for m in honest]
    for index, moment in enumerate(lied):
        assert moment.time == pytest.approx(index * 0.04, abs=1e-6)


def test_repeated_and_slightly_earlier_timestamps_are_nudged() -> None:
    moments = run(StreamClock(), [0.0, 0.04, 0.08, 0.08, 0.07, 0.12, 0.16])
    times = [m.time for m in moments]
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.081, 0.082, 0.12, 0.16])
    assert {m.epoch for m in moments} == {0}
    assert all(a < b for a, b in pairwise(times))


def test_timestamps_that_stand_still_count_as_missing() -> None:
    moments = run(StreamClock(declared_interval=0.05), [7.0] * 104)
    assert 4.5 < moments[-1].time < 5.1
    assert {m.epoch for m in moments} == {0}


def test_timestamps_that_stood_still_and_go_on_are_not_counted_twice() -> None:
    pts = [i * 0.04 for i in range(20)] + [0.76] * 8
    pts += [(20 + 8 + i) * 0.04 for i in range(20)]
    moments = run(StreamClock(), pts)
    assert moments[-1].time == pytest.approx(47 * 0.04)
    assert moments[-1].epoch == 0


@pytest.mark.parametrize(
    ("second", "reason"),
    [(0.0, "jump_back"), (50.0, "jump_back"), (103.0, "jump_forward"), (1e6, "jump_forward")],
)
def test_jumps_begin_an_epoch_and_time_goes_on(second: float, reason: str) -> None:
    clock = StreamClock()
    first = run(clock, [100 + i * 0.04 for i in range(10)])
    after = run(clock, [second + i * 0.04 for i in range(10)])
    assert (after[0].epoch, after[0].reason) == (1, reason)
    assert after[0].time == pytest.approx(first[-1].time + 0.04)
    assert after[-1].time == pytest.approx(after[0].time + 0.36)
    assert [m.reason for m in after[1:]] == [""] * 9


@pytest.mark.parametrize("modulus", WRAPS)
def test_a_wrap_is_an_epoch_that_loses_no_time(modulus: float) -> None:
    pts = [(modulus - 0.2 + i * 0.04) % modulus for i in range(10)]
    moments = run(StreamClock(), [float(p) for p in pts])
    assert [m.reason for m in moments].count("wrap") == 1
    assert moments[-1].time == pytest.approx(0.36, abs=1e-4)
    assert moments[-1].epoch == 1


def test_live_silence_is_a_gap_as_long_as_in_the_world() -> None:
    clock = StreamClock(live=True)
    for i in range(10):
        clock.at(i * 0.04, 100 + i * 0.04)
    moment = clock.at(30.0, 129.0)
    assert moment.reason == "gap"
    assert moment.time == pytest.approx(29.0)


def test_reconnect_begins_an_epoch_after_the_time_that_passed() -> None:
    clock = StreamClock(live=True)
    clock.reconnect()
    assert clock.at(0.0, 100.0).reason == "first"
    clock.at(0.04, 100.04)
    clock.reconnect()
    moment = clock.at(0.0, 107.0)
    assert (moment.epoch, moment.reason) == (1, "reconnect")
    assert moment.time == pytest.approx(7.0)
    assert clock.at(0.04, 107.04).time == pytest.approx(7.04)


def test_live_frames_without_timestamps_follow_their_arrival_smoothly() -> None:
    """Bursts of three: the times come out nearly even, and do not drift off the true rate."""
    clock = StreamClock(live=True, declared_interval=1.0)
    moments = [clock.at(None, 50 + (i // 3) * 3 / 30) for i in range(600)]
    times = [m.time for m in moments]
    assert times[-1] == pytest.approx(599 / 30, abs=0.2)
    steps = [b - a for a, b in pairwise(times[100:])]
    assert max(steps) < 2.1 / 30
    assert min(steps) > 0
    assert moments[-1].epoch == 0


def test_missing_timestamps_in_a_file_take_the_cadence() -> None:
    pts: list[float | None] = (
        [i / 30 for i in range(20)] + [None] * 10 + [i / 30 for i in range(30, 40)]
    )
    moments = run(StreamClock(declared_interval=1 / 25), pts)
    for index, moment in enumerate(moments):
        assert moment.time == pytest.approx(index / 30, abs=1e-6)


def test_a_changing_frame_rate_is_followed() -> None:
    pts: list[float | None] = [0.0]
    for step in [0.04] * 20 + [0.5] * 5 + [1 / 60] * 50 + [1.0]:
        pts.append((pts[-1] or 0.0) + step)
    moments = run(StreamClock(), pts)
    assert [m.time for m in moments] == pytest.approx([p or 0.0 for p in pts])
    assert {m.epoch for m in moments} == {0}
