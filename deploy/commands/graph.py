"""``padflow graph show``: a graph and the plan it runs by, as text or SVG."""

import argparse
from pathlib import Path

from ..exits import Exit, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The only action is ``show``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print or draw a graph and its plan")
    show.add_argument("graph", nargs="?", default="default", help="name or YAML file")
    show.add_argument("--out", type=Path, metavar="FILE", help="draw to FILE (.svg)")
    show.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="NODE.PARAM=VALUE"
    )
    show.add_argument("--no-fuse", action="store_true", help="plan every node as its own stage")


def run(args: argparse.Namespace) -> int:
    """Print the text form, or write the drawing."""
    from ...engines.whole_file import write_whole
    from ...graph.draw import to_svg
    from ...graph.plan import describe, make_plan
    from ..session import RunRequest, build_graph, parse_override

    overrides = tuple(parse_override(text) for text in args.overrides)
    graph = build_graph(RunRequest(sources=(), graph=args.graph, overrides=overrides))
    plan = make_plan(graph, fuse=not args.no_fuse)
    if args.out is None:
        print(describe(plan))
        return Exit.DONE
    if args.out.suffix.lower() != ".svg":
        raise UsageError(
            f"--out {args.out}: expected a file ending in .svg, found '{args.out.suffix}'; "
            "name it so"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, to_svg(plan), mode=0o644)
    print(args.out)
    return Exit.DONE
