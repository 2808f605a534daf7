"""Charts as inline SVG: DET curves, score histograms, reliability."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from scipy.stats import norm

COLOURS = ("#1f5fa8", "#c62828", "#2e7d32", "#b26a00", "#6a3fa0", "#00838f", "#5d4037", "#555")
LIVE = "#2e7d32"
SIDE, LEFT, TOP = 360.0, 58.0, 12.0
WIDTH, HEIGHT = LEFT + SIDE + 150.0, TOP + SIDE + 46.0
DET_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4)
DET_RANGE = (0.0005, 0.6)

Json = dict[str, Any]
Map = Callable[[float], float]


def det_chart(det: Json) -> str:
    """DET curves (Martin et al. 1997): BPCER over APCER, both on normal-deviate axes."""
    low, high = norm.ppf(DET_RANGE[0]), norm.ppf(DET_RANGE[1])

    def share(rate: float) -> float:
        return float((norm.ppf(min(max(rate, DET_RANGE[0]), DET_RANGE[1])) - low) / (high - low))

    ticks = [(share(t), f"{100 * t:g}") for t in DET_TICKS]
    parts = [_frame(ticks, ticks, "APCER, %", "BPCER, %")]
    groups = [n for n in det["apcer"] if n not in ("worst", "all")]
    names = list(det["apcer"]) if len(groups) > 1 else groups
    for name, colour in _coloured(names).items():
        steps = _steps(det["apcer"][name], det["bpcer"])
        points = " ".join(f"{_x(share(a)):.1f},{_y(share(b)):.1f}" for a, b in steps)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
    return _svg(parts, _coloured(names), "DET curves")


def histogram_chart(histogram: Json) -> str:
    """Share of each class's presentations by log-odds of p_live."""
    edges, counts = histogram["edges"], histogram["counts"]
    shares = {name: np.array(c) / max(1, sum(c)) for name, c in counts.items()}
    top = max(0.05, max(float(s.max()) for s in shares.values()))
    span = edges[-1] - edges[0]
    x_ticks = [((t - edges[0]) / span, f"{t:+g}") for t in (-8, -6, -4, -2, 0, 2, 4, 6, 8)]
    y_ticks = [(t / top, f"{100 * t:.0f}") for t in np.linspace(0, top, 6)]
    parts = [_frame(x_ticks, y_ticks, "log-odds of p_live", "presentations, %")]
    colours = _coloured(list(shares))
    for name, share in shares.items():
        corners = [(_x(0), _y(0))]
        for place, value in enumerate(share):
            left, right = (float(edges[place + k] - edges[0]) / span for k in (0, 1))
            corners += [(_x(left), _y(float(value) / top)), (_x(right), _y(float(value) / top))]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*corners, (_x(1), _y(0))])
        parts.append(
            f'<polygon points="{points}" fill="{colours[name]}" fill-opacity="0.18" '
            f'stroke="{colours[name]}" stroke-width="1.5"/>'
        )
    return _svg(parts, colours, "score histogram")


def reliability_chart(bins: Sequence[Json]) -> str:
    """Share of live that was found over the share that was claimed, at equal priors."""
    ticks = [(t / 5, f"{20 * t}") for t in range(6)]
    parts = [
        _frame(ticks, ticks, "claimed: p(live), %", "found: live, %"),
        f'<line x1="{_x(0):.1f}" y1="{_y(0):.1f}" x2="{_x(1):.1f}" y2="{_y(1):.1f}" '
        'stroke="#999" stroke-dasharray="4 4"/>',
    ]
    for one in bins:
        x, (low, high) = _x(one["claimed"]), one["interval"]
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}" '
            f'stroke="{COLOURS[0]}"/><circle cx="{x:.1f}" cy="{_y(one["found"]):.1f}" r="4" '
            f'fill="{COLOURS[0]}"/>'
        )
    return _svg(parts, {}, "reliability diagram")


def _steps(apcer: Sequence[float], bpcer: Sequence[float]) -> list[tuple[float, float]]:
    """The curve as steps: between two thresholds only one rate changes at a time."""
    points = [(apcer[0], bpcer[0])]
    for a, b in zip(apcer[1:], bpcer[1:], strict=True):
        if (a, b) != points[-1]:
            points += [(a, points[-1][1]), (a, b)]
    return points


def _coloured(names: Sequence[str]) -> Mapping[str, str]:
    others = iter(range(10**6))
    return {
        name: LIVE if name == "live" else COLOURS[next(others) % len(COLOURS)] for name in names
    }


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)


def _frame(
    x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x: str, y: str
) -> str:
    parts = [
        f'<rect x="{LEFT:g}" y="{TOP:g}" width="{SIDE:g}" height="{SIDE:g}" fill="none" '
        'stroke="#888"/>'
    ]
    for place, text in x_ticks:
        parts.append(
            f'<line x1="{_x(place):.1f}" x2="{_x(place):.1f}" y1="{TOP:g}" y2="{_y(0):.1f}" '
            f'stroke="#e4e4e4"/><text x="{_x(place):.1f}" y="{_y(0) + 16:.1f}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )
    for place, text in y_ticks:
        parts.append(
            f'<line x1="{LEFT:g}" x2="{_x(1):.1f}" y1="{_y(place):.1f}" y2="{_y(place):.1f}" '
            f'stroke="#e4e4e4"/><text x="{LEFT - 6:g}" y="{_y(place) + 4:.1f}" '
            f'text-anchor="end">{escape(text)}</text>'
        )
    parts.append(
        f'<text x="{_x(0.5):.1f}" y="{HEIGHT - 8:g}" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(14 {_y(0.5):.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y)}</text>"
    )
    return "".join(parts)


def _svg(parts: Sequence[str], legend: Mapping[str, str], title: str) -> str:
    lines = [
        f'<rect x="{_x(1) + 14:.1f}" y="{TOP + 20 * place + 2:g}" width="12" height="12" '
        f'fill="{colour}"/><text x="{_x(1) + 32:.1f}" y="{TOP + 20 * place + 12:g}">'
        f"{escape(name)}</text>"
        for place, (name, colour) in enumerate(legend.items())
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" font-size="12" fill="#222">'
        f"<title>{escape(title)}</title>{''.join(parts)}{''.join(lines)}</svg>"
    )
