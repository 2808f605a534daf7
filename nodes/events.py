"""Writes events as CloudEvents JSON lines: the node ``events``."""

import errno
import json
import os
import select
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from ..graph.node import NOTHING, Contract, Node, NodeContext, Outputs, Port
from ..graph.packet import Packet
from .cloudevents import Envelopes, json_line
from .payloads import Event


class EventsFileError(OSError):
    """The event file cannot be opened or written; the text names it and says what to do."""


@dataclass(frozen=True)
class EventsParams:
    """Parameters of :class:`Events`."""

    path: str = "-"
    """File to write, or ``-`` for standard output."""
    existing: Literal["auto", "append", "overwrite"] = "auto"
    """What to do with a file that exists. ``auto``: realtime runs append, since a restarted
    camera service must not lose its log; lossless runs overwrite, since the same input gives the
    same file."""
    private: bool = False
    """Write biometric and health data (heart rate and other details of the cues) as well."""


class Events(Node[EventsParams]):
    """One CloudEvents 1.0 object a line, each written whole by one call and at once.

    An interrupted run leaves whole lines only. A partial last line that a killed run left behind
    is cut off when the file is appended to, and told. A full disk is an error, not a half line.
    """

    Params = EventsParams

    def __init__(self, params: EventsParams) -> None:
        super().__init__(params)
        self._file = -1
        self._unread = False

    @classmethod
    def contract(cls, params: EventsParams) -> Contract:
        """One instance a run."""
        return Contract(inputs={"events": Port(Event, "events of any node")}, scope="single")

    def open(self, context: NodeContext) -> None:
        """Open the file; an unwritable path is told before anything runs.

        Raises:
            EventsFileError: the file cannot be opened or mended.
        """
        lossless = context.mode == "lossless"
        self._envelopes = Envelopes(lossless, self.params.private)
        keep = {"auto": not lossless, "append": True, "overwrite": False}[self.params.existing]
        try:
            if self.params.path == "-":
                self._file = _standard_output()
                return
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self.params.path, flags | (0 if keep else os.O_TRUNC), 0o644)
            lost = mend(self._file) if keep else 0
        except OSError as error:
            raise self._error("open", error) from error
        if lost:
            context.notice(
                f"{self.params.path} ended in a partial line of {lost} bytes, left by a run that "
                "was killed; it was cut off"
            )

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[None]) -> Outputs:
        """Write a line for every event, until nobody reads standard output any more.

        Raises:
            EventsFileError: a line could not be written; the file still ends in a whole line.
        """
        if self._unread:
            return NOTHING
        for packet in packets:
            line = json_line(self._envelopes.wrap(packet))
            try:
                write_whole(self._file, line)
            except OSError as error:
                # ``padflow run … | head``: told once; whoever runs the graph may stop it.
                self._unread = isinstance(error, BrokenPipeError)
                raise self._error("write to", error) from error
        return NOTHING

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _error(self, doing: str, error: OSError) -> EventsFileError:
        path = "standard output" if self.params.path == "-" else self.params.path
        why = error.strerror or str(error)
        return EventsFileError(
            f"events: cannot {doing} {path}: {why}; free or repair it, or choose another file "
            "with --events"
        )


def _standard_output() -> int:
    """A file descriptor of its own for standard output.

    Raises:
        OSError: it is closed (``>&-``).
    """
    if sys.stdout is None:  # what has the number 1 now is some other file
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    sys.stdout.flush()
    try:
        return os.dup(sys.stdout.fileno())
    except OSError:  # replaced by an object without one, as in a notebook
        return os.dup(1)


def write_whole(file: int, line: bytes) -> None:
    """Write all of a line or, to a regular file, none of it.

    One call writes it, so lines of several writers do not mix. Where the system takes only a part
    (disk full, a pipe whose reader is slow) the rest follows; if that fails, the part is cut off.
    """
    written = _write(file, line)
    while written < len(line):
        try:
            written += _write(file, line[written:])
        except OSError:
            with suppress(OSError):  # a pipe cannot be cut: the first error is what matters
                os.ftruncate(file, os.fstat(file).st_size - written)
            raise


def _write(file: int, data: bytes) -> int:
    """Like ``os.write``, but waits for room where somebody has made a pipe non-blocking."""
    while True:
        try:
            return os.write(file, data)
        except BlockingIOError:
            room = select.poll()
            room.register(file, select.POLLOUT)
            room.poll()


def mend(file: int) -> int:
    """Make a file end in a whole line: returns how many bytes of a partial one were cut off."""
    if not stat.S_ISREG(os.fstat(file).st_mode):  # a pipe or device has no past
        return 0
    size = os.fstat(file).st_size
    tail, start = b"", size
    while start > 0 and b"\n" not in tail:
        step = min(65536, start)
        start -= step
        tail = os.pread(file, step, start) + tail
    partial = tail[tail.rfind(b"\n") + 1 :]
    if not partial:
        return 0
    try:
        json.loads(partial)
    except ValueError:
        os.ftruncate(file, size - len(partial))
        return len(partial)
    os.write(file, b"\n")
    return 0
