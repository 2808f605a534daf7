from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.cli import main
from padflow.nodes.crops import face_crop
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.crops import CropWriter, open_crops
from padflow.trainers.data import read_dataset
from padflow.trainers.footage import FootageError, crops_of_face, store_footage
from tests.nodes.clips import write_clip


@pytest.fixture
def folder(portraits: list[PersonPicture], tmp_path: Path) -> Path:
    """A live picture, a live clip of six frames, a print, and a wall."""
    root = tmp_path / "data"
    (root / "live").mkdir(parents=True)
    (root / "attack" / "print").mkdir(parents=True)
    image = portraits[0].image
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(root / "live" / "a.png"), picture)
    cv2.imwrite(str(root / "live" / "wall.png"), np.full((300, 300, 3), 120, np.uint8))
    cv2.imwrite(str(root / "attack" / "print" / "b.png"), picture)
    write_clip(root / "live" / "c.mp4", range(0, 240, 40), images=[image] * 6)
    return root


def test_faces_of_labelled_footage_become_rows(
    folder: Path, finder: FaceFinder, tmp_path: Path
) -> None:
    samples = read_dataset("plain", folder).samples
    with CropWriter(tmp_path / "store") as writer:
        count = store_footage(samples, writer, finder, step=3)
    assert (count.pictures, count.faces) == (5, 4)
    store = open_crops(tmp_path / "store")
    assert sorted(store.column("species")) == ["live", "live", "live", "print"]
    (printed,) = (i for i, row in enumerate(store.rows) if row.species == "print")
    assert store.rows[printed].label == "attack"
    assert not store.one("depth", printed).any()
    lively = [i for i in range(4) if i != printed]
    assert all(store.one("depth", i).max() == 255 for i in lively)
    frames = [row.id for row in store.rows if row.clip.endswith("c.mp4")]
    assert [name.rpartition("#")[2] for name in frames] == ["0", "3"]


def test_pictures_that_are_frames_of_one_recording_are_told_apart(
    folder: Path, finder: FaceFinder, tmp_path: Path
) -> None:
    (sample,) = (s for s in read_dataset("plain", folder).samples if s.path.name == "a.png")
    frames = [replace(sample, clip="live/0001_00_00_01", frame=number) for number in (0, 7)]
    with CropWriter(tmp_path / "store") as writer:
        store_footage(frames, writer, finder, step=2)
    assert [row.id.rpartition("#")[2] for row in open_crops(tmp_path / "store").rows] == ["0", "7"]


def test_an_item_that_cannot_be_decoded_does_not_lose_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "live" / "aa.png").write_bytes(b"no picture" * 50)
    (folder / "attack" / "print" / "aa.mp4").write_bytes(b"no video" * 50)
    assert main(["crops", "--data", str(folder), "--out", str(tmp_path / "store")]) == 3
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 2
    assert "aa.png: expected a picture, found bytes that are none" in told.err
    assert "8 of 9 pictures have a face" in told.out
    assert len(open_crops(tmp_path / "store")) == 8


@pytest.mark.parametrize(
    ("dataset", "person", "expected"),
    [("plain", "P1", "P1"), ("nuaa", "0001", "nuaa:0001"), ("plain", "", "plain/live/a.png")],
)
def test_a_name_stands_for_one_person_in_all_stores(
    folder: Path, finder: FaceFinder, tmp_path: Path, dataset: str, person: str, expected: str
) -> None:
    """Held out by name, somebody is held out of every store that shows them."""
    (sample,) = (s for s in read_dataset("plain", folder).samples if s.path.name == "a.png")
    with CropWriter(tmp_path / "store") as writer:
        store_footage([replace(sample, dataset=dataset, person=person)], writer, finder)
    assert [row.person for row in open_crops(tmp_path / "store").rows] == [expected]


def test_crops_of_a_face_are_those_of_the_nodes(portraits: list[PersonPicture]) -> None:
    image, mesh = portraits[1].image, portraits[1].mesh
    crops = crops_of_face(image, mesh, "mask")
    assert np.array_equal(crops.face, face_crop(image, mesh))
    assert crops.depth.any()
    assert not crops_of_face(image, mesh, "partial").depth.any()


def test_a_species_without_a_place_is_refused(
    folder: Path, finder: FaceFinder, tmp_path: Path
) -> None:
    sample = replace(read_dataset("plain", folder).samples[0], species="makeup", label="attack")
    with (
        CropWriter(tmp_path / "store") as writer,
        pytest.raises(FootageError, match="found 'makeup'; leave it out"),
    ):
        store_footage([sample], writer, finder)
