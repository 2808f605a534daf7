import json
import math
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.node import Begin
from padflow.graph.packet import Packet
from padflow.nodes.decide import Decide, DecideParams, State, called_for, expires, p_live
from padflow.nodes.evidence import Evidence
from padflow.nodes.payloads import Event, Fused
from padflow.nodes.policy import (
    CuePolicy,
    Early,
    Hysteresis,
    MandatoryGroup,
    TargetRates,
    Watching,
)
from padflow.nodes.testing import face_observation

from .judged_track import KEYS, LIVE_AT, POLICY, SPOOF_AT, Track


def test_strong_appearance_and_pulse_are_live() -> None:
    track = Track()
    track.watch(3.0, depth=4.0, patch=3.0, pulse=1.0)
    assert track.states() == ["UNDECIDED", "LIVE"]
    assert track.last["reasons"] == ["evidence_for_live"]
    assert track.last["llr"] >= LIVE_AT
    assert track.last["p_live"] > 0.98


def test_a_pulse_alone_is_never_live() -> None:
    track = Track()
    track.watch(30.0, pulse=9.0)
    track.stop()
    assert track.states() == ["UNDECIDED"]
    assert "no_appearance_evidence" in track.last["reasons"]
    assert track.last["p_live"] == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-6)
    assert {e["cue"]: e["reasons"] for e in track.last["evidence"]} == {
        "context": ["engine_missing"],
        "depth": ["engine_missing"],
        "patch": ["engine_missing"],
        "pulse": [],
    }


def test_a_pulse_alone_is_never_spoof() -> None:
    track = Track()
    track.watch(30.0, pulse=-9.0)
    assert track.states() == ["UNDECIDED"]


def test_a_pulse_cannot_outvote_an_appearance_that_speaks_for_an_attack() -> None:
    policy = replace(POLICY, cues={}, correlated=())
    track = Track(policy)
    track.watch(10.0, pulse=6.0, depth=-0.5)
    assert "LIVE" not in track.states()
    assert track.last["reasons"] == ["evidence_weak"]


def test_strong_attack_evidence_is_spoof() -> None:
    track = Track()
    track.watch(3.0, patch=-5.0)
    assert track.states() == ["UNDECIDED", "SPOOF"]
    assert track.last["reasons"] == ["evidence_for_attack"]


def test_spoof_can_be_made_to_need_the_mandatory_cues() -> None:
    track = Track(replace(POLICY, spoof_needs_mandatory=True))
    track.watch(3.0, texture=-9.0)
    assert track.states() == ["UNDECIDED"]
    free = Track()
    free.watch(3.0, texture=-9.0)
    assert free.states() == ["UNDECIDED", "SPOOF"]


def test_no_evidence_is_undecided_with_null_numbers() -> None:
    track = Track()
    track.look(0.2)
    assert track.last["p_live"] is None
    assert track.last["llr"] is None
    assert track.last["reasons"] == [
        "watched_too_short",
        "no_appearance_evidence",
        "no_evidence",
    ]


def test_a_face_without_evidence_is_told_to_be_watched_too_shortly_up_to_the_minimum_time() -> None:
    track = Track()
    track.look(0.8)
    track.stop()
    assert POLICY.decides_from < track.now < POLICY.watching.min_time
    assert track.last["reasons"] == [
        "watched_too_short",
        "no_appearance_evidence",
        "no_evidence",
    ]


@pytest.mark.parametrize("llr", [6.0, -6.0])
@pytest.mark.parametrize("early", [None, Early(), Early(from_time=0.6)])
def test_the_strongest_evidence_waits_for_the_earliest_time_and_its_dwell(
    early: Early | None, llr: float
) -> None:
    track = Track(replace(POLICY, early=early))
    earliest = 1.0 if early is None else early.from_time
    track.watch(3.0, depth=llr, patch=llr)
    first = next(p for p in track.events if p.payload.data["state"] != "UNDECIDED")
    late = track.fuse.params.period  # sums are told so often
    assert 0 <= first.time - earliest - POLICY.hysteresis.dwell < late + 0.1
    waiting = [p.payload.data for p in track.events if p.time < earliest]
    assert waiting
    assert all("watched_too_short" in data["reasons"] for data in waiting)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_evidence_between_early_and_usual_thresholds_waits_for_the_minimum_time(
    sign: float,
) -> None:
    once = {"depth": CuePolicy(rho=1.0)}  # a second look adds nothing
    track = Track(replace(POLICY, cues=once, targets=TargetRates(0.05, 0.05)))
    assert track.policy.early_thresholds is not None
    usual, early = track.policy.thresholds[1], track.policy.early_thresholds[1]
    between = sign * 0.5 * (usual + early)
    track.watch(0.9, depth=between)
    assert track.last["thresholds"] == pytest.approx(track.policy.early_thresholds, abs=1e-3)
    track.stop()
    assert track.last["reasons"] == ["watched_too_short"]
    longer = Track(track.policy)
    longer.watch(1.6, depth=between)
    assert longer.state == ("LIVE" if sign > 0 else "SPOOF")
    assert longer.last["thresholds"] == pytest.approx(track.policy.thresholds, abs=1e-3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_verdict_given_early_stands_by_the_usual_thresholds(sign: float) -> None:
    policy = replace(POLICY, watching=Watching(min_time=5.0))
    fused = Fused(
        sign * (LIVE_AT if sign > 0 else -SPOOF_AT),
        (Evidence("depth", (1.9, 2.0), sign * 3.0),),
        face_observation(),
        watched=2.0,
        usable_share=1.0,
    )
    standing = State.LIVE if sign > 0 else State.SPOOF
    assert called_for(policy, standing, fused, 2.0, ()).state is standing
    assert called_for(policy, State.UNDECIDED, fused, 2.0, ()).state is State.UNDECIDED


def test_strong_attack_evidence_is_not_called_weak_while_it_must_wait() -> None:
    track = Track()
    track.watch(0.4, depth=-3.0, patch=-3.0)
    assert track.last["llr"] < track.policy.thresholds[0]
    assert track.last["reasons"] == ["watched_too_short"]
    weak = Track()
    weak.watch(0.4, depth=-0.5, patch=-0.5)
    assert weak.last["reasons"] == ["watched_too_short", "evidence_weak"]


@pytest.mark.parametrize("llr", [6.0, -6.0])
def test_a_verdict_that_waits_for_its_dwell_says_so(llr: float) -> None:
    track = Track()
    watching = track.policy.decides_from + 0.5 * track.policy.hysteresis.dwell
    track.watch(watching, depth=llr, patch=llr)
    track.stop()
    assert track.last["state"] == "UNDECIDED"
    assert track.last["reasons"] == ["decision_pending"]


def test_live_ends_as_soon_as_the_mandatory_evidence_is_stale() -> None:
    track = Track()
    track.watch(3.0, depth=6.0, patch=6.0)
    assert track.state == "LIVE"
    stale_at = track.now - 0.2 + POLICY.mandatory[0].max_age
    while track.now < stale_at + 0.3:
        track.look()
        assert track.state == "LIVE" or track.now >= stale_at - 0.2
        assert track.state != "LIVE" or track.now < stale_at + 0.2
    track.look(1.0)
    assert track.last["reasons"][:2] == ["mandatory_cue_stale", "no_appearance_evidence"]


def test_live_never_outlasts_its_mandatory_evidence_in_expires_at() -> None:
    track = Track()
    track.watch(3.0, depth=6.0, patch=6.0)
    track.look(1.0)
    assert track.last["state"] == "LIVE"
    until = datetime.fromisoformat(track.last["expires_at"]).timestamp()
    assert until < 2.8 + POLICY.mandatory[0].max_age + 1e-3


def test_covering_the_camera_does_not_clear_a_spoof() -> None:
    track = Track()
    track.watch(3.0, patch=-6.0)
    assert track.state == "SPOOF"
    track.look(3.0, usable=False)
    assert track.state == "SPOOF"


def test_poor_pictures_bar_live_and_say_what_is_wrong() -> None:
    track = Track()
    track.watch(3.0, depth=6.0, patch=6.0)
    for _ in range(20):
        track.tell("depth", 6.0)
        track.tell("patch", 6.0)
        track.look(0.2, exposure=5.0)
    assert track.state == "UNDECIDED"
    assert track.last["reasons"] == ["too_dark"]


def test_a_track_that_stays_undecided_is_told_once_as_timed_out_and_may_still_be_decided() -> None:
    track = Track(replace(POLICY, watching=Watching(max_time=5.0)))
    track.watch(6.0, depth=1.0)
    told = [p for p in track.events if "decision_timeout" in p.payload.data["reasons"]]
    assert told[0].time == pytest.approx(5.0, abs=0.25)
    track.watch(8.0, depth=6.0, patch=6.0)
    assert track.state == "LIVE"
    assert "decision_timeout" not in track.last["reasons"]


def test_a_dwell_filters_a_single_outlier_and_a_margin_a_wobble() -> None:
    fused = Fused(LIVE_AT, (Evidence("depth", (4.9, 5.0), 5.0),), face_observation(), 5.0, 1.0)
    assert called_for(POLICY, State.UNDECIDED, fused, 5.0, ()).state is State.LIVE
    wobble = replace(fused, llr=LIVE_AT - 0.9 * POLICY.hysteresis.margin)
    assert called_for(POLICY, State.UNDECIDED, wobble, 5.0, ()).state is State.UNDECIDED
    assert called_for(POLICY, State.LIVE, wobble, 5.0, ()).state is State.LIVE
    gone = replace(fused, llr=LIVE_AT - 1.1 * POLICY.hysteresis.margin)
    assert called_for(POLICY, State.LIVE, gone, 5.0, ()).state is State.UNDECIDED
    attack = replace(fused, llr=SPOOF_AT + 0.9 * POLICY.hysteresis.margin)
    assert called_for(POLICY, State.SPOOF, attack, 5.0, ()).state is State.SPOOF
    assert called_for(POLICY, State.UNDECIDED, attack, 5.0, ()).state is State.UNDECIDED


def test_a_live_verdict_barred_by_a_rule_ends_without_dwell_even_on_the_way_to_spoof() -> None:
    track = Track(replace(POLICY, hysteresis=Hysteresis(margin=1.0, dwell=5.0)))
    track.watch(8.0, depth=6.0, patch=6.0)
    assert track.state == "LIVE"
    track.watch(3.0, depth=-6.0, patch=-6.0)
    assert track.state == "UNDECIDED"
    track.watch(8.0, depth=-6.0, patch=-6.0)
    assert track.state == "SPOOF"


def fused_since(since: float, now: float, llr: float) -> Packet:
    """A sum at a time, of a face that is watched since another."""
    seen = face_observation(media_time=now)
    depth = Evidence("depth", (now, now), llr)
    renewed = "face_changed" if since > 0 else ""
    fused = Fused(llr, (depth,), seen, now - since, 1.0, renewed=renewed)
    return Packet("cam", now, 0, 1, fused, 0.0)


@pytest.mark.parametrize(("llr", "again"), [(LIVE_AT - 0.2, False), (LIVE_AT + 0.2, True)])
def test_a_live_verdict_is_not_inherited_by_the_face_that_comes_after(
    llr: float, again: bool
) -> None:
    """Noticed late, when it was watched long enough: neither standing nor margin are its own."""
    track = Track()
    for step in range(20):
        track.judge(fused_since(0.0, step / 5, LIVE_AT + 1))
    assert track.state == "LIVE"
    track.judge(fused_since(2.4, 4.0, llr))
    assert track.state == "UNDECIDED"
    assert "face_changed" in track.last["reasons"]
    for step in range(21, 30):
        track.judge(fused_since(2.4, step / 5, llr))
    assert track.state == ("LIVE" if again else "UNDECIDED")


def test_an_unchanged_verdict_is_told_as_a_heartbeat() -> None:
    track = Track()
    track.watch(10.0, pulse=1.0)
    times = [p.time for p in track.events]
    steps = [b - a for a, b in pairwise(times)]
    assert steps == pytest.approx([POLICY.emission.heartbeat] * len(steps), abs=0.05)
    assert len(steps) >= 8


def test_the_data_is_what_the_design_says() -> None:
    track = Track()
    track.tell("depth", 4.0, engine="depth_net", engine_sha256="ab" * 32, details={"mean": 0.4})
    track.decide.params = DecideParams(POLICY, {"face_mesh": "cd" * 32})
    track.look(0.4)
    event: Event = track.events[-1].payload
    data = event.data
    assert set(data) == KEYS
    assert event.type == "padflow.verdict.v1"
    assert event.subject == "track/1"
    assert data["engines"] == {"face_mesh": "cd" * 32, "depth_net": "ab" * 32}
    assert data["box"] == [100.0, 80.0, 120.0, 150.0]
    assert data["media_time"] == pytest.approx(track.events[-1].time)
    assert data["policy"] == POLICY.id
    assert "mean" not in json.dumps(data)
    assert event.private == {"details": {"depth": {"mean": 0.4}}}


def test_lossless_events_hold_no_wall_clock() -> None:
    def once() -> list[dict[str, Any]]:
        track = Track()
        track.watch(3.0, depth=4.0, patch=-1.0, pulse=0.5)
        track.stop()
        return [dict(p.payload.data) | {"utc": p.payload.utc} for p in track.events]

    first = once()
    time.sleep(0.002)
    assert first == once()
    assert all(data["frame_age_ms"] is None for data in first)


def test_realtime_events_tell_the_age_and_the_wall_clock() -> None:
    track = Track(mode="realtime")
    track.look(0.2)
    event: Event = track.events[-1].payload
    assert 0 <= event.data["frame_age_ms"] < 1000
    assert event.utc == pytest.approx(time.time(), abs=5)
    expires_at = datetime.fromisoformat(event.data["expires_at"]).timestamp()
    assert expires_at == pytest.approx(time.time() + POLICY.expiry, abs=5)


def test_the_last_word_after_an_outage_holds_no_longer_than_its_picture() -> None:
    track = Track(mode="realtime")
    track.watch(3.0, depth=6.0, patch=6.0)
    assert track.state == "LIVE"
    for state in (track.fused, track.decided):
        assert state.latest is not None
        state.latest = state.latest._replace(arrival=state.latest.arrival - 60.0)
    track.stop("epoch")
    event: Event = track.events[-1].payload
    assert event.data["final"]
    assert event.data["frame_age_ms"] >= 60_000
    assert event.utc == pytest.approx(time.time() - 60.0, abs=5)
    expires_at = datetime.fromisoformat(event.data["expires_at"]).timestamp()
    assert expires_at < time.time() - 50.0


def test_the_capture_clock_of_the_source_dates_the_event() -> None:
    track = Track()
    track.look(0.2, utc=1_700_000_000.0)
    event: Event = track.events[-1].payload
    assert event.utc == 1_700_000_000.0
    assert event.data["expires_at"] == "2023-11-14T22:13:23.000Z"


def test_a_gap_gives_no_final_event_and_the_end_gives_one() -> None:
    track = Track()
    track.watch(3.0, depth=6.0, patch=6.0)
    assert track.state == "LIVE"
    track.stop("gap")
    track.now += 5.0
    track.fresh("gap")
    track.look(0.2)
    assert track.last["state"] == "UNDECIDED"
    assert "state_reset_gap" in track.last["reasons"]
    track.stop()
    finals = [p.payload.data["final"] for p in track.events]
    assert finals.count(True) == 1
    assert finals[-1]


def test_a_track_whose_last_batch_faulted_still_gets_its_final_event() -> None:
    track = Track()
    track.watch(3.0, depth=6.0, patch=6.0)
    track.fresh("fault")
    track.fused.latest = None
    track.stop()
    assert track.last["final"] is True
    assert track.last["state"] == "UNDECIDED"
    assert track.last["reasons"] == ["state_reset_fault"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_from_a_foreign_fuse_are_no_evidence(bad: float) -> None:
    node = Decide(DecideParams(POLICY))
    state = node.new_state(Begin("cam", 1, 0.0, 0, "first"))
    for i in range(20):
        evidence = (Evidence("depth", (0.0, i * 0.2), bad), Evidence("patch", (bad, bad), 9.0))
        fused = Fused(bad, evidence, face_observation(media_time=bad), 5.0, 1.0)
        given = node.process("fused", [Packet("cam", i * 0.2, 0, 1, fused)], [state])
        for packet in given.get("events", ()):
            assert packet.payload.data["state"] == "UNDECIDED"
            json.dumps(dict(packet.payload.data), allow_nan=False)


@given(st.floats(-1e308, 1e308), st.floats(1e-9, 1 - 1e-9))
def test_p_live_is_a_probability(llr: float, prior: float) -> None:
    probability = p_live(llr, prior)
    assert probability is not None
    assert 0 <= probability <= 1


def test_p_live_follows_bayes() -> None:
    assert p_live(0.0, 0.5) == 0.5
    assert p_live(math.log(3), 0.5) == pytest.approx(0.75)
    assert p_live(0.0, 0.9) == pytest.approx(0.9)
    assert p_live(None, 0.5) is None


@given(st.floats(0, 1e6), st.floats(0, 2.99), st.sampled_from(list(State)))
def test_a_verdict_expires_after_it_is_told(now: float, age: float, state: State) -> None:
    evidence = (Evidence("depth", (now - age, now - age), 6.0),)
    fused = Fused(6.0, evidence, face_observation(), 5.0, 1.0)
    if state is State.LIVE and called_for(POLICY, state, fused, now, ()).state is not state:
        return
    assert now < expires(POLICY, state, fused, now) <= now + POLICY.expiry


def test_a_live_verdict_expires_with_its_cue_where_the_group_would_wait_longer() -> None:
    policy = replace(POLICY, expiry=30.0, mandatory=(MandatoryGroup(("depth",), max_age=20.0),))
    longest = policy.cue("depth").max_age
    evidence = (Evidence("depth", (10.0, 10.0), 5.0),)
    fused = Fused(5.0, evidence, face_observation(), 5.0, 1.0)
    assert expires(policy, State.LIVE, fused, 11.0) == pytest.approx(10.0 + longest)
    assert called_for(policy, State.LIVE, fused, 10.0 + longest, ()).live_barred


def test_a_live_verdict_expires_with_the_cue_that_carries_it() -> None:
    now = 10.0
    against, carrying = Evidence("depth", (now, now), -0.3), Evidence("patch", (8.6, 8.6), 5.0)
    fused = Fused(4.7, (against, carrying), face_observation(), 5.0, 1.0)
    until = expires(POLICY, State.LIVE, fused, now)
    assert called_for(POLICY, State.LIVE, fused, until - 0.01, ()).state is State.LIVE
    assert called_for(POLICY, State.LIVE, fused, until + 0.01, ()).live_barred


def test_no_live_outlives_an_engine_that_was_lost() -> None:
    track = Track()
    track.watch(3.0, depth=6.0, patch=6.0)
    assert track.state == "LIVE"
    track.stop("end", "engine_lost")
    assert track.last["final"]
    assert track.last["state"] == "UNDECIDED"
    assert track.last["reasons"] == ["state_lost", "engine_lost"]
    assert track.last["p_live"] is None


@pytest.mark.parametrize(
    ("llr", "thresholds", "expected"),
    [
        (1.0, (-1.0, 1.0), State.LIVE),
        (0.9, (-1.0, 1.0), State.UNDECIDED),
        (-1.0, (-1.0, 1.0), State.SPOOF),
        (1.0, None, State.UNDECIDED),
        (LIVE_AT, None, State.LIVE),
        (LIVE_AT, (-5.0, 5.0), State.UNDECIDED),
    ],
)
def test_measured_thresholds_stand_in_the_place_of_the_bounds(
    llr: float, thresholds: tuple[float, float] | None, expected: State
) -> None:
    evidence = (Evidence("depth", (4.9, 5.0), 5.0),)
    fused = Fused(llr, evidence, face_observation(), 5.0, 1.0, thresholds=thresholds)
    assert called_for(POLICY, State.UNDECIDED, fused, 5.0, ()).state is expected
