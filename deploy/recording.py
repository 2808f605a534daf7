"""Runs the graph over labelled recordings and keeps what every cue said."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ..graph.local import LocalRun
from ..graph.node import StreamSpec
from ..graph.packet import Packet
from ..graph.spec import Graph
from ..nodes.capture import SOURCE_EVENT
from ..nodes.evidence import Evidence
from ..nodes.payloads import Event, FaceObservation
from ..nodes.sources import redact
from ..trainers.data import Dataset, Sample
from ..trainers.evidence import (
    evidence_file,
    presentation_of,
    read_presentation,
    write_evidence,
)
from .session import RunRequest, build_graph, event_ports, ports_of_type

AT_ONCE = 8
"""Recordings in one run: opening the networks is paid once for so many, and so many are lost when
the command is interrupted."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it."""

    written: int
    known: int
    """Recordings that had a file already."""
    failed: Mapping[str, str]
    """Why, by recording; also where the file that is there is of another one."""


def record(dataset: Dataset, request: RunRequest, out: Path, *, quiet: bool = False) -> Made:
    """Judge every recording of a dataset that has no evidence file yet.

    Raises:
        GraphError, EngineError: the run failed.
    """
    graph = build_graph(request)
    places = {
        sample: evidence_file(out, presentation_of(sample, dataset.root).item)
        for sample in dataset.samples
    }
    todo, failed = _lacking(dataset, places)
    others = len(failed)
    parts = [todo[start : start + AT_ONCE] for start in range(0, len(todo), AT_ONCE)]
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    for part in track(parts, "judging", console=console, disable=hidden):
        for sample, (packets, error) in zip(part, _judged(graph, request, part), strict=True):
            presentation = presentation_of(sample, dataset.root)
            if packets or not error:
                write_evidence(places[sample], presentation, packets)
            else:
                failed[presentation.item] = error
    written = len(todo) - (len(failed) - others)
    return Made(written, len(places) - len(todo) - others, failed)


def _lacking(
    dataset: Dataset, places: Mapping[Sample, Path]
) -> tuple[list[Sample], dict[str, str]]:
    """Samples without a file yet, and, by recording, why a file that is there is not of it."""
    lacking: list[Sample] = []
    strange: dict[str, str] = {}
    for sample, place in places.items():
        wanted = presentation_of(sample, dataset.root)
        if not place.exists():
            lacking.append(sample)
        elif read_presentation(place) != wanted:
            strange[wanted.item] = (
                f"{place} is of another recording of this name, or was made with other labels; "
                "give another --out, or remove it"
            )
    return lacking, strange


def _judged(
    graph: Graph, request: RunRequest, samples: Sequence[Sample]
) -> list[tuple[list[Packet], str]]:
    """Of each sample its evidence and observations, and why it could not be read."""
    found: list[tuple[list[Packet], list[str]]] = [([], []) for _ in samples]
    lock = threading.Lock()

    def keep(packet: Packet) -> None:
        with lock:
            found[int(packet.stream)][0].append(packet)

    def hear(packet: Packet) -> None:
        event: Event = packet.payload
        if event.type == SOURCE_EVENT and event.data.get("state") in ("error", "lost"):
            with lock:
                found[int(packet.stream)][1].append(redact(str(event.data.get("reason", ""))))

    ports = (*ports_of_type(graph, Evidence), *ports_of_type(graph, FaceObservation))
    taps = dict.fromkeys(ports, keep) | dict.fromkeys(event_ports(graph), hear)
    with LocalRun(graph, "lossless", request.options, taps) as run:
        for number, sample in enumerate(samples):
            run.add_stream(StreamSpec(str(number), str(sample.path)))
        run.wait()
    return [(packets, "; ".join(errors)) for packets, errors in found]
