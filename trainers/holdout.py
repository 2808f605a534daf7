"""Which crops are trained on and which are validated on: no person and no medium on both sides."""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .crops import CropRow, CropStore
from .recipe import HoldOut, TrainingError

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of a store on either side, and what keeps them apart."""

    train: Rows
    validation: Rows
    persons: tuple[str, ...]
    """Held out."""
    media: tuple[str, ...]
    """Held out."""


def names_of(text: str) -> list[str]:
    """Names that commas part; one that holds a comma stands in quotation marks, as in a CSV.

    Raises:
        TrainingError: quotation marks are not closed, or stand within a name.
    """
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise TrainingError(
            f"names {text!r}: expected commas between them and quotation marks around one that "
            f"holds a comma, found {error}; write them so"
        ) from error
    return [name for row in rows for name in row if name]


def names_text(names: Sequence[str]) -> str:
    """What :func:`names_of` reads as these names."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def split(store: CropStore, rule: HoldOut, without: Iterable[str] = ()) -> Split:
    """Divide a store by person and medium; where the rule holds nobody out, all is for training.

    A row of a training person that shows something of a held-out one (a mask of the face, features
    that were lent, somebody who holds a sheet) is on neither side: of a face that comes as a mask
    only, a network would learn that it is an attack.

    Args:
        store: the crops.
        rule: who and what is held out.
        without: sources that are on neither side.

    Raises:
        TrainingError: one side would have no live crop or no attack, or the rule names persons,
            media or cameras that are in no crop.
    """
    barred = set(without)
    rows = [(i, row) for i, row in enumerate(store.rows) if row.source not in barred]
    _check_names(store, "persons", rule.persons, {row.person for row in store.rows})
    _check_names(store, "media", rule.media, {row.medium for row in store.rows})
    _check_names(store, "cameras", rule.cameras, {row.camera for row in store.rows})
    persons = rule.persons or drawn({row.person for _, row in rows}, rule.share)
    media = rule.media or _drawn_media([row for _, row in rows], rule.share)
    sole = _sole_media([row for _, row in rows])
    held = frozenset(persons)
    train, validation = [], []
    for i, row in rows:
        person = row.person in held
        by_person = row.label == "live" or (row.species, row.medium) in sole
        if not by_person and person != (row.medium in media):
            continue
        if person:
            validation.append(i)
        elif row.camera not in rule.cameras and row.persons.isdisjoint(held):
            train.append(i)
    found = Split(
        np.array(train, np.int64),
        np.array(validation, np.int64),
        tuple(sorted(persons)),
        tuple(sorted(set(media))),
    )
    _check(store, found, ("training",) if rule.nobody else ("training", "validation"))
    return found


def drawn(names: Iterable[str], share: float) -> tuple[str, ...]:
    """A share of the names, at least one, the same whatever their order: by a hash of the name."""
    ranked = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    return tuple(ranked[: math.ceil(share * len(ranked))])


def _media_by_species(rows: Iterable[CropRow]) -> dict[str, set[str]]:
    media: dict[str, set[str]] = {}
    for row in rows:
        if row.label == "attack":
            media.setdefault(row.species, set()).add(row.medium)
    return media


def _drawn_media(rows: list[CropRow], share: float) -> tuple[str, ...]:
    groups = [names for names in _media_by_species(rows).values() if len(names) > 1]
    return tuple(name for names in groups for name in drawn(names, share))


def _sole_media(rows: list[CropRow]) -> set[tuple[str, str]]:
    return {
        (species, next(iter(names)))
        for species, names in _media_by_species(rows).items()
        if len(names) == 1
    }


def _check_names(store: CropStore, what: str, named: Iterable[str], there: set[str]) -> None:
    if strangers := sorted(set(named) - there):
        raise TrainingError(
            f"hold_out: expected {what} of {', '.join(map(str, store.folders))}, found "
            f"{', '.join(strangers)}; name some of {', '.join(sorted(there - {''}))}"
        )


def _check(store: CropStore, found: Split, sides: Iterable[str]) -> None:
    rows_of = {"training": found.train, "validation": found.validation}
    for side in sides:
        for label in ("live", "attack"):
            if not any(store.rows[i].label == label for i in rows_of[side]):
                raise TrainingError(
                    f"{', '.join(map(str, store.folders))}: expected {label} crops for {side}, "
                    f"found none with the persons {', '.join(found.persons)} and the media "
                    f"{', '.join(found.media) or '(none)'} held out; name others in the recipe's "
                    "hold_out, or make crops of more persons and media"
                )
