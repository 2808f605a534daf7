"""Reads a live source in a thread of its own, so that nothing it hangs on hangs the stream."""

import threading
import time
from collections.abc import Callable
from queue import Empty, Full, Queue, SimpleQueue
from typing import Any, NamedTuple

from .capture_media import Decoded, MediaOptions, explain, open_media
from .sources import SourceAddress

_POLL = 0.2
_QUEUED = 8
_REFUSALS = ("Unauthorized", "Forbidden", "NotFound")
"""In the names of PyAV's errors."""


class Opened(NamedTuple):
    """The source answered and was understood."""

    info: dict[str, Any]
    duration: float | None
    declared_interval: float | None


class Closed(NamedTuple):
    """Nothing more comes from this connection."""

    reason: str
    silent: bool
    """The source answered no more, rather than refused or ended."""
    ended: bool
    """A source with an end (a video on a web server) has reached it."""
    refused: bool = False
    """It wants other credentials, or has no such stream: asking often does not help."""


class Reader:
    """The one daemon thread in which a stream's connections are read, one after the other.

    One for all of them: C libraries give each new thread another pool of memory, and a decoder's
    pictures stay behind in the pool of a thread that is gone. A camera that comes and goes would
    take more with every connection.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], None]) -> None:
        """Do it once everything before it is done."""
        self._jobs.put(job)

    def close(self, wait: float = 0.2) -> None:
        """End after what was begun; a pump has waited for that, so this does not for long."""
        self._jobs.put(None)
        self._thread.join(wait)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Pump:
    """One connection to a live source, from opening to closing, read in a stream's reader.

    A library call may hang where no timeout reaches it (name resolution, a driver). Then the
    reader is left behind, and ends with that call; the stream goes on at once.
    """

    def __init__(self, address: SourceAddress, options: MediaOptions, reader: Reader) -> None:
        self._address = address
        self._options = options
        self._stop = threading.Event()
        self._over = threading.Event()
        self._items: Queue[Opened | Decoded | Closed] = Queue(_QUEUED)
        self._last_sign = time.monotonic()
        self.decode_errors = 0
        self.clock_off: float | None = None
        """See :attr:`.Media.clock_off`."""
        reader.do(self._run)

    @property
    def silence(self) -> float:
        """Seconds since the source last gave something (or since the connection was begun)."""
        return time.monotonic() - self._last_sign

    @property
    def alive(self) -> bool:
        """Whether the reader is still busy with it."""
        return not self._over.is_set()

    def get(self) -> Opened | Decoded | Closed | None:
        """The next thing that happened; None where nothing did for a moment."""
        try:
            return self._items.get(timeout=_POLL)
        except Empty:
            return None

    def stop(self, wait: float = 1.0) -> None:
        """End the connection; waits for it so many seconds at most."""
        self._stop.set()
        while not self._items.empty():
            self._items.get_nowait()
        self._over.wait(wait)

    def _run(self) -> None:
        try:
            self._tell_all()
        finally:
            self._over.set()

    def _tell_all(self) -> None:
        began = time.monotonic()
        try:
            closed = self._read()
        except Exception as error:  # whatever a library raises must reach the operator as an event
            waited = time.monotonic() - max(began, self._last_sign)
            silent = waited > 0.9 * self._options.timeout
            refused = any(word in type(error).__name__ for word in _REFUSALS)
            closed = Closed(explain(error), silent, False, refused)
        self._put(closed)

    def _read(self) -> Closed:
        media = open_media(self._address, self._options)
        try:
            media.last_sign = self._last_sign = time.monotonic()
            self._put(Opened(media.describe(), media.duration, media.declared_interval))
            for decoded in media.pictures():
                self._last_sign = max(self._last_sign, media.last_sign)
                self.decode_errors = media.errors
                self.clock_off = media.clock_off
                if decoded is not None:
                    self._put(decoded)
                if self._stop.is_set():
                    return Closed("stopped", False, False)
            ended = media.duration is not None
            return Closed("end of the video" if ended else "the source ended it", False, ended)
        finally:
            media.close()

    def _put(self, item: Opened | Decoded | Closed) -> None:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=_POLL)
            except Full:
                continue
            self._last_sign = time.monotonic()  # waiting for a slow reader is no silence
            return
