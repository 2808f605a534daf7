"""How much each witness of the heart rate counts, learned on rendered faces with a known heart.

A conditional logit (McFadden, Conditional logit analysis of qualitative choice behavior, 1974): of
the frequencies of a window one is the heart's, and its chance rises with the weighted sum of what
the witnesses say of it (:func:`~padflow.nodes.wave_evidence.rate_witnesses`). Few weights, none
below zero: nothing that sees a line may speak against it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from ..nodes.payloads import SkinSample
from ..nodes.skin_steps import AreaColours, SkinStep, SkinSteps
from ..nodes.spectrum import HALF_WIDTH_BPM
from ..nodes.wave_evidence import (
    LEAST_SEEN,
    RateWeights,
    WaveWindow,
    heart_frequencies,
    rate_witnesses,
)
from .networks.pulse import PulseNetwork
from .pulse_clips import PulseClip, render_pulse_clips, skin_of
from .pulse_traces import Array
from .pulse_windows import wave_window, waves_of

RATED = 31_000
"""Added to the seed of the clips that are rendered for it."""
ENDS = (8.0, 9.0, 10.0, 11.0)
"""Seconds into a clip at which its windows end."""
LONGEST = 10.0
SHRINKAGE = 1e-3
"""Of the squares of weights, each by the spread of what its witness says."""


class RatedWindow(NamedTuple):
    """A window whose heart rate is known."""

    window: WaveWindow
    true_bpm: float


def rated_windows(
    network: PulseNetwork,
    folder: Path,
    count: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[RatedWindow]:
    """Windows of so many rendered clips, or of those that are in the folder already.

    Raises:
        PortraitsMissing: the packages that carry the portraits are not installed.
        ModelMissing: the mesh network has not been pulled.
    """
    found: list[RatedWindow] = []
    for index, clip in enumerate(render_pulse_clips(folder, count, seed + RATED)):
        found += _windows(network, clip, skin_of(clip))
        progress(index + 1, count)
    return found


def _windows(
    network: PulseNetwork, clip: PulseClip, samples: Sequence[tuple[float, SkinSample]]
) -> Iterator[RatedWindow]:
    steps = _steps(samples)
    times = np.array([step.time for step in steps])
    moved = (np.stack(part) for part in zip(*(step.moved for step in steps), strict=True))
    change, seen, motion = moved
    seconds = np.array([step.seconds for step in steps], np.float32)
    (waves,) = waves_of(network, *(part[None] for part in (times, change, seen, motion, seconds)))
    rates = np.array(clip.beats_per_minute)
    areas = AreaColours(np.inf)
    for step in steps:
        areas.append(step.time, step.areas)
    for end in ENDS:
        start = end - LONGEST
        window = wave_window(waves, start, end)
        window = replace(window, areas=areas.at(window.times, LEAST_SEEN))
        true = rates[max(int(start * clip.fps), 0) : int(end * clip.fps) + 1].mean()
        yield RatedWindow(window, float(true))


def _steps(samples: Sequence[tuple[float, SkinSample]]) -> list[SkinStep]:
    taking = SkinSteps()
    taken = (taking.take(time, sample) for time, sample in samples if sample.usable)
    return [step for step in taken if step is not None]


def fit_rate_weights(windows: Sequence[RatedWindow]) -> RateWeights:
    """The weights for which the true frequencies are likeliest.

    A frequency is true within half a line's width. Windows none of whose frequencies is, since the
    heart is out of the band, take no part.
    """
    frequencies = heart_frequencies()
    said, true = [], []
    for window, beat in windows:
        near = np.abs(60.0 * frequencies - beat) <= HALF_WIDTH_BPM / 2
        if near.any():
            said.append(rate_witnesses(window, frequencies))
            true.append(near)
    witnesses, near = np.stack(said), np.stack(true)
    spread = np.maximum(witnesses.std(axis=(0, 1)), 1e-6)
    scaled = (witnesses - witnesses.mean(axis=1, keepdims=True)) / spread
    start = np.full(scaled.shape[2], 0.5)
    bounds = [(0.0, None)] * len(start)
    found = minimize(_loss, start, (scaled, near), jac=True, bounds=bounds, method="L-BFGS-B")
    return RateWeights(*(float(weight) for weight in found.x / spread))


def _loss(weights: Array, said: Array, near: Array) -> tuple[float, Array]:
    """Mean negative log-likelihood of the true frequencies, and its gradient."""
    scores = said @ weights
    whole = logsumexp(scores, axis=1, keepdims=True)
    right = logsumexp(scores, axis=1, b=near, keepdims=True)
    away = np.exp(scores - whole) - near * np.exp(scores - right)
    slope = (away[..., None] * said).sum(axis=1).mean(axis=0)
    value = float((whole - right).mean() + SHRINKAGE * weights @ weights)
    return value, slope + 2 * SHRINKAGE * weights
