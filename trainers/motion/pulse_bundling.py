"""From a trained pulse network on depth features to its bundle; as :mod:`.bundling`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...engines.bundle import Bundle, Calibration
from ...engines.network import TensorSpec
from ...nodes.track_steps import AFTER, BEFORE
from ..export import stage_specs
from ..networks.pulse_depth import CELLS, PulseDepthNetwork, PulseDepthState
from .bundling import Judged, described, fit_scores, told, write_steps
from .exporting import Arrays, Step, state_specs
from .pulse_batches import AS_IT_IS, stretch_of
from .pulse_measures import figures, look_at
from .pulse_recipe import PULSE_DEPTH
from .pulse_training import TrainedPulseDepth
from .stages import prepare, seen
from .store import StoredSequence

Say = Callable[[str], None]

PARITY_TRACKS = 2
PARITY_STEPS = 40


def make_pulse_depth_bundle(
    trained: TrainedPulseDepth,
    out: Path,
    *,
    others: Sequence[StoredSequence] = (),
    say: Say = print,
) -> Bundle:
    """As :func:`.bundling.make_motion_bundle`, calibrated on looks at the pace of the node.

    The other sequences must be such that :func:`.pulse_batches.usable` lets through.

    Raises:
        TrainingError: the exported steps differ from the network, or the scores of live sequences
            are no higher than those of attacks.
    """
    network, held_out, recipe = trained.network, trained.parted.held_out, trained.recipe
    found = look_at(network, held_out, trained.backbone)
    fit = fit_scores(found.score, found.rows, recipe.name)
    metrics = list(told(figures(fit, found), held_out, "held-out persons"))
    if others:
        prepare(others, trained.backbone, AS_IT_IS, 1)
        seen_too = look_at(network, others, trained.backbone)
        metrics += told(figures(fit, seen_too), others, "other sequences")
    calibration = Calibration(
        method="logistic",
        parameters=fit.parameters,
        fitted_on=f"looks once a second at held-out persons: {described(held_out)}",
    )
    judged = Judged(fit, calibration, metrics, {}, PULSE_DEPTH.text(recipe))
    return write_steps(trained, pulse_step(network), _tracks(trained), judged, out, say)


def pulse_step(network: PulseDepthNetwork) -> Step:
    """The step of a network in evaluation mode."""
    names, shapes = PulseDepthState._fields, network.state_shapes
    single = "the depth network's map, nearest 1, background and planes 0"
    places = "x and y of the canonical grid's cells in shares of the crop's side"
    interval = "time since the track's sample before; 0: this is the first, the state is not used"
    inputs = (
        *stage_specs(network.stages),
        TensorSpec("single", "float32", (-1, 32, 32), "NHW", "", single),
        TensorSpec("places", "float32", (-1, 2, CELLS), "NPK", "", places),
        TensorSpec("interval", "float32", (-1,), "N", "s", interval),
        *state_specs(BEFORE, names, shapes),
    )
    wave = "the pulse's wave; its spectrum's power tells how sure the network is; 0 at first"
    outputs = (
        TensorSpec("wave", "float32", (-1,), "N", "", wave),
        *state_specs(AFTER, names, shapes),
    )

    def whole(tracks: Arrays) -> Arrays:
        given = {name: torch.from_numpy(array) for name, array in tracks.items()}
        stages = (given["features_1"], given["features_2"], given["features_3"])
        with torch.inference_mode():
            waves = network.clip(stages, given["single"], given["places"], given["interval"])
        return {"wave": waves.numpy()}

    return Step(_PulseStep(network).eval(), inputs, outputs, whole)


class _PulseStep(nn.Module):
    """One step with tensors for inputs and outputs."""

    def __init__(self, network: PulseDepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """In the order of the step's inputs, to that of its outputs."""
        one, two, three, single, places, interval = given[:6]
        state = PulseDepthState(*given[6:])
        wave, following = self.network((one, two, three), single, places, interval, state)
        return (wave, *following)


def _tracks(trained: TrainedPulseDepth) -> dict[str, np.ndarray]:
    """Some held-out tracks as the step's inputs, float32 (N, T, ...)."""
    parts: dict[str, list[np.ndarray]] = {}
    for one in trained.parted.held_out[:PARITY_TRACKS]:
        known = seen(one, trained.backbone, AS_IT_IS, 0)
        taken = stretch_of(one, known, np.arange(min(PARITY_STEPS, one.row.frames)))
        given = {f"features_{k}": stage for k, stage in enumerate(taken.stages, 1)}
        given |= {"single": taken.single, "places": taken.places, "interval": taken.interval}
        for name, array in given.items():
            parts.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
