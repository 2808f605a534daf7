"""A stream of a run on Ray, and where it is."""

from collections import deque
from dataclasses import dataclass, field, replace
from math import inf

from .metrics import StreamMetrics
from .node import StreamSpec
from .state import ExportedStates


@dataclass(slots=True)
class Placed:
    """One stream and where it is."""

    spec: StreamSpec
    """As it was added."""
    states: ExportedStates | None
    incarnation: int = -1
    worker: str = ""
    engine: str = ""
    left: set[str] = field(default_factory=set)
    """Parts of this incarnation that have not ended: actors, and ``sinks``."""
    ended_links: set[int] = field(default_factory=set)
    reason: str = ""
    """Why it ends, where it was asked to."""
    again: str = ""
    """Why it begins anew once all parts have ended; empty: it does not."""
    waits: bool = True
    """It has no actors."""
    time: float = -inf
    """Capture time of the newest packet that came back."""
    epoch: int = -1
    """Newest epoch that came back."""
    key: int = 0
    """Highest track number that came back."""
    packets: int = 0
    """Most packets of this incarnation's sources that were heard of."""
    packets_before: int = 0
    """Packets of the incarnations before."""
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=16))

    def next_spec(self) -> StreamSpec:
        """What the next incarnation is told."""
        if not self.again:
            return self.spec
        return replace(
            self.spec,
            epoch=max(self.epoch, self.spec.epoch) + 1,
            first_key=max(self.key + 1, self.spec.first_key),
            resume_at=max(self.time, self.spec.resume_at),
            taken_up=self.again,
        )

    def note_packets(self, known: StreamMetrics | None) -> None:
        """Take in what an actor counted: never less than was told before, nor of another life."""
        if known is not None and known.incarnation == self.incarnation:
            self.packets = max(self.packets, known.packets)
