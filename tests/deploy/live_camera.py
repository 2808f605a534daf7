"""Holds the whole graph against a camera that lives, dies, comes back and falls silent.

A loopback RTSP camera in a process of its own shows a rendered face; ``padflow run``'s graph
watches it in realtime mode::

    python tests/deploy/live_camera.py --seconds 60 --restarts 20

prints frame rate, frame age, drops, reconnects, the time until silence is told, and how memory,
threads and files stood meanwhile.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # where it is run as a script

from padflow.deploy.session import Override, RunRequest, build_graph, event_ports, streams_of
from padflow.graph.local import LocalRun, Notice, RunMetrics
from padflow.graph.metrics import DurationHistogram
from padflow.graph.packet import Packet
from padflow.nodes.cloudevents import Envelopes, json_line
from padflow.trainers.attacks.feed import render_clip
from tests.rtsp_camera import RtspCamera

USER, PASSWORD = "Operat0r", "s3cr3tword"
ENTRY = "capture.frames->detect.frames"
QUANTILES = {"p50": 0.50, "p99": 0.99, "max": 1.0}
PATIENCE = 60.0
"""Seconds after which what is waited for will not come any more."""
SETTLING = 1.0
"""Seconds that a camera lives after it came back."""


def read_frames(clip: Path) -> list[np.ndarray]:
    """Every picture of a clip, uint8 RGB (height, width, 3)."""
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def serve(clip: Path, orders: Connection) -> None:
    """Be the camera, until told to quit: runs in a process of its own."""
    with RtspCamera(read_frames(clip), 25, user=USER, password=PASSWORD) as camera:
        orders.send(camera.url)
        while (order := orders.recv()) != "quit":
            getattr(camera, order)()
            orders.send(camera.connections)


@dataclass
class RemoteCamera:
    """A camera in another process, so that its threads and memory are not taken for ours."""

    url: str
    _orders: Connection

    def tell(self, order: str) -> int:
        """Let it ``start``, ``stop``, ``silence`` or ``speak``; returns clients served so far."""
        self._orders.send(order)
        served: int = self._orders.recv()
        return served


@contextmanager
def remote_camera(clip: Path) -> Iterator[RemoteCamera]:
    """A camera that shows a clip again and again."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(clip, theirs))
    process.start()
    theirs.close()
    try:
        yield RemoteCamera(ours.recv(), ours)
        ours.send("quit")
    finally:
        process.join(5)
        process.kill()
        process.join()
        process.close()
        ours.close()


@dataclass(frozen=True, slots=True)
class Footprint:
    """What this process takes."""

    rss: float
    """Resident memory in MiB."""
    threads: int
    """Threads of the system, those of libraries among them."""
    files: int
    """Open file descriptors."""

    @classmethod
    def now(cls) -> "Footprint":
        """Of this moment."""
        status = Path("/proc/self/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        rss = int(fields["VmRSS"].split()[0]) / 1024
        return cls(rss, int(fields["Threads"]), len(os.listdir("/proc/self/fd")))

    def __str__(self) -> str:
        return f"{self.rss:7.1f} MiB {self.threads:3d} threads {self.files:3d} files"


@dataclass
class Watched:
    """Everything that a run over the camera gave."""

    events: list[dict[str, Any]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    """Age in seconds of every frame with a face when its face was aligned."""
    faces: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _envelopes: Envelopes = field(default_factory=lambda: Envelopes(lossless=False, private=True))

    def take_event(self, packet: Packet) -> None:
        """Note an event; called by the run."""
        with self._changed:
            self.events.append(self._envelopes.wrap(packet))
            self._changed.notify_all()

    def take_face(self, packet: Packet) -> None:
        """Note a face; called by the run."""
        with self._changed:
            self.ages.append(time.monotonic() - packet.arrival)
            self.faces += 1
            self._changed.notify_all()

    def states(self) -> Counter[str]:
        """How often the source was told to be in each state."""
        return Counter(
            e["data"]["state"] for e in list(self.events) if e["type"] == "padflow.source.v1"
        )

    def wait_for(self, what: str, happened: Callable[[], bool]) -> float:
        """Seconds until something has happened."""
        began = time.monotonic()
        with self._changed:
            if not self._changed.wait_for(happened, PATIENCE):
                raise TimeoutError(f"{what}: not seen in {PATIENCE:g} s; {self.states()}")
        return time.monotonic() - began


@dataclass
class Undisturbed:
    """What was measured while the camera lived undisturbed."""

    seconds: float
    ages: list[float]
    """Age in seconds of every frame with a face when its face was aligned."""
    before: RunMetrics
    after: RunMetrics

    @property
    def frames(self) -> int:
        """Frames that capture gave."""
        return self.after.edges[ENTRY].packets_in - self.before.edges[ENTRY].packets_in

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds

    def age(self, share: float) -> float:
        """Quantile of the frame age in seconds."""
        return float(np.quantile(self.ages, share))

    def verdict_age(self, share: float) -> float:
        """Quantile of the frame age in seconds when its verdict was told, exact to 26 %."""
        earlier, later = (m.nodes["decide"].age.counts for m in (self.before, self.after))
        counts = tuple(b - a for a, b in zip(earlier, later, strict=True))
        return DurationHistogram(counts).quantile(share)

    def drops(self) -> dict[str, dict[str, int]]:
        """Packets lost, by place and reason."""
        earlier, later = drops(self.before), drops(self.after)
        lost = {
            place: {r: n - earlier.get(place, {}).get(r, 0) for r, n in reasons.items()}
            for place, reasons in later.items()
        }
        return {place: reasons for place, reasons in lost.items() if any(reasons.values())}


def drops(metrics: RunMetrics) -> dict[str, dict[str, int]]:
    """Packets lost so far, by place and reason."""
    lost = {name: dict(node.dropped) for name, node in metrics.nodes.items()}
    lost |= {name: dict(edge.dropped) for name, edge in metrics.edges.items()}
    return {place: reasons for place, reasons in lost.items() if reasons}


@dataclass
class Report:
    """What was measured."""

    live: Undisturbed
    reconnects: list[float]
    """Seconds from each restart of the camera to the event that says so."""
    silence_found: float
    """Seconds from the last picture to the event ``stalled``."""
    silence_over: float
    """Seconds from the first picture after it to the event ``connected``."""
    footprints: dict[str, Footprint]
    watched: Watched
    metrics: RunMetrics
    """Of the whole run."""


def watch_camera(
    clip: Path, *, seconds: float, restarts: int, overrides: Sequence[Override] = ()
) -> Report:
    """Run the default graph over a camera that lives ``seconds`` and is restarted, then silent."""
    watched = Watched()
    footprints = {"before": Footprint.now()}
    with remote_camera(clip) as camera:
        request = RunRequest((camera.url,), overrides=tuple(overrides))
        graph = build_graph(request)
        taps: dict[str, Callable[[Packet], None]] = {
            **dict.fromkeys(event_ports(graph), watched.take_event),
            "align.observations": watched.take_face,
        }
        run = LocalRun(graph, "realtime", request.options, taps, watched.notices.append)
        for stream in streams_of(request.sources):
            run.add_stream(stream)
        with run:
            watched.wait_for("the first face", lambda: watched.faces > 0)
            footprints["start"] = Footprint.now()
            live = _live(run, watched, seconds, footprints)
            reconnects = []
            for number in range(1, restarts + 1):
                reconnects.append(_restart(camera, watched))
                footprints[f"restart {number}"] = Footprint.now()
            silence = _fall_silent(camera, watched)
            footprints["after silence"] = Footprint.now()
        metrics = run.metrics()
    footprints["stopped"] = Footprint.now()
    return Report(live, reconnects, *silence, footprints, watched, metrics)


def _live(
    run: LocalRun, watched: Watched, seconds: float, footprints: dict[str, Footprint]
) -> Undisturbed:
    """Let it live; the first third warms caches, pools and processor."""
    before, began, aged = run.metrics(), time.monotonic(), len(watched.ages)
    time.sleep(seconds / 3)
    footprints["warm"] = Footprint.now()
    time.sleep(seconds - seconds / 3)
    footprints["live"] = Footprint.now()
    return Undisturbed(time.monotonic() - began, watched.ages[aged:], before, run.metrics())


def _restart(camera: RemoteCamera, watched: Watched) -> float:
    """Let the camera die and come back; returns the seconds until that is seen."""
    connected, lost = watched.states()["connected"], watched.states()["lost"]
    camera.tell("stop")
    watched.wait_for("the loss", lambda: watched.states()["lost"] > lost)
    camera.tell("start")
    took = watched.wait_for("the reconnect", lambda: watched.states()["connected"] > connected)
    faces = watched.faces
    watched.wait_for("a face again", lambda: watched.faces > faces)
    time.sleep(SETTLING)
    return took


def _fall_silent(camera: RemoteCamera, watched: Watched) -> tuple[float, float]:
    """Seconds until silence and its end are told."""
    connected = watched.states()["connected"]
    camera.tell("silence")
    found = watched.wait_for("the silence", lambda: watched.states()["stalled"] > 0)
    camera.tell("speak")
    over = watched.wait_for("its end", lambda: watched.states()["connected"] > connected)
    faces = watched.faces
    watched.wait_for("a face again", lambda: watched.faces > faces)
    return found, over


def secrets_told(report: Report, log_text: str = "") -> list[str]:
    """Texts of events, notices and log in which a credential stands."""
    texts = [json_line(event).decode() for event in report.watched.events]
    texts += [str(notice) for notice in report.watched.notices]
    texts += log_text.splitlines()
    return [text for text in texts if USER in text or PASSWORD in text]


def describe(report: Report) -> str:
    """The report as lines for a person."""
    states, live = report.watched.states(), report.live
    ages = [f"{name} {live.age(share) * 1e3:.1f} ms" for name, share in QUANTILES.items()]
    verdicts = [
        f"{name} {live.verdict_age(share) * 1e3:.1f} ms" for name, share in QUANTILES.items()
    ]
    lines = [
        f"live {live.seconds:.1f} s: {live.frames} frames, {live.fps:.2f} fps, "
        f"{len(live.ages)} faces",
        f"  frame age at the aligned face: {', '.join(ages)}",
        f"  frame age at the verdict (exact to 26 %): {', '.join(verdicts)}",
        f"  drops: {live.drops() or 'none'}",
        f"drops of the whole run, breaks included: {drops(report.metrics) or 'none'}",
        f"restarts {len(report.reconnects)}, reconnects seen {states['connected'] - 2} and one "
        f"after the silence; losses told {states['lost']}",
    ]
    if report.reconnects:
        took = report.reconnects
        lines.append(f"from restart to reconnect: min {min(took):.2f} s, max {max(took):.2f} s")
    lines += [
        f"silence told after {report.silence_found:.2f} s, its end after "
        f"{report.silence_over:.2f} s",
        f"notices: {len(report.watched.notices)}; credentials told: {len(secrets_told(report))}",
    ]
    lines += [f"  {when:14s} {what}" for when, what in report.footprints.items()]
    return "\n".join(lines)


def main() -> int:
    """Render, watch, report; exit code 1 where something was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="undisturbed time")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--size", default="1280x720", metavar="WxH")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "live.mp4"
        render_clip("live", clip, size=(width, height), seconds=4.0)
        report = watch_camera(clip, seconds=args.seconds, restarts=args.restarts)
    print(describe(report))
    missed = report.watched.states()["connected"] != args.restarts + 2
    return int(missed or report.silence_found > 5.0 or bool(secrets_told(report)))


if __name__ == "__main__":
    raise SystemExit(main())
