from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from padflow.engines.engine import open_network
from padflow.engines.network import Network, Options, Precision
from padflow.engines.openvino import OpenvinoEngine
from padflow.trainers.export import to_onnx
from padflow.trainers.networks import NetworkOptions, build_network
from padflow.trainers.quantisation import quantise_before_pools, to_int8

PICTURES = np.random.default_rng(5).integers(0, 256, (12, 256, 256, 3), np.uint8)


def _pooled(consumers: int) -> onnx.ModelProto:
    """A max pooling whose result is an output, and is quantised by so many others."""
    nodes = [helper.make_node("MaxPool", ["x"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2])]
    for number in range(consumers):
        scale = ["scale", "zero"]
        nodes += [
            helper.make_node("QuantizeLinear", ["pooled", *scale], [f"q{number}"]),
            helper.make_node("DequantizeLinear", [f"q{number}", *scale], [f"dq{number}"]),
            helper.make_node("Neg", [f"dq{number}"], [f"y{number}"]),
        ]
    outputs = ["pooled", *(f"y{number}" for number in range(consumers))]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 8, 8])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, 4, 4]) for n in outputs],
        [
            numpy_helper.from_array(np.array(0.03, np.float32), "scale"),
            numpy_helper.from_array(np.array(17, np.uint8), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _run(model: onnx.ModelProto, values: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"x": values}), strict=True))


def _kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("consumers", [1, 2])
def test_what_was_quantised_behind_a_pool_stays_the_same(consumers: int) -> None:
    model = _pooled(consumers)
    values = np.random.default_rng(consumers).normal(0, 3, (1, 2, 8, 8)).astype(np.float32)
    before = _run(model, values)
    quantise_before_pools(model.graph)
    onnx.checker.check_model(model)
    assert _kinds(model)[:3] == ["QuantizeLinear", "DequantizeLinear", "MaxPool"]
    assert _kinds(model).count("QuantizeLinear") == 1
    after = _run(model, values)
    for number in range(consumers):
        np.testing.assert_array_equal(after[f"y{number}"], before[f"y{number}"])
    np.testing.assert_array_equal(after["pooled"], -before["y0"])


def test_a_pool_that_nobody_quantises_stays_where_it_is() -> None:
    model = _pooled(0)
    quantise_before_pools(model.graph)
    assert _kinds(model) == ["MaxPool"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Network]:
    """A depth network of random weights in f32 and int8."""
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("int8")
    network = build_network("depth_light", NetworkOptions(width=0.5)).eval()
    whole = to_onnx(network, folder / "depth.onnx")
    return whole, to_int8(network, whole.path, folder / "depth-int8.onnx", PICTURES[:8])


def test_convolutions_before_a_pool_write_bytes(exported: tuple[Network, Network]) -> None:
    nodes = onnx.load(exported[1].path).graph.node
    maker = {name: node.op_type for node in nodes for name in node.output}
    pools = [node for node in nodes if node.op_type == "MaxPool"]
    assert len(pools) == 3
    for pool in pools:
        assert maker[pool.input[0]] == "DequantizeLinear"
        taken_by = {node.op_type for node in nodes if pool.output[0] in node.input}
        assert "QuantizeLinear" not in taken_by


def _zen_5() -> bool:
    """Where OpenVINO 2026.4 gives a fourth too much, and ONNX Runtime of the same file does not."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    facts = dict(line.replace("\t", "").split(":", 1) for line in told if ":" in line)
    return (facts.get("vendor_id", "").strip(), facts.get("cpu family", "").strip()) == (
        "AuthenticAMD",
        "26",
    )


def test_int8_says_what_f32_says(exported: tuple[Network, Network]) -> None:
    """On pictures that did not show the range, and for every output."""
    given = {"image": PICTURES[8:]}
    with open_network(exported[0], "openvino", Options(precision="f32")) as engine:
        expected = engine.infer(given)
    for backend in ("openvino", "onnxruntime"):
        with open_network(exported[1], backend) as engine:
            found = engine.infer(given)
        assert found.keys() == expected.keys()
        off = {
            name: float(np.abs(found[name] - values).max() / np.abs(values).max())
            for name, values in expected.items()
            if np.abs(values).max() > 0
        }
        if backend == "openvino" and _zen_5() and max(off.values()) > 0.1:
            pytest.xfail(f"OpenVINO's int8 convolutions are off on this processor: {off}")
        for name, values in expected.items():
            scale = float(np.abs(values).max())
            np.testing.assert_allclose(found[name], values, atol=0.1 * scale, err_msg=name)


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_what_is_not_int8_is_computed_in_f32(
    exported: tuple[Network, Network], precision: Precision
) -> None:
    """Some networks could not be opened with bf16 beside int8, AMX's default."""
    with open_network(exported[1], "openvino", Options(precision=precision)) as engine:
        assert isinstance(engine, OpenvinoEngine)
        assert engine._compiled is not None
        used = engine._compiled.model.get_property("INFERENCE_PRECISION_HINT")
    assert used.to_dtype() == np.float32
