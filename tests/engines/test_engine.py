"""How an engine is found: names, paths, backends of others, and what is said when there is none."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import padflow.engines
from padflow.engines import BackendMissing, InferenceError, ModelMissing, load_engine
from padflow.engines.engine import _entry_points, backend_statuses, open_network
from padflow.engines.network import Network, Options
from padflow.engines.onnx_file import has_external_data
from padflow.engines.onnxruntime import OnnxruntimeEngine
from padflow.engines.store import add
from padflow.engines.testing import sample_arrays, write_sample_network

YUNET_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "models"

BACKEND = '''
from padflow.engines.engine import Engine
from padflow.engines.network import TensorSpec


class EchoEngine(Engine):
    """Gives back what it is given; its networks are text files with a length."""

    backend = "echo"
    formats = frozenset({"echo"})

    def _open(self):
        length = int(self.network.path.read_text())
        x, y = (TensorSpec(name, "float32", (-1, length)) for name in "xy")
        return (x,), (y,)

    def _infer(self, arrays):
        return {"y": arrays["x"].copy()}

    def _close(self):
        pass
'''


@pytest.fixture
def echo_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of somebody else's, installed as such, that registers two backends."""
    site = tmp_path / "site"
    (site / "echo-1.0.dist-info").mkdir(parents=True)
    (site / "echo_backend.py").write_text(BACKEND)
    (site / "echo-1.0.dist-info" / "METADATA").write_text("Name: echo\nVersion: 1.0\n")
    (site / "echo-1.0.dist-info" / "entry_points.txt").write_text(
        "[padflow.engines]\n"
        "echo = echo_backend:EchoEngine\n"
        "broken = not_installed_anywhere:Engine\n"
        "wrong = pathlib:Path\n"
    )
    monkeypatch.syspath_prepend(str(site))
    _entry_points.cache_clear()
    yield
    _entry_points.cache_clear()
    sys.modules.pop("echo_backend", None)


@pytest.mark.usefixtures("echo_plugin")
def test_a_third_party_backend_is_used_like_our_own(tmp_path: Path) -> None:
    (tmp_path / "net.echo").write_text("3")
    with load_engine(tmp_path / "net.echo") as engine:
        assert engine.backend == "echo"
        x = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(engine.infer({"x": x})["y"], x)


@pytest.mark.usefixtures("echo_plugin")
def test_a_broken_backend_harms_no_other(tmp_path: Path) -> None:
    statuses = {status.name: status.lack for status in backend_statuses()}
    assert statuses["openvino"] == statuses["onnxruntime"] == statuses["echo"] == ""
    assert "install echo anew" in statuses["broken"]
    assert "no subclass" in statuses["wrong"]
    network = write_sample_network(tmp_path / "sample.onnx")
    open_network(network).close()
    with pytest.raises(BackendMissing, match=r"broken cannot .*not_installed_anywhere"):
        open_network(network, "broken")


def test_auto_says_which_backend_it_took(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_sample_network(tmp_path / "sample.onnx").path
    with caplog.at_level(logging.INFO), load_engine(path) as engine:
        assert engine.backend in ("tensorrt", "openvino")
        assert f"engine sample runs on {engine.backend}" in caplog.text
        assert repr(engine).endswith(f"sample on {engine.backend}>")


def test_no_backend_is_told_with_every_reason(tmp_path: Path) -> None:
    path = tmp_path / "network.caffemodel"
    path.write_bytes(b"")
    with pytest.raises(BackendMissing, match=r"tensorrt: reads \.onnx; openvino: reads \.onnx, "):
        load_engine(path)
    path = write_sample_network(tmp_path / "sample.onnx").path
    with pytest.raises(BackendMissing, match=r"no backend is called 'cuda'; there are tensorrt"):
        load_engine(path, backend="cuda")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ModelMissing, match="did you mean 'face_detection_full_range'"):
        load_engine("face_detection_fullrange")
    with pytest.raises(ModelMissing, match="known names are"):
        load_engine("zzz")
    with pytest.raises(ModelMissing, match=r"nowhere/net\.onnx"):
        load_engine("nowhere/net.onnx")


@pytest.mark.parametrize(
    ("wrong", "told"), [({"threads": 0}, "threads"), ({"precision": "half"}, "precision.*'half'")]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, int | str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Options(**wrong)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("file", ["yunet_n_dynamic.onnx", "yunet_n_640_640.onnx"])
def test_yunet_is_the_same_through_both_backends(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (YUNET_FOLDER / file).is_file():
        pytest.skip("YuNet is not on this machine")
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path))
    add("yunet", YUNET_FOLDER / file)
    height, width = (640, 640) if "640" in file else (160, 224)
    pictures = np.random.default_rng(1).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    found = {}
    for backend in ("openvino", "onnxruntime"):
        with load_engine("yunet", backend=backend) as engine:
            assert engine.inputs[0].shape == (-1, *(engine.inputs[0].shape[1:3]), 3)
            found[backend] = engine.infer({"image": pictures})
    assert found["openvino"]["bbox_8"].shape == (2, height * width // 64, 4)
    for name, array in found["onnxruntime"].items():
        np.testing.assert_allclose(found["openvino"][name], array, atol=2e-3, rtol=1e-3)


def test_a_failure_inside_the_backend_names_engine_and_inputs(tmp_path: Path) -> None:
    engine = OnnxruntimeEngine(write_sample_network(tmp_path / "sample.onnx"))
    engine._names = ["one name too few"]
    with pytest.raises(InferenceError, match=r"engine sample: onnxruntime failed on image: uint8"):
        engine.infer(sample_arrays(1))
    engine.close()


def test_importing_the_package_imports_no_library() -> None:
    script = (
        "import sys, padflow.engines, padflow.engines.store; "
        "heavy = {'openvino', 'onnxruntime', 'numpy', 'tensorrt', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_public_names_are_all_there() -> None:
    assert set(padflow.engines.__all__) == set(padflow.engines._HOME)
    for name in padflow.engines.__all__:
        assert getattr(padflow.engines, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = padflow.engines.nothing


@given(content=st.binary(max_size=300))
def test_any_bytes_are_an_onnx_file_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    try:
        assert has_external_data(path) in (True, False)
    except ValueError:
        return


def test_a_network_without_a_suffix_is_told(tmp_path: Path) -> None:
    path = tmp_path / "network"
    path.write_bytes(b"x")
    assert Network("network", path, "").format == ""
    with pytest.raises(BackendMissing):
        load_engine(path)
