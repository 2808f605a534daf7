"""A machine of a Ray cluster is lost: its streams go on elsewhere, the others notice nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the package ray is not installed")

PROGRAM = Path(__file__).with_name("ray_node_loss.py")


@pytest.mark.long
def test_streams_of_a_lost_node_go_on_elsewhere() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM], capture_output=True, text=True, check=False, timeout=200
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(lines[-1])
    assert told["finished"]
    assert set(told["reasons"].values()) == {"end"}
    lost = {name for name, s in told["streams"].items() if s["epochs"] != [0]}
    workers = {told["streams"][name]["worker"] for name in lost}
    assert len(workers) == 1, "all streams of one worker, and no others, begin anew"
    for name, stream in told["streams"].items():
        assert stream["in_order"]
        if name in lost:
            assert stream["worker"] in workers
            assert stream["epochs"][:2] == [0, 1]
            assert stream["back_after"] < 10.0
        else:
            assert stream["worker"] not in workers
            assert stream["packets"] == 800
    assert any("was lost" in message for message in told["notices"])
