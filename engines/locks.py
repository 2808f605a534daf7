"""Locks between processes on a folder: for caches, the model folder, and whoever writes a store."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import FolderInUse

LOCK = ".lock"
"""The file in the folder that is locked."""

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
    with (folder / LOCK).open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that is %s in %s", waiting_for, folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the one lock of ``folder``, or refuse where another has it (a thread of ours, too).

    For folders that are begun with what was asked and gone on with: two that write at once would
    each do what the other does. The kernel drops this lock like that of :func:`folder_lock`.

    Args:
        folder: made if it is not there, and removed where it is empty afterwards. Only a holder
            that was killed leaves the file ``.lock`` in it, which bars nobody.

    Raises:
        FolderInUse: another is writing to it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with path.open("ab") as handle:
        if not _locked(handle, path):
            raise FolderInUse(
                f"{folder}: expected nobody else to write to it, found another process doing so; "
                "wait for its end, or give another folder"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # there is something in it
                if made:
                    folder.rmdir()


def _locked(handle: BinaryIO, path: Path) -> bool:
    """Whether an open file could be locked, and is the one at its path: no holder removed it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
