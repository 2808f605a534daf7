"""``padflow graph show``: a graph and the plan it runs by, as text, SVG or PNG."""

import argparse
import os
import tempfile
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
    write_whole(args.out, to_svg(plan).encode())
    print(args.out)
    return Exit.DONE


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.chmod(aside, 0o644)
    os.replace(aside, path)
