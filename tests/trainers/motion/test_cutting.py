from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.people import PersonPicture
from padflow.trainers.data import read_dataset
from padflow.trainers.motion.cutting import cut_sequences, living, read_making
from padflow.trainers.motion.store import SequenceStoreError, open_sequences
from tests.nodes.clips import write_clip


@pytest.fixture
def footage(portraits: list[PersonPicture], tmp_path: Path) -> Path:
    """A living face that drifts for a second, the same as a print, and a wall."""
    root = tmp_path / "door"
    image = portraits[0].image
    width = image.shape[1] // 2 * 2
    frames = [
        np.roll(np.asarray(cv2.resize(image, (width, width))), k // 2, axis=1) for k in range(25)
    ]
    for path in (root / "live" / "ann-00.mp4", root / "attack" / "print" / "laser" / "ann-00.mp4"):
        path.parent.mkdir(parents=True)
        write_clip(path, range(0, 1000, 40), images=frames)
    write_clip(root / "live" / "wall.mp4", range(0, 1000, 40))
    return root


def test_videos_become_sequences_and_are_cut_once(
    models: Path, footage: Path, tmp_path: Path
) -> None:
    samples = read_dataset("plain", footage).samples
    lines: list[str] = []
    people = {"ann-00": "Ann"}
    count = [
        cut_sequences(
            samples, tmp_path / "store", prefix="door", people=people, making={}, say=lines.append
        )
        for _ in range(2)
    ]
    assert (count[0].made, count[0].there) == (2, 0)
    assert (count[1].made, count[1].there) == (0, 2)
    assert [Path(name).name for name in count[0].without] == ["wall.mp4"]
    printed, live = open_sequences([tmp_path / "store"])
    assert live.row.id == "door/live/ann-00.mp4"
    assert live.row.person == printed.row.person == "Ann"
    assert printed.row.instrument == "print:laser"
    assert not printed.depth.any()
    assert live.depth.max() == 255
    apart = np.diff(live.times)
    assert apart.min() >= 0.079
    assert np.median(apart) == pytest.approx(0.08, abs=1e-6)
    assert live.row.frames >= 8


def test_what_padflow_attacks_tells_is_used(tmp_path: Path) -> None:
    assert read_making(tmp_path) == {}
    (tmp_path / "parameters.json").write_text(
        '[{"item": "a.mp4", "face": "bob", "medium": "printer-03", "stage": {"camera": 7}}]'
    )
    made = read_making(tmp_path)[tmp_path / "a.mp4"]
    assert (made.face, made.medium, made.camera) == ("bob", "printer-03", "camera-07")
    (tmp_path / "parameters.json").write_text("[{}]")
    with pytest.raises(SequenceStoreError, match="expected the parameters"):
        read_making(tmp_path)


def test_footage_of_the_living_are_samples() -> None:
    (one,) = living([Path("in/a.mp4")])
    assert (one.label, one.species, one.recording) == ("live", "live", "footage/a.mp4")
