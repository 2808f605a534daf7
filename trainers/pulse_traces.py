"""Synthetic traces of skin cells for the pulse network: many clips at once, with known pulses.

What changes the colours is what :mod:`padflow.trainers.pulse_population` models for the pulse cue,
drawn at true and uneven frame times of 5 to 60 a second, for every cell, and with the pose that the
mesh would tell: shading that follows the pose, texture that slides under a cell, light and its
flicker (which the place beside the face shares, a display's does not), an automatic exposure,
sensor noise, and an encoder that holds blocks. Nothing but the pulse tells a living face from an
attack: all else is drawn alike, save that displays flicker more often.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..nodes.rppg import PULSE_COLOUR
from ..nodes.skin_cells import MOTIONS, POSE_UNIT, cell_count
from .attacks.pulse import beat_shape
from .pulse_population import DARK_SKIN, LIGHT_SKIN, NOISE_COLOUR

Array = np.ndarray[Any, np.dtype[Any]]

DELAY = 0.2
"""Seconds by which the wanted wave is late: a step may wait so long before it answers."""
SLOWEST, FASTEST = 5.0, 60.0
"""Frames a second."""
SHARES = {"live": 0.55, "still": 0.25, "display": 0.2}
"""Of the kinds of clips: a living face; a print or mask; a still picture on a display."""
_BLOCKS = 6
"""Blocks of an encoder in a cell."""
_WAVES = 10
"""Sines that a wandering signal is the sum of."""


@dataclass(frozen=True, slots=True)
class Traces:
    """N clips of T frames of one face each, as the network takes them, and the truth."""

    times: Array
    """float64 (N, T), seconds."""
    change: Array
    """float32 (N, T, K + 1, 3), as of :class:`~padflow.nodes.skin_cells.SkinChange`."""
    seen: Array
    """float32 (N, T, K + 1)."""
    motion: Array
    """float32 (N, T, 4)."""
    seconds: Array
    """float32 (N, T): since the frame before; the first is a usual one."""
    wave: Array
    """float32 (N, T): the blood's volume :data:`DELAY` seconds ago, 0 where there is no pulse."""
    alive: Array
    """bool (N,): there is a pulse on the skin."""
    kind: Array
    """str (N,): of :data:`SHARES`."""

    def only(self, rows: Array) -> "Traces":
        """Some of the clips."""
        return Traces(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})


@dataclass(frozen=True, slots=True)
class _Clips:
    """What a batch of clips has in common while it is drawn."""

    rng: np.random.Generator
    times: Array
    kind: Array

    @property
    def count(self) -> int:
        return len(self.times)

    def normal(self, *shape: int) -> Array:
        """Normal numbers, (N, 1, ...) for what is the same in all frames of a clip."""
        return self.rng.normal(size=(self.count, 1, *shape))

    def size(self, decade: float, spread: float, dims: int = 1) -> Array:
        """Sizes around 10 ** decade, (N, 1, ...) of so many axes behind the first."""
        sizes: Array = 10 ** self.rng.normal(decade, spread, (self.count, *(1,) * dims))
        return sizes

    def chance(self, probability: float | Array, dims: int = 1) -> Array:
        """bool (N, 1, ...)."""
        drawn: Array = self.rng.uniform(size=self.count) < probability
        return drawn.reshape(-1, *(1,) * dims)


def draw_traces(
    rng: np.random.Generator,
    count: int,
    *,
    rate: float | None = None,
    seconds: float = 10.0,
    motion: float = 1.0,
    noise: float = 1.0,
    coded: float = 0.45,
) -> Traces:
    """Draw clips of about one frame rate.

    Args:
        rng: where chance comes from.
        count: N.
        rate: frames a second, about; None: drawn between 5 and 60.
        seconds: length of a clip without drops; T is that times the rate.
        motion: factor on what heads and hands move.
        noise: factor on the sensor's noise.
        coded: share of the clips that a coarse encoder has been at.
    """
    if rate is None:
        rate = float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST))))
    times = _frame_times(rng, count, round(seconds * rate) + 1, rate)
    kind = rng.choice(list(SHARES), size=count, p=list(SHARES.values()))
    clips = _Clips(rng, times, kind)
    alive = kind == "live"
    tone = rng.uniform(size=(count, 1, 1, 1))
    skin = ((1 - tone) * LIGHT_SKIN + tone * DARK_SKIN) * rng.uniform(0.3, 1.1, (count, 1, 1, 1))
    now, late = _pulses(clips)
    pose = _pose(clips) * motion
    shared, own = _light(clips)
    cells = cell_count()
    local = 1 + 0.1 * clips.normal(cells, 1)
    colours = (shared + own)[:, :, None] * local + _moved(clips, pose, skin)
    colours = colours + _perfusion(clips, now, tone) * alive.reshape(-1, 1, 1, 1)
    darkness = np.sqrt(100.0 / skin.mean(axis=3, keepdims=True))
    strength = clips.size(-3.0, 0.35, 3) * darkness * noise
    frames = times.shape[1]
    grain = rng.normal(size=(count, frames, cells, 3)) * NOISE_COLOUR
    colours = colours + strength * np.exp(0.2 * clips.normal(cells, 1)) * grain
    level = skin * np.exp(0.08 * clips.normal(cells, 1)) * np.exp(colours)
    level = _encoded(clips, np.clip(level, 1.0, 255.0), coded)
    wall = shared * rng.uniform(0.3, 1.0, (count, 1, 1))
    wall = wall + strength[..., 0] * rng.normal(size=(count, frames, 3)) * rng.uniform(0.5, 2.0)
    logs = np.concatenate([np.log(level), wall[:, :, None]], axis=2)
    return _given(clips, logs, pose, late * alive[:, None], alive)


def _given(clips: _Clips, logs: Array, pose: Array, wave: Array, alive: Array) -> Traces:
    """What the network is told of colours, as logarithms, and of the pose."""
    seen = _visibility(clips, logs.shape[2])
    change = np.diff(logs, axis=1, prepend=logs[:, :1]) * seen[..., None]
    seconds = np.diff(clips.times, axis=1)
    seconds = np.concatenate([np.median(seconds, axis=1, keepdims=True), seconds], axis=1)
    told = pose + clips.size(-1.0, 0.4, 2) * clips.rng.normal(size=pose.shape)
    motion = np.zeros((*wave.shape, MOTIONS))
    motion[..., :3] = np.diff(told, axis=1, prepend=told[:, :1]) / POSE_UNIT
    # The eyes' middle moves by some hundredth of a face width for each degree.
    speed = np.abs(motion[..., :3]).sum(axis=2) * 0.1 / seconds
    motion[..., 3] = speed * np.exp(0.3 * clips.normal()[..., 0]) if speed.ndim > 2 else speed
    as_given = (part.astype(np.float32) for part in (change, seen, motion, seconds, wave))
    return Traces(clips.times, *as_given, alive, clips.kind)


def _frame_times(rng: np.random.Generator, count: int, frames: int, rate: float) -> Array:
    """Uneven times (N, T): clocks that run 10 % off, jitter, lost frames, and a stall or two."""
    step = 1.0 / (rate * rng.uniform(0.9, 1.1, (count, 1)))
    lost = rng.geometric(1 - rng.choice([0.0, 0.02, 0.15], (count, 1)), (count, frames))
    gaps = step * lost
    stalls = rng.uniform(size=(count, frames)) < rng.choice([0.0, 0.003], (count, 1))
    gaps = gaps + stalls * rng.uniform(0.1, 0.3, (count, frames))
    times = np.cumsum(gaps, axis=1)
    jitter = rng.choice([0.0, 0.05, 0.2], (count, 1)) * rng.uniform(-0.5, 0.5, (count, frames))
    return np.asarray(times + step * jitter)


def _wander(clips: _Clips, low: float, high: Array | float, steep: float, *shape: int) -> Array:
    """(N, T, ...) unit-variance signals of frequencies low to high, amplitude as f ** -steep.

    ``high`` may be (N, 1, ...) by clip. Sines, so that they can be taken at any time.
    """
    rng = clips.rng
    drawn = (clips.count, 1, *shape, _WAVES)
    top = np.asarray(high)
    top = top.reshape(*top.shape, *(1,) * (len(drawn) - top.ndim)) if top.ndim else top
    frequency = low * (top / low) ** rng.uniform(size=drawn)
    # Log-uniform draws have a density as 1 / f: what is left makes the wanted slope.
    size = frequency ** (0.5 - steep) * np.abs(rng.normal(size=drawn))
    size *= np.sqrt(2.0 / np.square(size).sum(axis=-1, keepdims=True))
    at = clips.times.reshape(*clips.times.shape, *(1,) * (len(shape) + 1))
    phases = (2 * np.pi * frequency) * at
    phases += rng.uniform(0, 2 * np.pi, drawn)
    np.cos(phases.astype(np.float32), out=(turned := np.empty(phases.shape, np.float32)))
    return np.asarray((turned * size).sum(axis=-1))


def _pulses(clips: _Clips) -> tuple[Array, Array]:
    """Blood volume (N, T) at the frames' times and :data:`DELAY` seconds before."""
    now, late = np.empty_like(clips.times), np.empty_like(clips.times)
    for index, times in enumerate(clips.times):
        at = np.stack([times, times - DELAY])
        now[index], late[index] = beat_shape(_beats(clips.rng, at))
    return now, late


def _beats(rng: np.random.Generator, at: Array) -> Array:
    """Beats since some moment, at times in seconds: breathing, drift, and irregular hearts."""
    rate = _heart_rate(rng) / 60.0
    beats = np.arange(np.ceil(rate * (np.ptp(at) + 4) * 1.3) + 4)
    breathing = rng.uniform(0.12, 0.4) / rate
    irregular = rng.choice([0.005, 0.02, 0.12], p=[0.5, 0.4, 0.1])
    length = 1 + 0.03 * rng.uniform() * np.sin(2 * np.pi * (breathing * beats + rng.uniform()))
    length += irregular * rng.normal(size=beats.shape)
    length += 0.01 * np.cumsum(rng.normal(size=beats.shape)) / np.sqrt(5)
    starts = np.cumsum(np.maximum(length, 0.4)) / rate
    starts += at.min() - starts[0] - rng.uniform() / rate
    return np.asarray(np.interp(at, starts, beats))


def _heart_rate(rng: np.random.Generator) -> float:
    """Half at rest, the others anywhere from 40 to 180."""
    if rng.uniform() < 0.5:
        return float(np.clip(rng.normal(75, 13), 45, 120))
    return float(rng.uniform(42, 180))


def _perfusion(clips: _Clips, volume: Array, tone: Array) -> Array:
    """Relative change (N, T, K, 3) by the blood: its amount differs between cells and people."""
    rng, cells = clips.rng, cell_count()
    amplitude = clips.size(-2.6, 0.3, 3) * (1 - 0.5 * tone)
    breath = _wander(clips, 0.12, 0.4, 0.0)
    volume = volume * (1 + 0.15 * breath) + 0.1 * breath
    gain = np.exp(0.35 * clips.normal(cells, 1))
    gain = gain * (rng.uniform(size=gain.shape) > 0.1)  # hair, a beard, thick make-up
    colour = PULSE_COLOUR / 0.77 * (1 + 0.08 * clips.normal(1, 3))
    return np.asarray(-amplitude * gain * colour * volume[:, :, None, None])


def _pose(clips: _Clips) -> Array:
    """Yaw, pitch and roll (N, T, 3) in degrees: from a held breath to a lively talk."""
    fast = 10 ** clips.rng.uniform(-0.5, 0.7, (clips.count, 1, 1))
    pose = clips.size(0.0, 0.45, 2) * _wander(clips, 0.05, fast, 1.0, 3) * np.array([1.3, 1.0, 0.6])
    sway = _sway(clips) * clips.size(-0.2, 0.4) * clips.chance(0.3)
    return np.asarray(pose + sway[..., None] * clips.normal(3))


def _sway(clips: _Clips) -> Array:
    """(N, T): a rhythm of 0.4 to 3.5 Hz as steady as a hand's tremor, a nod or a walk."""
    rate = clips.rng.uniform(0.4, 3.5, (clips.count, 1))
    drift = _wander(clips, 0.05, 0.5, 0.5) * clips.rng.uniform(0.0, 0.6, (clips.count, 1))
    return np.asarray(np.sqrt(2) * np.sin(2 * np.pi * rate * clips.times + drift))


def _moved(clips: _Clips, pose: Array, skin: Array) -> Array:
    """Change (N, T, K, 3) by shading, shine and texture, which follow the pose or jitter."""
    rng, cells = clips.rng, cell_count()
    shine = skin.mean(axis=3, keepdims=True) / skin - 1
    moved: Array = np.zeros((*clips.times.shape, cells, 3))
    for axis in range(3):
        turned = pose[..., axis, None, None]
        slope = 0.006 * clips.size(0.0, 0.25, 3) * (clips.normal(1, 1) + clips.normal(cells, 1))
        curve = 0.0005 * clips.normal(cells, 1)
        tint = 1 + rng.uniform(0, 0.5, (clips.count, 1, 1, 1)) * shine
        tint = tint + 0.08 * (clips.normal(1, 3) + clips.normal(cells, 3))
        moved += (slope * turned + curve * turned**2) * tint
    slid = clips.size(-2.7, 0.4, 3) * clips.normal(cells, 3)
    fast = 10 ** rng.uniform(0.0, 0.9, (clips.count, 1, 1))
    jitter = _wander(clips, 0.2, fast, 0.5, cells)[..., None]
    speaks = _wander(clips, 0.3, 5.0, 0.5)[:, :, None, None]
    speech = clips.size(-2.7, 0.5, 3) * clips.normal(cells, 3) * clips.chance(0.3, 3)
    return np.asarray(moved + slid * jitter + speech * speaks)


def _light(clips: _Clips) -> tuple[Array, Array]:
    """Change by light (N, T, 3): what the place beside the face shares, and a display's own."""
    colour = 1 + 0.1 * clips.normal(3)
    fast = 10 ** clips.rng.uniform(-0.7, 0.5, (clips.count, 1))
    drift = clips.size(-2.3, 0.4) * _wander(clips, 0.03, fast, 1.0)
    lamp = _flicker(clips) * clips.chance(0.15, 2)
    shown = _flicker(clips) * (clips.chance(0.6, 2) & (clips.kind == "display")[:, None, None])
    gains = _exposure(clips)
    return drift[..., None] * colour + lamp + gains, shown


def _flicker(clips: _Clips) -> Array:
    """(N, T, 3): the beat of a lamp or display against the shutter, nearly white."""
    rate = clips.rng.uniform(0.1, 5.0, (clips.count, 1))
    beat = np.sin(2 * np.pi * (rate * clips.times + clips.rng.uniform(size=(clips.count, 1))))
    strength = clips.size(-2.5, 0.5, 2)
    return np.asarray(strength * beat[..., None] * (1 + 0.15 * clips.normal(3)))


def _exposure(clips: _Clips) -> Array:
    """(N, T, 3): steps of an automatic exposure and white balance, in some of the clips."""
    rng = clips.rng
    at = rng.uniform(0, 12, (clips.count, 1, 4)) + clips.times[:, :1, None]
    quick = rng.uniform(0.05, 0.6, (clips.count, 1, 1))
    rise = 1 / (1 + np.exp(-np.clip((clips.times[..., None] - at) / quick * 4, -30, 30)))
    heights = clips.size(-1.9, 0.4, 3) * rng.normal(size=(clips.count, 1, 4, 1))
    heights = heights * (1 + 0.1 * rng.normal(size=(clips.count, 1, 4, 3)))
    steps = (rise[..., None] * heights).sum(axis=2)
    return np.asarray(steps * clips.chance(0.25, 2))


def _visibility(clips: _Clips, traces: int) -> Array:
    """float (N, T, K + 1): cells that turn away for a while, and faces with no place beside."""
    rng = clips.rng
    away = _wander(clips, 0.03, 0.3, 0.5, traces) > rng.uniform(0.3, 2.0, (clips.count, 1, 1))
    turning = rng.uniform(size=(clips.count, 1, traces)) < 0.25
    turning &= clips.chance(0.3, 2)
    turning[..., -1] = False
    seen = ~(away & turning)
    seen[..., -1] = ~clips.chance(0.15)
    return np.asarray(seen, np.float64)


def _encoded(clips: _Clips, level: Array, share: float) -> Array:
    """Levels (N, T, K, 3) after an encoder that holds blocks until they are off by a step.

    Works on luma and chroma, whose steps are coarser, and refreshes all blocks every group.
    """
    rng = clips.rng
    chosen = np.flatnonzero(rng.uniform(size=clips.count) < share)
    if not chosen.size:
        return level
    some = level[chosen]
    count, frames, cells = some.shape[:3]
    step = 10 ** rng.uniform(-0.7, 0.6, (count, 1, 1, 1)) * np.array([1.0, 1.4, 1.4])
    rough = rng.uniform(0.2, 1.5, (count, 1, 1, 1)) * np.array([1.0, 0.5, 0.5])
    group = rng.choice([12, 25, 30, 60, 250], (count, 1, 1))
    planes = some @ _TO_YCC.T
    offset = rng.uniform(-0.5, 0.5, (count, cells, _BLOCKS, 3))
    held = planes[:, 0, :, None] + step * offset
    shown = np.empty_like(planes)
    grain = rng.normal(size=(8, count, cells, _BLOCKS, 3)) * rough
    for index in range(frames):
        block = planes[:, index, :, None] + grain[rng.integers(8)]
        moved = (np.abs(block - held) > step) | (index % group == 0)[..., None]
        held = np.where(moved, np.round(block / step - offset) * step + step * offset, held)
        shown[:, index] = held.mean(axis=2)
    coded = level.copy()
    coded[chosen] = np.clip(shown @ _FROM_YCC.T, 1.0, 255.0)
    return coded


_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
_FROM_YCC = np.linalg.inv(_TO_YCC)
