"""What tests of verdicts drive: a track whose evidence they give by hand."""

import time
from dataclasses import replace
from typing import Any

from padflow.graph.node import Begin, Finish, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.decide import Decide, DecideParams
from padflow.nodes.evidence import Evidence
from padflow.nodes.fuse import Fuse, FuseParams
from padflow.nodes.policy import Policy
from padflow.nodes.testing import face_observation

from .policies import ANY_NETWORK

POLICY = replace(Policy(), mandatory=(ANY_NETWORK,))
SPOOF_AT, LIVE_AT = POLICY.thresholds
KEYS = {
    *("stream", "track", "epoch", "state", "p_live", "llr", "reasons", "evidence", "box"),
    *("media_time", "frame_age_ms", "expires_at", "engines", "policy", "final", "thresholds"),
}


class Track:
    """One track through fuse and decide, as the runtime would drive them."""

    def __init__(self, policy: Policy = POLICY, mode: Any = "lossless", step: float = 0.04) -> None:
        self.policy = policy
        self.fuse = Fuse(FuseParams(policy, cues=("pulse",)))
        self.decide = Decide(DecideParams(policy))
        self.decide.open(NodeContext("decide", mode))
        self.step = step
        self.now = 0.0
        self.epoch = 0
        self.ended = False
        self.events: list[Packet] = []
        self.fresh("first")

    def fresh(self, reason: Any) -> None:
        previous = getattr(self, "decided", None)
        begin = Begin("cam", 1, self.now, self.epoch, reason, previous)
        self.fused = self.fuse.new_state(begin)
        self.decided = self.decide.new_state(begin)

    def packet(self, payload: Any) -> Packet:
        return Packet("cam", self.now, self.epoch, 1, payload, time.monotonic())

    def look(self, seconds: float = 0.0, **changes: Any) -> None:
        """Observations at the frame rate for some seconds (at least one)."""
        for _ in range(max(1, round(seconds / self.step))):
            self.now += self.step
            seen = face_observation(media_time=self.now, **changes)
            given = self.fuse.process("observations", [self.packet(seen)], [self.fused])
            for packet in given.get("fused", ()):
                self.judge(packet)

    def tell(self, cue: str, llr: float | None, length: float = 0.0, **more: Any) -> None:
        reasons = ("blurred",) if llr is None else ()
        evidence = Evidence(cue, (self.now - length, self.now), llr, reasons, **more)
        self.fuse.process("evidence", [self.packet(evidence)], [self.fused])

    def watch(self, seconds: float, **cues: float | None) -> None:
        """Observations, with the cues' ratios given five times a second."""
        for _ in range(round(seconds / 0.2)):
            for cue, llr in cues.items():
                self.tell(cue, llr)
            self.look(0.2)

    def judge(self, packet: Packet) -> None:
        given = self.decide.process("fused", [packet], [self.decided])
        self.events += given.get("events", ())

    def stop(self, reason: Any = "end", detail: str = "") -> None:
        finish = Finish("cam", 1, self.now, self.epoch, reason, detail)
        for packet in self.fuse.finish(self.fused, finish).get("fused", ()):
            self.judge(packet)
        self.events += self.decide.finish(self.decided, finish).get("events", ())
        self.ended = reason != "gap"

    @property
    def state(self) -> str:
        return str(self.decided.state)

    @property
    def last(self) -> dict[str, Any]:
        return dict(self.events[-1].payload.data)

    def states(self) -> list[str]:
        told = [p.payload.data["state"] for p in self.events]
        return [s for i, s in enumerate(told) if i == 0 or s != told[i - 1]]
