"""TensorRT: parsing, building and the plan cache, which need no GPU; what needs one skips."""

import json
import logging
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from padflow.engines import BackendMissing, NetworkError
from padflow.engines.bundle import MANIFEST, SHIPPED, read_bundle
from padflow.engines.network import Network
from padflow.engines.plan import (
    PlanKey,
    build_plan_bytes,
    cached_plan,
    plan_folder,
    plan_path,
    profile_shapes,
    weak_flag,
    why_unusable,
)
from padflow.engines.registry import MODELS
from padflow.engines.store import _network
from padflow.engines.tensorrt import TensorrtEngine, build_plan
from padflow.engines.testing import EngineConformance, write_sample_network

trt = pytest.importorskip("tensorrt_rtx", reason="needs padflow[dev] for the builder")

KEY = PlanKey(
    library="tensorrt",
    library_version="10.9.0",
    gpu="NVIDIA L4",
    compute_capability="8.9",
    precision="f32",
    onnx_sha256="ab" * 32,
    max_batch=32,
)


class TestTensorrt(EngineConformance):
    """The whole contract, on machines that have a GPU."""

    backend = "tensorrt"
    tolerance = 1e-3


SHIPPED_FILES = [
    pytest.param(manifest.parent, role, id=f"{manifest.parent.name}-{role}")
    for manifest in sorted(SHIPPED.glob(f"*/{MANIFEST}"))
    for role in json.loads(manifest.read_bytes())["files"]
    if role in ("f32", "f16", "bf16", "int8")
]
NONE_SHIPPED = pytest.param(
    None, "", marks=pytest.mark.skip(reason="padflow ships no bundle yet"), id="none"
)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(("folder", "role"), SHIPPED_FILES or [NONE_SHIPPED])
def test_every_shipped_network_parses_and_builds(folder: Path, role: Any) -> None:
    network = read_bundle(folder).network(role)
    assert len(build_plan_bytes(trt, network, network.precision)) > 1000


def test_a_network_with_state_and_any_batch_builds(tmp_path: Path) -> None:
    network = write_sample_network(tmp_path / "sample.onnx")
    small = build_plan_bytes(trt, network, "auto", max_batch=4)
    exact = build_plan_bytes(trt, network, "f32", max_batch=64)
    assert min(len(small), len(exact)) > 1000
    fixed = write_sample_network(tmp_path / "one.onnx", batch=1)
    assert len(build_plan_bytes(trt, fixed, "auto")) > 1000


def test_garbage_is_refused_with_what_the_library_said(tmp_path: Path) -> None:
    path = tmp_path / "garbage.onnx"
    path.write_bytes(b"no network at all")
    with pytest.raises(NetworkError, match=r"tensorrt_rtx .* cannot parse garbage\.onnx: .+"):
        build_plan_bytes(trt, Network("g", path, ""), "auto")


def test_a_precision_that_the_library_cannot_give_is_refused(tmp_path: Path) -> None:
    """TensorRT-RTX and TensorRT 11 are strongly typed; TensorRT 10 has a flag."""
    network = write_sample_network(tmp_path / "sample.onnx")
    with pytest.raises(NetworkError, match="not written in f16"):
        build_plan_bytes(trt, network, "f16")
    assert weak_flag(trt, replace(network, precision="f16"), "f16") is None
    assert weak_flag(trt, network, "int8") is None


def test_only_the_batch_may_be_of_any_length(tmp_path: Path) -> None:
    network = Network("n", tmp_path / "n.onnx", "")
    assert profile_shapes(network, "x", (1, 3), 8) is None
    assert profile_shapes(network, "x", (-1, 3), 4) == ((1, 3), (4, 3), (4, 3))
    assert profile_shapes(network, "x", (-1, 3), 32) == ((1, 3), (8, 3), (32, 3))
    with pytest.raises(NetworkError, match="only the batch of input x"):
        profile_shapes(network, "x", (-1, 3, -1), 8)


def test_plans_lie_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert plan_folder() == tmp_path / "padflow" / "plans"
    name = plan_path(plan_folder(), "depth", KEY).name
    assert name == "depth-abababab-f32-tensorrt-nvidia-l4-sm89.plan"


def test_a_plan_is_built_once(tmp_path: Path) -> None:
    builds: list[bytes] = []

    def build() -> bytes:
        builds.append(b"plan")
        return b"plan"

    paths = {cached_plan("n", KEY, build, folder=tmp_path) for _ in range(3)}
    assert len(builds) == 1
    assert paths.pop().read_bytes() == b"plan"
    cached_plan("n", KEY, build, least_batch=1, folder=tmp_path)
    assert len(builds) == 1
    cached_plan("n", replace(KEY, max_batch=64), build, folder=tmp_path)
    assert len(builds) == 2
    cached_plan("n", KEY, build, folder=tmp_path)
    assert len(builds) == 2, "a plan for larger batches serves as well"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"library_version": "11.0.1"}, r"library version 10\.9\.0 \(here: 11\.0\.1\)"),
        ({"compute_capability": "9.0"}, "there is none yet"),
        ({"precision": "f16"}, "there is none yet"),
        ({"onnx_sha256": "cd" * 32}, "there is none yet"),
        ({"onnx_sha256": "ab" * 31 + "ff"}, "onnx sha256 abab"),
        ({"max_batch": 64}, "batches to 32, 64 is wanted"),
    ],
)
def test_a_plan_for_something_else_is_built_anew_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: dict[str, Any], told: str
) -> None:
    cached_plan("n", KEY, lambda: b"old", folder=tmp_path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        path = cached_plan("n", replace(KEY, **other), lambda: b"new", folder=tmp_path)
    assert path.read_bytes() == b"new"
    assert re.search(told, caplog.text)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda plan, header: plan.write_bytes(b"plam"), "its bytes"),
        (lambda plan, header: header.unlink(), "no header"),
        (lambda plan, header: header.write_text("{"), "cannot be read"),
        (lambda plan, header: header.write_text("[]"), "cannot be read"),
        (lambda plan, header: header.write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda plan, header: header.write_text('{"header_version": 9}'), "another version"),
    ],
)
def test_a_damaged_plan_is_built_anew(tmp_path: Path, damage: Any, told: str) -> None:
    path = cached_plan("n", KEY, lambda: b"plan", folder=tmp_path)
    damage(path, path.with_suffix(".json"))
    assert told in why_unusable(path, KEY)
    assert cached_plan("n", KEY, lambda: b"anew", folder=tmp_path).read_bytes() == b"anew"
    assert why_unusable(path, KEY) == ""


def test_a_plan_copied_from_another_gpu_is_foreign(tmp_path: Path) -> None:
    theirs = cached_plan("n", KEY, lambda: b"plan", folder=tmp_path)
    here = replace(KEY, gpu="NVIDIA T4", compute_capability="7.5")
    ours = plan_path(tmp_path, "n", here)
    ours.write_bytes(theirs.read_bytes())
    ours.with_suffix(".json").write_bytes(theirs.with_suffix(".json").read_bytes())
    assert "gpu NVIDIA L4 (here: NVIDIA T4)" in why_unusable(ours, here)


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise NetworkError("no")

    with pytest.raises(NetworkError):
        cached_plan("n", KEY, fail, folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


BUILD_SLOWLY = """
import json, sys, time
from pathlib import Path
from padflow.engines.plan import PlanKey, cached_plan

folder = Path(sys.argv[1])

def build():
    with (folder / "builds").open("a") as file:
        file.write("x")
    time.sleep(0.3)
    return b"plan"

cached_plan("n", PlanKey(**json.loads(sys.argv[2])), build, folder=folder)
"""


def test_one_process_builds_and_the_others_wait(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILD_SLOWLY, str(tmp_path), json.dumps(asdict(KEY))]
    workers = [subprocess.Popen(command) for _ in range(4)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 4
    assert (tmp_path / "builds").read_text() == "x"
    assert why_unusable(plan_path(tmp_path, "n", KEY), KEY) == ""


def test_without_a_gpu_it_says_what_is_missing(tmp_path: Path) -> None:
    lack = TensorrtEngine.lack()
    if not lack:
        pytest.skip("this machine has a GPU")
    assert "padflow[gpu]" in lack or "NVIDIA" in lack
    with pytest.raises(BackendMissing, match="tensorrt: "):
        build_plan(write_sample_network(tmp_path / "sample.onnx").path)


def test_networks_of_others_stay_on_the_cpu() -> None:
    yunet = _network(MODELS["yunet"], Path("yunet.onnx"), "")
    assert "on the CPU" in TensorrtEngine.refuses(yunet)
