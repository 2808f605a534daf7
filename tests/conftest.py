"""Fixtures for every test: real data where it is present, models, and a watch on leaks.

A bare pytest runs the tests in one process, ``make test`` in two, which share the models and
nothing else: each has its own temporary folders and makes the fixtures of a session for itself.
Test processes stand in for cores, so the libraries that would start a thread for every core are
held to one.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch, scikit-learn
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy, SciPy: read when they are imported

import cv2
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("padflow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("padflow")
"""An example's time says how busy the machine is; pytest-timeout ends a test that hangs."""
cv2.setNumThreads(1)
OPENCV = cv2.__version__
"""OpenCV changes the environment when it is imported: here, before any test is watched."""
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real clips beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real clips of ../shared/data are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def models() -> Iterator[Path]:
    """The user's model folder with detector and mesh in it, pulled where they are missing.

    Both stay compiled for the session, as in one long process: tests that open them share them.
    """
    from padflow.engines import load_engine
    from padflow.engines.store import model_folder, pull

    pull()
    with ExitStack() as engines:
        engines.enter_context(load_engine("face_mesh", precision="f32"))
        for name in ("face_detection_full_range", "face_detection_short_range"):
            engines.enter_context(load_engine(name))
        yield model_folder()


@pytest.fixture(scope="session")
def local_ray() -> Iterator[Any]:
    """Ray on this machine, for all tests of the process."""
    pytest.importorskip("ray", reason="ray is not installed (padflow[cluster])")
    from padflow.graph.ray_join import import_ray

    ray = import_ray()  # what it sets in the environment is set before the watch on leaks looks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's notes on its own future defaults.
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield ray
        ray.shutdown()


@pytest.fixture(autouse=True)
def leaks_nothing() -> Iterator[None]:
    """Fail the test that leaves a thread, process, Ray actor or changed environment behind."""
    threads = set(threading.enumerate())
    environment = dict(os.environ)
    yield
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline and _started_since(threads):
        time.sleep(0.01)
    left = [thread.name for thread in _started_since(threads)]
    assert not left, f"threads left running: {left}"
    children = multiprocessing.active_children()
    assert not children, f"processes left running: {children}"
    assert _ray_is_idle(), "Ray actors left running: not all processors are free again"
    changed = {
        name
        for name in environment.keys() | os.environ.keys()
        if environment.get(name) != os.environ.get(name) and name != "PYTEST_CURRENT_TEST"
    }
    assert not changed, f"environment variables changed: {sorted(changed)}"


def _started_since(threads: set[threading.Thread]) -> set[threading.Thread]:
    """Threads that Python started: a library's own that once called into it never goes away."""
    alive = set(threading.enumerate()) - threads
    return {thread for thread in alive if not isinstance(thread, threading._DummyThread)}


def _ray_is_idle(timeout: float = 10.0) -> bool:
    """Whether nothing holds a processor of the tests' Ray (true where none was started).

    Every actor of ours asks for one, or for a part, and Ray's list of actors needs its dashboard.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return True
    all_of_them = ray.cluster_resources().get("CPU", 0.0)
    deadline = time.monotonic() + timeout
    while ray.available_resources().get("CPU", 0.0) < all_of_them:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
