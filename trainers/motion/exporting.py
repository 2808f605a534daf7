"""A trained motion network as a step network in ONNX, held against PyTorch over whole tracks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...engines.engine import Engine, open_network
from ...engines.network import Network, Options, TensorSpec
from ...engines.store import file_sha256
from ..export import BACKENDS, OPSET, TOLERANCE, finish_file, quiet, stage_specs
from ..networks.motion_depth import MotionDepthNetwork, MotionState
from ..recipe import TrainingError

Arrays = Mapping[str, npt.NDArray[Any]]
OUTPUTS = ("depth", "score", "embedding", "strangeness")


def step_inputs(network: MotionDepthNetwork) -> tuple[TensorSpec, ...]:
    """What a step takes, for a manifest."""
    single = "the depth network's map, nearest 1, background and planes 0"
    interval = "time since the track's sample before; 0: this is the first, the state is not used"
    return (
        *stage_specs(network.stages),
        TensorSpec("single", "float32", (-1, 32, 32), "NHW", "", single),
        TensorSpec("interval", "float32", (-1,), "N", "s", interval),
        *_state_specs(network, "previous", "left by the step before; zeros at first"),
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
        *_state_specs(network, "next", "to be given to the next step"),
    )


def _state_specs(network: MotionDepthNetwork, when: str, meaning: str) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(f"{when}_{name}", "float32", (-1, *shape), "NCHW", "", meaning)
        for name, shape in zip(MotionState._fields, network.state_shapes, strict=True)
    )


class _Step(nn.Module):
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


def step_to_onnx(network: MotionDepthNetwork, path: Path) -> Network:
    """Write one step of the network as f32 ONNX with any batch size, checked for its form."""
    aside = path.with_name(f".{path.name}")
    inputs, outputs = step_inputs(network), step_outputs(network)
    examples = tuple(torch.rand(2, *spec.shape[1:]) for spec in inputs)
    batch = torch.export.Dim("batch")
    with quiet("torch.onnx"):
        torch.onnx.export(
            _Step(network).eval(),
            examples,
            str(aside),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            verbose=False,
        )
    finish_file(aside, path)
    return Network(path.stem, path, file_sha256(path), inputs, outputs, precision="auto")


def run_steps(engine: Engine, network: MotionDepthNetwork, tracks: Arrays) -> dict[str, Any]:
    """Run the exported step over tracks, sample by sample, as a node does.

    Args:
        engine: the exported step.
        network: what it was made from; says how large the state is.
        tracks: float32 (N, T, ...) of each input but the state.

    Returns:
        float32 (N, T, ...) of each of :data:`OUTPUTS`.
    """
    count, length = tracks["interval"].shape
    state = {
        name: np.zeros((count, *shape), np.float32)
        for name, shape in zip(MotionState._fields, network.state_shapes, strict=True)
    }
    said: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in OUTPUTS}
    for step in range(length):
        given = {name: np.ascontiguousarray(array[:, step]) for name, array in tracks.items()}
        found = engine.infer({**given, **{f"previous_{k}": v for k, v in state.items()}})
        state = {name: found[f"next_{name}"] for name in state}
        for name in OUTPUTS:
            said[name].append(found[name])
    return {name: np.stack(steps, axis=1) for name, steps in said.items()}


def check_steps(network: MotionDepthNetwork, exported: Network, tracks: Arrays) -> dict[str, float]:
    """Hold the exported step, run over tracks, against PyTorch on whole tracks.

    Args:
        network: in evaluation mode.
        exported: its file.
        tracks: as of :func:`run_steps`.

    Returns:
        the largest difference by backend, absolute, or relative to values above 1.

    Raises:
        TrainingError: a difference is above the tolerance; says which output of which backend.
    """
    one, two, three = (torch.from_numpy(tracks[f"features_{k}"]) for k in (1, 2, 3))
    with torch.inference_mode():
        whole = network.clip(
            (one, two, three),
            torch.from_numpy(tracks["single"]),
            torch.from_numpy(tracks["interval"]),
        )
    differences = {}
    for backend in BACKENDS:
        with open_network(exported, backend, Options(precision="f32")) as engine:
            found = run_steps(engine, network, tracks)
        worst = 0.0
        for name in OUTPUTS:
            expected = getattr(whole, name).numpy().reshape(found[name].shape)
            off = np.abs(found[name] - expected) / np.maximum(1, np.abs(expected))
            worst = max(worst, float(off.max()))
            if not off.max() <= TOLERANCE:
                raise TrainingError(
                    f"{exported.path.name}: output {name}: expected the values of whole tracks "
                    f"within {TOLERANCE:g}, found {off.max():.2g} off on {backend}"
                )
        differences[backend] = worst
    return differences
