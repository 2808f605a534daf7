"""Fuse and decide once more over recorded evidence, by the nodes themselves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..graph.node import Begin
from ..graph.packet import Packet
from ..nodes.decide import Decide, DecideParams, DecideState, State
from ..nodes.evidence import Evidence
from ..nodes.fuse import Fuse, FuseParams, FuseState
from ..nodes.fusion import Fusion
from ..nodes.payloads import Fused
from ..nodes.policy import Policy


@dataclass(frozen=True, slots=True)
class Rules:
    """Under which evidence becomes a verdict."""

    cues: tuple[str, ...]
    """Those that count; evidence of others is left out."""
    fusion: Fusion | None = None
    policy: Policy = field(default_factory=Policy)


class Moment(NamedTuple):
    """What stood at one time of a track."""

    time: float
    """Seconds since the track's first observation."""
    llr: float | None
    """Nats."""
    state: State


def replayed(packets: Sequence[Packet], rules: Rules) -> list[Moment]:
    """What fuse and decide say in the course of one track.

    Args:
        packets: of one track in time order, as :mod:`.evidence` keeps them.
        rules: cues, fusion and policy.
    """
    if not packets:
        return []
    start = packets[0].time
    decide = Decide(DecideParams(policy=rules.policy))
    state = DecideState()
    epoch: int | None = None
    moments = []
    for packet, begin in fused_packets(packets, rules):
        if begin is not None or epoch is None:
            state = decide.new_state(begin or _first(packet))
        epoch = packet.epoch
        decide.process("fused", [packet], [state])
        fused: Fused = packet.payload
        moments.append(Moment(packet.time - start, fused.llr, state.state))
    return moments


def fused_packets(packets: Sequence[Packet], rules: Rules) -> Iterator[tuple[Packet, Begin | None]]:
    """Packets of Fused, and why the state was made anew before, where it was."""
    fuse = Fuse(FuseParams(policy=rules.policy, cues=rules.cues))
    fuse.use(rules.fusion)
    state: FuseState | None = None
    last, epoch = 0.0, 0
    anew: Begin | None = None
    for packet in _counting(packets, rules.cues):
        gap = packet.time - last > rules.policy.watching.max_gap
        if state is None or gap or packet.epoch != epoch:
            reason = "first" if state is None else "gap" if packet.epoch == epoch else "epoch"
            anew = Begin(packet.stream, packet.key, packet.time, packet.epoch, reason)  # type: ignore[arg-type]  # one of the literals
            state = fuse.new_state(anew)
        last, epoch = packet.time, packet.epoch
        port = "evidence" if isinstance(packet.payload, Evidence) else "observations"
        for given in fuse.process(port, [packet], [state]).get("fused", ()):
            yield given, anew
            anew = None


def _counting(packets: Iterable[Packet], cues: Sequence[str]) -> Iterator[Packet]:
    for packet in packets:
        if not isinstance(packet.payload, Evidence) or packet.payload.cue in cues:
            yield packet


def _first(packet: Packet) -> Begin:
    return Begin(packet.stream, packet.key, packet.time, packet.epoch, "first")
