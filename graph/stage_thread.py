"""The thread of one stage replica: takes what waits in its inbox, cuts it, has it executed."""

import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from .execute import StageExecutor
from .inbox import Inbox, Taken
from .merge import Merger, Tick, cut_into_ticks, whole_batch
from .node import Mode
from .plan import Stage


class MarkExit(Protocol):
    """An exit whose far end must know how far in capture time its producer has come."""

    def advance(self, stream: str, mark: float) -> None:
        """Nothing earlier than ``mark`` will be sent for the stream."""


class MarkPace:
    """Thins out marks on their way to a sink, which would else wake for every frame.

    What is told later is no less true; the end of the stream tells all that was held back.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        """Seconds of capture time between two marks."""
        self._told: dict[str, float] = {}

    def is_due(self, stream: str, mark: float) -> bool:
        """True if this mark should be sent; the next is due a period later."""
        if mark < self._told.get(stream, -inf) + self._period:
            return False
        self._told[stream] = mark
        return True

    def forget(self, stream: str) -> None:
        """The stream has ended."""
        self._told.pop(stream, None)


SINK_MARK_PERIOD = 0.2
"""Seconds of capture time between two marks to a sink (a stage of scope ``single``)."""


class StageThread:
    """Runs one replica of a stage until its inbox is closed."""

    def __init__(
        self,
        executor: StageExecutor,
        inbox: Inbox,
        marked: Sequence[MarkExit],
        stage_ended: Callable[[str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.executor = executor
        self.inbox = inbox
        self.lock = threading.Lock()
        """Held while nodes run; whoever exports states takes it."""
        stage = executor.stage
        self._marked = marked
        self._stage_ended = stage_ended
        self._failed = failed
        self._together = stage.scope == "shared" or stage.batching.size > 1
        self._merger = Merger(len(inbox.counters))
        self._cut = _cutting(stage, executor.setting.mode)
        name = f"padflow {stage.name}"
        if executor.setting.replica:
            name += f" {executor.setting.replica}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            self._failed(error)

    def _serve(self) -> None:
        batching = self.executor.stage.batching
        limit = batching.size if batching.size > 1 else 0
        streams = 1_000_000 if self._together else 1
        take, handle = self.inbox.take, self._handle
        while True:
            taken = take(streams=streams, packets=limit, max_wait=batching.max_wait)
            if taken is None:
                return
            with self.lock:
                handle(taken)

    def _handle(self, taken: Sequence[Taken]) -> None:
        if self._together:
            self._execute_together(taken)
        else:
            for of_stream in taken:
                ticks = self._ticks(of_stream)
                for tick in ticks:
                    self.executor.execute(tick)
                if self._marked:
                    self._advance(of_stream, ticks)
        if self.executor.ended:
            self._end_streams()

    def _execute_together(self, taken: Sequence[Taken]) -> None:
        ticks = {of_stream.stream: self._ticks(of_stream) for of_stream in taken}
        for index in range(max((len(own) for own in ticks.values()), default=0)):
            together: Mapping[str, Tick] = {
                stream: own[index] for stream, own in ticks.items() if index < len(own)
            }
            self.executor.execute_together(together)
        if self._marked:
            for of_stream in taken:
                self._advance(of_stream, ticks[of_stream.stream])

    def _ticks(self, taken: Taken) -> Sequence[Tick]:
        if self._cut == "hold":
            return self._merger.add(taken)
        if not taken.chunks:
            return ()
        if self._cut == "cut" or (self._cut == "late" and _has_late(taken)):
            return cut_into_ticks(taken.chunks)
        return (whole_batch(taken.chunks),)

    def _advance(self, taken: Taken, ticks: Sequence[Tick]) -> None:
        stream = taken.stream
        if stream in self.executor.ended:
            return  # The end has told it.
        if self._cut == "hold":
            frontier = self._merger.frontier(stream)
        else:
            times = [p[1] for chunk in taken.chunks for p in chunk.packets[-1:]]
            frontier = max([*times, *taken.marks, *(tick.time for tick in ticks[-1:])])
        if -inf < frontier < inf:
            for leaving in self._marked:
                leaving.advance(stream, frontier)

    def _end_streams(self) -> None:
        ended, self.executor.ended = self.executor.ended, []
        for stream in ended:
            self.inbox.forget(stream)
            self._merger.forget(stream)
            self._stage_ended(stream)


def _cutting(stage: Stage, mode: Mode) -> str:
    """``hold`` until complete, ``cut``, ``late`` (cut only if packets are late) or ``whole``."""
    if stage.joins:
        return "hold" if mode == "lossless" else "cut"
    if stage.feeds_joins and mode == "lossless":
        return "late" if stage.keeps_nothing else "cut"
    return "whole"


def _has_late(taken: Taken) -> bool:
    return any(packet[1] < chunk.floor for chunk in taken.chunks for packet in chunk.packets)
