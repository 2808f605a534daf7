"""A tiny real step network of the pulse on depth features: its wave says what it has seen.

A sample is one number x, the mean of the first stage. The wave is x plus half of what the wave was,
times the mean of the places; after a first sample it is x alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import helper

from tests.nodes.tiny_steps import EDITION, SHAPE, spec, write_steps_bundle, write_steps_file

STATE = ("mean", "hidden", "carry")


def write_tiny_pulse(
    folder: Path,
    *,
    broken: bool = False,
    edition: str = EDITION,
    lacking: str = "",
    shapes: Sequence[tuple[int, ...]] = (SHAPE, SHAPE, SHAPE),
) -> Path:
    """Write the bundle; arguments as of :func:`write_tiny_steps`, and the stages' shapes."""
    node = helper.make_node
    inputs = (
        *(spec(f"features_{k}", shape, "NCHW") for k, shape in enumerate(shapes, 1)),
        spec("single", (32, 32), "NHW"),
        spec("places", (2, 1024), "NPK"),
        spec("interval", (), "N"),
        *(spec(f"previous_{name}", (1,), "NC") for name in STATE),
    )
    outputs = (spec("wave", (), "N"), *(spec(f"next_{name}", (1,), "NC") for name in STATE))
    nodes = [
        node("Reshape", ["interval", "column"], ["apart"]),
        node("Greater", ["apart", "zero"], ["later"]),
        node("ReduceMean", ["features_1"], ["first"], axes=[1, 2, 3], keepdims=0),
        node("Reshape", ["first", "column"], ["x"]),
        node("Mul", ["previous_hidden", "half"], ["kept"]),
        node("Add", ["kept", "x"], ["sum"]),
        node("Where", ["later", "sum", "x"], ["next_hidden"]),
        node("ReduceMean", ["places"], ["middle"], axes=[1, 2], keepdims=0),
        node("Reshape", ["next_hidden", "flat"], ["plain"]),
        node("Identity", ["previous_mean"], ["next_mean"]),
        node("Identity", ["previous_carry"], ["next_carry"]),
        node("ReduceMean", ["single"], ["depth"], axes=[1, 2], keepdims=0),
        node("ReduceMean", ["features_2"], ["second"], axes=[1, 2, 3], keepdims=0),
        node("ReduceMean", ["features_3"], ["third"], axes=[1, 2, 3], keepdims=0),
        node("Sum", ["depth", "second", "third"], ["others"]),
        node("Mul", ["others", "zero"], ["none"]),
        node("Add", ["plain", "none"], ["all"]),
        node("Mul", ["all", "middle"], ["good"]),
    ]
    if broken:
        nodes += [
            node("Reshape", ["x", "flat"], ["row"]),
            node("Add", ["row", "two"], ["raised"]),
            node("Sqrt", ["raised"], ["root"]),
            node("Mul", ["root", "zero"], ["nothing"]),
            node("Add", ["good", "nothing"], ["wave"]),
        ]
    else:
        nodes.append(node("Identity", ["good"], ["wave"]))
    numbers = {
        "column": np.array([-1, 1], np.int64),
        "flat": np.array([-1], np.int64),
        "zero": np.float32(0.0),
        "half": np.float32(0.5),
        "two": np.float32(2.0),
    }
    outputs = tuple(one for one in outputs if one.name != lacking)
    file = write_steps_file(folder, nodes, numbers, inputs, outputs)
    return write_steps_bundle(folder, file, "tiny_pulse", inputs, outputs, edition)


def waves_after(values: list[float]) -> list[float]:
    """What the network must give for a track that began with the first of these."""
    waves: list[float] = []
    for x in values:
        before = waves[-1] if waves else 0.0
        waves.append(0.5 * before + x)
    return waves
