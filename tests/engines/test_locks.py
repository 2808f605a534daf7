"""A folder has one writer: others are refused, and a killed one bars nobody."""

import fcntl
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from padflow.engines.errors import FolderInUse
from padflow.engines.locks import LOCK, sole_writer

HOLDS = """
import sys
from pathlib import Path
from padflow.engines.locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "part").write_text("")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with sole_writer(tmp_path):
        told = "expected nobody else to write to it, found another process doing so; wait for"
        with pytest.raises(FolderInUse, match=f"{tmp_path.name}: {told}"), sole_writer(tmp_path):
            pass
        assert (tmp_path / LOCK).is_file()
    assert not list(tmp_path.iterdir())
    with sole_writer(tmp_path):
        pass
    with pytest.raises(ValueError, match="of the writer"), sole_writer(tmp_path):
        raise ValueError("of the writer")
    with sole_writer(tmp_path):
        pass


def test_a_folder_that_nothing_was_written_to_is_not_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with sole_writer(folder):
        pass
    assert not folder.exists()
    with sole_writer(folder):
        (folder / "part").touch()
    assert [path.name for path in folder.iterdir()] == ["part"]


def test_a_killed_writer_bars_nobody(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDS, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse), sole_writer(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).is_file()
    with sole_writer(tmp_path):
        assert (tmp_path / "part").is_file()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_its_holder_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(file: Any, how: int) -> None:
        (tmp_path / LOCK).unlink()  # between our opening it and locking it

    with monkeypatch.context() as system:
        system.setattr(fcntl, "flock", slow)
        with pytest.raises(FolderInUse), sole_writer(tmp_path):
            pass
    with sole_writer(tmp_path):
        pass
