"""The sequence store: face crops of one track in order of time, on disk, and nothing of torch.

A folder of sequences, each written aside and renamed, so that a store is whole whenever it is read
and making it can go on after an interruption:

    store/
        1f0c…/                 (a hash of the sequence's id)
            face.npy           uint8 (F, 256, 256, 3)    RGB, as ``align.crops`` gives them
            depth.npy          uint8 (F, 32, 32)         label: 255 nearest, 0 background, planes
            times.npy          float64 (F,)              capture time in seconds, rising
            places.npy         float32 (F, 2, 1024)      the canonical grid, in shares of the side
            pulse.npy          float32 (50,)             label: spectrum of the pulse, attacks 0
            sequence.json      one SequenceRow
            stages-…/          what a depth network sees in them (:mod:`.stages`)

Places are missing in stores that were cut before there was any use for them, and the pulse besides
where the living clip is too short or too slow to have one (:func:`.cutting.clip_pulse`).
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, MinLen
from pydantic import TypeAdapter, ValidationError

from ...engines.errors import EngineError
from ...nodes.spectrum import PULSE_BINS
from ..crops import Label, Pixels, Species

ROW = "sequence.json"
FACE = (256, 256, 3)
DEPTH = (32, 32)
PLACES = (2, 1024)
PULSE = (PULSE_BINS,)
FEWEST = 3
"""Samples of a sequence, at least."""

Times = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


class SequenceStoreError(EngineError):
    """A sequence store cannot be read or written as asked."""

    wrong_use = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRow:
    """What is known of one sequence."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: Annotated[str, MinLen(1)]
    """Unique in the store."""
    label: Label
    species: Species
    """``live`` exactly where the label is ``live``."""
    instrument: str
    """Sub-species, such as ``print:laser``; empty for live."""
    person: Annotated[str, MinLen(1)]
    """Who stands there or, of a print or a screen, is shown."""
    shows: str = ""
    """Whose face a mask or a paper shows, where that is another's."""
    medium: str
    camera: str
    source: str
    """Where the footage comes from."""
    frames: Annotated[int, Ge(FEWEST)]

    def __post_init__(self) -> None:
        """Refuse a row that contradicts itself."""
        if (self.label == "live") != (self.species == "live"):
            raise ValueError(f"label {self.label!r} does not go with species {self.species!r}")

    @property
    def persons(self) -> frozenset[str]:
        """Everybody whose face or body is in it."""
        return frozenset((self.person, self.shows)) - {""}


@dataclass(frozen=True, slots=True)
class SequenceArrays:
    """The crops of one sequence."""

    face: Pixels
    """uint8 (F, 256, 256, 3), RGB."""
    depth: Pixels
    """uint8 (F, 32, 32)."""
    times: Times
    """float64 (F,), seconds, rising."""
    places: Floats | None = None
    """float32 (F, 2, 1024), as of :meth:`~padflow.nodes.skin.SkinMapper.shares`."""
    pulse: Floats | None = None
    """float32 (50,), as of :func:`~padflow.trainers.labels.pulse.pulse_label`."""


@dataclass(frozen=True, slots=True)
class StoredSequence:
    """A sequence on disk; its arrays are read as memory maps when they are asked for."""

    folder: Path
    row: SequenceRow

    @property
    def face(self) -> Pixels:
        """uint8 (F, 256, 256, 3), a read-only view of the file."""
        return self._array("face")

    @property
    def depth(self) -> Pixels:
        """uint8 (F, 32, 32), a read-only view of the file."""
        return self._array("depth")

    @property
    def times(self) -> Times:
        """float64 (F,), seconds."""
        return np.array(self._array("times"))

    @property
    def places(self) -> Floats | None:
        """float32 (F, 2, 1024), a read-only view of the file; None where there is none."""
        return self._array("places") if self._path("places").is_file() else None

    @property
    def pulse(self) -> Floats | None:
        """float32 (50,); None where there is none."""
        return np.array(self._array("pulse")) if self._path("pulse").is_file() else None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _array(self, name: str) -> npt.NDArray[Any]:
        path, (dtype, shape) = self._path(name), _kinds(self.row.frames)[name]
        try:
            found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SequenceStoreError(f"{path}: cannot be read: {error}; cut it anew") from error
        if found.dtype != dtype or found.shape != shape:
            raise SequenceStoreError(
                f"{path}: expected {dtype.__name__} {shape}, found {found.dtype} {found.shape}; "
                "cut it anew"
            )
        return found


def _kinds(frames: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape of every array of a sequence by name; places and pulse may be missing."""
    return {
        "face": (np.uint8, (frames, *FACE)),
        "depth": (np.uint8, (frames, *DEPTH)),
        "times": (np.float64, (frames,)),
        "places": (np.float32, (frames, *PLACES)),
        "pulse": (np.float32, PULSE),
    }


def sequence_folder(store: Path, sequence_id: str) -> Path:
    """Where a sequence lies in a store."""
    return store / hashlib.sha256(sequence_id.encode()).hexdigest()[:16]


def write_sequence(store: Path, row: SequenceRow, arrays: SequenceArrays) -> StoredSequence:
    """Write one sequence; it is whole or not there.

    Raises:
        SequenceStoreError: the arrays do not go with each other, or it is there already.
    """
    _check(row, arrays)
    folder = sequence_folder(store, row.id)
    store.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".sequence-", dir=store))
    try:
        for name in _kinds(row.frames):
            array = getattr(arrays, name)
            if array is not None:
                np.save(aside / f"{name}.npy", array)
        (aside / ROW).write_text(json.dumps(asdict(row), ensure_ascii=False) + "\n", "utf-8")
        aside.chmod(0o755)
        os.rename(aside, folder)
    except OSError as error:
        raise SequenceStoreError(f"{folder}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return StoredSequence(folder, row)


def open_sequences(stores: Sequence[Path]) -> list[StoredSequence]:
    """All sequences of some stores, in order of their ids.

    Raises:
        SequenceStoreError: a folder holds no sequence, a row cannot be read, or two share an id.
    """
    found: dict[str, StoredSequence] = {}
    for store in stores:
        inside = list(_sequences_in(store))
        if not inside:
            raise SequenceStoreError(
                f"{store}: expected a sequence store, found no sequence in it; make one with "
                "padflow sequences"
            )
        for one in inside:
            if one.row.id in found:
                raise SequenceStoreError(
                    f"{one.folder}: expected ids that are unique, found {one.row.id} also in "
                    f"{found[one.row.id].folder}; name the stores apart, or give one of them"
                )
            found[one.row.id] = one
    return [found[name] for name in sorted(found)]


def _sequences_in(store: Path) -> Iterator[StoredSequence]:
    for path in sorted(store.glob(f"[!.]*/{ROW}")):
        try:
            row = _adapter().validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            told = " ".join(str(error).split())
            raise SequenceStoreError(f"{path}: cannot be read: {told}; cut it anew") from error
        yield StoredSequence(path.parent, row)


@cache
def _adapter() -> TypeAdapter[SequenceRow]:
    return TypeAdapter(SequenceRow)


def _check(row: SequenceRow, arrays: SequenceArrays) -> None:
    for name, (dtype, shape) in _kinds(row.frames).items():
        array = getattr(arrays, name)
        if array is None:
            continue
        if array.dtype != dtype or array.shape != shape:
            raise SequenceStoreError(
                f"sequence {row.id}: {name}: expected {dtype.__name__} {shape}, "
                f"found {array.dtype} {array.shape}"
            )
    if not (np.diff(arrays.times) > 0).all():
        raise SequenceStoreError(f"sequence {row.id}: expected times that rise")
