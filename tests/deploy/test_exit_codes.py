"""What is missing or not what it must be is one sentence and exit code 2, whatever the command."""

from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with padflow[train]")

from padflow.deploy.cli import main
from padflow.deploy.commands import crops
from padflow.engines.errors import BundleError, EngineError, NetworkError
from padflow.graph.errors import GraphError, NodeFailed, NodeNotOpened
from padflow.trainers.making import MakingFailed
from padflow.trainers.recipe import TrainingError, TrainingFailed
from tests.trainers.stores import write_store

TRAIN = ("train", "context", "--out", "bundle")
NETWORKS = ("--networks", "depth=BUNDLE", "--out", "study")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a crop store, an empty folder, and files that are nothing of what is asked."""
    place = tmp_path_factory.mktemp("place")
    write_store(place / "store", rows=24)
    (place / "empty").mkdir()
    (place / "file").write_bytes(b"nothing of it" * 40)
    for label in ("live", "attack/print"):
        (place / "set" / label).mkdir(parents=True)
        (place / "set" / label / "a.mp4").write_bytes(b"no video" * 99)
    return place


@pytest.mark.parametrize("what", ["gone", "empty", "file"])
@pytest.mark.parametrize(
    "words",
    [
        (*TRAIN, "--data", "WHAT"),
        (*TRAIN, "--data", "WHAT", "--workers", "2"),
        (*TRAIN, "--data", "store", "--validate", "WHAT"),
        (*TRAIN, "--data", "WHAT", "--folds", "a", "b"),
        (*TRAIN, "--data", "store", "--start", "WHAT"),
        ("train", "motion_depth", "--data", "WHAT", "--out", "bundle"),
        ("train", "pulse_depth", "--data", "WHAT", "--out", "bundle"),
        ("train", "fusion", "--data", "WHAT", "--out", "bundle"),
        ("train", "site", "--live", "file", "--base", "WHAT", "--out", "bundle"),
        ("train", "site", "--live", "file", "--data", "WHAT", "--out", "bundle"),
        ("study", "synthetic", "--store", "store", "--without", "p0", "p1", *NETWORKS),
        ("study", "real", "--store", "store", *NETWORKS),
        ("study", "live", "--store", "WHAT", *NETWORKS),
        ("study", "stream", "--evidence", "WHAT", "--out", "study"),
        ("study", "pulse", "--clips", "1", "--engine", "WHAT", "--out", "study"),
        ("models", "add", "yunet", "WHAT"),
        ("models", "pull", "face_mesh", "--from", "WHAT"),
        ("evidence", "--data", "set", "--out", "out", "--set", "depth_net.engine=WHAT"),
        ("run", "CLIP", "--quiet", "--set", "depth_net.engine=WHAT"),
        ("score", "CLIP", "--quiet", "--out", "TABLE", "--set", "depth_net.engine=WHAT"),
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_a_missing_or_wrong_input_is_wrong_use(
    words: tuple[str, ...],
    what: str,
    place: Path,
    grey_clip: Path,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = {path.name for path in place.iterdir()}
    put = {"WHAT": what, "depth=BUNDLE": f"depth={what}", "CLIP": str(grey_clip)}
    put["TABLE"] = str(tmp_path / "scores.csv")
    with monkeypatch.context() as context:
        context.chdir(place)
        context.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
        context.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or Lightning does
        context.setenv("PADFLOW_MODELS", str(tmp_path if words[0] == "models" else models))
        assert main([put.get(word, word.replace("=WHAT", f"={what}")) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"padflow {words[0]}: ")
    assert "a fault of padflow" not in line
    assert {path.name for path in place.iterdir()} == there, "nothing is left behind"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "context", "--data", "store", "--hold-out", "nobody"), "found nobody"),
        (("synthesise", "--rows", "2", "--out", "set"), "expected a crop store or an empty folder"),
        (("crops", "--data", "set", "--out", "set"), "expected a crop store or an empty folder"),
        (("sequences", "--data", "set"), "expected a face for long enough in one of the videos"),
        (("evidence", "--data", "set", "--quiet"), "a.mp4: expected a video"),
        (("run", "CLIP", "--quiet", "--video", "a.odd"), "expected a file ending in .mp4"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_nothing_that_could_be_processed_is_wrong_use(
    words: tuple[str, ...],
    told: str,
    place: Path,
    grey_clip: Path,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = [] if {"--out", "--video"} & set(words) else ["--out", str(tmp_path / "out")]
    monkeypatch.chdir(place)
    assert main([*(str(grey_clip) if word == "CLIP" else word for word in words), *out]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert told in lines[-1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrainingError("of the data"), 2),
        (TrainingFailed("the loss is nan"), 3),
        (MakingFailed("a process could not go on"), 3),
        (NetworkError("cannot be compiled"), 3),
        (EngineError("of another kind"), 3),
        (NodeNotOpened.of("depth_net", BundleError("no such network")), 2),
        (NodeNotOpened.of("depth_net", EngineError("the GPU is out of memory")), 3),
        (NodeNotOpened.of("capture", ValueError("no such device")), 2),
        (NodeNotOpened.of("publish", ConnectionError("nobody answers")), 3),
        (NodeFailed("raised ten times in a row"), 3),
        (GraphError("of another kind"), 3),
        (PermissionError(13, "Permission denied", "store"), 2),
        (KeyError("a fault of padflow"), 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_failed_is_told_apart_from_what_was_refused(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(args: object) -> int:
        raise error

    monkeypatch.setattr(crops, "run", fails)
    assert main(["crops", "--data", "set", "--out", "store"]) == code
