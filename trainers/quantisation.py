"""A network's file in int8: quantised with NNCF on pictures that show the range of activations."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import onnx

from ..engines.network import Network
from .crops import Pixels
from .export import described, quiet, save_model, sort_nodes
from .networks import CropNetwork


def to_int8(network: CropNetwork, source: Path, path: Path, crops: Pixels) -> Network:
    """Quantise what lies between the first and the last convolution of an f32 file, with NNCF.

    Colour before and head after are a sliver of the work and all of the precision.

    Args:
        network: what the file was made from.
        source: the f32 file.
        path: where the int8 file goes.
        crops: uint8 (N, side, side, 3) that show the range of activations; some hundred.
    """
    import nncf  # before it is silenced: it sets its level when it is imported

    # Its progress bars go to standard output, where tables of ours are.
    with quiet("nncf"), redirect_stdout(io.StringIO()):
        model = onnx.load(source)
        quantised = nncf.quantize(
            model,
            nncf.Dataset([{"image": crop[None]} for crop in crops]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=_around_convolutions(model), validate=False),
        )
    quantise_before_pools(quantised.graph)
    save_model(quantised, path)
    return described(network, path)


def quantise_before_pools(graph: onnx.GraphProto) -> None:
    """Move the quantiser behind a max pooling before it, for all that takes from the pool.

    The largest of rounded values is the rounded largest, so what was quantised stays the same to
    the bit. The convolution before the pool then writes bytes and not floats: behind 128 channels
    of 256x256 pixels that is a tenth of the full depth network's time on a processor with AMX. What
    took floats from the pool (a depth network's stages are outputs) sees values on 256 steps.
    """
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        pairs = _quantisers_of(graph, pool.output[0])
        if not pairs:
            continue
        quantised = {back.output[0] for _, back in pairs}
        for node in graph.node:
            taken = [pool.output[0] if name in quantised else name for name in node.input]
            node.input[:] = taken
        (quantiser, dequantiser), *others = pairs
        quantiser.input[0], pool.input[0] = pool.input[0], dequantiser.output[0]
        for pair in others:
            for node in pair:
                graph.node.remove(node)
    sort_nodes(graph)


def _quantisers_of(
    graph: onnx.GraphProto, tensor: str
) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Each node that quantises the tensor, with the one that takes it back to floats."""
    found = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == tensor:
            taking = [other for other in graph.node if node.output[0] in other.input]
            if [other.op_type for other in taking] == ["DequantizeLinear"]:
                found.append((node, taking[0]))
    return found


def _around_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that do not lie between two convolutions."""
    nodes = list(model.graph.node)
    behind: set[str] = set()
    for node in nodes:
        if node.op_type == "Conv" or behind.intersection(node.input):
            behind.update(node.output)
    before: set[str] = set()
    for node in reversed(nodes):
        if node.op_type == "Conv" or before.intersection(node.output):
            before.update(node.input)
    return [
        node.name
        for node in nodes
        if node.op_type != "Conv"
        and not (behind.intersection(node.output) and before.intersection(node.output))
    ]
