"""Sequences of face crops from videos, by the nodes themselves.

The videos run through capture, detect, track and align of the graph, so that a face jitters in its
crops here as it does when serving: what is left of motion after alignment is what is learned from.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ...graph.local import LocalRun
from ...graph.node import StreamSpec
from ...graph.options import RunOptions
from ...graph.packet import Packet
from ...graph.spec import Graph
from ...nodes.appearance import AppearanceConditions
from ...nodes.payloads import FaceCrop
from ..crops import Species
from ..data.sample import Sample
from ..labels.depth import depth_label, plane_label
from .store import (
    FEWEST,
    SequenceArrays,
    SequenceRow,
    SequenceStoreError,
    sequence_folder,
    write_sequence,
)

CADENCE = 12.5
"""Crops a second, unless told otherwise: one every 0.08 s, the shortest interval trained on."""
LONGEST_GAP = 0.8
"""Seconds between two crops that end a sequence; the node's state lives no longer."""
PARAMETERS = "parameters.json"
"""What ``padflow attacks`` writes beside its videos."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cut:
    """What came of the videos."""

    made: int
    """Sequences written."""
    there: int
    """Sequences that were there before."""
    without: tuple[str, ...]
    """Videos that show no face for long enough."""


@dataclass(frozen=True, slots=True)
class Making:
    """What ``padflow attacks`` tells of one of its videos beyond its folders."""

    face: str
    """Whose face a mask or paper shows; empty where there is neither."""
    medium: str
    camera: str


def cut_sequences(
    samples: Iterable[Sample],
    store: Path,
    *,
    prefix: str,
    people: Mapping[str, str],
    making: Mapping[Path, Making],
    cadence: float = CADENCE,
    say: Say = print,
) -> Cut:
    """Cut the longest stay of a face in each video; what is there already is left as it is.

    Args:
        samples: labelled videos.
        store: the sequence store's folder.
        prefix: begins the sequences' ids, to tell videos of the same name apart.
        people: who a source is: by the name that the samples give as their person, or else by
            the video's own name without suffix. Others are persons by that name.
        making: see :func:`read_making`.
        cadence: crops a second, at most the video's own rate.
        say: takes one line a video.

    Raises:
        SequenceStoreError: a sequence cannot be written.
        GraphError: the nodes fail.
    """
    made = there = 0
    without: list[str] = []
    crops: list[Packet] = []
    options = RunOptions(workers=0)
    with LocalRun(_graph(cadence), "lossless", options, {"align.crops": crops.append}) as run:
        for sample in samples:
            name = f"{prefix}/{sample.clip or sample.path.name}"
            if sequence_folder(store, name).is_dir():
                there += 1
                continue
            crops.clear()
            run.add_stream(StreamSpec(name, str(sample.path)))
            run.wait()
            stay = longest_stay(crops)
            if len(stay) < FEWEST:
                without.append(str(sample.path))
                say(f"{sample.path}: no face for long enough")
                continue
            row = _row(sample, name, people, making.get(sample.path), len(stay))
            write_sequence(store, row, _arrays(stay, sample.species))
            made += 1
            say(f"{made}: {name}: {len(stay)} crops of {row.person}")
    return Cut(made, there, tuple(without))


def read_making(root: Path) -> dict[Path, Making]:
    """What ``padflow attacks`` tells of the videos in a folder; empty where it made none of them.

    Raises:
        SequenceStoreError: its list cannot be read.
    """
    path = root / PARAMETERS
    if not path.is_file():
        return {}
    try:
        return {
            root / one["item"]: Making(
                one["face"], one["medium"], f"camera-{one['stage']['camera']:02d}"
            )
            for one in json.loads(path.read_text(encoding="utf-8"))
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SequenceStoreError(
            f"{path}: expected the parameters of padflow attacks, found {error}; make them anew"
        ) from error


def living(files: Iterable[Path]) -> list[Sample]:
    """Videos of living people as samples."""
    return [Sample(path, "footage", "live", "live", clip=path.name) for path in files]


def longest_stay(crops: Iterable[Packet]) -> list[Packet]:
    """The longest run of crops of one track that the networks' conditions let through."""
    conditions = AppearanceConditions()
    runs: dict[int | None, list[Packet]] = {}
    best: list[Packet] = []
    for packet in crops:
        if conditions.failures(packet.payload.quality):
            continue
        run = runs.setdefault(packet.key, [])
        if run and (packet.epoch != run[-1].epoch or packet.time - run[-1].time > LONGEST_GAP):
            run = runs[packet.key] = []
        run.append(packet)
        if len(run) > len(best):
            best = run
    return best


def _graph(cadence: float) -> Graph:
    pace = {"cadence_hz": cadence, "settled_hz": cadence}  # as often to the end of the track
    return (
        Graph.build("sequences")
        .add("capture", "capture")
        .add("detect", "detect", inputs={"frames": "capture.frames"})
        .add("track", "track", inputs={"faces": "detect.faces"})
        .add("align", "align", pace, {"tracks": "track.tracks"})
    )


def _row(
    sample: Sample, name: str, people: Mapping[str, str], making: Making | None, frames: int
) -> SequenceRow:
    own = sample.person or sample.path.stem
    person = people.get(own, own)
    face = making.face if making else ""
    shows = people.get(face, face)
    return SequenceRow(
        id=name,
        label=sample.label,
        species=cast(Species, sample.species),
        instrument=sample.instrument,
        person=person,
        shows="" if shows == person else shows,
        medium=making.medium if making else sample.medium,
        camera=making.camera if making else sample.camera,
        source=sample.path.name,
        frames=frames,
    )


def _arrays(stay: list[Packet], species: str) -> SequenceArrays:
    crops: list[FaceCrop] = [packet.payload for packet in stay]
    relief = species in ("live", "mask")
    depth = [depth_label(c.mesh, c.image.shape[0]) if relief else plane_label() for c in crops]
    return SequenceArrays(
        np.stack([crop.image for crop in crops]),
        np.stack(depth).astype(np.uint8),
        np.array([packet.time for packet in stay], np.float64),
    )
