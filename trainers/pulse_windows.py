"""Windows of the pulse network's waves as the node sees them, from whole clips."""

from dataclasses import dataclass

import numpy as np
import torch

from ..nodes.wave_evidence import WaveWindow
from .networks.pulse import PulseNetwork
from .pulse_traces import Array

SETTLED = 1.0
"""Seconds of a clip that are left out, as the node does."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipWaves:
    """A clip in steps, and the network's waves of it."""

    times: Array
    """float64 (T,), seconds."""
    change: Array
    """float32 (T, K + 1, 3), like the following as of :class:`~.pulse_traces.Traces`."""
    seen: Array
    motion: Array
    face: Array
    """float32 (T,)"""
    cells: Array
    """float32 (T, K)"""


@torch.no_grad()
def waves_of(
    network: PulseNetwork, times: Array, change: Array, seen: Array, motion: Array, seconds: Array
) -> list[ClipWaves]:
    """The network's waves of whole clips (N, T, ...), from a fresh memory each."""
    parts = (change, seen, motion, seconds)
    face, cells, _ = network.clip(*(torch.from_numpy(part) for part in parts))
    rows = zip(times, change, seen, motion, face.numpy(), cells.numpy(), strict=True)
    return [ClipWaves(*row) for row in rows]


def wave_window(clip: ClipWaves, start: float, end: float) -> WaveWindow:
    """What the node keeps of a clip from one time to another, but for the areas.

    Args:
        clip: of :func:`waves_of`.
        start: seconds; the clip's first second is left out.
        end: seconds.
    """
    inside = (clip.times >= max(clip.times[0] + SETTLED, start)) & (clip.times <= end)
    colours = np.cumsum(clip.change.astype(np.float64), axis=0)
    pose = np.cumsum(clip.motion[:, :3].astype(np.float64), axis=0)
    counts = np.maximum(clip.seen[:, :-1].sum(axis=1), 1.0)
    steps = clip.change[:, :-1].mean(axis=2).sum(axis=1) / counts
    brightness = np.cumsum(steps.astype(np.float64))
    waves = np.where(clip.seen[:, :-1] > 0, clip.cells, np.nan)
    wall = colours[inside, -1].mean(axis=1) if clip.seen[inside, -1].all() else None
    return WaveWindow(
        clip.times[inside],
        clip.face[inside].astype(np.float64),
        waves[inside].T,
        colours[inside, :-1].transpose(1, 0, 2),
        pose[inside].T,
        brightness[inside],
        wall,
    )
