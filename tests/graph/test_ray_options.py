"""What fits on a cluster, and how it is told where it does not."""

from dataclasses import replace
from typing import Any

import pytest

from padflow.graph.errors import GraphDefinitionError, GraphError
from padflow.graph.node import Contract, Resources
from padflow.graph.plan import Plan, make_plan
from padflow.graph.ray_options import ACTOR_MEMORY, RayOptions, lay_out
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, PassThrough, PerTrack, PerTrackParams, Renumber


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
        ("most_losses", 0),
        ("spare_workers", -1),
        ("spare_engines", -1),
        ("worker_cpu", 0.0),
        ("engine_cpu", -1.0),
        ("start_timeout", 0.0),
        ("engine_gpu", -0.5),
        ("window", -0.1),
        ("silence", 0.0),
        ("engines", "beside"),
        ("transport", "pigeons"),
    ],
)
def test_options_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(GraphDefinitionError, match=rf"ray options, {name}: expected .*{value}"):
        RayOptions(**{name: value})


def test_a_gpu_and_a_half_is_refused_as_ray_refuses_it() -> None:
    room = {"CPU": 16.0, "GPU": 4.0}
    options = RayOptions(engines="apart", workers=2, engine_gpu=1.5)
    with pytest.raises(GraphDefinitionError, match=r"whole ones, found 1\.5 \(engine_gpu"):
        lay_out(plan(), options, room)
    for fits in (0.0, 0.5, 1.0, 2.0):
        assert lay_out(plan(), replace(options, engine_gpu=fits), room).engine_gpu == fits


class OnGpu(PerTrack):
    """As an engine that asks for half a GPU."""

    @classmethod
    def contract(cls, params: PerTrackParams) -> Contract:
        return replace(super().contract(params), resources=Resources(gpu=0.5))


def gpu_plan() -> Plan:
    return make_plan(
        Graph.build("g")
        .add("source", ListSource)
        .add("first", Renumber, {}, {"in": "source.out"})
        .add("engine", OnGpu, {"shared": True}, {"in": "first.out"})
    )


def test_auto_puts_networks_that_ask_for_a_gpu_into_actors_of_their_own() -> None:
    layout = lay_out(gpu_plan(), RayOptions(workers=3), {"CPU": 8.0, "GPU": 1.0})
    assert (layout.workers, layout.engines) == (3, 2)
    assert (layout.engine_gpu, layout.gpu) == (0.5, 1.0)
    assert layout.engine_stages == ("engine",)
    assert layout.cpu == 5.0


def test_auto_stays_within_where_a_gpu_is_free_but_nobody_asks_for_it() -> None:
    layout = lay_out(plan(), RayOptions(), {"CPU": 8.0, "GPU": 4.0})
    assert (layout.workers, layout.engines, layout.gpu) == (8, 0, 0.0)


def test_networks_within_the_workers_need_no_gpu() -> None:
    layout = lay_out(gpu_plan(), RayOptions(engines="within"), {"CPU": 2.0})
    assert (layout.workers, layout.engines, layout.gpu) == (2, 0, 0.0)
    assert "engine" in layout.worker_stages


def test_a_graph_without_networks_has_workers_only() -> None:
    alone = make_plan(Graph.build("g").add("source", ListSource))
    for engines in ("auto", "apart", "within"):
        layout = lay_out(alone, RayOptions(engines=engines), {"CPU": 3.0})
        assert (layout.workers, layout.engines, layout.worker_stages) == (3, 0, ("source",))


def test_workers_take_the_processors_that_engines_leave() -> None:
    options = RayOptions(engines="apart", engine_replicas=2, engine_cpu=1.5, worker_cpu=0.5)
    layout = lay_out(plan(), options, {"CPU": 5.0})
    assert (layout.workers, layout.cpu) == (4, 5.0)


def test_a_gpu_that_the_cluster_lacks_is_told() -> None:
    with pytest.raises(GraphError) as refusal:
        lay_out(gpu_plan(), RayOptions(workers=1), {"CPU": 8.0})
    told = str(refusal.value)
    assert "engine actors (engine) of 1 CPU and 0.5 GPU" in told
    assert "need 0.5 GPU (found 0 free)" in told
    assert "\n" not in told


def test_one_worker_too_many_is_told_and_one_less_fits() -> None:
    lay_out(plan(), RayOptions(workers=4), {"CPU": 4.0})
    with pytest.raises(GraphError, match=r"5 workers of 1 CPU need 5 CPU \(found 4 free\)"):
        lay_out(plan(), RayOptions(workers=5), {"CPU": 4.0})


ROOM = {"CPU": 4.0, "memory": 8.0 * 2**30}


def test_a_realtime_run_has_a_spare_where_there_is_room_and_a_lossless_one_has_none() -> None:
    live = lay_out(plan(), RayOptions(), ROOM, "realtime")
    assert (live.workers, live.spare_workers, live.cpu) == (4, 1, 4.0)
    assert lay_out(plan(), RayOptions(), ROOM, "lossless").spare_workers == 0
    assert lay_out(plan(), RayOptions(spare_workers=2), ROOM, "lossless").spare_workers == 2
    assert lay_out(plan(), RayOptions(spare_workers=0), ROOM, "realtime").spare_workers == 0
    little = {"CPU": 4.0, "memory": 4.5 * ACTOR_MEMORY}
    assert lay_out(plan(), RayOptions(), little, "realtime").spare_workers == 0


def test_on_several_machines_a_spare_asks_for_its_processor() -> None:
    layout = lay_out(plan(), RayOptions(), ROOM, "realtime", machines=2)
    assert (layout.workers, layout.spare_workers, layout.cpu) == (3, 1, 4.0)
    full = lay_out(plan(), RayOptions(workers=4), ROOM, "realtime", machines=2)
    assert (full.workers, full.spare_workers) == (4, 0)
    asked = RayOptions(workers=4, spare_workers=1)
    with pytest.raises(GraphError, match=r"4 workers and 1 spare of 1 CPU need 5 CPU \(found 4"):
        lay_out(plan(), asked, ROOM, "realtime", machines=2)
    assert lay_out(plan(), asked, ROOM, "realtime", machines=1).spare_workers == 1


def test_engines_apart_have_a_spare_but_not_on_a_gpu() -> None:
    apart = RayOptions(engines="apart", workers=2, engine_replicas=1)
    layout = lay_out(plan(), apart, ROOM, "realtime")
    assert (layout.spare_workers, layout.spare_engines) == (1, 1)
    assert layout.actors() == [
        ("engine", 1.0, False),
        ("worker", 1.0, False),
        ("worker", 1.0, False),
        ("engine", 0.0, True),
        ("worker", 0.0, True),
    ]
    on_gpu = lay_out(plan(), apart, ROOM | {"GPU": 1.0}, "realtime")
    assert (on_gpu.spare_engines, on_gpu.gpu) == (0, 1.0)
    halves = replace(apart, engine_gpu=0.5, spare_engines=1)
    assert lay_out(plan(), halves, ROOM | {"GPU": 1.0}, "realtime").gpu == 1.0
