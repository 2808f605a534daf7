"""Node types by name: padflow's own and those of installed plugins."""

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import GraphDefinitionError
from .node import Node
from .schema import unknown_name

NodeType = type[Node[Any]]
"""A subclass of :class:`Node`."""

GROUP = "padflow.nodes"
"""Entry-point group in which a distribution names its node types."""


def node_types() -> tuple[str, ...]:
    """Names of all node types that are installed, sorted. Imports none of them."""
    return tuple(sorted(_installed()))


def node_class(name: str, where: str = "node type") -> NodeType:
    """The class of a node type, imported on first use.

    Args:
        name: Name of an entry point of the group ``padflow.nodes``.
        where: Where the name stands, for the error.

    Raises:
        GraphDefinitionError: No such type, or it cannot be imported, or it is no node.
    """
    installed = _installed()
    if name not in installed:
        # A plugin may have been put on the path since the last look.
        _installed.cache_clear()
        installed = _installed()
    if name not in installed:
        raise GraphDefinitionError(f"{where}: {unknown_name(name, sorted(installed))}")
    entry = installed[name]
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise GraphDefinitionError(
            f"{where}: expected type '{name}' to be importable from {entry.value}, "
            f"found {type(error).__name__}: {error}; install what it needs"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise GraphDefinitionError(
            f"{where}: expected {entry.value} (type '{name}') to be a subclass of Node, "
            f"found {found!r}; correct its entry point"
        )
    return found


def name_of_class(cls: type) -> str | None:
    """The name under which a class is registered, if it is."""
    value = f"{cls.__module__}:{cls.__qualname__}"
    for name, entry in _installed().items():
        if entry.value == value:
            return name
    return None


@lru_cache(maxsize=1)
def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
