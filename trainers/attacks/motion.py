"""How people and hands move: paths of six degrees of freedom, and faces that are alive.

Standing people sway, with most of the power below 0.5 Hz (Winter 1995); hands hold things less
still and tremble a little at 6 to 12 Hz; walking bobs twice a stride. All are sums of noise with
such spectra, drawn from a seeded generator.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from .parameters import Array, NotNegative, Positive
from .posing import Bearing

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class MotionParams:
    """How someone stands at the door, and comes and goes."""

    sway: NotNegative = 0.008
    """Standard deviation of the body's place in metres, along each axis."""
    sway_cutoff: Positive = 0.35
    """Hz above which sway fades."""
    head_turn: tuple[NotNegative, NotNegative, NotNegative] = (3.5, 2.5, 1.5)
    """Standard deviation of yaw, pitch and roll in degrees."""
    head_cutoff: Positive = 0.4
    """Hz above which turning fades."""
    tremor: NotNegative = 0.0
    """Standard deviation in metres of trembling at 6 to 12 Hz: hands about 0.0004."""
    blinks_per_minute: Annotated[float, Interval(ge=0, le=60)] = 17.0
    """Mean rate of blinks."""
    expression: Annotated[float, Interval(ge=0, le=1)] = 0.45
    """Standard deviation of smile and brows, where 1 is the strongest expression."""


@dataclass(frozen=True, slots=True)
class VisitParams:
    """A visit to the door: in from one side, standing, out to another."""

    enter: Positive = 1.3
    """Seconds from out of sight to the door."""
    leave: Positive = 1.2
    """Seconds from the door to out of sight."""
    enter_from: Side = "left"
    leave_to: Side = "right"
    aside: Positive = 1.1
    """Metres beside the door that are out of sight."""
    behind: float = 0.18
    """Metres further from the camera on the way in and out."""
    steps_per_second: Positive = 1.9
    """Steps while walking."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where something is at every frame."""

    position: Array
    """float64 (n, 3), metres, camera axes."""
    angles: Array
    """float64 (n, 3): yaw, pitch, roll in degrees."""
    walking: Array
    """float64 (n,): 0 standing .. 1 in full stride."""


@dataclass(frozen=True, slots=True)
class FaceMotion:
    """What the face does at every frame."""

    blink: Array
    """float64 (n,), 0..1."""
    smile: Array
    """float64 (n,), -1..1."""
    brows: Array
    """float64 (n,), -1..1."""


def smooth_noise(
    rng: np.random.Generator, count: int, fps: float, cutoff: float, columns: int | None = None
) -> Array:
    """Noise with unit deviation whose power falls as 1 / (1 + (f / cutoff)^4).

    Args:
        rng: Source.
        count: Samples.
        fps: Samples per second.
        cutoff: Hz.
        columns: How many independent ones.

    Returns:
        float64 (count,) or (count, columns). The deviation is that of the process: a short piece
        holds less of it.
    """
    length = 1 << int(np.ceil(np.log2(max(count, 20 * fps / cutoff, 64))))
    shape = (length,) if columns is None else (length, columns)
    spectrum = np.fft.rfft(rng.standard_normal(shape), axis=0)
    frequency = np.fft.rfftfreq(length, 1.0 / fps)
    weight = 1.0 / np.sqrt(1.0 + (frequency / cutoff) ** 4)
    weight[0] = 0.0
    weight /= np.sqrt((weight**2).sum() * 2.0 / length)
    spectrum *= weight if columns is None else weight[:, None]
    return np.fft.irfft(spectrum, length, axis=0)[:count]


def band_noise(
    rng: np.random.Generator, count: int, fps: float, low: float, high: float, columns: int
) -> Array:
    """float64 (count, columns): noise with unit deviation between two frequencies in Hz."""
    length = 1 << int(np.ceil(np.log2(max(count, 64))))
    spectrum = np.fft.rfft(rng.standard_normal((length, columns)), axis=0)
    frequency = np.fft.rfftfreq(length, 1.0 / fps)
    inside = (frequency >= low) & (frequency <= high)
    spectrum *= inside[:, None] / np.sqrt(max(inside.sum() * 2.0 / length, 1e-12))
    return np.fft.irfft(spectrum, length, axis=0)[:count]


def standing(params: MotionParams, frames: int, fps: float, rng: np.random.Generator) -> Path:
    """Standing or holding still, as far as a body can, around the origin."""
    position = params.sway * smooth_noise(rng, frames, fps, params.sway_cutoff, 3)
    position *= (1.0, 0.45, 0.8)  # knees and waist give less up and down
    if params.tremor:
        position += params.tremor * band_noise(rng, frames, fps, 6.0, min(12.0, 0.48 * fps), 3)
    angles = smooth_noise(rng, frames, fps, params.head_cutoff, 3) * params.head_turn
    limit = 2.2 * np.maximum(params.head_turn, 1e-9)
    return Path(position, limit * np.tanh(angles / limit), np.zeros(frames))


def visiting(path: Path, params: VisitParams, fps: float, turn: float = 18.0) -> Path:
    """Add coming and leaving to a path.

    Args:
        path: What the person does at the door.
        params: The visit.
        fps: Frames per second.
        turn: Degrees by which the way of walking turns the body.
    """
    times = np.arange(len(path.position)) / fps
    end = len(times) / fps
    arriving = 1.0 - _minimum_jerk(times / params.enter)
    leaving = _minimum_jerk((times - (end - params.leave)) / params.leave)
    came_from = -1.0 if params.enter_from == "left" else 1.0
    goes_to = -1.0 if params.leave_to == "left" else 1.0
    aside = came_from * arriving + goes_to * leaving
    away = arriving + leaving
    speed = np.abs(np.gradient(aside, times))
    walking = np.minimum(speed / max(float(speed.max()), 1e-9) * 1.5, 1.0)
    bob = 0.012 * walking * np.cos(2 * np.pi * params.steps_per_second * times)
    offset = np.column_stack([params.aside * aside, bob, params.behind * away])
    heading = turn * np.clip(-came_from * arriving + goes_to * leaving, -1, 1)
    angles = path.angles + np.column_stack([heading, np.zeros((len(times), 2))])
    return Path(path.position + offset, angles, walking)


def placed(path: Path, at: tuple[float, float, float]) -> Path:
    """The path around another place, in metres."""
    return Path(path.position + np.asarray(at), path.angles, path.walking)


def living_face(
    params: MotionParams, frames: int, fps: float, rng: np.random.Generator
) -> FaceMotion:
    """Blinks at irregular times, and slow small expressions."""
    blink = np.zeros(frames)
    times = np.arange(frames) / fps
    if params.blinks_per_minute:
        mean_gap = 60.0 / params.blinks_per_minute
        moment = rng.uniform(0.3, 1.0) * min(mean_gap, 2.5)
        while moment < times[-1]:
            blink = np.maximum(blink, _eyelid((times - moment) / rng.uniform(0.16, 0.24)))
            moment += max(0.6, rng.gamma(4.0, mean_gap / 4.0))
    slow = params.expression * smooth_noise(rng, frames, fps, 0.3, 2)
    return FaceMotion(blink, *np.clip(slow, -1, 1).T)


def bearing_at(path: Path, face: FaceMotion, index: int, trunk: float = 0.35) -> Bearing:
    """The person at one frame; the trunk follows the head's yaw by a share."""
    yaw, pitch, roll = (float(a) for a in path.angles[index])
    return Bearing(
        path.position[index],
        (yaw, pitch, roll),
        (trunk * yaw, 0.0, 0.2 * roll),
        float(face.blink[index]),
        float(face.smile[index]),
        float(face.brows[index]),
    )


def _minimum_jerk(x: Array) -> Array:
    """0 to 1 with no jerk at the ends (Flash and Hogan 1985)."""
    t = np.clip(x, 0.0, 1.0)
    return np.asarray(t**3 * (10.0 - 15.0 * t + 6.0 * t * t))


def _eyelid(x: Array) -> Array:
    """Closed fast, opened at half the speed; x from 0 to 1 over the blink."""
    closing, opening = np.clip(x / 0.35, 0, 1), np.clip((1.0 - x) / 0.65, 0, 1)
    return np.asarray(np.minimum(_minimum_jerk(closing), _minimum_jerk(opening)) ** 0.6)
