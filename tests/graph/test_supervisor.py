"""One thing after another, some of them later."""

import threading
import time

from padflow.graph.supervisor import Supervisor
from padflow.graph.testing import wait_until


def test_jobs_are_done_in_the_order_in_which_they_are_due() -> None:
    done: list[str] = []
    supervisor = Supervisor("test", lambda error: None)
    supervisor.later(0.2, lambda: done.append("late"))
    supervisor.later(0.0, lambda: done.append("first"))
    supervisor.start()
    supervisor.later(0.0, lambda: done.append("second"))
    assert wait_until(lambda: len(done) == 3)
    supervisor.stop(2.0)
    assert done == ["first", "second", "late"]


def test_an_error_is_told_and_the_next_job_done() -> None:
    told: list[Exception] = []
    done = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError("by zero")

    supervisor = Supervisor("test", told.append)
    supervisor.start()
    supervisor.later(0.0, fail)
    supervisor.later(0.0, done.set)
    assert done.wait(5.0)
    supervisor.stop(2.0)
    assert [str(error) for error in told] == ["by zero"]


def test_nothing_is_done_after_a_stop() -> None:
    done: list[int] = []
    supervisor = Supervisor("test", lambda error: None)
    supervisor.start()
    supervisor.later(0.1, lambda: done.append(1))
    supervisor.stop(2.0)
    assert supervisor.over
    time.sleep(0.2)
    assert done == []
