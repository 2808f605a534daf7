import random
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from padflow.graph.packet import Packet
from padflow.nodes.payloads import Event
from padflow.nodes.summary import AgeHistogram, RunSummary, StreamCounters


def told(kind: str, stream: str = "door", key: int | None = None, **data: Any) -> Packet:
    return Packet(stream, 0.0, 0, key, Event(f"padflow.{kind}.v1", "", data))


def verdict(track: int, state: str, *reasons: str, final: bool = False, age: Any = None) -> Packet:
    return told(
        "verdict", key=track, state=state, reasons=list(reasons), final=final, frame_age_ms=age
    )


def shown(summary: RunSummary, counters: dict[str, StreamCounters]) -> str:
    console = Console(width=160, record=True, file=StringIO())
    console.print(summary.table(counters))
    return console.export_text()


def test_the_table_tells_what_happened() -> None:
    summary = RunSummary()
    for packet in (
        told("source", state="connected"),
        told("source", state="stalled"),
        told("source", state="lost"),
        told("source", state="connected"),
        verdict(1, "UNDECIDED", "no_appearance_evidence", "watched_too_short", age=40.0),
        verdict(1, "UNDECIDED", "no_appearance_evidence", age=45.0),
        verdict(1, "UNDECIDED", "decision_pending", age=45.0),
        verdict(1, "LIVE", "evidence_for_live", age=50.0),
        verdict(1, "LIVE", "evidence_for_live", final=True, age=400.0),
        verdict(2, "SPOOF", "evidence_for_attack", final=True),
        verdict(3, "UNDECIDED", "blurred"),
        told("scene", stream="yard", state="no_face", reason="too_dark"),
    ):
        summary.take(packet)
    door = summary.streams["door"]
    assert door.tracks == 3
    assert door.by_state() == {"LIVE": 1, "SPOOF": 1, "UNDECIDED": 1}
    assert door.reconnects == 1
    text = shown(summary, {"door": StreamCounters(250, 10.0, 7), "hall": StreamCounters()})
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert lines["door"].split()[1:7] == ["250", "25.0", "3", "1", "1", "1"]
    assert "no appearance evidence, watched too short" in lines["door"]
    assert "pending" not in lines["door"]
    assert "stalled (1)" in lines["door"]
    assert lines["door"].split()[-2:] == ["7", "1"]
    assert "too dark (1)" in lines["yard"]
    assert lines["hall"].split()[1:7] == ["0", "-", "0", "0", "0", "0"]


def test_a_stream_name_is_not_read_as_markup() -> None:
    summary = RunSummary()
    summary.take(told("source", stream="[bold]x", state="connected"))
    assert "[bold]x" in shown(summary, {})


def test_the_last_word_after_an_outage_is_no_age_of_a_frame() -> None:
    summary = RunSummary()
    summary.take(verdict(1, "LIVE", "evidence_for_live", age=10.0))
    summary.take(verdict(1, "LIVE", "evidence_for_live", final=True, age=60_000.0))
    assert "10/10" in shown(summary, {})


def test_counted_ages_go_before_those_of_the_events() -> None:
    summary = RunSummary()
    summary.take(verdict(1, "LIVE", "evidence_for_live", age=10.0))
    counted = {"door": StreamCounters(1, 1.0, 0, (31.0, 87.0))}
    assert "31/87" in shown(summary, counted)


def test_memory_does_not_grow_with_tracks() -> None:
    summary = RunSummary()
    for track in range(10_000):
        summary.take(verdict(track, "UNDECIDED", "blurred", age=1.0))
        summary.take(verdict(track, "UNDECIDED", "blurred", final=True, age=1.0))
    door = summary.streams["door"]
    assert not door.watched
    assert door.verdicts == {"UNDECIDED": 10_000}


@given(st.lists(st.floats(1.0, 2e5), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_percentiles_are_right_to_five_percent(ages: list[float], share: float) -> None:
    histogram = AgeHistogram()
    for age in ages:
        histogram.add(age)
    rank = -(-int(share * 100) * len(ages) // 100)
    exact = sorted(ages)[rank - 1]
    found = histogram.percentile(share)
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 1.0501


def test_an_empty_histogram_has_no_percentile() -> None:
    assert AgeHistogram().percentile(0.5) is None
    full = AgeHistogram()
    for _ in range(100):
        full.add(random.Random(1).uniform(1e9, 1e10))
    assert full.percentile(0.5) == pytest.approx(float("inf"))


def test_drops_that_were_counted_together_stand_below_the_streams() -> None:
    summary = RunSummary()
    counters = {name: StreamCounters(10, 1.0, None) for name in ("door", "yard")}
    console = Console(width=160, record=True, file=StringIO())
    console.print(summary.table(counters, 7))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert [line[-2] for line in lines[1:3]] == ["-", "-"]
    assert lines[3] == ["all", "streams", "7"]
