"""What a rendered feed shows, for those who check verdicts against it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .acts import Species

Rectangle = tuple[float, float, float, float]
"""x, y, w, h in pixels."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One visit to the door."""

    species: Species
    portrayed: str
    """Whose face is seen."""
    bearer: str
    """Who is there in truth."""
    first_frame: int
    """Frame in which the visit begins, still out of sight."""
    boxes: tuple[Rectangle | None, ...]
    """Box around the seen face's mesh in each frame from the first; None where any part of it
    is out of the picture."""
    eye_distance: float
    """Pixels between the eyes' centres, median over the frames with a box."""
    heart_rate: float | None
    """Mean beats per minute of the living skin seen, over the frames with a box; None: none."""
    replayed_heart_rate: float | None
    """The same of a pulse that a recording shows."""

    @property
    def seen(self) -> tuple[int, int]:
        """First frame with a box, and the one after the last; equal where there is none."""
        with_box = [i for i, box in enumerate(self.boxes) if box is not None]
        if not with_box:
            return self.first_frame, self.first_frame
        return self.first_frame + with_box[0], self.first_frame + with_box[-1] + 1


@dataclass(frozen=True, slots=True)
class FeedTruth:
    """A rendered feed."""

    seed: int
    width: int
    height: int
    fps: int
    frames: int
    intervals: tuple[Interval, ...]
    parameters: dict[str, Any]
    """Everything that the feed was made with, by stage."""

    def at(self, time: float) -> Interval | None:
        """The visit whose face is wholly seen at a media time in seconds; None: nobody's."""
        index = int(time * self.fps + 1e-6)
        for interval in self.intervals:
            start, end = interval.seen
            if start <= index < end:
                return interval
        return None


def truth_path(feed: Path) -> Path:
    """Where the truth of a feed stands: beside it, as ``<name>.truth.json``."""
    return feed.with_suffix(".truth.json")


def save_truth(truth: FeedTruth, feed: Path) -> Path:
    """Write the truth beside its feed; returns the file."""
    path = truth_path(feed)
    content = asdict(truth)
    for interval, made in zip(content["intervals"], truth.intervals, strict=True):
        start, end = made.seen
        interval["seen_seconds"] = [start / truth.fps, end / truth.fps]
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def load_truth(feed: Path) -> FeedTruth:
    """Read the truth of a feed, or of its truth file.

    Raises:
        FileNotFoundError: the feed has no truth beside it.
    """
    path = feed if feed.name.endswith(".truth.json") else truth_path(feed)
    content = json.loads(path.read_text(encoding="utf-8"))
    intervals = []
    for item in content.pop("intervals"):
        del item["seen_seconds"]
        item["boxes"] = tuple(None if box is None else tuple(box) for box in item["boxes"])
        intervals.append(Interval(**item))
    return FeedTruth(intervals=tuple(intervals), **content)
