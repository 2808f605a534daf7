from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.deploy.cli import main
from padflow.nodes.crops import face_crop
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.people import FaceFinder, PersonPicture
from padflow.trainers.crops import ORDER, CropWriter, open_crops
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
    assert "aa.png: expected a picture, found what cannot be read: no picture in it" in told.err
    assert "8 of 9 pictures have a face" in told.out
    assert len(open_crops(tmp_path / "store")) == 8


def test_an_interrupted_store_ends_as_if_it_had_not_been(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["crops", "--data", str(folder), "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    whole = open_crops(tmp_path / "whole")
    cut = [*words, str(tmp_path / "cut")]
    looks = interrupting(monkeypatch, after=4)  # in the middle of the clip
    assert main(cut) == 130
    assert len(open_crops(tmp_path / "cut")) == 4
    (folder / "live" / "wall.png").write_bytes(b"no picture" * 50)
    assert main(cut) == 3, "what has no crops is looked at again"
    cv2.imwrite(str(folder / "live" / "wall.png"), np.full((300, 300, 3), 120, np.uint8))
    capsys.readouterr()
    assert main(cut) == 0
    assert len(looks) == 5 + 4 + 1, "the faces of what is there are not looked for again"
    assert "0 of 1 further pictures have a face, 8 crops were there" in capsys.readouterr().out
    again = open_crops(tmp_path / "cut")
    assert sorted(row.id for row in again.rows) == sorted(row.id for row in whole.rows)
    place = {row.id: number for number, row in enumerate(whole.rows)}
    for number, row in enumerate(again.rows):
        assert row == whole.rows[place[row.id]]
        assert (again.one("face", number) == whole.one("face", place[row.id])).all()


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Lets the search for a face be interrupted, once; gives the searches."""
    looks: list[int] = []
    mesh = FaceFinder.mesh

    def search(finder: FaceFinder, image: Array) -> Array | None:
        looks.append(len(looks))
        if len(looks) == after + 1:
            raise KeyboardInterrupt
        return mesh(finder, image)

    monkeypatch.setattr(FaceFinder, "mesh", search)
    return looks


def test_a_store_of_other_footage_is_not_gone_on_with(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["crops", "--data", str(folder), "--out", str(tmp_path / "store"), "--step", "3"]
    assert main(words) == 0
    assert main([*words, "--step", "2"]) == 2
    assert "step: 3 there, 2 asked" in capsys.readouterr().err
    (folder / "labels.csv").write_text("item,person\nlive/a.png,ann\n")
    assert main(words) == 2
    assert "their names and labels: " in capsys.readouterr().err
    (folder / "live" / "a.png").unlink()
    (folder / "labels.csv").unlink()
    assert main(words) == 2
    assert "items: 4 there, 3 asked" in capsys.readouterr().err
    assert len(open_crops(tmp_path / "store")) == 4
    (tmp_path / "store" / ORDER).unlink()  # as of an earlier release
    assert main(words) == 2
    assert "holds a crop store already" in capsys.readouterr().err


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
