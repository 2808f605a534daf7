"""What can go wrong with a graph.

GraphError
├── GraphDefinitionError   the graph as written is wrong (names node, port, expected, found)
├── NodeFailed             a node raised too often, or could not be opened
├── StopTimeout            a node did not return in the time allowed for stopping
└── WorkerLost             a worker process ended without being asked to
"""


class GraphError(Exception):
    """Base of every error of the graph engine; its text is one sentence for a person."""


class GraphDefinitionError(GraphError):
    """The graph as declared cannot run: unknown key, wrong type, missing input, cycle."""


class NodeFailed(GraphError):
    """A node could not be opened, or raised more often in a row than the run allows."""


class StopTimeout(GraphError):
    """A node or source did not return within the time allowed for stopping."""


class WorkerLost(GraphError):
    """A worker process ended without being asked to."""
