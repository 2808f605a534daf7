"""How a node opens its network: its own, which padflow ships, or another that the user names."""

from collections.abc import Iterable
from typing import Protocol

from ..engines import Engine, EngineError, ModelMissing, load_engine
from ..engines.bundle import bundle_folders
from ..engines.network import Precision


class EngineParams(Protocol):
    """What a node's settings say of its engine."""

    @property
    def engine(self) -> str:
        """Name or folder of a bundle; empty: the node's own."""

    @property
    def backend(self) -> str:
        """As of :func:`~padflow.engines.load_engine`, like the rest."""

    @property
    def threads(self) -> int:
        """CPU threads."""

    @property
    def precision(self) -> Precision:
        """Of the network."""


def open_engine(
    params: EngineParams, own: str, cue: str, without: Iterable[str] = ()
) -> Engine | str:
    """The engine; or, where the node's own is not on this machine, a sentence that says so.

    Args:
        params: of the node.
        own: name of the node's own bundle.
        cue: what the node gives evidence of.
        without: outputs that nothing takes.

    Raises:
        EngineError: it cannot be loaded, or one that the user names is not there.
    """
    try:
        engine = load_engine(
            params.engine or own,
            backend=params.backend,
            threads=params.threads,
            precision=params.precision,
            without=without,
        )
    except ModelMissing as error:
        if params.engine not in ("", own):
            raise
        if own in bundle_folders():
            return f"{error}; until then faces get no {cue} evidence"
        return (
            f"there is no bundle called {own} on this machine, so faces get no {cue} evidence; "
            "name the folder of one in the node's parameter engine"
        )
    try:
        engine.warm_up()
    except EngineError:
        engine.close()
        raise
    return engine
