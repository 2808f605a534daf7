from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.trainers.sources import (
    SourceFilesError,
    duration_of,
    people_by_source,
    persons_of,
    read_people,
    source_files,
)


def test_folders_are_searched_and_each_file_is_taken_once(tmp_path: Path) -> None:
    for name in ("b/2.mp4", "b/10.mp4", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "notes.txt").write_text("x")
    clip = tmp_path / "b" / "10.mp4"
    found = source_files([clip, tmp_path / "b", tmp_path / "a.png"])
    assert [file.name for file in found] == ["10.mp4", "2.mp4", "a.png"]


def test_a_name_that_is_no_text_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.mp4").write_bytes(b"x")
    with pytest.raises(SourceFilesError, match="expected a name in UTF-8"):
        source_files([tmp_path])


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone.mp4", "found nothing"), ("notes.txt", "another kind of file"), ("empty", "found none")],
)
def test_a_source_that_cannot_be_used_is_named(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceFilesError, match=said) as error:
        source_files([tmp_path / name])
    assert name in str(error.value)


def test_people_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("item,person\nmonday/door.mp4,Ada\n\ndoor.mp4,Grace\n", encoding="utf-8")
    files = [
        tmp_path / "monday/door.mp4",
        tmp_path / "friday/door.mp4",
        tmp_path / "x/c.mp4",
        tmp_path / "y/c.mp4",
        tmp_path / "d.mp4",
    ]
    found = persons_of(files, read_people(table))
    assert list(found.values()) == ["Ada", "Grace", "x/c", "y/c", "d"]
    turned = persons_of(files[::-1], read_people(table))
    assert list(turned.values()) == ["Ada", "Grace", "d", "y/c", "x/c"]


def test_people_are_found_by_what_their_videos_call_them() -> None:
    found = people_by_source({"in/my clip.mp4": "P1", "b.mkv": "P2", "again/b.mkv": "P2"})
    assert found == {"my clip": "P1", "my_clip": "P1", "b": "P2"}
    with pytest.raises(SourceFilesError, match="name b, found P3 and P2"):
        people_by_source({"b.mkv": "P2", "again/b.mkv": "P3"})


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("item,person\na.mp4\n")
    with pytest.raises(SourceFilesError, match="line 2: expected an item and a person"):
        read_people(table)
    table.write_text("a.mp4,Ada\nb.mp4,Grace\n")
    with pytest.raises(SourceFilesError, match="expected the header item,person, found the item a"):
        read_people(table)
    table.write_text("item,person\na.mp4,Ada\nb.mp4,Grace\na.mp4,Ada\na.mp4,Grace\n")
    with pytest.raises(SourceFilesError, match=r"line 5: expected one person for a\.mp4"):
        read_people(table)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceFilesError, match="expected a CSV file"):
        read_people(table)
    with pytest.raises(SourceFilesError, match="expected a CSV file"):
        read_people(tmp_path / "gone.csv")


def test_a_picture_in_the_clothes_of_a_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(b"\0" * 100)
    with pytest.raises(SourceFilesError, match="expected a video"):
        duration_of(tmp_path / "cut.mp4")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert duration_of(tmp_path / "a.png") < 1
