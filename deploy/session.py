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

from ..engines.store import listing
from ..graph.errors import GraphDefinitionError
from ..graph.local import LocalRun
from ..graph.metrics import Notice
from ..graph.node import Mode, StreamSpec
from ..graph.options import RunOptions
from ..graph.packet import Packet
from ..graph.plain_yaml import read_yaml
from ..graph.ray_options import RayOptions
from ..graph.run import GraphRun, Tap
from ..graph.spec import Graph
from ..nodes.cloudevents import Envelopes
from ..nodes.frame import Frame
from ..nodes.payloads import DepthMap, Event, FaceObservation, PulseTrace
from ..nodes.policy import resolve_policy
from ..nodes.sources import name_source, parse_source
from .exits import UsageError
from .open_files import demand_room_for_files

QUEUED_EVENTS = 1000
"""Events that wait for the program before the run waits for it too (lossless)."""
POLL_SECONDS = 0.2
EVENTS_SINK = "events_file"
"""Name of the node that writes the events that a request asks for."""
VIDEO_SINK = "video_file"
"""Name of the node that writes the annotated video that a request asks for."""
_SINKS = (EVENTS_SINK, VIDEO_SINK)

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
    ray: RayOptions | None = None
    """Run on Ray, spread so; None runs on this machine without it."""


def build_graph(request: RunRequest) -> Graph:
    """The graph of a request: the named one, its overrides, and the sinks asked for."""
    graph = load_graph(request.graph)
    of_sinks = [override for override in request.overrides if override[0] in _SINKS]
    others = [override for override in request.overrides if override[0] not in _SINKS]
    graph = _with_engine_hashes(_apply(graph, [*others, *_policies(graph, request)]))
    if request.events is not None:
        params = {"path": request.events, "private": request.private}
        graph = graph.add(EVENTS_SINK, "events", params, {"events": event_ports(graph)})
    if request.video is not None:
        graph = _add_video(graph, _one_per_stream(request), request.private)
    graph = _apply(graph, of_sinks)
    graph.validate()
    _require_one_policy(graph)
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


def _with_engine_hashes(graph: Graph) -> Graph:
    """Lets every ``decide`` tell the SHA-256 of the engines that work before the cues."""
    hashes = {model.name: model.sha256 for model in listing() if model.sha256}
    used: dict[str, str] = {}
    for node in graph.nodes:
        names = getattr(node.node_class, "engine_names", None)
        for name in names(node.parsed_params) if names else ():
            used[name] = hashes.get(name, "")
    known = {name: digest for name, digest in used.items() if digest}
    for node in graph.nodes:
        if node.type_name == "decide" and not node.parsed_params.engines:
            graph = graph.with_params(node.name, {"engines": known})
    return graph


def _require_one_policy(graph: Graph) -> None:
    """Refuse a ``decide`` that judges by another policy than its ``fuse`` added up by."""
    for decide in graph.nodes:
        for producer in decide.inputs.get("fused", ()) if decide.type_name == "decide" else ():
            fuse = graph.node(producer.partition(".")[0])
            if fuse.type_name != "fuse":
                continue
            added, judged = (resolve_policy(n.parsed_params.policy) for n in (fuse, decide))
            if added != judged:
                raise GraphDefinitionError(
                    f"{decide.where}, params.policy: expected the policy of node '{fuse.name}', "
                    f"{added.id}, found {judged.id}; give both the same, e.g. with --policy FILE"
                )


def _add_video(graph: Graph, path: Path, private: bool) -> Graph:
    inputs = {
        "frames": ports_of_type(graph, Frame),
        "observations": ports_of_type(graph, FaceObservation),
        "events": event_ports(graph),
        "trace": ports_of_type(graph, PulseTrace),
        "depth": ports_of_type(graph, DepthMap),
    }
    joined = {port: producers for port, producers in inputs.items() if producers}
    return graph.add(VIDEO_SINK, "video", {"path": str(path), "private": private}, joined)


def _policies(graph: Graph, request: RunRequest) -> list[Override]:
    if request.policy is None:
        return []
    return [
        (node.name, "policy", str(request.policy))
        for node in graph.nodes
        if node.type_name in ("fuse", "decide")
    ]


def _apply(graph: Graph, overrides: Sequence[Override]) -> Graph:
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
    try:
        return node, param, read_yaml(value)
    except yaml.YAMLError as error:
        raise UsageError(
            f"--set {text}: expected a YAML value after =, found one that cannot be read; quote it"
        ) from error


def _one_per_stream(request: RunRequest) -> Path:
    """The video's path, with the stream's name in it where there are several streams."""
    assert request.video is not None
    if len(request.sources) < 2 or "{stream}" in request.video.name:
        return request.video
    return request.video.with_name(f"{request.video.stem}-{{stream}}{request.video.suffix}")


def streams_of(sources: Sequence[str]) -> tuple[StreamSpec, ...]:
    """A named stream for every source.

    Raises:
        SourceError: a source is not what its address says; nothing was opened.
    """
    names: list[str] = []
    for uri in sources:
        parse_source(uri)
        names.append(name_source(uri, names))
    return tuple(StreamSpec(name, uri) for name, uri in zip(names, sources, strict=True))


def mode_of(request: RunRequest) -> Mode:
    """The mode asked for, or lossless where every source is a file."""
    if request.mode is not None:
        return request.mode
    live = any(parse_source(uri).live for uri in request.sources)
    return "realtime" if live else "lossless"


@contextmanager
def running(
    request: RunRequest,
    on_event: Callable[[Packet], None],
    on_notice: Callable[[Notice], None] | None = None,
) -> Iterator[GraphRun]:
    """A started run of a request, whose events go to ``on_event`` on the run's threads.

    Leaving the block lets the run work off what its sources gave; leaving it by an exception
    stops at once.

    Raises:
        SourceError, GraphDefinitionError: before anything is opened.
        GraphError, EngineError: a node could not be opened or the run failed.
    """
    streams = streams_of(request.sources)
    graph = build_graph(request)
    taps = dict.fromkeys(event_ports(graph), on_event)
    run = make_run(request, graph, taps, on_notice)
    for stream in streams:
        run.add_stream(stream)
    with run:
        yield run


def make_run(
    request: RunRequest,
    graph: Graph,
    taps: Mapping[str, Tap],
    on_notice: Callable[[Notice], None] | None = None,
) -> GraphRun:
    """A run of a graph on the runtime that the request names, not started."""
    if request.ray is None:
        return LocalRun(graph, mode_of(request), request.options, taps, on_notice)
    from ..graph.ray_run import RayRun

    return RayRun(graph, mode_of(request), request.options, taps, on_notice, request.ray)


def run(
    sources: Sequence[str],
    *,
    graph: str = "default",
    mode: Mode | None = None,
    policy: Path | None = None,
    private: bool = False,
    overrides: Sequence[Override] = (),
    options: RunOptions | None = None,
    ray: RayOptions | None = None,
) -> Iterator[dict[str, Any]]:
    """Run a graph over sources and iterate over its events, as CloudEvents 1.0 dictionaries.

    The run starts with the first event asked for and is stopped when the iterator is closed.

    Args:
        sources: Files, folders of pictures, ``rtsp://``, ``http://`` or ``/dev/video*``.
        graph: Name of a graph that ships with padflow, or a YAML file.
        mode: ``lossless`` or ``realtime``; None: lossless where every source is a file.
        policy: A policy file in place of the default one.
        private: Health and biometric details too.
        overrides: ``(node, parameter, value)`` triples.
        options: Threads, worker processes and limits.
        ray: Run on Ray, spread so; None runs on this machine without it.

    Raises:
        UsageError: this process may open too few files for so many sources.
        SourceError: a source is not what its address says.
        GraphDefinitionError: the graph, a parameter or the policy is wrong.
        GraphError, EngineError: a node could not be opened, or the run failed.
    """
    if isinstance(sources, str):
        raise UsageError(f"run: expected a list of sources, found the text '{sources}'; use [...]")
    request = RunRequest(
        sources=tuple(sources),
        graph=graph,
        mode=mode,
        policy=policy,
        private=private,
        overrides=tuple(overrides),
        options=options or RunOptions(),
        ray=ray,
    )
    demand_room_for_files(request)
    envelopes = Envelopes(mode_of(request) == "lossless", private)
    waiting: queue.Queue[Packet] = queue.Queue(QUEUED_EVENTS)
    closed = threading.Event()

    def offer(packet: Packet) -> None:
        # The program may have stopped listening: the run must still be able to end.
        while not closed.is_set():
            try:
                waiting.put(packet, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue

    with running(request, offer) as graph_run:
        try:
            while not graph_run.wait(0) or not waiting.empty():
                try:
                    packet = waiting.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                yield envelopes.wrap(packet)
        finally:
            closed.set()
