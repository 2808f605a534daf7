"""Last wills: what is to be said of a key if the process that spoke for it is lost.

As in MQTT, a will is left behind with an ordinary message, by whoever knows what its loss would
mean, and opened by whoever outlives it. Here a payload may have a method ``last_word(reason)``; the
newest of a port and subject counts. A verdict that stands thus ends as undecided, whoever was
lost, and a track that began has an end.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from .packet import Packet


@runtime_checkable
class Willing(Protocol):
    """A payload that knows what is to be said in its place."""

    @property
    def subject(self) -> str:
        """What it speaks of: of each subject of a port the newest will counts."""

    def last_word(self, reason: str) -> Any:
        """The payload to send if nobody can say more; None if nothing is left to be said."""


Place = tuple[str, str]
"""Node and output port."""


class Wills:
    """The wills of all streams. One thread at a time calls it for a stream."""

    def __init__(self, order: Sequence[str]) -> None:
        """No wills; ``order`` names the nodes in the order in which they speak."""
        self._rank = {name: index for index, name in enumerate(order)}
        self._kept: dict[str, dict[tuple[Place, str], Packet]] = {}

    def note(self, place: Place, packets: Sequence[Packet]) -> None:
        """Keep the wills of packets that came from an output port."""
        for packet in packets:
            payload = packet.payload
            if not isinstance(payload, Willing):
                return  # A port has payloads of one type.
            of_stream = self._kept.setdefault(packet.stream, {})
            if payload.last_word("") is None:
                of_stream.pop((place, payload.subject), None)
            else:
                of_stream[place, payload.subject] = packet

    def open(self, stream: str, reason: str) -> list[tuple[Place, Packet]]:
        """What is to be said for a stream, itself last; it is forgotten here."""
        kept = self._kept.pop(stream, {})

        def order(item: tuple[tuple[Place, str], Packet]) -> tuple[bool, str, int]:
            (place, subject), _ = item
            return not subject, subject, self._rank.get(place[0], 0)

        return [
            (place, packet.carry(packet.payload.last_word(reason)))
            for (place, _), packet in sorted(kept.items(), key=order)
        ]

    def forget(self, stream: str) -> None:
        """The stream has ended as it should."""
        self._kept.pop(stream, None)
