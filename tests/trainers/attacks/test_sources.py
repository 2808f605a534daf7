from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.people import FaceFinder, NoPeople, PersonPicture
from padflow.trainers.attacks.sources import LONGEST, SourceUnreadable, read_footage
from tests.nodes.clips import write_clip

FPS = 25


@pytest.fixture
def clip(portraits: list[PersonPicture], tmp_path: Path) -> Path:
    """One second at 25 frames a second; the face moves two pixels a frame to the right."""
    images = [np.roll(portraits[0].image, 2 * index, axis=1) for index in range(25)]
    return write_clip(tmp_path / "walks.mp4", range(0, 1000, 40), images=images)


def test_frames_come_at_the_rate_wanted_and_the_mesh_follows(
    finder: FaceFinder, clip: Path
) -> None:
    footage = read_footage(finder, clip, "eileen", 0.4, FPS, 0.0)
    assert len(footage.frames) == 10
    assert not footage.still
    middles = [float(frame.mesh[:, 0].mean()) for frame in footage.frames]
    assert np.diff(middles)[2:-2] == pytest.approx(np.full(5, 2.0), abs=0.5)
    slow = read_footage(finder, clip, "eileen", 0.8, 5, 0.0)
    assert len(slow.frames) == 4
    steps = np.diff([float(frame.mesh[:, 0].mean()) for frame in slow.frames])
    assert steps.mean() > 5


def test_a_later_start_shows_what_comes_later(finder: FaceFinder, clip: Path) -> None:
    early, late = (read_footage(finder, clip, "eileen", 0.2, FPS, share) for share in (0.0, 1.0))
    assert late.start > early.start
    moved = late.frames[0].mesh[:, 0].mean() - early.frames[0].mesh[:, 0].mean()
    assert moved == pytest.approx(2 * FPS * late.start, abs=3)


def test_a_short_clip_gives_what_it_has(finder: FaceFinder, clip: Path) -> None:
    assert 20 <= len(read_footage(finder, clip, "eileen", 9.0, FPS, 0.5).frames) <= 25


def test_a_picture_stands_for_all_frames_and_is_shrunk(
    finder: FaceFinder, portraits: list[PersonPicture], tmp_path: Path
) -> None:
    image = cv2.resize(portraits[0].image, (1600, 1600), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "portrait.png"
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    footage = read_footage(finder, path, "eileen", 0.5, FPS, 0.0)
    assert footage.still
    assert len(footage.frames) == 12
    assert max(footage.frames[0].image.shape) <= LONGEST
    assert footage.frames[0].face_px <= 261
    found = finder.mesh(footage.frames[0].image)
    assert found is not None
    off = np.abs(found - footage.frames[0].mesh)[:, :2].mean()
    assert off < 0.02 * footage.frames[0].face_px


def test_what_is_no_source_is_told(finder: FaceFinder, tmp_path: Path) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("no video\n" * 40)
    with pytest.raises(SourceUnreadable, match=r"words\.mp4: expected a video"):
        read_footage(finder, words, "x", 1.0, FPS, 0.0)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(SourceUnreadable, match="expected a picture"):
        read_footage(finder, broken, "x", 1.0, FPS, 0.0)
    walls = write_clip(tmp_path / "walls.mp4", range(0, 400, 40))
    with pytest.raises(NoPeople, match="found one in 0 of 10"):
        read_footage(finder, walls, "x", 1.0, FPS, 0.0)
