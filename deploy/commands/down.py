"""``padflow down``: end a hub, after what its cameras gave is worked off."""

import argparse
import sys
import time

from ..exits import Exit
from .up import CLUSTER, add_hub_arguments

STOP_SECONDS = 60.0
LINGER_SECONDS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which hub."""
    add_hub_arguments(parser)
    parser.add_argument("--address", default="auto", metavar="ADDRESS", help=CLUSTER)


def run(args: argparse.Namespace) -> int:
    """Drain, stop, kill."""
    from ...graph.ray_join import cluster
    from ..hub_client import ask, find

    with cluster(args.address) as ray:
        hub = find(ray, args.name)
        try:
            ask(ray, hub.stop.remote(), STOP_SECONDS)
            # Whoever waits for it (up --wait) looks every two seconds.
            time.sleep(LINGER_SECONDS)
        finally:
            ray.kill(hub)
    print(f"{args.name}: ended", file=sys.stderr)
    return Exit.DONE
