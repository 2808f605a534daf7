"""Worker processes: each runs the whole plan, but for single stages, for its share of the streams.

What leaves a worker (packets for single stages, tapped packets, notices, ends) comes back over a
pipe and is handed on by one reader thread a worker; a full lane stops the reader, then the pipe,
then the worker. Commands go over a second pipe and are answered one by one.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from .errors import GraphError, NodeFailed, WorkerLost
from .host import Host, HostSetting, LinkExit
from .metrics import Notice, RunMetrics, merged, of_lost_process
from .node import Mode, StreamSpec
from .options import RunOptions
from .outlet import Target
from .packet import End, Packet
from .plan import Plan, make_plan, topological
from .spec import Graph
from .stage_thread import SINK_MARK_PERIOD, MarkPace
from .state import ExportedStates, StateRef
from .wills import Place, Wills

LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which numerical libraries size their thread pools."""

WORKER = "PADFLOW_WORKER"
"""Environment variable with the process's number among those that run the graph side by side: by it
engines take another GPU each where a machine has several."""

ANSWER_TIMEOUT = 5.0
"""Seconds that a worker has to answer a command before its last answer is used."""

CLOSING_GRACE = 1.0
"""Seconds beyond the time of a stop in which a worker may tell who was stuck, and end."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What a worker process is started with."""

    index: int
    graph: Graph
    mode: Mode
    options: RunOptions
    taps: tuple[tuple[str, str], ...]


class _PipeExit:
    """Sends what leaves the worker by one link or tap to the starting process."""

    def __init__(self, target: Any, send: Callable[..., None]) -> None:
        self._target = target
        self._send = send
        self._pace = MarkPace(SINK_MARK_PERIOD)

    def send(self, stream: str, packets: Sequence[Packet], ends: int, floor: float) -> None:
        self._send("send", self._target, stream, packets, ends, floor)

    def end(self, stream: str, end: Packet, floor: float) -> None:
        self._pace.forget(stream)
        self._send("end", self._target, stream, end, floor)

    def advance(self, stream: str, mark: float) -> None:
        if self._pace.is_due(stream, mark):
            self._send("advance", self._target, stream, mark)


class _Sender:
    """The worker's end of the data pipe, shared by its threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def __call__(self, *message: Any) -> None:
        try:
            with self._lock:
                self._pipe.send(message)
        except OSError:
            return  # The starting process is gone; the main thread sees it too and ends us.
        except Exception as error:
            # Anything may go wrong in pickling somebody's payload.
            raise GraphError(
                f"packets for {message[1]} cannot leave their worker process "
                f"({type(error).__name__}: {error}); run with workers=0"
            ) from error


def work(job: WorkerJob, control: Connection, data: Connection) -> None:
    """Main function of a worker process."""
    # Ctrl-C reaches the whole process group; the starting process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # There is a worker for each processor already: libraries that start a pool of spinning threads
    # in each of them only take processors from one another. Read when they are imported.
    for name in LIBRARY_THREADS:
        os.environ.setdefault(name, "1")
    os.environ[WORKER] = str(job.index)
    send = _Sender(data)
    try:
        host = _make_host(job, send)
        host.start()
    except Exception as error:
        control.send((0, _portable(error)))
        return
    control.send((0, None))
    try:
        _obey(host, control)
    except (EOFError, OSError):
        # The starting process is gone: nobody is left to take results or to be told.
        host.shutdown(time.monotonic() + 2.0)
        os._exit(1)


def _make_host(job: WorkerJob, send: _Sender) -> Host:
    plan = make_plan(job.graph, fuse=job.options.fuse)
    setting = HostSetting(
        mode=job.mode,
        options=job.options,
        notice=lambda notice: send("notice", notice),
        failed=lambda error: send("failed", _portable(error)),
        stream_ended=lambda name, reason, packets: send("ended", name, reason, packets),
        bridge=lambda link: _PipeExit(plan.links.index(link), send),
        taps={place: _PipeExit(place, send) for place in job.taps},
    )
    return Host(plan, [stage for stage in plan.stages if stage.scope != "single"], setting)


def _obey(host: Host, control: Connection) -> None:
    while True:
        number, command, arguments = control.recv()
        try:
            if command == "close":
                control.send((number, host.shutdown(time.monotonic() + arguments[0])))
                return
            control.send((number, getattr(host, command)(*arguments)))
        except (OSError, EOFError):
            raise
        except Exception as error:
            control.send((number, _portable(error)))


def _portable(error: Exception) -> GraphError:
    """An error that pickles, whatever it was."""
    if isinstance(error, GraphError):
        return type(error)(str(error))
    return NodeFailed(f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class _Worker:
    """The starting process's view of one worker."""

    index: int
    process: SpawnProcess
    control: Connection
    data: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0
    streams: dict[str, float] = field(default_factory=dict)
    """By stream the capture time of its last packet that came back."""
    ended_links: set[tuple[int, str]] = field(default_factory=set)
    metrics: RunMetrics = field(default_factory=lambda: RunMetrics({}, {}, {}, 0))
    reader: threading.Thread | None = None
    alive: bool = True

    def ask(self, command: str, *arguments: Any, timeout: float = ANSWER_TIMEOUT) -> Any:
        """Send a command and wait for its answer.

        Raises:
            TimeoutError: No answer in time.
            OSError: The worker is gone (also EOFError).
            GraphError: What the worker answered.
        """
        with self.lock:
            self.asked += 1
            self.control.send((self.asked, command, arguments))
            deadline = time.monotonic() + timeout
            while self.control.poll(max(0.0, deadline - time.monotonic())):
                number, answer = self.control.recv()
                if number == self.asked:
                    if isinstance(answer, GraphError):
                        raise answer
                    return answer
        raise TimeoutError(f"worker {self.index} did not answer '{command}' in {timeout:g} s")


class WorkerPool:
    """Worker processes and the streams they have."""

    def __init__(self, plan: Plan, count: int, setting: HostSetting, sinks: Host | None) -> None:
        self._plan = plan
        self._count = count
        self._setting = setting
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._stopping = False
        self._wills = Wills([spec.name for spec in topological(plan.graph)])
        self._links: dict[int, LinkExit] = {}
        if sinks is not None:
            for index, link in enumerate(plan.links):
                if plan.graph.node(link.edges[0].consumer).contract().scope == "single":
                    self._links[index] = sinks.link_exit(link)

    def start(self) -> None:
        """Start the processes and wait until each has opened its nodes.

        Raises:
            NodeFailed: A node could not be opened.
            WorkerLost: A process ended before that.
        """
        context = multiprocessing.get_context("spawn")
        try:
            for index in range(self._count):
                job = WorkerJob(
                    index,
                    self._plan.graph,
                    self._setting.mode,
                    self._setting.options,
                    tuple(self._setting.taps),
                )
                control, far_control = context.Pipe(duplex=True)
                data, far_data = context.Pipe(duplex=False)
                process = context.Process(
                    target=work,
                    args=(job, far_control, far_data),
                    name=f"padflow worker {index}",
                    daemon=True,
                )
                self._workers.append(_Worker(index, process, control, data))
                process.start()
                # Ours must be the only copies, or the end of the process would not be seen.
                far_control.close()
                far_data.close()
            for worker in self._workers:
                self._await_opened(worker)
        except BaseException:
            self._kill()
            raise
        for worker in self._workers:
            worker.reader = threading.Thread(
                target=self._read,
                args=(worker,),
                name=f"padflow worker {worker.index} reader",
                daemon=True,
            )
            worker.reader.start()

    def _await_opened(self, worker: _Worker) -> None:
        wait([worker.control, worker.process.sentinel])
        try:
            _, problem = worker.control.recv() if worker.control.poll() else (0, EOFError())
        except (EOFError, OSError) as error:
            problem = error
        if isinstance(problem, GraphError):
            raise problem
        if problem is not None:
            worker.process.join(1.0)
            raise WorkerLost(
                f"worker {worker.index}: expected it to start, found it ended with exit code "
                f"{worker.process.exitcode}; a script must start its run under "
                'if __name__ == "__main__": (or use workers=0)'
            )

    def _kill(self) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.process.pid is not None:
                worker.process.kill()
                worker.process.join()
            worker.control.close()
            worker.data.close()

    def check(self, spec: StreamSpec) -> None:
        """Refuse a stream that cannot go to another process, before anything knows of it.

        Raises:
            GraphError: Its options do not pickle.
        """
        try:
            pickle.dumps(spec)
        except Exception as error:
            # Anything may go wrong in pickling somebody's options.
            raise GraphError(
                f"stream '{spec.name}': expected options that pickle, found "
                f"{type(error).__name__}: {error}; give others, or run with workers=0"
            ) from error

    def add_stream(self, spec: StreamSpec, states: ExportedStates | None = None) -> None:
        """Give a stream to the worker that has fewest.

        Raises:
            WorkerLost: No worker is left.
        """
        while True:
            with self._lock:
                alive = [worker for worker in self._workers if worker.alive]
                if not alive:
                    raise WorkerLost(f"stream '{spec.name}': expected a worker, found none alive")
                worker = min(alive, key=lambda w: (len(w.streams), w.index))
                worker.streams[spec.name] = 0.0
            try:
                worker.ask("add_stream", spec, states)
                return
            except TimeoutError as error:
                raise WorkerLost(f"stream '{spec.name}': {error}") from error
            except (OSError, EOFError):
                with self._lock:
                    taken_over = worker.streams.pop(spec.name, None) is None
                    worker.alive = False
                if taken_over:
                    return  # The reader has seen the loss and ended the stream.

    def cancel(self, name: str, reason: str) -> None:
        """Ask the sources of a stream to end."""
        with self._lock:
            having = [w for w in self._workers if w.alive and name in w.streams]
        for worker in having:
            try:
                worker.ask("cancel", name, reason)
            except (OSError, EOFError):
                continue  # The reader tells the loss.

    def metrics(self) -> RunMetrics:
        """The counters of all workers; of one that does not answer, the last that it gave."""
        return merged(self._metrics(worker) for worker in self._workers)

    def _metrics(self, worker: _Worker) -> RunMetrics:
        if worker.alive and not self._stopping:
            try:
                answer: RunMetrics = worker.ask("metrics", timeout=1.0)
                streams = {
                    name: replace(stream, worker=worker.index)
                    for name, stream in answer.streams.items()
                }
                worker.metrics = replace(answer, streams=streams)
            except (OSError, EOFError):
                pass  # TimeoutError is one too.
        return worker.metrics

    def export_states(self) -> dict[StateRef, bytes]:
        """All keyed states of all workers."""
        exported: dict[StateRef, bytes] = {}
        for worker in self._workers:
            if worker.alive:
                exported.update(worker.ask("export_states", timeout=60.0))
        return exported

    def shutdown(self, deadline: float) -> list[str]:
        """Stop all workers by a deadline; those that do not are killed.

        Returns:
            What did not stop, in words.
        """
        self._stopping = True
        stuck: list[str] = []
        closing = [
            threading.Thread(target=self._close, args=(worker, deadline, stuck), daemon=True)
            for worker in self._workers
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        for worker in self._workers:
            if worker.reader is not None:
                worker.reader.join(1.0)
            worker.control.close()
            worker.data.close()
        return stuck

    def _close(self, worker: _Worker, deadline: float, stuck: list[str]) -> None:
        left = max(0.2, deadline - time.monotonic())
        try:
            if worker.alive:
                # The worker gets a little less, so that it can still tell who was stuck.
                stuck.extend(worker.ask("close", left * 0.9, timeout=left + CLOSING_GRACE))
        except TimeoutError:
            stuck.append(f"worker {worker.index}")
        except (OSError, EOFError):
            pass
        # What it has opened is closed; a busy machine may take its time to end it.
        worker.process.join(max(CLOSING_GRACE, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _read(self, worker: _Worker) -> None:
        try:
            while True:
                self._take(worker, worker.data.recv())
        except (EOFError, OSError):
            if not self._stopping:
                self._lost(worker)
        except Exception as error:
            self._setting.failed(error)
            # A worker that nobody hears would wait for ever, and could not be stopped.
            with suppress(EOFError, OSError):
                while True:
                    worker.data.recv_bytes()

    def _take(self, worker: _Worker, message: tuple[Any, ...]) -> None:
        kind, target = message[:2]
        if kind == "send":
            _, _, stream, packets, ends, floor = message
            self._wills.note(self._place(target), packets)
            if isinstance(target, tuple):
                self._setting.taps[target].send(stream, packets, ends, floor)
            else:
                worker.streams[stream] = max(worker.streams.get(stream, 0.0), packets[-1][1])
                self._links[target].send(stream, packets, ends, floor)
        elif kind == "end" and not isinstance(target, tuple):
            _, _, stream, end, floor = message
            worker.ended_links.add((target, stream))
            self._links[target].end(stream, end, floor)
        elif kind == "advance":
            self._links[target].advance(*message[2:])
        elif kind == "notice":
            self._setting.notice(target)
        elif kind == "failed":
            self._setting.failed(target)
        elif kind == "ended":
            with self._lock:
                worker.streams.pop(target, None)
                worker.ended_links -= {(index, target) for index in self._links}
            self._wills.forget(target)
            self._setting.stream_ended(*message[1:])

    def _lost(self, worker: _Worker) -> None:
        worker.process.join(1.0)
        with self._lock:
            worker.alive = False
            worker.metrics = of_lost_process(worker.metrics)
            streams = dict(worker.streams)
            worker.streams.clear()
            left = any(other.alive for other in self._workers)
        code = worker.process.exitcode
        told = (
            f"worker {worker.index}: expected it to run on, found it ended with exit code {code}; "
            f"its streams end: {', '.join(streams) or 'none'}"
        )
        self._setting.notice(Notice("", "", f"WorkerLost: {told}"))
        for stream, last in streams.items():
            self._open_wills(worker, stream)
            end = Packet(stream, last, 0, None, End("worker_lost"), time.monotonic())
            for index, link in self._links.items():
                if (index, stream) not in worker.ended_links:
                    link.end(stream, end, -inf)
            self._setting.stream_ended(stream, "worker_lost", 0)
        if not left:
            self._setting.failed(WorkerLost(told))

    def _place(self, target: Target) -> Place:
        """Node and port that a link or tap comes from."""
        if isinstance(target, tuple):
            return target
        link = self._plan.links[target]
        return link.producer, link.output

    def _open_wills(self, worker: _Worker, stream: str) -> None:
        """Say, for sinks and taps, what a lost worker can no longer say of a stream."""
        for place, packet in self._wills.open(stream, "worker_lost"):
            for index, link in self._links.items():
                if self._place(index) == place and (index, stream) not in worker.ended_links:
                    link.send(stream, [packet], 0, -inf)
            tap = self._setting.taps.get(place)
            if tap is not None:
                tap.send(stream, [packet], 0, -inf)
