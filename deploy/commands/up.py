"""``padflow up``: run a graph over many cameras on a Ray cluster, and leave it running."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from ..exits import Exit
from .run import (
    WORKER_ACTORS,
    add_graph_arguments,
    add_metrics_arguments,
    add_ray_arguments,
    ray_options,
)

WATCH_SECONDS = 2.0
CLUSTER = "Ray cluster: auto or host:port (default: auto, the one here or in RAY_ADDRESS)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Cameras, name, graph, cluster."""
    parser.add_argument("cameras", type=Path, metavar="CAMERAS", help="YAML file with the cameras")
    add_hub_arguments(parser)
    add_graph_arguments(parser, WORKER_ACTORS)
    add_ray_arguments(parser, "auto", "auto, the one here or in RAY_ADDRESS")
    parser.add_argument(
        "--mode",
        choices=("lossless", "realtime"),
        default="realtime",
        help="lossless: every frame counts; realtime: the newest does (default: %(default)s)",
    )
    parser.add_argument("--events", metavar="FILE", help="event file, on the hub's machine")
    parser.add_argument(
        "--private", action="store_true", help="write health data (heart rate) to events"
    )
    add_metrics_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="stay until the hub ends, and exit with 3 if it fails: for a job that is to be "
        "started again then",
    )


def add_hub_arguments(parser: argparse.ArgumentParser) -> None:
    """By which name a hub is found."""
    parser.add_argument("--name", default="default", help="name of the hub (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Start the hub; returns when every actor is ready and every camera has begun."""
    from ...graph.local import RunOptions
    from ...graph.ray_join import cluster
    from ..hub import HubJob
    from ..hub_client import ask, launch, read_cameras
    from ..session import RunRequest, build_graph, parse_override

    cameras = read_cameras(args.cameras)
    request = RunRequest(
        sources=(),
        graph=args.graph,
        policy=args.policy,
        events=args.events,
        private=args.private,
        overrides=tuple(parse_override(text) for text in args.overrides),
    )
    spread = ray_options(args)
    job = HubJob(
        args.name,
        build_graph(request),
        cameras,
        args.mode,
        RunOptions(threads=args.threads),
        spread,
        args.metrics_port,
        args.metrics_address,
    )
    with cluster(args.address or "auto") as ray:
        hub = launch(ray, job, spread.start_timeout)
        status = ask(ray, hub.status.remote())
        told = f"{args.name}: {len(cameras)} cameras on {', '.join(status.actors)}"
        shown = f"{told}; metrics: {status.metrics_url}" if status.metrics_url else told
        print(shown, file=sys.stderr, flush=True)
        if args.wait:
            _wait(ray, hub)
    return Exit.DONE


def _wait(ray: Any, hub: Any) -> None:
    """Watch the hub until it is taken down.

    Raises:
        GraphError: Its run failed, or it ended without being asked to.
    """
    from ..hub_client import ask

    while not ask(ray, hub.ended.remote()):
        time.sleep(WATCH_SECONDS)
