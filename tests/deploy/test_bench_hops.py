"""The hop benchmark runs and its figures hang together."""

import pytest

from padflow.deploy import bench_hops


def test_the_table_has_every_contender(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_hops.main(["--packets", "2000", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    for name in ("queue.Queue", "padflow unfused", "padflow fused", "bytewax", "8 nodes"):
        assert name in out


def test_every_row_is_measured_or_says_why_not() -> None:
    rows = bench_hops.measure(2_000, rounds=1, capacity=256)
    assert {row.hops for row in rows} == {1, 10}
    for row in rows:
        assert row.note if row.microseconds is None else row.microseconds > 0


def test_the_overhead_of_a_call_is_measured() -> None:
    assert bench_hops.measure_call_overhead(8, 100) > 0
