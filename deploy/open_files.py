"""Room for the files of a run's sources: each is open from its first picture to its last."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, inf
from typing import TYPE_CHECKING

from ..graph.local import worker_count
from .exits import UsageError

if TYPE_CHECKING:
    from .session import RunRequest

_LEAST_BESIDE = 16
"""Files that a process has open beside those of its streams at least."""
_MOST_BESIDE = 256
"""The same at most: libraries and devices of a GPU, models, pipes, sockets."""


def demand_room_for_files(request: "RunRequest") -> None:
    """Refuse a local run of more streams than files may be open, for a program of somebody else's.

    Its limit is left as it is: that is the whole process's, and what else it does is not ours.

    Raises:
        UsageError: the process's limit is below what the sources need.
    """
    soft = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    needed = _needed(request)
    if needed + _LEAST_BESIDE > soft:
        raise UsageError(
            f"{len(request.sources)} sources: expected a limit of open files of at least "
            f"{needed + _LEAST_BESIDE} for this process, and more for what else it has open, found "
            f"{soft:.0f}; raise it (ulimit -n, resource.setrlimit), give more workers "
            "(options=RunOptions(workers=N)) or fewer sources at once"
        )


@contextmanager
def room_for_files(request: "RunRequest") -> Iterator[None]:
    """While it lasts, as many files may be open as the streams of a local run need.

    The limit that is raised is this process's own, up to the system's (``ulimit -Hn``); worker
    processes inherit it.

    Raises:
        UsageError: the system's limit is below what the sources need.
    """
    soft, hard = (_number(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    needed = _needed(request)
    if needed + _LEAST_BESIDE > hard:
        raise UsageError(
            f"{len(request.sources)} sources: expected a limit of open files of at least "
            f"{needed + _LEAST_BESIDE} for a process, found {hard:.0f}; raise it (ulimit -Hn), "
            "give more --workers or fewer sources at once"
        )
    wanted = int(min(needed + _MOST_BESIDE, hard))
    if not needed or wanted <= soft:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _number(limit: int) -> float:
    return inf if limit == resource.RLIM_INFINITY else limit


def _needed(request: "RunRequest") -> int:
    """Files of one process's streams; on Ray they are the workers' own."""
    return 0 if request.ray is not None else _most_streams(request) * _files_each(request)


def _most_streams(request: "RunRequest") -> int:
    """Streams that one process carries at most."""
    streams = len(request.sources)
    return ceil(streams / max(worker_count(request.options, streams), 1))


def _files_each(request: "RunRequest") -> int:
    """A stream's source, and its annotated video."""
    return 1 if request.video is None else 2
