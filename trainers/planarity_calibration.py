"""Fits the constants of the planarity cue on synthetic geometry and prints how it does on others.

    python -m padflow.trainers.planarity_calibration [--windows 4000] [--seed 1]

No picture is made: points of 3-D heads and of sheets go through a perspective camera, and tracking
and the mesh's pose get their errors, drawn from wide ranges. Middles and spreads of the slopes are
fitted and the spreads widened, since real faces, poses and points are off in more ways than these;
the shares of the model are not fitted: no geometry can tell them. Real footage is only ever looked
at (docs/CUES.md). See :mod:`padflow.nodes.planarity_evidence`.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..nodes.face_points import FacePoints, averaged_depth
from ..nodes.planarity_evidence import (
    PlanarityModel,
    ReliefMeasurement,
    Slope,
    Tracks,
    measure_relief,
)
from ..nodes.pose import rotation_of

KINDS = ("head", "plane", "bent")
"""A living head or a mask; a flat picture; a picture on a sheet that is bent and bends."""
WIDENING = 1.5
"""Spreads are this much wider than those of synthetic slopes."""
WINDOW_ON_FACE = (0.1, 0.42)
"""Side in interocular distances of the place whose motion the tracker's window tells: from the
point alone to all of the window."""
LOOKS = 10.0
"""Frames a second."""


@dataclass(frozen=True, slots=True)
class Window:
    """One measured window."""

    kind: str
    found: ReliefMeasurement


class Geometry:
    """Draws windows of tracked points. Holds only constants."""

    def __init__(self) -> None:
        points = FacePoints()
        self._relief, self._surface = points.relief, points.surface

    def draw(self, rng: np.random.Generator, kind: str, still: bool = False) -> Tracks:
        """One window of 1 or 2 s; ``still`` leaves out what turns or bends."""
        count = int(LOOKS * rng.choice((1.0, 2.0))) + 1
        chosen = np.sort(rng.choice(len(self._relief), int(rng.integers(30, 52)), replace=False))
        tilt = 0.0 if still else float(rng.lognormal(np.log(5.0), 0.7))
        turning = _wander(rng, count, (tilt, 0.7 * tilt, 3.0))
        start = rng.normal(0, (8.0, 6.0, 4.0))
        rotations = np.array([rotation_of(*(start + turn)) for turn in turning])
        posed = turning
        if kind == "head":
            moved = self._head(rng, chosen, rotations)
        else:
            moved = self._sheet(rng, chosen, rotation_of(*start), turning, kind == "bent", still)
            # The network reads some of a picture's tilt as the head's.
            posed = turning * (rng.uniform(0, 1), rng.uniform(0, 1), 1)
        interocular = float(rng.uniform(25, 120))
        places = interocular * _seen(moved, _path(rng, count))
        places += _tracking_errors(rng, places.shape, interocular)
        found = rng.uniform(size=places.shape[:2]) > rng.uniform(0, 0.2)
        poses = _mesh_errors(rng, posed, start)
        relief = self._relief[chosen]
        return Tracks(places[0], places[1:], found[1:], relief, poses, interocular)

    def _head(
        self, rng: np.random.Generator, chosen: np.ndarray, rotations: np.ndarray
    ) -> np.ndarray:
        """Points (m, n, 3) of somebody's head as the tracker's window sees them."""
        shape = self._surface * rng.lognormal(0, (0.05, 0.05, 0.12))
        shape[:, 2] += 0.05 * _smooth(rng, shape[:, :2])
        shape[:, 2] = averaged_depth(shape, rng.uniform(*WINDOW_ON_FACE))
        return np.asarray(shape[chosen] @ rotations.transpose(0, 2, 1))

    def _sheet(
        self,
        rng: np.random.Generator,
        chosen: np.ndarray,
        pictured: np.ndarray,
        turning: np.ndarray,
        bent: bool,
        still: bool,
    ) -> np.ndarray:
        """Points (m, n, 3) of a picture of a face on a sheet."""
        flat = (self._relief[chosen] @ pictured.T)[:, :2]
        count = len(turning)
        bend = np.zeros(count)
        if bent:
            bend = rng.uniform(-0.6, 0.6) + (0 if still else 1) * _wander(rng, count, (0.1,))[:, 0]
        along = rng.uniform(0, np.pi)
        across = flat @ (np.cos(along), np.sin(along))
        depth = bend[:, None] / 2 * across**2
        sheet = np.concatenate([np.broadcast_to(flat, (count, *flat.shape)), depth[..., None]], 2)
        held = rng.normal(0, 0 if still else 8.0, 3)
        rotations = np.array([rotation_of(*(held + turn)) for turn in turning])
        return np.asarray(sheet @ rotations.transpose(0, 2, 1))


def _wander(rng: np.random.Generator, count: int, sizes: tuple[float, ...]) -> np.ndarray:
    """Smooth random ways (count, k) of that root mean square size, starting at 0."""
    times = np.arange(count) / LOOKS
    ways = np.zeros((count, len(sizes)))
    for _ in range(3):
        speed, phase = rng.uniform(0.1, 0.8, len(sizes)), rng.uniform(0, 2 * np.pi, len(sizes))
        ways += rng.normal(size=len(sizes)) * np.sin(2 * np.pi * np.outer(times, speed) + phase)
    return np.asarray((ways - ways[0]) * np.array(sizes) / 1.5)


def _path(rng: np.random.Generator, count: int) -> np.ndarray:
    """Where the face is, (m, 3) in interocular distances from the camera."""
    path = _wander(rng, count, (0.5, 0.3, 1.0))
    path += (rng.uniform(-3, 3), rng.uniform(-2, 2), rng.uniform(8, 30))
    return path


def _seen(points: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Points (m, n, 2) in the picture, interocular distances at the first distance."""
    there = points + path[:, None]
    seen: np.ndarray = there[..., :2] / there[..., 2:] * path[0, 2]
    return seen


def _tracking_errors(
    rng: np.random.Generator, shape: tuple[int, ...], interocular: float
) -> np.ndarray:
    """Errors in pixels: of every frame, of a point all along (slipping), and outliers."""
    frames, points, _ = shape
    size = rng.lognormal(np.log(0.006), 0.5) * interocular
    errors = size * rng.normal(size=shape)
    slips = size * rng.normal(size=(1, points, 2)) * np.linspace(0, 2, frames)[:, None, None]
    outliers = rng.uniform(size=points) < rng.uniform(0, 0.15)
    slips[:, outliers] *= 6
    return np.asarray(errors + slips)


def _mesh_errors(rng: np.random.Generator, turning: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The poses (m, 3, 3) that a mesh network reads: gain, noise and errors that last."""
    gain = rng.lognormal(0, 0.15, 3)
    noise = rng.lognormal(np.log(0.5), 0.6)
    read = start + turning * gain + noise * rng.normal(size=turning.shape)
    read += _wander(rng, len(turning), (noise, noise, noise))
    return np.array([rotation_of(*pose) for pose in read])


def _smooth(rng: np.random.Generator, places: np.ndarray) -> np.ndarray:
    """A smooth random function of places (n, 2), of unit size."""
    waves = rng.normal(0, 2.0, (6, 2))
    phases = rng.uniform(0, 2 * np.pi, 6)
    values: np.ndarray = np.cos(places @ waves.T + phases).sum(1) / np.sqrt(3)
    return values


def draw_windows(count: int, seed: int, quiet: bool = True) -> list[Window]:
    """Draw and measure windows of all kinds."""
    rng = np.random.default_rng(seed)
    geometry, windows = Geometry(), []
    for index in track(range(count), "measuring", disable=quiet):
        kind = KINDS[index % len(KINDS)]
        found = measure_relief(geometry.draw(rng, kind))
        if found is not None:
            windows.append(Window(kind, found))
    return windows


def fit(windows: list[Window], model: PlanarityModel | None = None) -> PlanarityModel:
    """The model with the slopes' middles and (widened) spreads of the windows that tell."""
    start = model or PlanarityModel()
    telling = [w for w in windows if start.tells(w.found)]
    heads = [w.found for w in telling if w.kind == "head"]
    planes = [w.found for w in telling if w.kind == "plane"]
    bent = [w.found for w in telling if w.kind == "bent"]
    curvature, curvature_spread = _middle([w.curvature for w in heads])
    relief, relief_spread = _middle([w.relief for w in heads])
    flat = [w.curvature for w in planes] + [w.relief for w in planes + bent]
    return replace(
        start,
        head_curvature=curvature,
        head_relief=relief,
        head_spread=WIDENING * max(curvature_spread, relief_spread),
        plane_spread=WIDENING * _spread(flat, 0.0),
        bent_spread=WIDENING * _spread([w.curvature for w in bent], 0.0),
    )


def _middle(slopes: list[Slope]) -> tuple[float, float]:
    middle = float(np.median([slope.value for slope in slopes]))
    return middle, _spread(slopes, middle)


def _spread(slopes: list[Slope], middle: float) -> float:
    """Robust spread about a middle, beside the slopes' own errors."""
    values, errors = np.array(slopes).T
    variance = (1.48 * np.median(np.abs(values - middle))) ** 2 - float(np.median(errors**2))
    return float(np.sqrt(max(variance, 0.02**2)))


def report(windows: list[Window], model: PlanarityModel, console: Console) -> None:
    """Print slopes and ratios by kind."""
    table = Table("kind", "windows", "tell", "curvature 10/50/90 %", "relief 10/50/90 %",
                  "llr 5 %", "50 %", "95 %", "wrong sign")  # fmt: skip
    for kind in KINDS:
        of_kind = [w.found for w in windows if w.kind == kind]
        telling = [w for w in of_kind if model.tells(w)]
        ratios = np.array([model.ratio(w) for w in telling])
        wrong = (ratios < 0) if kind == "head" else (ratios > 0)
        columns = [
            " ".join(f"{q:+.2f}" for q in np.quantile([s.value for s in slopes], (0.1, 0.5, 0.9)))
            for slopes in ([w.curvature for w in telling], [w.relief for w in telling])
        ]
        quantiles = [f"{q:+.2f}" for q in np.quantile(ratios, (0.05, 0.5, 0.95))]
        share = f"{len(telling) / len(of_kind):.0%}"
        table.add_row(kind, str(len(of_kind)), share, *columns, *quantiles, f"{wrong.mean():.1%}")
    console.print(table)


def main() -> None:
    """Command line: fit, print the constants, report on windows that were not fitted on."""
    parser = argparse.ArgumentParser(description="Fit the planarity cue on synthetic geometry.")
    parser.add_argument("--windows", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console(width=120)
    model = fit(draw_windows(options.windows, options.seed, quiet=False))
    names = ("head_curvature", "head_relief", "head_spread", "plane_spread", "bent_spread")
    for name in names:
        console.print(
            f"{name}: {getattr(model, name):.3f} (shipped {getattr(PlanarityModel, name)})"
        )
    fresh = draw_windows(options.windows // 2, options.seed + 1, quiet=False)
    console.print("On windows drawn anew, with the constants that are shipped:")
    report(fresh, PlanarityModel(), console)


if __name__ == "__main__":
    main()
