"""Proves from an event log that a run kept its promises, whatever befell it meanwhile.

It reads nothing but the log (docs/EVENTS.md), so it is as much a check of the log of a service in
the field as of a test. What the events do not tell it does not guess: the capture time of a verdict
is bounded from below by the newest window of evidence that its track has told, and from above by
``expires_at``, which for LIVE lies at most ``max_age`` after its mandatory evidence.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from sys import float_info
from typing import Any, NamedTuple, TypeGuard

from ..nodes.capture import SOURCE_EVENT
from ..nodes.decide import VERDICT, State
from ..nodes.policy import MandatoryGroup, Policy, resolve_policy
from ..nodes.track import TRACK_EVENT

REQUIRED = ("specversion", "id", "source", "type", "time", "data")
"""Attributes that every event must have, all of them texts but ``data``."""
LOSSES = ("worker_lost", "engine_lost")
"""Reasons of a source event that say that state was lost."""
NEW_CLOCK = (*LOSSES, "paused", "rebalanced")
"""Reasons with which a source is opened by a process whose clock of the stream begins again."""
TIME_STEP = 2e-3
"""Seconds by which times in a log may be off: they are rounded to the millisecond."""
RATIO_STEP = 1e-3
"""Nats by which ratios in a log may be off, likewise."""


class Violation(NamedTuple):
    """One promise that was not kept."""

    line: int
    """Line of the log, from 1; the last one where something is missing at the end."""
    where: str
    """Stream and track, as far as known."""
    what: str

    def __str__(self) -> str:
        """One sentence."""
        return f"line {self.line}, {self.where}: {self.what}"


@dataclass(slots=True)
class LogCheck:
    """What a log was found to hold."""

    violations: list[Violation] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    """By type."""
    states: Counter[str] = field(default_factory=Counter)
    """Verdicts by state."""
    streams: int = 0
    tracks: int = 0
    epochs: int = 0
    """Epochs that streams began, their first ones included."""
    losses: int = 0
    """Source events that tell that a worker or engine was lost."""

    def __str__(self) -> str:
        """One line for a person."""
        states = ", ".join(f"{self.states[s.value]} {s.value}" for s in State)
        return (
            f"{sum(self.events.values())} events, {self.streams} streams, {self.epochs} epochs, "
            f"{self.tracks} tracks, verdicts {states}, {self.losses} losses told, "
            f"{len(self.violations)} violations"
        )


@dataclass(slots=True)
class _Track:
    """What the log told of one track of one epoch."""

    started: bool = False
    ended: bool = False
    verdicts: int = 0
    final: bool = False
    media_time: float = -inf
    newest: float = -inf
    """End of the newest window told, in seconds of the stream's clock."""


@dataclass(slots=True)
class _Stream:
    """What the log told of one stream of one run."""

    name: str
    epochs: dict[str, int] = field(default_factory=dict)
    """Newest epoch by type of event: a source tells a new one while faces of the old one are still
    on their way."""
    begun: int = -1
    """Newest epoch in which anything was seen."""
    newest: float = -inf
    """End of the newest window of the newest verdicts' epoch, in seconds of the stream's clock."""
    floor: float = -inf
    """What the clock had come to before that epoch, where it goes on over the break."""
    new_clock: int = -1
    """Newest epoch with which the clock began again."""
    lost: int = -1
    """Newest epoch that ended since its state was lost."""
    tracks: dict[tuple[int, int], _Track] = field(default_factory=dict)


def check_log(
    lines: Iterable[bytes], policies: Sequence[Policy] = (), running: bool = False
) -> LogCheck:
    """Check a whole log.

    Args:
        lines: Lines of the log, in its order.
        policies: Policies that its verdicts may name, beside the default one.
        running: The run goes on: what has begun need not have ended.
    """
    checker = EventChecker(policies)
    for line in lines:
        checker.take(line)
    return checker.result(running)


class EventChecker:
    """Takes the lines of a log one after another.

    Checked are: every line one whole JSON object and CloudEvent; source and id unique; epochs of a
    stream never go back within one type of event, but for final verdicts; after a loss of state a
    later epoch begins; media times of a track never go back, each that was told has one final
    verdict and nothing after it, each that started has one end; a first look is never LIVE, so no
    LIVE outlives an epoch; numbers are finite; a LIVE has the ratio, and in every mandatory group
    of its policy a value that is fresh and not against it, none of it from an earlier epoch, and
    expires with it.
    """

    def __init__(self, policies: Sequence[Policy] = ()) -> None:
        self._policies = {p.id: p for p in (resolve_policy("default"), *policies)}
        self._found = LogCheck()
        self._ids: set[tuple[str, str]] = set()
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._line = 0

    def take(self, line: bytes) -> None:
        """Check one more line."""
        self._line += 1
        event = self._parsed(line)
        if event is None:
            return
        kind, data = event["type"], event["data"]
        self._found.events[kind] += 1
        key = (event["source"], event["id"])
        if key in self._ids:
            self._tell(event["source"], f"expected unique ids, found '{event['id']}' again")
        self._ids.add(key)
        stream = self._stream(event)
        if stream is None:
            return
        if not self._in_epoch(stream, data["epoch"], kind, data):
            return
        if kind == SOURCE_EVENT:
            self._take_source(stream, data)
        elif kind == TRACK_EVENT:
            self._take_track(stream, data)
        elif kind == VERDICT:
            self._take_verdict(stream, event)

    def result(self, running: bool = False) -> LogCheck:
        """What was found; without ``running``, what has begun must have ended too."""
        found = self._found
        found.streams = len(self._streams)
        found.tracks = sum(len(stream.tracks) for stream in self._streams.values())
        for stream in self._streams.values() if not running else ():
            for (epoch, number), track in stream.tracks.items():
                where = _place(stream, epoch, number)
                if track.verdicts and not track.final:
                    self._tell(where, "expected one final verdict, found none")
                if track.started and not track.ended:
                    self._tell(where, "expected an end of the track that started, found none")
        return found

    def _tell(self, where: str, what: str) -> None:
        self._found.violations.append(Violation(self._line, where, what))

    # ---- envelopes

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no line break at its end")
            event = json.loads(line, parse_constant=_refuse)
            if not isinstance(event, dict):
                raise ValueError(f"a {type(event).__name__}")
        except (ValueError, RecursionError) as error:  # nested deeper than anything of ours
            self._tell("log", f"expected one whole JSON object, found what is none ({error})")
            return None
        lacking = [
            name
            for name in REQUIRED
            if not isinstance(event.get(name), dict if name == "data" else str) or not event[name]
        ]
        if not lacking and (event["specversion"] != "1.0" or _seconds(event["time"]) is None):
            lacking = ["specversion 1.0 and a time in RFC 3339"]
        if lacking:
            self._tell("log", f"expected a CloudEvent, found one without {', '.join(lacking)}")
            return None
        return event

    def _stream(self, event: Mapping[str, Any]) -> _Stream | None:
        """What is known of the event's stream; a service that is started again begins anew."""
        data = event["data"]
        name, epoch = data.get("stream"), data.get("epoch")
        if not isinstance(name, str) or not _is_count(epoch):
            self._tell(event["source"], "expected a stream and an epoch in data, found none")
            return None
        parts = event["id"].rsplit("-", 3)
        run = parts[0] if len(parts) == 4 else ""
        return self._streams.setdefault((run, event["source"]), _Stream(name))

    # ---- streams

    def _in_epoch(self, stream: _Stream, epoch: int, kind: str, data: Mapping[str, Any]) -> bool:
        """Whether an event of an epoch may come now."""
        before = stream.epochs.get(kind, -1)
        if data.get("final") is True and epoch < before:
            return True  # The last word of a face may wait for the slowest of its cues.
        where = _place(stream, epoch, data.get("track"))
        if epoch < before:
            told = f"expected {kind} of epoch {before} or later, found one of epoch {epoch}"
            self._tell(where, told)
            return False
        begins = data.get("state") in ("connected", "started") or data.get("final") is False
        if epoch <= stream.lost and begins:
            told = f"expected an epoch after {stream.lost}, whose state was lost, found {kind}"
            self._tell(where, told)
        anew = data.get("state") == "connected" and data.get("reason") in NEW_CLOCK
        if anew and epoch <= stream.begun:
            told = f"a later epoch than {stream.begun} after {data['reason']}, found {epoch}"
            self._tell(where, f"expected {told}")
        if epoch > max(stream.epochs.values(), default=-1):
            self._found.epochs += 1
        if begins:
            stream.begun = max(stream.begun, epoch)
        if epoch > before and kind == VERDICT:
            goes_on = stream.new_clock <= before
            stream.floor = max(stream.floor, stream.newest) if goes_on else -inf
            stream.newest = -inf
        stream.epochs[kind] = epoch
        return True

    def _take_source(self, stream: _Stream, data: Mapping[str, Any]) -> None:
        state, reason = data.get("state"), data.get("reason")
        if state == "lost" and reason in LOSSES:
            self._found.losses += 1
            stream.lost = max(stream.epochs.values())
        elif state == "connected" and reason in NEW_CLOCK:
            stream.new_clock = data["epoch"]

    # ---- tracks

    def _track(self, stream: _Stream, data: Mapping[str, Any]) -> _Track | None:
        number = data.get("track")
        if not _is_count(number):
            self._tell(stream.name, f"expected the number of a track, found {number!r}")
            return None
        return stream.tracks.setdefault((data["epoch"], number), _Track())

    def _take_track(self, stream: _Stream, data: Mapping[str, Any]) -> None:
        track = self._track(stream, data)
        if track is None:
            return
        where = _place(stream, data["epoch"], data["track"])
        if data.get("state") == "started":
            if track.started or track.ended or track.final:
                self._tell(where, "expected the start first and once, found another or a late one")
            track.started = True
        elif data.get("state") == "ended":
            if track.ended or not track.started:
                self._tell(where, "expected one end after the start, found another or no start")
            track.ended = True
        else:
            self._tell(where, f"expected started or ended, found {data.get('state')!r}")

    def _take_verdict(self, stream: _Stream, event: Mapping[str, Any]) -> None:
        data = event["data"]
        track = self._track(stream, data)
        if track is None:
            return
        where = _place(stream, data["epoch"], data["track"])
        wrong = _malformed(data)
        if wrong:
            self._tell(where, wrong)
            return
        self._found.states[data["state"]] += 1
        if track.final:
            self._tell(where, "expected nothing after its final verdict, found a verdict")
        first = track.verdicts == 0
        track.verdicts += 1
        track.final |= data["final"]
        windows = _valued_windows(data)
        self._check_order(where, track, data)
        track.newest = max([track.newest, *(end for _, end in windows.values())])
        in_newest_epoch = data["epoch"] == stream.epochs[VERDICT]
        if in_newest_epoch:
            stream.newest = max(stream.newest, track.newest)
        if data["state"] == State.LIVE.value:
            floor = stream.floor if in_newest_epoch else -inf
            for problem in self._problems_of_live(event, windows, track.newest, floor, first):
                self._tell(where, problem)
        elif _holds_for(event) < -TIME_STEP:
            self._tell(where, "expected expires_at not before time, found it before")

    def _check_order(self, where: str, track: _Track, data: Mapping[str, Any]) -> None:
        media_time = data["media_time"]
        if media_time is not None:
            if media_time < track.media_time - TIME_STEP:
                told = f"{media_time:g} s after {track.media_time:g} s"
                self._tell(where, f"expected media times that do not go back, found {told}")
            track.media_time = max(track.media_time, media_time)

    def _problems_of_live(
        self,
        event: Mapping[str, Any],
        windows: Mapping[str, tuple[float, float]],
        newest: float,
        floor: float,
        first: bool,
    ) -> Iterable[str]:
        data = event["data"]
        policy = self._policies.get(str(data.get("policy")))
        if policy is None:
            known = ", ".join(self._policies)
            yield f"expected a LIVE by {known}, found '{data.get('policy')}'; give its policy file"
            return
        if first and max(policy.decides_from, policy.hysteresis.dwell) > 0:
            yield "expected no LIVE at the first look of a track, found one"
        live_at = data.get("thresholds", policy.thresholds)[1]
        least = live_at - policy.hysteresis.margin
        if data["llr"] is None or data["llr"] < least - RATIO_STEP:
            yield f"expected a LIVE to have at least {least:.3f} nats, found {data['llr']}"
        holds = _holds_for(event)
        if not 0 < holds <= policy.expiry + TIME_STEP:
            yield f"expected a LIVE to hold for up to {policy.expiry:g} s, found {holds:.3f} s"
        for group in policy.mandatory:
            problem = _unmet(group, data, windows, newest, policy, holds)
            if problem:
                yield problem
        for cue, (start, _) in windows.items():
            if start < floor - TIME_STEP:
                yield (
                    f"expected a LIVE to rest on its own epoch, found {cue} from {start:g} s, "
                    f"where the epoch before came to {floor:g} s"
                )


def _unmet(
    group: MandatoryGroup,
    data: Mapping[str, Any],
    windows: Mapping[str, tuple[float, float]],
    newest: float,
    policy: Policy,
    holds: float,
) -> str:
    """Why a mandatory group does not carry a LIVE; empty where it does."""
    names = " or ".join(group.any_of)
    of_group = [e for e in data["evidence"] if e["cue"] in group.any_of and e["llr"] is not None]
    if not of_group:
        return f"expected a LIVE to rest on {names}, found no value of it"
    fresh = [e for e in of_group if newest - windows[e["cue"]][1] < group.max_age + TIME_STEP]
    if not fresh:
        return (
            f"expected a LIVE to rest on {names} of the last {group.max_age:g} s, found a window "
            f"to {max(windows[e['cue']][1] for e in of_group):g} s, where the track is at "
            f"{newest:g} s or later"
        )
    carrying = [e for e in fresh if e["llr"] >= group.min_llr]
    if not carrying:
        return f"expected {names} of at least {group.min_llr:g} nats for a LIVE, found less"
    oldest = max(windows[e["cue"]][1] for e in carrying) + group.max_age
    if newest + min(holds, policy.expiry) > oldest + TIME_STEP:
        return (
            f"expected a LIVE to expire with its {names} at {oldest:g} s of the stream's clock, "
            f"found that it holds {holds:.3f} s more from {newest:g} s or later"
        )
    return ""


def _malformed(data: Mapping[str, Any]) -> str:
    """What is wrong with the numbers of a verdict, or nothing."""
    if data.get("state") not in [state.value for state in State]:
        return f"expected LIVE, SPOOF or UNDECIDED, found {data.get('state')!r}"
    if not isinstance(data.get("final"), bool) or not data.get("reasons"):
        return "expected final and at least one reason, found a verdict without"
    p_live, llr = data.get("p_live"), data.get("llr")
    if (p_live is None) != (llr is None):
        return f"expected p_live and llr together, found {p_live} and {llr}"
    if llr is not None and not (_is_number(llr) and _is_number(p_live) and 0 <= p_live <= 1):
        return f"expected a finite llr and a p_live from 0 to 1, found {llr} and {p_live}"
    media_time = data.get("media_time", "nothing")
    if not (media_time is None or _is_number(media_time)):
        return f"expected media_time in seconds or null, found {media_time!r}"
    if _seconds(data.get("expires_at")) is None:
        return f"expected expires_at in RFC 3339, found {data.get('expires_at')!r}"
    thresholds = data.get("thresholds", [0.0, 0.0])  # logs of earlier releases tell none
    if not _are_two_numbers(thresholds):
        return f"expected thresholds of two numbers, found {thresholds!r}"
    evidence = data.get("evidence")
    if not isinstance(evidence, list) or not all(map(_is_evidence, evidence)):
        return "expected evidence of cues with a finite or no llr and a window, found other"
    return ""


def _is_evidence(evidence: Any) -> bool:
    if not isinstance(evidence, dict) or not isinstance(evidence.get("cue"), str):
        return False
    if not _are_two_numbers(evidence.get("window")):
        return False
    return "llr" in evidence and (evidence["llr"] is None or _is_number(evidence["llr"]))


def _are_two_numbers(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 2 and all(map(_is_number, found))


def _valued_windows(data: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {e["cue"]: tuple(e["window"]) for e in data["evidence"] if e["llr"] is not None}


def _holds_for(event: Mapping[str, Any]) -> float:
    """Seconds from an event's time to its verdict's expiry."""
    expires, told = _seconds(event["data"]["expires_at"]), _seconds(event["time"])
    assert expires is not None
    assert told is not None
    return expires - told


def _place(stream: _Stream, epoch: int, track: Any) -> str:
    return f"{stream.name} epoch {epoch}" + ("" if track is None else f" track {track}")


def _is_number(value: Any) -> TypeGuard[float]:
    # Compared, since JSON's integers may be larger than any float.
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= float_info.max
    )


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seconds(text: Any) -> float | None:
    """Unix time of an RFC 3339 text; None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC).timestamp()


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
