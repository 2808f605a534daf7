"""Wills: what is said in the place of a process that was lost."""

from padflow.graph.node import Begin, Finish, NodeContext
from padflow.graph.packet import Packet
from padflow.graph.wills import Wills
from padflow.nodes.decide import Decide, DecideParams, DecideState
from padflow.nodes.evidence import Evidence
from padflow.nodes.payloads import Event, Fused
from padflow.nodes.policy import Policy
from padflow.nodes.testing import face_observation

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


def decided_live() -> tuple[Decide, DecideState, list[Packet]]:
    """Decide after six seconds of evidence for a living face, and what it said."""
    decide = Decide(DecideParams(Policy()))
    decide.open(NodeContext("decide", "lossless"))
    state = decide.new_state(Begin("door", 1, 0.0, 1, "first", None))
    said: list[Packet] = []
    for tick in range(1, 31):
        now = tick / 5
        evidence = tuple(Evidence(cue, (now - 0.2, now), 3.0, ()) for cue in ("context", "patch"))
        seen = face_observation(media_time=now)
        fused = Fused(6.0, evidence, seen, watched=now, usable_share=1.0)
        said += decide.process("fused", [Packet("door", now, 1, 1, fused)], [state]).get(
            "events", ()
        )
    return decide, state, said


def test_what_decide_leaves_behind_for_a_standing_live() -> None:
    _, _, said = decided_live()
    newest = said[-1].payload.data
    assert (newest["state"], newest["final"]) == ("LIVE", False)
    kept = wills()
    kept.note(VERDICTS, said)
    ((place, packet),) = kept.open("door", "worker_lost")
    assert (place, packet.payload.subject) == (VERDICTS, "track/1")
    data = packet.payload.data
    assert (data["state"], data["final"]) == ("UNDECIDED", True)
    assert data["reasons"] == ["state_lost", "worker_lost"]
    assert (data["llr"], data["p_live"], data["evidence"]) == (None, None, [])
    assert data.keys() == newest.keys(), "a consumer reads it as any other verdict"
    assert (data["track"], data["epoch"], data["policy"]) == (1, 1, newest["policy"])


def test_the_final_verdict_of_decide_leaves_nothing() -> None:
    decide, state, said = decided_live()
    kept = wills()
    kept.note(VERDICTS, said)
    final = decide.finish(state, Finish("door", 1, 6.0, 1, "end", "left"))["events"]
    assert final[0].payload.data["final"]
    kept.note(VERDICTS, final)
    assert kept.open("door", "worker_lost") == []


def test_streams_have_wills_of_their_own() -> None:
    kept = wills()
    kept.note(VERDICTS, [verdict(1), verdict(1)._replace(stream="lobby")])
    assert [p.stream for _, p in kept.open("lobby", "worker_lost")] == ["lobby"]
    assert [p.stream for _, p in kept.open("door", "worker_lost")] == ["door"]
