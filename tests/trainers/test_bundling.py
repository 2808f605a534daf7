from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from padflow.engines.bundle import Bundle, read_bundle
from padflow.engines.engine import load_engine
from padflow.trainers.bundling import make_bundle
from padflow.trainers.export import check_parity, to_f16, to_onnx
from padflow.trainers.networks import NetworkOptions, build_network
from padflow.trainers.recipe import TrainingError
from padflow.trainers.training import Trained, train
from tests.trainers.stores import write_store
from tests.trainers.test_training import recipe


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or the exporter sets it


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.set_num_threads(1)
    store = write_store(tmp_path_factory.mktemp("store"), rows=64, persons=4)
    run = tmp_path_factory.mktemp("run")
    return train(
        recipe(epochs=3, steps_per_epoch=20),
        store,
        run,
        tensorboard=False,
        extra_validation={"real": store},
        say=lambda line: None,
    )


@pytest.fixture(scope="module")
def made(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, tuple[str, ...]]:
    """Its bundle, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("made")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "torch"))
        bundle = make_bundle(
            trained, folder / "patch", quantise_with=[trained.store], say=lines.append
        )
    return bundle, tuple(lines)


def test_bundle_holds_network_calibration_and_numbers(
    made: tuple[Bundle, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle, lines = made
    manifest = read_bundle(bundle.folder).manifest
    assert bundle.manifest == manifest
    assert {"f32", "f16"} <= set(manifest.files)
    values = {metric.name: metric.value for metric in manifest.metrics}
    for role in ("f32", "f16", "bf16", "int8"):
        assert {f"acer_{role}", f"eer_{role}", f"cpu_ms_{role}"} <= set(values)
        assert any(line.startswith(role) for line in lines)
        if role in manifest.files:
            assert values[f"acer_{role}"] - values["acer_f32"] < 0.002
    assert values["eer_f32"] < 0.1
    assert values["auc_real"] > 0.9
    assert max(values["difference_openvino"], values["difference_onnxruntime"]) <= 1e-4
    assert manifest.calibration is not None
    assert manifest.calibration.parameters["slope"] > 0
    assert (
        str(tmp_path_factory.getbasetemp()) not in bundle.folder.joinpath("bundle.json").read_text()
    )
    source = str(Path(__file__).parents[2]).encode()
    assert all(source not in path.read_bytes() for path in bundle.folder.iterdir())


@pytest.mark.parametrize("precision", ["f32", "f16", "int8"])
def test_the_bundle_says_what_the_network_says(
    trained: Trained, made: tuple[Bundle, tuple[str, ...]], precision: str
) -> None:
    bundle, _ = made
    assert precision in bundle.manifest.files
    crops = trained.store.take("patches", range(12))[:, 0]
    with torch.inference_mode():
        expected = trained.network(torch.from_numpy(crops))
    with load_engine(bundle.folder, precision=precision) as engine:  # type: ignore[arg-type]
        found = engine.infer({"image": crops})
    if precision == "int8":
        live = trained.store.live[:12]
        assert found["score"][live].min() > found["score"][~live].max()
        return
    close = {"f32": 1e-4, "f16": 0.1}[precision]
    for name in ("score", "strangeness", "embedding"):
        np.testing.assert_allclose(found[name], getattr(expected, name), atol=close, rtol=close)


def test_central_differences_and_depth_are_exported(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_network("depth_light", NetworkOptions(theta=0.7, width=0.5)).eval()
    exported = to_onnx(network, tmp_path / "depth.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    assert max(check_parity(network, exported, crops).values()) <= 1e-4
    halved = to_f16(network, exported.path, tmp_path / "depth-f16.onnx")
    assert halved.path.stat().st_size < 0.85 * exported.path.stat().st_size
    with pytest.raises(TrainingError, match=r"expected the values of PyTorch within 0\.0001"):
        check_parity(network, halved, crops)


def test_a_network_without_evidence_gets_no_bundle(trained: Trained, tmp_path: Path) -> None:
    upside_down = build_network("patch_light", NetworkOptions(embedding=8)).eval()
    upside_down.load_state_dict(trained.network.state_dict())
    with torch.no_grad():
        upside_down.head.score.weight.neg_()
        upside_down.head.score.bias.neg_()
    with pytest.raises(TrainingError, match="score no higher than attacks"):
        make_bundle(
            replace(trained, network=upside_down),
            tmp_path / "b",
            files=["f32"],
            say=lambda line: None,
        )
    assert not (tmp_path / "b").exists()
