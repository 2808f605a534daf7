"""padflow: face presentation-attack detection for live camera streams.

A program needs few names:

    import padflow

    for event in padflow.run(["door.mp4"]):          # CloudEvents as dictionaries
        if event["type"] == "padflow.verdict.v1":
            print(event["subject"], event["data"]["state"], event["data"]["reasons"])

``Graph`` declares a graph, ``Node`` and ``Source`` are what a plugin subclasses, ``load_engine``
runs a network. Names are imported on first use, so that ``padflow --help`` and the start of a
worker pay only for what they touch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .deploy.session import RunRequest, run
    from .engines import Engine, load_engine
    from .engines.errors import EngineError
    from .graph.errors import GraphError
    from .graph.local import LocalRun, RunOptions
    from .graph.node import Contract, Node, Port, Source, StreamSpec
    from .graph.packet import End, Packet
    from .graph.spec import Graph
    from .nodes.evidence import Evidence
    from .nodes.payloads import Event

_HOMES = {
    "Contract": ".graph.node",
    "End": ".graph.packet",
    "Engine": ".engines",
    "EngineError": ".engines.errors",
    "Event": ".nodes.payloads",
    "Evidence": ".nodes.evidence",
    "Graph": ".graph.spec",
    "GraphError": ".graph.errors",
    "LocalRun": ".graph.local",
    "Node": ".graph.node",
    "Packet": ".graph.packet",
    "Port": ".graph.node",
    "RunOptions": ".graph.local",
    "RunRequest": ".deploy.session",
    "Source": ".graph.node",
    "StreamSpec": ".graph.node",
    "load_engine": ".engines",
    "run": ".deploy.session",
}

__all__ = [
    "Contract",
    "End",
    "Engine",
    "EngineError",
    "Event",
    "Evidence",
    "Graph",
    "GraphError",
    "LocalRun",
    "Node",
    "Packet",
    "Port",
    "RunOptions",
    "RunRequest",
    "Source",
    "StreamSpec",
    "load_engine",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'padflow' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
