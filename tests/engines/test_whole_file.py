import os
import stat
import threading
from pathlib import Path

import pytest

from padflow.engines.whole_file import whole_file, write_whole


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with whole_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_in_the_middle_leaves_the_old_file_and_nothing_aside(
    error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as part:
            part.write_text("ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_taken_leaves_nothing_aside(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError, match="gone"):
        write_whole(tmp_path / "gone" / "numbers.txt", "text")


def test_two_writers_at_once_do_not_share_a_file_aside(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    both = threading.Barrier(2, timeout=60)

    def write(letter: str) -> None:
        with whole_file(path) as part, part.open("w") as file:
            both.wait()  # both have begun
            file.write(letter * 5000)
            file.flush()
            both.wait()  # neither has ended

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in ("a" * 5000, "b" * 5000)
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_may_be_as_long_as_the_file_system_goes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")
    write_whole(path, "text")
    assert path.read_text() == "text"


def test_content_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    write_whole(path, "ä\r\n\u2028", sync=True)
    assert path.read_bytes() == "ä\r\n\u2028".encode()
    write_whole(path, b"\x00\r\n")
    assert path.read_bytes() == b"\x00\r\n"


def test_the_mode_is_that_of_new_files_or_the_one_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "usual", "text")
        write_whole(tmp_path / "asked", "text", mode=0o644)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"usual": 0o640, "asked": 0o644}
