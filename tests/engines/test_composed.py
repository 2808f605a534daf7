"""A head of ours behind a third-party network, joined into one file when it is opened."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from padflow.engines import BundleError, ModelMissing, load_engine
from padflow.engines.composed import FEATURES, feature_rule, on_features
from padflow.engines.engine import open_network
from padflow.engines.natural_features import FEATURES as LENGTH
from padflow.engines.natural_features import SIDE
from padflow.engines.network import Network, Options, TensorSpec
from padflow.engines.store import file_sha256, model_folder

SCALES = (1.5, 4.0)
WEIGHTS = np.random.default_rng(0).normal(0, 0.01, (2 * LENGTH, 3)).astype(np.float32)


def write_head(path: Path, takes: str = FEATURES, opset: int = 18) -> Network:
    graph = helper.make_graph(
        [helper.make_node("MatMul", [takes, "weights"], ["embedding"])],
        "head",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, ["n", 2 * LENGTH])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    image = TensorSpec("image", "uint8", (-1, 2, SIDE, SIDE, 3), "NVHWC", "", "both views")
    return Network("head", path, file_sha256(path), (image,))


def views(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, 2, SIDE, SIDE, 3), np.uint8)


@pytest.mark.usefixtures("models")
def test_the_joined_network_is_the_head_on_the_features_of_every_view(tmp_path: Path) -> None:
    head = write_head(tmp_path / "head.onnx")
    joined = on_features(head, feature_rule("natural_features", SCALES))
    images = views(3)
    with load_engine("natural_features", precision="f32") as engine:
        seen = engine.infer({"image": images.reshape(-1, SIDE, SIDE, 3)})["features"]
    wanted = seen.reshape(3, 2 * LENGTH) @ WEIGHTS
    for backend in ("openvino", "onnxruntime"):
        with open_network(joined, backend, Options(precision="f32")) as engine:
            found = engine.infer({"image": images})["embedding"]
        np.testing.assert_allclose(found, wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("models")
def test_joining_again_gives_the_same_file(tmp_path: Path) -> None:
    # A name of its own: the model folder is everybody's, and this test damages what it joins.
    head = replace(write_head(tmp_path / "head.onnx"), name=f"head-{os.getpid()}")
    rule = feature_rule("natural_features", SCALES)
    first = on_features(head, rule)
    assert first.path.is_relative_to(model_folder())
    assert first.sha256 == file_sha256(first.path)
    first.path.write_bytes(b"damaged")
    again = on_features(head, rule)
    assert (again.path, again.sha256) == (first.path, first.sha256)
    assert file_sha256(again.path) == first.sha256
    first.path.unlink()


@pytest.mark.usefixtures("models")
def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    rule = feature_rule("natural_features", SCALES)
    with pytest.raises(BundleError, match=r"expected the edition .* found [0-9a-f]{12}"):
        on_features(write_head(tmp_path / "a.onnx"), replace(rule, sha256="0" * 64))
    with pytest.raises(BundleError, match="found set 18 and the inputs image"):
        on_features(write_head(tmp_path / "b.onnx", takes="image"), rule)
    with pytest.raises(BundleError, match="found set 17"):
        on_features(write_head(tmp_path / "c.onnx", opset=17), rule)


def test_a_missing_third_party_network_says_what_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path))
    with pytest.raises(ModelMissing, match="padflow models pull natural_features"):
        feature_rule("natural_features", SCALES)
