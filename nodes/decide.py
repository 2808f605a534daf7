"""LIVE, SPOOF or UNDECIDED: the node ``decide``."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import exp, inf, isfinite, log
from typing import Any, NamedTuple

from ..graph.node import NOTHING, Begin, Contract, Finish, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .cloudevents import event_time, rfc3339
from .evidence import RESET_REASONS, Evidence, Reason
from .fuse import TICK
from .payloads import Box, Event, Fused
from .policy import MandatoryGroup, Policy, resolve_policy

VERDICT = "padflow.verdict.v1"


class State(StrEnum):
    """What a verdict can be."""

    LIVE = "LIVE"
    SPOOF = "SPOOF"
    UNDECIDED = "UNDECIDED"


_EARLY = frozenset({Reason.WATCHED_TOO_SHORT.value, Reason.DECISION_PENDING.value})
"""Reasons of a verdict that is not there yet: after a reset they come with it."""
_LOST: Mapping[str, Any] = {
    "state": State.UNDECIDED.value,
    "p_live": None,
    "llr": None,
    "reasons": [Reason.STATE_LOST.value],
    "evidence": [],
    "frame_age_ms": None,
    "final": True,
}
"""What a verdict becomes if the process that watched the face is lost: no LIVE outlives it."""


@dataclass(frozen=True)
class DecideParams:
    """Parameters of :class:`Decide`."""

    policy: Policy | str = "default"
    """The policy itself, the name of a shipped one, or the path of a YAML file. Give ``fuse`` the
    same."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by name of the engines before the cues (detector, mesh), to be told with every
    verdict beside those that the evidence names."""


@dataclass(slots=True)
class DecideState:
    """What is remembered of one track."""

    state: State = State.UNDECIDED
    reasons: tuple[str, ...] = (Reason.NO_EVIDENCE.value,)
    candidate: State | None = None
    """The state called for now, if another."""
    candidate_since: float = inf
    """Capture time since which it is called for without a break."""
    poor: tuple[str, ...] = ()
    """What the last observation that failed a quality gate failed."""
    began: str = ""
    """Reason code of the reset that made the state, or empty."""
    decided: bool = False
    """The track was LIVE or SPOOF at some time."""
    timed_out: bool = False
    """Passed the policy's maximum time without a decision."""
    watched_since: float = -inf
    """Capture time since which the face that stands there now is watched."""
    told: float = -inf
    """Capture time of the newest event."""
    latest: Packet | None = None
    """The newest Fused."""


class Decide(Node[DecideParams]):
    """Applies the policy to the fused ratio of each track.

    Gives ``padflow.verdict.v1`` at the first look, on every change of state, when a track stays
    undecided past the policy's maximum time, as a heartbeat, and once with ``final`` true at the
    end of the track. LIVE always rests on fresh values of every mandatory group.
    """

    Params = DecideParams

    def __init__(self, params: DecideParams) -> None:
        super().__init__(params)
        self.policy = resolve_policy(params.policy)
        self._policy_id = self.policy.id
        self._lossless = True

    @classmethod
    def contract(cls, params: DecideParams) -> Contract:
        """Per track."""
        return Contract(
            inputs={"fused": Port(Fused, "what all cues say together")},
            outputs={"events": Port(Event, "verdicts")},
            state="track",
            max_gap=resolve_policy(params.policy).watching.max_gap,
        )

    def open(self, context: NodeContext) -> None:
        """Lossless runs tell no wall-clock times, so that they can be repeated."""
        self._lossless = context.mode == "lossless"

    def new_state(self, begin: Begin) -> DecideState:
        """Undecided, whatever stood before; a track that goes on still gets its final event."""
        state = DecideState(began=RESET_REASONS.get(begin.reason, ""))
        if begin.reason in ("gap", "fault") and isinstance(begin.previous, DecideState):
            state.latest = begin.previous.latest
            state.reasons = (state.began,)
        return state

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[DecideState]
    ) -> Outputs:
        """Judge; tell what changed and what is due."""
        events = [
            packet.carry(self._event(state, final=False))
            for packet, state in zip(packets, states, strict=True)
            if self._judge(state, packet)
        ]
        return {"events": events} if events else NOTHING

    def finish(self, state: DecideState, finish: Finish) -> Outputs:
        """The final verdict of a track; after a gap the track goes on and has none yet."""
        if state.latest is None or finish.reason == "gap":
            return NOTHING
        if finish.detail.endswith("_lost"):
            # What the state rests on is lost with an engine: no LIVE outlives it.
            lost = self._event(state, final=False).last_word(finish.detail)
            return {"events": [state.latest.carry(lost)]}
        return {"events": [state.latest.carry(self._event(state, final=True))]}

    def _judge(self, state: DecideState, packet: Packet) -> bool:
        """Update the state; True if it is to be told."""
        fused = _numbers_only(packet.payload)
        state.latest = packet._replace(payload=fused)
        failed = self.policy.quality.failures(fused.observation)
        if failed:
            state.poor = failed
        before, was_timed_out = state.state, state.timed_out
        since = packet.time - fused.watched
        of_another = state.state is State.LIVE and since > state.watched_since + TICK
        if of_another:  # this face has to earn it, at the whole threshold
            state.state = State.UNDECIDED
        state.watched_since = since
        call = called_for(self.policy, state.state, fused, packet.time, state.poor)
        settle(self.policy, state, call, packet.time)
        state.decided |= state.state is not State.UNDECIDED
        state.timed_out = not state.decided and fused.watched >= self.policy.watching.max_time
        if state.timed_out:
            state.reasons = _unique(state.reasons, [Reason.DECISION_TIMEOUT])
        began = fused.renewed or state.began
        if began and (of_another or _EARLY.intersection(state.reasons)):
            state.reasons = _unique(state.reasons, [began])
        changed = state.state is not before or (state.timed_out and not was_timed_out)
        if changed or packet.time - state.told > self.policy.emission.heartbeat - TICK:
            state.told = packet.time
            return True
        return False

    def _event(self, state: DecideState, final: bool) -> Event:
        packet = state.latest
        if packet is None:
            raise AssertionError("there is no verdict before the first look")
        fused: Fused = packet.payload
        seen = fused.observation
        aged = not self._lossless and packet.arrival > 0
        age = max(0.0, time.monotonic() - packet.arrival) if aged else 0.0
        # The last word of a face is said when its camera is there again, and must not hold from
        # there; nor must what else has waited for longer than a frame's way takes.
        waited = age if final or age > self.policy.emission.heartbeat else 0.0
        happened = event_time(seen.utc, packet.time, self._lossless, waited)
        holds_until = expires(self.policy, state.state, fused, packet.time)
        data = {
            "stream": packet.stream,
            "track": packet.key,
            "epoch": packet.epoch,
            "state": state.state.value,
            "p_live": p_live(fused.llr, self.policy.prior_live),
            "llr": _rounded(fused.llr),
            "thresholds": [_rounded(at) for at in thresholds_now(self.policy, state.state, fused)],
            "reasons": list(state.reasons),
            "evidence": [_evidence_data(e) for e in fused.evidence],
            "box": _box_data(seen.box),
            "media_time": _rounded(seen.media_time),
            "frame_age_ms": round(1e3 * age, 1) if aged else None,
            "expires_at": rfc3339(happened + holds_until - packet.time),
            "engines": _engines(self.params.engines, fused),
            "policy": self._policy_id,
            "final": final,
        }
        private = {e.cue: dict(e.details) for e in fused.evidence if e.details}
        will = None if final else {**_LOST, "expires_at": rfc3339(happened)}
        return Event(VERDICT, f"track/{packet.key}", data, happened, {"details": private}, will)


class Call(NamedTuple):
    """What the evidence of one moment calls for."""

    state: State
    reasons: tuple[str, ...]
    live_barred: bool
    """A rule bars LIVE, whatever the ratio: a standing LIVE ends without any dwell."""


def called_for(
    policy: Policy, current: State, fused: Fused, now: float, poor: tuple[str, ...]
) -> Call:
    """What the evidence calls for now and why, before any dwell.

    Args:
        policy: What a verdict needs.
        current: The state that stands: its threshold is relaxed by the hysteresis margin.
        fused: What all cues say.
        now: Capture time in seconds.
        poor: Reason codes to give when too few observations are usable.
    """
    unmet = _unmet(policy, fused, now)
    blocked = _blocked(policy, fused, poor)
    waits = (Reason.WATCHED_TOO_SHORT,) if early(policy, fused) else ()
    if fused.llr is None:
        return Call(State.UNDECIDED, _unique(waits, blocked, unmet, [Reason.NO_EVIDENCE]), True)
    spoof_at, live_at = thresholds_now(policy, current, fused)
    margin = policy.hysteresis.margin
    live_at -= margin if current is State.LIVE else 0.0
    spoof_at += margin if current is State.SPOOF else 0.0
    barred = bool(blocked or unmet)
    # A standing SPOOF is not cleared by covering the camera or turning the face away.
    spoof_blocked = blocked and current is not State.SPOOF
    for_attack = fused.llr <= spoof_at
    if for_attack and not spoof_blocked and not (unmet and policy.spoof_needs_mandatory):
        return Call(State.SPOOF, (Reason.EVIDENCE_FOR_ATTACK.value,), barred)
    if fused.llr >= live_at and not barred:
        return Call(State.LIVE, (Reason.EVIDENCE_FOR_LIVE.value,), False)
    enough_later = fused.llr <= usual(policy, fused)[0]
    if enough_later and not policy.spoof_needs_mandatory:
        unmet = []  # what LIVE lacks is not what keeps a SPOOF waiting
    weak = () if barred or waits else (Reason.EVIDENCE_WEAK,)
    return Call(State.UNDECIDED, _unique(waits, blocked, unmet, weak), barred)


def thresholds_now(policy: Policy, current: State, fused: Fused) -> tuple[float, float]:
    """Ratios in nats: SPOOF at or below the first, LIVE at or above the second.

    A verdict takes more before ``min_time``; one that stands is judged by the usual thresholds.
    """
    if current is not State.UNDECIDED or not early(policy, fused):
        return usual(policy, fused)
    stricter = fused.early_thresholds if fused.thresholds else policy.early_thresholds
    return stricter or usual(policy, fused)


def usual(policy: Policy, fused: Fused) -> tuple[float, float]:
    """Likewise from ``min_time`` on."""
    return fused.thresholds or policy.thresholds


def early(policy: Policy, fused: Fused) -> bool:
    """Whether the face is watched for less than ``min_time``."""
    return fused.watched < policy.watching.min_time


def settle(policy: Policy, state: DecideState, call: Call, now: float) -> None:
    """Move to the state called for once it was called for long enough."""
    if call.state is state.state:
        state.candidate, state.candidate_since = None, inf
        state.reasons = call.reasons
        return
    if call.state is not state.candidate:
        state.candidate, state.candidate_since = call.state, now
    if now - state.candidate_since > policy.hysteresis.dwell - TICK:
        state.state, state.reasons = call.state, call.reasons
        state.candidate, state.candidate_since = None, inf
    elif state.state is State.LIVE and call.live_barred:
        state.state, state.reasons = State.UNDECIDED, call.reasons
        if call.state is State.UNDECIDED:
            state.candidate, state.candidate_since = None, inf
    elif state.state is State.UNDECIDED:
        state.reasons = (Reason.DECISION_PENDING.value,)


def expires(policy: Policy, state: State, fused: Fused, now: float) -> float:
    """Capture time at which a verdict told now ceases to hold, always after ``now``."""
    until = now + policy.expiry
    if state is not State.LIVE:
        return until
    for group in policy.mandatory:
        fresh = _fresh(policy, group, fused.evidence, now)
        # Only what carries LIVE: a cue that speaks against it may be the fresher one.
        ends = [e.window[1] + _longest(policy, group, e.cue) for e in fresh if _carries(e, group)]
        until = min(until, max(ends))
    return until


def p_live(llr: float | None, prior_live: float) -> float | None:
    """Probability of a living person: the logistic function of ratio plus prior log-odds."""
    if llr is None:
        return None
    log_odds = llr + log(prior_live / (1 - prior_live))
    # exp of a negative number only: never overflows
    smaller = exp(-abs(log_odds))
    return round((1.0 if log_odds >= 0 else smaller) / (1.0 + smaller), 6)


def _blocked(policy: Policy, fused: Fused, poor: tuple[str, ...]) -> list[str]:
    """Reasons why nothing may be decided from what was seen so far."""
    reasons = []
    if fused.watched < policy.decides_from:
        reasons.append(Reason.WATCHED_TOO_SHORT.value)
    if fused.usable_share < policy.quality.min_usable_share:
        reasons.extend(poor or (Reason.FACE_NOT_SEEN.value,))
    return reasons


def _unmet(policy: Policy, fused: Fused, now: float) -> list[str]:
    """Reasons of the mandatory groups that are missing, stale or speak for an attack."""
    reasons: list[str] = []
    for group in policy.mandatory:
        fresh = _fresh(policy, group, fused.evidence, now)
        if any(_carries(e, group) for e in fresh):
            continue
        if fresh:
            reasons.append(Reason.EVIDENCE_WEAK.value)
        elif any(_was_valued(e) for e in fused.evidence if e.cue in group.any_of):
            reasons += [Reason.MANDATORY_CUE_STALE.value, group.reason]
        else:
            reasons.append(group.reason)
    return reasons


def _fresh(
    policy: Policy, group: MandatoryGroup, evidence: Sequence[Evidence], now: float
) -> list[Evidence]:
    """Valued evidence of the group whose window ended less than ``max_age`` seconds ago.

    A window that claims to end in the future is not fresh: it would never age.
    """
    return [
        e
        for e in evidence
        if e.cue in group.any_of
        and e.llr is not None
        and abs(now - e.window[1]) < _longest(policy, group, e.cue)
    ]


def _longest(policy: Policy, group: MandatoryGroup, cue: str) -> float:
    """Seconds for which a cue's newest value can meet the group: no longer than it counts."""
    return min(group.max_age, policy.cue(cue).max_age)


def _carries(evidence: Evidence, group: MandatoryGroup) -> bool:
    """Whether a valued cue of the group speaks for LIVE as clearly as the group wants."""
    return evidence.llr is not None and evidence.llr >= group.min_llr


def _numbers_only(fused: Fused) -> Fused:
    """The same without what is no number: fuse gives none, a third party's node might."""
    evidence = tuple(
        e
        if e.llr is None or isfinite(e.llr)
        else replace(e, llr=None, reasons=(*e.reasons, Reason.NOT_A_NUMBER.value))
        for e in fused.evidence
    )
    if fused.llr is not None and not isfinite(fused.llr):
        return replace(fused, llr=None, evidence=evidence)
    return fused if evidence == fused.evidence else replace(fused, evidence=evidence)


def _was_valued(evidence: Evidence) -> bool:
    return evidence.llr is not None or Reason.EVIDENCE_STALE.value in evidence.reasons


def _unique(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(reason) for part in parts for reason in part))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(float(value), 4)


def _box_data(box: Box) -> list[float] | None:
    return [round(float(side), 1) for side in box] if all(map(isfinite, box)) else None


def _evidence_data(evidence: Evidence) -> dict[str, Any]:
    return {
        "cue": evidence.cue,
        "llr": _rounded(evidence.llr),
        "reasons": list(evidence.reasons),
        "window": [_rounded(t) or 0.0 for t in evidence.window],
    }


def _engines(upstream: Mapping[str, str], fused: Fused) -> dict[str, str]:
    named = {e.engine: e.engine_sha256 for e in fused.evidence if e.engine}
    if fused.engine:
        named[fused.engine] = fused.engine_sha256
    return {**upstream, **named}
