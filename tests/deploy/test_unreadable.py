"""A video that cannot be read is told in one sentence, whoever was to read it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import padflow
from padflow.deploy.commands.bench import _require_video
from padflow.deploy.exits import UsageError
from padflow.trainers.attacks.people import FaceFinder
from padflow.trainers.attacks.sources import read_footage
from padflow.trainers.data.frames import read_frames
from padflow.trainers.data.sample import Sample
from padflow.trainers.sources import duration_of, read_picture
from padflow.trainers.visits import _looks
from tests.nodes.pictures import write_sound

Reads = Callable[[Path, FaceFinder], object]

READERS: dict[str, Reads] = {
    "bench": lambda path, finder: _require_video(path),
    "sources": lambda path, finder: duration_of(path),
    "visits": lambda path, finder: list(_looks(path, 1.0)),
    "samples": lambda path, finder: list(read_frames(Sample(path, "plain", "live", "live"))),
    "attacks": lambda path, finder: read_footage(finder, path, "ann", 1.0, 25, 0.0),
}
PICTURE_READERS: dict[str, Reads] = {
    "sources": lambda path, finder: read_picture(path),
    "samples": READERS["samples"],
    "attacks": READERS["attacks"],
}
SAID = "found what cannot be read: {why}; copy the file again or give another"
INVALID = "Invalid data found when processing input"


@pytest.fixture(scope="module")
def finder(models: Path) -> Iterator[FaceFinder]:
    with FaceFinder(matte=False) as finder:
        yield finder


@pytest.mark.parametrize("reader", READERS)
def test_a_video_that_cannot_be_read_is_one_sentence(
    reader: str, finder: FaceFinder, tmp_path: Path
) -> None:
    text, sound = tmp_path / "text.mp4", tmp_path / "sound.mp4"
    text.write_bytes(b"no video" * 99)
    write_sound(sound)
    for path, why in ((text, INVALID), (sound, "no video in it")):
        with pytest.raises((padflow.EngineError, UsageError)) as told:
            READERS[reader](path, finder)
        assert str(told.value).endswith(SAID.format(why=why))
        assert f"{path}: expected a video" in str(told.value)


@pytest.mark.parametrize("content", [b"", b"no picture"])
@pytest.mark.parametrize("reader", PICTURE_READERS)
def test_a_picture_that_cannot_be_read_is_the_same_sentence(
    reader: str, content: bytes, finder: FaceFinder, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(padflow.EngineError) as told:
        PICTURE_READERS[reader](path, finder)
    said = SAID.format(why="no picture in it")
    assert str(told.value).endswith(f"{path}: expected a picture, {said}")


def test_a_run_says_the_same(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_bytes(b"no video" * 99)
    (event,) = padflow.run([str(text)], options=padflow.RunOptions(workers=0))
    assert event["data"]["reason"].endswith(SAID.format(why=INVALID))
