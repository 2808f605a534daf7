"""Batches as bytes, cut so that Ray carries them inline.

An argument of more than 100 kB goes through Ray's object store, which costs two more copies, a
file and bookkeeping at its owner; several smaller ones travel in the call itself. An object that a
batch holds several times (one face crop for two networks) is written once.
"""

import pickle
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from .errors import GraphError
from .outlet import Batch
from .packet import Packet

CHUNK = 96_000
"""Bytes of one argument, below Ray's limit of 100 kB for what is carried inline."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _machine() -> str:
    """A name for the clock that ``time.monotonic`` reads here."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex


MACHINE = _machine()


def pack(batch: Batch) -> list[bytes]:
    """A batch as chunks for a call.

    Raises:
        GraphError: A payload does not pickle.
    """
    data = pack_whole(batch)
    if len(data) <= CHUNK:
        return [data]
    return [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]


def pack_whole(batch: Batch) -> bytes:
    """A batch in one piece, for a socket.

    Raises:
        GraphError: A payload does not pickle.
    """
    batch.clock = (MACHINE, time.monotonic())
    try:
        return pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        # Anything may go wrong in pickling somebody's payload.
        named = sorted({str(m[1].target) for m in batch.messages if m[0] == "send"})
        raise GraphError(
            f"packets for {', '.join(named) or 'another process'} cannot leave their process "
            f"({type(error).__name__}: {error}); run with --runtime local and workers=0"
        ) from error


def unpack(chunks: Sequence[bytes]) -> Batch:
    """The batch of some chunks; arrivals of packets are moved to this machine's clock.

    Another machine's monotonic clock counts from another start. What a packet's age was when it
    was sent is known, the time on the way is not and is left out.

    Raises:
        GraphError: A payload does not unpickle here.
    """
    try:
        batch: Batch = pickle.loads(chunks[0] if len(chunks) == 1 else b"".join(chunks))
    except Exception as error:
        # Anything may go wrong in reading somebody's payload.
        raise GraphError(
            f"packets of another process cannot be read ({type(error).__name__}: {error}); install "
            "the same packages wherever the graph runs"
        ) from error
    machine, sent = batch.clock
    if machine and machine != MACHINE:
        _shift_arrivals(batch, time.monotonic() - sent)
    return batch


def _shift_arrivals(batch: Batch, by: float) -> None:
    for index, message in enumerate(batch.messages):
        if message[0] == "send":
            kind, lane, packets, ends, floor = message
            moved = [_shifted(packet, by) for packet in packets]
            batch.messages[index] = (kind, lane, moved, ends, floor)
        elif message[0] == "end":
            kind, lane, packet, floor = message
            batch.messages[index] = (kind, lane, _shifted(packet, by), floor)


def _shifted(packet: Packet, by: float) -> Packet:
    return packet._replace(arrival=packet.arrival + by) if packet.arrival else packet
