"""What can go wrong with a graph.

GraphError
├── GraphDefinitionError   the graph as written is wrong (names node, port, expected, found)
├── Refused                what is asked of a run or a cluster cannot be: it goes on as it was
├── NodeFailed             a node raised too often
│   └── NodeNotOpened          it could not be opened
├── StopTimeout            a node did not return in the time allowed for stopping
└── WorkerLost             a worker process ended without being asked to
"""

from typing import ClassVar


class GraphError(Exception):
    """Base of every error of the graph engine; its text is one sentence for a person."""

    wrong_use: ClassVar[bool] = False
    """Whether it refuses what was given before anything was made of it; else something failed."""


class GraphDefinitionError(GraphError):
    """The graph as declared cannot run: unknown key, wrong type, missing input, cycle."""

    wrong_use = True


class Refused(GraphError):
    """What is asked of a run or a cluster cannot be: an unknown name, no room, no cluster."""

    wrong_use = True


class NodeFailed(GraphError):
    """A node raised more often in a row than the run allows, or could not be opened."""


class NodeNotOpened(NodeFailed):
    """A node could not be opened: nothing was processed."""

    wrong_use = True


class StopTimeout(GraphError):
    """A node or source did not return within the time allowed for stopping."""


class WorkerLost(GraphError):
    """A worker process ended without being asked to."""
