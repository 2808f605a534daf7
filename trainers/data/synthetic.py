"""The synthetic protocols S1 to S4, in OULU-NPU's likeness, over the rows of a crop store.

Persons never stand in two parts, whatever the protocol; under S2 to S4 the media, the cameras or
both of test stand in no other part. Parts are drawn by the hash of the names, so that the same
names always fall the same way. A row whose person, medium and camera fell into different parts is
left out, as in OULU-NPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...graph.schema import unknown_name
from .protocols import PARTS, draw_parts
from .sample import DataError

Indices = npt.NDArray[np.int64]
Row = Mapping[str, Any]
"""A row of ``table.jsonl``: label, species, instrument, person, medium, camera, clip."""

SYNTHETIC: Mapping[str, tuple[str, ...]] = {
    "S1": ("person",),
    "S2": ("person", "medium"),
    "S3": ("person", "camera"),
    "S4": ("person", "medium", "camera"),
}
"""What is unseen in test and dev. Published OULU-NPU protocols are disjoint by person too."""

DEV_SHARE = 0.2
TEST_SHARE = 0.3
"""Shares of the names of every factor (media: of every species)."""
_OWN_DEV = 5
"""Media or cameras from which on dev gets its own; with fewer, train needs all that are seen."""


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Rows of each part, as sorted indices, int64 (n,)."""

    protocol: str
    train: Indices
    dev: Indices
    test: Indices
    left_out: int
    """Rows whose factors fell into different parts."""
    notes: tuple[str, ...] = ()
    """What could not be kept apart, in one sentence each."""

    def part(self, name: str) -> Indices:
        """The rows of ``train``, ``dev`` or ``test``."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def synthetic_protocols() -> tuple[str, ...]:
    """Names of the synthetic protocols."""
    return tuple(SYNTHETIC)


def split_rows(
    rows: Sequence[Row],
    protocol: str,
    dev_share: float = DEV_SHARE,
    test_share: float = TEST_SHARE,
) -> RowSplit:
    """Put rows into the parts of S1 to S4.

    Live rows take part by person and camera. With fewer than five cameras, or media of a species,
    dev shares those of train, as in OULU-NPU; with five it has its own. Of a single name nothing
    can be unseen: an attack species with one medium is not tested under S2 and S4, and a note
    says so.

    Args:
        rows: Rows of a crop store's table.
        protocol: ``S1`` unseen person, ``S2`` unseen medium, ``S3`` unseen camera, ``S4`` all.
        dev_share: Share of each factor's names for dev, 0 to 1.
        test_share: Share of each factor's names for test, 0 to 1.

    Raises:
        DataError: the protocol is unknown, a row has no person, there are fewer than three
            persons or two cameras, or a part has no live or no attack row.
    """
    if protocol not in SYNTHETIC:
        raise DataError(f"protocol: {unknown_name(protocol, synthetic_protocols())}")
    _demand_persons(rows)
    homes = {factor: _homes(rows, factor, dev_share, test_share) for factor in SYNTHETIC[protocol]}
    _demand_enough(homes, protocol)
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    for index, row in enumerate(rows):
        for part in PARTS:
            if all(part in homes[f].get(_name(row, f), PARTS) for f in homes):
                found[part].append(index)
    for part in PARTS:
        _demand_both(rows, found[part], protocol, part)
    parts = {part: np.asarray(found[part], np.int64) for part in PARTS}
    used = sum(len(indices) for indices in found.values())
    made = RowSplit(
        protocol, parts["train"], parts["dev"], parts["test"], len(rows) - used, _notes(homes)
    )
    check_rows_disjoint(rows, made)
    return made


def check_rows_disjoint(rows: Sequence[Row], made: RowSplit) -> None:
    """Prove that no person and no clip stands in two parts, and no unseen factor in test and train.

    Raises:
        DataError: one does; the sentence names it.
    """
    unseen = [f for f in SYNTHETIC[made.protocol] if f != "person"]
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        factors = ["person", "clip", *(unseen if other == "test" else [])]
        for factor in factors:
            a, b = (_names(rows, made.part(part), factor) for part in (one, other))
            if a & b:
                raise DataError(
                    f"protocol {made.protocol}: expected every {factor} in one part only, found "
                    f"{sorted(a & b)[0]} in {one} and {other}; give each its own name"
                )


def _names(rows: Sequence[Row], indices: Indices, factor: str) -> set[str]:
    return {name for i in indices if (name := _name(rows[i], factor))}


def _name(row: Row, factor: str) -> str:
    """A row's value of a factor; a medium counts within its species, live rows have none."""
    if factor != "medium":
        return str(row.get(factor) or "")
    if row["label"] == "live":
        return ""
    return f"{row['species']}/{row.get('medium') or row.get('instrument') or ''}"


def _homes(
    rows: Sequence[Row], factor: str, dev_share: float, test_share: float
) -> dict[str, tuple[str, ...]]:
    """The parts in which each name of a factor may stand; media are drawn species by species."""
    names = {name for row in rows if (name := _name(row, factor))}
    groups = {name.partition("/")[0] if factor == "medium" else "" for name in names}
    homes: dict[str, tuple[str, ...]] = {}
    for group in sorted(groups):
        ours = {n for n in names if factor != "medium" or n.partition("/")[0] == group}
        enough = factor == "person" or len(ours) >= _OWN_DEV
        drawn = draw_parts(ours, dev_share if enough else 0.0, test_share)
        lacks_dev = "dev" not in drawn.values()
        for name, part in drawn.items():
            homes[name] = ("train", "dev") if lacks_dev and part == "train" else (part,)
    return homes


def _notes(homes: Mapping[str, Mapping[str, tuple[str, ...]]]) -> tuple[str, ...]:
    media = homes.get("medium", {})
    tested = {name.partition("/")[0] for name, parts in media.items() if "test" in parts}
    untested = sorted({name.partition("/")[0] for name in media} - tested)
    return tuple(f"{s}: a single medium, so that none is unseen; not tested" for s in untested)


def _demand_persons(rows: Sequence[Row]) -> None:
    for row in rows:
        if not row.get("person"):
            raise DataError(
                f"crop row {row.get('id', '?')}: expected a person, found none; "
                "without persons no split can be proved disjoint"
            )


def _demand_enough(homes: Mapping[str, Mapping[str, tuple[str, ...]]], protocol: str) -> None:
    for factor, least in (("person", 3), ("camera", 2)):
        if factor in homes and len(homes[factor]) < least:
            raise DataError(
                f"protocol {protocol}: expected at least {least} {factor}s, found "
                f"{len(homes[factor])}; add data"
            )


def _demand_both(rows: Sequence[Row], indices: Sequence[int], protocol: str, part: str) -> None:
    live = sum(rows[i]["label"] == "live" for i in indices)
    if not live or live == len(indices):
        raise DataError(
            f"protocol {protocol}: expected live and attack rows in {part}, found {live} and "
            f"{len(indices) - live}; add persons, media or cameras"
        )
