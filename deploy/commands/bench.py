"""``padflow bench``: tables of what this machine does. Prints, and writes nothing."""

import argparse
from math import inf
from pathlib import Path

from ..exits import Exit, UsageError

MISSING = (
    "padflow bench networks needs {name}, which is not installed; install the extra: "
    "pip install 'padflow[train]'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which table, and how long to measure."""
    parser.add_argument(
        "what",
        nargs="?",
        default="all",
        choices=(
            *("all", "hops", "networks", "frame", "cues", "streams"),
            *("transport", "ray", "scaling"),
        ),
        help="hops: a packet from node to node; networks: what a face costs in every precision; "
        "cues: how often each node of a graph looks, and its CPU; "
        "frame: CPU of each part beside a hand-written loop; streams: how many run in real time; "
        "transport, ray, scaling (not in all): ways between processes, local beside Ray, "
        "simulated engines",
    )
    parser.add_argument("--clip", type=Path, help="measure on this clip (default: rendered ones)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of rendered clips")
    parser.add_argument(
        "--visit-every",
        type=float,
        metavar="S",
        help="rendered clips: another face comes in every so many seconds (at least 3; default: "
        "one is there all the time)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is told")
    parser.add_argument(
        "--graph",
        nargs="+",
        default=["every_cue", "default"],
        metavar="NAME|FILE",
        help="whose cues and streams (default: every_cue default)",
    )
    parser.add_argument("--least", type=int, default=2, help="streams to begin with")
    parser.add_argument("--most", type=int, default=24, help="streams to end with")
    parser.add_argument("--workers", type=int, help="worker processes for the streams")


def run(args: argparse.Namespace) -> int:
    """Print the tables asked for."""
    _refuse_nonsense(args)
    if args.what in ("all", "hops"):
        from ..bench_hops import main as hops

        hops([])
    if args.what in ("all", "networks"):
        _networks(needed=args.what == "networks")
    if args.what in ("all", "frame", "streams"):
        from ..bench_pipeline import bench_pipeline

        bench_pipeline(args)
    if args.what in ("all", "cues"):
        from ..bench_cues import bench_cues

        bench_cues(args)
    if args.what in ("transport", "ray", "scaling"):
        _on_ray(args)
    return Exit.DONE


def _refuse_nonsense(args: argparse.Namespace) -> None:
    if args.clip is not None:
        _require_video(args.clip)
    if not 0 < args.seconds < inf:
        raise UsageError(f"--seconds {args.seconds:g}: expected seconds above 0; give more")
    for option, count in (("--rounds", args.rounds), ("--least", args.least)):
        if count < 1:
            raise UsageError(f"{option} {count}: expected at least 1; give more")
    if args.most < args.least:
        raise UsageError(f"--most {args.most}: expected no less than --least {args.least}")


def _on_ray(args: argparse.Namespace) -> None:
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(
            f"padflow bench {args.what} needs ray, which is not installed; install the extra: "
            "pip install 'padflow[cluster]'"
        ) from error
    if args.what == "transport":
        from ..bench_transport import bench_transport

        bench_transport(args.rounds)
    elif args.what == "scaling":
        from ..bench_scaling import bench_scaling

        bench_scaling(args.seconds)
    else:
        _runtimes(args)


def _runtimes(args: argparse.Namespace) -> None:
    from ..bench_ray import bench_ray

    if args.clip is None:
        raise UsageError(
            "padflow bench ray: expected --clip with a clip whose frame rate lets this machine "
            "carry eight of it, found none; render one, or take one of yours"
        )
    bench_ray(args.clip, args.seconds)


def _networks(needed: bool) -> None:
    try:
        from ..bench_networks import bench_networks

        bench_networks()
    except ModuleNotFoundError as error:
        lack = MISSING.format(name=error.name)
        if needed:
            raise UsageError(lack) from error
        print(lack)


def _require_video(clip: Path) -> None:
    """Refuse a clip that nothing can be measured on.

    Raises:
        UsageError: it is no file, or holds no picture that can be decoded.
    """
    import av

    from ...nodes.capture_media import unreadable

    if not clip.is_file():
        raise UsageError(f"--clip {clip}: expected a video file, found none; check the path")
    try:
        with av.open(str(clip)) as container:
            found = next(container.decode(video=0), None) is not None
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise UsageError(f"--clip {clip}: {unreadable('a video', error)}") from error
    if not found:
        raise UsageError(f"--clip {clip}: {unreadable('a video', 'no picture in it')}")
