"""What fits on a cluster, and how it is told where it does not."""

from typing import Any

import pytest

from padflow.graph.errors import GraphDefinitionError, GraphError
from padflow.graph.plan import Plan, make_plan
from padflow.graph.ray_options import RayOptions, lay_out
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, PassThrough, PerTrack, Renumber


def plan(replicas: int = 0) -> Plan:
    shared = {"shared": True}
    return make_plan(
        Graph.build("g")
        .add("source", ListSource)
        .add("first", Renumber, {}, {"in": "source.out"})
        .add("engine", PerTrack, shared, {"in": "first.out"}, replicas=replicas)
        .add("last", PassThrough, {}, {"in": "engine.out"})
    )


def test_without_a_gpu_the_networks_run_within_the_workers() -> None:
    layout = lay_out(plan(), RayOptions(), {"CPU": 8.0})
    assert (layout.workers, layout.engines) == (8, 0)
    assert layout.worker_stages == ("source", "first", "last", "engine")


def test_apart_they_have_actors_of_their_own() -> None:
    layout = lay_out(plan(), RayOptions(engines="apart"), {"CPU": 8.0})
    assert layout.engine_stages == ("engine",)
    assert layout.engines == 1
    assert layout.workers == 7
    assert layout.gpu == 0.0


def test_apart_on_gpus_there_is_one_for_each() -> None:
    layout = lay_out(plan(), RayOptions(engines="apart", workers=4), {"CPU": 16.0, "GPU": 2.0})
    assert (layout.engines, layout.engine_gpu, layout.gpu) == (2, 1.0, 2.0)
    half = RayOptions(engines="apart", workers=4, engine_gpu=0.5)
    assert lay_out(plan(), half, {"CPU": 16.0, "GPU": 2.0}).engines == 4


@pytest.mark.parametrize(("in_graph", "asked", "found"), [(3, None, 3), (3, 2, 2), (0, 5, 5)])
def test_replicas_come_from_the_graph_unless_asked_otherwise(
    in_graph: int, asked: int | None, found: int
) -> None:
    options = RayOptions(engines="apart", workers=2, engine_replicas=asked)
    assert lay_out(plan(in_graph), options, {"CPU": 16.0}).engines == found


def test_replicas_stand_in_the_yaml() -> None:
    text = (
        "version: 1\nname: g\nnodes:\n  capture: {type: capture}\n"
        "  detect: {type: detect, inputs: {frames: capture.frames}, replicas: 2}\n"
    )
    graph = Graph.from_yaml(text)
    assert graph.node("detect").replicas == 2
    assert Graph.from_yaml(graph.to_yaml()).node("detect").replicas == 2
    with pytest.raises(GraphDefinitionError, match="replicas"):
        Graph.from_yaml(text.replace("replicas: 2", "replicas: -1"))


def test_too_much_is_refused_with_names_and_sums() -> None:
    options = RayOptions(workers=6, engines="apart", engine_gpu=1.0, engine_replicas=2)
    with pytest.raises(GraphError) as refusal:
        lay_out(plan(), options, {"CPU": 4.0, "GPU": 1.0})
    told = str(refusal.value)
    assert "graph 'g' on Ray" in told
    assert "6 workers of 1 CPU" in told
    assert "2 engine actors (engine) of 1 CPU and 1 GPU" in told
    assert "8 CPU (found 4 free) and 2 GPU (found 1 free)" in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 0),
        ("engine_replicas", 0),
        ("streams_per_worker", 0),
        ("silence", 0.0),
        ("engines", "beside"),
        ("transport", "pigeons"),
    ],
)
def test_options_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(GraphDefinitionError, match=rf"ray options, {name}: expected .*{value}"):
        RayOptions(**{name: value})
