"""Ways to bring what a face looks like from one process to another: what Ray and others ask for it.

Every way moves the same payloads between this process and one actor and is waited for; CPU is that
of both processes. ``look`` is what one face gives its networks at one time (face crop, two views,
four patches); ``as 4:2:0`` the same as planes; ``8 looks`` a batch of them in one call.
"""

import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

from ..graph.wire import CHUNK
from .process_tree import process_cpu

LOOK = (256 * 256 * 3, 2 * 160 * 160 * 3, 4 * 96 * 96 * 3)
"""Bytes of the three pictures of one look in RGB."""
PAYLOADS = {
    "notice, 1 kB": 1_000,
    "crop as 4:2:0, 98 kB": LOOK[0] // 2,
    "crop, 197 kB": LOOK[0],
    "look as 4:2:0, 230 kB": sum(LOOK) // 2,
    "look, 461 kB": sum(LOOK),
    "8 looks, 3.7 MB": 8 * sum(LOOK),
}
SECONDS = 1.0
"""Each way and payload is measured for so long, in each round."""


class Far:
    """The other side of all ways."""

    def __init__(self) -> None:
        self._shared: np.memmap | None = None

    def pid(self) -> int:
        """This process."""
        return os.getpid()

    def take(self, *arguments: Any) -> int:
        """Arguments as Ray carries them."""
        return len(arguments)

    def take_chunks(self, *chunks: bytes) -> int:
        """What was pickled and cut."""
        return len(pickle.loads(chunks[0] if len(chunks) == 1 else b"".join(chunks)))

    def take_shared(self, path: str, size: int) -> int:
        """Bytes that lie in shared memory; copied out, as they must be before they are reused."""
        if self._shared is None:
            self._shared = np.memmap(path, np.uint8, "r")
        return len(self._shared[:size].tobytes())

    def give(self, size: int, count: int) -> Iterator[np.ndarray]:
        """A stream of payloads, as a streaming generator carries them."""
        for _ in range(count):
            yield np.zeros(size, np.uint8)

    def serve(self, address: str) -> None:
        """Answer on a socket until it closes."""
        with Client(address, family="AF_UNIX") as socket:
            try:
                while True:
                    pickle.loads(socket.recv_bytes())
                    socket.send_bytes(b"1")
            except EOFError:
                return

    def forget(self) -> None:
        """Let go of shared memory."""
        self._shared = None


Way = Callable[[], None]


def bench_transport(rounds: int) -> None:
    """Print wall and CPU milliseconds of each way and payload."""
    console = Console()
    ours = not ray.is_initialized()
    if ours:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        far = ray.remote(num_cpus=0, max_concurrency=2)(Far).remote()
        pid = ray.get(far.pid.remote())
        console.print(f"wall / CPU of both sides in ms a payload, median of {rounds} rounds")
        table = Table(box=None, pad_edge=False)
        table.add_column("payload")
        results: dict[str, list[str]] = {}
        for name, size in PAYLOADS.items():
            with _ways(far, size) as ways:
                for once in ways.values():
                    walls, cpus = zip(*(_measure(pid, once) for _ in range(rounds)), strict=True)
                    results.setdefault(name, []).append(_told(walls, cpus))
                columns = [*ways, "compiled graph"]
            with _compiled(size) as (spinning, once):
                measured = [_measure(spinning, once) for _ in range(rounds)]
                walls, cpus = zip(*measured, strict=True)
                results[name].append(_told(walls, cpus))
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in results.items():
            table.add_row(name, *row)
        console.print(table)
    finally:
        if ours:
            ray.shutdown()


def _told(walls: Sequence[float], cpus: Sequence[float]) -> str:
    return f"{statistics.median(walls):.2f} / {statistics.median(cpus):.2f}"


def _measure(pid: int, once: Way) -> tuple[float, float]:
    """Milliseconds of wall and CPU time a payload."""
    once()
    before, began = time.process_time() + process_cpu(pid), time.monotonic()
    count = 0
    while time.monotonic() - began < SECONDS:
        once()
        count += 1
    wall = time.monotonic() - began
    used = time.process_time() + process_cpu(pid) - before
    return 1e3 * wall / count, 1e3 * used / count


@contextmanager
def _ways(far: Any, size: int) -> Iterator[dict[str, Way]]:
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    folder = tempfile.TemporaryDirectory(prefix="padflow-bench-", dir=_memory_folder())
    path = str(Path(folder.name) / "memory")
    memory = np.memmap(path, np.uint8, "w+", shape=(size,))
    address = str(Path(folder.name) / "socket")
    listener = Listener(address, family="AF_UNIX")
    serving = far.serve.remote(address)
    socket = listener.accept()

    def call() -> None:
        ray.get(far.take.remote(data))

    def chunks() -> None:
        whole = pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL)
        cut = [whole[start : start + CHUNK] for start in range(0, len(whole), CHUNK)]
        ray.get(far.take_chunks.remote(*cut))

    def shared() -> None:
        memory[:] = data
        ray.get(far.take_shared.remote(path, size))

    def generator() -> None:
        stream = far.give.options(num_returns="streaming").remote(size, 8)
        for reference in stream:
            ray.get(reference)

    def through_socket() -> None:
        socket.send_bytes(pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL))
        socket.recv_bytes()

    try:
        yield {
            "actor call": call,
            "call, cut inline": chunks,
            "call + shared memory": shared,
            "generator (8 a time)": generator,
            "socket, no Ray": through_socket,
        }
    finally:
        socket.close()
        listener.close()
        ray.get(serving)
        ray.get(far.forget.remote())
        folder.cleanup()


@contextmanager
def _compiled(size: int) -> Iterator[tuple[int, Way]]:
    """A compiled graph of one actor, which spins on a core for as long as it stands."""
    from ray.dag import InputNode

    far = ray.remote(num_cpus=0)(Far).remote()
    pid = ray.get(far.pid.remote())
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with InputNode() as given:
        graph = far.take.bind(given).experimental_compile()

    def execute() -> None:
        ray.get(graph.execute(data))

    try:
        yield pid, execute
    finally:
        graph.teardown()
        ray.kill(far)


def _memory_folder() -> str | None:
    """A folder that lies in memory, where the system has one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
