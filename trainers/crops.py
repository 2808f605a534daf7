"""The crop store: what the networks learn from, on disk, and nothing of torch.

A folder of parts, each written aside and renamed, so that a store is whole whenever it is read and
the processes of one command may write to one (:func:`~padflow.engines.locks.sole_writer` keeps
those of another out):

    store/
        order.json          what it was begun with, for who goes on with it
        part-0000/
            face.npy      uint8 (N, 256, 256, 3)    scale 1.5 of the mesh's box, RGB
            context.npy   uint8 (N, 160, 160, 3)    scale 4.0; black outside the frame
            patches.npy   uint8 (N, 4, 96, 96, 3)   at the frame's own resolution
            depth.npy     uint8 (N, 32, 32)         255 nearest, 0 background and planes
            table.jsonl   one CropRow an object and line

A patch that is black all over is absent (the face was too small for it); readers skip it.
A store also gives the derived arrays of :mod:`padflow.trainers.features`.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, MinLen
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from ..engines.errors import EngineError
from ..engines.locks import LOCK
from ..engines.whole_file import write_whole
from .features import SIGHTS, Sight, part_features

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]
"""Pixels, or features derived from them."""
Indices = Sequence[int] | npt.NDArray[np.integer]
Label = Literal["live", "attack"]
Species = Literal["live", "print", "screen", "mask", "partial"]

SHAPES: Mapping[str, tuple[int, ...]] = {
    "face": (256, 256, 3),
    "context": (160, 160, 3),
    "patches": (4, 96, 96, 3),
    "depth": (32, 32),
}
"""Shape of one row's array, by the array's name; all are uint8."""
TABLE = "table.jsonl"
ORDER = "order.json"
_BESIDE = (ORDER, LOCK)
"""Files of a store that are no parts."""
_TOLD = 3
"""Settings that differ of which a refusal tells."""


class CropStoreError(EngineError):
    """A crop store cannot be read or written as asked."""

    wrong_use = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRow:
    """What is known of one row of crops."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: Annotated[str, MinLen(1)]
    """Unique in the store."""
    label: Label
    species: Species
    """``live`` exactly where the label is ``live``."""
    instrument: str
    """Sub-species, such as ``print:laser`` or ``screen:phone``; empty for live."""
    person: Annotated[str, MinLen(1)]
    medium: str
    """The printer, screen or mask; empty for live."""
    camera: str
    source: str
    """Where the footage comes from."""
    seed: Annotated[int, Ge(0)]
    face_px: FiniteFloat
    """Longer side of the mesh's box in the frame, in pixels."""
    clip: str
    """Frames of one clip share it."""
    shows: tuple[str, ...] | None = None
    """Other persons of whom it shows something: who lent features, whose face a mask or a paper
    shows, who holds the medium. None: not known, as in stores of before this was kept."""

    @property
    def persons(self) -> frozenset[str]:
        """Everybody of whom it is known to show something."""
        return frozenset((self.person, *(self.shows or ())))

    def __post_init__(self) -> None:
        """Refuse a row that contradicts itself."""
        if (self.label == "live") != (self.species == "live"):
            raise ValueError(f"label {self.label!r} does not go with species {self.species!r}")


@dataclass(frozen=True, slots=True)
class Crops:
    """The arrays of one row."""

    face: Pixels
    """uint8 (256, 256, 3), RGB."""
    context: Pixels
    """uint8 (160, 160, 3), RGB."""
    patches: Pixels
    """uint8 (4, 96, 96, 3), RGB; a patch that is black all over is absent."""
    depth: Pixels
    """uint8 (32, 32)."""

    def __post_init__(self) -> None:
        """Refuse arrays of another shape or type, by name."""
        for name, shape in SHAPES.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.uint8:
                raise CropStoreError(
                    f"crops: {name}: expected uint8 {shape}, found {array.dtype} {array.shape}"
                )


class CropWriter:
    """Writes rows to a store, part by part; leaving it as a context writes the rest.

    Where the body raises, the rows of the unfinished part are dropped and the store stays whole.
    """

    def __init__(self, folder: Path | str, *, rows_per_part: int = 512) -> None:
        """Append to the store in ``folder``, which is made if it is not there.

        Raises:
            CropStoreError: ``folder`` holds something that is no crop store.
        """
        self.folder = Path(folder)
        self.rows_per_part = rows_per_part
        self._rows: list[CropRow] = []
        self._crops: list[Crops] = []
        if self.folder.is_dir() and any(self.folder.iterdir()) and not _parts(self.folder):
            inside = [path.name for path in self.folder.iterdir() if path.name not in _BESIDE]
            if not all(name.startswith(".part-") for name in inside):
                raise CropStoreError(
                    f"{self.folder}: expected a crop store or an empty folder, found "
                    f"{min(inside)}; give another folder"
                )
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, row: CropRow, crops: Crops) -> None:
        """Append one row; a full part is written at once."""
        self._rows.append(row)
        self._crops.append(crops)
        if len(self._rows) >= self.rows_per_part:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a part of their own, even if it is a small one."""
        if not self._rows:
            return
        aside = Path(tempfile.mkdtemp(prefix=".part-", dir=self.folder))
        try:
            for name in SHAPES:
                np.save(aside / f"{name}.npy", np.stack([getattr(c, name) for c in self._crops]))
            lines = (json.dumps(asdict(row), ensure_ascii=False) for row in self._rows)
            (aside / TABLE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            aside.chmod(0o755)
            _into_next_part(aside, self.folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._rows.clear()
        self._crops.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.flush()


@dataclass(frozen=True, slots=True)
class CropStore:
    """One or several stores, read as one: rows in order, arrays as memory maps.

    Picklable by :func:`open_crops` anew in each process; holds no file in memory.
    """

    folders: tuple[Path, ...]
    rows: tuple[CropRow, ...]
    _maps: Mapping[str, tuple[Pixels, ...]]
    _starts: npt.NDArray[np.int64]
    _kept: npt.NDArray[np.int64] | None = None
    """Which rows of the files these are; None: all."""
    _parts: tuple[Path, ...] = ()
    """Folder of each part, where derived arrays are kept."""
    _features: dict[tuple[int, str], npt.NDArray[np.float32]] = field(default_factory=dict)
    """Features of each part by their name, once they have been asked for."""

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, indices: Indices) -> Self:
        """A store of some of the rows, in the order given; the files stay where they are."""
        wanted = np.asarray(indices, np.int64)
        kept = wanted if self._kept is None else self._kept[wanted]
        return replace(self, rows=tuple(self.rows[int(i)] for i in wanted), _kept=kept)

    def crops(self, index: int) -> Crops:
        """The arrays of one row, as read-only views of the file."""
        part, place = self._place(index)
        return Crops(**{name: self._maps[name][part][place] for name in SHAPES})

    def one(self, name: str, index: int) -> Pixels:
        """One array of one row, as a read-only view of the file."""
        part, place = self._place(index)
        view: Pixels = self._maps[name][part][place]
        return view

    def folder_of(self, index: int) -> Path:
        """The folder of the store that a row lies in."""
        part, _ = self._place(index)
        return self._parts[part].parent

    def sight(self, sight: Sight, index: int) -> Pixels:
        """The pictures of one row that a third-party network sees, uint8 (V, 160, 160, 3)."""
        return self._seen(sight, *self._place(index))

    def features(self, sight: Sight, index: int) -> npt.NDArray[np.float32]:
        """What a third-party network sees in those pictures, float32 (V * 9728,).

        Raises:
            ModelMissing: that network has not been pulled.
        """
        part, place = self._place(index)
        key = part, sight.features
        if key not in self._features:
            rows = len(self._maps["face"][part])
            self._features[key] = part_features(
                self._parts[part], rows, sight, partial(self._seen, sight, part)
            )
        view: npt.NDArray[np.float32] = self._features[key][place]
        return view

    def take(self, name: str, indices: Indices) -> Values:
        """A copy of one array of several rows, (len(indices), ...), stored or derived."""
        if not len(indices):
            return _nothing(name)
        get: Callable[[int], Values] = partial(self.one, name)
        for sight in SIGHTS.values():
            if name == sight.pictures:
                get = partial(self.sight, sight)
            if name == sight.features:
                get = partial(self.features, sight)
        return np.stack([get(int(i)) for i in indices])

    def column(self, name: str) -> npt.NDArray[np.str_]:
        """A column of the table as text, (N,)."""
        return np.array([str(getattr(row, name)) for row in self.rows], dtype=np.str_)

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        """Which rows are bona fide, (N,)."""
        return np.array([row.label == "live" for row in self.rows], dtype=np.bool_)

    def _seen(self, sight: Sight, part: int, place: int) -> Pixels:
        return sight.cut(*(self._maps[name][part][place] for name in sight.crops))

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a crop store with {len(self)} rows")
        if self._kept is not None:
            index = int(self._kept[index])
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return part, index - int(self._starts[part])


def _nothing(name: str) -> Values:
    if name in SIGHTS:
        return np.zeros((0, SIGHTS[name].length), np.float32)
    shapes = {**SHAPES, **{sight.pictures: sight.shape for sight in SIGHTS.values()}}
    return np.zeros((0, *shapes[name]), np.uint8)


def open_crops(*folders: Path | str) -> CropStore:
    """Open one or several crop stores as one, checked: shapes, types, counts and every row.

    Raises:
        CropStoreError: a folder is no crop store, or a part of it is damaged; says which and why.
    """
    paths = tuple(Path(folder) for folder in folders)
    rows: list[CropRow] = []
    maps: dict[str, list[Pixels]] = {name: [] for name in SHAPES}
    starts: list[int] = []
    places: list[Path] = []
    for folder in paths:
        if not (parts := _parts(folder)):
            raise CropStoreError(
                f"{folder}: expected a crop store with parts such as part-0000, found none; "
                "make one with padflow crops or padflow synthesise"
            )
        for part in parts:
            starts.append(len(rows))
            places.append(part)
            found = _table(part)
            for name in SHAPES:
                maps[name].append(_mapped(part, name, len(found)))
            rows.extend(found)
    return CropStore(
        paths,
        tuple(rows),
        {name: tuple(parts) for name, parts in maps.items()},
        np.array(starts, dtype=np.int64),
        _parts=tuple(places),
    )


def begin_store(folder: Path, order: Mapping[str, Any]) -> None:
    """Keep what a new store is begun with; refuse to go on with one that was begun otherwise.

    A store without a part yet is new. Stores from before this was kept are gone on with whatever
    is asked.

    Args:
        folder: The store's, which is there.
        order: Settings by name, of values that JSON has; those of all parts, and no others.

    Raises:
        CropStoreError: the store was begun with other settings; says which.
    """
    path = folder / ORDER
    if not _parts(folder):
        write_whole(path, json.dumps(order, ensure_ascii=False, indent=1) + "\n")
        return
    if not path.is_file():
        return
    try:
        before = dict(_settings(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        raise CropStoreError(f"{path}: cannot be read: {error}; give another folder") from error
    asked = dict(_settings(json.loads(json.dumps(order))))
    differing = [
        f"{name}: {before.get(name, 'nothing')} there, {asked.get(name, 'nothing')} asked"
        for name in [*before, *(name for name in asked if name not in before)]
        if before.get(name) != asked.get(name)
    ]
    if differing:
        more = f" and {len(differing) - _TOLD} more" if len(differing) > _TOLD else ""
        raise CropStoreError(
            f"{folder}: expected the settings that this store was begun with, found others "
            f"({'; '.join(differing[:_TOLD])}{more}); give those to go on, or another folder"
        )


def _settings(order: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each single setting by the names of all levels that it lies in."""
    if not isinstance(order, Mapping):
        yield name, order
        return
    for inner, value in order.items():
        yield from _settings(value, f"{name} {inner}".lstrip())


def write_crops(
    folder: Path | str, items: Iterable[tuple[CropRow, Crops]], *, rows_per_part: int = 512
) -> CropStore:
    """Append ``items`` to a store and open it."""
    with CropWriter(folder, rows_per_part=rows_per_part) as writer:
        for row, crops in items:
            writer.add(row, crops)
    return open_crops(folder)


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("part-*") if (path / TABLE).is_file())


def _into_next_part(aside: Path, folder: Path) -> None:
    number = len(_parts(folder))
    while True:
        target = folder / f"part-{number:04d}"
        try:
            os.rename(aside, target)  # Fails where another writer was faster: parts are not empty.
        except OSError:
            if not target.exists():
                raise
            number += 1
        else:
            return


@cache
def _row_adapter() -> TypeAdapter[CropRow]:
    return TypeAdapter(CropRow)


def _table(part: Path) -> list[CropRow]:
    rows = []
    for number, line in enumerate(_lines(part / TABLE), 1):
        try:
            rows.append(_row_adapter().validate_json(line))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(place) for place in fault["loc"]) or "row"
            raise CropStoreError(
                f"{part / TABLE}, line {number}: {where}: {fault['msg'].lower()}; remove the part "
                "and make it anew"
            ) from error
    return rows


def _lines(path: Path) -> list[str]:
    """The lines of a table: a name may hold what ``splitlines`` takes for the end of one."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            return list(file)
    except (OSError, UnicodeDecodeError) as error:
        raise CropStoreError(
            f"{path}: cannot be read: {error}; remove the part and make it anew"
        ) from error


def _mapped(part: Path, name: str, rows: int) -> Pixels:
    path = part / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CropStoreError(f"{path}: cannot be read: {error}; make the part anew") from error
    found: Pixels = array
    if array.dtype != np.uint8 or array.shape != (rows, *SHAPES[name]):
        raise CropStoreError(
            f"{path}: expected uint8 {(rows, *SHAPES[name])} as the table says, found "
            f"{array.dtype} {array.shape}; remove the part and make it anew"
        )
    return found
