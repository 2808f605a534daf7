"""What is wrong with a graph: every problem at once, each as one sentence."""

from collections.abc import Iterator, Mapping

from .errors import GraphDefinitionError
from .node import Contract
from .schema import nearest, unknown_name
from .spec import Edge, Graph, NodeSpec


def problems(graph: Graph) -> list[str]:
    """Every problem of a graph as a sentence that names node, port, expected and found."""
    found = list(_naming(graph))
    contracts: dict[str, Contract] = {}
    for spec in graph.nodes:
        try:
            contracts[spec.name] = spec.contract()
        except GraphDefinitionError as error:
            found.extend(str(error).splitlines())
    for spec in graph.nodes:
        if spec.name in contracts:
            found.extend(_node(spec, contracts[spec.name]))
        found.extend(_inputs(graph, spec, contracts))
    cycle = find_cycle({spec.name: _producers(spec) for spec in graph.nodes})
    if cycle:
        found.append(
            f"graph '{graph.name}': expected no cycle, found {' -> '.join(cycle)}; "
            "cut one of these edges"
        )
    elif len(contracts) == len(graph.nodes) and not found:
        found.extend(_keys(graph, contracts))
    return list(dict.fromkeys(found))


def carries_keys(graph: Graph) -> dict[str, bool]:
    """By node: whether its output packets may carry keys.

    They do where the node makes keys itself or gets packets that carry some.
    """
    known: dict[str, bool] = {}

    def carries(name: str) -> bool:
        if name not in known:
            spec = graph.node(name)
            known[name] = spec.contract().makes_keys or any(
                carries(producer) for producer in _producers(spec)
            )
        return known[name]

    return {spec.name: carries(spec.name) for spec in graph.nodes}


def find_cycle(upstream: Mapping[str, list[str]]) -> list[str]:
    """One cycle of a directed graph as a list of names, first and last the same; or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name][::-1]
        if name in done or name not in upstream:
            return []
        for producer in upstream[name]:
            cycle = visit(producer, [*path, name])
            if cycle:
                return cycle
        done.add(name)
        return []

    for name in upstream:
        cycle = visit(name, [])
        if cycle:
            return cycle
    return []


def _producers(spec: NodeSpec) -> list[str]:
    return [ref.rpartition(".")[0] for refs in spec.inputs.values() for ref in refs]


def _naming(graph: Graph) -> Iterator[str]:
    names = [spec.name for spec in graph.nodes]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield (
                f"graph '{graph.name}': expected every node name once, found '{name}' "
                f"{names.count(name)} times; rename one"
            )
        if not name or "." in name or name != name.strip():
            yield (
                f"graph '{graph.name}': expected node names without dots or spaces around them, "
                f"found '{name}'; rename it"
            )
    if not names:
        yield f"graph '{graph.name}': expected at least one node, found none; add a source"


def _node(spec: NodeSpec, contract: Contract) -> Iterator[str]:
    if spec.is_source and contract.inputs:
        yield (
            f"{spec.where}: expected a source without inputs, found "
            f"{', '.join(contract.inputs)}; correct its contract"
        )
    if not spec.is_source and not contract.inputs:
        yield (
            f"{spec.where}: expected inputs or a subclass of Source, found neither; "
            "nothing would ever reach it"
        )
    if contract.scope == "single" and contract.outputs:
        yield (
            f"{spec.where}: expected a node of scope single to have no outputs, found "
            f"{', '.join(contract.outputs)}; give it another scope"
        )
    if contract.batching.size < 1 or contract.batching.max_wait < 0:
        yield (
            f"{spec.where}: expected a batch size of at least 1 and no negative wait, found "
            f"{contract.batching}; correct its contract"
        )
    if contract.batching.size > 1 and contract.scope == "stream":
        yield (
            f"{spec.where}: expected batching only across streams (scope shared or single), found "
            f"size {contract.batching.size} with scope stream; correct its contract"
        )


def _inputs(graph: Graph, spec: NodeSpec, contracts: Mapping[str, Contract]) -> Iterator[str]:
    contract = contracts.get(spec.name)
    if contract is not None:
        for port, declared in contract.inputs.items():
            if not declared.optional and not spec.inputs.get(port):
                yield (
                    f"{spec.where}, input '{port}': expected a producer of "
                    f"{declared.type.__name__}, found none; connect it"
                    f"{_offer(contracts, spec, port)}"
                )
        for port in spec.inputs:
            if port not in contract.inputs:
                yield f"{spec.where}, input: {unknown_name(port, list(contract.inputs))}"
    for port, producers in spec.inputs.items():
        for ref in dict.fromkeys(producers):
            if producers.count(ref) > 1:
                yield f"{spec.where}, input '{port}': expected {ref} once, found it twice"
            yield from _producer(graph, spec, port, ref, contracts)


def _producer(
    graph: Graph, spec: NodeSpec, port: str, ref: str, contracts: Mapping[str, Contract]
) -> Iterator[str]:
    where = f"{spec.where}, input '{port}'"
    name, dot, output = ref.rpartition(".")
    if not dot:
        yield f"{where}: expected a producer as node.port, found '{ref}'; write it so"
        return
    names = [other.name for other in graph.nodes]
    if name not in names:
        yield f"{where}: {unknown_name(name, names)}"
        return
    producer, consumer = contracts.get(name), contracts.get(spec.name)
    if producer is None:
        return
    if output not in producer.outputs:
        listed = ", ".join(f"{name}.{p}" for p in producer.outputs) or "no outputs at all"
        guess = nearest(output, list(producer.outputs))
        hint = f"; did you mean '{name}.{guess}'?" if guess else ""
        yield f"{where}: expected one of {listed}, found '{ref}'{hint}"
        return
    if consumer is None or port not in consumer.inputs:
        return
    given, wanted = producer.outputs[output].type, consumer.inputs[port].type
    if not issubclass(given, wanted):
        yield (
            f"{where}: expected {wanted.__name__}, found {given.__name__} from '{ref}'"
            f"{_offer(contracts, spec, port)}"
        )


def _offer(contracts: Mapping[str, Contract], spec: NodeSpec, port: str) -> str:
    consumer = contracts[spec.name]
    fitting = [
        f"{name}.{output}"
        for name, contract in contracts.items()
        if name != spec.name
        for output, declared in contract.outputs.items()
        if issubclass(declared.type, consumer.inputs[port].type)
    ]
    return f"; {', '.join(fitting)} would fit" if fitting else ""


def _keys(graph: Graph, contracts: Mapping[str, Contract]) -> Iterator[str]:
    keyed = carries_keys(graph)
    for spec in graph.nodes:
        contract = contracts[spec.name]
        if contract.state == "track" and not any(keyed[name] for name in _producers(spec)):
            yield (
                f"{spec.where}: expected an input whose packets carry keys (state is kept by "
                "track), found none; put a node that makes keys (a tracker) before it"
            )


def key_edges(graph: Graph) -> frozenset[Edge]:
    """The edges whose packets may carry keys, and so the ends of keys."""
    keyed = carries_keys(graph)
    return frozenset(edge for edge in graph.edges() if keyed[edge.producer])
