"""The demo's report: one HTML page, no scripts, nothing loaded from elsewhere."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..nodes.decide import VERDICT
from ..trainers.attacks.truth import FeedTruth

if TYPE_CHECKING:
    from .demo import Visit

COLOURS = {"LIVE": "#2e7d32", "SPOOF": "#c62828", "UNDECIDED": "#b26a00"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #ddd;
         vertical-align: top; }
img { max-width: 100%; } code { background: #f3f3f3; padding: 0 .2rem; }
.state { font-weight: 600; } svg { width: 100%; height: auto; }
"""


def report_page(
    truth: FeedTruth,
    visits: "Sequence[Visit]",
    events: Sequence[dict[str, Any]],
    sheet: str,
    video: str,
) -> str:
    """The page: what came, what padflow said and why, and the verdicts over time."""
    seconds = truth.frames / truth.fps
    undecided = all(visit.state in ("UNDECIDED", "") for visit in visits)
    honest = (
        "<p>Every visit ends <b>UNDECIDED</b>: what the networks see here does not reach the "
        "thresholds of the policy, and padflow does not guess.</p>"
        if undecided
        else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>padflow demo</title>
<style>{STYLE}</style></head><body>
<h1>padflow at a rendered door</h1>
<p>{seconds:.0f} seconds of a rendered access-control camera ({truth.width}x{truth.height},
{truth.fps} fps, seed {truth.seed}). The people are two public-domain portraits moved in 3-D; the
attacks are simulated. A rendered feed shows that the program works, not how well it detects.</p>
{honest}
<table><tr><th>at the door</th><th>seconds</th><th>padflow says</th><th>p(live)</th>
<th>sum, nats</th><th>of which</th><th>why</th><th>tracks</th></tr>
{"".join(_row(visit) for visit in visits)}
</table>
<p>Each row is the last verdict while the face was there. Evidence is in nats: the natural logarithm
of how many times as probable what was seen is for a living person as for an attack. The policy
bounds what some cues say together for a living person, and the sum, so that may be nearer to 0.</p>
<h2>Log-likelihood ratio over time</h2>
{_timeline(truth, visits, events)}
<h2>What the camera saw</h2>
<p>Near the end of each visit, from <a href="{escape(video)}">{escape(video)}</a>:</p>
<img src="{escape(sheet)}" alt="annotated pictures of the four visits">
</body></html>
"""


def _row(visit: "Visit") -> str:
    colour = COLOURS.get(visit.state, "#555")
    cues = "<br>".join(
        f"{escape(cue)}: " + (f"{llr:+.2f}" if llr is not None else f"none ({_words(why)})")
        for cue, llr, why in visit.cues
    )
    p_live = "" if visit.p_live is None else f"{visit.p_live:.2f}"
    llr = "" if visit.llr is None else f"{visit.llr:+.2f}"
    return (
        f"<tr><td>{escape(visit.truth.species)}</td><td>{visit.start:.1f} to {visit.end:.1f}</td>"
        f'<td class="state" style="color:{colour}">{escape(visit.state or "no face seen")}</td>'
        f"<td>{p_live}</td><td>{llr}</td><td>{cues}</td><td>{_words(', '.join(visit.reasons))}</td>"
        f"<td>{', '.join(map(str, visit.tracks))}</td></tr>\n"
    )


def _words(codes: str) -> str:
    return escape(codes.replace("_", " "))


def _timeline(truth: FeedTruth, visits: "Sequence[Visit]", events: Sequence[dict[str, Any]]) -> str:
    """SVG: visits as bands, the fused ratio of every verdict as a dot in its state's colour."""
    width, height, most = 960.0, 220.0, 6.0
    seconds = truth.frames / truth.fps

    def x(time: float) -> float:
        return width * time / seconds

    def y(llr: float) -> float:
        return height / 2 - max(-most, min(most, llr)) / most * (height / 2 - 12)

    parts = [f'<svg viewBox="0 0 {width:g} {height + 24:g}" role="img">']
    for visit in visits:
        left, right = x(visit.start), x(visit.end)
        parts.append(
            f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="{height:g}" '
            f'fill="#eef2f6"/><text x="{left + 6:.1f}" y="{height + 17:g}" font-size="14">'
            f"{escape(visit.truth.species)}</text>"
        )
    for llr in (-4.0, -2.0, 0.0, 2.0, 4.0):
        parts.append(
            f'<line x1="0" x2="{width:g}" y1="{y(llr):.1f}" y2="{y(llr):.1f}" '
            f'stroke="#ccc" stroke-width="{1.5 if llr == 0 else 0.5}"/>'
            f'<text x="2" y="{y(llr) - 3:.1f}" font-size="11" fill="#666">{llr:+.0f}</text>'
        )
    for event in events:
        data = event["data"]
        if event["type"] == VERDICT and data["llr"] is not None:
            parts.append(
                f'<circle cx="{x(data["media_time"] or 0.0):.1f}" cy="{y(data["llr"]):.1f}" '
                f'r="3" fill="{COLOURS[data["state"]]}"/>'
            )
    return "".join(parts) + "</svg>"
