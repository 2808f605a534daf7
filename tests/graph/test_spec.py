"""The frozen graph: built in Python or read from YAML, checked as a whole."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from padflow.graph.draw import to_svg
from padflow.graph.errors import GraphDefinitionError
from padflow.graph.node import Batching, Contract, Node, Outputs, Port, Resources
from padflow.graph.packet import Packet
from padflow.graph.plan import describe, make_plan
from padflow.graph.spec import Graph
from padflow.graph.testing import Collect, CollectParams, Counter, ListSource, PassThrough, chain


@dataclass(frozen=True)
class AnyParams:
    scope: str = "stream"
    state: str = "none"
    gpu: float = 0.0
    batch: int = 1
    takes: str = "object"


class AnyNode(Node[AnyParams]):
    Params = AnyParams

    @classmethod
    def contract(cls, params: AnyParams) -> Contract:
        takes = {"object": object, "int": int, "str": str}[params.takes]
        return Contract(
            inputs={"in": Port(takes, "in"), "extra": Port(object, "more", optional=True)},
            outputs={"out": Port(int, "out")},
            state=params.state,  # type: ignore[arg-type]  # a test's free choice
            scope=params.scope,  # type: ignore[arg-type]
            resources=Resources(gpu=params.gpu),
            batching=Batching(params.batch),
        )

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        return {"out": packets}


def fan() -> Graph:
    """A fork that joins again: source -> a -> (b, c) -> d."""
    return (
        Graph.build("fan")
        .add("s", ListSource)
        .add("a", PassThrough, {}, {"in": "s.out"})
        .add("b", PassThrough, {}, {"in": "a.out"})
        .add("c", PassThrough, {}, {"in": "a.out"})
        .add("d", PassThrough, {}, {"in": ["b.out", "c.out"]})
    )


def stages(graph: Graph, **options: bool) -> list[tuple[str, ...]]:
    return [stage.nodes for stage in make_plan(graph, **options).stages]


def problems(graph: Graph) -> str:
    with pytest.raises(GraphDefinitionError) as caught:
        graph.validate()
    return str(caught.value)


def test_building_is_pure() -> None:
    first = Graph.build("g").add("s", ListSource)
    second = first.add("a", PassThrough, {}, {"in": "s.out"})
    assert [n.name for n in first.nodes] == ["s"]
    assert [n.name for n in second.nodes] == ["s", "a"]


def test_parameters_given_are_not_shared() -> None:
    params = {"count": 3}
    graph = Graph.build("g").add("s", ListSource, params)
    params["count"] = 4
    assert graph.node("s").parsed_params.count == 3
    assert graph.with_params("s", {"count": 5}).node("s").parsed_params.count == 5
    assert graph.node("s").parsed_params.count == 3


def test_with_params_keeps_the_others_and_takes_instances() -> None:
    graph = Graph.build("g").add("s", ListSource, ListSource.Params(count=7, rate=5))
    changed = graph.with_params("s", {"rate": 1.0}).node("s").parsed_params
    assert (changed.count, changed.rate) == (7, 1.0)


def test_a_graph_pickles_after_it_was_planned() -> None:
    graph = fan()
    make_plan(graph)
    assert stages(pickle.loads(pickle.dumps(graph))) == stages(graph)


def test_yaml_names_the_nearest_right_key() -> None:
    text = "version: 1\nname: g\nnodes:\n  s: {type: capture, parms: {}}\n"
    with pytest.raises(GraphDefinitionError, match=r"nodes\.s.*'parms'; did you mean 'params'"):
        Graph.from_yaml(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 2\nname: g\nnodes: {}\n", "version: expected 1, found 2"),
        ("version: 1\nname: g\nnodes: {s: {type: a}, s: {type: b}}\n", "found 's' again"),
        ("version: 1\nname: [\n", "expected valid YAML"),
        ("version: 1\nname: " + "[" * 3000 + "]" * 3000, "nested deeper than can be read"),
        ("version: 1\nname: " + "{a: " * 3000 + "}" * 3000, "nested deeper than can be read"),
        ("- 1\n- 2\n", "expected a mapping"),
        ("version: 1\nname: g\nnodes: {}\n", "at least one node"),
        ("version: 1\nname: g\nnodes: {s: {type: no-such-type}}\n", "found 'no-such-type'"),
    ],
)
def test_bad_yaml_is_one_sentence(text: str, told: str) -> None:
    with pytest.raises(GraphDefinitionError) as caught:
        Graph.from_yaml(text).validate()
    assert told in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(GraphDefinitionError, match="expected a readable YAML file"):
        Graph.from_yaml(tmp_path / "none.yaml")


def test_yaml_of_an_unregistered_class_says_so() -> None:
    with pytest.raises(GraphDefinitionError, match="name it as an entry point"):
        fan().to_yaml()


def test_an_unconnected_required_input_offers_what_would_fit() -> None:
    told = problems(Graph.build("g").add("s", ListSource).add("a", PassThrough))
    assert "node 'a', input 'in': expected a producer of object, found none" in told
    assert "s.out would fit" in told


def test_all_problems_are_told_at_once() -> None:
    graph = (
        Graph.build("g")
        .add("s", ListSource, {"cout": 3})
        .add("a", PassThrough, {}, {"in": "t.out"})
        .add("a", PassThrough, {}, {"on": "a.out"})
        .add("b", AnyNode, {"takes": "str"}, {"in": "a.uot"})
    )
    told = problems(graph).splitlines()
    for part in ("'a' 2 times", "'cout'; did you mean 'count'", "found 't'", "found 'on'", "a.uot"):
        assert any(part in line for line in told), part


def test_a_type_mismatch_names_both_types() -> None:
    graph = (
        Graph.build("g")
        .add("s", ListSource)
        .add("a", AnyNode, {}, {"in": "s.out"})
        .add("b", AnyNode, {"takes": "str"}, {"in": "a.out"})
    )
    assert "node 'b', input 'in': expected str, found int from 'a.out'" in problems(graph)


def test_a_cycle_is_named() -> None:
    graph = (
        Graph.build("g")
        .add("s", ListSource)
        .add("a", AnyNode, {}, {"in": "s.out", "extra": "b.out"})
        .add("b", AnyNode, {}, {"in": "a.out"})
    )
    assert "expected no cycle, found a -> b -> a" in problems(graph)


def test_state_by_track_needs_keys() -> None:
    graph = (
        Graph.build("g").add("s", ListSource).add("a", AnyNode, {"state": "track"}, {"in": "s.out"})
    )
    assert "node 'a': expected an input whose packets carry keys" in problems(graph)


def test_neighbours_fuse_and_sources_stand_alone() -> None:
    assert stages(fan()) == [("s",), ("a", "b", "c", "d")]
    assert stages(fan(), fuse=False) == [("s",), ("a",), ("b",), ("c",), ("d",)]


def test_fusion_keeps_the_stages_free_of_cycles() -> None:
    """b is left alone, so fusing a with c and d would make two stages wait for each other."""
    graph = (
        Graph.build("g")
        .add("s", ListSource)
        .add("a", PassThrough, {}, {"in": "s.out"})
        .add("b", AnyNode, {"scope": "shared", "batch": 4}, {"in": "a.out"})
        .add("d", AnyNode, {}, {"in": ["a.out", "b.out"]})
    )
    assert stages(graph) == [("s",), ("a",), ("b",), ("d",)]


def test_resources_scope_and_names_cut() -> None:
    graph = (
        Graph.build("g")
        .add("s", ListSource)
        .add("a", PassThrough, {}, {"in": "s.out"})
        .add("gpu", AnyNode, {"gpu": 1.0}, {"in": "a.out"})
        .add("x", AnyNode, {}, {"in": "gpu.out"}, stage="later")
        .add("y", AnyNode, {}, {"in": "x.out"}, stage="later")
        .add("z", AnyNode, {}, {"in": "y.out"}, fuse=False)
    )
    plan = make_plan(graph)
    assert [s.nodes for s in plan.stages] == [("s",), ("a",), ("gpu",), ("x", "y"), ("z",)]
    assert plan.stage_of["y"].name == "later"
    assert plan.stage_of["gpu"].place == "gpu"


@pytest.mark.parametrize("named", ["source", "a", "b", "sink"])
def test_a_stage_named_like_a_node_is_not_the_stage_of_that_node(named: str) -> None:
    graph = (
        Graph.build("g")
        .add("source", ListSource)
        .add("a", PassThrough, {}, {"in": "source.out"}, stage=named)
        .add("b", PassThrough, {}, {"in": "a.out"})
        .add("sink", Collect, CollectParams([]), {"in": "b.out"})
    )
    plan = make_plan(graph)
    assert [s.name for s in plan.stages] == ["source", "a", "b", "sink"]
    assert [link.name for link in plan.links] == ["source.out->a", "a.out->b", "b.out->sink"]


def test_one_link_for_all_edges_of_a_port_into_a_stage() -> None:
    links = make_plan(fan(), fuse=False).links
    assert sorted(link.name for link in links) == [
        "a.out->b",
        "a.out->c",
        "b.out->d",
        "c.out->d",
        "s.out->a",
    ]


def test_the_plan_is_told_in_text_and_drawn() -> None:
    graph = chain(2).add("count", Counter, {}, {"in": "n1.out"})
    graph = graph.add("sink", Collect, CollectParams([]), {"in": ["count.out", "n0.out"]})
    plan = make_plan(graph)
    text = describe(plan)
    assert "stage n0..count: n0 -> n1 -> count" in text
    assert "from source.out to n0.in" in text
    svg = to_svg(plan)
    from xml.etree import ElementTree

    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    classes = [rect.get("class") for rect in root.iter(f"{space}rect")]
    assert sum("node" in str(c) for c in classes) == 5
    assert sum(str(c) == "stage" for c in classes) == 3
    assert len(list(root.iter(f"{space}path"))) == 5 + 1  # the edges and the arrow head
    labels = {text.text for text in root.iter(f"{space}text")}
    assert {"source", "n0", "n1", "count", "sink", "out", "in"} <= labels
