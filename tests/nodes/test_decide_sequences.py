"""Whatever comes in whatever order, what a verdict's events promise holds."""

import json
import math
from dataclasses import replace
from datetime import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from padflow.graph.packet import Packet
from padflow.nodes.policy import Hysteresis

from .judged_track import KEYS, LIVE_AT, POLICY, SPOOF_AT, Track

ratios = st.one_of(st.floats(-8, 8), st.sampled_from([math.nan, math.inf, -math.inf, None]))


class AnySequence(RuleBasedStateMachine):
    """Evidence, gaps, epochs, faults and poor pictures in any order."""

    @initialize(
        dwell=st.sampled_from([0.0, 0.4]), margin=st.sampled_from([0.5, 1.0]), tight=st.booleans()
    )
    def begin(self, dwell: float, margin: float, tight: bool) -> None:
        policy = replace(POLICY, hysteresis=Hysteresis(margin, dwell))
        self.track = Track(policy, "realtime" if tight else "lossless", step=0.1)
        self.valued: list[tuple[float, str]] = []
        self.begun = 0.0
        self.checked = 0
        self.finals = {0: 0}

    @precondition(lambda self: not self.track.ended)
    @rule(cue=st.sampled_from(["depth", "patch", "pulse", "other"]), llr=ratios)
    def evidence(self, cue: str, llr: float | None) -> None:
        self.track.tell(cue, llr, length=0.5)
        if llr is not None and math.isfinite(llr):
            self.valued.append((self.track.now, cue))

    @precondition(lambda self: not self.track.ended)
    @rule(seconds=st.sampled_from([0.1, 0.6, 1.5, 4.0]), good=st.booleans())
    def frames(self, seconds: float, good: bool) -> None:
        self.track.look(seconds, usable=good)

    @precondition(lambda self: not self.track.ended)
    @rule(seconds=st.sampled_from([1.5, 3.0]))
    def convincing(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.2)):
            self.evidence("depth", 6.0)
            self.evidence("patch", 5.0)
            self.track.look(0.2)

    @precondition(lambda self: not self.track.ended)
    @rule(kind=st.sampled_from(["gap", "epoch", "fault"]))
    def reset(self, kind: str) -> None:
        self.holds()
        if kind != "fault":
            self.track.stop(kind)
            self.track.ended = False
            self.holds()
        if kind == "epoch":
            self.track.epoch += 1
            self.finals[self.track.epoch] = 0
        self.track.now += 3.0
        self.begun = self.track.now
        self.track.fresh(kind)

    @precondition(lambda self: not self.track.ended)
    @rule()
    def end(self) -> None:
        self.track.stop()

    @precondition(lambda self: self.track.ended)
    @rule()
    def stay_ended(self) -> None:
        """Nothing more happens."""

    @invariant()
    def holds(self) -> None:
        track = getattr(self, "track", None)
        if track is None:
            return
        for packet in track.events[self.checked :]:
            self.check(packet)
        self.checked = len(track.events)
        if track.ended and any(p.epoch == track.epoch for p in track.events):
            assert self.finals[track.epoch] == 1

    def check(self, packet: Packet) -> None:
        data = packet.payload.data
        line = json.dumps(dict(data), allow_nan=False)
        assert set(json.loads(line)) == KEYS
        assert data["reasons"]
        assert (data["p_live"] is None) == (data["llr"] is None)
        assert all(e["reasons"] for e in data["evidence"] if e["llr"] is None)
        happened = packet.payload.utc
        until = datetime.fromisoformat(data["expires_at"]).timestamp()
        assert until > happened - 1e-3
        if data["final"]:
            self.finals[packet.epoch] += 1
            assert self.finals[packet.epoch] == 1
        if data["state"] == "LIVE":
            oldest = packet.time - POLICY.mandatory[0].max_age
            assert any(
                self.begun <= t and oldest < t <= packet.time and cue in ("depth", "patch")
                for t, cue in self.valued
            ), "LIVE without a fresh mandatory value"
            assert data["llr"] >= LIVE_AT - self.margin - 1e-3 or self.dwelling()
        if data["state"] == "SPOOF":
            assert data["llr"] <= SPOOF_AT + self.margin + 1e-3 or self.dwelling()

    @property
    def margin(self) -> float:
        return self.track.policy.hysteresis.margin

    def dwelling(self) -> bool:
        return self.track.policy.hysteresis.dwell > 0


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
