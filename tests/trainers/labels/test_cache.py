from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.parameters import Array
from padflow.trainers.labels import (
    LabelCache,
    LabelCacheError,
    LabelOrigin,
    label_sheet,
    source_sha256,
    write_label_sheet,
)

ORIGIN = LabelOrigin("depth", 1, "ab" * 32, "cd" * 32)
LABELS = {"depth": np.arange(2048, dtype=np.uint8).reshape(2, 32, 32), "frame": np.array([3, 8])}


def never() -> Mapping[str, Array]:
    raise AssertionError("labels were made twice")


def test_labels_are_made_once(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path / "labels")
    made = cache.labels("clip 7.mp4", ORIGIN, lambda: LABELS)
    kept = cache.labels("clip 7.mp4", ORIGIN, never)
    for found in (made, kept):
        assert set(found) == {"depth", "frame"}
        assert np.array_equal(found["depth"], LABELS["depth"])
        assert found["depth"].dtype == np.uint8
        assert not found["depth"].flags.writeable
    (entry,) = (tmp_path / "labels" / "depth-v1").iterdir()
    assert entry.name == f"clip_7.mp4-{ORIGIN.key}"


@pytest.mark.parametrize(
    "change",
    [{"kind": "pulse"}, {"version": 2}, {"source_sha256": "0" * 64}, {"engine_sha256": "0" * 64}],
)
def test_labels_are_made_anew_when_what_they_are_made_from_changes(
    tmp_path: Path, change: dict[str, str | int]
) -> None:
    cache = LabelCache(tmp_path)
    cache.labels("clip", ORIGIN, lambda: LABELS)
    other = {"depth": np.zeros((1, 32, 32), np.uint8)}
    changed = replace(ORIGIN, **change)  # type: ignore[arg-type]
    assert not cache.labels("clip", changed, lambda: other)["depth"].any()
    assert cache.labels("clip", ORIGIN, never)["depth"].any()


def test_labels_that_fail_leave_nothing(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path)
    with pytest.raises(AssertionError, match="twice"):
        cache.labels("clip", ORIGIN, never)
    with pytest.raises(ValueError, match="Object arrays"):
        cache.labels("clip", ORIGIN, lambda: {"depth": np.array([None, "x"], object)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list((tmp_path / "depth-v1").iterdir())


def test_a_faster_process_wins(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path)

    def slow() -> Mapping[str, Array]:
        cache.labels("clip", ORIGIN, lambda: LABELS)
        return {"depth": np.zeros((1, 32, 32), np.uint8)}

    assert cache.labels("clip", ORIGIN, slow)["depth"].shape == (2, 32, 32)
    assert len(list((tmp_path / "depth-v1").iterdir())) == 1


def test_damage_is_told(tmp_path: Path) -> None:
    cache = LabelCache(tmp_path)
    cache.labels("clip", ORIGIN, lambda: LABELS)
    entry = cache.entry("clip", ORIGIN)
    whole = (entry / "depth.npy").read_bytes()
    (entry / "depth.npy").write_bytes(whole[:100])
    with pytest.raises(LabelCacheError, match=r"cannot be read: .*; remove the folder"):
        cache.labels("clip", ORIGIN, never)
    (entry / "depth.npy").write_bytes(whole)
    (entry / "about.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LabelCacheError, match="found another"):
        cache.labels("clip", ORIGIN, never)


def test_a_source_is_known_by_its_bytes_and_a_folder_by_names_too(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "0.png").write_bytes(b"zero")
        (folder / "1.png").write_bytes(b"one")
    assert source_sha256(first / "0.png") == source_sha256(second / "0.png")
    assert source_sha256(first) == source_sha256(second)
    (second / "1.png").rename(second / "2.png")
    assert source_sha256(first) != source_sha256(second)
    with pytest.raises(LabelCacheError, match="No such file"):
        source_sha256(tmp_path / "none.mp4")


def test_the_sheet_shows_crops_beside_maps(tmp_path: Path) -> None:
    faces = np.stack([np.full((256, 256, 3), (200, 10 * i, 0), np.uint8) for i in range(5)])
    labels = np.stack([np.full((32, 32), 40 * i, np.uint8) for i in range(5)])
    sheet = label_sheet(faces, labels, columns=3, side=64)
    assert sheet.shape == (2 * 68 + 4, 3 * 132 + 4, 3)
    assert sheet[30, 30].tolist() == [200, 0, 0]
    assert sheet[30, 132 + 100].tolist() == [40, 40, 40]
    assert sheet[100, 132 + 30].tolist() == [200, 40, 0]
    assert sheet[100, 132 + 100].tolist() == [160, 160, 160]
    write_label_sheet(tmp_path / "sheet.png", faces, labels, columns=3, side=64)
    read = cv2.imread(str(tmp_path / "sheet.png"))
    assert np.array_equal(np.asarray(read)[..., ::-1], sheet)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    with pytest.raises(ValueError, match="found 5 faces and 4 labels"):
        label_sheet(faces, labels[:4])
