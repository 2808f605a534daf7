"""A loopback camera through the whole graph; the long form is ``live_camera.py``."""

import itertools
import logging
import statistics
import threading
from pathlib import Path

import pytest

from tests.deploy.live_camera import ENTRY, Report, describe, secrets_told, watch_camera

pytestmark = pytest.mark.alone

SECONDS, RESTARTS = 6.0, 4
LONGEST = 3.0
"""Seconds that a frame or verdict may be old on a busy machine: bounded queues keep it from
growing. How old they are on a quiet one is measured by ``live_camera.py``."""
GROWTH = 2.0
"""MiB that a connection may leave behind: a decoder's pictures of this camera are five."""


@pytest.fixture(scope="module")
def seen(live_clip: Path) -> tuple[Report, str]:
    """One run that all tests look at, and what was logged meanwhile."""
    handler = _Kept()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        report = watch_camera(
            live_clip,
            seconds=SECONDS,
            restarts=RESTARTS,
            overrides=[("capture", "retry_min", 0.2), ("capture", "retry_max", 0.5)],
        )
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    print(describe(report))
    return report, "\n".join(handler.lines)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_camera_is_followed_at_its_rate_and_without_delay(seen: tuple[Report, str]) -> None:
    live = seen[0].live
    assert live.fps == pytest.approx(25, rel=0.05)
    assert len(live.ages) > 0.9 * live.frames, "the face is there in nearly every frame"
    assert live.age(0.5) < LONGEST / 3
    assert live.age(1.0) < LONGEST
    assert live.verdict_age(0.99) < LONGEST
    dropped = sum(sum(reasons.values()) for reasons in live.drops().values())
    assert dropped < 0.1 * live.frames


def test_every_drop_is_counted(seen: tuple[Report, str]) -> None:
    report, _ = seen
    for name, edge in report.metrics.edges.items():
        assert edge.packets_in == edge.packets_out + edge.depth + sum(edge.dropped.values()), name
        assert edge.depth == 0, f"{name} was left with packets"
    entered = report.metrics.edges[ENTRY]
    assert entered.packets_in > 200
    assert report.metrics.nodes["detect"].packets_in == entered.packets_out


def test_restarts_and_silence_are_seen(seen: tuple[Report, str]) -> None:
    report, _ = seen
    states = report.watched.states()
    assert states["connected"] == 1 + RESTARTS + 1
    assert states["lost"] >= RESTARTS
    assert states["stalled"] == 1
    assert 3.5 < report.silence_found < 5.0
    assert max(report.reconnects) < 3.0
    epochs = [
        event["data"]["epoch"]
        for event in report.watched.events
        if event["type"] == "padflow.source.v1" and event["data"]["state"] == "connected"
    ]
    assert epochs == list(range(RESTARTS + 2)), "every connection has a clock of its own"


def test_verdicts_go_on_after_every_break(seen: tuple[Report, str]) -> None:
    report, _ = seen
    verdicts = [e["data"] for e in report.watched.events if e["type"] == "padflow.verdict.v1"]
    assert {data["state"] for data in verdicts} <= {"LIVE", "SPOOF", "UNDECIDED"}
    assert {data["epoch"] for data in verdicts} == set(range(RESTARTS + 2))
    ages = [data["frame_age_ms"] for data in verdicts if not data["final"]]
    assert max(ages) < 1000 * LONGEST
    for epoch in range(RESTARTS + 2):
        finals = [data for data in verdicts if data["epoch"] == epoch and data["final"]]
        assert len(finals) == 1, f"epoch {epoch}: expected one track that ends, found {finals}"


def test_nothing_grows_and_nothing_is_left(seen: tuple[Report, str]) -> None:
    report, _ = seen
    steps = report.footprints
    warm, worn = steps["warm"], steps[f"restart {RESTARTS}"]
    assert worn.threads <= warm.threads + 1, "a reconnect leaves no thread"
    assert worn.files <= warm.files + 1, "a reconnect leaves no socket"
    stood = [warm, *(steps[f"restart {number}"] for number in range(1, RESTARTS + 1))]
    grown = [later.rss - earlier.rss for earlier, later in itertools.pairwise(stood)]
    # The median: where the machine is busy, queues fill once and their memory is kept.
    assert statistics.median(grown) < GROWTH, f"MiB with each connection: {grown}"
    assert steps["stopped"].files <= steps["before"].files + 4, "libraries may keep files open"
    assert {node.states for node in report.metrics.nodes.values()} == {0}
    mine = [thread.name for thread in threading.enumerate() if thread.name.startswith("padflow")]
    assert not mine


def test_the_camera_s_password_is_told_nowhere(seen: tuple[Report, str]) -> None:
    report, log_text = seen
    assert any("127.0.0.1" in str(event) for event in report.watched.events)
    assert not secrets_told(report, log_text)
