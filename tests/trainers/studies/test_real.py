from pathlib import Path

import pytest

from padflow.trainers.crops import open_crops
from padflow.trainers.studies.judging import StudyError
from padflow.trainers.studies.real import sequences
from tests.trainers.stores import write_store


def test_clips_of_one_name_in_two_stores_are_two_sequences(tmp_path: Path) -> None:
    """Such as ``live/01.mp4`` of two days, which may show two persons."""
    for day in ("monday", "friday"):
        write_store(tmp_path / day, rows=30)
    one = sequences(open_crops(tmp_path / "monday"))
    both = sequences(open_crops(tmp_path / "monday", tmp_path / "friday"))
    assert len(both) == 2 * len(one)
    assert sorted(len(rows) for rows in both.values()) == sorted(
        2 * [len(rows) for rows in one.values()]
    )


def test_no_crops_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="expected crops, found none"):
        sequences(write_store(tmp_path / "a").only([]))
