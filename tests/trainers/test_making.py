from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.trainers.attacks.people import FaceFinder, PersonPicture, portrait_pictures
from padflow.trainers.crops import ORDER, CropStoreError, begin_store, open_crops
from padflow.trainers.making import (
    MakingError,
    StoreOrder,
    chunks_of,
    lasting,
    make_chunk,
    make_store,
)
from padflow.trainers.synthesis import SHARES, SHOTS_PER_SEED
from tests.trainers.stores import write_store


@pytest.fixture(scope="module")
def portraits(models: Path) -> Iterator[list[PersonPicture]]:
    with FaceFinder() as finder:
        yield portrait_pictures(finder)


def somebody(person: str) -> PersonPicture:
    empty = np.zeros((64, 64), np.float32)
    mesh = np.random.default_rng(0).uniform(16, 48, (468, 3)).astype(np.float32)
    return PersonPicture(person, "toy", np.zeros((64, 64, 3), np.uint8), empty, mesh, False)


def begin_order(order: StoreOrder, out: Path) -> None:
    """What :func:`make_store` does before any work."""
    begin_store(out, lasting(order))


def test_processes_fill_a_store_and_go_on_with_it(
    portraits: list[PersonPicture], tmp_path: Path
) -> None:
    order = StoreOrder(portraits, rows=4, seed=5, rows_per_seed=2, identities=2)
    told: list[int] = []
    store = make_store(order, tmp_path, workers=2, tell=told.append)
    assert sorted(row.seed // SHOTS_PER_SEED for row in store.rows) == [5, 5, 6, 6]
    assert {row.person for row in store.rows} <= {"astronaut", "hopper"}
    assert told[0] == 0
    assert told[-1] == 4
    more = make_store(replace(order, rows=5), tmp_path, workers=2)
    assert {row.id for row in store.rows} < {row.id for row in more.rows}
    assert len(more) == 5
    assert chunks_of(replace(order, rows=5), tmp_path) == []
    masks = replace(order, rows=2, shares={"mask": 1.0})
    assert {row.species for row in make_store(masks, tmp_path / "masks").rows} == {"mask"}


def test_a_store_is_gone_on_with_as_it_was_begun_and_in_no_other_way(tmp_path: Path) -> None:
    ada = somebody("ada")
    order = StoreOrder([ada], rows=5, seed=3, rows_per_seed=2)
    told = "expected the settings that this store was begun with"
    begin_order(replace(order, seed=8), tmp_path)
    begin_order(order, tmp_path)  # nothing was made with the other seed
    write_store(tmp_path, rows=8)
    begin_order(replace(order, rows=9, until=0.0, least=3), tmp_path)
    for asked, found in (
        (replace(order, seed=4), "seed: 3 there, 4 asked"),
        (replace(order, rows_per_seed=5), "rows_per_seed: 2 there, 5 asked"),
        (replace(order, identities=7), "identities: None there, 7 asked"),
        (replace(order, enlarge=120.0), "enlarge: 0.0 there, 120.0 asked"),
        (replace(order, shares={**SHARES, "mask": 0.5}), r"share mask: 10.0 there, 50.0 asked\)"),
        (replace(order, people=[ada, ada]), "people ada toy: 1 there, 2 asked"),
        (replace(order, people=[ada, somebody("eve")]), "people eve toy: nothing there, 1 asked"),
        (replace(order, others=[somebody("eve")]), "lenders eve toy: nothing there, 1 asked"),
    ):
        with pytest.raises(CropStoreError, match=f"{told}.*{found}"):
            begin_order(asked, tmp_path)
    (tmp_path / ORDER).write_text("{", encoding="utf-8")
    with pytest.raises(CropStoreError, match="cannot be read"):
        begin_order(order, tmp_path)


def test_a_store_of_other_settings_is_left_as_it_was(
    portraits: list[PersonPicture], tmp_path: Path
) -> None:
    order = StoreOrder(portraits, rows=2, seed=5, identities=2)
    make_store(order, tmp_path)
    with pytest.raises(CropStoreError, match=r"share live: 42.0 there, 0.0 asked; .* and 2 more"):
        make_store(replace(order, rows=4, shares={"mask": 1.0}), tmp_path)
    assert len(open_crops(tmp_path)) == 2
    (tmp_path / ORDER).unlink()  # as of an earlier release
    assert len(make_store(replace(order, rows=3), tmp_path)) == 3
    assert not (tmp_path / ORDER).exists()


def test_an_interrupted_chunk_ends_as_if_it_had_not_been(
    portraits: list[PersonPicture], tmp_path: Path
) -> None:
    order = StoreOrder(portraits, rows=4, seed=7, identities=2)
    (chunk,) = chunks_of(order, tmp_path / "whole")
    made: list[int] = []
    make_chunk(order, chunk, tmp_path / "whole", made.append)
    assert made == [1, 1, 1, 1]
    made.clear()
    make_chunk(order, chunk, tmp_path / "cut", made.append, stop=lambda: len(made) == 2)
    (rest,) = chunks_of(order, tmp_path / "cut")
    assert rest.made == 2
    make_chunk(order, rest, tmp_path / "cut", made.append)
    whole, cut = open_crops(tmp_path / "whole"), open_crops(tmp_path / "cut")
    assert whole.rows == cut.rows
    for name in ("face", "context", "patches", "depth"):
        assert (whole.take(name, range(4)) == cut.take(name, range(4))).all()


def test_time_ends_a_chunk_but_not_before_the_least(
    portraits: list[PersonPicture], tmp_path: Path
) -> None:
    order = StoreOrder(portraits[:1], rows=50, identities=1, until=0.0, least=2)
    (chunk,) = chunks_of(order, tmp_path)
    make_chunk(order, chunk, tmp_path, lambda rows: None)
    assert len(open_crops(tmp_path)) == 2


def test_a_process_that_fails_is_told(portraits: list[PersonPicture], tmp_path: Path) -> None:
    torn = replace(portraits[0], mesh=portraits[0].mesh[:400])
    with pytest.raises(MakingError, match=r"a process could not go on: \w+Error"):
        make_store(StoreOrder([torn], rows=2, identities=2), tmp_path, workers=1)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    people = [somebody("ada")]
    with pytest.raises(MakingError, match="expected pictures of people to show, found none"):
        make_store(StoreOrder([], rows=2), tmp_path)
    with pytest.raises(MakingError, match="rows: expected 1 or more, found 0"):
        make_store(StoreOrder(people, rows=0), tmp_path)
    with pytest.raises(MakingError, match="shares: expected a sum above 0"):
        make_store(StoreOrder(people, rows=2, shares={"live": 0.0}), tmp_path)
    write_store(tmp_path / "others", rows=8)
    with pytest.raises(MakingError, match="found p0 in it; give another folder"):
        make_store(StoreOrder(people, rows=2), tmp_path / "others")


def test_chunks_count_up_from_the_seed(tmp_path: Path) -> None:
    order = StoreOrder([somebody("ada")], rows=5, seed=3, rows_per_seed=2)
    found = [
        (chunk.seed, chunk.rows, chunk.made, chunk.first) for chunk in chunks_of(order, tmp_path)
    ]
    assert found == [(3, 2, 0, 0), (4, 2, 0, 0), (5, 1, 0, 0)]
