"""The local runtime: a graph on one machine, in threads and, for many streams, worker processes."""

import threading
import time
from dataclasses import replace

from .host import Host, HostSetting
from .machine import processors
from .metrics import Notice, RunMetrics, StreamMetrics, merged
from .node import StreamSpec
from .options import RunOptions
from .plan import Plan
from .run import Crew, GraphRun, Tap
from .state import ExportedStates, StateRef
from .workers import WorkerPool

__all__ = ["LocalRun", "Notice", "RunMetrics", "RunOptions", "StreamMetrics", "Tap"]

THREADS_SUFFICE = 3
"""Up to so many streams a run without a given number of workers stays in one process."""


class LocalRun(GraphRun):
    """One run of a graph on this machine; see :class:`GraphRun`."""

    def _make_crew(self, setting: HostSetting, streams: int) -> Crew:
        workers = worker_count(self.options, streams)
        if not workers:
            return Host(self.plan, self.plan.stages, setting)
        return _PoolWithSinks(self.plan, workers, setting)


def worker_count(options: RunOptions, streams: int) -> int:
    """Worker processes of a run that begins with so many streams; 0: it stays in this process."""
    if options.workers is not None:
        return options.workers
    found = processors()
    return min(streams, found) if streams > THREADS_SUFFICE and found > 1 else 0


class _PoolWithSinks:
    """Worker processes, and the single stages in the process that started them."""

    def __init__(self, plan: Plan, workers: int, setting: HostSetting) -> None:
        self._lock = threading.Lock()
        self._setting = setting
        self._left: dict[str, int] = {}
        self._reasons: dict[str, str] = {}
        self._packets: dict[str, int] = {}
        within = replace(setting, stream_ended=self._part_ended)
        single = [stage for stage in plan.stages if stage.scope == "single"]
        self._sinks = Host(plan, single, replace(within, taps={})) if single else None
        self.pool = WorkerPool(plan, workers, within, self._sinks)

    def start(self) -> None:
        """See :class:`Crew`."""
        if self._sinks is not None:
            self._sinks.start()
        try:
            self.pool.start()
        except BaseException:
            if self._sinks is not None:
                self._sinks.shutdown(time.monotonic() + self._setting.options.stop_timeout)
            raise

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None = None) -> None:
        """See :class:`Crew`."""
        self.pool.check(spec)
        with self._lock:
            self._left[spec.name] = 1 if self._sinks is None else 2
        if self._sinks is not None:
            self._sinks.add_stream(spec, states)
        self.pool.add_stream(spec, states)

    def _part_ended(self, name: str, reason: str, packets: int) -> None:
        with self._lock:
            known = self._reasons.get(name, "")
            self._reasons[name] = reason = (known if known not in ("", "end") else reason) or known
            self._packets[name] = packets = max(packets, self._packets.get(name, 0))
            self._left[name] -= 1
            if self._left[name]:
                return
            for kept in (self._left, self._reasons, self._packets):
                del kept[name]
        self._setting.stream_ended(name, reason, packets)

    def cancel(self, name: str, reason: str) -> None:
        """See :class:`Crew`."""
        self.pool.cancel(name, reason)

    def release(self) -> None:
        """See :class:`Crew`."""
        if self._sinks is not None:
            self._sinks.release()

    def shutdown(self, deadline: float) -> list[str]:
        """See :class:`Crew`."""
        stuck = self.pool.shutdown(deadline)
        if self._sinks is not None:
            stuck += self._sinks.shutdown(max(deadline, time.monotonic() + 0.5))
        return stuck

    def export_states(self) -> dict[StateRef, bytes]:
        """See :class:`Crew`."""
        exported = self.pool.export_states()
        if self._sinks is not None:
            exported.update(self._sinks.export_states())
        return exported

    def metrics(self) -> RunMetrics:
        """See :class:`Crew`."""
        parts = [self.pool.metrics()]
        if self._sinks is not None:
            parts.append(replace(self._sinks.metrics(), streams={}))
        return merged(parts)
