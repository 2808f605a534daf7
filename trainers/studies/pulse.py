"""How well heart rates are found: POS, CHROM and the pulse network on rendered video.

The faces are rendered with known hearts under drawn conditions, encoded, decoded, aligned by the
graph's own mesh and read by the graph's own skin map (:mod:`padflow.trainers.pulse_clips`). Every
method gets the same windows of the same samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...graph.node import Begin, NodeContext
from ...graph.packet import Packet
from ...nodes.evidence import Evidence
from ...nodes.payloads import SkinSample
from ...nodes.pulse import Pulse, PulseParams
from ...nodes.pulse_net import PulseNet, PulseNetParams
from ...nodes.pulse_window import (
    FASTEST,
    SampleBuffer,
    newest_stretch,
    sampled_colours,
    visible_regions,
)
from ...nodes.rppg import chrom, pos
from ...nodes.spectrum import (
    HEART_BAND,
    bandpass,
    detrend,
    peak_frequency,
    periodogram,
    resample,
)
from ..evaluation.intervals import RESAMPLES
from ..pulse_clips import LEVELS, PulseClip, hard_half, render_pulse_clips, skin_of
from .rates import Json

METHODS = ("POS", "CHROM", "pulse_net")
WINDOW = 10.0
FIRST_LOOK = 8.0
"""Seconds into a clip at which the first window ends; then one a second."""
RATE = 30.0
"""Samples a second of the even grid that POS and CHROM work on."""
_BRIDGE = 0.25


@dataclass(frozen=True, slots=True)
class Look:
    """One window of a clip."""

    end: float
    """Seconds."""
    true: float
    """Mean heart rate of the window, beats per minute, like the following."""
    found: Mapping[str, float]
    """By method."""
    llr: Mapping[str, float | None]
    """Nats, by cue."""


def pulse_study(
    clips_folder: Path,
    count: int,
    *,
    engine: str = "",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Render clips, or take those that are there, and measure every method on them.

    Args:
        clips_folder: where the clips are kept.
        count: how many.
        engine: bundle of the pulse network; empty: the node's own.
        seed: of the clips.
        progress: told the clips rendered and measured, and twice the clips in all.

    Returns:
        one row a clip: its conditions and its windows.

    Raises:
        EngineError: a network or a portrait is missing.
    """

    def told(shift: int) -> Callable[[int, int], None] | None:
        if progress is None:
            return None
        return lambda done, whole: progress(shift + done, 2 * whole)

    node = PulseNet(PulseNetParams(engine=engine))
    node.open(NodeContext("pulse_net", "lossless"))
    try:
        clips = render_pulse_clips(clips_folder, count, seed, told(0))
        hard = hard_half(clips)
        rows, tell = [], told(len(clips))
        for index, clip in enumerate(clips):
            looks = measured(clip, skin_of(clip), node)
            rows.append(_row(clip, index in hard, looks))
            if tell is not None:
                tell(index + 1, len(clips))
    finally:
        node.close()
    return {"clips": rows}


def measured(
    clip: PulseClip, samples: Sequence[tuple[float, SkinSample]], node: PulseNet
) -> list[Look]:
    """Every method on every window of a clip that all of them can look at."""
    heard = {"rppg": _evidence(node, samples)}
    heard["pulse"] = _evidence(Pulse(PulseParams()), samples)
    buffer = SampleBuffer(int((WINDOW + 1) * FASTEST))
    rates = np.array(clip.beats_per_minute)
    looks, due = [], FIRST_LOOK
    for time, sample in samples:
        buffer.append(time, sample)
        if time < due - 1e-6:
            continue
        due += 1.0
        now = {cue: _at(found, time) for cue, found in heard.items()}
        rate = now["rppg"].details.get("heart_rate_bpm") if now["rppg"] else None
        stretch = newest_stretch(buffer, time, WINDOW, _BRIDGE)
        regions = visible_regions(stretch, 0.8, _BRIDGE) if stretch.seconds else []
        if rate is None or not regions or stretch.seconds < FIRST_LOOK - 1.0:
            continue
        inside = rates[int((time - stretch.seconds) * clip.fps) : int(time * clip.fps) + 1]
        found = classical_rates(stretch.times, sampled_colours(stretch, regions)[: len(regions)])
        found["pulse_net"] = rate
        llr = {cue: one.llr if one else None for cue, one in now.items()}
        looks.append(Look(time, float(inside.mean()), found, llr))
    return looks


def _evidence(
    node: Pulse | PulseNet, samples: Sequence[tuple[float, SkinSample]]
) -> list[Evidence]:
    state = node.new_state(Begin("clip", 1, samples[0][0], 0, "first"))
    found: list[Evidence] = []
    for time, sample in samples:
        given = node.process("skin", [Packet("clip", time, 0, 1, sample)], [state])
        found += [packet.payload for packet in given["evidence"]]
    return found


def _at(found: Sequence[Evidence], time: float) -> Evidence | None:
    """The newest evidence up to a time."""
    there = [one for one in found if one.window[1] <= time + 1e-6]
    return there[-1] if there else None


def classical_rates(times: np.ndarray, colours: np.ndarray) -> dict[str, float]:
    """Heart rates by POS and CHROM, beats per minute, as METHODS 9.2, 9.3 and 9.8 have it.

    Args:
        times: float64 (n,), seconds.
        colours: float (k, n, 3): mean colours of the skin's regions.
    """
    shares = colours / colours.mean(axis=1, keepdims=True)
    grid = np.arange(times[0], times[-1], 1 / RATE)
    face = resample(times, shares.mean(axis=0), grid, 1.0).values
    waves = {"POS": pos(face, RATE), "CHROM": chrom(face, RATE, band=HEART_BAND)}
    rates = {}
    for name, wave in waves.items():
        frequencies, power = periodogram(bandpass(detrend(wave), RATE), RATE)
        rates[name] = 60.0 * float(peak_frequency(frequencies, power))
    return rates


def _row(clip: PulseClip, hard: bool, looks: Sequence[Look]) -> Json:
    factors = {factor: clip.conditions.level(factor) for factor in LEVELS}
    windows = [
        {"end": look.end, "true": look.true, "found": dict(look.found), "llr": dict(look.llr)}
        for look in looks
    ]
    return {"clip": clip.file.stem, "factors": factors, "hard": hard, "windows": windows}


def pulse_tables(study: Json, resamples: int = RESAMPLES) -> Json:
    """Mean absolute errors by condition, with 95 % intervals over clips.

    Args:
        study: of :func:`pulse_study`.
        resamples: draws of an interval.
    """
    rows = [row for row in study["clips"] if row["windows"]]
    groups = {"all": rows}
    groups["hard half"] = [row for row in rows if row["hard"]]
    groups["easy half"] = [row for row in rows if not row["hard"]]
    for factor, levels in LEVELS.items():
        for level in levels:
            some = [row for row in rows if row["factors"][factor] == level]
            groups[f"{factor}: {level}"] = some
    return {name: _errors(some, resamples) for name, some in groups.items() if some}


def _errors(rows: Sequence[Json], resamples: int) -> Json:
    errors = {
        method: np.array(
            [
                np.mean([abs(one["found"][method] - one["true"]) for one in row["windows"]])
                for row in rows
            ]
        )
        for method in METHODS
    }
    draws = np.random.default_rng(0).integers(0, len(rows), (resamples, len(rows)))
    found: Json = {"clips": len(rows)}
    for method, error in errors.items():
        low, high = np.quantile(error[draws].mean(axis=1), (0.025, 0.975))
        value = {"value": float(error.mean()), "low": float(low), "high": float(high)}
        found[method] = value | {"within_6": float((error <= 6.0).mean())}
    best = np.minimum(errors["POS"][draws].mean(axis=1), errors["CHROM"][draws].mean(axis=1))
    share = errors["pulse_net"][draws].mean(axis=1) / np.maximum(best, 1e-9)
    low, high = np.quantile(share, (0.025, 0.975))
    whole = float(errors["pulse_net"].mean() / min(errors[m].mean() for m in ("POS", "CHROM")))
    found["share"] = {"value": whole, "low": float(low), "high": float(high)}
    return found


def pulse_text(tables: Json) -> str:
    """The tables as Markdown."""
    lines = [
        "## Heart rates on rendered video",
        "",
        "Mean absolute error in beats a minute over the windows of a clip (up to 10 s, one a "
        "second), then over clips; in brackets 95 % intervals over clips. Share: the network's "
        "error over that of the better of POS and CHROM. The hard half was chosen by the "
        "conditions alone.",
        "",
        "| clips | n | POS | CHROM | pulse_net | share |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in tables.items():
        cells = [name, str(found["clips"])]
        cells += [_cell(found[method], 1) for method in METHODS]
        lines.append("| " + " | ".join([*cells, _cell(found["share"], 2)]) + " |")
    return "\n".join(lines) + "\n"


def _cell(one: Json, digits: int) -> str:
    value, low, high = (f"{one[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
