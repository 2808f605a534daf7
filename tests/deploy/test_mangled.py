"""Two hundred broken inputs end in a clear line or a verdict: no traceback, no hang."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from padflow.deploy.cli import main
from tests.deploy.mangled import make_mangled

DOCUMENTED = (0, 2, 3)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_mangled(tmp_path_factory.mktemp("inputs"))


@pytest.mark.usefixtures("compiled")
def test_score_gives_every_input_a_row_or_a_reason(
    inputs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"

    code = main(["score", *map(str, inputs), "--out", str(out), "--quiet"])

    told = capfd.readouterr().err
    assert code == 3  # some could be read
    assert "Traceback" not in told
    assert "unexpected" not in told
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["item"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(map(str, inputs))
    assert {row["state"] for row in rows.values()} <= {"ERROR", "LIVE", "SPOOF", "UNDECIDED"}
    for item, row in rows.items():
        if row["state"] == "ERROR":
            reasons = [line for line in told.splitlines() if item in line]
            assert len(reasons) == 1, f"{item}: expected one line that says why: {reasons}"
            assert row["frames"] == "0"
        else:
            assert int(row["frames"]) > 0


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_run_ends_every_input_with_a_documented_code(
    inputs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], every: int
) -> None:
    """All oddities and every so many of the damaged files; ``score`` reads all of them."""
    damaged = [path for path in inputs if path.name[:3].isdigit()]
    for path in [p for p in inputs if p not in damaged] + damaged[::every]:
        events = tmp_path / "events.jsonl"
        code = main(["run", str(path), "--events", str(events), "--quiet"])
        told = capfd.readouterr().err
        assert code in DOCUMENTED, f"{path.name}: {code} {told}"
        assert "Traceback" not in told, f"{path.name}: {told}"
        assert "unexpected" not in told, f"{path.name}: {told}"
        if code:
            assert "padflow run: " in told, f"{path.name}: a failure without a word"
        if events.exists():
            assert events.read_bytes()[-1:] in (b"", b"\n")
            events.unlink()


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("name", ["fifo.mp4", "text.mp4", "missing.mp4", "empty_directory"])
def test_a_fresh_process_says_one_line_and_exits_with_two(inputs: list[Path], name: str) -> None:
    (path,) = (path for path in inputs if path.name == name)
    done = subprocess.run(
        [sys.executable, "-m", "padflow.deploy.cli", "run", str(path), "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("padflow run: ")
