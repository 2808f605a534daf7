"""Reads a live source in a thread of its own, so that nothing it hangs on hangs the stream."""

import threading
import time
from queue import Empty, Full, Queue
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


class Pump:
    """One connection to a live source, from opening to closing, in a daemon thread.

    A library call may hang where no timeout reaches it (name resolution, a driver). Then the
    thread is left behind, and ends with that call; the stream goes on at once.
    """

    def __init__(self, address: SourceAddress, options: MediaOptions, name: str) -> None:
        self._address = address
        self._options = options
        self._stop = threading.Event()
        self._items: Queue[Opened | Decoded | Closed] = Queue(_QUEUED)
        self._last_sign = time.monotonic()
        self.decode_errors = 0
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    def silence(self) -> float:
        """Seconds since the source last gave something (or since the connection was begun)."""
        return time.monotonic() - self._last_sign

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

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
        self._thread.join(wait)

    def _run(self) -> None:
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
