from dataclasses import replace

import pytest

from padflow.graph.packet import Packet
from padflow.nodes.decide import State
from padflow.nodes.fusion import CueWorth, Fusion
from padflow.trainers.replaying import Rules, fused_packets, replayed

from .recordings import Cue, World, recordings

STRONG = World({"context": Cue(mean=5.0, passing=0.1), "pulse": Cue(mean=1.0)}, people=1, clips=1)


def test_live_and_attacks_end_as_what_they_are() -> None:
    for recorded in recordings(STRONG):
        moments = replayed(recorded.main, Rules(("context", "pulse")))
        expected = State.LIVE if recorded.presentation.live else State.SPOOF
        assert moments[-1].state is expected
        assert moments[0].state is State.UNDECIDED


def test_only_the_cues_that_count_are_heard() -> None:
    (recorded, *_) = recordings(STRONG)
    assert {
        e.cue
        for packet, _ in fused_packets(recorded.main, Rules(("pulse",)))
        for e in packet.payload.evidence
        if e.llr is not None
    } == {"pulse"}


def test_a_fusion_weighs() -> None:
    (recorded, *_) = recordings(STRONG)
    fusion = Fusion({"context": CueWorth(0.1, 1.0, 1.0)}, -9.0, 9.0)
    whole, tenth = (
        replayed(recorded.main, Rules(("context",), some))[-1].llr
        for some in (Fusion({"context": CueWorth(1.0, 1.0, 1.0)}, -9.0, 9.0), fusion)
    )
    assert whole is not None
    assert tenth == pytest.approx(0.1 * whole)


def test_a_gap_and_an_epoch_begin_anew() -> None:
    (recorded, *_) = recordings(STRONG)

    def later(packet: Packet, by: float, epoch: int) -> Packet:
        return packet._replace(time=packet.time + by, epoch=epoch)

    for by, epoch in ((60.0, 0), (4.1, 1)):
        both = [*recorded.main, *(later(packet, by, epoch) for packet in recorded.main)]
        begins = [begin.reason for _, begin in fused_packets(both, Rules(("context",))) if begin]
        assert begins == ["first", "epoch" if epoch else "gap"]
        moments = replayed(both, Rules(("context",)))
        second = [m for m in moments if m.time >= by]
        assert second[0].state is State.UNDECIDED


def test_nothing_is_nothing() -> None:
    assert replayed([], Rules(("context",))) == []


def test_a_cue_without_value_gives_none() -> None:
    (recorded, *_) = recordings(replace(STRONG, cues={"context": Cue(missing=1.0)}))
    assert all(m.llr is None for m in replayed(recorded.main, Rules(("context",))))
