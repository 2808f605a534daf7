"""How often a face is looked at: while it is new, afterwards, and after every kind of alarm."""

import pickle
from collections.abc import Sequence
from itertools import pairwise
from math import log, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.pace import Alarms, Pace, Pacer, Sight

EAGER_HZ, SETTLED_HZ, EAGER_S = 5.0, 2.5, 2.0
PLAIN = Sight(0.2, log(180.0), 0.99, 0.02, 0.6, log(128.0), 0.4, -0.3, log(108.0))
ALARMING = {
    "it jumped": PLAIN._replace(motion=2.0),
    "it is larger": PLAIN._replace(size=PLAIN.size + 0.15),
    "it is smaller": PLAIN._replace(size=PLAIN.size - 0.15),
    "hardly a face": PLAIN._replace(presence=0.8),
    "covered": PLAIN._replace(occlusion=0.2),
    "blurred": PLAIN._replace(sharpness=0.3),
    "sharp": PLAIN._replace(sharpness=0.9),
    "darker": PLAIN._replace(light=PLAIN.light - 0.3),
    "redder": PLAIN._replace(red=PLAIN.red + 0.1),
    "bluer": PLAIN._replace(blue=PLAIN.blue + 0.1),
    "an edge beside it": PLAIN._replace(beside=PLAIN.beside - 0.5),
}


def pacer() -> Pacer:
    return Pacer(EAGER_HZ, SETTLED_HZ, EAGER_S, Alarms())


def at_rate(rate: float, seconds: float, start: float = 0.0) -> list[float]:
    return [start + step / rate for step in range(round(seconds * rate))]


def watch(pace: Pace, frames: Sequence[tuple[float, Sight | None]]) -> list[float]:
    """The times at which pictures were due; None is a frame that is not usable."""
    due, node = [], pacer()
    for time, sight in frames:
        if sight is None:
            node.miss(pace)
        elif node.is_due(pace, time, lambda sight=sight: sight):  # type: ignore[misc]
            due.append(time)
    return due


def plain(times: list[float]) -> list[tuple[float, Sight | None]]:
    return [(time, PLAIN) for time in times]


def rate_of(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0])


@pytest.mark.parametrize("rate", [7.0, 10.0, 25.0, 29.97, 60.0])
def test_a_new_face_is_looked_at_often_and_a_settled_one_seldom(rate: float) -> None:
    due = watch(Pace(), plain(at_rate(rate, 12.0)))
    assert rate_of([t for t in due if t <= EAGER_S]) == pytest.approx(EAGER_HZ, rel=0.12)
    assert rate_of([t for t in due if t > EAGER_S + 0.4]) == pytest.approx(SETTLED_HZ, rel=0.05)


@pytest.mark.parametrize("rate", [10.0, 25.0])
def test_two_settled_looks_lie_within_the_policys_change_span(rate: float) -> None:
    """Else a cue that falls would not be noticed without an alarm (``fuse.fallen_since``)."""
    due = watch(Pace(), plain(at_rate(rate, 20.0)))
    assert max(b - a for a, b in pairwise(due)) < 0.5


@pytest.mark.parametrize("change", ALARMING)
def test_after_a_change_a_settled_face_is_looked_at_often_at_once(change: str) -> None:
    pace = Pace()
    watch(pace, plain(at_rate(25, 10.0)))
    after = [(time, ALARMING[change]) for time in at_rate(25, 6.0, start=10.0)]
    due = watch(pace, after)
    assert due[0] <= 10.0 + 1 / EAGER_HZ
    assert rate_of([t for t in due if t <= 11.9]) == pytest.approx(EAGER_HZ, rel=0.05)
    assert min(b - a for a, b in pairwise(due)) > 1 / EAGER_HZ - 1 / 25 - 1e-9
    lasting = change == "it jumped"  # as long as it does not come to rest
    late = rate_of([t for t in due if t > 12.5])
    assert late == pytest.approx(EAGER_HZ if lasting else SETTLED_HZ, rel=0.05)


@pytest.mark.parametrize("away", ["not usable", "no frames"])
def test_a_face_that_was_away_is_new(away: str) -> None:
    pace = Pace()
    watch(pace, plain(at_rate(25, 10.0)))
    gone = at_rate(25, 0.04 if away == "not usable" else 0.4, start=10.0)
    watch(pace, [(t, None) for t in gone] if away == "not usable" else [])
    due = watch(pace, plain(at_rate(25, 1.9, start=gone[-1] + 0.04)))
    assert due[0] <= gone[-1] + 0.04 + 1 / EAGER_HZ
    assert rate_of(due) == pytest.approx(EAGER_HZ, rel=0.05)


def test_slow_changes_alarm_nobody() -> None:
    """Daylight that fades by a tenth in ten seconds, a head that comes nearer as slowly."""
    pace, frames = Pace(), []
    for time in at_rate(25, 20.0):
        size, light = PLAIN.size + 0.01 * time, PLAIN.light - 0.01 * time
        frames.append((time, PLAIN._replace(size=size, light=light)))
    due = watch(pace, list(frames))
    assert rate_of([t for t in due if t > 3]) == pytest.approx(SETTLED_HZ, rel=0.05)


def test_surroundings_out_of_the_picture_alarm_nobody() -> None:
    pace = Pace()
    frames = [
        (time, PLAIN._replace(beside=nan) if int(time) % 2 else PLAIN) for time in at_rate(25, 20.0)
    ]
    due = watch(pace, list(frames))
    assert rate_of([t for t in due if t > 3]) == pytest.approx(SETTLED_HZ, rel=0.05)


def test_nothing_settles_where_the_settled_cadence_is_no_slower() -> None:
    def unseen() -> Sight:
        raise AssertionError("what is seen does not matter then")

    node, pace = Pacer(5.0, 10.0, EAGER_S, Alarms()), Pace()
    due = [time for time in at_rate(25, 10.0) if node.is_due(pace, time, unseen)]
    assert rate_of(due) == pytest.approx(5.0, rel=0.02)


gaps = st.floats(1 / 60, 0.25)
sights = st.one_of(
    st.none(),
    st.just(PLAIN),
    st.just(PLAIN),
    st.just(PLAIN),
    st.sampled_from(list(ALARMING.values())),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(gaps, sights), min_size=2, max_size=250))
def test_never_faster_than_eager_never_slower_than_settled(
    steps: list[tuple[float, Sight | None]],
) -> None:
    frames, time = [], 50.0
    for gap, sight in steps:
        time += gap
        frames.append((time, sight))
    due = watch(Pace(), frames)
    shown = [t for t, sight in frames if sight is not None]
    longest = max((later - t for t, later in pairwise(shown)), default=0.0)
    for first in range(0, len(due), 3):
        for last in range(first + 1, len(due), 7):
            # A look falls on the first usable frame from when it was due.
            assert (last - first) / EAGER_HZ <= due[last] - due[first] + longest + 1e-3
    if shown:
        assert due[0] == shown[0]
    for a, b in pairwise([*due, time]):
        waiting = [t for t in shown if a < t < b]
        # Whatever is usable for longer than a settled period has been looked at.
        assert all(t - a < 1 / SETTLED_HZ for t in waiting)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(gaps, sights), min_size=2, max_size=120), st.integers(0, 119))
def test_the_state_is_all_there_is(steps: list[tuple[float, Sight | None]], split: int) -> None:
    frames, time = [], 0.0
    for gap, sight in steps:
        time += gap
        frames.append((time, sight))
    whole = watch(Pace(), frames)
    pace = Pace()
    parts = watch(pace, frames[:split])
    parts += watch(pickle.loads(pickle.dumps(pace)), frames[split:])
    assert parts == whole
