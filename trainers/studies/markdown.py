"""The tables of a study as Markdown: the same numbers give the same text."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .judging import Floats, of_json
from .rates import Json
from .synthetic import BASELINE

INTERVALS = "Rates in %, with 95 % intervals by person in brackets."
FEW_CLIPS = 12
"""Sources of up to so many sequences are also listed one by one."""
WORST = 10


def synthetic_text(folds: Sequence[Json], tables: Json) -> str:
    """Protocols S1 to S4."""
    lines = [
        "## Synthetic protocols: people never seen",
        "",
        "S1: new people. S2: on media never seen as well. S3: by cameras never seen. S4: all new. "
        "Each half of the people is tested at the threshold of the other half's equal error rate "
        "on S1; EER and AUC need no threshold and are means over folds. The attacks are simulated: "
        "this says nothing of real ones.",
        "",
        INTERVALS,
        "",
    ]
    for fold in folds:
        rows = fold["rows"]
        counts = {name: rows["species"].count(name) for name in sorted(set(rows["species"]))}
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        lines.append(
            f"- fold {fold['name'] or '(only)'}: tested on {', '.join(fold['without'])} "
            f"({told}); {len(fold['media'])} media and {len(fold['cameras'])} cameras new; "
            f"{fold['rows_of_half_known_media_or_cameras']} rows left out, whose medium or camera "
            "only some networks saw"
        )
    for protocol, found in tables["protocols"].items():
        lines += ["", f"### {protocol}", ""]
        if "left_out" in found:
            lines.append(f"Not measured: {found['left_out']}.")
            continue
        lines += _protocol(found)
    return "\n".join(lines) + "\n"


def _protocol(found: Json) -> Iterator[str]:
    columns: Json = found["columns"]
    species = sorted({name for one in columns.values() for name in one["apcer"]})
    names = [
        "scores",
        *(f"APCER {name}" for name in species),
        "BPCER",
        "ACER",
        "EER",
        "AUC",
        "errors",
        "no answer live / attack",
    ]
    yield from head(names)
    for key, one in columns.items():
        cells = [
            key,
            *(percent(one["apcer"].get(name)) for name in species),
            *(percent(one[name]) for name in ("bpcer", "acer", "eer", "auc")),
            f"{one['errors']} of {one['presentations']}",
            _pair(one["no_answer"]),
        ]
        yield line(cells)
    yield ""
    few = (
        f"{key} {_times(times['errors'])} (ACER {_times(times['acer'])})"
        for key, times in found["fewer_errors"].items()
    )
    yield f"Fewer errors than {BASELINE}: {', '.join(few)}."


def _times(value: float | None) -> str:
    return "without error" if value is None else f"{value:g} times"


def real_text(folds: Sequence[Json], tables: Json) -> str:
    """Real sequences: rates by source, and few or wrong sequences one by one."""
    lines = [
        "## Real footage, by sequence",
        "",
        f"Networks: mean of the ratios of a sequence's rows. Fusions: {_looks(folds[0])}. BPCER at "
        "APCER 5 % and EER are at thresholds of these sequences themselves. LIVE and SPOOF: at "
        "the policy's thresholds.",
        "",
        INTERVALS,
    ]
    for found in tables["sets"]:
        fold = next(fold for fold in folds if fold["name"] == found["fold"])
        own = [i for i, name in enumerate(fold["rows"]["source"]) if name == found["source"]]
        some = next(iter(found["columns"].values()))
        lines += [
            "",
            f"### {' '.join(filter(None, (found['source'], found['fold'])))}",
            "",
            f"{some['live']} live sequences, {some['attacks']} attacks, "
            f"{len({fold['rows']['person'][i] for i in own})} people.",
            "",
            *_source(found["columns"]),
        ]
        if len(own) <= FEW_CLIPS:
            lines += ["", *_clips(fold, own)]
        elif some["live"] and some["attacks"]:
            lines += ["", *_wrong(fold, own)]
    return "\n".join(lines) + "\n"


def _looks(fold: Json) -> str:
    if not fold["step"]:
        return "as the graph adds up the networks' means, as one look"
    return f"what the graph would say at the end of the sequence, rows {fold['step']:g} s apart"


def _source(columns: Mapping[str, Json]) -> Iterator[str]:
    names = ["scores", "AUC", "EER", "BPCER at APCER 5 %", "no answer live / attack"]
    yield from head([*names, "attacks LIVE", "live SPOOF", "live LIVE"])
    for key, one in columns.items():
        policy = one.get("at_policy", {})
        yield line(
            [
                key,
                *(percent(one.get(name)) for name in ("auc", "eer", "bpcer_at_apcer_5")),
                _pair(one["no_answer"]) if "no_answer" in one else "",
                *(_share(policy.get(name)) for name in ("apcer", "bpcer", "live")),
            ]
        )


def _wrong(fold: Json, own: Sequence[int]) -> Iterator[str]:
    """The sequences furthest on the wrong side, by the last fusion or the only network."""
    key = _last(fold)
    score = of_json(fold["scores"][key])
    live = np.array([name == "live" for name in fold["rows"]["species"]])
    margin = np.where(live, score, -score)
    rows = [i for i in own if not np.isnan(margin[i])]
    rows.sort(key=lambda i: (margin[i], fold["rows"]["clip"][i]))
    yield f"The sequences that {key} gets most wrong:"
    yield ""
    yield from _clips(fold, rows[:WORST])


def _last(fold: Json) -> str:
    return str([*fold["served"], *fold["fused"]][-1])


def live_text(folds: Sequence[Json]) -> str:
    """Real live clips one by one, and how many reach the policy's thresholds."""
    lines = [
        "## Real live clips, one by one",
        "",
        "Mean ratio in nats of a clip's rows by network, within the calibration's limits; in "
        "brackets the share of rows that are unlike the training. Fusions: "
        f"{_looks(folds[0])}.",
    ]
    for fold in folds:
        spoof, live = fold["thresholds"]
        clips = len(fold["rows"]["clip"])
        lines += ["", f"### {fold['name'] or 'all'}", ""]
        for key in fold["fused"] or fold["served"]:
            score = of_json(fold["scores"][key])
            lines.append(
                f"- {key}: {_count(score >= live)} of {clips} clips at or above {live:.2f} nats "
                f"(LIVE), {_count(score <= spoof)} at or below {spoof:.2f} (SPOOF), "
                f"{_count(np.isnan(score))} without evidence"
            )
        lines += ["", *_clips(fold, range(clips))]
    return "\n".join(lines) + "\n"


def _count(which: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int:
    return int(which.sum())


def _clips(fold: Json, own: Sequence[int]) -> Iterator[str]:
    rows = fold["rows"]
    sharp: Floats = of_json(next(reversed(fold["scores"].values())))
    names = ["clip", "person", "species", "rows", "face px", *fold["served"], *fold["fused"]]
    yield from head([*names, "sharpness"])
    for i in own:
        cells = [
            *(str(rows[name][i]) for name in ("clip", "person", "species", "frames")),
            f"{rows['face_px'][i]:.0f}",
        ]
        for key, values in fold["served"].items():
            strange = fold["unlike_training"][key][i] or 0.0
            mark = f" ({100 * strange:.0f} %)" if strange else ""
            cells.append(_nats(values[i]) + mark)
        cells += [_nats(fold["scores"][key][i]) for key in fold["fused"]]
        yield line([*cells, f"{sharp[i]:.2f}"])


def _nats(value: float | None) -> str:
    return "none" if value is None else f"{value:+.2f}"


def percent(one: Json | None) -> str:
    """A rate in percent with its interval; empty where there is none."""
    if one is None:
        return ""
    text = f"{100 * one['value']:.1f}"
    if one["low"] is None:
        return text
    return f"{text} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _pair(one: Json) -> str:
    return f"{100 * one['live']:.1f} / {100 * one['attack']:.1f}"


def head(names: Sequence[str]) -> Iterator[str]:
    """The first two lines of a table."""
    yield line(names)
    yield "|" + "---|" * len(names)


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"
