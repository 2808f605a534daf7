"""EfficientNet-Lite2 as a source of features: its PyTorch weights become an ONNX file.

A network that has learned a million natural pictures sees hands, sheets, frames and displays in
them, whatever the camera; a face camera's few thousand crops cannot teach that. Its weights are
never changed and never shipped: ``padflow models pull`` fetches them and writes this file. What
padflow trains and ships is the small head that judges the features.

Layout: Tan and Le, *EfficientNet* (ICML 2019), in the Lite2 variant (no squeeze-and-excitation,
ReLU6; width 1.1, depth 1.2). Of four depths, where the picture is 1/8, 1/16, 1/16 and 1/32 of its
size, each channel's mean, deviation and maximum over the picture are given, and its mean over the
upper, lower, left and right half. Then, within the ellipse where a face crop shows the face: mean
and deviation, how much left and right (and upper and lower) half differ, how much the face differs
from its mirror image, and mean and largest step from a place to the next one across and down. What
covers a part of a face is unlike the rest of it, and has edges where a face has none; what it looks
like by itself differs from paper to paper.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .registry import NATURAL_CHANNELS, NATURAL_FEATURES, NATURAL_FEATURES_SIDE
from .torch_file import read_torch_file

MEAN, SCALE = 127.0, 128.0
"""The network was trained on (RGB - MEAN) / SCALE."""
OPSET, IR_VERSION = 18, 8
FEATURES = NATURAL_FEATURES
"""Length of the feature vector: first what is of the whole picture, at every depth, then what is
of the face."""
OF_PICTURE = 7 * NATURAL_CHANNELS
"""How many of them are of the whole picture."""
SIDE = NATURAL_FEATURES_SIDE
"""Side of the pictures in pixels."""
FACE_AXES = (0.29, 0.335)
"""Half axes of the ellipse of the face, across and down, in sides of the face crop: its mesh's box
is two thirds of the side high."""
_EPSILON = 1e-3
_FIRST, _LAST = 0, 2**31 - 1
"""Ends of a slice that begins, or stops, where the picture does."""


Floats = npt.NDArray[np.float32]


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    taken: bool = False
    """Its last block's output is among the features."""


_STAGES = (
    _Stage(1, 3, 1),
    _Stage(3, 3, 2),
    _Stage(3, 5, 2, taken=True),
    _Stage(4, 3, 2, taken=True),
    _Stage(4, 5, 1, taken=True),
    _Stage(5, 5, 2),
    _Stage(1, 3, 1, taken=True),
)


def natural_features_onnx(weights: bytes) -> bytes:
    """The ONNX file, the same bytes for the same weights.

    Takes ``image`` uint8 (N, 160, 160, 3), RGB, and gives ``features`` float32
    (N, :data:`FEATURES`).

    Args:
        weights: content of ``efficientnet-lite2-9656183e.pth``.

    Raises:
        ValueError: these are no such weights.
    """
    graph = _Graph(read_torch_file(weights))
    try:
        return graph.whole()
    except KeyError as error:
        raise ValueError(f"no weights of an EfficientNet-Lite2: {error} is missing") from error


def face_region(side: int) -> Floats:
    """Share of each place of a square map that lies on the face: float32 (side, side), 0..1."""
    finer = 16
    middles = (np.arange(side * finer) + 0.5) / (side * finer) - 0.5
    across, down = FACE_AXES
    inside = (middles / across) ** 2 + (middles[:, None] / down) ** 2 <= 1
    shares = inside.reshape(side, finer, side, finer).mean(axis=(1, 3))
    return np.asarray(shares, np.float32)


class _Graph:
    """Nodes and constants as they are strung together."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        from onnx import NodeProto, TensorProto

        self.tensors = tensors
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.shared: list[tuple[str, npt.NDArray[Any]]] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """One more node; the name of its output."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        """One more constant, by name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def whole(self) -> bytes:
        """From the picture to the features."""
        from onnx import TensorProto, helper

        x = self.add("Cast", ["image"], to=TensorProto.FLOAT)  # first: TensorRT turns no uint8
        x = self.add("Transpose", [x], perm=[0, 3, 1, 2])
        x = self.add("Sub", [x, self.constant("mean", np.array(MEAN, np.float32))])
        x = self.add("Div", [x, self.constant("scale", np.array(SCALE, np.float32))])
        x = self.clipped(self.convolved(x, "_conv_stem", "_bn0", stride=2))
        self.constant("sides", np.array([2, 3], np.int64))
        of_picture: list[str] = []
        of_face: list[str] = []
        number, side = 0, SIDE // 2
        for stage in _STAGES:
            side = -(-side // stage.stride)
            for repeat in range(stage.repeats):
                x = self.block(x, f"_blocks.{number}.", stage.stride if repeat == 0 else 1)
                number += 1
            if stage.taken:
                of_picture += self.pooled(x, side)
                of_face += self.of_the_face(x, side)
        taken = [*of_picture, *of_face]
        self.nodes.append(helper.make_node("Concat", taken, ["features"], "features", axis=1))
        sizes: list[str | int | None] = ["batch", SIDE, SIDE, 3]
        picture = helper.make_tensor_value_info("image", TensorProto.UINT8, sizes)
        features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", FEATURES])
        graph = helper.make_graph(
            self.nodes, "natural_features", [picture], [features], self.constants
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        return bytes(model.SerializeToString(deterministic=True))

    def block(self, x: str, name: str, stride: int) -> str:
        """An inverted bottleneck, added to its input where their shapes are alike."""
        inside = x
        if f"{name}_expand_conv.weight" in self.tensors:
            inside = self.clipped(self.convolved(x, f"{name}_expand_conv", f"{name}_bn0"))
        inside = self.convolved(inside, f"{name}_depthwise_conv", f"{name}_bn1", stride=stride)
        inside = self.clipped(inside)
        inside = self.convolved(inside, f"{name}_project_conv", f"{name}_bn2")
        first = self.tensors.get(f"{name}_expand_conv.weight")
        given = self.tensors[f"{name}_project_conv.weight"].shape[0]
        alike = stride == 1 and first is not None and first.shape[1] == given
        return self.add("Add", [inside, x]) if alike else inside

    def convolved(self, x: str, conv: str, norm: str, stride: int = 1) -> str:
        """A convolution with the normalisation behind it folded into its kernel."""
        kernel = self.tensors[f"{conv}.weight"].astype(np.float64)
        gain, shift, mean, variance = (
            self.tensors[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + _EPSILON)
        folded = (kernel * gain[:, None, None, None]).astype(np.float32)
        inputs = [
            x,
            self.constant(f"{conv}.kernel", folded),
            self.constant(f"{conv}.bias", (shift - mean * gain).astype(np.float32)),
        ]
        side = kernel.shape[2]
        return self.add(
            "Conv",
            inputs,
            auto_pad="SAME_UPPER",
            kernel_shape=[side, side],
            strides=[stride, stride],
            group=len(kernel) if "depthwise" in conv else 1,
        )

    def clipped(self, x: str) -> str:
        """ReLU6."""
        if not any(constant.name == "six" for constant in self.constants):
            self.constant("zero", np.array(0, np.float32))
            self.constant("six", np.array(6, np.float32))
        return self.add("Clip", [x, "zero", "six"])

    def pooled(self, x: str, side: int) -> list[str]:
        """Of each channel: mean, deviation and maximum, and the means of the picture's halves."""
        mean = self.add("ReduceMean", [x, "sides"], keepdims=1)
        difference = self.add("Sub", [x, mean])
        square = self.add("Mul", [difference, difference])
        variance = self.add("ReduceMean", [square, "sides"], keepdims=0)
        deviation = self.add("Sqrt", [variance])
        largest = self.add("ReduceMax", [x, "sides"], keepdims=0)
        halves = [
            self.add("ReduceMean", [self.cut(x, axis, *ends), "sides"], keepdims=0)
            for axis in (2, 3)
            for ends in ((_FIRST, side // 2), (side // 2, _LAST))
        ]
        return [self.add("Squeeze", [mean, "sides"]), deviation, largest, *halves]

    def of_the_face(self, x: str, side: int) -> list[str]:
        """Of each channel within the ellipse: mean, deviation, differences of its parts, steps."""
        region = face_region(side)
        share = region / region.sum()
        mean = self.weighted(x, share, keepdims=1)
        difference = self.add("Sub", [x, mean])
        variance = self.weighted(self.add("Mul", [difference, difference]), share)
        half = 2 * np.sign((side - 1) / 2 - np.arange(side)).astype(np.float32)
        halves = [
            self.add("Abs", [self.weighted(x, share * weights)])
            for weights in (half, half[:, None])
        ]
        unlike = self.add("Sub", [x, self.cut(x, 3, -1, -_LAST, step=-1)])
        mirrored = self.weighted(self.add("Abs", [unlike]), share)
        steps = [*self.steps(x, 3, region[:, 1:] * region[:, :-1]),
                 *self.steps(x, 2, region[1:] * region[:-1])]  # fmt: skip
        flat = self.add("Squeeze", [mean, "sides"])
        return [flat, self.add("Sqrt", [variance]), *halves, mirrored, *steps]

    def steps(self, x: str, axis: int, region: Floats) -> list[str]:
        """Mean and largest difference of neighbours along an axis, where both are of the face."""
        after, before = self.cut(x, axis, 1, _LAST), self.cut(x, axis, _FIRST, -1)
        step = self.add("Abs", [self.add("Sub", [after, before])])
        within = self.constant_of((region > 0.5).astype(np.float32))
        largest = self.add("ReduceMax", [self.add("Mul", [step, within]), "sides"], keepdims=0)
        return [self.weighted(step, region / region.sum()), largest]

    def weighted(self, x: str, weights: Floats, keepdims: int = 0) -> str:
        """Of each channel: the sum over the picture, weighted by float32 (rows, columns)."""
        product = self.add("Mul", [x, self.constant_of(weights)])
        return self.add("ReduceSum", [product, "sides"], keepdims=keepdims)

    def cut(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """A part of the picture along an axis, as Python slices it."""
        bounds = [self.constant_of(np.array([n], np.int64)) for n in (start, stop, axis, step)]
        return self.add("Slice", [x, *bounds])

    def constant_of(self, values: npt.NDArray[Any]) -> str:
        """A constant by its content: one for all places that need it."""
        for name, known in self.shared:
            if known.dtype == values.dtype and np.array_equal(known, values):
                return name
        name = f"shared_{len(self.shared)}"
        self.shared.append((name, values))
        return self.constant(name, values)
