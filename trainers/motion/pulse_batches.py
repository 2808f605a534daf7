"""Batches for the pulse network on depth features: stretches of sequences at their own rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...nodes.pulse_depth import PulseDepthParams
from ..recipe import Augmentation, TrainingError
from .batches import F32, Places, SequenceBatches, intervals_of
from .pulse_recipe import PulseDepthRecipe, Stretches
from .stages import Seen, seen
from .store import StoredSequence, Times

AS_IT_IS = Augmentation()
"""Crops are not changed: :func:`.stages.seen` knows them as its first variant."""
LEAST_RATE = PulseDepthParams().min_rate
"""Frames a second of a sequence, at least: as many as the node asks for."""
_PADDING = 0.04
"""Seconds between the frames of padding."""
_RECUT = (
    "cut the videos anew into another folder, with padflow sequences at the cameras' full rate "
    "(--cadence 60)"
)


@dataclass(frozen=True, slots=True)
class PulseTracks:
    """N stretches of T frames at most; a shorter one's last frame is repeated behind its end."""

    stages: tuple[F32, F32, F32]
    """float32 (N, T, C, h, w) each."""
    single: F32
    """float32 (N, T, 32, 32)."""
    places: F32
    """float32 (N, T, 2, 1024)."""
    interval: F32
    """float32 (N, T), seconds since the frame before; 0 for the first."""
    times: Times
    """float64 (N, T), seconds, rising."""
    end: Times
    """float64 (N,): time of the last frame before the padding."""
    pulse: F32
    """float32 (N, 50): the spectrum to learn."""


class StretchBatches(SequenceBatches[PulseDepthRecipe, PulseTracks]):
    """Of the pulse network: stretches that are drawn anew each time."""

    def made(self, chosen: Places, seed: tuple[int, ...]) -> PulseTracks:
        """See :class:`SequenceBatches`."""
        stretches = []
        for k, which in enumerate(chosen):
            rng = np.random.default_rng((*seed, k))
            sequence = self.sequences[int(which)]
            taken = drawn_stretch(self.times[int(which)], self.recipe.sampling, rng)
            known = seen(sequence, self.backbone, AS_IT_IS, 0)
            stretches.append(stretch_of(sequence, known, taken))
        return _joined(stretches)


def usable(
    sequences: Sequence[StoredSequence], shortest: float, say: Callable[[str], None]
) -> list[StoredSequence]:
    """The sequences that are long and fast enough and have a label; tells how many do not.

    Args:
        sequences: of one or several stores.
        shortest: seconds of a sequence, at least.
        say: takes a line.

    Raises:
        TrainingError: one was cut before places were kept.
    """
    for one in sequences:
        if one.places is None:
            raise TrainingError(
                f"{one.folder}: expected places.npy, the places of the canonical grid, found none "
                f"in a store that was cut before they were kept; {_RECUT}"
            )
    fit = [one for one in sequences if _is_fit(one, shortest)]
    if len(fit) < len(sequences):
        say(
            f"{len(sequences) - len(fit)} of {len(sequences)} sequences are left out: shorter than "
            f"{shortest:g} s, below {LEAST_RATE:g} frames a second, or without a pulse label"
        )
    return fit


def fit_to_learn(
    sequences: Sequence[StoredSequence], shortest: float, say: Callable[[str], None]
) -> list[StoredSequence]:
    """As :func:`usable`, for training.

    Raises:
        TrainingError: as there, or no living one is usable.
    """
    fit = usable(sequences, shortest, say)
    if not any(one.row.label == "live" for one in fit):
        raise TrainingError(
            f"pulse labels: expected living sequences of {shortest:g} s and more, at "
            f"{LEAST_RATE:g} frames a second and more, with pulse.npy, found none among "
            f"{len(sequences)} sequences; film longer, or {_RECUT}"
        )
    return fit


def _is_fit(sequence: StoredSequence, shortest: float) -> bool:
    times = sequence.times
    seconds = float(times[-1] - times[0])
    fast = len(times) - 1 >= LEAST_RATE * seconds
    return seconds >= shortest and fast and sequence.pulse is not None


def drawn_stretch(times: Times, how: Stretches, rng: np.random.Generator) -> Places:
    """Which frames of a sequence are looked at: indices, rising, of 6 to 10 s."""
    span = float(times[-1] - times[0])
    seconds = rng.uniform(how.shortest, max(min(how.longest, span), how.shortest))
    first = times[0] + rng.uniform(0, max(span - seconds, 0))
    inside = np.flatnonzero((times >= first - 1e-6) & (times <= first + seconds + 1e-6))
    if len(inside) >= 2 * LEAST_RATE * seconds and rng.random() < how.halved:
        inside = inside[::2]
    kept = rng.random(len(inside)) >= how.missed
    kept[[0, -1]] = True
    return np.asarray(inside[kept], np.int64)


def stretch_of(sequence: StoredSequence, known: Seen, taken: Places) -> PulseTracks:
    """Some frames of a sequence that :func:`usable` let through, as a batch of one."""
    all_times, places, pulse = sequence.times, sequence.places, sequence.pulse  # read from disk
    assert places is not None
    assert pulse is not None
    times = all_times[taken]
    one, two, three = (_row(stage[taken]) for stage in known.stages)
    return PulseTracks(
        stages=(one, two, three),
        single=_row(known.single[taken]),
        places=_row(places[taken]),
        interval=intervals_of(all_times, taken)[None],
        times=times[None],
        end=times[-1:],
        pulse=_row(pulse),
    )


def _row(values: npt.NDArray[Any]) -> F32:
    return np.asarray(values, np.float32)[None]


def _joined(stretches: Sequence[PulseTracks]) -> PulseTracks:
    length = max(one.times.shape[1] for one in stretches)

    def longer(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate([_extended(array, length) for array in arrays])

    one, two, three = (longer([s.stages[k] for s in stretches]) for k in range(3))
    behind = [_PADDING * np.arange(length).clip(s.times.shape[1] - 1) for s in stretches]
    return PulseTracks(
        stages=(one, two, three),
        single=longer([s.single for s in stretches]),
        places=longer([s.places for s in stretches]),
        interval=longer([s.interval for s in stretches]),
        times=longer([s.times for s in stretches]) + np.stack([b - b[0] for b in behind]),
        end=np.concatenate([s.end for s in stretches]),
        pulse=np.concatenate([s.pulse for s in stretches]),
    )


def _extended(rows: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """(1, T, ...) to (1, length, ...), the last one repeated."""
    return rows[:, np.arange(length).clip(max=rows.shape[1] - 1)]
