"""Train the pulse network on depth features: resumable, the same for the same seed.

On the frozen features of the recipe's backbone, which are computed once, of crops as they are: a
change of colour or size would be no pulse. The spectrum of the wave over a drawn stretch is held
against the label (METHODS 8.4); attacks have the spectrum 0. The loop is that of :mod:`.running`.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from ..learning import device_of, training_device
from ..networks.pulse import wave_spectrum
from ..networks.pulse_depth import PulseDepthNetwork
from ..pulse_training import LEAST_SHARE, line_share
from .pulse_batches import AS_IT_IS, PulseTracks, StretchBatches, fit_to_learn
from .pulse_measures import look_at, measured
from .pulse_recipe import PULSE_DEPTH, PulseDepthLosses, PulseDepthRecipe
from .running import EpochRun, Say, Trained, parted
from .stages import Backbone, prepare
from .store import StoredSequence

TrainedPulseDepth: TypeAlias = Trained[PulseDepthNetwork, PulseDepthRecipe]


def train_pulse_depth(
    recipe: PulseDepthRecipe,
    sequences: Sequence[StoredSequence],
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    say: Say = print,
) -> TrainedPulseDepth:
    """Train on the backbone's features; arguments as of :func:`.training.train_motion`.

    Raises:
        TrainingError: the sequences lack places or pulse labels, the data or the checkpoint do not
            go with the recipe, or the loss is no longer a number.
    """
    backbone = Backbone.read(recipe.backbone)
    fit = fit_to_learn(sequences, recipe.sampling.shortest, say)
    found = parted(fit, recipe.hold_out)
    began = time.monotonic()
    if made := prepare((*found.train, *found.held_out), backbone, AS_IT_IS, 1):
        say(f"features of {made} sequences: {(time.monotonic() - began) / 60:.1f} min")
    network = build_pulse_depth(recipe, backbone)
    batches = StretchBatches(found.train, backbone, recipe)
    run = _Run(recipe, network, batches, found, out, device or training_device(), say)
    run.epochs(resume=resume)
    return run.trained()


def build_pulse_depth(recipe: PulseDepthRecipe, backbone: Backbone) -> PulseDepthNetwork:
    """The recipe's network with its seed's random weights."""
    torch.manual_seed(recipe.seed)
    choice = recipe.network
    return PulseDepthNetwork(stages=backbone.shapes, width=choice.width, hidden=choice.hidden)


def pulse_loss(network: PulseDepthNetwork, batch: PulseTracks, losses: PulseDepthLosses) -> Tensor:
    """What is minimised of N stretches, a scalar.

    The L1 distance between spectrum and label (METHODS 8.4) and, of living ones, how little of the
    spectrum is the true line.
    """
    device = device_of(network)
    one, two, three = (torch.from_numpy(stage).to(device) for stage in batch.stages)
    parts = (batch.single, batch.places, batch.interval, batch.times, batch.end, batch.pulse)
    single, places, interval, times, end, wanted = (
        torch.from_numpy(part).to(device) for part in parts
    )
    waves = network.clip((one, two, three), single, places, interval)
    spectra = wave_spectrum(times, waves, times[:, 0], end)
    away = (spectra - wanted).abs().sum(dim=1)
    alive = wanted.any(dim=1)
    astray = -torch.log(line_share(spectra, wanted) + LEAST_SHARE) * alive
    return (losses.spectrum * away + losses.line * astray).mean()


class _Run(EpochRun[PulseDepthNetwork, PulseDepthRecipe, PulseTracks]):
    """The only stage."""

    def loss(self, batch: PulseTracks) -> Tensor:
        """See :func:`pulse_loss`."""
        return pulse_loss(self.network, batch, self.recipe.losses)

    def measured(self, network: PulseDepthNetwork) -> Mapping[str, float]:
        """See :func:`.pulse_measures.measured`."""
        return measured(look_at(network, self.found.held_out, self.backbone))

    text = staticmethod(PULSE_DEPTH.text)
    parse = staticmethod(PULSE_DEPTH.parse)
