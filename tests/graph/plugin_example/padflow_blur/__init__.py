"""A node type from outside padflow: the mean of the last values of a stream."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from padflow.graph.node import Begin, Contract, Node, Outputs, Port
from padflow.graph.packet import Packet


@dataclass(frozen=True)
class MovingMeanParams:
    """Settings of :class:`MovingMean`."""

    length: Annotated[int, Ge(1)] = 3
    """Values that the mean is taken over."""


class MovingMean(Node[MovingMeanParams]):
    """Gives the mean of the last values of each stream."""

    Params = MovingMeanParams

    @classmethod
    def contract(cls, params: MovingMeanParams) -> Contract:
        return Contract(
            inputs={"values": Port(object, "numbers")},
            outputs={"means": Port(float, "their moving mean")},
            state="stream",
        )

    def new_state(self, begin: Begin) -> deque[float]:
        return deque(maxlen=self.params.length)

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[deque[float]]
    ) -> Outputs:
        means = []
        for packet, state in zip(packets, states, strict=True):
            state.append(float(packet.payload))
            means.append(packet.carry(sum(state) / len(state)))
        return {"means": means}
