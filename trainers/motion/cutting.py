"""Sequences of face crops from videos, by the nodes themselves.

The videos run through capture, detect, track and align of the graph, so that a face jitters in its
crops here as it does when serving: what is left of motion after alignment is what is learned from.
Each living sequence is labelled with its own pulse, as the registered skin of the same frames shows
it (METHODS 8.7).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from ...graph.local import LocalRun
from ...graph.node import StreamSpec
from ...graph.options import RunOptions
from ...graph.packet import Packet
from ...graph.spec import Graph
from ...nodes.appearance import AppearanceConditions
from ...nodes.capture import SOURCE_EVENT
from ...nodes.payloads import Event, FaceCrop
from ...nodes.pulse_window import REGIONS
from ...nodes.skin import SkinMapper
from ...nodes.spectrum import PULSE_BAND, resample
from ..crops import Species
from ..data.sample import Sample
from ..labels.depth import depth_label, plane_label
from ..labels.pulse import pulse_label, still_label
from ..sources import persons_of
from .store import (
    FEWEST,
    Floats,
    SequenceArrays,
    SequenceRow,
    SequenceStoreError,
    Times,
    sequence_folder,
    write_sequence,
)

CADENCE = 12.5
"""Crops a second, unless told otherwise: one every 0.08 s, the shortest interval trained on."""
LONGEST_GAP = 0.8
"""Seconds between two crops that end a sequence; the node's state lives no longer."""
PARAMETERS = "parameters.json"
"""What ``padflow attacks`` writes beside its videos."""

LEAST_PULSE = 5.0
"""Seconds of a living sequence's skin that a pulse label is made of, at least."""
_BRIDGE = 0.25
"""Longest gap in seconds between two samples of skin that is interpolated over."""
_FASTEST = 30.0
"""Samples a second of that skin; what comes faster is averaged."""
_SEEN = 0.95
"""Share of the samples in which a region of skin must be seen to count in the label: one that comes
and goes makes steps."""

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

    person: str
    """Who is before the camera, by the name of the source."""
    face: str
    """Whose face a mask or paper shows, likewise; empty where there is neither."""
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
        cadence: crops a second, at most the video's own rate. The pulse is of every frame's skin
            whatever this is.
        say: takes one line a video.

    Raises:
        SequenceStoreError: a sequence cannot be written.
        GraphError: the nodes fail.
    """
    made = there = 0
    without: list[str] = []
    crops: list[Packet] = []
    skin: list[Packet] = []
    errors: list[str] = []

    def hear(packet: Packet) -> None:
        event: Event = packet.payload
        if event.type == SOURCE_EVENT and event.data.get("state") in ("error", "lost"):
            errors.append(str(event.data.get("reason", "")))

    def keep_colours(packet: Packet) -> None:
        if packet.payload.usable:
            skin.append(packet.carry(np.stack([packet.payload.regions[name] for name in REGIONS])))

    options = RunOptions(workers=0)
    taps: dict[str, Callable[[Packet], None]] = {
        "align.crops": crops.append,
        "align.skin": keep_colours,
        "capture.events": hear,
    }
    with LocalRun(_graph(cadence), "lossless", options, taps) as run:
        for sample in showing(samples, making):
            name = f"{prefix}/{sample.clip or sample.path.name}"
            if sequence_folder(store, name).is_dir():
                there += 1
                continue
            crops.clear()
            skin.clear()
            errors.clear()
            run.add_stream(StreamSpec(name, str(sample.path)))
            run.wait()
            stay = longest_stay(crops)
            if len(stay) < FEWEST:
                without.append(str(sample.path))
                say(f"{sample.path}: {'; '.join(errors) or 'no face for long enough'}")
                continue
            row = _row(sample, name, people, making.get(sample.path), len(stay))
            pulse = _pulse(stay, skin) if sample.label == "live" else still_label()
            write_sequence(store, row, _arrays(stay, sample.species, pulse))
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
                one["person"], one["face"], one["medium"], f"camera-{one['stage']['camera']:02d}"
            )
            for one in json.loads(path.read_text(encoding="utf-8"))
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SequenceStoreError(
            f"{path}: expected the parameters of padflow attacks, found {error}; make them anew"
        ) from error


def showing(samples: Iterable[Sample], making: Mapping[Path, Making]) -> list[Sample]:
    """Samples that say whose face their mask or paper shows, by the name that this person has.

    Args:
        samples: of one folder, each of a person by the name that the folder's list gives.
        making: see :func:`read_making`; samples that it does not know stay as they are.
    """
    known = [(sample, making.get(sample.path)) for sample in samples]
    names = {made.person: sample.person for sample, made in known if made and sample.person}
    return [
        _showing(sample, names.get(made.face, made.face)) if made else sample
        for sample, made in known
    ]


def _showing(sample: Sample, face: str) -> Sample:
    return replace(sample, shows=(face,)) if face and face != sample.person else sample


def living(files: Sequence[Path], people: Mapping[str, str]) -> list[Sample]:
    """Videos of living people as samples; those of one name in several folders are told apart.

    Args:
        files: the videos.
        people: who is in which, as of :func:`..sources.read_people`.
    """
    persons, names = persons_of(files, people), Counter(path.name for path in files)
    return [
        Sample(
            path,
            "footage",
            "live",
            "live",
            person=persons[path],
            clip=path.name if names[path.name] == 1 else path.as_posix().lstrip("/"),
        )
        for path in files
    ]


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


def clip_pulse(times: Times, colours: Floats) -> Floats | None:
    """The pulse label of a living clip; None where its skin is seen too shortly or too seldom.

    Args:
        times: float64 (n,), seconds, rising.
        colours: float32 (n, K, 3), mean R, G, B of regions of skin, NaN where one is not seen. The
            label is of their mean, of those that are seen nearly always.
    """
    if len(times) < 2:
        return None
    steady = np.isfinite(colours).all(axis=2).mean(axis=0) >= _SEEN
    seen = np.isfinite(colours[:, steady]).all(axis=(1, 2))
    if not steady.any() or seen.sum() < 2:
        return None
    mean, at = colours[seen][:, steady].mean(axis=1), times[seen]
    rate = min((len(at) - 1) / float(at[-1] - at[0]), _FASTEST)
    grid = at[0] + np.arange(int((at[-1] - at[0]) * rate) + 1) / rate
    even = resample(at, mean, grid, _BRIDGE)
    first, last = _longest_run(even.known)
    shown = even.values[first:last]
    if len(shown) < LEAST_PULSE * rate or rate <= 2 * PULSE_BAND[1] or not (shown > 0).all():
        return None
    return pulse_label(shown, rate)


def _longest_run(known: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """First place and end of the longest run of true ones."""
    edges = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])


def _pulse(stay: list[Packet], skin: list[Packet]) -> Floats | None:
    """The label of a stay, from the skin of the same track between its first crop and its last."""
    first, last = stay[0], stay[-1]
    of = [
        one
        for one in skin
        if (one.key, one.epoch) == (first.key, first.epoch) and first.time <= one.time <= last.time
    ]
    if not of:
        return None
    return clip_pulse(np.array([one.time for one in of]), np.stack([one.payload for one in of]))


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
    shows = next((people.get(face, face) for face in sample.shows), "")
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


def _arrays(stay: list[Packet], species: str, pulse: Floats | None) -> SequenceArrays:
    crops: list[FaceCrop] = [packet.payload for packet in stay]
    relief = species in ("live", "mask")
    depth = [depth_label(c.mesh, c.image.shape[0]) if relief else plane_label() for c in crops]
    return SequenceArrays(
        np.stack([crop.image for crop in crops]),
        np.stack(depth).astype(np.uint8),
        np.array([packet.time for packet in stay], np.float64),
        np.stack([_mapper().shares(crop.mesh, crop.image.shape[0]) for crop in crops]),
        pulse,
    )


@cache
def _mapper() -> SkinMapper:
    return SkinMapper()
