"""A tiny real step network in a real bundle: its score says exactly which samples it has seen.

A sample is one number x. After a first sample the hidden value is 0; after each later one it is
half of what it was, plus what x has grown by a second. The score is that value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from padflow.engines.bundle import About, Calibration, Manifest, Training, write_bundle
from padflow.engines.network import TensorSpec

EDITION = "ab" * 32
CALIBRATION = {"slope": 0.5, "offset": 0.1, "min_llr": -2.0, "max_llr": 3.0}
SHAPE = (1, 1, 1)
Specs = tuple[TensorSpec, ...]
STATE = ("reduced_1", "reduced_2", "reduced_3", "hidden")


def write_tiny_steps(
    folder: Path, *, broken: bool = False, edition: str = EDITION, lacking: str = ""
) -> Path:
    """Write the bundle.

    Args:
        folder: Of the bundle.
        broken: Where x is negative the score is no number.
        edition: Of the depth network that it says it goes on from.
        lacking: An output that is left out.
    """
    inputs, outputs = _specs(lacking)
    file = _write(folder, inputs, outputs, broken)
    return write_steps_bundle(folder, file, "motion", inputs, outputs, edition)


def write_steps_bundle(
    folder: Path, file: Path, name: str, inputs: Specs, outputs: Specs, edition: str
) -> Path:
    """Write a step network's file as a calibrated bundle."""
    manifest = Manifest(
        about=About(name=name, version="1.0.0", task="tests the node", licence="Apache-2.0"),
        inputs=inputs,
        outputs=outputs,
        calibration=Calibration(method="logistic", parameters=CALIBRATION, fitted_on="nothing"),
        metrics=(),
        training=Training(
            data=("none",), recipe="tiny", seed=0, settings={"backbone_edition": edition}
        ),
        files={},
    )
    write_bundle(folder, manifest, {"f32": file})
    return folder


def score_after(values: list[float], times: list[float]) -> float:
    """What the network must say of a track that began with the first of these."""
    hidden = np.float32(0)
    for k in range(1, len(values)):
        apart = np.float32(times[k] - times[k - 1])
        rise = np.float32(values[k]) - np.float32(values[k - 1])
        hidden = np.float32(0.5) * hidden + rise / apart
    return float(hidden)


def spec(name: str, shape: tuple[int, ...], layout: str) -> TensorSpec:
    return TensorSpec(name, "float32", (-1, *shape), layout, "", name)


def _specs(lacking: str) -> tuple[Specs, Specs]:
    inputs = [spec(f"features_{k}", SHAPE, "NCHW") for k in (1, 2, 3)]
    inputs += [spec("single", (32, 32), "NHW"), spec("interval", (), "N")]
    inputs += [spec(f"previous_{name}", SHAPE, "NCHW") for name in STATE]
    outputs = [spec("depth", (32, 32), "NHW"), spec("score", (), "N")]
    outputs += [spec("strangeness", (), "N")]
    outputs += [spec(f"next_{name}", SHAPE, "NCHW") for name in STATE]
    return tuple(inputs), tuple(one for one in outputs if one.name != lacking)


def _write(folder: Path, inputs: Specs, outputs: Specs, broken: bool) -> Path:
    numbers = {
        "column": np.array([-1, 1, 1, 1], np.int64),
        "flat": np.array([-1], np.int64),
        "zero": np.float32(0.0),
        "one": np.float32(1.0),
        "half": np.float32(0.5),
    }
    node = helper.make_node
    nodes = [
        node("Reshape", ["interval", "column"], ["apart"]),
        node("Greater", ["apart", "zero"], ["later"]),
        node("Where", ["later", "apart", "one"], ["divisor"]),
        node("Sub", ["features_1", "previous_reduced_1"], ["growth"]),
        node("Div", ["growth", "divisor"], ["rate"]),
        node("Mul", ["previous_hidden", "half"], ["kept"]),
        node("Add", ["kept", "rate"], ["sum"]),
        node("Where", ["later", "sum", "zero"], ["next_hidden"]),
        node("Identity", ["features_1"], ["next_reduced_1"]),
        node("Identity", ["features_2"], ["next_reduced_2"]),
        node("Identity", ["features_3"], ["next_reduced_3"]),
        node("Reshape", ["next_hidden", "flat"], ["good"]),
        node("Reshape", ["features_3", "flat"], ["strangeness"]),
        node("Identity", ["single"], ["depth"]),
    ]
    if broken:
        nodes += [
            node("Reshape", ["features_1", "flat"], ["x"]),
            node("Sqrt", ["x"], ["root"]),
            node("Mul", ["root", "zero"], ["nothing"]),
            node("Add", ["good", "nothing"], ["score"]),
        ]
    else:
        nodes.append(node("Identity", ["good"], ["score"]))

    return write_steps_file(folder, nodes, numbers, inputs, outputs)


def write_steps_file(
    folder: Path,
    nodes: list[onnx.NodeProto],
    numbers: Mapping[str, Any],
    inputs: Specs,
    outputs: Specs,
) -> Path:
    """Write the ONNX file of a bundle that is to lie in a folder."""

    def info(spec: TensorSpec) -> onnx.ValueInfoProto:
        shape: list[str | int | None] = ["n", *spec.shape[1:]]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return helper.make_tensor_value_info(spec.name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "steps",
        [info(one) for one in inputs],
        [info(one) for one in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in numbers.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    path = folder.parent / f"{folder.name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path
