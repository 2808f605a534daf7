"""Runs the graph over labelled recordings and keeps what every cue said."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track

from ..engines.engine import find_network
from ..engines.errors import ModelMissing
from ..graph.local import LocalRun
from ..graph.node import StreamSpec
from ..graph.packet import Packet
from ..graph.spec import Graph, NodeSpec
from ..nodes.capture import SOURCE_EVENT
from ..nodes.evidence import Evidence
from ..nodes.payloads import Event, FaceObservation
from ..nodes.sources import redact
from ..trainers.data import Dataset, Sample
from ..trainers.evidence import (
    EvidenceError,
    evidence_file,
    presentation_of,
    read_head,
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
        EvidenceError: a file that is there was made with other nodes, settings or networks.
        GraphError, EngineError: the run failed.
    """
    graph = build_graph(request)
    made_by = makers(graph)
    places = {
        sample: evidence_file(out, presentation_of(sample, dataset.root).item)
        for sample in dataset.samples
    }
    todo, failed = _lacking(dataset, places, made_by)
    others = len(failed)
    parts = [todo[start : start + AT_ONCE] for start in range(0, len(todo), AT_ONCE)]
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    for part in track(parts, "judging", console=console, disable=hidden):
        for sample, (packets, error) in zip(part, _judged(graph, request, part), strict=True):
            presentation = presentation_of(sample, dataset.root)
            if packets or not error:
                write_evidence(places[sample], presentation, packets, made_by)
            else:
                failed[presentation.item] = error
    written = len(todo) - (len(failed) - others)
    return Made(written, len(places) - len(todo) - others, failed)


def makers(graph: Graph) -> dict[str, str]:
    """A digest of each node that has a part in evidence and observations: settings and network.

    What comes after them (fusion, policy, sinks) may change without a recording being judged anew.
    """
    nodes = {node.name: node for node in graph.nodes}
    found: dict[str, str] = {}
    waiting = [port.partition(".")[0] for port in _kept_ports(graph)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _digest(nodes[name])
            ports = chain.from_iterable(nodes[name].inputs.values())
            waiting += [port.partition(".")[0] for port in ports]
    return dict(sorted(found.items()))


def _kept_ports(graph: Graph) -> tuple[str, ...]:
    return (*ports_of_type(graph, Evidence), *ports_of_type(graph, FaceObservation))


def _digest(node: NodeSpec) -> str:
    """Of all that its results depend on, defaults too: these may change with padflow."""
    params = node.parsed_params
    settings = TypeAdapter(type(params)).dump_python(params, mode="json")
    for name in ("engine", "threads"):  # its network counts, wherever it lies; threads do not
        settings.pop(name, None)
    inputs = {port: list(producers) for port, producers in node.inputs.items()}
    told = [node.type_name, settings, inputs, _networks(node)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _networks(node: NodeSpec) -> list[str]:
    """SHA-256 of the networks that a node runs; empty where one is not on this machine."""
    params = node.parsed_params
    of_class = getattr(node.node_class, "engine_names", None)
    own = getattr(params, "engine", "") or getattr(node.node_class, "own", "")
    found = []
    for name in of_class(params) if of_class else filter(None, [own]):
        try:
            found.append(find_network(name, getattr(params, "precision", "auto")).sha256)
        except ModelMissing:
            found.append("")
    return found


def _lacking(
    dataset: Dataset, places: Mapping[Sample, Path], made_by: Mapping[str, str]
) -> tuple[list[Sample], dict[str, str]]:
    """Samples without a file yet, and, by recording, why a file that is there is not of it.

    Raises:
        EvidenceError: a file was made with other nodes.
    """
    lacking: list[Sample] = []
    strange: dict[str, str] = {}
    for sample, place in places.items():
        wanted = presentation_of(sample, dataset.root)
        if not place.exists():
            lacking.append(sample)
            continue
        there, made_before = read_head(place)
        if there != wanted:
            strange[wanted.item] = (
                f"{place} is of another recording of this name, or was made with other labels; "
                "give another --out, or remove it"
            )
        elif made_before and made_before != made_by:
            raise EvidenceError(
                f"{place}: expected evidence made as is asked now, found some made "
                f"{_other_nodes(made_before, made_by)}; give another --out, or the graph, settings "
                "and networks that it was made with"
            )
    return lacking, strange


def _other_nodes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """How what a file was made with differs from what is asked for."""
    changed = [name for name in before if name in now and before[name] != now[name]]
    told = {
        "with other settings or networks of": changed,
        "without": [name for name in now if name not in before],
        "with the further": [name for name in before if name not in now],
    }
    return ", ".join(f"{how} {', '.join(who)}" for how, who in told.items() if who)


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

    taps = dict.fromkeys(_kept_ports(graph), keep) | dict.fromkeys(event_ports(graph), hear)
    with LocalRun(graph, "lossless", request.options, taps) as run:
        for number, sample in enumerate(samples):
            run.add_stream(StreamSpec(str(number), str(sample.path)))
        run.wait()
    return [(packets, "; ".join(errors)) for packets, errors in found]
