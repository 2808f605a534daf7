"""``padflow score``: one CSV row for every picture, video or folder of ordered frames."""

import argparse
from pathlib import Path

from ..exits import Exit
from .run import add_graph_arguments, require_other, require_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Items, output file, graph."""
    parser.add_argument(
        "items",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="picture, video or folder: its pictures are ordered frames of one item, its videos "
        "and folders are items of their own",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV to write")
    add_graph_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")


def run(args: argparse.Namespace) -> int:
    """Score every item; an item that cannot be read gets a row in state ERROR and a line."""
    from ...graph.options import RunOptions
    from ..scoring import items_of, score_items
    from ..session import RunRequest, parse_override

    require_writable("--out", args.out)
    items = items_of(args.items)
    require_other("--out", args.out, items)
    request = RunRequest(
        sources=(),
        graph=args.graph,
        mode="lossless",
        policy=args.policy,
        overrides=tuple(parse_override(text) for text in args.overrides),
        options=RunOptions(threads=args.threads, workers=args.workers or 0),
    )
    failed = score_items(items, request, args.out, quiet=args.quiet)
    if not failed:
        return Exit.DONE
    return Exit.WRONG_USE if failed == len(items) else Exit.FAILED
