"""Eight streams on Ray while everything around them breaks, at random and for minutes.

Four RTSP cameras on loopback and four files are watched by the default graph in realtime mode;
actors are killed or frozen, cameras fall silent, send wrong bytes, slow down to 0.2 fps or die with
their process, files are damaged, end and come again under a new name::

    python tests/deploy/chaos.py --minutes 10 --seed 1 --out /tmp/chaos

writes the event log and a report, and ends with 1 where a stream hung or came back late, an attack
was ever LIVE, memory, threads, files or Ray's object store grew, a process was left behind, or
:mod:`padflow.deploy.event_check` finds a promise broken in the log.

The policy is laxer than the default one, so that LIVE and SPOOF are both reached on small rendered
pictures: what is tested is what becomes of verdicts, not how good they are.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # where it is run as a script

from padflow.deploy.event_check import LogCheck, check_log
from padflow.deploy.session import RunRequest, build_graph, event_ports
from padflow.graph.errors import GraphError
from padflow.graph.metrics import Notice
from padflow.graph.node import StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.ray_options import RayOptions
from padflow.graph.ray_run import RayRun
from padflow.nodes.policy import load_policy
from padflow.trainers.attacks.acts import Species
from tests.deploy.chaos_cameras import (
    ChaosCamera,
    make_clip,
    rtsp_cameras,
    write_damaged,
    write_loop,
)
from tests.deploy.chaos_watch import (
    Kill,
    Limits,
    Sample,
    Seen,
    descendants,
    judge_footprints,
    still_there,
    take_sample,
)

CAMERAS: tuple[Species, ...] = ("live", "print", "live", "screen")
FILES: tuple[Species, ...] = ("live", "screen", "live", "print")
POLICY = "name: chaos\ntargets: {apcer: 0.1, bpcer: 0.2}\n"
TICK = 0.5
SAMPLE_PERIOD = 10.0
COUNT_PERIOD = 2.0
CALM = 25.0
"""Seconds at the end in which nothing is disturbed and every stream must come back."""


@dataclass(frozen=True, slots=True)
class ChaosParams:
    """How long and how wild; all times in seconds."""

    seconds: float = 600.0
    seed: int = 1
    engines: Literal["within", "apart"] = "within"
    fps: int = 5
    file_seconds: float = 45.0
    kill_every: tuple[float, float] = (20.0, 40.0)
    disturb_every: tuple[float, float] = (8.0, 20.0)
    disturb_for: tuple[float, float] = (6.0, 15.0)
    frozen: float = 0.2
    """Share of kills that only stop the process."""
    damaged: float = 0.3
    """Share of files that are damaged."""
    limits: Limits = field(default_factory=Limits)


@dataclass
class Feed:
    """One of the eight: a camera, or a file that comes again and again."""

    kind: Species
    number: int
    camera: ChaosCamera | None = None
    round: int = 0
    healthy_since: float = inf
    """Since when its camera sends as it should; infinite while it does not."""
    heal_at: float = inf

    @property
    def stream(self) -> str:
        """Name of its stream, which begins with what it shows."""
        place = "camera" if self.camera else "file"
        return f"{self.kind}-{place}{self.number}" + ("" if self.camera else f"-{self.round}")


@dataclass
class ChaosReport:
    """What came of it."""

    failures: list[str]
    seen: Seen
    samples: list[Sample]
    notices: list[Notice]
    disturbances: Counter[str]
    check: LogCheck
    stop_seconds: float
    add_seconds: float
    """Longest time that adding a stream took."""
    streams: int

    def __str__(self) -> str:
        """For a person."""
        kills = self.seen.kills
        how = Counter(f"{kill.actor.partition('-')[0]} {kill.how}" for kill in kills)
        lines = [
            f"kills: {dict(how)}; disturbances: {dict(self.disturbances)}",
            f"streams: {self.streams}, LIVE again after a loss: {self.seen.live_after_loss}",
        ]
        for alone in (False, True):
            of = [kill for kill in kills if kill.alone is alone]
            took = sorted(s for kill in of for s in kill.back.values())
            if took:
                lines.append(
                    f"from kill to the stream's next picture, {'no other' if alone else 'another'} "
                    f"ready: {len(of)} kills, {len(took)} times, median "
                    f"{took[len(took) // 2]:.1f} s, longest {took[-1]:.1f} s"
                )
        lines.append(f"source events: {dict(_by_state(self.seen.sources))}")
        told = sorted(self.seen.verdicts.items())
        lines.append("verdicts: " + ", ".join(f"{k} {s} {n}" for (k, s), n in told))
        lines.append(f"longest add: {self.add_seconds:.2f} s; stop: {self.stop_seconds:.1f} s")
        lines += [str(sample) for sample in self.samples]
        lines.append(f"event log: {self.check}")
        lines += [str(violation) for violation in self.check.violations[:50]]
        lines += [f"FAILED: {failure}" for failure in self.failures] or ["nothing failed"]
        return "\n".join(lines)


def _by_state(sources: Counter[tuple[str, str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (_, state), count in sources.items():
        counts[state] += count
    return counts


class Chaos:
    """One run and those who disturb it, in one thread."""

    def __init__(
        self, run: RayRun, feeds: list[Feed], folder: Path, seen: Seen, params: ChaosParams
    ) -> None:
        self.failures: list[str] = []
        self.samples: list[Sample] = []
        self.disturbances: Counter[str] = Counter()
        self.processes: set[tuple[int, str]] = set()
        self.add_seconds = 0.0
        self.streams = 0
        self._run = run
        self._feeds = feeds
        self._folder = folder
        self._seen = seen
        self._params = params
        self._dice = random.Random(params.seed)
        self._began = time.monotonic()
        self._hung: set[str] = set()

    def go(self) -> None:
        """Disturb for as long as asked, then be calm, and see who is there."""
        for feed in self._feeds:
            self._add(feed)
        dice, params = self._dice, self._params
        jobs: list[tuple[Callable[[], None], Callable[[], float]]] = [
            (self._kill, lambda: dice.uniform(*params.kill_every)),
            (self._disturb, lambda: dice.uniform(*params.disturb_every)),
            (self._sample, lambda: SAMPLE_PERIOD),
            (self._look, lambda: COUNT_PERIOD),
        ]
        self._tick(jobs, params.seconds)
        for feed in self._feeds:
            self._heal(feed)
        self._tick(jobs[2:], CALM)
        self._sample()

    def _tick(
        self, jobs: list[tuple[Callable[[], None], Callable[[], float]]], seconds: float
    ) -> None:
        end = time.monotonic() + seconds
        due = [time.monotonic() + pause() for _, pause in jobs]
        while (now := time.monotonic()) < end:
            for index, (job, pause) in enumerate(jobs):
                if now >= due[index]:
                    job()
                    due[index] = time.monotonic() + pause()
            for feed in self._feeds:
                if now >= feed.heal_at:
                    self._heal(feed)
            time.sleep(TICK)

    # ---- streams

    def _add(self, feed: Feed) -> None:
        if feed.camera is not None:
            uri = feed.camera.url
        else:
            feed.round += 1
            uri = str(self._folder / f"{feed.kind}-long.mp4")
            if self._dice.random() < self._params.damaged:
                damaged = self._folder / f"damaged-{feed.number}.mp4"
                write_damaged(Path(uri), damaged, self._dice)
                self.disturbances["file damaged"] += 1
                uri = str(damaged)
        if feed.kind != "live":
            self._seen.attacks.add(feed.stream)
        asked = time.monotonic()
        self._run.add_stream(StreamSpec(feed.stream, uri))
        feed.healthy_since = time.monotonic()
        self.add_seconds = max(self.add_seconds, feed.healthy_since - asked)
        self.streams += 1

    def _look(self) -> None:
        """Count frames, tell who hangs, let files that have ended come again."""
        self._run.wait(0)  # raises what made the run fail
        streams = self._run.streams()
        for feed in self._feeds:
            told = streams.get(feed.stream)
            if told is not None and told.state == "ended":
                if feed.camera is not None:
                    self.failures.append(f"{feed.stream} ended ({told.reason}), expected it to run")
                    feed.camera.tell("heal")
                self._seen.excuse(feed.stream)
                self._add(feed)
                continue
            idle = self._seen.count(feed.stream, told.packets if told else 0)
            well = time.monotonic() - feed.healthy_since
            if min(idle, well) > self._params.limits.hang:
                if feed.stream not in self._hung:
                    self.failures.append(
                        f"{feed.stream} gave no frame for {min(idle, well):.0f} s at "
                        f"{time.monotonic() - self._began:.0f} s, though its camera sends"
                    )
                self._hung.add(feed.stream)
            else:
                self._hung.discard(feed.stream)

    # ---- who disturbs

    def _kill(self) -> None:
        """End or freeze the process of an actor."""
        loads = self._loads()
        if not loads:
            return
        actor = self._dice.choice(sorted(loads))
        frozen = self._dice.random() < self._params.frozen
        having = {s for s, parts in self._run.placement().items() if actor in parts}
        well = {f.stream for f in self._feeds if f.healthy_since < inf} & having
        how = "frozen" if frozen else "killed"
        kind = actor.partition("-")[0]
        alone = not any(other.startswith(kind) for other in loads if other != actor)
        kill = Kill(actor, how, time.monotonic(), well, alone)
        self._seen.killed(kill)
        try:
            os.kill(loads[actor].pid, signal.SIGSTOP if frozen else signal.SIGKILL)
        except ProcessLookupError:
            self.failures.append(f"{actor} ended by itself")

    def _disturb(self) -> None:
        """Let a camera that is well do wrong for a while."""
        well = [f for f in self._feeds if f.camera is not None and f.healthy_since < inf]
        if not well:
            return
        feed = self._dice.choice(well)
        what = self._dice.choice(("silent", "corrupt", "slow", "dead"))
        assert feed.camera is not None
        self.disturbances[f"camera {what}"] += 1
        feed.healthy_since = inf
        self._seen.excuse(feed.stream)
        if what == "dead":
            feed.camera.kill()
            feed.camera.start()
            feed.healthy_since = time.monotonic()
        else:
            feed.camera.tell(what)
            feed.heal_at = time.monotonic() + self._dice.uniform(*self._params.disturb_for)

    def _heal(self, feed: Feed) -> None:
        if feed.camera is not None and feed.healthy_since == inf:
            feed.camera.tell("heal")
            feed.healthy_since = time.monotonic()
        feed.heal_at = inf

    # ---- what is used

    def _loads(self) -> dict[str, Any]:
        crew: Any = self._run._crew
        loads: dict[str, Any] = crew.loads()
        return loads

    def _sample(self) -> None:
        self.samples.append(take_sample(time.monotonic() - self._began, self._loads()))
        cameras = {f.camera.pid for f in self._feeds if f.camera is not None}
        self.processes |= {p for p in descendants(os.getpid()) if p[0] not in cameras}


def run_chaos(params: ChaosParams, folder: Path, events: Path) -> ChaosReport:
    """Run it, stop it, check the log.

    Args:
        params: How long and how wild.
        folder: For clips, files and the policy.
        events: Event log; written anew.
    """
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    events.unlink(missing_ok=True)
    for kind in {*CAMERAS, *FILES}:
        clip = make_clip(kind, folder, params.fps)
        write_loop(clip, folder / f"{kind}-long.mp4", params.fps, params.file_seconds)
    with rtsp_cameras([folder / f"{kind}.mp4" for kind in CAMERAS], params.fps) as cameras:
        feeds = [Feed(kind, n, cameras[n]) for n, kind in enumerate(CAMERAS)]
        feeds += [Feed(kind, len(CAMERAS) + n) for n, kind in enumerate(FILES)]
        return _watched(params, folder, events, policy, feeds)


def _watched(
    params: ChaosParams, folder: Path, events: Path, policy: Path, feeds: list[Feed]
) -> ChaosReport:
    seen = Seen()
    notices: list[Notice] = []
    request = RunRequest(
        sources=(),
        policy=policy,
        events=str(events),
        # So much less often that eight streams leave two processors time to be disturbed.
        overrides=(("align", "cadence_hz", 2.0), ("detect", "cadence_hz", 2.0)),
    )
    graph = build_graph(request)
    options = RayOptions(workers=2, worker_cpu=0.5, engines=params.engines, engine_cpu=0.5)
    taps = dict.fromkeys(event_ports(graph), seen.take)
    run_options = RunOptions(stop_timeout=20.0)
    run = RayRun(graph, "realtime", run_options, taps, notices.append, options)
    run.start()
    chaos = Chaos(run, feeds, folder, seen, params)
    try:
        chaos.go()
    except BaseException:
        run.stop(drain=False)
        raise
    failures = chaos.failures
    stopping = time.monotonic()
    try:
        run.stop()
    except GraphError as error:
        failures.append(f"the stop: {error}")
    stop_seconds = time.monotonic() - stopping
    left = still_there(chaos.processes, 10.0)
    with events.open("rb") as lines:
        check = check_log(lines, [load_policy(policy)])
    failures += [f"{len(left)} processes were left behind: {sorted(left)}"] if left else []
    failures += [f"an attack was LIVE: {where}" for where in seen.wrong_live]
    failures += [f"a count went back: {words}" for words in seen.went_back]
    failures += seen.late(params.limits) + judge_footprints(chaos.samples, params.limits)
    failures += [f"the log breaks {len(check.violations)} promises"] if check.violations else []
    if not check.states["LIVE"] or not check.states["SPOOF"]:
        failures.append(f"expected LIVE and SPOOF among the verdicts, found {dict(check.states)}")
    return ChaosReport(
        failures,
        seen,
        chaos.samples,
        notices,
        chaos.disturbances,
        check,
        stop_seconds,
        chaos.add_seconds,
        chaos.streams,
    )


def main() -> int:
    """Run as asked; exit code 1 where anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", choices=("within", "apart"), default="within")
    parser.add_argument("--fps", type=int, default=ChaosParams().fps, help="of each stream")
    parser.add_argument("--out", type=Path, default=Path("chaos-out"), metavar="DIR")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    params = ChaosParams(60 * args.minutes, args.seed, args.engines, args.fps)
    with tempfile.TemporaryDirectory() as folder:
        report = run_chaos(params, Path(folder), args.out / "events.jsonl")
        (args.out / "policy.yaml").write_text(POLICY)
    told = "\n".join(f"{n.stream or '-'}: {n.message}" for n in report.notices)
    (args.out / "notices.txt").write_text(f"{told}\n")
    (args.out / "report.txt").write_text(f"{report}\n")
    print(report)
    return int(bool(report.failures))


if __name__ == "__main__":
    raise SystemExit(main())
