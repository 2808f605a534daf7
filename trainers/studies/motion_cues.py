"""What the cues that need no training say of videos: tables by species and seconds watched.

    python -m padflow.trainers.studies.motion_cues VIDEOS... [--out DIR] [--seconds 40]

Each argument is a folder that ``padflow attacks`` made (its labels.csv tells species), or one of
living people. The largest track of every video goes through detector, tracker, align and the
nodes of ``planarity``, ``surroundings`` and ``life`` as in the graph. Nothing is fitted here.
``--out`` keeps every evidence as a CSV file.
"""

import argparse
import csv
import time as clock
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ...engines.whole_file import whole_file
from ...graph.node import Begin, Node, NodeContext
from ...graph.packet import End, Packet
from ...nodes.align import Align, AlignParams
from ...nodes.detect import Detect, DetectParams
from ...nodes.evidence import Evidence
from ...nodes.frame import Frame
from ...nodes.life import Life, LifeParams
from ...nodes.planarity import Planarity, PlanarityParams
from ...nodes.surroundings import Surroundings, SurroundingsParams
from ...nodes.track import Track, TrackParams

CUES = ("planarity", "surroundings", "life")
SECONDS = (1.0, 2.0, 4.0, float("inf"))
SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm")
LATE = 0.2
"""Seconds after a time up to which an evidence counts to it."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video and what it shows."""

    path: Path
    name: str
    species: str


@dataclass(slots=True)
class Watched:
    """What the cues said of one track."""

    frames: int = 0
    seconds: float = 0.0
    told: dict[str, list[tuple[float, Evidence]]] = field(default_factory=dict)
    """By cue: seconds since the track began, evidence."""


class Watcher:
    """The nodes from detector to cues. Use as a context manager."""

    def __init__(self) -> None:
        self._detect, self._track = Detect(DetectParams()), Track(TrackParams())
        self._align = Align(AlignParams(cadence_hz=0))
        self._cues: dict[str, tuple[str, Node[Any]]] = {
            "planarity": ("pixels", Planarity(PlanarityParams())),
            "surroundings": ("surroundings", Surroundings(SurroundingsParams())),
            "life": ("meshes", Life(LifeParams())),
        }
        self.cost = dict.fromkeys(CUES, 0.0)
        """CPU seconds by cue."""

    def __enter__(self) -> "Watcher":
        context = NodeContext(
            "study", "lossless", connected=frozenset(port for port, _ in self._cues.values())
        )
        for node in self._nodes():
            node.open(context)
        return self

    def __exit__(self, *error: object) -> None:
        for node in self._nodes():
            node.close()

    def _nodes(self) -> list[Node[Any]]:
        return [self._detect, self._track, self._align, *(n for _, n in self._cues.values())]

    def watch(self, path: Path, seconds: float) -> Watched:
        """The track of most frames of a video's first seconds."""
        seen, followed = self._detect.new_state(_begin()), self._track.new_state(_begin())
        tracks: dict[int, tuple[Watched, dict[str, object]]] = {}
        for frame, time in _frames(path, seconds):
            packet = Packet(path.name, time, 0, None, frame)
            faces = self._detect.process("frames", [packet], [seen])["faces"]
            found = self._track.process("faces", faces, [followed]).get("tracks", ())
            for face in found:
                if not isinstance(face.payload, End) and face.key is not None:
                    if face.key not in tracks:
                        tracks[face.key] = Watched(), self._states(face.key, face.time)
                    self._look(face, *tracks[face.key])
        return max((w for w, _ in tracks.values()), key=lambda w: w.frames, default=Watched())

    def _states(self, key: int, time: float) -> dict[str, object]:
        begin = _begin(key, time)
        states = {cue: node.new_state(begin) for cue, (_, node) in self._cues.items()}
        return {"align": self._align.new_state(begin), "began": time, **states}

    def _look(self, face: Packet, watched: Watched, states: dict[str, object]) -> None:
        aligned = self._align.process("tracks", [face], [states["align"]])
        began = states["began"]
        assert isinstance(began, float)
        watched.frames += 1
        watched.seconds = face.time - began
        for cue, (port, node) in self._cues.items():
            start = clock.process_time()
            seen = aligned[port]
            told = node.process(port, seen, [states[cue]] * len(seen))["evidence"]
            self.cost[cue] += clock.process_time() - start
            so_far = watched.told.setdefault(cue, [])
            so_far += [(p.time - began, p.payload) for p in told]


def _begin(key: int | None = None, time: float = 0.0) -> Begin:
    return Begin("study", key, time, 0, "first")


def _frames(path: Path, seconds: float) -> Iterator[tuple[Frame, float]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        first: float | None = None
        for index, picture in enumerate(container.decode(stream)):
            if picture.time is None:
                continue
            first = picture.time if first is None else first
            if picture.time - first > seconds:
                return
            if picture.format.name not in ("yuv420p", "yuvj420p"):
                picture = picture.reformat(format="yuv420p")
            yield Frame(picture, index, media_time=picture.time), picture.time


def videos_in(folder: Path) -> list[Video]:
    """Videos of a folder; without a labels.csv all are of living people.

    Raises:
        FileNotFoundError: there is none.
    """
    species: dict[str, str] = {}
    labels = folder / "labels.csv"
    if labels.is_file():
        with labels.open(newline="") as file:
            species = {row["item"]: row["species"] for row in csv.DictReader(file)}
    paths = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)
    names = [str(p.relative_to(folder)) for p in paths]
    found = [Video(p, n, species.get(n, "live")) for p, n in zip(paths, names, strict=True)]
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected videos ({', '.join(SUFFIXES)}), found none; give their folder"
        )
    return found


def ratio_at(watched: Watched, cue: str, seconds: float) -> float | None:
    """What a cue says up to a time: the newest of life's looks, the mean of the others'."""
    told = watched.told.get(cue, ())
    values = [e.llr for t, e in told if e.llr is not None and t <= seconds + LATE]
    if not values:
        return None
    return values[-1] if cue == "life" else float(np.mean(values))


def area(live: Sequence[float], attack: Sequence[float]) -> float:
    """Area under the ROC curve of two samples; NaN where one is empty."""
    if not live or not attack:
        return float("nan")
    above = np.subtract.outer(np.array(live), np.array(attack))
    return float((above > 0).mean() + (above == 0).mean() / 2)


def tables(seen: Sequence[tuple[Video, Watched]]) -> Iterator[Table]:
    """A table for each cue."""
    for cue in CUES:
        table = Table(title=cue)
        for name in ("species", "seconds", "videos", "with a value", "llr 10 %", "50 %", "90 %",
                     "wrong sign", "AUC live/species"):  # fmt: skip
            table.add_column(name)
        kinds = sorted({v.species for v, _ in seen}, key=lambda s: (s != "live", s))
        for seconds in SECONDS:
            values: dict[str, list[float]] = defaultdict(list)
            counts: dict[str, int] = defaultdict(int)
            for video, watched in seen:
                if np.isinf(seconds) or watched.seconds >= seconds - 0.1:
                    counts[video.species] += 1
                    ratio = ratio_at(watched, cue, seconds)
                    values[video.species] += [] if ratio is None else [ratio]
            for kind in kinds:
                table.add_row(*_row(kind, seconds, counts[kind], values))
            table.add_section()
        yield table


def _row(kind: str, seconds: float, count: int, values: dict[str, list[float]]) -> list[str]:
    ratios = np.array(values[kind])
    when = "end" if np.isinf(seconds) else f"{seconds:.0f}"
    if ratios.size == 0:
        return [kind, when, str(count), "0", *["-"] * 5]
    quantiles = [f"{q:+.2f}" for q in np.quantile(ratios, (0.1, 0.5, 0.9))]
    wrong = (ratios < 0 if kind == "live" else ratios > 0).mean()
    parted = "-" if kind == "live" else f"{area(values['live'], values[kind]):.2f}"
    return [kind, when, str(count), str(ratios.size), *quantiles, f"{wrong:.0%}", parted]


def write_evidence(path: Path, seen: Sequence[tuple[Video, Watched]]) -> None:
    """Every evidence as a row: item, species, cue, seconds, llr, reasons, details."""
    with whole_file(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item", "species", "cue", "seconds", "llr", "reasons", "details"))
        for video, watched in seen:
            for cue, told in watched.told.items():
                for seconds, evidence in told:
                    details = " ".join(f"{k}={v:.4g}" for k, v in evidence.details.items())
                    llr = "" if evidence.llr is None else f"{evidence.llr:.4f}"
                    reasons = " ".join(evidence.reasons)
                    writer.writerow(
                        (video.name, video.species, cue, f"{seconds:.2f}", llr, reasons, details)
                    )


def main() -> None:
    """Command line: watch all videos, print the tables."""
    parser = argparse.ArgumentParser(
        description="What planarity, surroundings and life say of videos."
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    console = Console(width=120)
    videos = [video for folder in options.folders for video in videos_in(folder)]
    with Watcher() as watcher:
        steps = track(videos, "watching", console=console)
        seen = [(video, watcher.watch(video.path, options.seconds)) for video in steps]
    for table in tables(seen):
        console.print(table)
    frames = sum(watched.frames for _, watched in seen)
    cost = ", ".join(f"{cue} {1e3 * s / frames:.3f}" for cue, s in watcher.cost.items())
    console.print(f"CPU-ms a frame over {frames} frames of faces: {cost}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_evidence(options.out / "motion_cues.csv", seen)


if __name__ == "__main__":
    main()
