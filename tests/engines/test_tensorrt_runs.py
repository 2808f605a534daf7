"""TensorRT's runner on stand-ins for the GPU: order and ownership, which they can show."""

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from padflow.deploy.cli import main
from padflow.deploy.exits import Exit
from padflow.engines import BackendMissing, InferenceError, NetworkError, load_engine, tensorrt
from padflow.engines.engine import open_network
from padflow.engines.network import Network
from padflow.engines.tensorrt import build_plan
from padflow.engines.testing import EngineConformance, sample_arrays, write_sample_network
from padflow.graph.workers import WORKER
from padflow.nodes.appearance import AppearanceParams
from tests.engines.fake_gpu import CudaError, FakeGpu, install

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    return install(monkeypatch, tmp_path / "cache")


def test_the_extra_asks_for_a_library_that_has_what_is_called() -> None:
    """10.0 has neither ``set_device_memory`` nor ``device_memory_size_v2``; 10.1 does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [r for r in project["optional-dependencies"]["gpu"] if r.startswith("tensorrt")]
    least = re.fullmatch(r"tensorrt>=(\d+)\.(\d+)", wanted)
    assert least
    assert (int(least[1]), int(least[2])) >= (10, 1)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return write_sample_network(tmp_path / "sample.onnx")


@pytest.mark.usefixtures("gpu")
class TestOnStandIns(EngineConformance):
    """The whole contract: batches, threads, graphs and results, if not a GPU's numbers."""

    backend = "tensorrt"


def test_a_closed_engine_leaves_no_context_current(gpu: FakeGpu, network: Network) -> None:
    for _ in range(2):
        with open_network(network, "tensorrt") as engine:
            engine.infer(sample_arrays(1))
    assert not gpu.current
    assert gpu.retained == 1
    assert not gpu.memory


def test_its_stream_does_not_close_the_legacy_stream_while_it_is_captured(
    gpu: FakeGpu, network: Network
) -> None:
    with open_network(network, "tensorrt"):
        assert [*gpu.streams.values()] == [1]  # CU_STREAM_NON_BLOCKING


@pytest.mark.parametrize("left", range(5))
def test_what_an_engine_took_is_freed_where_the_memory_does_not_suffice(
    gpu: FakeGpu, network: Network, left: int
) -> None:
    gpu.allocations_left = left
    with pytest.raises(NetworkError, match="out of memory") as refusal:  # it keeps the traceback
        open_network(network, "tensorrt")
    assert not gpu.memory, refusal
    assert not gpu.current


def test_a_context_that_cannot_be_had_is_told(gpu: FakeGpu, network: Network) -> None:
    with open_network(network, "tensorrt") as engine:
        gpu.contexts_left = 0
        with pytest.raises(InferenceError, match="no execution context for a batch of 2"):
            engine.infer(sample_arrays(2))
    gpu.contexts_left = 0
    with pytest.raises(InferenceError, match="memory is used up"):
        open_network(network, "tensorrt")
    assert not gpu.memory


def test_work_that_cannot_be_recorded_is_run_without_a_graph(
    gpu: FakeGpu, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the driver has made the capture invalid, and pycuda tells it at the next copy."""
    gpu.capture_fault = CudaError("cuMemcpyHtoDAsync failed: operation failed during capture")
    with open_network(network, "tensorrt") as engine:
        found = [engine.infer(sample_arrays(2))["score"] for _ in range(4)]
        assert not gpu.graphs
    assert all((score == found[0]).all() for score in found)
    assert caplog.text.count("running without CUDA graphs") == 1


def assert_told_and_auto_takes_another(network: Network, told: str) -> None:
    with pytest.raises(BackendMissing, match=told):
        open_network(network, "tensorrt")
    with open_network(network) as engine:
        assert engine.backend != "tensorrt"


def test_a_driver_that_is_too_old_for_the_library_is_told_and_auto_takes_another_backend(
    gpu: FakeGpu, network: Network
) -> None:
    gpu.starts = False
    told = r"10\.9\.0 cannot use this GPU: CUDA initialization failure with error: 35; .* driver"
    assert_told_and_auto_takes_another(network, told)
    assert not gpu.contexts_of, "memory of a GPU that is not used"


def test_a_library_that_cannot_be_imported_is_told_and_auto_takes_another_backend(
    gpu: FakeGpu, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Any:
        if name == "tensorrt":
            raise ImportError("libnvinfer.so.10: cannot open shared object file")
        return import_module(name)

    monkeypatch.setattr(tensorrt, "import_module", fail)
    told = r"tensorrt: tensorrt cannot be imported \(libnvinfer"
    assert_told_and_auto_takes_another(network, told)


def test_a_plan_that_cannot_be_loaded_is_told_with_what_the_library_said(
    gpu: FakeGpu, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "build_plan_bytes", lambda *_: b"no plan")
    with pytest.raises(
        NetworkError, match=r"cannot load the plan .*: the magic tag does not match"
    ):
        open_network(network, "tensorrt")


@pytest.mark.usefixtures("gpu")
def test_the_plan_that_is_built_ahead_of_time_is_the_one_that_nodes_ask_for(
    network: Network, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "build", str(network.path)]) == Exit.DONE
    assert "plan ready" in capsys.readouterr().out
    caplog.clear()
    load_engine(network.path, backend="tensorrt", precision=AppearanceParams().precision).close()
    assert "building a plan" not in caplog.text
    assert main(["models", "build", str(network.path), "--max-batch", "0"]) == Exit.WRONG_USE
    assert main(["models", "build", str(network.path), "--precision", "f99"]) == Exit.WRONG_USE


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("", r"cannot use this GPU: .*busy.*nvidia-smi"),
        ("cuda:1", r"cuda:1 cannot be used .*busy.*nvidia-smi"),
    ],
)
def test_a_gpu_that_another_process_holds_is_told(
    gpu: FakeGpu,
    network: Network,
    capsys: pytest.CaptureFixture[str],
    device: str,
    told: str,
) -> None:
    gpu.devices, gpu.busy = 2, {0, 1}
    with pytest.raises(BackendMissing, match=told):
        load_engine(network.path, backend="tensorrt", device=device)
    assert main(["models", "build", str(network.path)]) == Exit.WRONG_USE
    assert "a fault of padflow" not in capsys.readouterr().err
    gpu.busy.clear()
    load_engine(network.path, backend="tensorrt", device=device).close()


def test_workers_take_the_gpus_that_they_see_in_turn(
    gpu: FakeGpu, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless one is named: all of them crowded on the first."""
    gpu.devices = 2
    for worker in range(4):
        monkeypatch.setenv(WORKER, str(worker))
        with load_engine(network.path, backend="tensorrt") as engine:
            engine.infer(sample_arrays(1))
        assert gpu.contexts_of == [0, 1][: worker + 1]
    load_engine(network.path, backend="tensorrt", device="cuda:0").close()
    gpu.devices = 1  # as where Ray gave it one
    load_engine(network.path, backend="tensorrt").close()
    assert gpu.contexts_of == [0, 1]


def test_the_second_gpu_is_used_where_it_is_asked_for_and_the_first_is_left_alone(
    gpu: FakeGpu, network: Network
) -> None:
    gpu.devices, gpu.busy = 2, {0}
    with load_engine(network.path, backend="tensorrt", device="cuda:1") as engine:
        engine.infer(sample_arrays(1))
    build_plan(network.path, device="cuda:1")
    assert gpu.contexts_of == [1]
    with pytest.raises(BackendMissing, match="from cuda:0 to cuda:1, found 'cuda:2'"):
        load_engine(network.path, backend="tensorrt", device="cuda:2")
