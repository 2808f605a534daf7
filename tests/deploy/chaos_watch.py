"""What the chaos run sees: packets and verdicts by stream, losses made good, what is used."""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from padflow.graph.packet import Packet
from padflow.graph.ray_actor import Load
from padflow.nodes.capture import SOURCE_EVENT
from padflow.nodes.decide import VERDICT, State
from padflow.nodes.payloads import Event

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What is too much; all times in seconds."""

    hang: float = 20.0
    """Without a frame of a camera that sends."""
    back: float = 10.0
    """From a kill to the first picture of each of its streams."""
    rss_growth: float = 0.15
    """Share by which memory at the end may be above that of the middle of the run."""
    rss_slack: float = 40.0
    """MiB that it may be above it besides."""


@dataclass
class Kill:
    """One actor's process that was ended, or stopped for good."""

    actor: str
    how: str
    moment: float
    waiting: set[str]
    """Streams that are not back yet."""
    alone: bool = False
    """No other actor of its kind was ready to take them."""
    back: dict[str, float] = field(default_factory=dict)
    """Seconds until each stream's next picture."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is used at one moment."""

    seconds: float
    """Since the run began."""
    rss: float
    """MiB of the driver."""
    threads: int
    files: int
    actors: Mapping[str, Load]
    store_mib: float
    store_objects: int
    spilled_mib: float

    def __str__(self) -> str:
        loads = self.actors.values()
        return (
            f"{self.seconds:6.0f} s  driver {self.rss:6.1f} MiB {self.threads:3d} threads "
            f"{self.files:3d} files  actors {len(self.actors)} of "
            f"{'+'.join(str(load.streams) for load in loads)} streams "
            f"{'+'.join(f'{load.rss / MIB:.0f}' for load in loads)} MiB, "
            f"{max((load.threads for load in loads), default=0)} threads "
            f"{max((load.files for load in loads), default=0)} files at most  "
            f"store {self.store_mib:g} MiB {self.store_objects} objects, "
            f"spilled {self.spilled_mib:g} MiB"
        )


def take_sample(seconds: float, actors: Mapping[str, Load]) -> Sample:
    """Measure this process and Ray's object store."""
    import ray
    from ray._private.internal_api import memory_summary

    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    told = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    used = re.search(r"Plasma memory usage (\d+) MiB, (\d+) objects", told)
    assert used is not None, told
    spilled = re.search(r"Spilled (\d+) MiB", told)
    return Sample(
        seconds,
        int(status["VmRSS"].split()[0]) / 1024,
        int(status["Threads"]),
        len(os.listdir("/proc/self/fd")),
        actors,
        float(used[1]),
        int(used[2]),
        float(spilled[1]) if spilled else 0.0,
    )


@dataclass
class Seen:
    """Everything that the run's taps and counters told; its taps are called on many threads."""

    attacks: set[str] = field(default_factory=set)
    """Streams that show an attack."""
    wrong_live: list[str] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By content of the stream and state."""
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Source events by stream and state."""
    live_after_loss: int = 0
    """Streams that were LIVE again in an epoch that followed a loss."""
    went_back: list[str] = field(default_factory=list)
    """Counts of packets that fell, in words."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _packets: Counter[str] = field(default_factory=Counter)
    _told: Counter[str] = field(default_factory=Counter)
    _recovering: set[str] = field(default_factory=set)
    _frames: dict[str, int] = field(default_factory=dict)
    _progress: dict[str, float] = field(default_factory=dict)

    def take(self, packet: Packet) -> None:
        """Note an event."""
        event: Event = packet.payload
        with self.lock:
            if event.type == SOURCE_EVENT:
                self._take_source(packet.stream, event)
            elif event.type == VERDICT:
                self._take_verdict(packet, event)

    def _take_source(self, stream: str, event: Event) -> None:
        self.sources[stream, str(event.data["state"])] += 1
        self._told[stream] += 1
        if event.data["state"] != "connected":
            return
        for kill in self.kills:
            if stream in kill.waiting:
                kill.waiting.discard(stream)
                kill.back[stream] = time.monotonic() - kill.moment
                self._recovering.add(stream)

    def _take_verdict(self, packet: Packet, event: Event) -> None:
        state = event.data["state"]
        self.verdicts[content_of(packet.stream), state] += 1
        if state != State.LIVE.value:
            return
        if packet.stream in self.attacks:
            self.wrong_live.append(f"{packet.stream} epoch {packet.epoch} track {packet.key}")
        if packet.stream in self._recovering:
            self._recovering.discard(packet.stream)
            self.live_after_loss += 1

    def killed(self, kill: Kill) -> None:
        """Note a kill; streams that still wait for an earlier one now wait for this."""
        with self.lock:
            for earlier in self.kills:
                earlier.waiting -= kill.waiting
            self.kills.append(kill)

    def excuse(self, stream: str) -> None:
        """The stream's camera is disturbed or over: nobody can say when it should be back."""
        with self.lock:
            for kill in self.kills:
                kill.waiting.discard(stream)

    def late(self, limits: Limits) -> list[str]:
        """Kills whose streams took too long, in words."""
        now, words = time.monotonic(), []
        with self.lock:
            for kill in self.kills:
                took = dict(kill.back) | dict.fromkeys(kill.waiting, now - kill.moment)
                words += [
                    f"{stream} took {seconds:.1f} s after {kill.actor} was {kill.how}, expected "
                    f"at most {limits.back:g} s"
                    for stream, seconds in took.items()
                    if seconds > limits.back
                ]
        return words

    def count(self, stream: str, packets: int) -> float:
        """Note what a stream's source gave so far; seconds since it gave a frame."""
        now = time.monotonic()
        with self.lock:
            frames = packets - self._told[stream]
            before = self._frames.get(stream, 0)
            if frames > before:
                self._frames[stream] = frames
                self._progress[stream] = now
            elif packets < self._packets[stream]:
                self.went_back.append(f"{stream}: {packets} packets after {self._packets[stream]}")
            self._packets[stream] = packets
            return now - self._progress.setdefault(stream, now)


def content_of(stream: str) -> str:
    """What a stream shows: the first word of its name."""
    return stream.partition("-")[0]


def judge_footprints(samples: Sequence[Sample], limits: Limits) -> list[str]:
    """What grew from the second to the last third of a run, in words."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[-third:]
    if third < 2:
        return ["expected at least 6 samples, found fewer; run longer"]

    def typical(of: Sequence[Sample], value: str) -> float:
        if value == "rss":
            return median(sample.rss for sample in of)
        if value == "actors":
            return median(
                sum(load.rss for load in s.actors.values()) / max(1, len(s.actors)) / MIB
                for s in of
            )
        return float(median(getattr(sample, value) for sample in of))

    words = []
    for value, slack in (("rss", limits.rss_slack), ("actors", limits.rss_slack)):
        before, after = typical(middle, value), typical(last, value)
        if after > before * (1 + limits.rss_growth) + slack:
            words.append(f"memory ({value}) grew from {before:.0f} to {after:.0f} MiB")
    for value in ("threads", "files"):
        before, after = typical(middle, value), typical(last, value)
        if after > before + 10:
            words.append(f"{value} of the driver grew from {before:g} to {after:g}")
    if typical(last, "store_mib") > typical(middle, "store_mib") + 8:
        words.append("the object store grew")
    spilled = max(sample.spilled_mib for sample in samples)
    if spilled:
        words.append(f"{spilled:g} MiB were spilled")
    return words


Process = tuple[int, str]
"""Process id and start time, which together name a process."""


def descendants(root: int) -> set[Process]:
    """All processes below one."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat is not None and not _is_tracker(int(entry.name)):
                parents[int(entry.name)] = stat
    found: set[Process] = set()
    grown = {root}
    while grown:
        grown = {pid for pid, (parent, _) in parents.items() if parent in grown}
        found |= {(pid, parents[pid][1]) for pid in grown}
    return found


def still_there(processes: set[Process], patience: float) -> set[Process]:
    """Those of some processes that do not end within some seconds."""
    deadline = time.monotonic() + patience
    while True:
        alive = {(pid, start) for pid, start in processes if (_stat(pid) or (0, ""))[1] == start}
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.2)


def _is_tracker(pid: int) -> bool:
    """Whether it is the process with which multiprocessing minds what cameras share."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _stat(pid: int) -> tuple[int, str] | None:
    """Parent and start time; None for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), fields[19])
