"""A trained network as ONNX files: f32 and f16, held against PyTorch (int8: `quantisation`)."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..engines.composed import FeatureRule, feature_rule, on_features
from ..engines.engine import open_network
from ..engines.network import Network, Options, TensorSpec
from ..engines.store import file_sha256
from ..engines.whole_file import whole_file
from .crops import Values
from .features import MODEL, SIGHTS
from .networks import CropNetwork
from .networks.layers import CentralDifferenceConv
from .recipe import TrainingFailed

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between PyTorch and a backend, absolute, or relative to values above 1."""
BACKENDS = ("openvino", "onnxruntime")

Arrays = Mapping[str, np.ndarray[Any, Any]]


def input_specs(network: CropNetwork) -> tuple[TensorSpec, ...]:
    """What the network takes, for a manifest."""
    sight = SIGHTS.get(network.crop)
    if sight is not None:
        shape = (-1, *sight.shape)
        return (TensorSpec("image", "uint8", shape, "NVHWC", "", f"{sight.meaning}, 0..255"),)
    meaning = {
        "face": "face crop, RGB, eyes level",
        "context": "face and what is around it, RGB, eyes level, black outside the frame",
        "patches": "patch of a face in the frame's own pixels, RGB",
    }[network.crop]
    shape = (-1, network.side, network.side, 3)
    return (TensorSpec("image", "uint8", shape, "NHWC", "", f"{meaning}, 0..255"),)


def picture_crop(network: CropNetwork) -> str:
    """Name of the crop store's pictures that the network sees, itself or through features."""
    sight = SIGHTS.get(network.crop)
    return network.crop if sight is None else sight.pictures


def rule_of(network: CropNetwork) -> FeatureRule | None:
    """Which third-party network sees the pictures before this one; None: none does.

    Raises:
        ModelMissing: it has not been pulled.
    """
    sight = SIGHTS.get(network.crop)
    return None if sight is None else feature_rule(MODEL, sight.scales)


def file_specs(network: CropNetwork) -> tuple[TensorSpec, ...]:
    """What the exported file takes: features, where the network judges those."""
    sight = SIGHTS.get(network.crop)
    if sight is None:
        return input_specs(network)
    meaning = f"what the third-party network makes of the {sight.pictures}"
    return (TensorSpec(network.takes, "float32", (-1, sight.length), "NC", "", meaning),)


def output_specs(network: CropNetwork) -> tuple[TensorSpec, ...]:
    """What the network gives, for a manifest."""
    size = network.head.embed.out_features
    specs = [
        TensorSpec("score", "float32", (-1,), "N", "logit", "positive is live"),
        TensorSpec("embedding", "float32", (-1, size), "NC", "", "what the score is made from"),
        TensorSpec(
            "strangeness", "float32", (-1,), "N", "", "above 1 is unlike the training's crops"
        ),
    ]
    if network.has_depth:
        meaning = "relief of the face, nearest 1, background and planes 0"
        specs.append(TensorSpec("depth", "float32", (-1, 32, 32), "NHW", "", meaning))
    return (*specs, *stage_specs(network.stage_shapes))


def stage_specs(shapes: Sequence[tuple[int, int, int]]) -> tuple[TensorSpec, ...]:
    """The stage features that a depth network gives and a motion network takes."""
    return tuple(
        TensorSpec(
            f"features_{stage}", "float32", (-1, *shape), "NCHW", "", f"what stage {stage} sees"
        )
        for stage, shape in enumerate(shapes, 1)
    )


def to_onnx(network: CropNetwork, path: Path) -> Network:
    """Write the network as f32 ONNX with any batch size, checked for its form."""
    names = [spec.name for spec in output_specs(network)]
    plain, example = _Plain(network).eval(), (network.example(2),)
    write_onnx(plain, example, path, inputs=[network.takes], outputs=names)
    return described(network, path)


def write_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    packed: bool = False,
) -> None:
    """Write a module as f32 ONNX, checked for its form, aside and then renamed.

    Args:
        module: in evaluation mode; all its inputs and outputs have the batch as first axis, which
            may be of any length.
        example: inputs of a batch of two.
        path: the file.
        inputs: names of the module's inputs in order.
        outputs: names of its outputs.
        packed: the module takes all its inputs as one ``*args``.
    """
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in example)
    with whole_file(path) as part:
        with quiet("torch.onnx"):  # It tells of torchvision's absence at each export.
            torch.onnx.export(
                module,
                example,
                str(part),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                dynamic_shapes=(shapes,) if packed else shapes,
                verbose=False,
            )
        _finish_file(part)


def _finish_file(exported: Path) -> None:
    """Take an exported file's traces away and check its form."""
    model = onnx.load(exported)
    without_traces(model)
    onnx.save(model, exported, save_as_external_data=False)
    onnx.checker.check_model(str(exported))


def without_traces(model: onnx.ModelProto) -> None:
    """Take away what the exporter notes of the source, which holds paths of this machine."""
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        del noted.metadata_props[:]
        noted.doc_string = ""


def to_f16(network: CropNetwork, source: Path, path: Path) -> Network:
    """Halve an f32 file: weights and arithmetic in f16, inputs and outputs as they were.

    The strangeness stays in f32: a stranger's squared distance may be more than f16 can hold.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(source)
    with quiet("onnxruntime"):  # It warns of numbers that are too small for f16.
        halved = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=_after(model, "embedding")
        )
    sort_nodes(halved.graph)
    save_model(halved, path)
    return described(network, path)


def served(network: CropNetwork, exported: Network) -> Network:
    """The exported file as a node runs it: on pictures.

    Raises:
        ModelMissing: the third-party network has not been pulled.
    """
    rule = rule_of(network)
    if rule is None:
        return exported
    return on_features(replace(exported, inputs=input_specs(network)), rule)


def described(network: CropNetwork, path: Path) -> Network:
    """An ONNX file of the network, for a backend."""
    specs = file_specs(network), output_specs(network)
    return Network(path.stem, path, file_sha256(path), *specs, precision="auto")


def check_parity(network: CropNetwork, exported: Network, crops: Values) -> dict[str, float]:
    """Hold an f32 file against PyTorch on every backend of :data:`BACKENDS`.

    Args:
        network: in evaluation mode.
        exported: its f32 file.
        crops: uint8 (N, side, side, 3), or the features that the network judges.

    Returns:
        the largest difference by backend, in the units of :data:`TOLERANCE`.

    Raises:
        TrainingError: a difference is above the tolerance; says which output of which backend.
    """
    with torch.inference_mode():
        found = network(torch.from_numpy(crops))
    expected = {
        spec.name: getattr(found, spec.name).float().numpy() for spec in output_specs(network)
    }
    differences = {}
    for backend in BACKENDS:
        with open_network(exported, backend, Options(precision="f32")) as engine:
            given = engine.infer({network.takes: crops})
        by_output = {name: _difference(given[name], array) for name, array in expected.items()}
        worst = max(by_output, key=by_output.__getitem__)
        if not by_output[worst] <= TOLERANCE:
            raise TrainingFailed(
                f"{exported.path.name}: output {worst}: expected the values of PyTorch within "
                f"{TOLERANCE:g}, found {by_output[worst]:.2g} off on {backend}; a network that "
                "learned from few crops or for few epochs hardly tells crops apart, and rounding "
                "shows: give it more of either"
            )
        differences[backend] = by_output[worst]
    return differences


def _difference(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


class _Plain(nn.Module):
    """The network with tuples for outputs and central differences folded into the kernels."""

    def __init__(self, network: CropNetwork) -> None:
        super().__init__()
        self.network = _folded(network)

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        """The outputs that are there, in order."""
        return tuple(output for output in self.network(given) if output is not None)


def _folded(network: CropNetwork) -> CropNetwork:
    folded = copy.deepcopy(network)
    for module in list(folded.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, CentralDifferenceConv):
                setattr(module, name, layer.folded())
    folded.eval()
    return folded


def _after(model: onnx.ModelProto, tensor: str) -> list[str]:
    """Names of the nodes that use a tensor, directly or not, and of the one that makes it."""
    reached, names = {tensor}, []
    for node in model.graph.node:
        if reached & {*node.input, *(name for name in node.output if name == tensor)}:
            reached |= set(node.output)
            names.append(node.name)
    return names


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Silence a library's warnings and logs, and tqdm's watching thread, which it never ends."""
    from tqdm import tqdm

    log = logging.getLogger(logger)
    level, interval = log.level, tqdm.monitor_interval
    log.setLevel(logging.ERROR)
    tqdm.monitor_interval = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        tqdm.monitor_interval = interval


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node behind those that it takes from; converters append what they add."""
    waiting = list(graph.node)
    known = {tensor.name for tensor in (*graph.input, *graph.initializer)} | {""}
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise TrainingFailed(f"{graph.name}: {waiting[0].name} takes what no node gives")
        ordered += ready
        for node in ready:
            known.update(node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model, aside and then renamed, and check its form."""
    with whole_file(path) as part:
        onnx.save(model, part, save_as_external_data=False)
        onnx.checker.check_model(str(part))
