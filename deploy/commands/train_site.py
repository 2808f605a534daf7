"""``padflow train site``: shipped networks, trained on for one's own camera, light and people."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exits import Exit, UsageError

if TYPE_CHECKING:
    from ...engines.bundle import Bundle

NODES = {
    "depth": "depth_net",
    "patch": "patch_net",
    "context": "context_net",
    "views": "context_net",
}
"""Node that takes a network, by the first word of the network's name."""


def add_site_arguments(parser: argparse.ArgumentParser) -> None:
    """What only ``padflow train site`` takes."""
    group = parser.add_argument_group(
        "site", "padflow train site --live FOOTAGE... --out DIR: adapt networks to one's own door"
    )
    group.add_argument(
        "--live",
        nargs="+",
        default=[],
        type=Path,
        metavar="FOOTAGE",
        help="clips, pictures or folders of living people before the site's own camera",
    )
    group.add_argument("--minutes", type=float, default=25.0, help="for all of it (default: 25)")
    group.add_argument(
        "--base",
        action="append",
        default=[],
        type=Path,
        metavar="BUNDLE",
        help="bundle to start from; several give several (default: the shipped views network; from "
        "40 and 60 minutes on depth_light and patch_light too)",
    )
    group.add_argument(
        "--people",
        type=Path,
        metavar="CSV",
        help="who is in which footage: item,person (default: each clip or visit is a person)",
    )


def run_site(args: argparse.Namespace, folder: Path) -> int:
    """Adapt, write bundles and report.

    Args:
        args: Of the command.
        folder: Working folder, for crops and training runs.
    """
    _check(args, folder)
    from ...trainers.site import PAGE, SiteOptions, adapt
    from ...trainers.sources import SourceFilesError, read_people

    try:
        options = SiteOptions(
            minutes=args.minutes,
            bases=tuple(args.base),
            people=read_people(args.people) if args.people else {},
            data=tuple(args.data),
            files=tuple(args.files) if args.files else (),
            workers=args.threads or 0,
            seed=args.seed or 0,
            resume=args.resume,
        )
        bundles = adapt(args.live, args.out, folder, options, _say)
    except SourceFilesError as error:
        raise UsageError(str(error)) from error
    _tell(bundles, args.out / PAGE)
    return Exit.DONE


def _check(args: argparse.Namespace, folder: Path) -> None:
    if not args.live:
        raise UsageError("train site: expected footage of living people, found none; give --live")
    if not args.minutes > 0:
        raise UsageError(f"--minutes: expected more than 0, found {args.minutes:g}")
    for name in ("epochs", "max_minutes"):
        if getattr(args, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')}: expected none with train site, which fits its "
                "training into --minutes"
            )
    if args.validate:
        raise UsageError(
            "--validate: expected none with train site, which checks on held-out people"
        )
    if args.workers != 1:
        raise UsageError("--workers: expected none with train site, which learns in one process")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: expected a folder, found a file; name another")
    if not args.resume and (folder / "stores.json").exists():
        raise UsageError(
            f"{folder}: holds an adaptation already; go on with --resume, or give another --run"
        )


def _tell(bundles: "list[Bundle]", page: Path) -> None:
    """Where the bundles are and how a graph uses them."""
    for bundle in bundles:
        node = NODES.get(bundle.manifest.about.name.partition("_")[0], "NODE")
        _say(f"use it: padflow run SOURCE --set {node}.engine={bundle.folder}")
    _say(f"report: {page}")


def _say(text: Any) -> None:
    print(text, flush=True)
