"""Commands that go on with what is in a folder refuse one that another process writes to."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.cli import main
from padflow.engines.locks import sole_writer
from padflow.trainers.attacks.portraits import load_portrait
from tests.trainers.stores import write_store

RECIPE = """
name: toy
task: Tells toys apart.
network: {name: patch_light, embedding: 8}
epochs: 1
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled pictures, one with a face, and a crop store to learn from."""
    for place in ("live", "attack/print"):
        (tmp_path / place).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "ada.png"), load_portrait("hopper").image[..., ::-1])
    write_store(tmp_path / "store", rows=8)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    return tmp_path


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "crops": lambda data: ["--data", str(data)],
    "synthesise": lambda data: ["--rows", "2"],
    "sequences": lambda data: ["--data", str(data)],
    "evidence": lambda data: ["--data", str(data)],
    "attacks": lambda data: [str(data / "ada.png"), "--quiet"],
    "train": lambda data: [
        *(str(data / "toy.yaml"), "--data", str(data / "store")),
        *("--run", str(data / "out"), "--resume"),
    ],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_of_two_is_refused(
    command: str, data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data / "out"
    bundle_or_store = data / "bundle" if command == "train" else out
    words = [command, *COMMANDS[command](data), "--out", str(bundle_or_store)]
    with sole_writer(out):
        assert main(words) == 2
        assert [path.name for path in out.iterdir()] == [".lock"]
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"padflow {command}: {out}: expected nobody else to write to it")


def test_a_store_of_a_killed_command_is_begun_again(
    data: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data / "out"
    out.mkdir()
    (out / ".lock").touch()
    (data / "live/a.png").unlink()
    (data / "ada.png").rename(data / "live/ada.png")
    assert main(["crops", "--data", str(data), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["order.json", "part-0000"]
