"""``padflow demo``: render an access-control feed with attacks, run padflow on it, and report."""

import argparse
from pathlib import Path

from ..exits import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and which of the endless feeds."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-out"),
        metavar="DIR",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed films another day")
    parser.add_argument(
        "--size",
        default="1280x720",
        metavar="WxH",
        help="size of the camera's picture (default: %(default)s)",
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="policy YAML (docs/POLICY.md)")


def run(args: argparse.Namespace) -> int:
    """Render, run, report."""
    from ..demo import make_demo

    return make_demo(args.out, seed=args.seed, size=_size(args.size), policy=args.policy)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UsageError(f"--size {text}: expected WIDTHxHEIGHT, e.g. 1280x720; write it so")
    size = int(width), int(height)
    if any(side % 2 or not 240 <= side <= 4096 for side in size):
        raise UsageError(f"--size {text}: expected even sides of 240 to 4096 pixels; choose those")
    return size
