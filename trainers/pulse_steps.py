"""Clips of frames brought together to steps, as :mod:`padflow.nodes.skin_steps` does on streams."""

from dataclasses import replace

import numpy as np

from ..nodes.skin_steps import FIRST, ends
from .pulse_traces import Array, Traces


def as_steps(traces: Traces) -> Traces:
    """Clips (N, T) of steps from clips of frames; T is that of the clip with the fewest steps."""
    firsts = [_first_frames(times) for times in traces.times]
    count = min(len(first) for first in firsts) - 1
    rows = [_clip(traces, index, first[: count + 1]) for index, first in enumerate(firsts)]
    times, change, seen, motion, wave = (np.stack(part) for part in zip(*rows, strict=True))
    seconds = np.diff(times, axis=1)
    seconds = np.concatenate([np.full((len(times), 1), FIRST), seconds], axis=1)
    return replace(
        traces,
        times=times,
        change=change.astype(np.float32),
        seen=seen.astype(np.float32),
        motion=motion.astype(np.float32),
        seconds=seconds.astype(np.float32),
        wave=wave.astype(np.float32),
    )


def _first_frames(times: Array) -> list[int]:
    """Places of the steps' first frames and, last, of the first frame that belongs to none."""
    first, before = [0], float(times[0])
    for index, now in enumerate(times.tolist()):
        if ends(float(times[first[-1]]), before, now):
            first.append(index + 1)
            if index + 1 == len(times):
                break
        before = now
    return first


def _clip(traces: Traces, index: int, first: list[int]) -> tuple[Array, ...]:
    """Times, changes, visibility, motion and true wave of one clip's steps."""
    used, starts = slice(0, first[-1]), np.array(first[:-1])
    counts = np.diff(first)

    def mean(values: Array) -> Array:
        sums = np.add.reduceat(values[used].astype(np.float64), starts, axis=0)
        return np.asarray(sums / counts.reshape(-1, *(1,) * (values.ndim - 1)))

    levels = mean(np.cumsum(traces.change[index], axis=0, dtype=np.float64))
    poses = mean(np.cumsum(traces.motion[index, :, :-1], axis=0, dtype=np.float64))
    seen = np.minimum.reduceat(traces.seen[index, used], starts, axis=0)
    change = np.diff(levels, axis=0, prepend=levels[:1]) * seen[..., None]
    turned = np.diff(poses, axis=0, prepend=poses[:1])
    motion = np.concatenate([turned, mean(traces.motion[index, :, -1:])], axis=1)
    return mean(traces.times[index]), change, seen, motion, mean(traces.wave[index])
