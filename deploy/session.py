"""From a list of sources to a running graph and its events: what ``padflow.run`` stands on."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..graph.errors import GraphDefinitionError
from ..graph.local import LocalRun, RunOptions
from ..graph.node import Mode, StreamSpec
from ..graph.packet import Packet
from ..graph.spec import Graph
from ..nodes.frame import Frame
from ..nodes.payloads import Event, FaceObservation, PulseTrace
from .exits import UsageError

Override = tuple[str, str, Any]
"""Node, parameter, value."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Everything that says what to run, on what, and where its results go."""

    sources: tuple[str, ...]
    graph: str = "default"
    """Name of a graph that ships with padflow, or a YAML file."""
    mode: Mode | None = None
    """None: ``lossless`` where every source is a file, else ``realtime``."""
    policy: Path | None = None
    events: str | None = None
    """Path of the event file, ``-`` for standard output."""
    video: Path | None = None
    private: bool = False
    """Write health and biometric details too."""
    overrides: tuple[Override, ...] = ()
    options: RunOptions = field(default_factory=RunOptions)


def build_graph(request: RunRequest) -> Graph:
    """The graph of a request: the named one, its overrides, and the sinks asked for."""
    graph = _apply_overrides(load_graph(request.graph), request)
    if request.events is not None:
        params = {"path": request.events, "private": request.private}
        graph = graph.add("events_file", "events", params, {"events": event_ports(graph)})
    if request.video is not None:
        graph = _add_video(graph, request.video, request.private)
    graph.validate()
    return graph


def load_graph(name_or_file: str) -> Graph:
    """A graph that ships with padflow by its name, or one from a YAML file."""
    shipped = resources.files(__package__) / "graphs"
    names = sorted(
        item.name.removesuffix(".yaml") for item in shipped.iterdir() if item.name.endswith(".yaml")
    )
    if name_or_file in names:
        return Graph.from_yaml((shipped / f"{name_or_file}.yaml").read_text(encoding="utf-8"))
    path = Path(name_or_file)
    if not path.is_file():
        raise GraphDefinitionError(
            f"graph '{name_or_file}': expected one of {', '.join(names)} or a YAML file, "
            "found neither; check the name or path"
        )
    return Graph.from_yaml(path)


def ports_of_type(graph: Graph, payload: type) -> tuple[str, ...]:
    """Every output port (``node.port``) of a graph whose payloads are of a type."""
    return tuple(
        f"{node.name}.{port}"
        for node in graph.nodes
        for port, declared in node.contract().outputs.items()
        if issubclass(declared.type, payload)
    )


def event_ports(graph: Graph) -> tuple[str, ...]:
    """Every output port that carries events."""
    return ports_of_type(graph, Event)


def _add_video(graph: Graph, path: Path, private: bool) -> Graph:
    inputs = {
        "frames": ports_of_type(graph, Frame),
        "observations": ports_of_type(graph, FaceObservation),
        "events": event_ports(graph),
        "trace": ports_of_type(graph, PulseTrace),
    }
    joined = {port: producers for port, producers in inputs.items() if producers}
    return graph.add("video_file", "video", {"path": str(path), "private": private}, joined)


def _apply_overrides(graph: Graph, request: RunRequest) -> Graph:
    overrides = list(request.overrides)
    if request.policy is not None:
        overrides += [
            (node.name, "policy", str(request.policy))
            for node in graph.nodes
            if node.type_name in ("fuse", "decide")
        ]
    for node, param, value in overrides:
        graph = graph.with_params(node, {param: value})
    return graph


def parse_override(text: str) -> Override:
    """``NODE.PARAM=VALUE`` with VALUE in YAML, e.g. ``detect.cadence_hz=10``."""
    target, equals, value = text.partition("=")
    node, dot, param = target.partition(".")
    if not (equals and dot and node and param):
        raise UsageError(
            f"--set {text}: expected NODE.PARAM=VALUE, e.g. detect.cadence_hz=10; write it so"
        )
    return node, param, yaml.safe_load(value)
