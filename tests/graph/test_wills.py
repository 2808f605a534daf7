"""Wills: what is said in the place of a process that was lost."""

from padflow.graph.packet import Packet
from padflow.graph.wills import Wills
from padflow.nodes.payloads import Event

VERDICTS, TRACKS, SOURCES = ("decide", "events"), ("track", "events"), ("capture", "events")


def said(kind: str, subject: str, will: dict[str, object] | None, **data: object) -> Packet:
    return Packet("door", 3.0, 1, None, Event(f"padflow.{kind}.v1", subject, data, 9.0, will=will))


def verdict(track: int, final: bool = False) -> Packet:
    will = None if final else {"state": "UNDECIDED", "reasons": ["state_lost"], "final": True}
    return said("verdict", f"track/{track}", will, state="LIVE", reasons=["x"], final=final)


def wills() -> Wills:
    return Wills(["capture", "track", "decide"])


def test_a_standing_live_ends_as_undecided_and_says_why() -> None:
    kept = wills()
    kept.note(VERDICTS, [verdict(1), verdict(1)])
    ((place, packet),) = kept.open("door", "worker_lost")
    assert place == VERDICTS
    assert (packet.stream, packet.time, packet.epoch) == ("door", 3.0, 1)
    data = packet.payload.data
    assert data == {
        "state": "UNDECIDED",
        "reasons": ["state_lost", "worker_lost"],
        "final": True,
    }
    assert packet.payload.will is None
    assert kept.open("door", "worker_lost") == []


def test_a_final_verdict_leaves_nothing_to_be_said() -> None:
    kept = wills()
    kept.note(VERDICTS, [verdict(1), verdict(2), verdict(1, final=True)])
    assert [p.payload.subject for _, p in kept.open("door", "x")] == ["track/2"]


def test_tracks_end_before_their_verdicts_and_the_source_last() -> None:
    kept = wills()
    kept.note(SOURCES, [said("source", "", {"state": "lost"}, state="connected", reason="")])
    kept.note(VERDICTS, [verdict(1)])
    kept.note(TRACKS, [said("track", "track/1", {"state": "ended"}, state="started", reason="")])
    told = [(place[0], p.payload.data) for place, p in kept.open("door", "worker_lost")]
    assert [node for node, _ in told] == ["track", "decide", "capture"]
    assert told[0][1] == {"state": "ended", "reason": "worker_lost"}
    assert told[2][1] == {"state": "lost", "reason": "worker_lost"}


def test_other_payloads_have_no_will_and_streams_are_forgotten() -> None:
    kept = wills()
    kept.note(VERDICTS, [Packet("door", 1.0, 0, None, 5), verdict(1)])
    assert kept.open("door", "x") == []
    kept.note(VERDICTS, [verdict(1)])
    kept.forget("door")
    assert kept.open("door", "x") == []
