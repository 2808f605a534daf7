"""``padflow evidence``: what every cue says of labelled recordings, for fusion and studies."""

import argparse
import sys
from pathlib import Path

from ..exits import Exit, UsageError
from .labelled import add_layout, read_labelled
from .run import add_graph_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, layout, output, graph."""
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="labelled recordings, e.g. live/ and attack/<species>/",
    )
    add_layout(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder to write; what is in it already is not made again",
    )
    add_graph_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Run the graph over every recording that has no file yet."""
    from ...engines.locks import sole_writer
    from ...graph.options import RunOptions
    from ..recording import record
    from ..session import RunRequest, parse_override

    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: expected a folder, found a file; name another")
    dataset = read_labelled(args.layout, args.data)
    request = RunRequest(
        sources=(),
        graph=args.graph,
        mode="lossless",
        policy=args.policy,
        overrides=tuple(parse_override(text) for text in args.overrides),
        options=RunOptions(threads=args.threads, workers=args.workers or 0),
    )
    with sole_writer(args.out):
        made = record(dataset, request, args.out, quiet=args.quiet)
    for item, why in made.failed.items():
        print(f"{item}: {why}", file=sys.stderr)
    if not args.quiet:
        print(f"{made.written} recordings written to {args.out}, {made.known} were there")
    if made.failed and not (made.written or made.known):
        return Exit.WRONG_USE  # nothing could be processed
    return Exit.FAILED if made.failed else Exit.DONE
