"""One track through a cue's node, and what the node says of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from padflow.graph.node import Begin, Node
from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence


def begin(reason: str = "first") -> Begin:
    return Begin("door", 1, 0.0, 0, reason)  # type: ignore[arg-type]  # one of the four words


class Run:
    """Feeds one track to a node with one input and keeps what the node says."""

    def __init__(self, node: Node[Any], reason: str = "first") -> None:
        self.node = node
        (self.port,) = node.contract(node.params).inputs
        self.state: Any = node.new_state(begin(reason))
        self.evidence: list[Evidence] = []
        self.at: list[float] = []

    def feed(self, times: Sequence[float] | np.ndarray, given: Iterable[Any]) -> "Run":
        for time, payload in zip(times, given, strict=True):
            packet = Packet("door", float(time), 0, 1, payload)
            for told in self.node.process(self.port, [packet], [self.state])["evidence"]:
                assert (told.stream, told.key, told.time) == ("door", 1, time)
                self.evidence.append(told.payload)
                self.at.append(told.time)
        return self

    @property
    def valued(self) -> list[float]:
        return [e.llr for e in self.evidence if e.llr is not None]

    @property
    def last(self) -> Evidence:
        return self.evidence[-1]
