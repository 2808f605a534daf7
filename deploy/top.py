"""``padflow top``: streams and stages of a running graph, live in the terminal."""

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..nodes.decide import State
from ..nodes.summary import COLOURS
from .exits import Exit
from .scraping import Change, Scrape, Unreachable, scrape

PERIOD = 1.0
MOST_STREAMS = 20
"""Streams shown where nobody's terminal says how much room there is."""
WIDTH = 140
"""Columns where nobody's terminal says."""
SHARES = (0.5, 0.99)
TROUBLES = ("error", "lost", "stalled")
OTHER_LINES = 14
"""Lines of the terminal that are not left to streams and stages."""


def top(url: str, *, once: bool = False, period: float = PERIOD) -> Exit:
    """Show what a metrics page says, once or until Ctrl-C.

    Raises:
        Unreachable: nothing answers at the start. Later on, that is shown, and tried again.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    first = scrape(url)
    if once or not console.is_terminal:
        time.sleep(period)
        console.print(view(Change(first, scrape(url)), MOST_STREAMS))
        return Exit.DONE
    _follow(url, first, period, console)
    return Exit.DONE


def _follow(url: str, before: Scrape, period: float, console: Console) -> None:
    with Live(console=console, auto_refresh=False, screen=True) as live:
        lasting: RenderableType = Text(f"{url}: waiting for a second look")
        try:
            while True:
                live.update(lasting, refresh=True)
                time.sleep(period)
                try:
                    now = scrape(url)
                except Unreachable as error:
                    lasting = Text(f"no answer, trying again\n{error}", style="yellow")
                    continue
                lasting = view(Change(before, now), rows_for(console.height, now))
                before = now
        except KeyboardInterrupt:
            return


def rows_for(height: int, now: Scrape) -> int:
    """How many streams fit into a terminal beside the stages."""
    return max(3, height - len(now.by("node_calls_total", "kind", "node")) - OTHER_LINES)


def view(change: Change, most: int) -> Group:
    """Everything between two scrapes as tables; of streams and actors so many at most."""
    parts: list[RenderableType] = [_title(change.now), "", streams_table(change, most), ""]
    drops = drops_table(change)
    if drops.row_count:
        parts += [drops, ""]
    return Group(*parts, stages_table(change), "", actors_table(change, most))


def _title(now: Scrape) -> Text:
    name = next(iter(now.by("up", "graph")), ("?",))[0]
    title = Text.assemble(("padflow ", "bold"), (name, "bold"))
    title.append(f": {now.total('streams_running'):.0f} streams running")
    ended = [f"{count:.0f} {why}" for (why,), count in now.by("streams_ended", "reason").items()]
    if ended:
        title.append(f", ended: {', '.join(ended)}")
    tracks = now.by("tracks_total", "state")
    for state in State:
        title.append(f"   {state.value} {tracks.get((state.value,), 0):.0f}", COLOURS[state.value])
    if not now.total("up"):
        title.append("   the run does not answer", "red")
    return title


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        named = index == 0 or column in ("actor", "node", "reason", "source")
        table.add_column(column, justify="left" if named else "right", overflow="fold")
    return table


def streams_table(change: Change, most: int) -> Table:
    """Running streams, those that give least first."""
    states = [state.value for state in State]
    table = _table("stream", "actor", "source", "packets/s", "drops/s", "reconnects", *states)
    rates = change.rates_by("stream_packets_total", "stream", "actor")
    drops = _drops(change)
    tracks = change.now.by("stream_tracks_total", "stream", "state")
    reconnects = change.now.by("stream_reconnects_total", "stream")
    events = change.grown_by("stream_source_events_total", "stream", "state")
    for (stream, actor), rate in sorted(rates.items(), key=lambda item: (item[1], item[0]))[:most]:
        troubles = [state for state in TROUBLES if events.get((stream, state))]
        told = "running" if rate > 0 else next(iter(troubles), "silent")
        table.add_row(
            Text(stream),
            Text(actor),
            Text(told, style="green" if rate > 0 else "red"),
            f"{rate:.1f}",
            ", ".join(drops.get(stream, [])) or "0",
            f"{reconnects.get((stream,), 0):.0f}",
            *(f"{tracks.get((stream, state), 0):.0f}" for state in states),
        )
    _tell_left_out(table, len(rates) - most)
    return table


def _drops(change: Change) -> dict[str, list[str]]:
    """What a second dropped of each stream, by reason."""
    told: dict[str, list[str]] = {}
    rates = change.rates_by("stream_dropped_packets_total", "stream", "reason")
    for (stream, reason), rate in rates.items():
        if rate:
            told.setdefault(stream, []).append(f"{rate:.1f} {reason}")
    return told


def _tell_left_out(table: Table, count: int) -> None:
    if count > 0:
        table.add_row(Text(f"and {count} more", style="dim"))


def drops_table(change: Change) -> Table:
    """Where packets are dropped, and why, all streams together."""
    table = _table("dropped at", "reason", "drops/s", "in all")
    rates = change.rates_by("dropped_packets_total", "place", "reason")
    for (place, reason), count in change.now.by("dropped_packets_total", "place", "reason").items():
        if count:
            rate = rates[place, reason]
            table.add_row(Text(place), Text(reason), f"{rate:.1f}", f"{count:.0f}")
    return table


def stages_table(change: Change) -> Table:
    """Nodes, all actors of a kind together."""
    table = _table(
        "actor",
        "node",
        "packets/s",
        "batch",
        "latency ms, p50/p99",
        "frame age ms, p50/p99",
        "queue",
        "states",
        "resets",
    )
    labels = ("kind", "node")
    calls = change.grown_by("node_calls_total", *labels)
    taken = change.grown_by("node_packets_in_total", *labels)
    given = change.grown_by("node_packets_out_total", *labels)
    latency = change.quantiles_by("node_latency_seconds", SHARES, *labels)
    age = change.quantiles_by("node_frame_age_seconds", SHARES, *labels)
    states = change.now.by("node_states", *labels)
    queues, resets = _queues(change.now), _resets(change.now)
    actors = len_by_kind(change.now)
    for key, called in calls.items():
        packets = taken.get(key, 0.0)
        kind, node = key
        table.add_row(
            Text(kind if actors.get(kind, 1) == 1 else f"{kind} x{actors[kind]}"),
            Text(node),
            f"{(packets or given.get(key, 0.0)) / change.seconds:.1f}",
            f"{packets / called:.1f}" if packets and called else "-",
            _milliseconds(latency.get(key)),
            _milliseconds(age.get(key)),
            f"{queues.get(key, 0.0):.0f}",
            f"{states.get(key, 0.0):.0f}",
            ", ".join(resets.get(key, [])) or "0",
        )
    return table


def len_by_kind(now: Scrape) -> dict[str, int]:
    """How many actors of each kind there are."""
    return dict(Counter(kind for kind, _ in now.by("notices_total", "kind", "actor")))


def _milliseconds(quantiles: Sequence[float] | None) -> str:
    if quantiles is None:
        return "-"
    return "/".join(f"{float(f'{seconds * 1e3:.2g}'):g}" for seconds in quantiles)


def _queues(now: Scrape) -> dict[tuple[str, ...], float]:
    """Packets that wait before each node, by kind of actor and node."""
    queues: dict[tuple[str, ...], float] = {}
    for (kind, edge), depth in now.by("edge_queue_packets", "kind", "edge").items():
        node = edge.rpartition("->")[2].rpartition(".")[0]
        queues[kind, node] = queues.get((kind, node), 0.0) + depth
    return queues


def _resets(now: Scrape) -> dict[tuple[str, ...], list[str]]:
    told: dict[tuple[str, ...], list[str]] = {}
    for (*key, why), count in now.by("node_state_resets_total", "kind", "node", "reason").items():
        told.setdefault(tuple(key), []).append(f"{count:.0f} {why}")
    return told


def actors_table(change: Change, most: int) -> Table:
    """What the processes of a run hold, the busiest first."""
    table = _table("actor", "CPU cores", "memory MiB", "files", "threads", "notices")
    cores = change.rates_by("node_cpu_seconds_total", "actor")
    memory, files, threads = (
        change.now.by(f"process_{name}", "actor")
        for name in ("resident_memory_bytes", "open_fds", "threads")
    )
    notices = change.now.by("notices_total", "actor")
    for actor in sorted(notices, key=lambda actor: -cores.get(actor, 0.0))[:most]:
        table.add_row(
            Text(actor[0]),
            f"{cores.get(actor, 0.0):.2f}",
            f"{memory[actor] / 2**20:.0f}" if actor in memory else "-",
            f"{files[actor]:.0f}" if actor in files else "-",
            f"{threads[actor]:.0f}" if actor in threads else "-",
            f"{notices[actor]:.0f}",
        )
    _tell_left_out(table, len(notices) - most)
    return table
