"""A track is a place: what comes into a face's place inherits nothing that spoke for LIVE."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.node import Begin
from padflow.graph.packet import Packet
from padflow.nodes.align import AlignParams
from padflow.nodes.decide import Decide, DecideParams, State
from padflow.nodes.evidence import Evidence
from padflow.nodes.fuse import LITTLE, Fuse, FuseParams, FuseState, Look, fallen_since
from padflow.nodes.payloads import Fused
from padflow.nodes.testing import face_observation

STEP = 0.2
BEGIN = Begin("cam", 1, 0.0, 0, "first")


class Watching:
    """One track through fuse and decide, a look at a time."""

    def __init__(self, step: float = STEP) -> None:
        self.step = step
        self.fuse = Fuse(FuseParams(fusion="none"))
        self.decide = Decide(DecideParams())
        self.state: FuseState = self.fuse.new_state(BEGIN)
        self.verdict = self.decide.new_state(BEGIN)
        self.time = 0.0
        self.last: Fused | None = None

    def say(self, cue: str, llr: float, window: float = 0.0) -> None:
        told = Evidence(cue, (self.time - window, self.time), llr)
        self.fuse.process("evidence", [Packet("cam", self.time, 0, 1, told)], [self.state])

    def look(self, usable: bool = True) -> State:
        seen = Packet("cam", self.time, 0, 1, face_observation(usable=usable))
        for packet in self.fuse.process("observations", [seen], [self.state]).get("fused", ()):
            self.last = packet.payload
            self.decide.process("fused", [packet], [self.verdict])
        self.time += self.step
        return self.verdict.state

    def watch(self, seconds: float, usable: bool = True, **llr: float) -> list[State]:
        states = []
        for _ in range(round(seconds / self.step)):
            for cue, value in llr.items():
                self.say(cue, value)
            states.append(self.look(usable))
        return states


def test_a_phone_before_an_accepted_face_ends_live_within_a_second() -> None:
    door = Watching()
    assert door.watch(5.0, context=4.0, patch=2.0)[-1] is State.LIVE
    states = door.watch(2.0, context=-1.5, patch=-0.5)
    assert states.index(State.UNDECIDED) * STEP <= 1.0
    assert State.LIVE not in states[5:]
    assert door.last is not None
    assert door.last.renewed == "face_changed"
    assert all(e.llr is None or e.llr <= 0 for e in door.last.evidence)


def test_it_ends_within_a_second_also_where_nothing_made_align_look_more_often() -> None:
    step = 1 / AlignParams().settled_hz
    door = Watching(step)
    assert door.watch(10.0, context=4.0, patch=2.0)[-1] is State.LIVE
    states = door.watch(3.0, context=-1.5, patch=-0.5)
    assert states.index(State.UNDECIDED) * step <= 1.0
    assert State.LIVE not in states[3:]


def test_a_face_that_was_away_is_watched_anew() -> None:
    door = Watching()
    assert door.watch(5.0, context=5.0)[-1] is State.LIVE
    door.watch(0.8, usable=False)
    assert door.look() is State.UNDECIDED
    assert door.last is not None
    assert door.last.renewed == "face_was_away"
    assert door.last.watched == pytest.approx(0.0)
    assert "face_was_away" in door.verdict.reasons
    context = next(e for e in door.last.evidence if e.cue == "context")
    assert context.llr is None
    assert context.reasons == ("face_was_away",)
    assert door.watch(2.0, context=5.0)[-1] is State.LIVE  # the same person again


def test_a_blink_of_the_tracker_costs_nothing() -> None:
    door = Watching()
    door.watch(5.0, context=5.0)
    door.watch(0.2, usable=False)
    assert door.look() is State.LIVE


def test_what_spoke_for_an_attack_outlives_the_change() -> None:
    door = Watching()
    assert door.watch(3.0, context=-5.0)[-1] is State.SPOOF
    door.watch(0.8, usable=False)
    assert door.look() is State.SPOOF


def test_late_evidence_of_before_a_gap_cannot_speak_for_live() -> None:
    door = Watching()
    door.state = door.fuse.new_state(Begin("cam", 1, 10.0, 0, "gap"))
    door.time = 10.0
    door.look()
    late = Evidence("context", (9.4, 9.4), 5.0)
    door.fuse.process("evidence", [Packet("cam", 9.4, 0, 1, late)], [door.state])
    door.look()
    assert door.last is not None
    context = next(e for e in door.last.evidence if e.cue == "context")
    assert context.llr is None
    assert context.reasons == ("state_reset_gap",)


def test_a_fall_that_began_before_the_face_was_away_brings_nothing_back() -> None:
    door = Watching(0.1)
    door.watch(2.0, context=-0.5)
    door.watch(0.3, context=-6.0)
    door.watch(0.6, usable=False)
    back = door.time
    door.look()
    door.watch(0.1, context=-6.0)
    door.look()
    assert door.last is not None
    assert door.last.renewed == "face_changed"
    assert door.state.renewed_at == pytest.approx(back)
    door.say("life", 0.5, window=0.5)
    assert door.state.memories["life"].valued is None


def test_a_window_that_reaches_back_before_the_change_cannot_speak_for_live() -> None:
    door = Watching()
    door.watch(3.0, context=4.0)
    door.watch(0.8, usable=False)
    door.look()
    door.say("pulse", 1.5, window=8.0)
    door.look()
    assert door.last is not None
    pulse = next(e for e in door.last.evidence if e.cue == "pulse")
    assert pulse.llr is None
    assert "face_was_away" in pulse.reasons


@given(
    st.lists(st.floats(-6, 6), min_size=2, max_size=12),
    st.floats(0.5, 4),
    st.floats(0.2, 2),
)
def test_noise_within_the_drop_is_no_change(values: list[float], drop: float, span: float) -> None:
    looks = [Look(i * STEP, i * STEP, value) for i, value in enumerate(values)]
    since = fallen_since(looks, drop, span)
    if max(values) - min(values) < drop / 2:
        assert since is None
    if since is not None:
        after = [look.llr for look in looks if look.start >= since]
        before = [look.llr for look in looks if look.start < since]
        assert len(after) >= 2
        assert len(before) >= 2
        fall = median(before) - max(after)
        assert fall >= (drop if max(after) > LITTLE else drop / 2) - 1e-9


def test_a_fall_that_has_not_lasted_is_no_change() -> None:
    looks = [Look(i * STEP, i * STEP, 4.0) for i in range(10)]
    assert fallen_since([*looks, Look(2.0, 2.0, -3.0)], 3.0, 0.5) is None
    fallen = [*looks, Look(2.0, 2.0, -3.0), Look(2.2, 2.2, -2.0), Look(2.4, 2.4, -3.0)]
    assert fallen_since(fallen, 3.0, 0.5) == 2.0


@pytest.mark.parametrize(
    ("seconds", "fall", "noticed"),
    [(1.0, 3.1, True), (0.5, 3.1, False), (1.5, 2.6, True), (1.5, 2.0, False), (2.0, 2.0, True)],
)
def test_a_smaller_fall_counts_where_it_lasts(seconds: float, fall: float, noticed: bool) -> None:
    """A print that fills the picture: nothing speaks for life any more, little against it."""
    looks = [Look(i * STEP, i * STEP, fall - 0.1) for i in range(10)]
    after = [Look(2 + i * STEP, 2 + i * STEP, -0.1) for i in range(round(seconds / STEP) + 1)]
    assert (fallen_since([*looks, *after], 3.7, 0.5) is not None) is noticed


@pytest.mark.parametrize(
    ("hidden", "fall", "highest", "noticed"),
    [
        (1.9, 2.0, -0.1, True),
        (1.9, 1.7, -0.1, False),
        (1.9, 2.0, 0.8, False),
        (1.4, 2.0, -0.1, False),
    ],
)
def test_a_smaller_fall_counts_at_once_where_the_face_was_hidden_before_it(
    hidden: float, fall: float, highest: float, noticed: bool
) -> None:
    looks = [Look(i * STEP, i * STEP, fall + highest) for i in range(10)]
    after = [Look(2 + i * STEP, 2 + i * STEP, highest) for i in range(3)]
    assert fallen_since([*looks, *after], 3.7, 0.5) is None
    assert (fallen_since([*looks, *after], 3.7, 0.5, hidden) is not None) is noticed


def test_a_print_swept_before_an_accepted_face_ends_live_at_once() -> None:
    door = Watching()
    assert door.watch(5.0, context=3.2)[-1] is State.LIVE
    door.watch(0.2, usable=False)
    states = door.watch(2.0, context=0.1)
    assert states.index(State.UNDECIDED) * STEP <= 0.6
    assert State.LIVE not in states[4:]
    unbroken = Watching()
    unbroken.watch(5.0, context=3.2)
    assert unbroken.watch(0.8, context=0.1)[-1] is State.LIVE


def test_looks_while_the_face_changes_do_not_hide_the_change() -> None:
    """A print that is raised shows in part at first, and then on either side of 0."""
    raised = [3.2] * 6 + [1.6, -0.3, -0.1, 0.3, 0.5, 0.0, -0.5, -0.4, -0.4]
    looks = [Look(i * STEP, i * STEP, llr) for i, llr in enumerate(raised)]
    assert fallen_since(looks, 3.7, 0.5) is not None


def test_a_smaller_fall_that_still_speaks_for_life_is_a_change_of_light() -> None:
    looks = [Look(i * STEP, i * STEP, 4.0) for i in range(10)]
    after = [Look(2 + i * STEP, 2 + i * STEP, 0.8) for i in range(20)]
    assert fallen_since([*looks, *after], 3.7, 0.5) is None
