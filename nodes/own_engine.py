"""How a node opens its network: its own, which padflow ships, or another that the user names."""

from ..engines import Engine, ModelMissing, load_engine
from ..engines.bundle import bundle_folders
from ..engines.network import Precision


def open_engine(
    asked: str, own: str, cue: str, *, backend: str, threads: int, precision: Precision
) -> Engine | str:
    """The engine; or, where the node's own is not on this machine, a sentence that says so.

    Args:
        asked: name or folder of a bundle; empty: the node's own.
        own: name of the node's own bundle.
        cue: what the node gives evidence of.
        backend: as of :func:`~padflow.engines.load_engine`, like the rest.
        threads: CPU threads.
        precision: of the network.

    Raises:
        EngineError: it cannot be loaded, or one that the user names is not there.
    """
    try:
        return load_engine(asked or own, backend=backend, threads=threads, precision=precision)
    except ModelMissing as error:
        if asked not in ("", own):
            raise
        if own in bundle_folders():
            return f"{error}; until then faces get no {cue} evidence"
        return (
            f"there is no bundle called {own} on this machine, so faces get no {cue} evidence; "
            "name the folder of one in the node's parameter engine"
        )
