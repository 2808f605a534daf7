"""What travels along the edges of a graph."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Packet(NamedTuple):
    """One payload at one moment of one stream.

    Immutable: a packet may be on several edges at once, so a node makes new packets with
    :meth:`carry` and never changes the payload it was given.
    """

    stream: str
    """Name of the stream, unique in a run."""
    time: float
    """Capture time in seconds on the stream's own clock. Never decreases within a stream."""
    epoch: int
    """Counts the breaks of the clock (jump, wrap, reconnect, long gap). A new one resets state."""
    key: int | None
    """The track within the stream, or ``None`` for the stream as a whole."""
    payload: Any
    """What the port's type says, or an :class:`End`."""
    arrival: float = 0.0
    """``time.monotonic()`` in seconds when the source handed over what this derives from."""

    def carry(self, payload: Any, key: int | None = None) -> "Packet":
        """This packet's stream, times and epoch with another payload (and key, if given)."""
        return Packet(
            self.stream,
            self.time,
            self.epoch,
            self.key if key is None else key,
            payload,
            self.arrival,
        )


@dataclass(frozen=True, slots=True)
class End:
    """Payload that says nothing more will come for the packet's key (or stream, if key is None).

    Nodes emit it for keys that they own (a tracker, for a lost track); sources need not, the
    runtime emits it for streams. Downstream, the runtime calls ``Node.finish``, frees the state
    and passes the packet on; ``Node.process`` never sees it. It is never dropped.
    """

    reason: str
