"""What each appearance network costs a face, in every precision, beside PyTorch."""

from rich.console import Console
from rich.table import Table

from ..graph.machine import processors


def bench_networks() -> None:
    """Print the table when all is measured, which takes some minutes."""
    from ..trainers.speed import network_costs

    threads = processors()
    console = Console()
    table = Table(title=f"networks, one face at a time, {threads} threads", box=None)
    for column in ("network", "how"):
        table.add_column(column, no_wrap=True)
    for column in ("pictures a face", "faces/s", "CPU-ms a face", "file MB"):
        table.add_column(column, justify="right")
    eager: dict[str, float] = {}
    table.add_column("times torch eager", justify="right")
    for cost in network_costs(threads=threads):
        if not cost.megabytes:
            eager[cost.network] = cost.faces_per_s
        times = cost.faces_per_s / eager[cost.network] if cost.network in eager else None
        table.add_row(
            cost.network,
            cost.how,
            str(cost.pictures),
            f"{cost.faces_per_s:.1f}",
            f"{cost.cpu_ms:.2f}",
            f"{cost.megabytes:.2f}" if cost.megabytes else "",
            "" if times is None else f"{times:.2f}",
        )
    console.print(table)
