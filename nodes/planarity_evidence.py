"""Do the points of a face move like a sheet or like a relief that turns? Measurement and ratio.

A rigid face seen from afar moves as x' = s (R q + d z) + t: q is where a point was in a reference
picture, z its depth there, and d the first two entries of the third column of the rotation since
then (weak perspective: Koenderink and van Doorn, *Affine structure from motion*, 1991). For a flat
thing z is linear in q, so that nothing is left beside a homography of q (here to first order of
its perspective). What is left of a head is d z. The mesh's pose gives d and the canonical face z,
so one number tells the two apart, the slope of what is left on what a head would leave: about 1
for a head, 0 for a plane. A bent sheet is between: its z, and its bending, are quadratic in q. So
the slope is taken twice, in two parts of the relief that have nothing in common: the **curvature**,
its quadratic part, which a bent sheet can have, and the **relief** beside it, a nose that sticks
out, which no sheet has.

How far a slope may be off comes from how the points scatter (each point's errors may be alike in
all frames: Liang and Zeger, *Longitudinal data analysis using generalized linear models*, 1986), in
which tracking noise, slipping points and moving skin all show. The noise of the mesh's pose is
measured from frame to frame and taken out of the slopes (Fuller, *Measurement Error Models*, 1987,
section 1.2); where too little turning stands out of it nothing is said.
"""

from dataclasses import dataclass
from math import exp, lgamma, log, pi, sqrt
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Interval

FEWEST_POINTS = 24
"""Six of them go into the sheet."""
FEWEST_FRAMES = 5
LEAST_FOUND = 0.6
"""Share of the frames in which a point must be found to take part."""
POSE_DRIFT = 0.015
"""Radians, root mean square over a second or two, by which the mesh's pose wanders beside its noise
from frame to frame: with the expression, the light, the crop."""
_ROUNDS = 2
"""Of reweighting."""
_CLIP = 1.5
"""Residuals beyond this many median ones count less (Huber's weights)."""
_RIDGE = 1e-9


class Slope(NamedTuple):
    """A slope and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class ReliefMeasurement:
    """What one window of tracked points shows."""

    curvature: Slope
    """Of the points' motion on that of the canonical face's quadratic part."""
    relief: Slope
    """Of the points' motion on that of the canonical face beside any bent sheet."""
    turning: float
    """Root mean square of the turning out of the picture's plane, in radians, noise taken out."""
    reliability: float
    """Share of the pose's variance that is neither noise nor drift, 0 to 1."""
    noise: float
    """Root mean square of what neither explains, a coordinate, in interocular distances."""
    sheet_ratio: float
    """Root mean square beside a homography over that beside the head's motion: 1 for a plane."""
    points: int
    frames: int


@dataclass(frozen=True)
class PlanarityModel:
    """Constants of the ratio.

    ``python -m padflow.trainers.planarity_calibration`` fits middles and spreads of the slopes on
    synthetic geometry; the spreads here are wider, because real points and poses are off in more
    ways. The shares are judgements, not measurements: docs/CUES.md.
    """

    head_curvature: float = 0.95
    """Middle of the curvature slopes of heads that turn."""
    head_relief: float = 0.85
    """Middle of the relief slopes of heads: the tracker's windows see a nose smoothed."""
    head_spread: Annotated[float, Gt(0)] = 0.5
    """Standard deviation of both: faces differ, and the mesh's pose is off."""
    plane_spread: Annotated[float, Gt(0)] = 0.12
    """Standard deviation of both slopes of planes beside the measured error; of bent sheets for the
    relief's."""
    bent_spread: Annotated[float, Gt(0)] = 0.6
    """Standard deviation of the curvature slopes of bent sheets."""
    bent_sheets: Annotated[float, Interval(gt=0, lt=1)] = 0.3
    """Share of sheets that are bent like a face."""
    freedom: Annotated[float, Gt(2)] = 4.0
    """Degrees of freedom of all these distributions (Student's t): a slope that none explains
    speaks for none."""
    largest_error: Annotated[float, Gt(0)] = 0.35
    """Standard error of the curvature slope above which nothing is said."""
    least_reliability: Annotated[float, Interval(gt=0, lt=1)] = 0.6
    """Share of the pose's variance that must not be noise."""
    attacks_with_relief: Annotated[float, Interval(gt=0, lt=1)] = 0.55
    """Share of attacks that move like a head: replayed videos of heads that turn, masks."""
    heads_without: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Share of living heads that seem flat although they turned (hands before the face, a pose
    that is wrong)."""

    def ratio(self, found: ReliefMeasurement) -> float:
        """Log-likelihood ratio in nats of a living person against an attack."""
        odds = exp(min(max(self.head_logit(found), -50.0), 50.0))
        alive = (1 - self.heads_without) * odds + self.heads_without
        attack = self.attacks_with_relief * odds + 1 - self.attacks_with_relief
        return log(alive / attack)

    def head_logit(self, found: ReliefMeasurement) -> float:
        """Log of the slopes' density for a head over that for a sheet, flat or bent."""
        curvature, relief = found.curvature, found.relief
        head = self._density(curvature, self.head_curvature, self.head_spread)
        head *= self._density(relief, self.head_relief, self.head_spread)
        plane = self._density(curvature, 0.0, self.plane_spread)
        bent = self._density(curvature, 0.0, self.bent_spread)
        sheet = (1 - self.bent_sheets) * plane + self.bent_sheets * bent
        sheet *= self._density(relief, 0.0, self.plane_spread)
        return log(max(head, 1e-30) / max(sheet, 1e-30))

    def tells(self, found: ReliefMeasurement) -> bool:
        """Whether the head turned far enough for its relief to show."""
        return (
            found.reliability >= self.least_reliability
            and found.curvature.error <= self.largest_error
        )

    def _density(self, slope: Slope, middle: float, spread: float) -> float:
        """Student's t with spread and error added in squares."""
        scale, n = sqrt(spread**2 + slope.error**2), self.freedom
        peak = lgamma((n + 1) / 2) - lgamma(n / 2) - log(n * pi) / 2 - log(scale)
        away = (slope.value - middle) / scale
        return exp(peak - (n + 1) / 2 * log(1 + away**2 / n))


class Tracks(NamedTuple):
    """Points of a face followed from a reference frame."""

    start: np.ndarray
    """float64 (n, 2): in the reference frame, pixels of the frame."""
    places: np.ndarray
    """float64 (m, n, 2): in m later frames."""
    found: np.ndarray
    """bool (m, n)."""
    relief: np.ndarray
    """float64 (n, 3): the points on the canonical face."""
    rotations: np.ndarray
    """float64 (m + 1, 3, 3): the mesh's pose in the reference frame and the m later ones."""
    interocular: float
    """Distance between the eyes in the reference frame, pixels of the frame."""


def measure_relief(tracks: Tracks) -> ReliefMeasurement | None:
    """Both slopes; None where too few points were followed in too few frames."""
    frames = np.flatnonzero(tracks.found.sum(1) >= FEWEST_POINTS)
    if len(frames) < FEWEST_FRAMES:
        return None
    points = np.flatnonzero(tracks.found[frames].mean(0) >= LEAST_FOUND)
    if len(points) < FEWEST_POINTS:
        return None
    found = tracks.found[np.ix_(frames, points)].astype(float)
    start = tracks.start[points]
    moved = (tracks.places[np.ix_(frames, points)] - start) / tracks.interocular
    moved[found == 0] = 0.0
    first = tracks.rotations[0]
    turns = (tracks.rotations[1:] @ first.T)[frames, :2, 2]
    depth = tracks.relief[points] @ first[2]
    places = (start - start.mean(0)) / tracks.interocular
    return _slopes(_flat(moved), found, places, turns, depth - depth.mean())


def _slopes(
    moved: np.ndarray, found: np.ndarray, places: np.ndarray, turns: np.ndarray, depth: np.ndarray
) -> ReliefMeasurement | None:
    """See :func:`measure_relief`; moved (m, 2n), found (m, n), turns (m, 2), depth (n,)."""
    noise, total = (
        _pose_noise(turns) + POSE_DRIFT**2,
        float(((turns - turns.mean(0)) ** 2).sum(1).mean()),
    )
    if total <= 0:
        return None
    plane, sheet = _plane_terms(places), _sheet_terms(places)
    weights = _weights(plane, moved, found)
    parallax = _flat(turns[:, None, :] * depth[:, None])
    left = _steady(_beside(plane, moved, weights), weights)
    beside_plane = _beside(plane, parallax, weights)
    relief = _beside(sheet, parallax, weights)
    curvature = _steady(beside_plane - relief, weights)
    relief = _steady(relief, weights)
    reliability = max(0.0, 1.0 - noise / total)
    slopes = [_slope(left, part, weights, reliability) for part in (curvature, relief)]
    fitted = reliability * (slopes[0].value * curvature + slopes[1].value * relief)
    beside_head = _power(left - fitted, weights)
    freedoms = 2.0 * len(depth) - plane.shape[1] - 2
    return ReliefMeasurement(
        curvature=slopes[0],
        relief=slopes[1],
        turning=sqrt(total * reliability),
        reliability=reliability,
        noise=sqrt(beside_head / (freedoms * len(turns))),
        sheet_ratio=sqrt(_power(left, weights) / max(beside_head, 1e-18)),
        points=len(depth),
        frames=len(turns),
    )


def _flat(vectors: np.ndarray) -> np.ndarray:
    """(m, n, 2) to (m, 2n): first all x, then all y."""
    return np.concatenate([vectors[..., 0], vectors[..., 1]], axis=1)


def _plane_terms(places: np.ndarray) -> np.ndarray:
    """float64 (2n, 8): motions (x, y) of a homography, to first order of its perspective."""
    x, y = places.T
    one, none = np.ones_like(x), np.zeros_like(x)
    along = np.column_stack([one, x, y, none, none, none, x * x, x * y])
    down = np.column_stack([none, none, none, one, x, y, x * y, y * y])
    return np.concatenate([along, down])


def _sheet_terms(places: np.ndarray) -> np.ndarray:
    """float64 (2n, 12): motions (x, y) of a quadratic warp."""
    x, y = places.T
    terms = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    return np.kron(np.eye(2), terms)


def _beside(terms: np.ndarray, moved: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What terms (2n, p) leave of each frame's motions (m, 2n) by weighted least squares."""
    weighted = terms.T * _twice(weights)[:, None, :]  # (m, p, 2n)
    normal = weighted @ terms + _RIDGE * np.eye(terms.shape[1])
    fit = np.linalg.solve(normal, (weighted @ moved[..., None]))[..., 0]
    left: np.ndarray = moved - fit @ terms.T
    return left


def _weights(terms: np.ndarray, moved: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Huber's weights (m, n) of the points: less for those that leave the plane far."""
    weights, count = found, found.shape[1]
    half = (found.sum(1).astype(np.int64) // 2)[:, None]
    for _ in range(_ROUNDS):
        left = _beside(terms, moved, weights)
        size = np.hypot(left[:, :count], left[:, count:])
        ordered = np.sort(np.where(found > 0, size, np.inf), axis=1)
        middle = np.take_along_axis(ordered, half, axis=1)
        weights = found / np.maximum(1.0, size / np.maximum(_CLIP * middle, 1e-9))
    return weights


def _steady(moved: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Motions (m, 2n) without each point's mean: the reference picture's own errors are in all."""
    double = _twice(weights)
    mean = (double * moved).sum(0) / np.maximum(double.sum(0), 1e-9)
    steady: np.ndarray = moved - mean
    return steady


def _slope(left: np.ndarray, part: np.ndarray, weights: np.ndarray, reliability: float) -> Slope:
    """Robust slope of motions (m, 2n) on those of a part, errors clustered by point."""
    count = weights.shape[1]
    weighted = _twice(weights) * part
    product, square = weighted * left, weighted * part
    products = (product[:, :count] + product[:, count:]).sum(0)
    squares = (square[:, :count] + square[:, count:]).sum(0)
    trust = np.ones(count)
    value, scores = 0.0, products
    for _ in range(_ROUNDS):
        value = float((trust * products).sum()) / max(float((trust * squares).sum()), 1e-12)
        scores = products - value * squares
        away = np.abs(scores)
        middle = float(np.sort(away)[count // 2])
        trust = 1.0 / np.maximum(1.0, away / max(_CLIP * 1.48 * middle, 1e-12))
    information = max(float((trust * squares).sum()), 1e-12)
    # Six of the points' freedoms went into the sheet.
    spread = float((trust * scores**2).sum()) * count / (count - 7)
    kept = max(reliability, 1e-2)
    return Slope(value / kept, sqrt(spread) / information / kept)


def _power(moved: np.ndarray, weights: np.ndarray) -> float:
    return float((_twice(weights) * moved**2).sum())


def _twice(weights: np.ndarray) -> np.ndarray:
    """Weights (m, n) of points for their x and y, (m, 2n)."""
    return np.concatenate([weights, weights], axis=1)


def _pose_noise(turns: np.ndarray) -> float:
    """Variance of the mesh's noise, both axes together, from second differences in time.

    By one standard error more than measured: it is known from few frames, and must not be missed.
    """
    second = turns[2:] - 2 * turns[1:-1] + turns[:-2]
    # Neighbouring differences are alike: a variance from n of them, of two axes, is known to about
    # the share sqrt(2 / n).
    surely = 1 + sqrt(2.0 / len(second))
    return surely * float((second**2).sum(1).mean()) / 6.0
