"""The report of a site adaptation as one short page."""

from collections.abc import Mapping
from html import escape
from typing import Any

from .evaluation.report import STYLE

Json = Mapping[str, Any]

_RATES = {
    "auc": "AUC",
    "eer": "EER",
    "acer": "ACER at score 0, worst species",
    "bpcer": "BPCER at score 0",
}
_FOOTAGE = {"bpcer": "BPCER: called an attack", "strange": "unlike the training: no evidence"}


def site_page(report: Json) -> str:
    """The page of what :func:`padflow.trainers.site.adapt` found."""
    networks = "".join(_network(one) for one in report["networks"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>padflow site adaptation</title>
<style>{STYLE}</style></head><body>
<h1>Site adaptation</h1>
<p>{report["minutes"]:g} minutes (asked for: {report["asked_minutes"]:g}).
{report["crops_learned_from"]} simulated crops of {report["persons_learned_from"]} persons were
learned from; {report["crops_checked_on"]} of {report["persons_checked_on"]} others, and
{report["footage_frames_checked_on"]} frames of those as filmed, were checked on.</p>
<p class="note">{escape(report["note"])}</p>
<p class="note">The best epoch was chosen and the ratio fitted on the persons checked on, which
flatters the rates a little. The attacks are simulated. What they do not show, these numbers do not
tell: try a print and a screen before the camera.</p>
{networks}</body></html>
"""


def _network(one: Json) -> str:
    name = escape(one["name"])
    simulated = "".join(
        _row(label, one["simulated"]["before"][rate], one["simulated"]["after"][rate])
        for rate, label in _RATES.items()
    )
    footage = "".join(
        _row(label, one["footage"].get(f"{rate}_before"), one["footage"].get(f"{rate}_after"))
        for rate, label in _FOOTAGE.items()
    )
    head = "<tr><th></th><th>before</th><th>after</th></tr>"
    calibration = one["calibration"]
    return f"""<h2>{name} {escape(one["version"])}</h2>
<p>From {escape(one["base"])}; {one["minutes_of_learning"]:g} minutes of learning;
{
        "its own weights are kept: learning made it no better"
        if one["kept"] == "before"
        else "weights between its own and the learned ones are used"
    }. Files: {escape(", ".join(one["files"]))}.</p>
<h3>Held-out persons, live and attacks simulated, %</h3><table>{head}{simulated}</table>
<h3>Held-out persons as filmed ({one["footage"]["frames"]} frames, all live), %</h3>
<table>{head}{footage}</table>
<p>Ratio in nats: {calibration["slope"]:.3g} times the score {calibration["offset"]:+.3g}, from
{calibration["min_llr"]:.2f} to {calibration["max_llr"]:.2f}; the site's share in it:
{100 * calibration["share_of_site"]:.0f} %.</p>
"""


def _row(label: str, before: float | None, after: float | None) -> str:
    cells = "".join(
        f"<td>{'' if value is None else f'{100 * value:.1f}'}</td>" for value in (before, after)
    )
    return f"<tr><td>{escape(label)}</td>{cells}</tr>"
