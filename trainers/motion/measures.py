"""What a motion network says of sequences at a serving pace, and the error rates that gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ..evaluation.metrics import Scores, area_under_curve, curve, equal_error
from ..learning import device_of
from ..networks.motion_depth import USUAL_INTERVAL, MotionDepthNetwork
from .batches import Places, even_samples, intervals_of
from .recipe import MotionRecipe
from .stages import Backbone, seen
from .store import SequenceRow, StoredSequence

Order = Literal["true", "still", "shuffled"]
"""Samples as they came; one sample repeated; all samples, in another order."""

LONGEST = 100
"""Samples of a sequence that are looked at, at most: 20 s at the usual pace."""


@dataclass(frozen=True, slots=True)
class SteppedScores:
    """Scores of all steps of all sequences, M in all; a first sample has none."""

    score: npt.NDArray[np.float32]
    """(M,) logits."""
    single: npt.NDArray[np.float32]
    """(M,) logits of the depth network for the same crops."""
    embedding: npt.NDArray[np.float32]
    """(M, K)."""
    step: npt.NDArray[np.int64]
    """(M,): 1 after the second sample, and so on."""
    seconds: npt.NDArray[np.float64]
    """(M,): since the first sample."""
    sequence: npt.NDArray[np.int64]
    """(M,): index into the sequences."""
    rows: tuple[StoredSequence, ...]

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        """(M,) by step."""
        return np.array([one.row.label == "live" for one in self.rows], bool)[self.sequence]

    def last(self, most: float = np.inf) -> npt.NDArray[np.int64]:
        """Index of each sequence's last step within so many seconds; those without one left out."""
        within = np.flatnonzero(self.seconds <= most)
        found = {int(self.sequence[k]): int(k) for k in within}
        return np.array([found[s] for s in sorted(found)], np.int64)


def score_sequences(
    network: MotionDepthNetwork,
    sequences: Sequence[StoredSequence],
    backbone: Backbone,
    recipe: MotionRecipe,
    *,
    interval: float = USUAL_INTERVAL,
    order: Order = "true",
) -> SteppedScores:
    """Run a network over sequences at an even pace, in evaluation mode.

    Args:
        network: its mode stays as it was.
        sequences: whose features :func:`.stages.prepare` has computed.
        backbone: that they are of.
        recipe: of the training; says which copies they are.
        interval: seconds between two samples, as far as the sequence has them.
        order: ``true``, or what is left of the evidence when the motion is taken away.
    """
    training = network.training
    network.eval()
    parts = []
    try:
        for index, sequence in enumerate(sequences):
            parts.append(_scored(network, index, sequence, backbone, recipe, interval, order))
    finally:
        network.train(training)
    score, single, embedding, step, seconds, index_of = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return SteppedScores(score, single, embedding, step, seconds, index_of, tuple(sequences))


def _scored(
    network: MotionDepthNetwork,
    index: int,
    sequence: StoredSequence,
    backbone: Backbone,
    recipe: MotionRecipe,
    interval: float,
    order: Order,
) -> tuple[npt.NDArray[Any], ...]:
    times = sequence.times
    places = even_samples(times, interval)[:LONGEST]
    intervals = intervals_of(times, places)
    shown = reordered(places, order, index)
    known = seen(sequence, backbone, recipe.augmentation, 0)
    device = device_of(network)
    with torch.inference_mode():
        one, two, three, single = (
            torch.from_numpy(rows[shown].astype(np.float32)).unsqueeze(0).to(device)
            for rows in (*known.stages, known.single)
        )
        seconds = torch.from_numpy(intervals)[None].to(device)
        found = network.clip((one, two, three), single, seconds)
    step = np.arange(len(places))
    return tuple(
        column[1:]
        for column in (
            found.score.cpu().numpy(),
            np.array(known.score)[shown],
            found.embedding.cpu().numpy(),
            step,
            times[places] - times[places[0]],
            np.full(len(places), index),
        )
    )


def reordered(places: Places, order: Order, seed: int) -> Places:
    """Samples with their motion, without it, or in an order that no motion has."""
    if order == "still":
        return np.full_like(places, places[len(places) // 2])
    if order == "shuffled":
        return np.random.default_rng(seed).permutation(places)
    return places


def measured(found: SteppedScores) -> dict[str, float]:
    """AUC and EER of the last step within 3 s, and AUC by species: shares 0..1."""
    last = found.last(3.0)
    scores = scores_at(found, last, found.score)
    line = curve(scores)
    return {
        "auc": area_under_curve(line),
        "eer": equal_error(line)[0],
        **{f"auc_{name}": value for name, value in auc_by_species(scores).items()},
    }


def scores_at(
    found: SteppedScores, steps: npt.NDArray[np.int64], score: npt.NDArray[np.float32]
) -> Scores:
    """Scores of some steps, for the error rates."""
    return scores_of([found.rows[int(found.sequence[k])].row for k in steps], score[steps])


def scores_of(rows: Sequence[SequenceRow], score: npt.NDArray[np.floating[Any]]) -> Scores:
    """Scores (M,) of the M sequences' rows, for the error rates."""
    return Scores(
        score.astype(np.float64),
        np.array([row.label == "live" for row in rows], bool),
        tuple(row.species for row in rows),
        tuple(row.person for row in rows),
    )


def auc_by_species(scores: Scores) -> dict[str, float]:
    """AUC of the living against each attack species."""
    species = np.array(scores.species)
    found = {}
    for name in sorted(set(scores.species) - {"live"}):
        chosen = scores.live | (species == name)
        found[name] = area_under_curve(
            curve(
                Scores(
                    scores.score[chosen],
                    scores.live[chosen],
                    tuple(species[chosen]),
                    tuple(np.array(scores.person)[chosen]),
                )
            )
        )
    return found
