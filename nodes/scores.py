"""One row of scores per item, from the item's verdict events: what ``padflow score`` writes."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..graph.packet import Packet
from .decide import VERDICT, State
from .payloads import Event
from .sources import readable

COLUMNS = ("item", "frames", "frames_with_face", "p_live", "state")


class ScoresFileError(OSError):
    """The score file cannot be written; the text names it and says what to do."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The scores of one item (picture, video or folder of frames)."""

    item: str
    frames: int
    """Frames decoded."""
    frames_with_face: int
    """Frames in which at least one face was tracked."""
    p_live: float | None
    """0 to 1; None only where no cue of any face of the item had a value."""
    state: str
    """LIVE, SPOOF or UNDECIDED."""
    llr: Mapping[str, float]
    """Contribution in nats of every cue that had a value."""


@dataclass(slots=True)
class TrackScore:
    """What the verdicts of one track came to."""

    first: float
    """Capture time of the first verdict."""
    last: float
    state: str = State.UNDECIDED.value
    p_live: float | None = None
    llr: dict[str, float] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The track of the greatest rank speaks for the item."""
        return self.state == State.SPOOF.value, self.p_live is not None, self.last - self.first


@dataclass(slots=True)
class ItemScores:
    """Gathers the verdicts of one item.

    The track that speaks for the item: one that ended as SPOOF before all others (an attack
    beside a living person is an attack), then one with evidence before one without, then the one
    watched longest. State is its final one; ``p_live`` and the ratios are the newest it had, since
    evidence may have gone stale before the item's end.
    """

    tracks: dict[tuple[int, int | None], TrackScore] = field(default_factory=dict)

    def take(self, packet: Packet) -> None:
        """Note a packet if it carries a verdict."""
        event: Event = packet.payload
        if event.type != VERDICT:
            return
        key = (packet.epoch, packet.key)
        track = self.tracks.setdefault(key, TrackScore(packet.time, packet.time))
        track.last = packet.time
        track.state = event.data["state"]
        if event.data["p_live"] is not None:
            track.p_live = event.data["p_live"]
        for evidence in event.data["evidence"]:
            if evidence["llr"] is not None:
                track.llr[evidence["cue"]] = evidence["llr"]

    def row(self, item: str, frames: int, frames_with_face: int) -> ScoreRow:
        """The item's row."""
        if not self.tracks:
            return ScoreRow(item, frames, frames_with_face, None, State.UNDECIDED.value, {})
        # Equal ranks: the first track, whatever order the dictionary has.
        ranked = sorted(self.tracks.items(), key=lambda entry: (entry[1].rank, _before(entry[0])))
        speaks = ranked[-1][1]
        return ScoreRow(
            item, frames, frames_with_face, speaks.p_live, speaks.state, dict(speaks.llr)
        )


def score_item(item: str, events: Iterable[Packet], frames: int, frames_with_face: int) -> ScoreRow:
    """The row of an item from all of its events."""
    scores = ItemScores()
    for packet in events:
        scores.take(packet)
    return scores.row(item, frames, frames_with_face)


def write_scores(path: Path, rows: Sequence[ScoreRow], cues: Iterable[str] = ()) -> None:
    """Write rows as CSV, aside first and then renamed: the file is whole or untouched.

    Columns: item, frames, frames_with_face, p_live, state, then ``llr_<cue>`` for every cue of
    the rows and of ``cues``, sorted. What has no value is empty.

    Raises:
        ScoresFileError: the file cannot be written.
    """
    names = sorted({*cues, *(cue for row in rows for cue in row.llr)})
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *(f"llr_{cue}" for cue in names)])
            writer.writerows(_cells(row, names) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise ScoresFileError(
            f"scores: cannot write {path}: {error.strerror or error}; free or repair it, or "
            "choose another file with --out"
        ) from error


def _before(key: tuple[int, int | None]) -> tuple[int, int]:
    epoch, track = key
    return -epoch, -(track or 0)


def _cells(row: ScoreRow, cues: Sequence[str]) -> list[str]:
    return [
        readable(row.item),
        str(row.frames),
        str(row.frames_with_face),
        "" if row.p_live is None else f"{row.p_live:.6f}",
        row.state,
        *(f"{row.llr[cue]:.4f}" if cue in row.llr else "" for cue in cues),
    ]
