from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.trainers.crops import CropStore
from padflow.trainers.holdout import drawn, names_of, names_text, split
from padflow.trainers.recipe import HoldOut, TrainingError
from tests.trainers.stores import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return write_store(tmp_path_factory.mktemp("store"), rows=144, persons=6)


@given(st.lists(st.text(st.characters(exclude_characters="\0\r\n"), min_size=1), min_size=1))
def test_names_that_hold_commas_stand_in_quotation_marks(names: list[str]) -> None:
    assert names_of(names_text(names)) == names
    plain = [name for name in names if not set(name) & set(',"')]
    assert names_of(",".join(plain)) == plain


def test_quotation_marks_out_of_place_are_told() -> None:
    assert names_of('"Doe, Ann",P2') == ["Doe, Ann", "P2"]
    assert names_of(",P2,") == ["P2"]
    for text in ('"Doe, Ann', '"Doe, "Ann'):
        with pytest.raises(TrainingError, match="quotation marks around one that holds a comma"):
            names_of(text)


def test_no_person_and_no_medium_is_on_both_sides(store: CropStore) -> None:
    found = split(store, HoldOut(share=0.3))
    train, validation = ([store.rows[i] for i in side] for side in (found.train, found.validation))
    assert not {row.person for row in train} & {row.person for row in validation}
    media = [{row.medium for row in side if row.medium} for side in (train, validation)]
    assert not media[0] & media[1]
    assert {row.species for row in validation} == {"live", "print", "screen", "mask"}
    assert set(found.persons) == {row.person for row in validation}


def test_named_ones_are_held_out(store: CropStore) -> None:
    found = split(store, HoldOut(persons=("p1",), media=("print-0", "screen-1", "mask-0")))
    rows = [store.rows[i] for i in found.validation]
    assert {row.person for row in rows} == {"p1"}
    assert {row.medium for row in rows} == {"", "print-0", "screen-1", "mask-0"}


def test_what_shows_a_held_out_person_besides_is_on_neither_side(store: CropStore) -> None:
    def shown(person: str) -> tuple[str, ...]:
        return ("p1",) if person == "p2" else ()

    rows = tuple(
        replace(row, shows=shown(row.person)) if row.species == "mask" else row
        for row in store.rows
    )
    rule = HoldOut(persons=("p1",), media=("print-0", "screen-1", "mask-0"))
    found, before = (split(replace(store, rows=r), rule) for r in (rows, store.rows))
    gone = set(before.train) - set(found.train)
    assert gone
    assert {(rows[i].person, rows[i].species) for i in gone} == {("p2", "mask")}
    assert not any("p1" in rows[i].persons for i in found.train)
    assert list(found.validation) == list(before.validation)


def test_a_sole_medium_is_held_out_by_person(store: CropStore) -> None:
    rows = tuple(replace(r, medium="ipad") if r.species == "screen" else r for r in store.rows)
    found = split(replace(store, rows=rows), HoldOut(share=0.3))
    for side in (found.train, found.validation):
        assert "ipad" in {rows[i].medium for i in side}


def test_sources_can_be_left_out(store: CropStore) -> None:
    with pytest.raises(TrainingError, match="expected live crops for training, found none"):
        split(store, HoldOut(), without=["toy"])


def test_an_empty_side_is_refused(store: CropStore) -> None:
    kept = [i for i, row in enumerate(store.rows) if row.person != "p1" or row.label == "live"]
    with pytest.raises(TrainingError, match="attack crops for validation"):
        split(store.only(kept), HoldOut(persons=("p1",), media=("print-0",)))


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("persons", HoldOut(persons=("nobody",))),
        ("media", HoldOut(media=("nobody",))),
        ("cameras", HoldOut(cameras=("nobody",))),
    ],
)
def test_names_that_are_in_no_crop_are_refused(store: CropStore, what: str, rule: HoldOut) -> None:
    with pytest.raises(TrainingError, match=f"expected {what} of .*, found nobody; name some of"):
        split(store, rule)


def test_drawing_does_not_depend_on_the_order() -> None:
    names = [f"person {i}" for i in range(20)]
    assert drawn(names, 0.25) == drawn(reversed(names), 0.25)
    assert len(drawn(names, 0.25)) == 5
    assert len(drawn(["only"], 0.1)) == 1
