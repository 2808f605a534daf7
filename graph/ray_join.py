"""Ray, imported and joined: the one place that knows how, for runs, trainers and hubs."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import Refused
from .machine import processors

NAMESPACE = "padflow"


def import_ray() -> Any:
    """The package.

    Raises:
        GraphError: It is not installed.
    """
    # A driver without GPUs must not hide them from its actors; it only silences a note of Ray's.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray tells on standard output, where events may go, of every process that died. Losses are
    # told as notices.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    # Errors of actors are told as what they are; nobody asks for the second of two.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        import ray
    except ImportError as error:
        raise Refused(
            "the ray runtime: expected the package ray, found none; install padflow[cluster] or "
            "use --runtime local"
        ) from error
    return ray


def join(address: str) -> bool:
    """Join a cluster, or start Ray on this machine where the address is empty.

    Returns:
        True where whoever called should leave it again; False where this process is in one.

    Raises:
        GraphError: Ray is not installed, or there is no cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        return False
    here: dict[str, Any] = {
        "address": "local",  # not one that somebody else started here
        "num_cpus": processors(),
        "include_dashboard": False,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's notes on its own future defaults.
            ray.init(
                **({"address": address} if address else here),
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(
            f"Ray at '{address or 'this machine'}': expected a cluster that can be joined, found: "
            f"{told}; start one with 'ray start --head', check --address, or set "
            "RAY_AUTH_MODE=token where it asks for a token"
        ) from error
    return True


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Ray, joined to a cluster for as long as the block lasts.

    Raises:
        GraphError: Ray is not installed, or there is no cluster.
    """
    joined = join(address)
    ray = import_ray()
    try:
        yield ray
    finally:
        if joined:
            ray.shutdown()
