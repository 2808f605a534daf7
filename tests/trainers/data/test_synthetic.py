"""S1 to S4: what is unseen is unseen, whatever the rows."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.trainers.data import DataError
from padflow.trainers.data.synthetic import (
    SYNTHETIC,
    RowSplit,
    check_rows_disjoint,
    split_rows,
    synthetic_protocols,
)

MEDIA = {
    "print": ("laser", "inkjet", "photo", "newsprint", "matte"),
    "screen": ("phone", "tablet", "laptop", "tv", "pentile"),
    "mask": ("resin", "plaster", "paper"),
}


def table(persons: int, cameras: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for person, camera in product(range(persons), range(cameras)):
        who = {"person": f"p{person}", "camera": f"c{camera}"}
        rows.append({"label": "live", "species": "live", "medium": "", **who})
        for species, media in MEDIA.items():
            rows += [{"label": "attack", "species": species, "medium": m, **who} for m in media]
    for number, row in enumerate(rows):
        row["clip"] = f"{row['person']}-{row['camera']}-{row['species']}-{row['medium']}"
        row["id"] = str(number)
    return rows


@pytest.mark.parametrize("protocol", SYNTHETIC)
def test_what_is_unseen_is_unseen(protocol: str) -> None:
    rows = table(20, 6)
    made = split_rows(rows, protocol)
    for factor in SYNTHETIC[protocol]:
        sides = [
            {rows[i][factor] for i in part if rows[i][factor]}
            for part in (made.train, made.dev, made.test)
        ]
        assert not sides[2] & (sides[0] | sides[1])
        if factor == "person":
            assert not sides[0] & sides[1]
    assert made.left_out == len(rows) - sum(map(len, (made.train, made.dev, made.test)))
    tested = {rows[i]["species"] for i in made.test}
    assert tested == {"live", *MEDIA}


def test_unseen_person_leaves_no_row_out() -> None:
    made = split_rows(table(20, 6), "S1")
    assert made.left_out == 0
    assert np.array_equal(
        np.sort(np.concatenate([made.train, made.dev, made.test])), np.arange(20 * 6 * 14)
    )


def test_live_rows_take_part_whatever_the_medium() -> None:
    rows = table(20, 6)
    made = split_rows(rows, "S2")
    live = [i for part in (made.train, made.dev, made.test) for i in part if not rows[i]["medium"]]
    assert len(live) == 20 * 6


def test_names_fall_the_same_way_in_any_order() -> None:
    rows = table(12, 5)
    made = split_rows(rows, "S4")
    turned = split_rows(rows[::-1], "S4")
    last = len(rows) - 1
    assert np.array_equal(np.sort(last - turned.test), made.test)
    assert np.array_equal(np.sort(last - turned.train), made.train)


def test_few_media_are_shared_by_train_and_dev() -> None:
    rows = [r for r in table(20, 6) if r["medium"] in ("", "laser", "inkjet", "phone", "tv")]
    made = split_rows(rows, "S2")
    train, dev, test = ({rows[i]["medium"] for i in p} for p in (made.train, made.dev, made.test))
    assert train == dev
    assert train & test == {""}
    assert len(test) == 3


def test_species_of_one_medium_is_not_tested_and_named() -> None:
    rows = [r for r in table(20, 6) if r["species"] != "mask" or r["medium"] == "resin"]
    made = split_rows(rows, "S2")
    assert made.notes == ("mask: a single medium, so that none is unseen; not tested",)
    assert "mask" not in {rows[i]["species"] for i in made.test}


def test_clip_of_two_persons_is_refused() -> None:
    rows = table(20, 6)
    for row in rows:
        row["clip"] = row["camera"] + row["species"]
    with pytest.raises(DataError, match="every clip in one part only"):
        split_rows(rows, "S1")


@pytest.mark.parametrize(
    ("rows", "protocol", "expected"),
    [
        (table(20, 6), "S5", "expected one of S1, S2, S3, S4, found 'S5'"),
        (table(2, 6), "S1", "at least 3 persons, found 2"),
        (table(20, 1), "S3", "at least 2 cameras, found 1"),
        ([{**r, "person": ""} for r in table(4, 2)], "S1", "crop row 0: expected a person"),
        ([r for r in table(9, 2) if r["label"] == "live"], "S1", "live and attack rows in train"),
    ],
)
def test_rows_that_cannot_be_split_are_told(
    rows: list[dict[str, Any]], protocol: str, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        split_rows(rows, protocol)


def split_or_none(rows: list[dict[str, str]], protocol: str) -> RowSplit | None:
    """The split, or None where the rows do not suffice for one."""
    try:
        return split_rows(rows, protocol)
    except DataError as error:
        if not any(why in str(error) for why in ("expected at least", "live and attack rows")):
            raise
        return None


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(synthetic_protocols()),
    st.lists(
        st.tuples(
            st.sampled_from("abcdefghij"),
            st.sampled_from(["", "m1", "m2", "m3", "m4", "m5", "m6"]),
            st.sampled_from(["c1", "c2", "c3", "c4", "c5"]),
        ),
        min_size=10,
        max_size=200,
    ),
)
def test_any_table_is_split_disjointly_or_refused(
    protocol: str, drawn: list[tuple[str, str, str]]
) -> None:
    rows = [
        {
            "label": "attack" if medium else "live",
            "species": "print" if medium else "live",
            "person": person,
            "medium": medium,
            "camera": camera,
        }
        for person, medium, camera in drawn
    ]
    made = split_or_none(rows, protocol)
    if made is None:
        return
    check_rows_disjoint(rows, made)
    for factor in SYNTHETIC[protocol]:
        seen = {rows[i][factor] for i in (*made.train, *made.dev)} - {""}
        assert not seen & ({rows[i][factor] for i in made.test} - {""})
