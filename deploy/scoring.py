"""Scores many items in one run: each is a stream, a few at a time."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..graph.local import LocalRun
from ..graph.metrics import Notice
from ..graph.node import StreamSpec
from ..graph.packet import Packet
from ..graph.spec import Graph
from ..nodes.capture import SOURCE_EVENT
from ..nodes.evidence import Evidence
from ..nodes.payloads import Event, FaceObservation
from ..nodes.scores import ItemScores, ScoreRow, write_scores
from ..nodes.sources import PICTURES, SourceError, parse_source, redact
from .session import RunRequest, build_graph, event_ports, ports_of_type
from .watch import terminated_like_interrupted

AT_ONCE = 2
"""Items in work beyond one for each thread or worker: reading one overlaps computing another."""
POLL_SECONDS = 0.02
ERROR = "ERROR"
"""State of an item that could not be read at all."""
VIDEOS = frozenset(
    (
        *(".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".ts", ".mts", ".mpg", ".mpeg"),
        *(".wmv", ".flv", ".3gp", ".mjpeg", ".mjpg", ".h264", ".hevc"),
    )
)


@dataclass(slots=True)
class _Item:
    """What has been seen of one item so far."""

    path: Path
    scores: ItemScores = field(default_factory=ItemScores)
    frames: int = 0
    faces_at: float = -1.0
    """Capture time of the last frame with a face."""
    frames_with_face: int = 0
    error: str = ""
    unfinished: bool = False
    """The run was interrupted before all of it was judged."""

    def row(self) -> ScoreRow:
        """The item's row; state ERROR where not one frame could be read."""
        if self.error and not self.frames:
            return ScoreRow(str(self.path), 0, 0, None, ERROR, {})
        return self.scores.row(str(self.path), self.frames, self.frames_with_face)


def items_of(paths: Iterable[Path]) -> list[Path]:
    """The items that paths stand for, in order.

    The pictures of a folder are one item (ordered frames); its videos are items too, and so is
    what its folders hold. A path that is nothing of these stays an item and fails with its reason
    when scored.
    """
    items: list[Path] = []
    for path in paths:
        items.extend(_inside(path, set()) or [path] if path.is_dir() else [path])
    return items


def _inside(folder: Path, known: set[Path]) -> list[Path]:
    if folder.resolve() in known:  # a link back
        return []
    known.add(folder.resolve())
    children = sorted(folder.iterdir())
    frames = any(child.suffix.lower() in PICTURES and child.is_file() for child in children)
    found = [folder] if frames else []
    for child in children:
        if child.is_dir():
            found.extend(_inside(child, known))
        elif child.suffix.lower() in VIDEOS:
            found.append(child)
    return found


def score_items(items: Sequence[Path], request: RunRequest, out: Path, *, quiet: bool) -> int:
    """Score items and write the CSV; returns how many could not be read at all.

    Raises:
        ScoresFileError: the CSV cannot be written.
        GraphError, EngineError: the run failed.
    """
    console = Console(stderr=True)
    graph = build_graph(request)
    seen = [_Item(path) for path in items]
    try:
        _run(graph, request, seen, console, quiet)
    finally:  # an interrupted run keeps the rows that are done
        done = [item for item in seen if (item.frames or item.error) and not item.unfinished]
        if done:  # else what stands there from before is worth more than no row at all
            write_scores(out, [item.row() for item in done], _cues(graph))
    for item in seen:
        if item.error:
            where = "" if item.frames else "padflow score: "
            console.print(Text(f"{where}{item.error}"), soft_wrap=True)
    if not quiet:
        told = f"{len(seen)} items, {sum(1 for i in seen if i.error)} with errors: {out}"
        console.print(Text(told), soft_wrap=True)
    return sum(1 for item in seen if item.error and not item.frames)


def _cues(graph: Graph) -> list[str]:
    """Cues whose columns stand in the CSV even where no item has a value of them.

    A node that gives evidence names its cue as ``cue`` of its class; the cue of one that does not
    has a column only where an item has a value.
    """
    gives = {port.partition(".")[0] for port in ports_of_type(graph, Evidence)}
    cues = {getattr(node.node_class, "cue", "") for node in graph.nodes if node.name in gives}
    return sorted(cues - {""})


def _run(
    graph: Graph, request: RunRequest, seen: list[_Item], console: Console, quiet: bool
) -> None:
    by_stream = {str(number): item for number, item in enumerate(seen)}
    lock = threading.Lock()

    def take_event(packet: Packet) -> None:
        with lock:
            _take(by_stream[packet.stream], packet)

    def take_face(packet: Packet) -> None:
        item = by_stream[packet.stream]
        with lock:
            if packet.time > item.faces_at:
                item.faces_at = packet.time
                item.frames_with_face += 1

    def hear(notice: Notice) -> None:
        item = by_stream.get(notice.stream)
        if notice.fault and item is not None:
            with lock:
                item.error = item.error or redact(f"{item.path}: {notice.node} {notice.message}")

    taps = dict.fromkeys(event_ports(graph), take_event)
    taps |= dict.fromkeys(ports_of_type(graph, FaceObservation), take_face)
    most = AT_ONCE + max(request.options.threads, request.options.workers or 0)
    bar = Progress(
        TextColumn("scoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    run = LocalRun(graph, "lossless", request.options, taps, hear)
    try:
        with terminated_like_interrupted(), bar, run:
            task = bar.add_task("scoring", total=len(seen))
            for number, item in enumerate(seen):
                try:
                    parse_source(str(item.path))
                except SourceError as error:
                    item.error = redact(str(error))
                    bar.advance(task)
                    continue
                _wait_below(run, most)
                run.add_stream(StreamSpec(str(number), str(item.path)))
                bar.advance(task)
            run.wait()
    finally:
        for name, stream in run.streams().items():
            by_stream[name].unfinished = stream.reason == "stopped"


def _wait_below(run: LocalRun, most: int) -> None:
    while sum(s.state == "running" for s in run.streams().values()) >= most:
        run.wait(POLL_SECONDS)


def _take(item: _Item, packet: Packet) -> None:
    event: Event = packet.payload
    item.scores.take(packet)
    if event.type != SOURCE_EVENT:
        return
    item.frames = max(item.frames, int(event.data.get("frames", 0)))
    if event.data.get("state") in ("error", "lost"):
        item.error = redact(f"{item.path}: {event.data.get('reason', '')}")
