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
CODED = 0.3
"""Share of the clips that a model of a coarse encoder has been at."""
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
        """Some of the chance."""
        return Traces(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})


@dataclass(frozen=True, slots=True)
class Chance:
    """Draws for N clips at once."""

    rng: np.random.Generator
    times: Array
    """float64 (N, T)."""

    @property
    def count(self) -> int:
        """How many clips: N."""
        return len(self.times)

    def normal(self, *shape: int) -> Array:
        """Normal numbers (N, 1, ...): the same in all frames of a clip."""
        return self.rng.normal(size=(self.count, 1, *shape))

    def size(self, decade: float, spread: float, dims: int = 1) -> Array:
        """Sizes around 10 ** decade, (N, 1, ...) with so many axes behind the first."""
        sizes: Array = 10 ** self.rng.normal(decade, spread, (self.count, *(1,) * dims))
        return sizes

    def whether(self, probability: float, dims: int = 1) -> Array:
        """Bool (N, 1, ...)."""
        drawn: Array = self.rng.uniform(size=self.count) < probability
        return drawn.reshape(-1, *(1,) * dims)


@dataclass(frozen=True, slots=True)
class Course:
    """What happens in N clips, before anything is seen of it."""

    times: Array
    """float64 (N, T), seconds."""
    kind: Array
    """str (N,): of :data:`SHARES`."""
    ease: Array
    """float (N, 1, 1): factor on all that disturbs."""
    skin: Array
    """float (N, 1, 1, 3): mean level of the skin."""
    blood: Array
    """float (N, 1, 1, 3): relative change by a volume of 1; 0 where there is no pulse."""
    volume: Array
    """float (N, T): the blood's, with what breathing does to it."""
    late: Array
    """float (N, T): the blood's volume alone, :data:`DELAY` seconds before; 0 without a pulse."""
    pose: Array
    """float (N, T, 3): yaw, pitch and roll in degrees."""
    light: Array
    """float (N, T, 3): relative change of all that is seen."""
    shown: Array
    """float (N, T, 3): relative change of a display's picture alone."""
    wall_share: Array
    """float (N, 1, 1): how much of the light's change the wall shares."""

    @property
    def alive(self) -> Array:
        """Bool (N,): there is a pulse on the skin."""
        return np.asarray(self.kind == "live")


def draw_pulses(rng: np.random.Generator, times: Array) -> tuple[Array, Array, Array]:
    """Pulses on skin whose clutter comes from elsewhere, at times (N, T).

    Returns:
        the blood's volume (N, T), the same :data:`DELAY` seconds before without the breath, and
        the relative change (N, 1, 1, 3) of R, G, B by a volume of 1.
    """
    chance = Chance(rng, times)
    volume, late = _pulses(chance)
    return volume, late, _blood(chance, rng.uniform(size=(len(times), 1, 1, 1)))


def cell_gains(rng: np.random.Generator, count: int) -> Array:
    """How much of the pulse each cell shows, (N, 1, K, 1); some show none."""
    gain = np.exp(0.35 * rng.normal(size=(count, 1, cell_count(), 1)))
    covered = rng.uniform(size=gain.shape) < 0.1  # hair, a beard, thick make-up
    return np.asarray(gain * ~covered)


def draw_course(
    rng: np.random.Generator, count: int, rate: float | None = None, seconds: float = 10.0
) -> Course:
    """Draw what happens in clips of about one frame rate; arguments as of :func:`draw_traces`."""
    if rate is None:
        rate = float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST))))
    chance = Chance(rng, _frame_times(rng, count, round(seconds * rate) + 1, rate))
    kind = rng.choice(list(SHARES), size=count, p=list(SHARES.values()))
    alive = kind == "live"
    ease = 10 ** rng.uniform(-0.9, 0.1, (count, 1, 1))
    tone = rng.uniform(size=(count, 1, 1, 1))
    skin = ((1 - tone) * LIGHT_SKIN + tone * DARK_SKIN) * rng.uniform(0.3, 1.1, (count, 1, 1, 1))
    volume, late = _pulses(chance)
    light, shown = _light(chance, kind)
    return Course(
        times=chance.times,
        kind=kind,
        ease=ease,
        skin=skin,
        blood=_blood(chance, tone) * alive.reshape(-1, 1, 1, 1),
        volume=volume,
        late=late * alive[:, None],
        pose=_pose(chance) * ease,
        light=light * ease,
        shown=shown * ease,
        wall_share=rng.uniform(0.3, 1.0, (count, 1, 1)),
    )


def draw_traces(
    rng: np.random.Generator, count: int, *, rate: float | None = None, seconds: float = 10.0
) -> Traces:
    """Draw clips of about one frame rate.

    Args:
        rng: where chance comes from.
        count: N.
        rate: frames a second, about; None: drawn between 5 and 60.
        seconds: length of a clip without drops; T is that times the rate, and one.
    """
    course = draw_course(rng, count, rate, seconds)
    chance = Chance(rng, course.times)
    cells, frames = cell_count(), course.times.shape[1]
    local = 1 + 0.1 * chance.normal(cells, 1)
    colours = (course.light + course.shown)[:, :, None] * local + _moved(chance, course)
    colours = colours + course.blood * cell_gains(rng, count) * course.volume[..., None, None]
    darkness = np.sqrt(100.0 / course.skin.mean(axis=3, keepdims=True))
    # A cell is the mean of some fifteen places: 0.18 % is what is left of their noise in most.
    strength = chance.size(-2.75, 0.35, 3) * darkness * np.sqrt(course.ease)[..., None]
    grain = rng.normal(size=(count, frames, cells, 3)) * NOISE_COLOUR
    colours = colours + strength * np.exp(0.2 * chance.normal(cells, 1)) * grain
    level = course.skin * np.exp(0.08 * chance.normal(cells, 1)) * np.exp(colours)
    level = _encoded(rng, np.clip(level, 1.0, 255.0))
    wall = course.light * course.wall_share
    wall = wall + strength[..., 0] * rng.normal(size=(count, frames, 3)) * rng.uniform(0.5, 2.0)
    return as_traces(rng, course, np.concatenate([np.log(level), wall[:, :, None]], axis=2))


def as_traces(rng: np.random.Generator, course: Course, logs: Array) -> Traces:
    """What the network is told: of colours (N, T, K + 1, 3) as logarithms, and of the pose."""
    chance = Chance(rng, course.times)
    seen = _visibility(chance, logs.shape[2])
    change = np.diff(logs, axis=1, prepend=logs[:, :1]) * seen[..., None]
    seconds = np.diff(course.times, axis=1)
    seconds = np.concatenate([np.median(seconds, axis=1, keepdims=True), seconds], axis=1)
    told = course.pose + chance.size(-1.0, 0.4, 2) * rng.normal(size=course.pose.shape)
    motion = np.zeros((*course.times.shape, MOTIONS))
    motion[..., :3] = np.diff(told, axis=1, prepend=told[:, :1]) / POSE_UNIT
    # The eyes' middle moves by about a hundredth of a face width for each degree.
    motion[..., 3] = 0.1 * np.abs(motion[..., :3]).sum(axis=2) / seconds
    return Traces(
        times=course.times,
        change=change.astype(np.float32),
        seen=seen.astype(np.float32),
        motion=motion.astype(np.float32),
        seconds=seconds.astype(np.float32),
        wave=course.late.astype(np.float32),
        alive=course.alive,
        kind=course.kind,
    )


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


def _wander(chance: Chance, low: float, high: Array | float, steep: float, *shape: int) -> Array:
    """(N, T, ...) unit-variance signals of frequencies low to high, amplitude as f ** -steep.

    ``high`` may be (N, 1, ...) by clip. Sines, so that they can be taken at any time.
    """
    rng = chance.rng
    drawn = (chance.count, 1, *shape, _WAVES)
    top = np.asarray(high)
    top = top.reshape(*top.shape, *(1,) * (len(drawn) - top.ndim)) if top.ndim else top
    frequency = low * (top / low) ** rng.uniform(size=drawn)
    # Log-uniform draws have a density as 1 / f: what is left makes the wanted slope.
    size = frequency ** (0.5 - steep) * np.abs(rng.normal(size=drawn))
    size *= np.sqrt(2.0 / np.square(size).sum(axis=-1, keepdims=True))
    at = chance.times.reshape(*chance.times.shape, *(1,) * (len(shape) + 1))
    phases = (2 * np.pi * frequency) * at
    phases += rng.uniform(0, 2 * np.pi, drawn)
    np.cos(phases.astype(np.float32), out=(turned := np.empty(phases.shape, np.float32)))
    return np.asarray((turned * size).sum(axis=-1))


def _pulses(chance: Chance) -> tuple[Array, Array]:
    """Blood volume (N, T): with the breath, and :data:`DELAY` seconds before without it."""
    now, late = np.empty_like(chance.times), np.empty_like(chance.times)
    for index, times in enumerate(chance.times):
        at = np.stack([times, times - DELAY])
        now[index], late[index] = beat_shape(_beats(chance.rng, at))
    breath = _wander(chance, 0.12, 0.4, 0.0)
    return np.asarray(now * (1 + 0.15 * breath) + 0.1 * breath), late


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
    """Three in ten at rest, the others anywhere from 42 to 180."""
    if rng.uniform() < 0.3:
        return float(np.clip(rng.normal(75, 13), 45, 120))
    return float(rng.uniform(42, 180))


def _blood(chance: Chance, tone: Array) -> Array:
    """Relative change (N, 1, 1, 3) by a volume of 1, peak to peak: half as much in dark skin."""
    amplitude = chance.size(-2.45, 0.28, 3) * (1 - 0.5 * tone)
    colour = PULSE_COLOUR / 0.77 * (1 + 0.08 * chance.normal(1, 3))
    return np.asarray(-amplitude * colour)


def _pose(chance: Chance) -> Array:
    """Yaw, pitch and roll (N, T, 3) in degrees: from a held breath to a lively talk."""
    fast = 10 ** chance.rng.uniform(-0.5, 0.7, (chance.count, 1, 1))
    pose = (
        chance.size(0.0, 0.45, 2) * _wander(chance, 0.05, fast, 1.0, 3) * np.array([1.3, 1.0, 0.6])
    )
    sway = _sway(chance) * chance.size(-0.2, 0.4) * chance.whether(0.3)
    return np.asarray(pose + sway[..., None] * chance.normal(3))


def _sway(chance: Chance) -> Array:
    """(N, T): a rhythm of 0.4 to 3.5 Hz as steady as a hand's tremor, a nod or a walk."""
    rate = chance.rng.uniform(0.4, 3.5, (chance.count, 1))
    drift = _wander(chance, 0.05, 0.5, 0.5) * chance.rng.uniform(0.0, 0.6, (chance.count, 1))
    return np.asarray(np.sqrt(2) * np.sin(2 * np.pi * rate * chance.times + drift))


def _moved(chance: Chance, course: Course) -> Array:
    """Change (N, T, K, 3) by shading, shine and texture, which follow the pose or jitter."""
    rng, cells = chance.rng, cell_count()
    shine = course.skin.mean(axis=3, keepdims=True) / course.skin - 1
    moved: Array = np.zeros((*chance.times.shape, cells, 3))
    for axis in range(3):
        turned = course.pose[..., axis, None, None]
        slope = 0.006 * chance.size(0.0, 0.25, 3) * (chance.normal(1, 1) + chance.normal(cells, 1))
        curve = 0.0005 * chance.normal(cells, 1)
        tint = 1 + rng.uniform(0, 0.5, (chance.count, 1, 1, 1)) * shine
        tint = tint + 0.08 * (chance.normal(1, 3) + chance.normal(cells, 3))
        moved += (slope * turned + curve * turned**2) * tint
    slid = chance.size(-2.5, 0.4, 3) * chance.normal(cells, 3)
    fast = 10 ** rng.uniform(0.0, 0.9, (chance.count, 1, 1))
    jitter = _wander(chance, 0.2, fast, 0.5, cells)[..., None]
    speaks = _wander(chance, 0.3, 5.0, 0.5)[:, :, None, None]
    speech = chance.size(-2.7, 0.5, 3) * chance.normal(cells, 3) * chance.whether(0.3, 3)
    return np.asarray(moved + (slid * jitter + speech * speaks) * course.ease[..., None])


def _light(chance: Chance, kind: Array) -> tuple[Array, Array]:
    """Change by light (N, T, 3): what the place beside the face shares, and a display's own."""
    colour = 1 + 0.1 * chance.normal(3)
    fast = 10 ** chance.rng.uniform(-0.7, 0.5, (chance.count, 1))
    drift = chance.size(-2.3, 0.4) * _wander(chance, 0.03, fast, 1.0)
    lamp = _flicker(chance) * chance.whether(0.15, 2)
    shown = _flicker(chance) * (chance.whether(0.6, 2) & (kind == "display")[:, None, None])
    gains = _exposure(chance)
    return drift[..., None] * colour + lamp + gains, shown


def _flicker(chance: Chance) -> Array:
    """(N, T, 3): the beat of a lamp or display against the shutter, nearly white."""
    rate = chance.rng.uniform(0.1, 5.0, (chance.count, 1))
    beat = np.sin(2 * np.pi * (rate * chance.times + chance.rng.uniform(size=(chance.count, 1))))
    strength = chance.size(-2.5, 0.5, 2)
    return np.asarray(strength * beat[..., None] * (1 + 0.15 * chance.normal(3)))


def _exposure(chance: Chance) -> Array:
    """(N, T, 3): steps of an automatic exposure and white balance, in some of the chance."""
    rng = chance.rng
    at = rng.uniform(0, 12, (chance.count, 1, 4)) + chance.times[:, :1, None]
    quick = rng.uniform(0.05, 0.6, (chance.count, 1, 1))
    rise = 1 / (1 + np.exp(-np.clip((chance.times[..., None] - at) / quick * 4, -30, 30)))
    heights = chance.size(-1.9, 0.4, 3) * rng.normal(size=(chance.count, 1, 4, 1))
    heights = heights * (1 + 0.1 * rng.normal(size=(chance.count, 1, 4, 3)))
    steps = (rise[..., None] * heights).sum(axis=2)
    return np.asarray(steps * chance.whether(0.25, 2))


def _visibility(chance: Chance, traces: int) -> Array:
    """Float (N, T, K + 1): cells that turn away for a while, and faces with no place beside."""
    rng = chance.rng
    away = _wander(chance, 0.03, 0.3, 0.5, traces) > rng.uniform(0.3, 2.0, (chance.count, 1, 1))
    turning = rng.uniform(size=(chance.count, 1, traces)) < 0.25
    turning &= chance.whether(0.3, 2)
    turning[..., -1] = False
    seen = ~(away & turning)
    seen[..., -1] = ~chance.whether(0.15)
    return np.asarray(seen, np.float64)


def _encoded(rng: np.random.Generator, level: Array) -> Array:
    """Levels (N, T, K, 3); in some clips after an encoder that holds blocks for a while.

    Until they are off by a step, that is. Works on luma and chroma, whose steps are coarser, and
    refreshes all blocks every group.
    """
    chosen = np.flatnonzero(rng.uniform(size=len(level)) < CODED)
    if not chosen.size:
        return level
    some = level[chosen]
    count, frames, cells = some.shape[:3]
    step = 10 ** rng.uniform(-1.2, 0.5, (count, 1, 1, 1)) * np.array([1.0, 1.4, 1.4])
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
