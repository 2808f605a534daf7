"""Node types by name, a plugin's among them."""

import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from padflow.graph import registry
from padflow.graph.errors import GraphDefinitionError
from padflow.graph.local import LocalRun
from padflow.graph.node import Node, StreamSpec
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, NodeConformance, Sample, packet

EXAMPLE = Path(__file__).parent / "plugin_example"

YAML = """
version: 1
name: smooth
nodes:
  numbers: {type: numbers}
  mean:
    type: moving-mean
    inputs: {values: numbers.out}
    params: {length: 2}
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the example: its package and a dist-info, in a folder that is put on the path."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "padflow_blur", tmp_path / "padflow_blur")
    info = tmp_path / "padflow_blur-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: padflow-blur\nVersion: 1.0\n")
    entries = "".join(
        f"{name} = {value}\n" for name, value in project["entry-points"]["padflow.nodes"].items()
    )
    source = f"numbers = {ListSource.__module__}:ListSource\n"
    broken = "broken = padflow_blur:Missing\nno-node = padflow_blur:MovingMeanParams\n"
    (info / "entry_points.txt").write_text(f"[padflow.nodes]\n{entries}{source}{broken}")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()
    sys.modules.pop("padflow_blur", None)


def test_a_plugin_is_used_in_yaml_by_name(plugin: None) -> None:
    got: list[Packet] = []
    with LocalRun(Graph.from_yaml(YAML), taps={"mean.means": got.append}) as run:
        run.add_stream(StreamSpec("s", "", {"count": 4}))
        assert run.wait(10)
    assert [p.payload for p in got] == [0.0, 0.5, 1.5, 2.5]
    assert "moving-mean" in registry.node_types()


def test_a_plugins_parameters_are_checked(plugin: None) -> None:
    wrong = YAML.replace("length: 2", "lenght: 2")
    with pytest.raises(GraphDefinitionError, match=r"node 'mean', params.*did you mean 'length'"):
        Graph.from_yaml(wrong).validate()


def test_an_unknown_type_names_the_nearest(plugin: None) -> None:
    with pytest.raises(GraphDefinitionError, match="did you mean 'moving-mean'"):
        registry.node_class("moving_mean")


@pytest.mark.parametrize(
    ("name", "told"), [("broken", "AttributeError"), ("no-node", "subclass of Node")]
)
def test_a_bad_entry_point_is_told(plugin: None, name: str, told: str) -> None:
    with pytest.raises(GraphDefinitionError, match=told):
        registry.node_class(name)


def test_a_registered_class_goes_to_yaml_by_its_name(plugin: None) -> None:
    graph = Graph.build("g").add("numbers", ListSource, {"count": 3})
    assert "type: numbers" in graph.to_yaml()
    assert Graph.from_yaml(graph.to_yaml()).node("numbers").node_class is ListSource


class TestPluginConforms(NodeConformance):
    """What a plugin's author writes to hold the node against the contract."""

    @pytest.fixture(autouse=True)
    def _installed(self, plugin: None) -> None:
        """The node's package is on the path."""

    def node(self) -> Node[Any]:
        moving_mean: type[Node[Any]] = import_module("padflow_blur").MovingMean
        return moving_mean(moving_mean.Params(length=3))

    def sample(self) -> Sample:
        return [("values", packet("s", n / 25, n * n)) for n in range(8)]
