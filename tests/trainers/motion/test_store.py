from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.trainers.motion.store import (
    ROW,
    SequenceArrays,
    SequenceStoreError,
    open_sequences,
    sequence_folder,
    write_sequence,
)
from tests.trainers.motion.toys import FRAMES, write_toy


def test_a_sequence_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_toy(tmp_path, "a/b.mp4", "ann", "mask", shows="bob")
    (found,) = open_sequences([tmp_path])
    assert found.row == written.row
    assert found.row.persons == {"ann", "bob"}
    assert found.folder == sequence_folder(tmp_path, "a/b.mp4")
    assert found.face.shape == (FRAMES, 256, 256, 3)
    assert not found.face.flags.writeable
    assert found.depth.shape == (FRAMES, 32, 32)
    assert (np.diff(found.times) > 0).all()


def test_places_and_pulse_come_back_and_may_be_missing(tmp_path: Path) -> None:
    old = write_toy(tmp_path, "old", "ann", "live")
    assert old.places is None
    assert old.pulse is None
    rng = np.random.default_rng(0)
    places = rng.random((FRAMES, 2, 1024), np.float32)
    pulse = rng.random(50, np.float32)
    new, row = SequenceArrays(np.array(old.face), np.array(old.depth), old.times), old.row
    write_sequence(tmp_path, replace(row, id="new"), replace(new, places=places, pulse=pulse))
    found = {one.row.id: one for one in open_sequences([tmp_path])}
    assert found["old"].places is None
    assert np.array_equal(found["new"].places, places)  # type: ignore[arg-type]
    assert np.array_equal(found["new"].pulse, pulse)  # type: ignore[arg-type]
    with pytest.raises(SequenceStoreError, match=r"places: expected float32 \(9, 2, 1024\)"):
        write_sequence(tmp_path, replace(row, id="c"), replace(new, places=places[1:]))
    with pytest.raises(SequenceStoreError, match=r"pulse: expected float32 \(50,\)"):
        write_sequence(tmp_path, replace(row, id="c"), replace(new, pulse=pulse.astype(float)))
    np.save(found["new"].folder / "places.npy", places[:, :1])
    with pytest.raises(SequenceStoreError, match=r"places.npy: expected float32"):
        _ = found["new"].places


def test_nothing_half_written_is_left_or_read(tmp_path: Path) -> None:
    first = write_toy(tmp_path, "a", "ann", "live")
    with pytest.raises(SequenceStoreError, match="cannot be written"):
        write_toy(tmp_path, "a", "ann", "live")
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]
    (tmp_path / ".sequence-x").mkdir()
    assert len(open_sequences([tmp_path])) == 1


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = write_toy(tmp_path, "a", "ann", "live")
    face, depth, times = np.array(good.face), np.array(good.depth), good.times
    other = replace(good.row, id="b")
    with pytest.raises(SequenceStoreError, match="face: expected uint8"):
        write_sequence(tmp_path, other, SequenceArrays(face[:, :128], depth, times))
    with pytest.raises(SequenceStoreError, match="times that rise"):
        write_sequence(tmp_path, other, SequenceArrays(face, depth, times[::-1].copy()))
    with pytest.raises(ValueError, match="does not go with"):
        replace(good.row, label="attack")


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SequenceStoreError, match="found no sequence"):
        open_sequences([tmp_path])
    one = write_toy(tmp_path / "s", "a", "ann", "live")
    np.save(one.folder / "depth.npy", np.zeros((2, 32, 32), np.uint8))
    with pytest.raises(SequenceStoreError, match=r"depth.npy: expected uint8"):
        _ = one.depth
    (one.folder / "face.npy").write_bytes(b"no array")
    with pytest.raises(SequenceStoreError, match=r"face.npy: cannot be read"):
        _ = one.face
    (one.folder / ROW).write_text("{}")
    with pytest.raises(SequenceStoreError, match=r"sequence.json: cannot be read"):
        open_sequences([tmp_path / "s"])


def test_two_stores_may_not_share_an_id(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_toy(tmp_path / name, "a", "ann", "live")
    with pytest.raises(SequenceStoreError, match="ids that are unique"):
        open_sequences([tmp_path / "one", tmp_path / "two"])
