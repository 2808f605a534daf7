"""``padflow streams``: list, add, remove, pause and resume the streams of a hub."""

import argparse
from typing import TYPE_CHECKING

from ..exits import Exit
from .up import CLUSTER, add_hub_arguments

if TYPE_CHECKING:
    from ..hub import StreamRow

ACTIONS = ("list", "add", "remove", "pause", "resume")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An action, and what it is done to."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name in ACTIONS:
        action = actions.add_parser(name, help=f"{name} streams of a hub")
        if name != "list":
            action.add_argument("stream", metavar="STREAM", help="name of the stream")
        if name == "add":
            action.add_argument(
                "uri", metavar="SOURCE", help="its address; ${NAME} is taken from the environment"
            )
        add_hub_arguments(action)
        action.add_argument("--address", default="auto", metavar="ADDRESS", help=CLUSTER)


def run(args: argparse.Namespace) -> int:
    """Do it and show where the streams stand."""
    from ...graph.ray_join import cluster
    from ..hub_client import ask, find, with_secrets

    with cluster(args.address) as ray:
        hub = find(ray, args.name)
        if args.action == "add":
            ask(ray, hub.add.remote(args.stream, with_secrets(args.uri)))
        elif args.action != "list":
            ask(ray, getattr(hub, args.action).remote(args.stream))
        _show(ask(ray, hub.list.remote()))
    return Exit.DONE


def _show(rows: "list[StreamRow]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("stream", "state", "reason", "worker", "engine"):
        table.add_column(column)
    for column in ("packets", "reconnects", "LIVE", "SPOOF", "UNDECIDED"):
        table.add_column(column, justify="right")
    table.add_column("source")
    for row in rows:
        counts = (str(row.verdicts.get(state, 0)) for state in ("LIVE", "SPOOF", "UNDECIDED"))
        table.add_row(
            *(row.name, row.state, row.reason, row.worker, row.engine),
            *(str(row.packets), str(row.reconnects), *counts),
            row.uri,
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)
