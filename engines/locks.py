"""A lock between processes on a folder, for caches and the model folder."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def folder_lock(folder: Path, waiting_for: str) -> Iterator[None]:
    """Hold the one lock of ``folder``, waiting for whoever has it (threads as well as processes).

    The kernel drops the lock when its holder dies, so a killed process never blocks the next.

    Args:
        folder: made if it is not there; a file ``.lock`` stays in it.
        waiting_for: what the other holder is doing, for the log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that is %s in %s", waiting_for, folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
