"""A trained network as a step network in ONNX, held against PyTorch over whole tracks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...engines.engine import Engine, open_network
from ...engines.network import Network, Options, TensorSpec
from ...engines.store import file_sha256
from ...nodes.track_steps import AFTER, BEFORE
from ..export import BACKENDS, TOLERANCE, stage_specs, write_onnx
from ..networks.motion_depth import MotionDepthNetwork, MotionState
from ..recipe import TrainingFailed

Arrays = Mapping[str, npt.NDArray[Any]]
OUTPUTS = ("depth", "score", "embedding", "strangeness")
"""Of a motion network, beside its state."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a network, and what it is held against."""

    module: nn.Module
    """Takes tensors in the order of the inputs and gives them in that of the outputs."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    whole: Callable[[Arrays], Arrays]
    """From tracks, float32 (N, T, ...) of each input but the state, to whole tracks' outputs,
    float32 (N, T, ...) or (N * T, ...), by name."""


def motion_step(network: MotionDepthNetwork) -> Step:
    """The step of a motion network in evaluation mode."""

    def whole(tracks: Arrays) -> Arrays:
        given = {name: torch.from_numpy(array) for name, array in tracks.items()}
        stages = (given["features_1"], given["features_2"], given["features_3"])
        with torch.inference_mode():
            said = network.clip(stages, given["single"], given["interval"])
        return {name: getattr(said, name).numpy() for name in OUTPUTS}

    return Step(_MotionStep(network).eval(), step_inputs(network), step_outputs(network), whole)


def step_inputs(network: MotionDepthNetwork) -> tuple[TensorSpec, ...]:
    """What a step takes, for a manifest."""
    single = "the depth network's map, nearest 1, background and planes 0"
    interval = "time since the track's sample before; 0: this is the first, the state is not used"
    return (
        *stage_specs(network.stages),
        TensorSpec("single", "float32", (-1, 32, 32), "NHW", "", single),
        TensorSpec("interval", "float32", (-1,), "N", "s", interval),
        *state_specs(BEFORE, MotionState._fields, network.state_shapes),
    )


def step_outputs(network: MotionDepthNetwork) -> tuple[TensorSpec, ...]:
    """What a step gives, for a manifest."""
    size = network.classify.embed.out_features
    strange = "above 1 is unlike the training's tracks"
    return (
        TensorSpec("depth", "float32", (-1, 32, 32), "NHW", "", "refined relief, nearest 1"),
        TensorSpec("score", "float32", (-1,), "N", "logit", "positive is live; 0 at first"),
        TensorSpec("embedding", "float32", (-1, size), "NC", "", "what the score is made from"),
        TensorSpec("strangeness", "float32", (-1,), "N", "", strange),
        *state_specs(AFTER, MotionState._fields, network.state_shapes),
    )


def state_specs(
    when: str, names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> tuple[TensorSpec, ...]:
    """The parts of a state, as inputs (:data:`BEFORE`) or outputs (:data:`AFTER`)."""
    meaning = {BEFORE: "left by the step before; zeros at first", AFTER: "for the next step"}[when]
    layouts = {1: "NC", 3: "NCHW"}
    return tuple(
        TensorSpec(f"{when}{name}", "float32", (-1, *shape), layouts[len(shape)], "", meaning)
        for name, shape in zip(names, shapes, strict=True)
    )


class _MotionStep(nn.Module):
    """One step with tensors for inputs and outputs."""

    def __init__(self, network: MotionDepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """In the order of :func:`step_inputs`, to that of :func:`step_outputs`."""
        one, two, three, single, interval = given[:5]
        state = MotionState(*given[5:])
        said, following = self.network((one, two, three), single, interval, state)
        return (*(getattr(said, name) for name in OUTPUTS), *following)


def step_to_onnx(step: Step, path: Path) -> Network:
    """Write one step of a network as f32 ONNX with any batch size, checked for its form."""
    examples = tuple(torch.rand(2, *spec.shape[1:]) for spec in step.inputs)
    inputs, outputs = ([spec.name for spec in specs] for specs in (step.inputs, step.outputs))
    write_onnx(step.module, examples, path, inputs=inputs, outputs=outputs, packed=True)
    return Network(path.stem, path, file_sha256(path), step.inputs, step.outputs, precision="auto")


def run_steps(engine: Engine, tracks: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Run an exported step over tracks, sample by sample, as a node does.

    Args:
        engine: the exported step.
        tracks: float32 (N, T, ...) of each input but the state.

    Returns:
        float32 (N, T, ...) of each output but the state.
    """
    count, length = tracks["interval"].shape
    state = {
        spec.name: np.zeros((count, *spec.shape[1:]), np.float32)
        for spec in engine.inputs
        if spec.name.startswith(BEFORE)
    }
    said: dict[str, list[npt.NDArray[Any]]] = {
        spec.name: [] for spec in engine.outputs if not spec.name.startswith(AFTER)
    }
    for step in range(length):
        given = {name: np.ascontiguousarray(array[:, step]) for name, array in tracks.items()}
        found = engine.infer({**given, **state})
        state = {name: found[f"{AFTER}{name.removeprefix(BEFORE)}"] for name in state}
        for name, column in said.items():
            column.append(found[name])
    return {name: np.stack(column, axis=1) for name, column in said.items()}


def check_steps(step: Step, exported: Network, tracks: Arrays) -> dict[str, float]:
    """Hold an exported step, run over tracks, against PyTorch on whole tracks.

    Args:
        step: of a network in evaluation mode.
        exported: its file.
        tracks: as of :func:`run_steps`.

    Returns:
        the largest difference by backend, absolute, or relative to values above 1.

    Raises:
        TrainingError: a difference is above the tolerance; says which output of which backend.
    """
    whole = step.whole(tracks)
    differences = {}
    for backend in BACKENDS:
        with open_network(exported, backend, Options(precision="f32")) as engine:
            found = run_steps(engine, tracks)
        worst = 0.0
        for name, expected in whole.items():
            expected = expected.reshape(found[name].shape)
            off = np.abs(found[name] - expected) / np.maximum(1, np.abs(expected))
            worst = max(worst, float(off.max()))
            if not off.max() <= TOLERANCE:
                raise TrainingFailed(
                    f"{exported.path.name}: output {name}: expected the values of whole tracks "
                    f"within {TOLERANCE:g}, found {off.max():.2g} off on {backend}"
                )
        differences[backend] = worst
    return differences
