"""``padflow models``: what is told of models and bundles, whole and damaged."""

from pathlib import Path

import pytest

from padflow.deploy.cli import main
from padflow.engines.bundle import bundle_folders
from padflow.engines.store import known_model


def test_list_and_verify_tell_of_whole_models(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list"]) == 0
    assert "face_mesh" in capsys.readouterr().out
    assert main(["models", "verify"]) == 0
    bundles = len(bundle_folders())
    assert f"{bundles} of {bundles} bundles" in capsys.readouterr().out


def test_pull_from_a_folder_and_find_the_damage_done_later(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PADFLOW_MODELS", str(tmp_path))
        assert main(["models", "pull", "face_mesh", "--from", str(models)]) == 0
        file = tmp_path / known_model("face_mesh").file
        data = bytearray(file.read_bytes())
        data[1000] ^= 1
        file.write_bytes(data)
        capsys.readouterr()

        code = main(["models", "verify"])

    assert code == 3
    assert "model face_mesh" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pull", "face_mash"), "face_mesh"),
        (("pull", "yunet"), "padflow models add yunet"),
        (("add", "face_mash", __file__), "face_mesh"),
        (("add", "yunet", "nothing.onnx"), "no file nothing.onnx"),
    ],
)
def test_a_wrong_name_or_file_is_wrong_use_in_one_line(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("padflow models: ")
    assert told in line
