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
    supervisor.later(3.0, lambda: done.append(1))
    supervisor.stop(2.0)
    assert supervisor.over
    assert not supervisor._thread.is_alive(), "it waits for no job that is due later"
    assert done == []


def test_an_earlier_job_overtakes_one_that_is_waited_for() -> None:
    done: list[tuple[str, float]] = []
    supervisor = Supervisor("test", lambda error: None)
    supervisor.start()
    began = time.monotonic()

    def tell(name: str) -> None:
        done.append((name, time.monotonic() - began))

    supervisor.later(600.0, lambda: tell("last"))
    time.sleep(0.02)  # it waits for that one by now
    supervisor.later(0.15, lambda: tell("second"))
    supervisor.later(0.0, lambda: tell("first"))
    assert wait_until(lambda: len(done) == 2)
    supervisor.stop(2.0)
    assert [name for name, _ in done] == ["first", "second"]
    assert done[1][1] >= 0.15, "not before it is due"


def test_jobs_of_many_threads_are_done_one_at_a_time_and_in_their_order() -> None:
    inside: list[int] = []
    most: list[int] = []
    done: dict[int, list[int]] = {n: [] for n in range(4)}
    supervisor = Supervisor("test", lambda error: None)
    supervisor.start()

    def ask(who: int) -> None:
        for number in range(50):
            supervisor.later(0.0, lambda number=number: work(who, number))  # type: ignore[misc]

    def work(who: int, number: int) -> None:
        inside.append(who)
        most.append(len(inside))
        done[who].append(number)
        inside.pop()

    threads = [threading.Thread(target=ask, args=(who,)) for who in done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wait_until(lambda: len(most) == 200)
    supervisor.stop(2.0)
    assert set(most) == {1}
    assert all(numbers == list(range(50)) for numbers in done.values())


def test_a_stop_waits_for_the_job_that_is_being_done() -> None:
    done: list[str] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        assert wait_until(lambda: supervisor.over)
        time.sleep(0.1)  # The stop waits meanwhile.
        done.append("whole")

    supervisor = Supervisor("test", lambda error: None)
    supervisor.start()
    supervisor.later(0.0, work)
    supervisor.later(0.0, lambda: done.append("after"))
    assert begun.wait(5.0)
    supervisor.stop(5.0)
    assert done == ["whole"]


def test_a_stop_before_the_start_does_not_wait() -> None:
    supervisor = Supervisor("test", lambda error: None)
    supervisor.stop(60.0)
    assert supervisor.over
