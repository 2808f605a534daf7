"""Plain folders, the layout for one's own data: ``live/`` and ``attack/<species>/``."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ...graph.schema import unknown_name
from ...nodes.sources import PICTURES, natural_order
from .files import VIDEOS, readable
from .sample import SPECIES, DataError, Dataset, Sample

PERSONS = "persons.csv"
"""Optional list in the root: header ``item,person``, items as paths relative to the root."""

_ALIASES = {
    "replay": "screen",
    "video": "screen",
    "display": "screen",
    "photo": "print",
    "paper": "print",
    "3dmask": "mask",
    "3d_mask": "mask",
}
"""Other names that folders of the field go by."""

LABELS = "labels.csv"
"""Optional list in the root, as ``padflow attacks`` writes it: columns ``item``, ``person`` and,
where they are known, ``medium``, ``camera`` and ``onset``."""
_BESIDE = ("live", "attack", PERSONS, LABELS, "parameters.json", "contact-sheet.png")
"""What may lie in the root."""


def read_plain(root: Path) -> Dataset:
    """Read ``live/<item>`` and ``attack/<species>/<item>``.

    An item is a video, a picture or a folder of ordered frames. A folder without frames of its
    own groups items: below ``attack/<species>`` it names the instrument
    (``attack/print/laser/a.mp4`` is ``print:laser``), below ``live`` the session. Persons, media
    and cameras come from ``labels.csv``, persons from ``persons.csv`` before that, where there are
    such lists; an item that they do not name has no known person.

    Raises:
        DataError: neither folder is there, a species is unknown, or a list is malformed or says
            two things of one item.
    """
    if not (root / "live").is_dir() and not (root / "attack").is_dir():
        raise DataError(
            f"dataset {root}: expected the folders live and attack/<species>, found neither; "
            "check the path or name the layout"
        )
    found = _Found(root)
    for entry in _entries(root):
        if entry.name not in _BESIDE:
            found.surplus.append(entry.name)
    found.take(root / "live", "live")
    for folder in _entries(root / "attack"):
        if folder.is_dir():
            found.take(folder, _species(root, folder.name))
        else:
            found.surplus.append(found.relative(folder))
    return _with_persons(found.dataset())


class _Found:
    """What has been found so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.samples: list[Sample] = []
        self.unreadable: list[str] = []
        self.surplus: list[str] = []

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def take(self, folder: Path, species: str) -> None:
        """Take the items of a species' folder, and those of its groups."""
        for entry in _entries(folder):
            if entry.is_dir() and not _frames(entry) and any(_entries(entry)):
                for item in _entries(entry):
                    self.add(item, species, entry.name)
            else:
                self.add(entry, species, "")

    def add(self, path: Path, species: str, group: str) -> None:
        """Take one item."""
        if path.is_dir():
            frames = _frames(path)
            usable = bool(frames) and any(readable(frame) for frame in frames)
            self.unreadable.extend(self.relative(f) for f in frames if not readable(f))
            if not frames:
                self.unreadable.append(self.relative(path))
            others = [e for e in _entries(path) if e not in frames] if frames else []
            self.surplus.extend(self.relative(e) for e in others)
        elif path.suffix.lower() in VIDEOS | PICTURES:
            usable = readable(path)
            if not usable:
                self.unreadable.append(self.relative(path))
        else:
            usable = False
            self.surplus.append(self.relative(path))
        if usable:
            clip = self.relative(path)
            self.samples.append(replace(_sample(path, species, group), clip=clip))

    def dataset(self) -> Dataset:
        unreadable, surplus = tuple(self.unreadable), tuple(self.surplus)
        return Dataset("plain", self.root, tuple(self.samples), (), unreadable, surplus)


def _sample(path: Path, species: str, group: str) -> Sample:
    if species == "live":
        return Sample(path, "plain", "live", "live", session=group)
    instrument = f"{species}:{group}" if group else ""
    return Sample(path, "plain", "attack", species, instrument, medium=group)


def _species(root: Path, folder: str) -> str:
    name = _ALIASES.get(folder.lower(), folder.lower())
    attacks = [s for s in SPECIES if s != "live"]
    if name not in attacks:
        raise DataError(
            f"dataset {root}, folder attack: {unknown_name(folder, attacks)}; a kind of its own "
            "goes one folder deeper: attack/print/<kind>"
        )
    return name


def _with_persons(found: Dataset) -> Dataset:
    lists = {name: _listed_items(found.root / name) for name in (LABELS, PERSONS)}
    told: dict[str, dict[str, str]] = {}
    for rows in lists.values():
        for item, row in rows.items():
            told.setdefault(item, {}).update(row)
    names = {s.path.relative_to(found.root).as_posix(): s for s in found.samples}
    samples = tuple(_with(sample, told.get(name, {})) for name, sample in names.items())
    gone = {*names, *found.unreadable}
    missing = tuple(
        f"{item} (in {name})" for name, rows in lists.items() for item in rows if item not in gone
    )
    return replace(found, samples=samples, missing=missing)


def _with(sample: Sample, row: dict[str, str]) -> Sample:
    return replace(
        sample,
        person=row.get("person", ""),
        medium=row.get("medium") or sample.medium,
        camera=row.get("camera", ""),
        onset=_seconds(row.get("onset", "")),
    )


def _seconds(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise DataError(f"list {LABELS}: expected seconds as onset, found {text!r}") from error


def _listed_items(path: Path) -> dict[str, dict[str, str]]:
    """What a list says of each item; nothing where there is no such list."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"list {path}: expected a CSV file, found {error}; correct it") from error
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or not {"item", "person"} <= row.keys():
            raise DataError(
                f"list {path}, line {number}: expected the columns item,person, found "
                f"{','.join(str(key) for key in row)}; correct the header or the line"
            )
    stripped = [{key: value.strip() for key, value in row.items()} for row in rows]
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(stripped, 2):
        item = row["item"].removesuffix("/")
        if found.setdefault(item, row) != row:
            raise DataError(
                f"list {path}, line {number}: expected one line for {item}, found another that "
                "says otherwise; remove one"
            )
    return found


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, in natural order, without hidden files; nothing where it is missing."""
    return list(_listed(folder)) if folder.is_dir() else []


def _listed(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=natural_order):
        if not path.name.startswith(".") and path.name.lower() != "thumbs.db":
            yield path


def _frames(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if p.suffix.lower() in PICTURES and p.is_file()]
