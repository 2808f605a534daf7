import json
import math
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.packet import Packet
from padflow.nodes.cloudevents import Envelopes, event_time, json_line, jsonable, rfc3339
from padflow.nodes.payloads import Event


def packet(
    data: dict[str, Any] | None = None, utc: float | None = None, subject: str = "", **private: Any
) -> Packet:
    event = Event("padflow.track.v1", subject, data or {}, utc, private)
    return Packet("front door/1", 12.48, 3, None, event, time.monotonic())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_time_can_be_written(utc: float) -> None:
    text = rfc3339(utc)
    assert len(text) == 24
    assert text.endswith("Z")
    parsed = datetime.fromisoformat(text)
    if 0 <= utc <= 253_402_300_798:
        assert parsed.timestamp() == pytest.approx(utc, abs=1e-3)


def test_times_carry_over_the_second() -> None:
    assert rfc3339(59.9996) == "1970-01-01T00:01:00.000Z"
    assert rfc3339(datetime(2026, 11, 24, tzinfo=UTC).timestamp()) == "2026-11-24T00:00:00.000Z"


def test_an_event_is_dated_by_its_capture_where_that_is_known() -> None:
    assert event_time(1e9, 12.48, lossless=False) == 1e9
    assert event_time(None, 12.48, lossless=True) == 12.48
    assert event_time(math.nan, 12.48, lossless=True) == 12.48
    assert event_time(None, 12.48, lossless=False) == pytest.approx(time.time(), abs=5)
    assert event_time(None, 12.48, False, age=60.0) == pytest.approx(time.time() - 60.0, abs=5)


def test_a_loss_is_dated_with_the_present_a_last_verdict_with_its_picture() -> None:
    source = Event("padflow.source.v1", "", {"state": "connected"}, 1e9, will={"state": "lost"})
    lost = source.last_word("worker_lost")
    assert lost is not None
    assert (lost.data, lost.utc) == ({"state": "lost", "reason": "worker_lost"}, None)
    data = {"state": "LIVE", "reasons": ["evidence_for_live"]}
    will = {"state": "UNDECIDED", "reasons": ["state_lost"]}
    final = Event("padflow.verdict.v1", "track/1", data, 1e9, will=will).last_word("worker_lost")
    assert final is not None
    assert (final.data["reasons"], final.utc) == (["state_lost", "worker_lost"], 1e9)


def test_the_envelope_is_cloudevents() -> None:
    wrapped = Envelopes(lossless=True, private=False).wrap(
        packet({"state": "started"}, None, "t/1")
    )
    assert wrapped["specversion"] == "1.0"
    assert wrapped["source"] == "padflow/front%20door/1"
    assert wrapped["subject"] == "t/1"
    assert wrapped["time"] == "1970-01-01T00:00:12.480Z"
    assert wrapped["data"] == {"stream": "front door/1", "epoch": 3, "state": "started"}
    assert "subject" not in Envelopes(True, False).wrap(packet())


def test_ids_repeat_for_the_same_run_and_never_otherwise() -> None:
    def ids(lossless: bool, state: str, run: str = "r1") -> list[str]:
        envelopes = Envelopes(lossless, private=False, run=run)
        return [envelopes.wrap(packet({"state": state}, 1.0))["id"] for _ in range(3)]

    first = ids(True, "started")
    assert len(set(first)) == 3
    assert first == ids(True, "started")
    assert not set(first) & set(ids(True, "ended"))
    assert not set(ids(False, "started", "r1")) & set(ids(False, "started", "r2"))


def test_private_data_is_left_out_unless_switched_on() -> None:
    carried = packet({"state": "started"}, None, "", details={"pulse": {"heart_rate": 71.0}})
    assert b"71" not in json_line(Envelopes(True, private=False).wrap(carried))
    shown = Envelopes(True, private=True).wrap(carried)
    assert shown["data"]["private"] == {"details": {"pulse": {"heart_rate": 71.0}}}


nested = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        st.text(),
        st.integers(),
        st.floats(width=32).map(np.float32),
        st.just(np.array([1.0, math.nan])),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner)),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), nested))
def test_anything_becomes_one_line_of_strict_json(data: dict[str, Any]) -> None:
    line = json_line(Envelopes(True, True).wrap(packet(data)))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_what_is_no_number_becomes_null() -> None:
    assert jsonable({"a": math.nan, "b": [np.float32(math.inf), np.int64(3)], "c": True}) == {
        "a": None,
        "b": [None, 3],
        "c": True,
    }
