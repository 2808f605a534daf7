"""The evaluation as one HTML page: no scripts, nothing loaded from elsewhere."""

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from .charts import det_chart, histogram_chart, reliability_chart

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid #ddd;
         vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
small { color: #666; white-space: nowrap; } td:first-child small { white-space: normal; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } .charts svg { width: 34rem; height: auto; }
.cases { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; max-width: 16rem; } figure img { display: block; }
figcaption { font-size: 12px; overflow-wrap: anywhere; }
.note { background: #fff7e6; padding: .5rem .8rem; border-left: 4px solid #b26a00; }
"""
SUMMARY_NAMES = {
    "eer": "EER",
    "auc": "AUC",
    "bpcer_at_apcer_1": "BPCER at APCER 1 %",
    "bpcer_at_apcer_5": "BPCER at APCER 5 %",
    "bpcer_at_apcer_10": "BPCER at APCER 10 %",
}
GROUPINGS = {"papers": "print / replay, as in the OULU-NPU papers", "strict": "each instrument"}

Json = Mapping[str, Any]
Picture = Callable[[str], bytes | None]


def report_page(result: Json, pictures: Picture | None = None) -> str:
    """The page of what :func:`~.evaluate.evaluate` found.

    Args:
        result: its result; what was ``measured`` (graph, policy, data) may be added to it.
        pictures: from an item to a JPEG of it; None leaves pictures out.
    """
    settings = result["settings"]
    sets = "".join(_set(one, pictures) for one in result["sets"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>padflow evaluation</title>
<style>{STYLE}</style></head><body>
<h1>Presentation-attack detection: evaluation</h1>
<p>{escape(result["statement"])}</p>
{_measured(result.get("measured", {}))}
<p>Intervals: {100 * settings["confidence"]:g} %, by person (persons drawn with replacement,
{settings["resamples"]} draws, seed {settings["seed"]}; exact where there is one presentation a
person or no error to draw). They tell of other people before the same cameras and instruments, not
of other cameras or instruments.</p>
{sets}{_cross(result["cross_set"])}
</body></html>
"""


def _measured(measured: Json) -> str:
    if not measured:
        return ""
    words = [
        f"{k} {measured[k]}" for k in ("graph", "policy", "scores", "protocol") if measured.get(k)
    ]
    words += [f"set {override}" for override in measured.get("overrides", ())]
    for data in measured["data"]:
        words.append(f"{data['name']} ({data['layout']}, {data['items']} items)")
    return f"<p>Measured: {escape('; '.join(words))}.</p>"


def _set(one: Json, pictures: Picture | None) -> str:
    several = len(one["folds"]) > 1
    parts = [f"<h2>{escape(one['name'])}</h2>"]
    parts += [f'<p class="note">Left out: {escape(why)}</p>' for why in one["left_out"]]
    if several:
        parts.append(_over_folds(one["mean_and_std"], len(one["folds"])))
    for fold in one["folds"]:
        if several:
            parts.append(f"<h3>Fold {escape(fold['name'])}</h3>")
        parts.append(_fold(fold, pictures))
    return "".join(parts)


def _over_folds(spread: Json, folds: int) -> str:
    if not spread:
        return '<p class="note">A fold has no scores of both classes: there is no mean.</p>'
    rows = [
        (escape(SUMMARY_NAMES.get(name, name)), f"{_percent(s['mean'])} ± {_percent(s['std'])}")
        for name, s in spread.items()
    ]
    return f"<h3>Mean ± standard deviation of {folds} folds, %</h3>" + _table(("", ""), rows)


def _fold(fold: Json, pictures: Picture | None) -> str:
    return "".join(
        (
            _counts(fold["counts"]),
            _summary(fold),
            _operating_points(fold["operating_points"]),
            _verdicts(fold["verdicts"]),
            _cues(fold["cues"]),
            _charts(fold),
            _cases("Attacks that look most alive", fold["worst"]["attacks"], pictures),
            _cases("Bona fide that look least alive", fold["worst"]["bona_fide"], pictures),
        )
    )


def _charts(fold: Json) -> str:
    if not fold["det"]:
        return ""
    costs = fold["calibration"]
    charts = (
        det_chart(fold["det"]),
        histogram_chart(fold["histogram"]),
        reliability_chart(costs["reliability"]),
    )
    return (
        f'<h4>Curves</h4><div class="charts">{"".join(charts)}</div>'
        f"<p>Cllr {costs['cllr_bits']:.3f} bits; {costs['min_cllr_bits']:.3f} would be the least "
        "with these scores and the best calibration; 1 is what no evidence costs. p_live is taken "
        "as the probability under equal priors.</p>"
    )


def _counts(counts: Json) -> str:
    attacks = ", ".join(f"{n} {escape(name)}" for name, n in counts["attacks"].items())
    text = [
        f"<p>{counts['bona_fide']} bona fide and {sum(counts['attacks'].values())} attack "
        f"presentations ({attacks}) of {counts['persons']} persons"
        + (f"; {counts['dev']} presentations in dev" if counts["dev"] else "")
        + ".</p>"
    ]
    if counts["of_unknown_person"]:
        text.append(
            f'<p class="note">Who is shown is not known for {counts["of_unknown_person"]} '
            "presentations: each counts as a person of its own, so intervals are too narrow if "
            "they are not.</p>"
        )
    if counts["failed"]:
        names = ", ".join(escape(name) for name in counts["failed"][:20])
        text.append(
            f'<p class="note">{len(counts["failed"])} items could not be read and are in no rate: '
            f"{names}</p>"
        )
    return "".join(text)


def _summary(fold: Json) -> str:
    summary = fold["summary"]
    note = (
        ""
        if summary
        else '<p class="note">There are no scores of both classes: the system had no evidence on '
        "one of them at all, so there are no error rates over thresholds.</p>"
    )
    rows = [(SUMMARY_NAMES[n], _rate(summary[n])) for n in SUMMARY_NAMES if summary]
    none = fold["non_response"]
    rows += [(f"APNRR, {escape(name)}", _rate(rate)) for name, rate in none["apnrr"].items()]
    rows.append(("BPNRR", _rate(none["bpnrr"])))
    return (
        "<h4>Over all thresholds, and non-response</h4><p>In %. APCER here is that of the worst "
        "instrument. Presentations without a score stand in the non-response rates only.</p>"
        + note
        + _table(("", "value"), rows)
    )


def _operating_points(points: Sequence[Json]) -> str:
    if not points:
        return ""
    parts = ["<h4>At a threshold</h4>"]
    for grouping, title in GROUPINGS.items():
        species = sorted({s for point in points for s in point[grouping]["apcer"]})
        head = (
            "threshold",
            "p_live",
            *(f"APCER {escape(s)}" for s in species),
            "maximum",
            "BPCER",
            "ACER",
            "HTER",
        )
        rows = [
            (
                f"{escape(point['name'])}<br><small>{escape(point['threshold_from'])}</small>",
                f"{point['threshold_p_live']:.4f}",
                *_errors(point[grouping], species),
            )
            for point in points
        ]
        parts.append(f"<p>Species: {title}. In %.</p>" + _table(head, rows))
    return "".join(parts)


def _errors(errors: Json, species: Sequence[str]) -> list[str]:
    cells = [_rate(errors["apcer"][s]) if s in errors["apcer"] else "" for s in species]
    return cells + [_rate(errors[name]) for name in ("max_apcer", "bpcer", "acer", "hter")]


def _verdicts(verdicts: Json) -> str:
    if not verdicts:
        return ""
    states = ("LIVE", "SPOOF", "UNDECIDED")
    rows = [
        (escape(kind), *(str(counts.get(state, 0)) for state in states))
        for kind, counts in verdicts["counts"].items()
    ]
    species = sorted(verdicts["strict"]["apcer"])
    head = (*(f"APCER {escape(s)}" for s in species), "maximum", "BPCER", "ACER", "HTER")
    return (
        "<h4>The system's own verdicts</h4><p>LIVE lets in; SPOOF and UNDECIDED do not. All "
        "presentations count, those without a score too. Rates in %.</p>"
        + _table(("", *states), rows)
        + _table(("", *head), [("each instrument", *_errors(verdicts["strict"], species))])
    )


def _cues(cues: Json) -> str:
    if not cues:
        return ""
    head = ("cue", *SUMMARY_NAMES.values(), "worst APNRR", "BPNRR", "Cllr / least, bits")
    rows = []
    for name, cue in cues.items():
        cost = f"{cue['cllr_bits']:.3f} / {cue['min_cllr_bits']:.3f}" if "cllr_bits" in cue else ""
        rows.append(
            (
                escape(name),
                *(_rate(cue[n]) if n in cue else "" for n in SUMMARY_NAMES),
                _percent(cue["apnrr"]),
                _percent(cue["bpnrr"]),
                cost,
            )
        )
    return "<h4>Each cue alone</h4><p>In %.</p>" + _table(head, rows)


def _cases(title: str, cases: Sequence[Json], pictures: Picture | None) -> str:
    if not cases:
        return ""
    figures = "".join(_case(case, pictures) for case in cases)
    return f'<h4>{title}</h4><div class="cases">{figures}</div>'


def _case(case: Json, pictures: Picture | None) -> str:
    data = pictures(case["item"]) if pictures else None
    image = ""
    if data is not None:
        text = base64.b64encode(data).decode("ascii")
        image = f'<img alt="" src="data:image/jpeg;base64,{text}">'
    cues = ", ".join(f"{escape(cue)} {llr:+.2f}" for cue, llr in case["llr"].items())
    state = f", {escape(case['state'])}" if case["state"] else ""
    return (
        f"<figure>{image}<figcaption>{escape(case['species'])}, p_live {case['p_live']:.4f}"
        f"{state}<br>{cues}<br>{escape(case['item'])}</figcaption></figure>"
    )


def _cross(rows: Sequence[Json]) -> str:
    if not rows:
        return ""
    head = ("threshold from", "tested on", "HTER", "ACER", "max APCER", "BPCER", "AUC")
    cells = [
        (
            escape(row["threshold_from"]),
            escape(row["tested_on"]),
            *(_percent(row[name]) for name in ("hter", "acer", "max_apcer", "bpcer", "auc")),
        )
        for row in rows
    ]
    return (
        "<h2>Across sets</h2><p>The threshold is that of the first set's equal error rate (on its "
        "dev part where it has one), the presentations are the second's. Where both are the same "
        "set without a dev part, the threshold saw the test. In %.</p>" + _table(head, cells)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table><tr>{titles}</tr>\n{body}</table>"


def _rate(rate: Json) -> str:
    text = _percent(rate["value"])
    if rate["low"] is not None:
        text += f" <small>[{_percent(rate['low'])}, {_percent(rate['high'])}]</small>"
    if "errors" in rate:
        text += f"<br><small>{rate['errors']} of {rate['presentations']}</small>"
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
