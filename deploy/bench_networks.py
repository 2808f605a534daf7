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
    for column in ("network", "how", "pictures a face", "faces/s", "CPU-ms a face", "file MB"):
        table.add_column(column, justify="left" if column in ("network", "how") else "right")
    ratio: dict[str, float] = {}
    table.add_column("times torch eager", justify="right")
    for cost in network_costs(threads=threads):
        ratio.setdefault(cost.network, cost.faces_per_s)
        table.add_row(
            cost.network,
            cost.how,
            str(cost.pictures),
            f"{cost.faces_per_s:.1f}",
            f"{cost.cpu_ms:.2f}",
            f"{cost.megabytes:.2f}" if cost.megabytes else "",
            f"{cost.faces_per_s / ratio[cost.network]:.2f}",
        )
    console.print(table)
