"""Every runtime in turn, and one Ray for all tests of the process."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from padflow.graph.errors import GraphError
from padflow.graph.local import LocalRun
from padflow.graph.metrics import Notice
from padflow.graph.node import Mode
from padflow.graph.options import RunOptions
from padflow.graph.ray_options import RayOptions
from padflow.graph.run import GraphRun, Tap
from padflow.graph.spec import Graph

ROOT = str(Path(__file__).resolve().parents[2])

RAY = {
    "ray-within": RayOptions(workers=2, worker_cpu=0.5, engines="within"),
    "ray-apart": RayOptions(
        workers=2,
        worker_cpu=0.5,
        engines="apart",
        engine_cpu=0.5,
        engine_gpu=0.0,
        engine_replicas=1,
    ),
}
RUNTIMES = ("threads", "workers", "ray-apart")
"""Those that every test of a run's promises is run on. Ray with engines within the workers takes
the ways of both, so it gets the random graphs only."""
ACROSS = ("workers", *RAY)


class MakeRun(Protocol):
    """Makes a run of one of the runtimes; it is stopped after the test if the test did not."""

    kind: str

    def __call__(
        self,
        graph: Graph,
        mode: Mode = "lossless",
        options: RunOptions | None = None,
        taps: Mapping[str, Tap] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> GraphRun: ...


@pytest.fixture(scope="session", params=RUNTIMES)
def runtime_kind(request: pytest.FixtureRequest) -> str:
    """Of the session, so that Ray is there before the watch on leaks looks."""
    return _ready(request)


@pytest.fixture(scope="session", params=ACROSS)
def runtime_kind_across(request: pytest.FixtureRequest) -> str:
    """As ``runtime_kind``, of the runtimes with more than one process."""
    return _ready(request)


def _ready(request: pytest.FixtureRequest) -> str:
    # Processes that are started find the modules of the tests here.
    if ROOT not in sys.path:
        sys.path.insert(0, ROOT)
    kind = str(request.param)
    if kind in RAY:
        request.getfixturevalue("local_ray")
    return kind


class _Maker:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.runs: list[GraphRun] = []

    def __call__(
        self,
        graph: Graph,
        mode: Mode = "lossless",
        options: RunOptions | None = None,
        taps: Mapping[str, Tap] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> GraphRun:
        run = self._make(graph, mode, options or RunOptions(), taps, on_notice)
        self.runs.append(run)
        return run

    def _make(
        self,
        graph: Graph,
        mode: Mode,
        options: RunOptions,
        taps: Mapping[str, Tap] | None,
        on_notice: Callable[[Notice], None] | None,
    ) -> GraphRun:
        if self.kind in RAY:
            from padflow.graph.ray_run import RayRun

            return RayRun(graph, mode, options, taps, on_notice, RAY[self.kind])
        workers = 2 if self.kind == "workers" else 0
        return LocalRun(graph, mode, replace(options, workers=workers), taps, on_notice)

    def stop(self) -> None:
        for run in self.runs:
            with suppress(GraphError):
                run.stop(drain=False)


@pytest.fixture
def runtime(runtime_kind: str) -> Iterator[MakeRun]:
    """Makes runs: in threads, in worker processes, on Ray with engines within and apart."""
    maker = _Maker(runtime_kind)
    yield maker
    maker.stop()


@pytest.fixture
def make_run_across(runtime_kind_across: str) -> Iterator[MakeRun]:
    """As ``runtime``, of the runtimes with more than one process."""
    maker = _Maker(runtime_kind_across)
    yield maker
    maker.stop()
