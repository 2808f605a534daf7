"""``padflow check``: prove from an event log that a run kept its promises."""

import argparse
from pathlib import Path

from ...nodes.policy import load_policy
from ..event_check import check_log
from ..exits import Exit

MOST_TOLD = 100
"""Violations that are printed; the rest is counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log and the policies that it names."""
    parser.add_argument("log", type=Path, metavar="EVENTS", help="event log, JSON lines")
    parser.add_argument(
        "--policy",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="policy that verdicts name, beside the default one; may be given several times",
    )
    parser.add_argument(
        "--running", action="store_true", help="the run goes on: tracks need not have ended"
    )


def run(args: argparse.Namespace) -> int:
    """Print one sentence for each violation and a summary; exit code 3 if there was any."""
    policies = [load_policy(path) for path in args.policy]
    with args.log.open("rb") as lines:
        found = check_log(lines, policies, args.running)
    for violation in found.violations[:MOST_TOLD]:
        print(violation)
    if len(found.violations) > MOST_TOLD:
        print(f"and {len(found.violations) - MOST_TOLD} more")
    print(f"{args.log}: {found}")
    return Exit.FAILED if found.violations else Exit.DONE
