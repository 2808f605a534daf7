import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.people import FaceFinder
from padflow.trainers.attacks.portraits import load_portrait
from padflow.trainers.visits import Visit, look_at, site_people
from tests.trainers.door import write_door


@pytest.fixture(scope="module")
def finder(models: Path) -> Iterator[FaceFinder]:
    with FaceFinder() as found:
        yield found


def nobody(line: str) -> None:
    del line


def test_one_stay_is_parted_by_time_and_told(finder: FaceFinder, tmp_path: Path) -> None:
    door = write_door(tmp_path / "door.mp4")
    lines: list[str] = []
    people = site_people(finder, [door], {}, time.time() + 600, lines.append)
    assert lines == ["door.mp4: door: 1 visits, 5 pictures with a face"]
    assert "parted by time" in people.note
    names = {person.name for person in (*people.learn, *people.check)}
    assert names == {"door@1", "door@2", "door@3", "door@4"}
    assert len(people.check) == 1
    crops = [item for person in (*people.learn, *people.check) for item in person.crops]
    assert len(crops) == 5
    assert len({row.id for row, _ in crops}) == 5
    assert all(row.label == "live" and row.face_px > 80 for row, _ in crops)


def test_enough_files_are_persons_and_share_none(finder: FaceFinder, tmp_path: Path) -> None:
    picture = load_portrait("hopper").image[:460]
    files = []
    for number in range(5):
        files.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(files[-1]), np.roll(picture, number, 1)[..., ::-1])
    people = site_people(finder, files, {"0.png": "Ada"}, time.time() + 600, nobody)
    learn, check = ({person.name for person in side} for side in (people.learn, people.check))
    assert learn | check == {"Ada", "1", "2", "3", "4"}
    assert not learn & check
    assert len(check) == 2
    assert people.note.startswith("Persons are those of the list")


def test_footage_without_a_face_is_refused(finder: FaceFinder, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="no face"):
        site_people(finder, [tmp_path / "grey.png"], {}, time.time() + 600, nobody)


def test_a_long_stay_is_thinned_evenly() -> None:
    mesh = np.random.default_rng(0).uniform(16, 48, (468, 3)).astype(np.float32)
    look = look_at(np.zeros((64, 64, 3), np.uint8), mesh, 0.0, "door@0.00s")
    visit = Visit("ada", "door")
    for second in range(200):
        visit.add(replace(look, seconds=float(second)))
    kept = np.array([look.seconds for look in visit.looks])
    assert 16 <= len(kept) <= 32
    assert kept[0] == 0
    assert kept[-1] > 180
    assert len(set(np.diff(kept))) == 1
