"""Bundles: what is written is read back, and nothing that was changed is ever loaded."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.engines import BundleError, load_engine
from padflow.engines.bundle import (
    MANIFEST,
    SHIPPED,
    SUMS,
    About,
    Calibration,
    CropRule,
    Manifest,
    Metric,
    Setting,
    Training,
    _sums,
    bundle_folders,
    read_bundle,
    write_bundle,
)
from padflow.engines.testing import (
    SAMPLE_INPUTS,
    SAMPLE_OUTPUTS,
    sample_arrays,
    write_sample_network,
)

MANIFEST_OF_SAMPLE = Manifest(
    about=About(name="sample", version="1.0.0", task="tests bundles", licence="Apache-2.0"),
    inputs=SAMPLE_INPUTS,
    outputs=SAMPLE_OUTPUTS,
    crop=CropRule(scale=1.5, size=16, alignment="eyes"),
    calibration=Calibration(
        method="logistic", parameters={"slope": 1.5, "intercept": -0.25}, fitted_on="held-out set"
    ),
    metrics=(
        Metric(
            name="ACER", value=0.031, unit="", data="set", method="10 seeds", interval=(0.02, 0.04)
        ),
    ),
    training=Training(
        data=("set",),
        recipe="sample",
        seed=7,
        settings={"epochs": 3, "lr": 1e-3, "held_out_media": ("Sons, Inc.", "printer-1")},
    ),
    files={},
)


def write_sample_bundle(folder: Path) -> Path:
    network = write_sample_network(folder.parent / "sample.onnx")
    card = folder.parent / "card.md"
    card.write_text("# sample\n")
    write_bundle(folder, MANIFEST_OF_SAMPLE, {"f32": network.path, "card": card})
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_sample_bundle(tmp_path / "sample")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_bundle(tmp_path_factory.mktemp("bundles") / "sample")


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as somebody would who also knows how to write the sums."""
    content = json.loads((folder / MANIFEST).read_bytes())
    change(content)
    data = json.dumps(content).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / SUMS).write_bytes(_sums(data))


def test_what_is_written_is_read_back(bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    assert set(manifest.files) == {"f32", "card"}
    assert replace(manifest, files={}) == MANIFEST_OF_SAMPLE
    assert {p.name for p in bundle.iterdir()} == {MANIFEST, SUMS, "sample.onnx", "card.md"}
    assert [p.name for p in bundle.parent.iterdir() if p.name.startswith(".")] == []


def test_names_held_out_are_a_list_or_the_text_of_earlier_bundles() -> None:
    def held_out(told: Setting) -> tuple[str, ...]:
        training = replace(MANIFEST_OF_SAMPLE.training, settings={"held_out_media": told})
        return training.held_out("media")

    assert held_out(("Sons, Inc.", "printer-1")) == ("Sons, Inc.", "printer-1")
    assert held_out("display-06, printer-1") == ("display-06", "printer-1")
    assert held_out("") == held_out(()) == ()
    shipped = read_bundle(bundle_folders()["views"]).manifest.training
    assert shipped.held_out("persons") == ("P1", "P3", "P5")
    assert shipped.held_out("cameras") == ()
    extended = read_bundle(bundle_folders()["views_parts"]).manifest.training
    assert extended.held_out("persons") == shipped.held_out("persons")
    assert set(extended.held_out("media")) == set(shipped.held_out("media"))
    assert extended.data[1] == f"views, before: {shipped.data[0]}"


def test_a_bundle_runs_with_its_declared_tensors(bundle: Path) -> None:
    for backend in ("openvino", "onnxruntime"):
        with load_engine(bundle, backend=backend) as engine:
            assert engine.inputs == SAMPLE_INPUTS
            assert engine.outputs == SAMPLE_OUTPUTS
            assert engine.manifest is not None
            assert engine.manifest.crop == CropRule(scale=1.5, size=16, alignment="eyes")
            assert engine.sha256 == engine.manifest.files["f32"].sha256
            assert engine.infer(sample_arrays(2))["score"].shape == (2, 2)


def test_a_bundle_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path))
    write_sample_bundle(tmp_path / "mine")
    assert bundle_folders()["mine"] == tmp_path / "mine"
    with load_engine("mine") as engine:
        assert engine.name == "sample"


def test_a_shipped_bundle_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "shipped").mkdir()
    ours = write_sample_bundle(tmp_path / "shipped" / "depth")
    write_sample_bundle(tmp_path / "user" / "depth")
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path / "user"))
    monkeypatch.setattr("padflow.engines.bundle.SHIPPED", tmp_path / "shipped")
    assert bundle_folders()["depth"] == ours


SHIPPED_NAMES = [folder.parent.name for folder in sorted(SHIPPED.glob(f"*/{MANIFEST}"))]
NONE_SHIPPED = pytest.param("", marks=pytest.mark.skip(reason="padflow ships no bundle yet"))


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("name", SHIPPED_NAMES or [NONE_SHIPPED])
def test_every_shipped_bundle_is_whole_and_runs(name: str) -> None:
    with load_engine(name) as engine:
        arrays = {
            s.name: np.zeros([1 if n == -1 else n for n in s.shape], s.dtype) for s in engine.inputs
        }
        assert engine.infer(arrays).keys() == {spec.name for spec in engine.outputs}


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_flipped_or_missing_byte_is_loaded(pristine: Path, data: st.DataObject) -> None:
    """Whatever file, wherever, however little: BundleError and nothing else."""
    victim = data.draw(st.sampled_from(sorted(p.name for p in pristine.iterdir())))
    original = (pristine / victim).read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    if data.draw(st.booleans()):
        changed = original[:position]
    else:
        flipped = original[position] ^ data.draw(st.integers(1, 255))
        changed = original[:position] + bytes([flipped]) + original[position + 1 :]
    try:
        (pristine / victim).write_bytes(changed)
        with pytest.raises(BundleError, match="bundle "):
            read_bundle(pristine)
    finally:
        (pristine / victim).write_bytes(original)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_resealed_manifest_loads_whole_or_not_at_all(pristine: Path, data: st.DataObject) -> None:
    """Values of any kind in any place: a valid manifest or a BundleError, never a traceback."""
    originals = {name: (pristine / name).read_bytes() for name in (MANIFEST, SUMS)}

    def change(content: dict[str, Any]) -> None:
        place: Any = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = data.draw(st.sampled_from(keys))
            deeper = isinstance(place[key], dict | list) and data.draw(st.booleans())
            if not deeper:
                break
            place = place[key]
        if data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = data.draw(_VALUES)

    try:
        reseal(pristine, change)
        try:
            found = read_bundle(pristine)
        except BundleError:
            return
        assert found.network().path.is_relative_to(pristine)
    finally:
        for name, content in originals.items():
            (pristine / name).write_bytes(content)


@settings(max_examples=60, deadline=None)
@given(text=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_as_manifest_are_refused(pristine: Path, text: bytes) -> None:
    originals = {name: (pristine / name).read_bytes() for name in (MANIFEST, SUMS)}
    try:
        (pristine / MANIFEST).write_bytes(text)
        (pristine / SUMS).write_bytes(_sums(text))
        with pytest.raises(BundleError):
            read_bundle(pristine)
    finally:
        for name, content in originals.items():
            (pristine / name).write_bytes(content)


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("format_version", to=2), r"expected format_version 1, found 2"),
        (_set("format_version", to="1"), r"expected format_version 1, found '1'"),
        (_set("calibraton", to=None), r"calibraton: unknown key; did you mean 'calibration'\?"),
        (_set("about", "nmae", to="x"), r"about\.nmae: unknown key; did you mean 'name'\?"),
        (_set("inputs", "0", "shpae", to=[1]), r"did you mean 'shape'\?"),
        (_set("about", "version", to="one"), r"about\.version"),
        (_set("crop", "scale", to=-1.0), r"crop\.scale: .* greater than 0, found -1\.0"),
        (_set("crop", "size", to="256"), r"crop\.size"),
        (_set("calibration", "parameters", "slope", to=float("nan")), "finite"),
        (_set("inputs", "0", "dtype", to="object"), "'object' is no dtype"),
        (_set("inputs", "0", "layout", to="NC"), "letter of the layout"),
        (_set("inputs", "0", "meaning", to=""), "meaning is not told"),
        (_set("inputs", "0", "shape", to=[-1, 0, 16, 3]), "no shape"),
        (_set("outputs", "0", "name", to="image"), "'image' is declared twice"),
        (_set("files", to={}), "files name no network"),
        (_set("files", "f32", "path", to="../sample.onnx"), "leads out of the bundle"),
        (_set("files", "f32", "path", to="/etc/hostname"), "leads out of the bundle"),
        (_set("files", "f32", "path", to="sub\\sample.onnx"), "leads out of the bundle"),
        (_set("files", "f32", "path", to="none.onnx"), r"none\.onnx is missing"),
        (_set("files", "f32", "path", to="card.md"), "bytes"),
        (_set("files", "f32", "sha256", to="0" * 64), "expected SHA-256 000000000000…, found"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_reason(
    bundle: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    reseal(bundle, change)
    with pytest.raises(BundleError, match=told) as refusal:
        read_bundle(bundle)
    assert "\n" not in str(refusal.value)


def test_a_key_that_stands_twice_is_refused(bundle: Path) -> None:
    data = (bundle / MANIFEST).read_bytes().replace(b'{\n  "about"', b'{"crop": null,\n  "about"')
    (bundle / MANIFEST).write_bytes(data)
    (bundle / SUMS).write_bytes(_sums(data))
    with pytest.raises(BundleError, match="stands twice"):
        read_bundle(bundle)


def test_nesting_without_end_is_refused(bundle: Path) -> None:
    data = b"[" * 200_000
    (bundle / MANIFEST).write_bytes(data)
    (bundle / SUMS).write_bytes(_sums(data))
    with pytest.raises(BundleError):
        read_bundle(bundle)


def test_a_link_out_of_the_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(bundle / "sample.onnx", outside)
    (bundle / "sample.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        read_bundle(bundle)


def test_a_link_to_itself_is_refused(bundle: Path) -> None:
    (bundle / "sample.onnx").unlink()
    (bundle / "sample.onnx").symlink_to("sample.onnx")
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(bundle)


@pytest.mark.parametrize("missing", [MANIFEST, SUMS, "sample.onnx"])
def test_a_missing_file_is_told(bundle: Path, missing: str) -> None:
    (bundle / missing).unlink()
    with pytest.raises(BundleError, match=missing):
        read_bundle(bundle)


def test_strangers_in_the_folder_are_told_but_not_loaded(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (bundle / "weights.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with caplog.at_level(logging.WARNING):
        read_bundle(bundle)
    assert "weights.pkl" in caplog.text


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("inputs", "0", "shape", to=[-1, 32, 32, 3]), r"\(any, 32, 32, 3\).*\(any, 16, 16, 3"),
        (_set("inputs", "1", "name", to="memory"), "'memory'.*'state'"),
        (_set("outputs", "0", "dtype", to="float64"), "float64.*float32"),
        (_set("outputs", to=[]), "outputs"),
    ],
)
def test_a_manifest_that_disagrees_with_the_network_is_refused(
    bundle: Path, change: Callable[[dict[str, Any]], None], told: str, backend: str
) -> None:
    reseal(bundle, change)
    with pytest.raises(BundleError, match=told):
        load_engine(bundle, backend=backend)


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    write_sample_network(tmp_path / "inner.onnx")
    model = onnx.load(tmp_path / "inner.onnx")
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(BundleError, match="keeps weights in another file"):
        write_bundle(tmp_path / "b", MANIFEST_OF_SAMPLE, {"f32": path})
    assert not (tmp_path / "b").exists()


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    for content in (b"hello world, hello", b"\x3a\xff\xff\xff\x7f", b""):
        path = tmp_path / "text.onnx"
        path.write_bytes(content)
        with pytest.raises(BundleError):
            write_bundle(tmp_path / "b", MANIFEST_OF_SAMPLE, {"f32": path})
    assert [p.name for p in tmp_path.iterdir()] == ["text.onnx"]


def test_rewriting_replaces_a_bundle_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    newer = replace(MANIFEST_OF_SAMPLE, about=replace(MANIFEST_OF_SAMPLE.about, version="1.1.0"))
    write_bundle(bundle, newer, {"f32": tmp_path / "sample.onnx"})
    assert read_bundle(bundle).manifest.about.version == "1.1.0"
    assert not (bundle / "card.md").exists()
    with pytest.raises(BundleError, match="cannot copy"):
        write_bundle(bundle, newer, {"f32": tmp_path / "nowhere.onnx"})
    assert read_bundle(bundle).manifest.about.version == "1.1.0"
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter").write_text("1")
    with pytest.raises(BundleError, match="is no bundle"):
        write_bundle(other, newer, {"f32": tmp_path / "sample.onnx"})
    assert (other / "chapter").read_text() == "1"


def test_precision_chooses_the_file(tmp_path: Path) -> None:
    network = write_sample_network(tmp_path / "a.onnx")
    shutil.copy(network.path, tmp_path / "b.onnx")
    files = {"f32": network.path, "int8": tmp_path / "b.onnx"}
    both = write_bundle(tmp_path / "both", MANIFEST_OF_SAMPLE, files)
    assert both.network().path.name == "b.onnx"
    assert both.network("f32").path.name == "a.onnx"
    assert both.network("bf16").path.name == "a.onnx"
    one = write_bundle(tmp_path / "one", MANIFEST_OF_SAMPLE, {"f32": network.path})
    with pytest.raises(BundleError, match="precision int8, found f32"):
        one.network("int8")
