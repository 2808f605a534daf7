"""What can go wrong with a graph.

GraphError
├── GraphDefinitionError   the graph as written is wrong (names node, port, expected, found)
├── Refused                what is asked of a run or a cluster cannot be: it goes on as it was
├── NodeFailed             a node raised too often
│   └── NodeNotOpened          it could not be opened
├── StopTimeout            a node did not return in the time allowed for stopping
└── WorkerLost             a worker process ended without being asked to
"""


class GraphError(Exception):
    """Base of every error of the graph engine; its text is one sentence for a person."""

    wrong_use: bool = False
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
    """A node could not be opened: nothing was processed.

    Wrong use where what stopped it is: a name or a file that is not what it should be, and not a
    device or a service that does not answer now.
    """

    @classmethod
    def of(cls, node: str, cause: Exception) -> "NodeNotOpened":
        """That ``cause`` kept ``node`` from being opened."""
        found = cls(f"node '{node}' could not be opened: {type(cause).__name__}: {cause}")
        away = isinstance(cause, (ConnectionError, TimeoutError))
        given = isinstance(cause, (ValueError, OSError)) and not away
        found.wrong_use = getattr(cause, "wrong_use", given)
        return found


class StopTimeout(GraphError):
    """A node or source did not return within the time allowed for stopping."""


class WorkerLost(GraphError):
    """A worker process ended without being asked to."""
