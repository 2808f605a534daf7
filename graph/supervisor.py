"""A thread that does one thing after another, some of them later."""

import queue
import threading
import time
from collections.abc import Callable


class Supervisor:
    """Runs jobs one at a time, in the order in which they are due."""

    def __init__(self, name: str, failed: Callable[[Exception], None]) -> None:
        """Not started yet; ``failed`` is told what a job raised."""
        self._failed = failed
        self._jobs: queue.PriorityQueue[tuple[float, int, Callable[[], None]]] = (
            queue.PriorityQueue()
        )
        self._lock = threading.Lock()
        self._number = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def over(self) -> bool:
        """Whether it was stopped: jobs are not done any more."""
        return self._over.is_set()

    def start(self) -> None:
        """Begin with what was asked for."""
        self._thread.start()

    def later(self, delay: float, job: Callable[[], None]) -> None:
        """Do a job after some seconds (0: next)."""
        with self._lock:
            self._number += 1
            number = self._number
        self._jobs.put((time.monotonic() + delay if delay else 0.0, number, job))

    def stop(self, timeout: float) -> None:
        """Do no more; wait for the job that is being done."""
        self._over.set()
        self.later(0.0, lambda: None)
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            due, number, job = self._jobs.get()
            if self.over:
                return
            wait = due - time.monotonic()
            if wait > 0:
                # Something else may become due first.
                self._jobs.put((due, number, job))
                self._over.wait(min(wait, 0.05))
                continue
            try:
                job()
            except Exception as error:
                self._failed(error)
