"""CloudEvents 1.0 envelopes for padflow's events (https://cloudevents.io, JSON format)."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any
from urllib.parse import quote

from ..graph.packet import Packet
from .payloads import Event

LATEST_DATE = 253_402_300_799.0
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""


def event_time(utc: float | None, capture_time: float, lossless: bool, age: float = 0.0) -> float:
    """Unix time in seconds that an event is dated with.

    The time of capture where the source knows it. Where it does not, a lossless run dates from
    the stream's own clock as if it had started at 1970-01-01T00:00:00Z, so that the same file
    gives the same events; a realtime run takes the present, less the ``age`` in seconds of what
    the event tells.
    """
    if utc is not None and isfinite(utc):
        return utc
    return capture_time if lossless else time.time() - age


def rfc3339(utc: float) -> str:
    """Unix time as ``2026-11-24T00:39:29.120Z``, to the millisecond."""
    clamped = min(max(utc, 0.0), LATEST_DATE)
    moment = datetime.fromtimestamp(round(clamped, 3), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Envelopes:
    """Wraps events, counting them so that every id is unique within its source.

    An id is ``<kind>-<number>-<digest>``: the kind of event, its number among the stream's events
    of that kind, and a digest of its content; realtime runs put the start of the run before it.
    In lossless runs the same input therefore gives the same ids, and a different event never has
    an id that was used before.
    """

    def __init__(self, lossless: bool, private: bool, run: str | None = None) -> None:
        self._lossless = lossless
        self._private = private
        self._prefix = "" if lossless else f"{run or run_name()}-"
        self._numbers: Counter[tuple[str, str]] = Counter()

    def wrap(self, packet: Packet) -> dict[str, Any]:
        """The CloudEvent of a packet that carries an :class:`Event`, ready for JSON."""
        event: Event = packet.payload
        data = {"stream": packet.stream, "epoch": packet.epoch, **jsonable(event.data)}
        if self._private and event.private:
            data["private"] = jsonable(event.private)
        kind = event.type.removeprefix("padflow.").rsplit(".v", 1)[0]
        numbered = (packet.stream, event.type)
        number = self._numbers[numbered]
        self._numbers[numbered] += 1
        happened = rfc3339(event_time(event.utc, packet.time, self._lossless))
        content = json.dumps([packet.stream, event.type, event.subject, happened, data])
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        envelope = {
            "specversion": "1.0",
            "id": f"{self._prefix}{kind}-{number:06d}-{digest}",
            "source": f"padflow/{quote(packet.stream, safe='/-._~')}",
            "type": event.type,
            "subject": event.subject,
            "time": happened,
            "datacontenttype": "application/json",
            "data": data,
        }
        if not event.subject:
            del envelope["subject"]  # CloudEvents: absent or non-empty
        return envelope


def run_name() -> str:
    """A name for this run: its start in UTC to the microsecond."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def json_line(envelope: Mapping[str, Any]) -> bytes:
    """One line of UTF-8 JSON with its newline; holds no NaN and no raw line break."""
    return json.dumps(envelope, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def jsonable(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinities become null, arrays lists."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return jsonable(value.tolist())
    return str(value)
