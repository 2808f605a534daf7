"""A plan as an SVG drawing: boxes are nodes, frames are stages, edges are labelled with ports."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .plan import Plan, Stage, topological
from .spec import Edge, NodeSpec

NODE_WIDTH = 170
NODE_HEIGHT = 64
COLUMN_GAP = 150
ROW_GAP = 40
MARGIN = 40
FRAME_PADDING = 14
TITLE_HEIGHT = 16
LANE_HEIGHT = 12

_STYLE = """
text { font: 12px sans-serif; fill: #1b1f24 }
.name { font-weight: bold; font-size: 13px }
.small { font-size: 10px; fill: #57606a }
.node { fill: #ffffff; stroke: #1f6feb; stroke-width: 1.5 }
.source { stroke: #1a7f37 }
.single { stroke: #8250df }
.stage { fill: #f6f8fa; stroke: #8c959f; stroke-dasharray: 5 4 }
.edge { fill: none; stroke: #57606a; stroke-width: 1.3; marker-end: url(#arrow) }
"""


@dataclass(frozen=True, slots=True)
class _Place:
    x: float
    y: float


def to_svg(plan: Plan) -> str:
    """Draw a plan, left to right in the order in which packets pass."""
    places = _places(plan)
    edges = plan.graph.edges()
    bottom = max(place.y for place in places.values()) + NODE_HEIGHT + MARGIN
    lanes = _lanes(edges, places, bottom)
    height = max([bottom, *lanes.values()]) + MARGIN
    width = max(place.x for place in places.values()) + NODE_WIDTH + MARGIN + FRAME_PADDING
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">',
        f"<title>{escape(plan.graph.name)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
    ]
    parts += [_frame(stage, places) for stage in plan.stages]
    parts += [_edge(edge, places, _shift(edge, edges), lanes) for edge in edges]
    parts += [_node(spec, plan, places[spec.name]) for spec in plan.graph.nodes]
    # Edges that share a port share its label.
    labels = (_label(edge, places, _shift(edge, edges)) for edge in edges)
    parts += dict.fromkeys(text for pair in labels for text in pair)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _places(plan: Plan) -> dict[str, _Place]:
    """Column: longest way from a source; row: as high as the stage frames leave each other room."""
    column: dict[str, int] = {}
    for spec in topological(plan.graph):
        producers = [ref.rpartition(".")[0] for refs in spec.inputs.values() for ref in refs]
        column[spec.name] = max((column[name] + 1 for name in producers), default=0)
    places: dict[str, _Place] = {}
    bands: list[tuple[int, int, int, int]] = []
    for stage in plan.stages:
        by_column: dict[int, list[str]] = {}
        for name in stage.nodes:
            by_column.setdefault(column[name], []).append(name)
        rows = max(len(names) for names in by_column.values())
        top = _free_row(bands, min(by_column), max(by_column), rows)
        bands.append((min(by_column), max(by_column), top, rows))
        for index, names in by_column.items():
            for offset, name in enumerate(names):
                x = MARGIN + index * (NODE_WIDTH + COLUMN_GAP)
                y = MARGIN + TITLE_HEIGHT + (top + offset) * _row_height()
                places[name] = _Place(x, y)
    return places


def _row_height() -> int:
    return NODE_HEIGHT + ROW_GAP + FRAME_PADDING + TITLE_HEIGHT


def _free_row(bands: Sequence[tuple[int, int, int, int]], first: int, last: int, rows: int) -> int:
    """The first row at which a frame of these columns and rows meets no other."""
    top = 0
    while any(
        first <= other_last
        and other_first <= last
        and top < other_top + other_rows
        and other_top < top + rows
        for other_first, other_last, other_top, other_rows in bands
    ):
        top += 1
    return top


def _frame(stage: Stage, places: dict[str, _Place]) -> str:
    xs = [places[name].x for name in stage.nodes]
    ys = [places[name].y for name in stage.nodes]
    x, y = min(xs) - FRAME_PADDING, min(ys) - FRAME_PADDING - TITLE_HEIGHT
    width = max(xs) + NODE_WIDTH + FRAME_PADDING - x
    height = max(ys) + NODE_HEIGHT + FRAME_PADDING - y
    told = f"{stage.name} · {stage.replicas}"
    if len(stage.nodes) > 1:
        told += f" · {stage.place}"
    return (
        f'<rect class="stage" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"/>'
        f'<text class="small" x="{x + 8:g}" y="{y + 14:g}">{escape(told)}</text>'
    )


def _node(spec: NodeSpec, plan: Plan, place: _Place) -> str:
    stage = plan.stage_of[spec.name]
    kind = "source" if stage.is_source else "single" if stage.scope == "single" else ""
    state = spec.contract().state
    kept = spec.type_name if state == "none" else f"{spec.type_name}, state by {state}"
    middle = place.x + NODE_WIDTH / 2
    return (
        f'<rect class="node {kind}" x="{place.x:g}" y="{place.y:g}" width="{NODE_WIDTH}" '
        f'height="{NODE_HEIGHT}" rx="5"/>'
        f'<text class="name" text-anchor="middle" x="{middle:g}" y="{place.y + 28:g}">'
        f"{escape(spec.name)}</text>"
        f'<text class="small" text-anchor="middle" x="{middle:g}" y="{place.y + 45:g}">'
        f"{escape(kept)}</text>"
    )


def _shift(edge: Edge, edges: Sequence[Edge]) -> tuple[float, float]:
    """Heights from the node's middle at which an edge leaves and arrives: one for each port."""
    leaving = list(dict.fromkeys(e.output for e in edges if e.producer == edge.producer))
    arriving = list(dict.fromkeys(e.input for e in edges if e.consumer == edge.consumer))
    return (
        _spread(leaving.index(edge.output), len(leaving)),
        _spread(arriving.index(edge.input), len(arriving)),
    )


def _spread(index: int, count: int) -> float:
    step = min(14.0, (NODE_HEIGHT - 4) / max(count - 1, 1))
    return (index - (count - 1) / 2) * step


def _ends(
    edge: Edge, places: dict[str, _Place], shift: tuple[float, float]
) -> tuple[float, float, float, float]:
    start, end = places[edge.producer], places[edge.consumer]
    middle = NODE_HEIGHT / 2
    return start.x + NODE_WIDTH, start.y + middle + shift[0], end.x, end.y + middle + shift[1]


def _is_long(edge: Edge, places: dict[str, _Place]) -> bool:
    """True where the straight way would pass other nodes."""
    return places[edge.consumer].x - places[edge.producer].x > NODE_WIDTH + COLUMN_GAP


def _lanes(
    edges: Sequence[Edge], places: dict[str, _Place], bottom: float
) -> dict[tuple[str, str], float]:
    """A height below all nodes for each output port that has a long edge."""
    ports = dict.fromkeys((e.producer, e.output) for e in edges if _is_long(e, places))
    return {port: bottom + LANE_HEIGHT * index for index, port in enumerate(ports)}


def _edge(
    edge: Edge,
    places: dict[str, _Place],
    shift: tuple[float, float],
    lanes: dict[tuple[str, str], float],
) -> str:
    x1, y1, x2, y2 = _ends(edge, places, shift)
    if not _is_long(edge, places):
        bend = max((x2 - x1) / 2, COLUMN_GAP / 3)
        way = f"C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
        return f'<path class="edge" d="M{x1:g} {y1:g}{way}"/>'
    # Each port goes down and comes up at a place of its own in the gap between two columns.
    lane = lanes[edge.producer, edge.output]
    step = 5.0 * list(lanes).index((edge.producer, edge.output))
    down = x1 + 45 + step % (COLUMN_GAP / 3)
    up = x2 - 45 - step % (COLUMN_GAP / 3)
    return f'<path class="edge" d="M{x1:g} {y1:g}H{down:g}V{lane:g}H{up:g}V{y2:g}H{x2:g}"/>'


def _label(edge: Edge, places: dict[str, _Place], shift: tuple[float, float]) -> list[str]:
    x1, y1, x2, y2 = _ends(edge, places, shift)
    out = f'<text class="small" x="{x1 + 5:g}" y="{y1 - 3:g}">{escape(edge.output)}</text>'
    if edge.input == edge.output and abs(y1 - y2) < 1 and not _is_long(edge, places):
        return [out]
    arriving = (
        f'<text class="small" text-anchor="end" x="{x2 - 8:g}" y="{y2 - 3:g}">'
        f"{escape(edge.input)}</text>"
    )
    return [out, arriving]
