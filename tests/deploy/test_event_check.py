"""Good logs, made by the nodes that make them in a run, pass; each broken promise is found."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.deploy.cli import main
from padflow.deploy.event_check import LogCheck, check_log
from padflow.deploy.exits import Exit
from padflow.graph.node import Begin, Finish, NodeContext
from padflow.graph.packet import Packet
from padflow.graph.wills import Place, Wills
from padflow.nodes.capture import SOURCE_EVENT
from padflow.nodes.cloudevents import Envelopes, json_line
from padflow.nodes.decide import VERDICT, Decide, DecideParams
from padflow.nodes.evidence import Evidence
from padflow.nodes.fuse import Fuse, FuseParams
from padflow.nodes.payloads import Event
from padflow.nodes.policy import Policy, dump_policy
from padflow.nodes.testing import face_observation
from padflow.nodes.track import TRACK_EVENT
from tests.nodes.policies import ANY_NETWORK

POLICY = replace(Policy(), name="any-network", mandatory=(ANY_NETWORK,))
STEP = 0.2
SOURCE, TRACK, DECIDE = ("capture", "events"), ("track", "events"), ("decide", "events")

LogEvent = dict[str, Any]


@dataclass(frozen=True)
class Epoch:
    """What happens in one epoch of a stream."""

    reason: str
    """Why it begins; ``worker_lost``: the one before was cut off; ``rebalanced``: it was ended."""
    faces: tuple[float, ...]
    """Ratio of the appearance cues of each face in nats."""
    looks: int


@dataclass
class LogMaker:
    """Lets faces go through fuse and decide, and writes what is told."""

    lossless: bool
    events: list[LogEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._envelopes = Envelopes(self.lossless, private=False)
        self._fuse = Fuse(FuseParams(POLICY, cues=("depth", "pulse")))
        self._decide = Decide(DecideParams(POLICY))
        self._decide.open(NodeContext("decide", "lossless" if self.lossless else "realtime"))
        self._wills = Wills(["capture", "track", "decide"])

    def stream(self, name: str, epochs: tuple[Epoch, ...]) -> None:
        """Write all of a stream."""
        now, tracks = 0.0, count(1)
        for number, epoch in enumerate(epochs):
            lost = number + 1 < len(epochs) and epochs[number + 1].reason == "worker_lost"
            keys = [next(tracks) for _ in epoch.faces]
            if epoch.reason in ("worker_lost", "rebalanced"):
                now = 0.0
            now = self._epoch(name, number, epoch, keys, now, lost)
            if lost:
                for place, packet in self._wills.open(name, "worker_lost"):
                    self._write(place, packet)
        self._wills.forget(name)

    def _epoch(
        self, name: str, number: int, epoch: Epoch, keys: list[int], now: float, lost: bool
    ) -> float:
        def packet(payload: Any, key: int | None = None) -> Packet:
            return Packet(name, now, number, key, payload, time.monotonic())

        def told(kind: str, subject: str, **data: Any) -> Packet:
            over = data["state"] == "ended"
            will = None if over else {"state": "lost" if kind == SOURCE_EVENT else "ended"}
            return packet(Event(kind, subject, data, will=will))

        now += STEP
        source = told(SOURCE_EVENT, "", state="connected", reason=epoch.reason)
        self._write(SOURCE, source)
        begins = [Begin(name, key, now, number, "first") for key in keys]
        fused = [self._fuse.new_state(begin) for begin in begins]
        decided = [self._decide.new_state(begin) for begin in begins]
        for key in keys:
            started = told(TRACK_EVENT, f"track/{key}", track=key, state="started", reason="")
            self._write(TRACK, started)
        for _ in range(epoch.looks):
            now += STEP
            for index, key in enumerate(keys):
                for cue, ratio in (("depth", epoch.faces[index]), ("pulse", 0.4)):
                    evidence = packet(Evidence(cue, (now, now), ratio), key)
                    self._fuse.process("evidence", [evidence], [fused[index]])
                seen = packet(face_observation(media_time=now), key)
                given = self._fuse.process("observations", [seen], [fused[index]])
                for each in given.get("fused", ()):
                    judged = self._decide.process("fused", [each], [decided[index]])
                    self._write_all(DECIDE, judged.get("events", ()))
        for index, key in enumerate(keys) if not lost else ():
            finish = Finish(name, key, now, number, "epoch")
            ending = told(TRACK_EVENT, f"track/{key}", track=key, state="ended", reason="epoch")
            self._write(TRACK, ending)
            self._write_all(DECIDE, self._decide.finish(decided[index], finish).get("events", ()))
        return now

    def _write_all(self, place: Place, packets: Any) -> None:
        for packet in packets:
            self._write(place, packet)

    def _write(self, place: Place, packet: Packet) -> None:
        self._wills.note(place, [packet])
        self.events.append(self._envelopes.wrap(packet))


RATIOS = st.sampled_from((5.5, 5.0, -4.0, 0.5))


@st.composite
def logs(draw: st.DrawFn) -> list[LogEvent]:
    """A log of one or two streams: reconnect, loss, move, and a living face in each epoch."""
    maker = LogMaker(draw(st.booleans()))
    for name in ("front door", "yard")[: draw(st.integers(1, 2))]:
        epochs = [
            Epoch(
                reason,
                (5.5, *draw(st.lists(RATIOS, max_size=1))),
                draw(st.integers(12, 18)),
            )
            for reason in ("", "reconnect", "worker_lost", "rebalanced")
        ]
        maker.stream(name, tuple(epochs))
    return maker.events


def checked(events: list[LogEvent], **options: Any) -> LogCheck:
    return check_log([json_line(event) for event in events], (POLICY,), **options)


def verdicts(events: list[LogEvent], state: str = "", final: bool | None = None) -> list[LogEvent]:
    return [
        e
        for e in events
        if e["type"] == VERDICT
        and state in ("", e["data"]["state"])
        and final in (None, e["data"]["final"])
    ]


def lives(events: list[LogEvent]) -> list[LogEvent]:
    return verdicts(events, "LIVE")


def of_kind(events: list[LogEvent], kind: str, state: str) -> list[LogEvent]:
    return [e for e in events if e["type"] == kind and e["data"]["state"] == state]


def again(event: LogEvent) -> LogEvent:
    """The same once more, under an id of its own."""
    copy: LogEvent = json.loads(json.dumps(event))
    copy["id"] += "b"
    return copy


Dice = random.Random
Change = Callable[[list[LogEvent], Dice], None]


def same_id(events: list[LogEvent], dice: Dice) -> None:
    events.append(dice.choice(events))


def no_id(events: list[LogEvent], dice: Dice) -> None:
    del dice.choice(events)["id"]


def no_final(events: list[LogEvent], dice: Dice) -> None:
    events.remove(dice.choice(verdicts(events, final=True)))


def after_final(events: list[LogEvent], dice: Dice) -> None:
    final = dice.choice(verdicts(events, final=True))
    events.insert(events.index(final) + 1, again(final))


def no_end(events: list[LogEvent], dice: Dice) -> None:
    events.remove(dice.choice(of_kind(events, TRACK_EVENT, "ended")))


def second_start(events: list[LogEvent], dice: Dice) -> None:
    started = dice.choice(of_kind(events, TRACK_EVENT, "started"))
    events.insert(events.index(started) + 1, again(started))


def epoch_goes_back(events: list[LogEvent], dice: Dice) -> None:
    kind = dice.choice((SOURCE_EVENT, TRACK_EVENT))
    later = [e for e in events if e["type"] == kind and e["data"]["epoch"] > 0]
    first = next(e for e in events if e["source"] == later[0]["source"] and e["type"] == kind)
    events.insert(events.index(dice.choice(later)) + 1, again(first))


def old_verdict_after_epoch(events: list[LogEvent], dice: Dice) -> None:
    old = dice.choice([e for e in verdicts(events, final=False) if e["data"]["epoch"] == 0])
    last = [e for e in verdicts(events) if e["source"] == old["source"]][-1]
    events.insert(events.index(last) + 1, again(old))


def media_time_back(events: list[LogEvent], dice: Dice) -> None:
    dice.choice(verdicts(events, "LIVE", final=False))["data"]["media_time"] = -1.0


def lost_goes_on(events: list[LogEvent], dice: Dice) -> None:
    lost = dice.choice(of_kind(events, SOURCE_EVENT, "lost"))
    connected = next(
        e
        for e in events[events.index(lost) :]
        if e["source"] == lost["source"] and e["data"]["state"] == "connected"
    )
    connected["data"]["epoch"] = lost["data"]["epoch"]


def no_epoch_after_loss(events: list[LogEvent], dice: Dice) -> None:
    """As an engine's loss is told: by the reason of what follows alone."""
    lost_goes_on(events, dice)
    for lost in of_kind(events, SOURCE_EVENT, "lost"):
        events.remove(lost)


def no_mandatory_value(events: list[LogEvent], dice: Dice) -> None:
    for evidence in dice.choice(lives(events))["data"]["evidence"]:
        if evidence["cue"] == "depth":
            evidence["llr"], evidence["reasons"] = None, ["evidence_stale"]


def depth_of(event: LogEvent) -> dict[str, Any]:
    return next(e for e in event["data"]["evidence"] if e["cue"] == "depth")


def stale_mandatory(events: list[LogEvent], dice: Dice) -> None:
    depth = depth_of(dice.choice(lives(events)))
    depth["window"] = [t - POLICY.mandatory[0].max_age - 0.1 for t in depth["window"]]


def outlives_mandatory(events: list[LogEvent], dice: Dice) -> None:
    depth = depth_of(dice.choice(lives(events)))
    depth["window"] = [t - 0.5 for t in depth["window"]]


def outlives_what_carries(events: list[LogEvent], dice: Dice) -> None:
    """A fresher cue of the group speaks against LIVE."""
    live = dice.choice(lives(events))
    depth = depth_of(live)
    patch = next(e for e in live["data"]["evidence"] if e["cue"] == "patch")
    patch |= {"llr": -0.5, "window": depth["window"], "reasons": []}
    depth["window"] = [t - 0.5 for t in depth["window"]]


def mandatory_against(events: list[LogEvent], dice: Dice) -> None:
    depth_of(dice.choice(lives(events)))["llr"] = -0.5


def expired_live(events: list[LogEvent], dice: Dice) -> None:
    live = dice.choice(lives(events))
    live["data"]["expires_at"] = live["time"]


def live_at_first_look(events: list[LogEvent], dice: Dice) -> None:
    live = dice.choice(lives(events))
    place = ("epoch", "track")
    before = [
        e
        for e in verdicts(events[: events.index(live)])
        if e["source"] == live["source"] and all(e["data"][k] == live["data"][k] for k in place)
    ]
    for event in before:
        events.remove(event)


def weak_live(events: list[LogEvent], dice: Dice) -> None:
    data = dice.choice(lives(events))["data"]
    data["llr"] = data["thresholds"][1] - POLICY.hysteresis.margin - 0.01


def strange_policy(events: list[LogEvent], dice: Dice) -> None:
    dice.choice(lives(events))["data"]["policy"] = "other@000000000000"


def impossible_probability(events: list[LogEvent], dice: Dice) -> None:
    dice.choice(lives(events))["data"]["p_live"] = 1.5


def half_a_threshold(events: list[LogEvent], dice: Dice) -> None:
    dice.choice(lives(events))["data"]["thresholds"].pop()


def no_media_time(events: list[LogEvent], dice: Dice) -> None:
    del dice.choice(verdicts(events, final=False))["data"]["media_time"]


def integer_beyond_floats(events: list[LogEvent], dice: Dice) -> None:
    dice.choice(lives(events))["data"]["llr"] = 10**400


def carried_evidence(events: list[LogEvent], dice: Dice) -> None:
    """Evidence of the pulse reaches back over the reconnect."""
    live = dice.choice([e for e in lives(events) if e["data"]["epoch"] == 1])
    pulse = next(e for e in live["data"]["evidence"] if e["cue"] == "pulse")
    pulse["window"][0] = STEP


BROKEN: dict[Change, str] = {
    same_id: "expected unique ids",
    no_id: "expected a CloudEvent",
    no_final: "expected one final verdict",
    after_final: "expected nothing after its final verdict",
    no_end: "expected an end of the track",
    second_start: "expected the start first and once",
    epoch_goes_back: "or later, found one of epoch 0",
    old_verdict_after_epoch: "or later, found one of epoch 0",
    media_time_back: "expected media times that do not go back",
    lost_goes_on: "whose state was lost",
    no_epoch_after_loss: "expected a later epoch than 1 after worker_lost",
    no_mandatory_value: "expected a LIVE to rest on depth or patch or context, found no value",
    stale_mandatory: "expected a LIVE to rest on depth or patch or context of the last "
    f"{POLICY.mandatory[0].max_age:g} s",
    outlives_mandatory: "expected a LIVE to expire with its depth or patch or context",
    outlives_what_carries: "expected a LIVE to expire with its depth or patch or context",
    mandatory_against: "of at least 0 nats for a LIVE",
    expired_live: "expected a LIVE to hold",
    live_at_first_look: "expected no LIVE at the first look",
    half_a_threshold: "expected thresholds of two numbers",
    weak_live: f"at least {POLICY.thresholds[1] - POLICY.hysteresis.margin:.3f} nats",
    strange_policy: "give its policy file",
    impossible_probability: "a p_live from 0 to 1",
    no_media_time: "expected media_time in seconds or null, found 'nothing'",
    integer_beyond_floats: "expected a finite llr",
    carried_evidence: "expected a LIVE to rest on its own epoch",
}


@settings(max_examples=20, deadline=None)
@given(logs())
def test_a_good_log_passes(events: list[LogEvent]) -> None:
    found = checked(events)
    assert not found.violations
    assert found.states["LIVE"] > 0
    assert found.losses == found.streams
    assert found.epochs == 4 * found.streams


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
@settings(max_examples=5, deadline=None)
@given(logs(), st.randoms(use_true_random=False))
def test_every_broken_promise_is_found(change: Change, events: list[LogEvent], dice: Dice) -> None:
    change(events, dice)
    found = checked(events)
    assert any(BROKEN[change] in str(each) for each in found.violations), found.violations


@settings(max_examples=10, deadline=None)
@given(logs(), st.data())
def test_what_is_no_whole_line_is_told_with_its_number(
    events: list[LogEvent], data: st.DataObject
) -> None:
    lines = [json_line(event) for event in events]
    number = data.draw(st.integers(0, len(lines) - 1))
    damage = data.draw(st.sampled_from(("cut", "nan", "no break")))
    whole = lines[number]
    lines[number] = {
        "cut": whole[: data.draw(st.integers(1, len(whole) - 3))] + b"\n",
        "nan": whole.replace(b'"epoch":', b'"odd":NaN,"epoch":'),
        "no break": whole[:-1],
    }[damage]
    found = check_log(lines, (POLICY,))
    assert [v.line for v in found.violations if "whole JSON" in v.what] == [number + 1]


def test_a_number_too_great_for_a_float_is_not_finite() -> None:
    events = made_log()
    live = verdicts(events, "LIVE")[0]
    lines = [
        line.replace(b'"llr":' + str(live["data"]["llr"]).encode(), b'"llr":1e999', 1)
        if event is live
        else line
        for event, line in ((e, json_line(e)) for e in events)
    ]
    assert any("expected a finite llr" in str(v) for v in check_log(lines, (POLICY,)).violations)


def test_a_line_nested_beyond_reason_is_told() -> None:
    (told,) = check_log([b"[" * 100_000 + b"\n"]).violations
    assert "whole JSON" in told.what


def made_log(lossless: bool = False) -> list[LogEvent]:
    maker = LogMaker(lossless)
    maker.stream("door", (Epoch("", (5.5,), 15), Epoch("worker_lost", (5.5, -4.0), 15)))
    return maker.events


def test_a_log_of_a_run_that_goes_on_may_lack_ends() -> None:
    events = made_log()
    while not events.pop()["data"].get("final"):
        pass
    assert checked(events).violations
    assert not checked(events, running=True).violations


def test_a_service_that_is_started_again_begins_its_epochs_anew() -> None:
    assert not checked([*made_log(), *made_log()]).violations


def test_the_last_word_of_a_face_may_come_when_the_next_epoch_has_begun() -> None:
    maker = LogMaker(lossless=False)
    maker.stream("door", (Epoch("", (5.5,), 15), Epoch("reconnect", (5.5,), 15)))
    final = verdicts(maker.events, final=True)[0]
    maker.events.remove(final)
    maker.events.append(final)
    assert not checked(maker.events).violations


def test_the_command_prints_a_sentence_for_each_violation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "events.jsonl"
    policy = tmp_path / "policy.yaml"
    policy.write_text(dump_policy(POLICY))
    command = ["check", str(log), "--policy", str(policy)]
    events = made_log()
    log.write_bytes(b"".join(map(json_line, events)))
    assert main(command) == Exit.DONE
    assert "0 violations" in capsys.readouterr().out
    events.remove(verdicts(events, final=True)[0])
    log.write_bytes(b"".join(map(json_line, events)))
    assert main(command) == Exit.FAILED
    first, summary = capsys.readouterr().out.splitlines()
    assert first.endswith("door epoch 0 track 1: expected one final verdict, found none")
    assert "1 violations" in summary
    assert main(["check", str(tmp_path / "none.jsonl")]) == Exit.WRONG_USE
