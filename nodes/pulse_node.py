"""What the nodes that look for a pulse share: windows, gates, pace, state by track."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Annotated, ClassVar, NamedTuple, TypeVar

import numpy as np
from annotated_types import Gt, Interval

from ..graph.node import Begin, Contract, Node, Outputs, Port
from ..graph.packet import Packet
from .evidence import RESET_REASONS, Evidence, Reason
from .payloads import PulseTrace, SkinSample
from .pulse_window import (
    FASTEST,
    FEWEST_REGIONS,
    PulseConditions,
    SampleBuffer,
    Stretch,
    failed_conditions,
    newest_stretch,
    visible_regions,
    window_conditions,
)


@dataclass(frozen=True)
class WindowParams:
    """Settings of every node that looks for a pulse."""

    window: Annotated[float, Interval(ge=5.0, le=60.0)] = 10.0
    """Seconds of capture time that are looked at, at most."""
    minimum: Annotated[float, Interval(ge=4.0, le=60.0)] = 6.0
    """Seconds without a long gap that are needed at least."""
    period: Annotated[float, Gt(0)] = 1.0
    """Seconds of capture time between two looks."""
    bridge: Annotated[float, Gt(0)] = 0.25
    """Longest gap in seconds that is interpolated over; a longer one ends the window."""
    max_gap: Annotated[float, Gt(0)] = 1.0
    """Seconds without a sample after which a track starts afresh."""
    conditions: PulseConditions = field(default_factory=PulseConditions)
    """When the pulse has no value."""


@dataclass(slots=True)
class PulseState:
    """What is kept of a track. Picklable; about 120 kB with the default window."""

    samples: SampleBuffer
    due: float
    """Capture time of the next look."""
    reset: Reason | None
    """Why the state is new, until the window is full again."""


class Judgement(NamedTuple):
    """What a window says."""

    ratio: float | None
    """Nats; None with reasons."""
    reasons: Sequence[Reason]
    details: dict[str, float]
    """Of the measurement, beside those of the conditions."""
    trace: PulseTrace | None = None


P = TypeVar("P", bound=WindowParams)


class PulseNode(Node[P]):
    """Keeps the newest seconds of each track and judges them about once a second.

    A subclass names the cue and writes :meth:`judge`; it may add columns to the samples.
    """

    cue: ClassVar[str]
    extra: int = 0
    """Columns that :meth:`observe` adds to a sample."""

    @classmethod
    def contract(cls, params: P) -> Contract:
        """Takes skin samples; keeps its state by track."""
        return Contract(
            inputs={"skin": Port(SkinSample, "registered skin colours, every frame")},
            outputs={
                "evidence": Port(Evidence, f"cue {cls.cue}, about once a second"),
                "trace": Port(PulseTrace, "the wave to draw; health data"),
            },
            state="track",
            max_gap=params.max_gap,
        )

    def new_state(self, begin: Begin) -> PulseState:
        """An empty window; remembers why, so that a short window can say it."""
        capacity = ceil((self.params.window + self.params.bridge) * FASTEST)
        return PulseState(
            samples=SampleBuffer(capacity, self.extra),
            due=begin.time + self.params.period,
            reset=RESET_REASONS.get(begin.reason),
        )

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[PulseState]
    ) -> Outputs:
        """Keep every sample; look at the window when it is time."""
        evidence: list[Packet] = []
        traces: list[Packet] = []
        for packet, state in zip(packets, states, strict=True):
            state.samples.append(packet.time, packet.payload, self.observe(packet, state))
            if packet.time < state.due - 1e-6:
                continue
            state.due = max(state.due, packet.time - self.params.period) + self.params.period
            found, trace = self._look(state, packet.time)
            evidence.append(packet.carry(found))
            if trace is not None:
                traces.append(packet.carry(trace))
        return {"evidence": evidence, "trace": traces}

    def observe(self, packet: Packet, state: PulseState) -> np.ndarray | None:
        """What is kept of a sample in the columns behind the common ones."""
        return None

    def unable(self) -> Reason | None:
        """Why the node can judge nothing at all, if so."""
        return None

    @abstractmethod
    def judge(
        self, state: PulseState, stretch: Stretch, regions: list[int], failed: list[Reason]
    ) -> Judgement:
        """Judge a window that is long enough.

        Args:
            state: what is kept of the track.
            stretch: the window.
            regions: which of the skin's regions are seen all the time, two at least.
            failed: conditions that are not met: with one, there must be no ratio.
        """

    def _look(self, state: PulseState, now: float) -> tuple[Evidence, PulseTrace | None]:
        params = self.params
        stretch = newest_stretch(state.samples, now, params.window, params.bridge)
        if (reason := self.unable()) is not None:
            return self._evidence(stretch, now, Judgement(None, [reason], {})), None
        if stretch.seconds < params.minimum:
            reasons = [Reason.WINDOW_TOO_SHORT, *stretch.cut]
            if state.reset is not None:
                reasons.append(state.reset)
            return self._evidence(stretch, now, Judgement(None, reasons, {})), None
        state.reset = None
        details = window_conditions(stretch)
        regions = visible_regions(stretch, params.conditions.min_visible, params.bridge)
        failed = failed_conditions(details, len(regions), params.conditions)
        if len(regions) < FEWEST_REGIONS:
            return self._evidence(stretch, now, Judgement(None, failed, details)), None
        found = self.judge(state, stretch, regions, failed)
        if found.ratio is not None and not np.isfinite(found.ratio):
            found = found._replace(ratio=None, reasons=[Reason.NOT_A_NUMBER])
        found = found._replace(details=details | found.details)
        return self._evidence(stretch, now, found), found.trace

    def _evidence(self, stretch: Stretch, now: float, found: Judgement) -> Evidence:
        start = float(stretch.times[0]) if stretch.times.size else now
        codes = tuple(dict.fromkeys(reason.value for reason in found.reasons))
        window = (start, float(now))
        name, sha256 = self.engine_told()
        return Evidence(self.cue, window, found.ratio, codes, name, sha256, found.details)

    def engine_told(self) -> tuple[str, str]:
        """Name and SHA-256 of the engine behind the evidence; empty without one."""
        return "", ""
