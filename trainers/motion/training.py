"""Train a motion network on sequences: resumable, the same for the same seed.

First on the frozen features of the recipe's backbone, which are computed once; then, where the
recipe has a ``joint`` part, backbone and motion network together (:mod:`.joint`). The loop is that
of :mod:`.running`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from ..learning import device_of, training_device
from ..networks.layers import contrastive_depth_loss
from ..networks.motion_depth import MotionDepthNetwork, MotionOutputs
from .batches import TrackBatches, Tracks
from .measures import measured, score_sequences
from .recipe import MOTION, MotionLosses, MotionRecipe
from .running import EpochRun, Say, Trained, parted
from .stages import Backbone, prepare
from .store import StoredSequence

TrainedMotion: TypeAlias = Trained[MotionDepthNetwork, MotionRecipe]
"""Its strangeness is fitted."""


def train_motion(
    recipe: MotionRecipe,
    sequences: Sequence[StoredSequence],
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    say: Say = print,
) -> TrainedMotion:
    """Train on the backbone's features, and together with it where the recipe says so.

    Args:
        recipe: all that decides beside the data.
        sequences: to learn from and, by the recipe's ``hold_out``, to check on.
        out: folder of the run; made if it is not there.
        resume: go on from the folder's checkpoint if there is one.
        device: where the networks learn; None: on a GPU where there is one. The backbone's features
            are computed on the CPU.
        say: takes one line an epoch.

    Raises:
        TrainingError: the data or the checkpoint do not go with the recipe, or the loss is no
            longer a number.
    """
    backbone = Backbone.read(recipe.backbone)
    found = parted(sequences, recipe.hold_out)
    began = time.monotonic()
    changes, variants = recipe.augmentation, recipe.sampling.variants
    made = prepare(found.train, backbone, changes, variants)
    made += prepare(found.held_out, backbone, changes, 1)
    if made:
        say(f"features of {made} copies of sequences: {(time.monotonic() - began) / 60:.1f} min")
    network, batches = build_motion(recipe, backbone), TrackBatches(found.train, backbone, recipe)
    device = device or training_device()
    run = _Run(recipe, network, batches, found, out, device, say)
    run.epochs(resume=resume)
    trained = run.trained()
    if recipe.joint is not None:
        from .joint import train_jointly

        trained = train_jointly(trained, resume=resume, device=device, say=say)
    fit_strangeness(trained)
    return trained


def build_motion(recipe: MotionRecipe, backbone: Backbone) -> MotionDepthNetwork:
    """The recipe's network with its seed's random weights."""
    torch.manual_seed(recipe.seed)
    choice = recipe.network
    return MotionDepthNetwork(
        stages=backbone.shapes,
        reduced=choice.reduced,
        width=choice.width,
        hidden=choice.hidden,
        embedding=choice.embedding,
        alpha=choice.alpha,
        dropout=choice.dropout,
    )


def motion_loss(
    outputs: MotionOutputs, batch: Mapping[str, Tensor], losses: MotionLosses
) -> Tensor:
    """Loss of N tracks of T samples, every step supervised; METHODS 10.2 and 10.4."""
    shape = batch["interval"].shape
    live = batch["live"][:, None].expand(shape)
    target = live * (1 - losses.smoothing) + losses.smoothing / 2
    each = functional.binary_cross_entropy_with_logits(
        outputs.score.reshape(shape), target, reduction="none"
    )
    total = losses.score * (each * batch["score_weight"]).sum() / batch["score_weight"].sum()
    taught = batch["depth_weight"].flatten() > 0
    if losses.depth and taught.any():
        found, wanted = outputs.depth[taught], batch["target"].flatten(0, 1)[taught]
        depth = functional.mse_loss(found, wanted)
        depth = depth + losses.contrastive * contrastive_depth_loss(found, wanted)
        total = total + losses.depth * depth
    return total


def tensors_of(batch: Tracks, device: torch.device) -> dict[str, Tensor]:
    """All arrays of a batch but the stages, as tensors by name."""
    arrays = {name: value for name, value in asdict(batch).items() if name != "stages"}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def fit_strangeness(trained: TrainedMotion) -> None:
    """Fit the network's measure of strangeness on its training and held-out tracks."""
    sides = (trained.parted.train, trained.parted.held_out)
    learned, checked = (
        score_sequences(trained.network, side, trained.backbone, trained.recipe) for side in sides
    )
    trained.network.classify.strangeness.fit(
        torch.from_numpy(learned.embedding),
        torch.from_numpy(learned.live),
        torch.from_numpy(checked.embedding),
    )


class _Run(EpochRun[MotionDepthNetwork, MotionRecipe, Tracks]):
    """The first stage."""

    def loss(self, batch: Tracks) -> Tensor:
        """Of N tracks."""
        device = device_of(self.network)
        one, two, three = (torch.from_numpy(stage).to(device) for stage in batch.stages)
        given = tensors_of(batch, device)
        outputs = self.network.clip((one, two, three), given["single"], given["interval"])
        return motion_loss(outputs, given, self.recipe.losses)

    def measured(self, network: MotionDepthNetwork) -> Mapping[str, float]:
        """See :func:`.measures.measured`."""
        held = score_sequences(network, self.found.held_out, self.backbone, self.recipe)
        return measured(held)

    text = staticmethod(MOTION.text)
    parse = staticmethod(MOTION.parse)
