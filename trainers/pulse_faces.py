"""Clips of rendered faces for the pulse network: what the graph's own mesh makes of moving skin.

No drawn trace knows how a mesh slides over a face that talks and turns, or what an encoder makes of
it. So a few faces are rendered, filmed and read as a test of rPPG would
(:mod:`padflow.trainers.pulse_clips`), some with a pulse and more without. On the skin of those
without one pulses are drawn, many for each, or none: then it is a mask that moves as a face does.
So that a network cannot learn the few clips by heart, they are shown in parts, faster or slower,
mirrored, stronger or weaker, without some of the cells, with noise, and two upon each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..engines.whole_file import whole_file
from ..nodes.payloads import SkinSample
from ..nodes.skin_cells import cell_count, cell_places, remembered, skin_change
from .pulse_clips import PulseClip, render_pulse_clips, skin_of
from .pulse_population import NOISE_COLOUR
from .pulse_steps import as_steps
from .pulse_traces import DELAY, Array, Traces, cell_gains, draw_pulses

BEATING, STILL = 20_000, 30_000
"""Added to the seed of clips with a pulse, and of those without one."""
SECONDS = 9.5
"""Of a clip that is shown."""
_BEATING = 0.2
"""Share of the clips with a pulse of their own in a batch."""
_DRAWN = 0.6
"""Share of the clips without a pulse that one is drawn on."""
_HIDDEN = 0.08
"""Share of the cells that are not seen."""


@dataclass(frozen=True, slots=True)
class FaceClip:
    """A rendered clip in steps; the fields as those of one clip of :class:`Traces`."""

    fps: int
    times: Array
    change: Array
    seen: Array
    motion: Array
    wave: Array | None
    """None without a pulse."""


def face_clips(
    folder: Path, beating: int, still: int, seed: int, progress: Callable[[int, int], None]
) -> list[FaceClip]:
    """Render so many clips with and without a pulse, or take those that are in the folder.

    Raises:
        PortraitsMissing: the packages that carry the portraits are not installed.
        ModelMissing: the mesh network has not been pulled.
    """
    total, made = beating + still, []
    clips = render_pulse_clips(folder, beating, seed + BEATING)
    clips += render_pulse_clips(folder, still, seed + STILL, beating=False)
    for index, clip in enumerate(clips):
        made.append(_read(clip))
        progress(index + 1, total)
    return made


def _read(clip: PulseClip) -> FaceClip:
    """A clip as the graph sees it, kept beside its file once it was read."""
    kept = clip.file.with_suffix(".npz")
    if not kept.is_file():
        with whole_file(kept) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **_frames(skin_of(clip)))
    with np.load(kept, allow_pickle=False) as found:
        parts = {name: found[name][None] for name in found.files}
    times = parts["times"]
    late = np.zeros_like(times)
    if clip.beating:
        frames = np.arange(len(clip.volume)) / clip.fps
        late = np.interp(times - DELAY, frames, clip.volume)
    nothing = np.zeros(times.shape, np.float32)
    kind = np.array(["live" if clip.beating else "still"])
    steps = as_steps(Traces(**parts, seconds=nothing, wave=late, alive=kind == "live", kind=kind))
    wave = steps.wave[0] if clip.beating else None
    return FaceClip(clip.fps, steps.times[0], steps.change[0], steps.seen[0], steps.motion[0], wave)


def _frames(samples: Sequence[tuple[float, SkinSample]]) -> dict[str, Array]:
    before, moved = remembered(samples[0][1]), []
    for _, sample in samples:
        moved.append(skin_change(before, sample))
        before = remembered(sample)
    parts = (np.stack(part) for part in zip(*moved, strict=True))
    return {
        "times": np.array([time for time, _ in samples]),
        **dict(zip(("change", "seen", "motion"), parts, strict=True)),
    }


def face_traces(rng: np.random.Generator, clips: Sequence[FaceClip], count: int) -> Traces:
    """A batch of steps: clips of one frame rate with all that is drawn.

    Args:
        rng: where chance comes from.
        clips: of :func:`face_clips`.
        count: N.
    """
    fps = rng.choice([clip.fps for clip in clips])
    some = [clip for clip in clips if clip.fps == fps]
    still = [clip for clip in some if clip.wave is None]
    beating = [clip for clip in some if clip.wave is not None]
    own = rng.uniform(size=count) < _BEATING
    chosen = [_any(rng, (beating or still) if beats else (still or beating)) for beats in own]
    length = min(int(np.searchsorted(clip.times, clip.times[0] + SECONDS)) for clip in some)
    beats = np.array([clip.wave is not None for clip in chosen])
    parts = _parts(rng, chosen, length)
    strength = 10 ** rng.uniform(-0.7, 0.15, count)
    strength[beats] = 1.0  # weaker clutter would be a weaker pulse as well
    change, motion = _times(parts.change, strength), parts.motion
    motion[..., :3] = _times(motion[..., :3], strength)
    seen, wave = parts.seen, parts.wave
    if still:
        other = _parts(rng, [_any(rng, still) for _ in chosen], length)
        share = rng.uniform(0.0, 0.7, count) * (rng.uniform(size=count) < 0.7)
        change = change + _times(other.change, share)
        motion[..., :3] += _times(other.motion[..., :3], share)
        seen = seen * other.seen
    seen[..., :-1] *= rng.uniform(size=(count, 1, cell_count())) >= _HIDDEN
    pace = np.exp(rng.uniform(-0.2, 0.2, (count, 1)))
    times = parts.times * pace
    motion[..., 3] /= pace
    change = (change + _noise(rng, change.shape)) * seen[..., None]
    drawn = ~beats & (rng.uniform(size=count) < _DRAWN)
    change[drawn], wave[drawn] = _with_pulses(rng, times[drawn], change[drawn], seen[drawn])
    alive = beats | drawn
    seconds = np.diff(times, axis=1, prepend=times[:, :1] - np.diff(times[:, :2], axis=1))
    return Traces(
        times=times,
        change=change.astype(np.float32),
        seen=seen,
        motion=motion,
        seconds=seconds.astype(np.float32),
        wave=wave.astype(np.float32),
        alive=alive,
        kind=np.where(alive, "live", "still"),
    )


class _Parts(NamedTuple):
    """Parts of clips as arrays (N, T, ...)."""

    change: Array
    motion: Array
    seen: Array
    times: Array
    wave: Array


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Changes (N, T, K + 1, 3) by what a sensor adds to each sample."""
    noise = rng.normal(size=shape) * NOISE_COLOUR
    noise = _times(noise, 10 ** rng.normal(-3.2, 0.4, shape[0]))
    return np.asarray(np.diff(noise, axis=1, prepend=noise[:, :1]))


def _any(rng: np.random.Generator, clips: Sequence[FaceClip]) -> FaceClip:
    return clips[int(rng.integers(len(clips)))]


def _times(values: Array, by_clip: Array) -> Array:
    """Values (N, ...) times a factor for each clip."""
    return np.asarray(values * by_clip.reshape(-1, *(1,) * (values.ndim - 1)))


def _parts(rng: np.random.Generator, clips: Sequence[FaceClip], length: int) -> _Parts:
    """A part of so many steps of each clip, some mirrored."""
    starts = [int(rng.integers(0, len(clip.times) - length + 1)) for clip in clips]
    rows = []
    for clip, start in zip(clips, starts, strict=True):
        at = slice(start, start + length)
        wave = np.zeros(length) if clip.wave is None else clip.wave[at]
        rows.append((clip.change[at], clip.motion[at], clip.seen[at], clip.times[at], wave))
    parts = _Parts(*(np.stack(part) for part in zip(*rows, strict=True)))
    change, motion, seen = parts.change, parts.motion, parts.seen
    mirrored = rng.uniform(size=len(rows)) < 0.5
    order = [*_mirrored_cells(), cell_count()]
    change[mirrored], seen[mirrored] = change[mirrored][:, :, order], seen[mirrored][:, :, order]
    motion[mirrored] *= np.array([-1, 1, -1, 1], np.float32)
    return parts


def _with_pulses(
    rng: np.random.Generator, times: Array, change: Array, seen: Array
) -> tuple[Array, Array]:
    """Changes with a pulse of its own on each clip's skin, and the waves."""
    volume, late, blood = draw_pulses(rng, times)
    colours = blood * cell_gains(rng, len(times)) * volume[..., None, None]
    steps = np.diff(colours, axis=1, prepend=colours[:, :1])
    beaten = change.copy()
    beaten[:, :, :-1] += (steps * seen[:, :, :-1, None]).astype(np.float32)
    return beaten, late


def _mirrored_cells() -> list[int]:
    """For every cell the one on the other side of the face."""
    places = cell_places().reshape(cell_count(), -1)
    side = round(places.shape[1] ** 0.5)
    row, column = np.mgrid[:side, :side].reshape(2, -1)
    total = places.sum(axis=1)
    x, y = places @ column / total, places @ row / total
    away = np.abs(x[:, None] + x - (side - 1)) + np.abs(y[:, None] - y)
    return [int(index) for index in away.argmin(axis=1)]
