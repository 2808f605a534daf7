"""The demonstration: a rendered door camera, what padflow says of it, and the truth beside that.

Everything shown is measured on the feed by the same graph as any other source's; the truth is
only read afterwards, for the report.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..engines.whole_file import write_whole
from ..graph.options import RunOptions
from ..nodes.decide import VERDICT
from ..trainers.attacks.feed import render_feed
from ..trainers.attacks.truth import FeedTruth, Interval, load_truth, truth_path
from .demo_report import report_page
from .exits import Exit
from .session import RunRequest
from .watch import watch

FEED, EVENTS, VIDEO = "feed.mp4", "events.jsonl", "annotated.mp4"
REPORT, SHEET = "report.html", "contact_sheet.png"
TILE = (640, 360)


@dataclass(frozen=True, slots=True)
class Visit:
    """What came to the door and what padflow said of it."""

    truth: Interval
    start: float
    """Seconds of media time from which the face is wholly in the picture."""
    end: float
    tracks: tuple[int, ...]
    state: str
    """Of the last verdict in which the face was still there; empty where there was none."""
    p_live: float | None
    llr: float | None
    """Sum in nats."""
    reasons: tuple[str, ...]
    cues: tuple[tuple[str, float | None, str], ...]
    """Name, contribution to the sum in nats before the policy's bounds, and why there is none."""


def make_demo(out: Path, *, seed: int, size: tuple[int, int], policy: Path | None) -> Exit:
    """Render a feed (or take the one that is there), run padflow on it and write the report."""
    console = Console(stderr=True)
    out.mkdir(parents=True, exist_ok=True)
    feed = out / FEED
    truth = _feed(feed, seed, size, console)
    request = RunRequest(
        sources=(str(feed),),
        policy=policy,
        events=str(out / EVENTS),
        video=out / VIDEO,
        private=True,  # nobody's health: the people are rendered
        options=RunOptions(workers=0),
    )
    console.print("running padflow on it")
    code = watch(request)
    if code != Exit.DONE:
        return code
    events = [json.loads(line) for line in (out / EVENTS).read_text("utf-8").splitlines()]
    visits = [visit_of(interval, truth, events) for interval in truth.intervals]
    sheet = _contact_sheet(out / VIDEO, visits)
    write_whole(out / SHEET, sheet, mode=0o644)
    page = report_page(truth, visits, events, SHEET, VIDEO)
    write_whole(out / REPORT, page, mode=0o644)
    Console(file=sys.stdout).print(_table(visits))
    for name, what in (
        (REPORT, "the report"),
        (SHEET, "what the camera saw, annotated"),
        (VIDEO, "the annotated video"),
        (EVENTS, "every event, as CloudEvents"),
        (FEED, "the feed itself"),
    ):
        print(f"{out / name}: {what}")
    return Exit.DONE


def _feed(feed: Path, seed: int, size: tuple[int, int], console: Console) -> FeedTruth:
    if feed.exists() and truth_path(feed).exists():
        truth = load_truth(feed)
        if (truth.seed, truth.width, truth.height) == (seed, *size):
            console.print(f"taking the feed that is there: {feed}")
            return truth
    bar = Progress(
        TextColumn("rendering the door camera"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
        console=console,
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # small pictures: OpenCV's pool doubles the CPU time for nothing
    try:
        with bar:
            task = bar.add_task("rendering", total=None)
            return render_feed(
                feed,
                seed=seed,
                size=size,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    finally:
        cv2.setNumThreads(threads)


def visit_of(interval: Interval, truth: FeedTruth, events: Sequence[dict[str, Any]]) -> Visit:
    """What the events say of one visit: verdicts of its time, the last one with the face there."""
    first, last = interval.seen
    start, end = first / truth.fps, last / truth.fps
    verdicts = [
        event["data"]
        for event in events
        if event["type"] == VERDICT
        and event["data"]["media_time"] is not None
        and start <= event["data"]["media_time"] <= end
    ]
    final = next((v for v in reversed(verdicts) if not v["final"]), None) or (
        verdicts[-1] if verdicts else None
    )
    return Visit(
        truth=interval,
        start=start,
        end=end,
        tracks=tuple(sorted({v["track"] for v in verdicts})),
        state=final["state"] if final else "",
        p_live=final["p_live"] if final else None,
        llr=final["llr"] if final else None,
        reasons=tuple(final["reasons"]) if final else (),
        cues=tuple(
            (evidence["cue"], evidence["llr"], ", ".join(evidence["reasons"]))
            for evidence in (final["evidence"] if final else ())
        ),
    )


def _table(visits: Sequence[Visit]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("at the door", "seconds", "padflow says", "p(live)", "nats", "of which", "why"):
        table.add_column(column, overflow="fold")
    for visit in visits:
        cues = [f"{cue}\u00a0{llr:+.2f}" for cue, llr, _ in visit.cues if llr is not None]
        table.add_row(
            visit.truth.species,
            f"{visit.start:.0f}-{visit.end:.0f}",
            visit.state or "no face seen",
            "" if visit.p_live is None else f"{visit.p_live:.2f}",
            "" if visit.llr is None else f"{visit.llr:+.2f}",
            ", ".join(cues) or "none has a value",
            ", ".join(visit.reasons).replace("_", " "),
        )
    return table


def _contact_sheet(video: Path, visits: Sequence[Visit]) -> bytes:
    """PNG of the annotated video near the end of each visit."""
    wanted = [visit.start + 0.8 * (visit.end - visit.start) for visit in visits]
    tiles: list[np.ndarray] = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            if len(tiles) == len(wanted):
                break
            if frame.time is not None and frame.time >= wanted[len(tiles)]:
                picture = frame.to_ndarray(format="bgr24")
                tiles.append(cv2.resize(picture, TILE, interpolation=cv2.INTER_AREA))
    blank = np.full((TILE[1], TILE[0], 3), 32, np.uint8)
    tiles += [blank] * (len(visits) - len(tiles) + len(visits) % 2)
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    done, png = cv2.imencode(".png", np.vstack(rows))
    assert done, "OpenCV encodes any uint8 picture as PNG"
    return png.tobytes()
