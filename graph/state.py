"""The keyed states of one node replica: found by stream and key, dropped at their end.

The rules of resetting (gap, epoch, fault) are the executor's; here they are kept and moved.
"""

import pickle
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from .errors import GraphError
from .node import Node

_HEADER = b"padflow-state 1\n"


class StateRef(NamedTuple):
    """Whose state an exported one is."""

    node: str
    stream: str
    key: int | None


ExportedStates = Mapping[StateRef, bytes]
"""States as bytes. They hold pickles: restore only what you exported yourself."""


class Slot:
    """One state with what is needed to see gaps and epochs."""

    __slots__ = ("epoch", "state", "time")

    def __init__(self, state: Any, time: float, epoch: int) -> None:
        self.state = state
        self.time = time
        """Capture time of the last packet that the state has seen."""
        self.epoch = epoch


class KeyedStates:
    """Slots by stream, then by key (None: the stream as a whole)."""

    __slots__ = ("by_stream", "by_track", "max_gap")

    def __init__(self, by_track: bool, max_gap: float = inf) -> None:
        self.by_track = by_track
        self.max_gap = max_gap
        self.by_stream: dict[str, dict[int | None, Slot]] = {}

    def __len__(self) -> int:
        return sum(len(slots) for slots in list(self.by_stream.values()))

    def slots(self, stream: str) -> dict[int | None, Slot]:
        """The slots of a stream, to look up and to add to."""
        slots = self.by_stream.get(stream)
        if slots is None:
            slots = self.by_stream[stream] = {}
        return slots

    def pop(self, stream: str, key: int | None) -> Slot | None:
        """Take the slot of a key out, if there is one."""
        slots = self.by_stream.get(stream)
        return slots.pop(key, None) if slots else None

    def pop_stream(self, stream: str) -> list[tuple[int | None, Slot]]:
        """Take all slots of a stream out: tracks in order of their numbers, the stream's last."""
        slots = self.by_stream.pop(stream, {})
        return sorted(slots.items(), key=lambda item: (item[0] is None, item[0] or 0))


class _Record(NamedTuple):
    time: float
    epoch: int
    state: Any
    live: frozenset[int]


def export_states(
    name: str, node: Node[Any], states: KeyedStates, live: Mapping[str, set[int]]
) -> dict[StateRef, bytes]:
    """All states of a node as bytes, through :meth:`Node.export_state`.

    Args:
        name: The node's name in the graph.
        node: The node.
        states: Its states.
        live: By stream the keys that the node made and has not ended.
    """
    exported = {}
    for stream, slots in states.by_stream.items():
        for key, slot in slots.items():
            kept = frozenset(live.get(stream, ())) if key is None else frozenset()
            record = _Record(slot.time, slot.epoch, node.export_state(slot.state), kept)
            exported[StateRef(name, stream, key)] = _HEADER + pickle.dumps(tuple(record))
    return exported


def restore_state(
    ref: StateRef, data: bytes, node: Node[Any], states: KeyedStates, live: dict[str, set[int]]
) -> None:
    """Put one exported state back, through :meth:`Node.restore_state`.

    Raises:
        GraphError: The bytes are not an exported state of this version.
    """
    if not data.startswith(_HEADER):
        raise GraphError(
            f"state of node '{ref.node}', stream '{ref.stream}': expected the header "
            f"{_HEADER.decode().strip()!r}, found {data[: len(_HEADER)]!r}; export it again with "
            "this version"
        )
    record = _Record(*pickle.loads(data[len(_HEADER) :]))
    slot = Slot(node.restore_state(record.state), record.time, record.epoch)
    states.slots(ref.stream)[ref.key] = slot
    if record.live:
        live[ref.stream] = set(record.live)
