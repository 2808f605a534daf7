import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.trainers.crops import (
    SHAPES,
    CropRow,
    Crops,
    CropStoreError,
    CropWriter,
    open_crops,
    write_crops,
)

ROW = CropRow(
    id="0",
    label="attack",
    species="print",
    instrument="print:laser",
    person="anna",
    medium="laser-1",
    camera="door",
    source="test",
    seed=1,
    face_px=120.5,
    clip="c0",
)


def some_crops(value: int) -> Crops:
    arrays = {name: np.full(shape, value, np.uint8) for name, shape in SHAPES.items()}
    return Crops(**arrays)


def some_rows(count: int, start: int = 0) -> list[tuple[CropRow, Crops]]:
    return [(replace(ROW, id=str(i)), some_crops(i)) for i in range(start, start + count)]


def test_a_row_keeps_whom_it_shows_besides(tmp_path: Path) -> None:
    told = [replace(ROW, id=str(i), shows=shows) for i, shows in enumerate([("ben", "eve"), ()])]
    write_crops(tmp_path, [(row, some_crops(0)) for row in (*told, replace(ROW, id="2"))])
    table = tmp_path / "part-0000" / "table.jsonl"
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    del lines[2]["shows"]  # as before it was kept
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = open_crops(tmp_path).rows
    assert [row.shows for row in rows] == [("ben", "eve"), (), None]
    assert [row.persons for row in rows] == [{"anna", "ben", "eve"}, {"anna"}, {"anna"}]


def test_rows_come_back_in_order_over_parts_and_stores(tmp_path: Path) -> None:
    write_crops(tmp_path / "a", some_rows(5), rows_per_part=2)
    write_crops(tmp_path / "a", some_rows(2, 5))
    write_crops(tmp_path / "b", some_rows(3, 7))
    assert len(list((tmp_path / "a").glob("part-*"))) == 4
    store = open_crops(tmp_path / "a", tmp_path / "b")
    assert [row.id for row in store.rows] == [str(i) for i in range(10)]
    for name, shape in SHAPES.items():
        taken = store.take(name, [9, 0, 4])
        assert taken.shape == (3, *shape)
        assert [int(t.min()) for t in taken] == [9, 0, 4] == [int(t.max()) for t in taken]
    assert store.crops(6).depth[0, 0] == 6
    assert not store.live.any()
    assert set(store.column("person")) == {"anna"}
    with pytest.raises(IndexError, match="10 rows"):
        store.one("face", 10)


@pytest.mark.parametrize("name", ["a\x85b", "a\u2028b", "日本 語"])
def test_any_name_comes_back(name: str, tmp_path: Path) -> None:
    """What ``splitlines`` takes for the end of a line may stand in a file's name."""
    store = write_crops(tmp_path, [(replace(ROW, clip=name), some_crops(1))] * 2)
    assert [row.clip for row in store.rows] == [name] * 2


def test_two_writers_share_a_store(tmp_path: Path) -> None:
    threads = [
        threading.Thread(
            target=write_crops, args=(tmp_path, some_rows(6, 6 * i)), kwargs={"rows_per_part": 1}
        )
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = open_crops(tmp_path)
    assert sorted(int(row.id) for row in store.rows) == list(range(12))


def test_a_failing_writer_leaves_whole_parts_only(tmp_path: Path) -> None:
    def fail() -> None:
        with CropWriter(tmp_path, rows_per_part=2) as writer:
            for row, crops in some_rows(3):
                writer.add(row, crops)
            raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        fail()
    assert len(open_crops(tmp_path)) == 2
    assert not list(tmp_path.glob(".part-*"))


def test_refuses_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CropStoreError, match="found none; make one with padflow crops or"):
        open_crops(tmp_path / "gone")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(CropStoreError, match=r"letter\.txt"):
        CropWriter(tmp_path / "other")
    with pytest.raises(CropStoreError, match=r"depth: expected uint8 \(32, 32\)"):
        replace(some_crops(1), depth=np.zeros((32, 32), np.float32))
    with pytest.raises(ValueError, match="does not go with"):
        replace(ROW, label="live")


def test_names_the_damage(tmp_path: Path) -> None:
    write_crops(tmp_path, some_rows(2))
    part = tmp_path / "part-0000"
    table = (part / "table.jsonl").read_text().splitlines()
    (part / "table.jsonl").write_text("\n".join(table[:1]))
    with pytest.raises(CropStoreError, match=r"face\.npy: expected uint8 \(1, 256"):
        open_crops(tmp_path)
    row = json.loads(table[1]) | {"species": "wax"}
    (part / "table.jsonl").write_text("\n".join([table[0], json.dumps(row)]))
    with pytest.raises(CropStoreError, match="line 2: species"):
        open_crops(tmp_path)
    (part / "table.jsonl").write_bytes(b"\xff")
    with pytest.raises(CropStoreError, match=r"table\.jsonl: cannot be read"):
        open_crops(tmp_path)
    (part / "table.jsonl").write_text("\n".join(table))
    (part / "face.npy").write_bytes(b"short")
    with pytest.raises(CropStoreError, match=r"face\.npy: cannot be read"):
        open_crops(tmp_path)
