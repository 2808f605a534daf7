"""``padflow run``: watch sources and tell, for every face, LIVE, SPOOF or UNDECIDED."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from ...graph.ray_options import RayOptions
from ...nodes.sources import SourceAddress, shown_address
from ..exits import UsageError

WORKERS = "worker processes; 0 runs in threads (default: by the number of streams)"
WORKER_ACTORS = "worker actors (default: as many as the cluster has room for)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sources, graph, mode, sinks."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="video file, folder of ordered pictures, rtsp:// or http:// URL, /dev/video*",
    )
    add_graph_arguments(parser, f"{WORKERS}; ray: {WORKER_ACTORS}")
    parser.add_argument(
        "--mode",
        choices=("lossless", "realtime"),
        help="lossless: every frame counts; realtime: the newest does "
        "(default: lossless where every source is a file)",
    )
    add_runtime_arguments(parser)
    parser.add_argument("--events", metavar="FILE", help="event file, - for standard output")
    parser.add_argument("--video", type=Path, metavar="FILE", help="annotated H.264 video")
    parser.add_argument(
        "--private", action="store_true", help="write health data (heart rate) to events and video"
    )
    parser.add_argument("--duration", type=float, metavar="S", help="stop after S seconds")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")
    add_metrics_arguments(parser)


def add_metrics_arguments(parser: argparse.ArgumentParser) -> None:
    """Where Prometheus metrics are served."""
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="serve Prometheus metrics on this port (9464 is usual; 0: any free one)",
    )
    parser.add_argument(
        "--metrics-address",
        default="127.0.0.1",
        metavar="IP",
        help="address to serve metrics on (default: %(default)s, which only this machine sees)",
    )


def add_runtime_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runtime, and how a graph is spread over Ray."""
    parser.add_argument(
        "--runtime",
        choices=("local", "ray"),
        default="local",
        help="local: threads and worker processes; ray: actors, here or on a cluster",
    )
    add_ray_arguments(parser)


def add_ray_arguments(
    parser: argparse.ArgumentParser, address: str = "", joins: str = "Ray is started here"
) -> None:
    """How a graph is spread over Ray; ``joins`` says what the default address means."""
    parser.add_argument(
        "--address",
        default=address,
        metavar="ADDRESS",
        help=f"ray: cluster to run on: auto, or host:port (default: {joins})",
    )
    parser.add_argument(
        "--engines",
        choices=("auto", "apart", "within"),
        default="auto",
        help="ray: networks in actors of their own, as on a cluster with GPUs, or within the "
        "workers (default: apart where a node asks for a GPU, which none of padflow's own does)",
    )
    parser.add_argument("--engine-replicas", type=int, metavar="N", help="ray: engine actors")
    parser.add_argument(
        "--streams-per-worker",
        type=int,
        default=16,
        metavar="N",
        help="ray: a stream more is refused (default: 16)",
    )
    parser.add_argument(
        "--spare-workers",
        type=int,
        metavar="N",
        help="ray: workers that are ready to take the streams of one that is lost "
        "(default: 1 in realtime where memory permits)",
    )
    parser.add_argument(
        "--spare-engines", type=int, metavar="N", help="ray: the same for engine actors"
    )


def _require_ray(args: argparse.Namespace) -> None:
    """Refuse what only Ray heeds, rather than run elsewhere than asked.

    Raises:
        UsageError: an option of :func:`add_ray_arguments` was given for the local runtime.
    """
    parser = argparse.ArgumentParser()
    add_ray_arguments(parser)
    for name, default in vars(parser.parse_args([])).items():
        if getattr(args, name) != default:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(args, name)}: expected --runtime ray, found "
                "local, which has no such thing; add --runtime ray or leave it out"
            )


def ray_options(args: argparse.Namespace) -> RayOptions:
    """What the arguments say of Ray."""
    return RayOptions(
        address=args.address,
        workers=args.workers or None,
        engines=args.engines,
        engine_replicas=args.engine_replicas,
        streams_per_worker=args.streams_per_worker,
        spare_workers=args.spare_workers,
        spare_engines=args.spare_engines,
    )


def add_graph_arguments(parser: argparse.ArgumentParser, workers: str = WORKERS) -> None:
    """What ``run`` and ``score`` share: which graph, policy and how much of the machine."""
    parser.add_argument(
        "--graph",
        default="default",
        metavar="NAME|FILE",
        help="a graph that ships with padflow, or a YAML file (default: %(default)s)",
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="policy YAML (docs/POLICY.md)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NODE.PARAM=VALUE",
        help="override one parameter, e.g. capture.transport=udp or detect.detector=short_range",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of the fused stages in each process (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help=workers,
    )


def run(args: argparse.Namespace) -> int:
    """Run until the sources end, ``--duration`` has passed or Ctrl-C."""
    from ...graph.local import RunOptions
    from ..session import RunRequest, parse_override
    from ..watch import MetricsAt, watch

    if args.duration is not None and args.duration <= 0:
        raise UsageError(f"--duration {args.duration}: expected seconds above 0; give more")
    if args.runtime == "local":
        _require_ray(args)
    if args.runtime == "ray" and args.video is not None:
        raise UsageError(
            f"--video {args.video}: expected --runtime local, found ray, where frames stay in the "
            "process that decoded them; leave one of the two out"
        )
    outputs = {
        option: Path(path)
        for option, path in (("--events", args.events), ("--video", args.video))
        if path is not None and str(path) != "-"
    }
    for option, path in outputs.items():
        require_writable(option, path)
        require_other(option, path, args.sources)
    if len(outputs) == 2:
        require_other("--video", outputs["--video"], [outputs["--events"]])
    request = RunRequest(
        sources=tuple(args.sources),
        graph=args.graph,
        mode=args.mode,
        policy=args.policy,
        events=args.events,
        video=args.video,
        private=args.private,
        overrides=tuple(parse_override(text) for text in args.overrides),
        options=RunOptions(threads=args.threads, workers=args.workers),
        ray=ray_options(args) if args.runtime == "ray" else None,
    )
    serve = args.metrics_port is not None
    at = MetricsAt(args.metrics_port, args.metrics_address) if serve else None
    return watch(request, duration=args.duration, quiet=args.quiet, metrics_at=at)


def require_writable(option: str, path: Path) -> None:
    """Refuse a file that cannot be written before hours of work go into it.

    Raises:
        UsageError: its folder does not exist or may not be written to, or it is a folder itself.
    """
    if not path.parent.is_dir():
        raise UsageError(
            f"{option} {path}: expected an existing folder, found none at {path.parent}; "
            "make it first"
        )
    if path.is_dir():
        raise UsageError(f"{option} {path}: expected a file, found a folder; give a file in it")
    if not path.exists() and not os.access(path.parent, os.W_OK):
        raise UsageError(
            f"{option} {path}: expected a folder that may be written to, found {path.parent}, "
            "which may not; check its permissions or choose another"
        )


def require_other(option: str, path: Path, taken: Iterable[str | Path]) -> None:
    """Refuse to write over a file that is read, or that something else is written to.

    Raises:
        UsageError: it is one of those taken.
    """
    for other in taken:
        if _same(path, SourceAddress(str(other), "file").path):
            raise UsageError(
                f"{option} {path}: expected a file of its own, found {shown_address(str(other))}, "
                "which it would overwrite; choose another"
            )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, ValueError):  # an address, or nothing that is there
        return False
