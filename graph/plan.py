"""How a graph runs: cut into stages, joined by links.

A **stage** is a run of nodes that one thread (or actor) executes by plain calls. A **link** is what
crosses from one stage to another: all edges that leave one output port for one stage.

A track belongs to one stream. So a node that keeps state by track and one that keeps it by stream
are routed alike, by stream, and fuse into one stage.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .errors import GraphDefinitionError
from .node import Batching, Resources, Scope
from .spec import Edge, Graph, NodeSpec
from .validate import find_cycle


@dataclass(frozen=True)
class Stage:
    """Nodes that run together, in topological order."""

    name: str
    nodes: tuple[str, ...]
    scope: Scope
    is_source: bool
    batching: Batching
    resources: Resources
    joins: bool
    """Some node of it has more than one incoming edge, or several links feed it and a stage
    downstream joins: its batches are cut into ticks of one capture time, and in lossless mode a
    tick waits until no link can add to it."""
    feeds_joins: bool
    """A stage downstream joins: this one tells how far in capture time it has come."""
    keeps_nothing: bool
    """No node of it keeps state or makes keys, so ticks may share a batch."""

    @property
    def replicas(self) -> str:
        """How many there are, in words."""
        if self.is_source:
            return "one thread per stream"
        return "one per thread" if self.scope == "stream" else "one"

    @property
    def place(self) -> str:
        """Where it runs, in words."""
        if self.scope == "single":
            return "starting process"
        return "gpu" if self.resources.gpu > 0 else "local or worker process"


@dataclass(frozen=True)
class Link:
    """All edges from one output port into one stage."""

    producer: str
    output: str
    stage: str
    edges: tuple[Edge, ...]
    from_source: bool

    @property
    def name(self) -> str:
        """``capture.frames->detect``, with the stage's name."""
        return f"{self.producer}.{self.output}->{self.stage}"


@dataclass(frozen=True)
class Plan:
    """Stages in topological order, and the links between them."""

    graph: Graph
    stages: tuple[Stage, ...]
    links: tuple[Link, ...]

    @cached_property
    def stage_of(self) -> dict[str, Stage]:
        """The stage of every node, by the node's name."""
        return {name: stage for stage in self.stages for name in stage.nodes}

    def into(self, stage: Stage) -> tuple[Link, ...]:
        """The links that feed a stage, in the order in which it takes equal times."""
        return tuple(link for link in self.links if link.stage == stage.name)


def make_plan(graph: Graph, *, fuse: bool = True) -> Plan:
    """Cut a graph into stages.

    Every source is a stage of its own. Neighbours with equal scope and resources and no batching
    fuse, as long as no two stages come to wait for each other. A ``stage`` name keeps its nodes
    apart from all others; ``fuse=False`` (on a node, or here for all) leaves a node alone.

    Raises:
        GraphDefinitionError: The graph is not valid.
    """
    graph.validate()
    order = topological(graph)
    groups = {spec.name: index for index, spec in enumerate(order)}
    if fuse:
        _fuse(graph, order, groups)
    members: dict[int, list[NodeSpec]] = {}
    for spec in order:
        members.setdefault(groups[spec.name], []).append(spec)
    names = _stage_names(list(members.values()))
    stage_name = {
        spec.name: name
        for name, specs in zip(names, members.values(), strict=True)
        for spec in specs
    }
    links = _links(graph, stage_name)
    feeding = _feeding_joins(graph, order, stage_name)
    fed = Counter(link.stage for link in links)
    stages = tuple(
        _stage(graph, name, specs, name in feeding, fed[name])
        for name, specs in zip(names, members.values(), strict=True)
    )
    return Plan(graph, _in_order(stages, links), links)


def topological(graph: Graph) -> list[NodeSpec]:
    """The nodes so that every producer comes before its consumers; else in the given order."""
    waiting = list(graph.nodes)
    placed: set[str] = set()
    order = []
    while waiting:
        for spec in waiting:
            if all(r.rpartition(".")[0] in placed for refs in spec.inputs.values() for r in refs):
                break
        else:
            raise GraphDefinitionError(f"graph '{graph.name}': expected no cycle, found one")
        waiting.remove(spec)
        placed.add(spec.name)
        order.append(spec)
    return order


def _fuse(graph: Graph, order: Sequence[NodeSpec], groups: dict[str, int]) -> None:
    edges = graph.edges()
    pairs = [(graph.node(e.producer), graph.node(e.consumer)) for e in edges]
    named = [spec for spec in order if spec.stage is not None]
    pairs += [(a, b) for i, a in enumerate(named) for b in named[i + 1 :] if a.stage == b.stage]
    rank = {spec.name: index for index, spec in enumerate(order)}
    pairs.sort(key=lambda pair: (rank[pair[1].name], rank[pair[0].name]))
    for first, second in pairs:
        a, b = groups[first.name], groups[second.name]
        if a == b or not _alike(first, second):
            continue
        tried = {name: a if group == b else group for name, group in groups.items()}
        if not _stages_wait_for_each_other(edges, tried):
            groups.update(tried)


def _alike(first: NodeSpec, second: NodeSpec) -> bool:
    if first.is_source or second.is_source or not (first.fuse and second.fuse):
        return False
    a, b = first.contract(), second.contract()
    return (
        first.stage == second.stage
        and a.scope == b.scope != "single"
        and a.resources == b.resources
        and a.batching.size == b.batching.size == 1
    )


def _stages_wait_for_each_other(edges: Sequence[Edge], groups: dict[str, int]) -> bool:
    upstream: dict[str, list[str]] = {}
    for edge in edges:
        producer, consumer = str(groups[edge.producer]), str(groups[edge.consumer])
        if producer != consumer:
            upstream.setdefault(consumer, []).append(producer)
    return bool(find_cycle(upstream))


def _stage_names(groups: Sequence[Sequence[NodeSpec]]) -> list[str]:
    plain = [
        specs[0].name if len(specs) == 1 else f"{specs[0].name}..{specs[-1].name}"
        for specs in groups
    ]
    names: list[str] = []
    for specs, ends in zip(groups, plain, strict=True):
        given = specs[0].stage
        # A name that is another stage's node, or given already, would mean two stages.
        names.append(ends if not given or given in (*plain, *names) else given)
    return names


def _links(graph: Graph, stage_name: dict[str, str]) -> tuple[Link, ...]:
    grouped: dict[tuple[str, str, str], list[Edge]] = {}
    for edge in graph.edges():
        if stage_name[edge.producer] != stage_name[edge.consumer]:
            place = (edge.producer, edge.output, stage_name[edge.consumer])
            grouped.setdefault(place, []).append(edge)
    return tuple(
        Link(producer, output, stage, tuple(edges), graph.node(producer).is_source)
        for (producer, output, stage), edges in grouped.items()
    )


def _joins(graph: Graph, spec: NodeSpec) -> bool:
    return sum(len(producers) for producers in spec.inputs.values()) > 1


def _feeding_joins(
    graph: Graph, order: Sequence[NodeSpec], stage_name: dict[str, str]
) -> frozenset[str]:
    """Stages with a joining stage somewhere downstream."""
    joining = {stage_name[spec.name] for spec in order if _joins(graph, spec)}
    crossing = {(stage_name[edge.producer], stage_name[edge.consumer]) for edge in graph.edges()}
    feeding: set[str] = set()
    while True:
        more = {a for a, b in crossing if a != b and b in joining | feeding} - feeding
        if not more:
            return frozenset(feeding)
        feeding |= more


def _stage(
    graph: Graph, name: str, specs: Sequence[NodeSpec], feeds_joins: bool, links: int
) -> Stage:
    contracts = [spec.contract() for spec in specs]
    return Stage(
        name=name,
        nodes=tuple(spec.name for spec in specs),
        scope=contracts[0].scope,
        is_source=specs[0].is_source,
        batching=contracts[0].batching,
        resources=contracts[0].resources,
        # What it tells a join of how far it has come must hold for the slowest link.
        joins=any(_joins(graph, spec) for spec in specs) or (feeds_joins and links > 1),
        feeds_joins=feeds_joins,
        keeps_nothing=not any(c.state != "none" or c.makes_keys for c in contracts),
    )


def _in_order(stages: Sequence[Stage], links: Sequence[Link]) -> tuple[Stage, ...]:
    of_node = {name: stage.name for stage in stages for name in stage.nodes}
    upstream: dict[str, set[str]] = {stage.name: set() for stage in stages}
    for link in links:
        upstream[link.stage].add(of_node[link.producer])
    placed: list[Stage] = []
    waiting = list(stages)
    while waiting:
        done = {stage.name for stage in placed}
        ready = next(stage for stage in waiting if upstream[stage.name] <= done)
        waiting.remove(ready)
        placed.append(ready)
    return tuple(placed)


def describe(plan: Plan) -> str:
    """A graph and its plan as text for people."""
    graph = plan.graph
    lines = [f"graph {graph.name}"]
    for spec in topological(graph):
        contract = spec.contract()
        kept = "" if contract.state == "none" else f", state by {contract.state}"
        lines.append(f"  {spec.name} ({spec.type_name}{kept})")
        for port, declared in contract.inputs.items():
            given = ", ".join(spec.inputs.get(port, ())) or "not connected"
            lines.append(f"    in  {port}: {declared.type.__name__} <- {given}")
        for port, declared in contract.outputs.items():
            lines.append(f"    out {port}: {declared.type.__name__}")
    lines.append(f"plan ({len(plan.stages)} stages)")
    for stage in plan.stages:
        lines.append(f"  stage {stage.name}: {' -> '.join(stage.nodes)}")
        batches = (
            f", batches of {stage.batching.size} within {stage.batching.max_wait:g} s"
            if stage.batching.size > 1
            else ""
        )
        lines.append(f"    scope {stage.scope}, {stage.replicas}, {stage.place}{batches}")
        for link in plan.into(stage):
            targets = ", ".join(f"{edge.consumer}.{edge.input}" for edge in link.edges)
            lines.append(f"    from {link.producer}.{link.output} to {targets}")
    return "\n".join(lines)
