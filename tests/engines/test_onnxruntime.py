"""ONNX Runtime: conformance, and what it does to third-party networks' pictures."""

from pathlib import Path

import pytest

from padflow.engines import NetworkError
from padflow.engines.engine import open_network
from padflow.engines.network import Options
from padflow.engines.testing import EngineConformance, write_sample_network


class TestOnnxruntime(EngineConformance):
    backend = "onnxruntime"


def test_refuses_a_precision_that_is_not_in_the_file(tmp_path: Path) -> None:
    network = write_sample_network(tmp_path / "sample.onnx")
    with pytest.raises(NetworkError, match="another backend"):
        open_network(network, "onnxruntime", Options(precision="bf16"))


def test_refuses_a_device_that_is_not_there(tmp_path: Path) -> None:
    network = write_sample_network(tmp_path / "sample.onnx")
    with pytest.raises(NetworkError, match="CPUExecutionProvider"):
        open_network(network, "onnxruntime", Options(device="WarpDrive"))
