"""What the cues said of labelled recordings, kept on disk: what fusion is learned and judged on.

One JSON-lines file a recording. Its first line tells who or what was presented and with which
engines it was judged; then come, by track and in the order of capture time, every observation of
the face and every cue's evidence, raw as its node gave it, before any fusion. Thereby fusion,
policy and the choice of cues can be changed and measured without running a network again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..engines.errors import EngineError
from ..engines.whole_file import write_whole
from ..graph.packet import Packet
from ..nodes.evidence import Evidence
from ..nodes.payloads import Box, FaceObservation, Quality
from .data.sample import Sample

SUFFIX = ".evidence.jsonl"
FORMAT = 1
_QUALITY = tuple(field.name for field in fields(Quality))
_NO_LANDMARKS = np.full((5, 2), np.nan, np.float32)


class EvidenceError(EngineError):
    """An evidence file is not one: says where, what was expected and what was found."""

    wrong_use = True


class Presentation(NamedTuple):
    """Who or what was before the camera."""

    item: str
    """Path of the recording, relative to its dataset."""
    dataset: str
    live: bool
    species: str
    instrument: str
    person: str
    camera: str
    medium: str
    onset: float | None = None
    """Capture time at which an attack comes before a living face; None: one thing throughout."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording as the cues saw it."""

    presentation: Presentation
    engines: Mapping[str, str]
    """SHA-256 by name of the networks that judged it."""
    tracks: Mapping[int, tuple[Packet, ...]]
    """By track, in time order: packets of Evidence and of FaceObservation (evidence first)."""

    @property
    def main(self) -> tuple[Packet, ...]:
        """The track that was seen in most frames; empty where no face was."""
        return max(self.tracks.values(), key=_observed, default=())


def presentation_of(sample: Sample, root: Path) -> Presentation:
    """What a dataset's sample presents."""
    return Presentation(
        item=sample.path.relative_to(root).as_posix(),
        dataset=sample.dataset,
        live=sample.label == "live",
        species=sample.species,
        instrument=sample.instrument,
        person=sample.person,
        camera=sample.camera,
        medium=sample.medium,
        onset=sample.onset,
    )


def evidence_file(folder: Path, item: str) -> Path:
    """Where a recording's evidence stands in a folder."""
    return folder / f"{item.replace('/', '--')}{SUFFIX}"


def write_evidence(
    path: Path,
    presentation: Presentation,
    packets: Iterable[Packet],
    made_by: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write what the cues said of one recording; the file is whole or not there.

    Args:
        path: as :func:`evidence_file` names it.
        presentation: what was before the camera.
        packets: of Evidence and of FaceObservation, of any track, in any order.
        made_by: for each node that had a part in it, what tells it from the same node with other
            settings or another network.
    """
    kept = sorted(packets, key=_order)
    engines = {
        p.payload.engine: p.payload.engine_sha256
        for p in kept
        if isinstance(p.payload, Evidence) and p.payload.engine
    }
    head = {
        "format": FORMAT,
        "presentation": presentation._asdict(),
        "engines": engines,
        "made_by": dict(made_by),
    }
    lines = [json.dumps(head), *(json.dumps(_line(packet)) for packet in kept)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "\n".join(lines) + "\n")


def read_evidence(path: Path) -> Recorded:
    """Read one recording's file.

    Raises:
        EvidenceError: it is not one, or of a format that this version does not know.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        head, rows = lines[0], lines[1:]
        presentation = _presentation(head, path)
        tracks: dict[int, list[Packet]] = {}
        for row in rows:
            tracks.setdefault(int(row["track"]), []).append(_packet(row))
        kept = {track: tuple(packets) for track, packets in tracks.items()}
        return Recorded(presentation, dict(head["engines"]), kept)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _unread(path, error) from error


def read_head(path: Path) -> tuple[Presentation, Mapping[str, str]]:
    """Who or what a recording's file says was presented, and which nodes made it.

    The second is empty in files from before it was written.

    Raises:
        EvidenceError: as of :func:`read_evidence`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            head = json.loads(file.readline())
        return _presentation(head, path), dict(head.get("made_by", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unread(path, error) from error


def _presentation(head: Mapping[str, Any], path: Path) -> Presentation:
    if head["format"] != FORMAT:
        raise EvidenceError(
            f"evidence {path}: expected format {FORMAT}, found {head['format']}; make it anew "
            "with padflow evidence"
        )
    return Presentation(**head["presentation"])


def _unread(path: Path, error: Exception) -> EvidenceError:
    return EvidenceError(
        f"evidence {path}: expected a file that padflow evidence wrote, found "
        f"{type(error).__name__}: {error}; make it anew"
    )


def read_folder(*folders: Path) -> list[Recorded]:
    """All recordings of some folders, by name; of a folder that is given twice, each once.

    Raises:
        EvidenceError: a file is not one, or there is none.
    """
    each = dict.fromkeys(folder.resolve() for folder in folders)  # a second time is no more people
    paths = [path for folder in each for path in sorted(folder.glob(f"*{SUFFIX}"))]
    if not paths:
        raise EvidenceError(
            f"evidence: expected files *{SUFFIX} in {', '.join(map(str, folders))}, found none; "
            "make them with padflow evidence"
        )
    return [read_evidence(path) for path in paths]


def _observed(packets: Iterable[Packet]) -> int:
    return sum(isinstance(packet.payload, FaceObservation) for packet in packets)


def _order(packet: Packet) -> tuple[float, int, bool]:
    return packet.time, packet.key or 0, isinstance(packet.payload, FaceObservation)


def _line(packet: Packet) -> dict[str, Any]:
    at = {"track": packet.key, "t": round(packet.time, 6), "epoch": packet.epoch}
    told = packet.payload
    if isinstance(told, FaceObservation):
        quality = [round(float(value), 4) for value in asdict(told.quality).values()]
        box = [round(float(side), 2) for side in told.box]
        size = list(told.frame_size)
        return at | {"box": box, "size": size, "quality": quality, "usable": told.usable}
    details = {name: float(f"{value:.6g}") for name, value in told.details.items()}
    return at | {
        "cue": told.cue,
        "window": [round(float(time), 6) for time in told.window],
        "llr": None if told.llr is None else round(float(told.llr), 6),
        "reasons": list(told.reasons),
        "details": details,
    }


def _packet(row: Mapping[str, Any]) -> Packet:
    payload: Evidence | FaceObservation
    if "cue" in row:
        start, end = row["window"]
        payload = Evidence(
            row["cue"], (start, end), row["llr"], tuple(row["reasons"]), details=row["details"]
        )
    else:
        # Files from before the newest fields have fewer; these have defaults.
        quality = Quality(**dict(zip(_QUALITY, row["quality"], strict=False)))
        size = (int(row["size"][0]), int(row["size"][1]))
        box = Box(*row["box"])
        payload = FaceObservation(box, size, _NO_LANDMARKS, quality, row["usable"], None, None)
    return Packet("recording", float(row["t"]), int(row["epoch"]), int(row["track"]), payload)


def each_track(recorded: Iterable[Recorded]) -> Iterator[tuple[Presentation, tuple[Packet, ...]]]:
    """The main track of every recording that has one."""
    for one in recorded:
        if one.main:
            yield one.presentation, one.main
