"""Nothing but what a program prints itself goes to its standard output, whoever dies."""

import subprocess
import sys

import pytest

pytest.importorskip("ray")

PROGRAM = """
import os, signal, time
from padflow.graph.node import StreamSpec
from padflow.graph.ray_run import RayOptions, RayRun
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, ListSourceParams

graph = Graph.build("g").add("source", ListSource, ListSourceParams(10**6, 10.0, 0.1))
options = RayOptions(workers=1, worker_cpu=0.5)
with RayRun(graph, "realtime", ray_options=options) as run:
    run.add_stream(StreamSpec("door", ""))
    os.kill(run._crew.loads()["worker-0"].pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while not any("ready" in notice.message for notice in run.notices()):
        assert time.monotonic() < end, run.notices()
        time.sleep(0.2)
    time.sleep(2.0)  # Ray's own words come late.
    print("losses", run.losses())
"""


@pytest.mark.long
def test_a_lost_worker_is_not_told_on_standard_output() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "losses 1\n"
