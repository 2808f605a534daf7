"""The tables of the stream study as Markdown: the same numbers give the same text."""

from collections.abc import Iterator, Sequence

from .markdown import INTERVALS, head, line, percent
from .rates import Json


def stream_text(found: Json) -> str:
    """The ablation, then the time to a decision."""
    lines = [
        "## Cues over time",
        "",
        f"{found['recordings']} recordings of {found['people']} people. At equal priors (0 nats), "
        "by fusions learned without what is judged.",
        "",
        INTERVALS,
    ]
    for protocol, one in found["ablation"].items():
        lines += ["", f"### {protocol}", ""]
        if "left_out" in one:
            lines.append(f"Not measured: {one['left_out']}.")
        else:
            lines += _columns(one["columns"])
            lines += ["", *_gains(one["gains"], found["base"])]
    lines += ["", "### Time to a decision", "", *_timing(found["decisions"])]
    lines += ["", "### Verdicts by seconds watched", "", *_by_second(found["decisions"])]
    return "\n".join(lines) + "\n"


def _columns(columns: Json) -> Iterator[str]:
    measured = {name: one for name, one in columns.items() if "left_out" not in one}
    species = sorted({name for one in measured.values() for name in one["apcer"]})
    yield from head(["cues", *(f"APCER {s}" for s in species), "BPCER", "ACER", "EER", "AUC"])
    for name, one in columns.items():
        if "left_out" in one:
            yield line([name, one["left_out"], *[""] * (len(species) + 3)])
            continue
        cells = [name, *(percent(one["apcer"].get(s)) for s in species)]
        yield line([*cells, *(percent(one[key]) for key in ("bpcer", "acer", "eer", "auc"))])


def _gains(gains: Json, base: Sequence[str]) -> Iterator[str]:
    yield (
        f"What each cue changes beside {', '.join(base)} (its own: against the others without it), "
        "in points:"
    )
    yield ""
    yield from head(["cue", "ACER", "EER", "AUC", "recordings mended", "spoiled"])
    for cue, one in gains.items():
        if "left_out" in one:
            yield line([cue, one["left_out"], *[""] * 4])
            continue
        changes = [percent(one[key]) for key in ("acer", "eer", "auc")]
        yield line([cue, *changes, str(one["mended"]), str(one["spoiled"])])


def _timing(decisions: Json) -> Iterator[str]:
    yield from head(
        ["species", "recordings", "decided", "median s", "p95 s", "LIVE", "SPOOF", "ever wrong"]
    )
    for species, one in decisions.items():
        shares = (one["decided"], one["live"], one["spoof"], one["wrong_ever"])
        decided, live, spoof, wrong = (f"{100 * share:.0f} %" for share in shares)
        times = [_seconds(one["median"]), _seconds(one["p95"])]
        yield line([species, str(one["recordings"]), decided, *times, live, spoof, wrong])


def _by_second(decisions: Json) -> Iterator[str]:
    seconds: Sequence[str] = list(next(iter(decisions.values()))["by_second"]) if decisions else []
    yield "LIVE / SPOOF in % of the recordings that are so long."
    yield ""
    yield from head(["species", *(f"{s} s" for s in seconds)])
    for species, one in decisions.items():
        yield line([species, *(_standing(one["by_second"][s]) for s in seconds)])


def _standing(one: Json | None) -> str:
    if one is None:
        return ""
    return f"{100 * one['LIVE']:.0f} / {100 * one['SPOOF']:.0f} of {one['recordings']}"


def _seconds(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.1f}"
