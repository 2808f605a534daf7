"""Blinks and movements of a face in what its mesh shows, and how much they or their absence say.

With B how much likelier the channels (:mod:`.face_channels`) are where something moved than where
only the mesh wandered, and P the chance that a living face moves visibly in the time watched,

    live:    P B + 1 - P
    attack:  r P B + 1 - r P      r: attacks that show a living face's movements

P grows with the time T that was watched. How often people blink differs widely: for rates of a
gamma distribution with shape k and mean m the chance of no event in T is (1 + m T / k) ** -k
(Greenwood and Yule, *An inquiry into the nature of frequency distributions*, 1920), and each event
is seen only with the chance that the mesh's noise and the looks a second leave. So a short look
without an event says little, and a long one no more than the share of living faces that show none
at all allows.
"""

from dataclasses import dataclass
from math import erf, exp, log, sqrt
from typing import Annotated

import numpy as np
from annotated_types import Gt, Interval

from .face_channels import Channel

MOVING = (Channel.MOUTH, Channel.SMILE, Channel.BROWS)
SPEED = 3
"""Column of the poses; before it yaw, pitch and roll."""
SHORTEST, LONGEST = 0.04, 0.6
"""Seconds of a blink below half its depth, with what coarse sampling adds."""
NEAR = 1.0
"""Seconds to either side from which the open eye is known."""
BOTH = 0.5
"""Each eye's dip is at least this share of the mean's."""
STILL = 5.0
"""Degrees by which the pose may change in a blink: beyond, the lids' dip may be the pose's."""
SLOW = 0.5
"""Face widths a second beyond which a face moves too fast: its eyes blur, and the mesh slips."""
DENSE = 0.25
"""Seconds between two looks up to which the time between them was watched."""
_BLINK_SEEN = 0.15
"""Seconds of a blink in which a look finds the lids well down, of the 0.1 to 0.4 that it lasts."""
_PACE = 8.0
"""Looks a second below which speech is taken for noise, more and more."""
_MOUTHFUL = 0.1
"""Interocular distances that a mouth opens in a movement, median; half to twice in most."""
_RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class LifeMeasurement:
    """What the channels of one window show."""

    blinks: int
    movement: float
    """Greatest range of mouth, smile or brows over what a still face's would be, natural log."""
    eye_noise: float
    """Noise of the eyes' opening from look to look, in the eye's width."""
    mouth_noise: float
    """Noise of the mouth's opening, in interocular distances."""
    looks_per_second: float
    watched: float
    """Seconds."""


@dataclass(frozen=True)
class LifeModel:
    """Constants of the ratio.

    ``python -m padflow.trainers.life_calibration`` measures what a still face's mesh wanders, on
    portraits that are moved; the wanders here are wider, because light and hands are not in those.
    Rates and shares are judgements with sources: docs/CUES.md.
    """

    mouth_wander: Annotated[float, Gt(0)] = 0.020
    """Range of a still mouth's opening by the mesh, interocular distances."""
    smile_wander: Annotated[float, Gt(0)] = 0.035
    brow_wander: Annotated[float, Gt(0)] = 0.016
    noise_range: Annotated[float, Gt(0)] = 1.9
    """Range of a still channel over its noise from look to look: 3.29 / sqrt(3) for white noise."""
    wander_spread: Annotated[float, Gt(0)] = 0.45
    """Standard deviation of the natural log of those ranges."""
    moved: float = 1.3
    """Middle of :attr:`LifeMeasurement.movement` where something moved."""
    moved_spread: Annotated[float, Gt(0)] = 0.8
    least_dip: Annotated[float, Gt(0)] = 0.06
    """Least dip of the eyes' opening that is a blink; the mesh shows a small part."""
    dip_noises: Annotated[float, Gt(0)] = 5.0
    """And at least so many times the noise."""
    blink_depth: Annotated[float, Gt(0)] = 0.07
    """Median dip of a blink by the mesh."""
    blink_logit: float = 2.0
    """Nats that one blink speaks for eyes that close: of those found by the mesh some are slips."""
    blink_rate: Annotated[float, Gt(0)] = 0.25
    """Blinks a second of people, mean: 15 a minute, between 4.5 of readers and 26 of talkers
    (Bentivoglio et al., *Analysis of blink rate patterns in normal subjects*, 1997)."""
    blink_shape: Annotated[float, Gt(0)] = 2.0
    """Shape of the gamma distribution of rates: nine in ten between 3 and 36 a minute."""
    movement_rate: Annotated[float, Gt(0)] = 0.1
    """Visible movements of mouth or brows a second, mean: of few people many."""
    movement_shape: Annotated[float, Gt(0)] = 0.4
    attacks_that_move: Annotated[float, Interval(gt=0, lt=1)] = 0.45
    """Share of attacks that show a living face's movements: replayed videos, masks with holes for
    eyes or mouth, papers on parts of a face."""
    living_that_stare: Annotated[float, Interval(gt=0, lt=1)] = 0.12
    """Share of living faces that never show any: dark glasses, a covered mouth, a stare."""
    least_sensitivity: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    """Chance to see a movement or a blink below which nothing is said."""

    def ratio(self, found: LifeMeasurement) -> float:
        """Log-likelihood ratio in nats of a living person against an attack."""
        chance = self.chance(found)
        odds = exp(min(max(self.logit(found), -30.0), 30.0))
        share = self.attacks_that_move * chance
        return log((chance * odds + 1 - chance) / (share * odds + 1 - share))

    def logit(self, found: LifeMeasurement) -> float:
        """Ln of how much likelier the channels are where something moved."""
        away = found.movement / self.wander_spread
        near = (found.movement - self.moved) / self.moved_spread
        if found.movement >= self.moved:
            near = 0.0  # the more, the surer
        moved = away**2 / 2 - near**2 / 2 - log(self.moved_spread / self.wander_spread)
        if found.movement < 0:
            moved = min(moved, 0.0)
        return max(moved, self.blink_logit * min(found.blinks, 3) if found.blinks else -30.0)

    def chance(self, found: LifeMeasurement) -> float:
        """Chance that a living face is seen to move in the time watched."""
        blink, movement = self.sensitivity(found)
        still = (1 + self.blink_rate * blink * found.watched / self.blink_shape) ** (
            -self.blink_shape
        )
        still *= (1 + self.movement_rate * movement * found.watched / self.movement_shape) ** (
            -self.movement_shape
        )
        return float((1 - self.living_that_stare) * (1 - still))

    def sensitivity(self, found: LifeMeasurement) -> tuple[float, float]:
        """Chances that a blink, and that a movement of the mouth, is seen through the noise."""
        least = max(self.least_dip, self.dip_noises * found.eye_noise)
        looked = min(1.0, _BLINK_SEEN * found.looks_per_second)
        blink = looked * _normal(log(self.blink_depth / least) / 0.6)
        still = self.still_range(self.mouth_wander, found.mouth_noise)
        paced = min(1.0, found.looks_per_second / _PACE)
        return blink, paced * _normal(log(_MOUTHFUL / (exp(self.moved / 2) * still)) / 0.8)

    def tells(self, found: LifeMeasurement) -> bool:
        """Whether the mesh is steady enough."""
        return max(self.sensitivity(found)) >= self.least_sensitivity

    def still_range(self, wander: float, noise: float) -> float:
        """Range of a channel of a still face."""
        return sqrt(wander**2 + (self.noise_range * noise) ** 2)


def measure_life(
    times: np.ndarray, channels: np.ndarray, poses: np.ndarray, model: LifeModel
) -> LifeMeasurement:
    """Blinks and movements in the looks of one window.

    Args:
        times: float64 (n,) seconds, n at least 8.
        channels: float (n, 5), by :class:`Channel`.
        poses: float (n, 4), yaw, pitch and roll in degrees, speed in face widths per second.
        model: what is a blink, and how far a still face's mesh wanders.
    """
    steps = np.diff(times)
    watched = float(steps[steps <= DENSE].sum())
    noises = channel_noises(channels)
    eyes = float(noises[[Channel.RIGHT_EYE, Channel.LEFT_EYE]].mean())
    ranges = channel_ranges(channels[:, MOVING], poses)
    wanders = (model.mouth_wander, model.smile_wander, model.brow_wander)
    still = [
        model.still_range(wander, float(noises[channel]))
        for wander, channel in zip(wanders, MOVING, strict=True)
    ]
    least = max(model.least_dip, model.dip_noises * eyes)
    return LifeMeasurement(
        blinks=len(find_blinks(times, channels, poses, least)),
        movement=float(np.log(np.maximum(ranges / still, 1e-6)).max()),
        eye_noise=eyes,
        mouth_noise=float(noises[Channel.MOUTH]),
        looks_per_second=(len(times) - 1) / max(float(times[-1] - times[0]), 1e-6),
        watched=watched,
    )


def find_blinks(
    times: np.ndarray, channels: np.ndarray, poses: np.ndarray, least: float
) -> list[float]:
    """Times of short closings of both eyes, at least so deep; arguments as :func:`measure_life`."""
    both = channels[:, [Channel.RIGHT_EYE, Channel.LEFT_EYE]]
    eyes = both.mean(1)
    first = np.searchsorted(times, times - NEAR)
    last = np.searchsorted(times, times + NEAR, "right")
    blinks: list[float] = []
    over = 0  # index at which the last one was
    for index in np.flatnonzero(_is_least(eyes)):
        near = slice(first[index], last[index])
        if eyes[near].max() - eyes[index] < least:
            continue
        open_eyes = np.quantile(both[near], 0.8, axis=0)
        dips = open_eyes - both[index]
        dip = float(dips.mean())
        if dip < least or float(dips.min()) < BOTH * dip:
            continue
        span = _below(times, eyes, int(index), float(open_eyes.mean()) - dip / 2)
        if span is None or not SHORTEST <= times[span[1]] - times[span[0]] <= LONGEST:
            continue
        during = poses[span[0] : span[1] + 1]
        still = np.ptp(during[:, :2], axis=0).max() <= STILL and during[:, SPEED].max() <= SLOW
        # Noise may give one closing two lowest looks.
        apart = not blinks or (span[0] >= over and times[index] - blinks[-1] > SHORTEST * 2)
        if still and apart:
            blinks.append(float(times[index]))
            over = span[1]
    return blinks


def _is_least(values: np.ndarray) -> np.ndarray:
    """Bool (n,): no neighbour is lower. The ends are not."""
    least = np.zeros(len(values), bool)
    middle = values[1:-1]
    least[1:-1] = (middle <= values[:-2]) & (middle < values[2:])
    return least


def _below(times: np.ndarray, eyes: np.ndarray, index: int, level: float) -> tuple[int, int] | None:
    """The looks just before and after the dip at ``index``; None where an end is not seen."""
    start, end = index, index
    while start >= 0 and eyes[start] < level:
        start -= 1
    while end < len(eyes) and eyes[end] < level:
        end += 1
    if start < 0 or end == len(eyes):
        return None
    dense = np.diff(times[start : end + 1]).max() <= DENSE
    return (start, end) if dense else None


def channel_noises(channels: np.ndarray) -> np.ndarray:
    """Standard deviation (5,) of white noise, from second differences, robustly."""
    second = channels[2:] - 2 * channels[1:-1] + channels[:-2]
    noise: np.ndarray = 1.48 * np.median(np.abs(second), axis=0) / np.sqrt(6.0)
    return noise


def channel_ranges(channels: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """From the 5th to the 95th percentile of channels (n, k), smoothed, the pose's part gone."""
    smooth = (channels[2:] + channels[1:-1] + channels[:-2]) / 3
    turns = (poses[1:-1, :SPEED] - poses[:, :SPEED].mean(0)) / 10.0
    terms = np.column_stack([np.ones(len(turns)), turns, turns[:, :2] ** 2])
    ridge = _RIDGE * np.diag([0.0, 1, 1, 1, 1, 1])
    fit = np.linalg.solve(terms.T @ terms + ridge, terms.T @ smooth)
    low, high = np.quantile(smooth - terms @ fit, (0.05, 0.95), axis=0)
    ranges: np.ndarray = high - low
    return ranges


def _normal(value: float) -> float:
    return 0.5 * (1 + erf(value / sqrt(2.0)))
