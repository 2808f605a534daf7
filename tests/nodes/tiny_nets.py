"""Tiny real networks in real bundles, for the nodes that run appearance networks."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from padflow.engines.bundle import (
    About,
    Calibration,
    CropRule,
    Manifest,
    Training,
    write_bundle,
)
from padflow.engines.network import TensorSpec

CALIBRATION = {"slope": 2.0, "offset": 0.5, "min_llr": -4.0, "max_llr": 5.0}
CROPS = {
    "depth": CropRule(scale=1.5, size=256, alignment="eyes"),
    "context": None,
    "patch": None,
}
SIDES = {"depth": 256, "context": 160, "patch": 96}
VIEWS = 3
"""Pictures that the network of the cue ``context`` takes of a face."""


def write_tiny_bundle(
    folder: Path,
    cue: str,
    calibration: dict[str, float] | None = CALIBRATION,
    *,
    method: str = "logistic",
    broken: bool = False,
    crop: CropRule | None = None,
) -> Path:
    """A bundle whose score is 4 (mean red - mean blue) / 255 and strangeness 1.5 mean green / 255.

    ``broken``: the score is the logarithm of a negative number.
    """
    file = folder.parent / f"{folder.name}.onnx"
    outputs = write_network(file, cue, SIDES[cue], broken)
    shape: tuple[int, ...] = (-1, SIDES[cue], SIDES[cue], 3)
    layout = "NHWC"
    if cue == "context":
        shape, layout = (-1, VIEWS, *shape[1:]), "NVHWC"
    image = TensorSpec("image", "uint8", shape, layout, "", "RGB")
    manifest = Manifest(
        about=About(name=cue, version="1.0.0", task="tests the nodes", licence="Apache-2.0"),
        inputs=(image,),
        outputs=outputs,
        crop=crop or CROPS[cue],
        calibration=None if calibration is None else Calibration(
            method=method, parameters=calibration, fitted_on="nothing"
        ),
        metrics=(),
        training=Training(data=("none",), recipe="tiny", seed=0, settings={}),
        files={},
    )  # fmt: skip
    write_bundle(folder, manifest, {"f32": file})
    return folder


def score_of(color: tuple[int, int, int]) -> float:
    """The score of a picture of one colour."""
    return 4.0 * (color[0] - color[2]) / 255.0


def write_network(path: Path, cue: str, side: int, broken: bool = False) -> tuple[TensorSpec, ...]:
    """The network's file, for pictures of a side; returns its outputs."""
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[np.arange(3), np.arange(3)] = 1 / 9
    numbers = {
        "white": np.float32(255.0),
        "kernel": kernel,
        "weights": np.array([[4.0], [0.0], [-4.0]], np.float32),
        "green": np.array([[0.0], [1.5], [0.0]], np.float32),
        "grey": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "flat": np.array([-1], np.int64),
        "maps": np.array([-1, 32, 32], np.int64),
        "minus": np.float32(-1.0),
    }
    nodes = [
        *_cast_and_mean(cue),
        helper.make_node("Div", ["float", "white"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["smooth"]),
        helper.make_node("GlobalAveragePool", ["smooth"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weights"], ["column"]),
        helper.make_node("Reshape", ["column", "flat"], ["good"]),
        helper.make_node("MatMul", ["colour", "green"], ["greens"]),
        helper.make_node("Reshape", ["greens", "flat"], ["strangeness"]),
    ]
    if broken:
        nodes += [
            helper.make_node("Abs", ["good"], ["size"]),
            helper.make_node("Sub", ["minus", "size"], ["negative"]),
            helper.make_node("Log", ["negative"], ["score"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["good"], ["score"]))
    told = ["score", "strangeness"]
    if cue == "depth":
        kernel_side = [side // 32, side // 32]
        nodes += [
            helper.make_node("Conv", ["planes", "grey"], ["luma"]),
            helper.make_node(
                "AveragePool", ["luma"], ["small"], kernel_shape=kernel_side, strides=kernel_side
            ),
            helper.make_node("Reshape", ["small", "maps"], ["depth"]),
        ]
        told.append("depth")
    shapes: dict[str, list[int | str]] = {name: ["n"] for name in told}
    if cue == "depth":
        shapes["depth"] = ["n", 32, 32]
    floats = TensorProto.FLOAT
    sizes: list[str | int | None] = ["n", *([VIEWS] if cue == "context" else []), side, side, 3]
    graph = helper.make_graph(
        nodes,
        cue,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, sizes)],
        [helper.make_tensor_value_info(name, floats, shapes[name]) for name in told],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in numbers.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return tuple(
        TensorSpec(
            name,
            "float32",
            tuple(-1 if length == "n" else int(length) for length in shapes[name]),
            "NHW"[: len(shapes[name])],
            "",
            name,
        )
        for name in told
    )


def _cast_and_mean(cue: str) -> list[onnx.NodeProto]:
    """The picture as numbers; of several views their mean."""
    if cue != "context":
        return [helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT)]
    return [
        helper.make_node("Cast", ["image"], ["views"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["views"], ["float"], axes=[1], keepdims=0),
    ]
