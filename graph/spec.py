"""The frozen graph: which nodes there are and who feeds whom. Data only, building runs nothing."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from .errors import GraphDefinitionError
from .node import Contract, Node, Source
from .plain_yaml import read_yaml
from .registry import NodeType, name_of_class, node_class
from .schema import parse, unknown_name


@dataclass(frozen=True, slots=True)
class Edge:
    """One producer port feeding one consumer port."""

    producer: str
    output: str
    consumer: str
    input: str

    @property
    def name(self) -> str:
        """``capture.frames->detect.frames``."""
        return f"{self.producer}.{self.output}->{self.consumer}.{self.input}"


@dataclass(frozen=True)
class NodeSpec:
    """One node of a graph, before anything is made of it."""

    name: str
    type: str | NodeType
    """Name of a registered node type, or the class itself."""
    params: Any = field(default_factory=dict)
    """Plain values by name, or an instance of the node's ``Params``."""
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Producers (``node.port``) by input port, in the order in which they are taken."""
    stage: str | None = None
    """Nodes that name the same stage run together, apart from all others."""
    fuse: bool = True
    """False gives the node a stage of its own."""
    replicas: int = 0
    """On a cluster: so many engine actors for a ``shared`` node; 0 leaves it to the cluster's
    size."""
    graph: str = ""
    """Name of the graph, for errors."""

    @property
    def where(self) -> str:
        """How errors name this node."""
        return f"graph '{self.graph}', node '{self.name}'"

    @property
    def type_name(self) -> str:
        """Name of the type as the graph has it, or of the class."""
        return self.type if isinstance(self.type, str) else self.type.__name__

    @cached_property
    def node_class(self) -> NodeType:
        """The class, imported on first use."""
        if isinstance(self.type, str):
            return node_class(self.type, self.where)
        return self.type

    @cached_property
    def parsed_params(self) -> Any:
        """The ``Params`` of the node, checked."""
        return parse(self.node_class.Params, self.params, f"{self.where}, params")

    def contract(self) -> Contract:
        """What the node takes, gives and keeps with these parameters."""
        return self._contract

    @cached_property
    def _contract(self) -> Contract:
        return self.node_class.contract(self.parsed_params)

    @property
    def is_source(self) -> bool:
        """True for a node without inputs that makes the streams."""
        return issubclass(self.node_class, Source)

    def make(self) -> Node[Any]:
        """A new node object, not opened."""
        return self.node_class(self.parsed_params)

    def __getstate__(self) -> dict[str, Any]:
        """Only the fields: what was derived from them is derived again elsewhere."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Graph:
    """Nodes and the edges between them, frozen.

    Build one in Python (every call gives a new graph)::

        graph = (
            Graph.build("door")
            .add("capture", "capture")
            .add("detect", "detect", {"cadence_hz": 10}, {"frames": "capture.frames"})
        )

    or read it with :meth:`from_yaml`. :meth:`validate` tells everything that is wrong with it.
    """

    name: str
    nodes: tuple[NodeSpec, ...] = ()

    @classmethod
    def build(cls, name: str) -> "Graph":
        """An empty graph."""
        return cls(name)

    def add(
        self,
        name: str,
        type: str | NodeType,
        params: Any = None,
        inputs: Mapping[str, str | Iterable[str]] | None = None,
        *,
        stage: str | None = None,
        fuse: bool = True,
        replicas: int = 0,
    ) -> "Graph":
        """This graph with one node more.

        Args:
            name: Name of the node, unique in the graph.
            type: A registered type's name or a subclass of :class:`Node`.
            params: Plain values by name or an instance of the node's ``Params``.
            inputs: Producers by input port: ``"capture.frames"`` or several of them.
            stage: Run in the stage of this name.
            fuse: False gives the node a stage of its own.
            replicas: On a cluster, engine actors for a ``shared`` node; 0: by its size.
        """
        joined = {
            port: (given,) if isinstance(given, str) else tuple(given)
            for port, given in (inputs or {}).items()
        }
        params = {} if params is None else params
        kept = deepcopy(dict(params)) if isinstance(params, Mapping) else params
        spec = NodeSpec(name, type, kept, joined, stage, fuse, replicas, self.name)
        return replace(self, nodes=(*self.nodes, spec))

    def with_params(self, name: str, params: Mapping[str, Any]) -> "Graph":
        """This graph with some parameters of one node changed."""
        spec = self.node(name)
        given = spec.params
        if is_dataclass(given):
            given = {f.name: getattr(given, f.name) for f in fields(given)}
        changed = replace(spec, params={**given, **deepcopy(dict(params))})
        return replace(self, nodes=tuple(changed if n is spec else n for n in self.nodes))

    def node(self, name: str) -> NodeSpec:
        """The node of a name.

        Raises:
            GraphDefinitionError: The graph has no such node.
        """
        for spec in self.nodes:
            if spec.name == name:
                return spec
        names = [spec.name for spec in self.nodes]
        raise GraphDefinitionError(f"graph '{self.name}', node: {unknown_name(name, names)}")

    @property
    def sources(self) -> tuple[NodeSpec, ...]:
        """The nodes that make the streams."""
        return tuple(spec for spec in self.nodes if spec.is_source)

    def edges(self) -> tuple[Edge, ...]:
        """All edges, by consumer, then in the order of its contract's ports, then as listed."""
        edges = []
        for spec in self.nodes:
            declared = list(spec.contract().inputs)
            rank = {port: index for index, port in enumerate(declared)}
            for port in sorted(spec.inputs, key=lambda p: rank.get(p, len(rank))):
                for producer in spec.inputs[port]:
                    node, _, output = producer.rpartition(".")
                    edges.append(Edge(node, output, spec.name, port))
        return tuple(edges)

    def validate(self) -> None:
        """Check the whole graph.

        Raises:
            GraphDefinitionError: A line for every problem: node, port, expected, found.
        """
        from .validate import problems

        found = problems(self)
        if found:
            raise GraphDefinitionError("\n".join(found))

    @classmethod
    def from_yaml(cls, source: "Path | str") -> "Graph":
        """Read a graph from a YAML file (a path) or from YAML text.

        ::

            version: 1
            name: door
            nodes:
              camera: {type: capture}
              detect:
                type: detect                     # name of a registered node type
                inputs: {frames: camera.frames}  # or a list of several producers
                params: {cadence_hz: 10}         # optional, as are the two below
                stage: detection                 # run with the nodes that name the same stage
                fuse: true                       # false: a stage of its own
                replicas: 2                      # of a shared node's actors on a cluster

        Raises:
            GraphDefinitionError: The text is no YAML or says something else.
        """
        if isinstance(source, str) and ("\n" in source or ":" in source):
            return _from_text(source, "graph")
        path = Path(source)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GraphDefinitionError(
                f"graph file {path}: expected a readable YAML file, found: {error}"
            ) from error
        return _from_text(text, f"graph file {path}")

    def to_yaml(self) -> str:
        """The graph as YAML text that :meth:`from_yaml` reads back.

        Raises:
            GraphDefinitionError: A node's class is not registered, so it has no name in YAML.
        """
        import yaml

        nodes = {spec.name: _node_as_data(spec) for spec in self.nodes}
        data = {"version": 1, "name": self.name, "nodes": nodes}
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class _NodeEntry:
    type: str
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str | list[str]] = field(default_factory=dict)
    stage: str | None = None
    fuse: bool = True
    replicas: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True)
class _GraphFile:
    version: Literal[1]
    name: str
    nodes: dict[str, _NodeEntry]


def _from_text(text: str, where: str) -> Graph:
    file = parse(_GraphFile, load_yaml(text, where), where)
    graph = Graph.build(file.name)
    for name, entry in file.nodes.items():
        graph = graph.add(
            name,
            entry.type,
            entry.params,
            entry.inputs,
            stage=entry.stage,
            fuse=entry.fuse,
            replicas=entry.replicas,
        )
    return graph


def load_yaml(text: str, where: str) -> Any:
    """Plain data of a YAML text.

    Raises:
        GraphDefinitionError: It is no YAML, nested too deep, or gives a key twice; ``where`` names
            it.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice: plain YAML would silently keep the last."""

    def mapping(loader: Loader, node: yaml.MappingNode) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float, bool)) and key in seen:
                line = key_node.start_mark.line + 1
                raise GraphDefinitionError(
                    f"{where}, line {line}: expected every key once, found '{key}' again; "
                    "rename one of them"
                )
            seen.add(key if isinstance(key, (str, int, float, bool)) else id(key_node))
        loader.flatten_mapping(node)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return read_yaml(text, Loader)
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise GraphDefinitionError(f"{where}: expected valid YAML, found: {told}") from error


def _node_as_data(spec: NodeSpec) -> dict[str, Any]:
    name = spec.type if isinstance(spec.type, str) else name_of_class(spec.type)
    if name is None:
        raise GraphDefinitionError(
            f"{spec.where}: expected a registered node type to write as YAML, found class "
            f"{spec.type_name}; name it as an entry point of the group padflow.nodes"
        )
    entry: dict[str, Any] = {"type": name}
    if spec.inputs:
        entry["inputs"] = {
            port: given[0] if len(given) == 1 else list(given)
            for port, given in spec.inputs.items()
        }
    params = _plain(spec.params)
    if params:
        entry["params"] = params
    if spec.stage is not None:
        entry["stage"] = spec.stage
    if not spec.fuse:
        entry["fuse"] = False
    if spec.replicas:
        entry["replicas"] = spec.replicas
    return entry


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as YAML can write them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
