"""Batches of tracks: samples at drawn intervals, of sequences drawn evenly."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ..batches import even_chances
from ..crops import Pixels
from .cutting import LONGEST_GAP
from .recipe import MotionRecipe, Sampling, SequenceRecipe
from .stages import Backbone, Seen, seen
from .store import FEWEST, StoredSequence, Times

F32 = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
R = TypeVar("R", bound=SequenceRecipe)
B = TypeVar("B")
"""A batch."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """N tracks of T samples each; a short track's last steps are padding of weight 0."""

    stages: tuple[F32, F32, F32]
    """float32 (N, T, C, h, w) each."""
    single: F32
    """float32 (N, T, 32, 32)."""
    interval: F32
    """float32 (N, T), seconds since the sample before; 0 for the first and for padding."""
    target: F32
    """float32 (N, T, 32, 32): the map to learn, 0..1."""
    depth_weight: F32
    """float32 (N, T)."""
    live: F32
    """float32 (N,): 1 for bona fide, 0 for an attack, 0.5 where nothing moves."""
    score_weight: F32
    """float32 (N, T)."""


def drawn_samples(times: Times, how: Sampling, rng: np.random.Generator) -> Places:
    """Which samples of a sequence a track is made of: indices, rising, ``how.steps`` at most.

    The pace is drawn evenly by its logarithm, every interval about it; now and then a sample is
    missed. A sequence too short for the drawn pace is taken at one that leaves :data:`FEWEST`
    samples.
    """
    span = float(times[-1] - times[0])
    longest = min(how.longest, max(span / FEWEST, how.shortest))
    pace = float(np.exp(rng.uniform(np.log(how.shortest), np.log(longest))))
    first = float(rng.uniform(0, max(span - how.steps * pace, 0.0)))
    places = [int(np.searchsorted(times, times[0] + first))]
    due = float(times[places[0]])
    while len(places) < how.steps:
        missed = 2.0 if rng.random() < how.missed else 1.0
        due += min(pace * rng.uniform(0.85, 1.15) * missed, LONGEST_GAP)
        place = max(_nearest(times, due), places[-1] + 1)
        if place >= len(times) or due > times[-1] + 0.5 * pace:
            break
        if times[place] - times[places[-1]] > LONGEST_GAP:
            break
        places.append(place)
        due = max(due, float(times[place]))
    return np.array(places, np.int64)


def even_samples(times: Times, interval: float) -> Places:
    """Samples of a whole sequence at an even pace, as the cadence of serving takes them."""
    places = [0]
    due = float(times[0]) + interval
    for place in range(1, len(times)):
        if times[place] >= due - 1e-3 * interval:
            places.append(place)
            due = max(due + interval, float(times[place]) + 0.5 * interval)
    return np.array(places, np.int64)


def _nearest(times: Times, time: float) -> int:
    after = int(np.searchsorted(times, time))
    if after == 0:
        return 0
    if after == len(times):
        return after if time > times[-1] + (times[-1] - times[-2]) else after - 1
    return after if times[after] - time < time - times[after - 1] else after - 1


class SequenceBatches(ABC, Generic[R, B]):
    """The training batches of any epoch; the same seed and epoch give the same ones."""

    def __init__(self, sequences: Sequence[StoredSequence], backbone: Backbone, recipe: R) -> None:
        self.sequences, self.backbone, self.recipe = list(sequences), backbone, recipe
        self.times = [one.times for one in self.sequences]
        self.chances = even_chances([one.row for one in self.sequences], recipe.balance)
        self.steps = recipe.steps_per_epoch

    def epoch(self, number: int) -> Generator[B, None, None]:
        """The batches of one epoch, each made while the one before is learned from."""
        recipe = self.recipe
        draws = np.random.default_rng((recipe.seed, number)).choice(
            len(self.sequences), size=(self.steps, recipe.batch), p=self.chances
        )
        with ThreadPoolExecutor(1, "tracks") as pool:
            ahead = pool.submit(self.made, draws[0], (recipe.seed, number, 0))
            for step in range(self.steps):
                batch = ahead.result()
                if step + 1 < self.steps:
                    following = (recipe.seed, number, step + 1)
                    ahead = pool.submit(self.made, draws[step + 1], following)
                yield batch

    @abstractmethod
    def made(self, chosen: Places, seed: tuple[int, ...]) -> B:
        """A batch of the chosen sequences; the same seed gives the same one."""


class TrackBatches(SequenceBatches[MotionRecipe, Tracks]):
    """Of the motion network: samples at drawn intervals."""

    def made(self, chosen: Places, seed: tuple[int, ...]) -> Tracks:
        """See :class:`SequenceBatches`."""
        how = self.recipe.sampling
        tracks = []
        for k, which in enumerate(chosen):
            rng = np.random.default_rng((*seed, k))
            sequence = self.sequences[int(which)]
            variant = int(rng.integers(how.variants))
            places = drawn_samples(self.times[int(which)], how, rng)
            intervals = intervals_of(self.times[int(which)], places)
            still = bool(rng.random() < how.still)
            if still:
                places = np.full_like(places, rng.choice(places))
            known = seen(sequence, self.backbone, self.recipe.augmentation, variant)
            tracks.append(_track(sequence, known, places, intervals, self.recipe, still=still))
        return _joined(tracks)


def intervals_of(times: Times, places: Places) -> F32:
    """Seconds between the samples, (T,); 0 for the first."""
    taken = times[places]
    return np.diff(taken, prepend=taken[0]).astype(np.float32)


def _track(
    sequence: StoredSequence,
    known: Seen,
    places: Places,
    intervals: F32,
    recipe: MotionRecipe,
    *,
    still: bool,
) -> Tracks:
    row, steps = sequence.row, recipe.sampling.steps
    target, weight = depth_target(known.target, row.species, recipe.losses.mask_depth)
    moves = (intervals > 0).astype(np.float32)
    one, two, three = (_padded(stage[places], steps) for stage in known.stages)
    return Tracks(
        stages=(one, two, three),
        single=_padded(known.single[places], steps),
        interval=_padded(intervals, steps),
        target=_padded(target[places] / np.float32(255), steps),
        depth_weight=_padded(moves * np.float32(0.0 if still else weight), steps),
        live=np.array([0.5 if still else row.label == "live"], np.float32),
        score_weight=_padded(moves / max(len(places) - 1, 1), steps),
    )


def depth_target(label: Pixels, species: str, mask_depth: str) -> tuple[Pixels, float]:
    """Map to learn and its weight: attacks are flat; a living face without relief is unknown."""
    if species == "live" or (species == "mask" and mask_depth == "keep"):
        return label, float(label.any())
    return np.zeros_like(label), 1.0


def _padded(values: npt.NDArray[Any], steps: int) -> F32:
    """A batch of one track, (1, steps, ...), with zeros behind what is there."""
    room = np.zeros((1, steps, *values.shape[1:]), np.float32)
    room[0, : len(values)] = values
    return room


def _joined(tracks: Sequence[Tracks]) -> Tracks:
    one, two, three = (np.concatenate([t.stages[k] for t in tracks]) for k in range(3))
    names = [field.name for field in fields(Tracks) if field.name != "stages"]
    rest = {name: np.concatenate([getattr(t, name) for t in tracks]) for name in names}
    return Tracks((one, two, three), **rest)
