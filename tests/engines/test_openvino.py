"""OpenVINO: conformance, what it puts into third-party networks, and what engines share."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.engines import NetworkError, load_engine
from padflow.engines.engine import open_network
from padflow.engines.network import Network, Options
from padflow.engines.openvino import _POOL, OpenvinoEngine
from padflow.engines.store import stored_network
from padflow.engines.testing import EngineConformance, sample_arrays, write_sample_network


class TestOpenvino(EngineConformance):
    backend = "openvino"


@pytest.mark.parametrize(
    ("name", "size", "shapes"),
    [
        ("face_mesh", 192, {"landmarks": (468, 3), "presence": (1,)}),
        ("face_detection_short_range", 128, {"regressors": (896, 16), "scores": (896, 1)}),
        ("face_detection_full_range", 192, {"regressors": (2304, 16), "scores": (2304, 1)}),
    ],
)
def test_pulled_models_take_pictures_of_any_batch(
    models: Path, name: str, size: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    pictures = np.random.default_rng(3).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    with load_engine(name) as engine:
        assert (engine.backend, engine.precision) == ("openvino", "f32")
        assert {s.name: s.shape[1:] for s in engine.outputs} == shapes
        together = engine.infer({"image": pictures})
        alone = [engine.infer({"image": picture[None]}) for picture in pictures]
    for output, shape in shapes.items():
        assert together[output].shape == (3, *shape)
        np.testing.assert_array_equal(together[output], np.concatenate([a[output] for a in alone]))


@pytest.mark.parametrize(
    ("name", "mean", "scale"), [("face_mesh", 0, 255), ("face_detection_short_range", 127.5, 127.5)]
)
def test_normalisation_is_inside_the_network(
    models: Path, name: str, mean: float, scale: float
) -> None:
    """The uint8 network equals the bare file fed with numbers that were normalised by hand."""
    network = stored_network(name)
    bare = replace(network, preprocessing=None, inputs=(), outputs=(), native={})
    with (
        load_engine(name, precision="f32") as engine,
        open_network(bare, "openvino", Options(precision="f32")) as raw,
    ):
        shape = (1, *engine.inputs[0].shape[1:])
        picture = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
        numbers = ((picture.astype(np.float32) - mean) / scale).astype(np.float32)
        expected = raw.infer({raw.inputs[0].name: numbers})
        found = engine.infer({"image": picture})
    native = network.native
    for output, array in found.items():
        reference = expected[native[output]].reshape(array.shape)
        np.testing.assert_allclose(array, reference, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "side"), [("face_detection_full_range", 192), ("face_detection_short_range", 128)]
)
def test_detectors_say_the_same_in_the_precision_of_the_processor(
    models: Path, name: str, side: int
) -> None:
    data = pytest.importorskip("skimage.data", reason="needs padflow[demo] for a portrait")
    portrait = data.astronaut()[:384, 64:448]
    picture = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)[None]
    with load_engine(name) as engine, load_engine(name, precision="f32") as exact:
        found, expected = engine.infer({"image": picture}), exact.infer({"image": picture})
    best = int(expected["scores"].argmax())
    logits = found["scores"][0, best, 0], expected["scores"][0, best, 0]
    scores = [1 / (1 + np.exp(-logit)) for logit in logits]
    assert scores[1] > 0.8
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    numbers, exactly = found["regressors"][0, best], expected["regressors"][0, best]
    # Box and six keypoints within 3 % of the face's width.
    assert np.abs(numbers - exactly).max() < 0.03 * exactly[2]


def test_a_face_is_found_where_there_is_one(models: Path) -> None:
    """The mesh tells a face from noise, so the picture reaches it as it was meant to."""
    data = pytest.importorskip("skimage.data", reason="needs padflow[demo] for a portrait")
    portrait = data.astronaut()[:280, 80:360]
    face = cv2.resize(portrait[0:256, 40:280], (192, 192))
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8)
    with load_engine("face_mesh") as engine:
        found = engine.infer({"image": np.stack([face, noise])})
    assert found["presence"][0, 0] > found["presence"][1, 0] + 5
    landmarks = found["landmarks"][0]
    assert 0 < landmarks[:, 0].min() < landmarks[:, 0].max() < 192


def test_engines_share_a_compiled_model_until_they_run_at_once(tmp_path: Path) -> None:
    network = write_sample_network(tmp_path / "shared.onnx")
    before = len(_POOL._compiled)
    engines = [OpenvinoEngine(network) for _ in range(3)]
    expected = [engine.infer(sample_arrays(1))["score"] for engine in engines]
    common = engines[0]._compiled
    assert common is not None
    assert [engine._compiled for engine in engines] == [common] * 3
    with common.busy:  # As it is while another thread runs on it.
        moved = [engine.infer(sample_arrays(1))["score"] for engine in engines[1:]]
    assert engines[1]._compiled is engines[2]._compiled is not common
    np.testing.assert_array_equal([*moved, engines[0].infer(sample_arrays(1))["score"]], expected)
    for engine in engines:
        engine.close()
    assert len(_POOL._compiled) == before


def test_settings_are_those_that_were_measured_to_be_right(tmp_path: Path) -> None:
    network = write_sample_network(tmp_path / "f32.onnx")
    with OpenvinoEngine(network, Options(threads=2, precision="f32")) as engine:
        compiled = engine._compiled
        assert compiled is not None
        model = compiled.model
        assert model.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
        assert model.get_property("ENABLE_CPU_PINNING") is False
        assert model.get_property("INFERENCE_NUM_THREADS") == 2
        assert model.get_property("NUM_STREAMS") == 1


def test_garbage_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "garbage.onnx"
    path.write_bytes(b"not a network at all" * 9)
    for backend in ("openvino", "onnxruntime"):
        with pytest.raises(
            NetworkError, match=r"engine g: .* cannot load garbage\.onnx"
        ) as refusal:
            open_network(Network("g", path, "0" * 64), backend)
        assert "\n" not in str(refusal.value)


def test_infer_runs_in_the_calling_thread(models: Path) -> None:
    """Other threads' work would not be seen in the CPU time that nodes are charged with."""
    picture = np.zeros((1, 192, 192, 3), np.uint8)

    def cost(work: Callable[[], object], clock: Callable[[], float]) -> float:
        start = clock()
        for _ in range(50):
            work()
        return (clock() - start) / 50

    with OpenvinoEngine(stored_network("face_mesh")) as engine:
        engine.infer({"image": picture})
        # The best of several rounds: a neighbour's noise only ever adds.
        ours, whole = (
            min(cost(lambda: engine.infer({"image": picture}), clock) for _ in range(3))
            for clock in (time.thread_time, time.process_time)
        )
    assert whole < 1.5 * ours, "most of the work was done by other threads"


def test_loading_an_engine_reports_to_nobody(tmp_path: Path) -> None:
    """OpenVINO's telemetry is neither imported nor started; a process of its own sees it afresh."""
    network = write_sample_network(tmp_path / "sample.onnx")
    script = (
        "import sys, threading; from padflow.engines import load_engine; "
        f"load_engine({str(network.path)!r}, backend='openvino').close(); "
        "print([m for m in sys.modules if 'openvino_telemetry' in m], threading.active_count())"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split("\n")[0] == "[] 1"
