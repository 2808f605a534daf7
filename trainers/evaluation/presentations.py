"""What is evaluated: presentations with what is known of them, joined with what was scored."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path

import numpy as np

from .metrics import PAPER_GROUPS, EvaluationError, Scores

NEVER_SURER = 1e-6
"""``p_live`` is written with six decimals: nothing above 1 - this is told apart, or below this."""
FAILED = "ERROR"
"""State of an item that could not be read: no presentation, so in no rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the dataset says of one presentation."""

    item: str
    """Its name in scores.csv: the path as it was given to ``padflow score``."""
    live: bool
    species: str = ""
    """PAI species: print, screen, mask, partial; empty for bona fide presentations."""
    instrument: str = ""
    """Sub-species (print:laser); empty: the species is all that is known."""
    person: str = ""
    """Empty: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the system said of one item: a row of scores.csv."""

    p_live: float | None
    """0 to 1; None: no response."""
    state: str = ""
    """LIVE, SPOOF, UNDECIDED or ERROR; empty where the file has no such column."""
    llr: Mapping[str, float] = field(default_factory=dict)
    """Nats by cue that had a value."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """One presentation and its score."""

    known: Known
    scored: Scored

    @property
    def log_odds(self) -> float:
        """Of ``p_live``, kept within its six decimals (about -13.8 to 13.8); NaN: no response."""
        if self.scored.p_live is None:
            return float("nan")
        return log_odds(self.scored.p_live, NEVER_SURER)

    @property
    def kind(self) -> str:
        """The strict PAI species: the instrument where it is known."""
        return "" if self.known.live else self.known.instrument or self.known.species or "attack"

    @property
    def group(self) -> str:
        """The PAI species as the OULU-NPU papers group them."""
        name = self.known.species or "attack"
        return "" if self.known.live else PAPER_GROUPS.get(name, name)


def log_odds(p_live: float, least: float) -> float:
    """Nats; what is nearer to 0 or 1 than ``least`` counts as that.

    Scores and thresholds go the same way: a score equal to the threshold is at it, to the last bit.
    """
    p = min(max(p_live, least), 1 - least)
    return log(p / (1 - p))


def as_scores(some: Sequence[Presentation], *, strict: bool, cue: str = "") -> Scores:
    """Columns of the fused score (log-odds of ``p_live``) or of one cue (nats).

    A presentation whose person is not known counts as a person of its own.
    """
    values = [p.scored.llr.get(cue, float("nan")) if cue else p.log_odds for p in some]
    return Scores(
        np.array(values, float),
        np.array([p.known.live for p in some], bool),
        tuple(p.kind if strict else p.group for p in some),
        tuple(p.known.person or f"item {p.known.item}" for p in some),
    )


def joined(known: Iterable[Known], scored: Mapping[str, Scored], where: str) -> list[Presentation]:
    """Presentations in the order of ``known``.

    Args:
        known: what the dataset holds.
        scored: rows by item.
        where: the score file, for errors.

    Raises:
        EvaluationError: a presentation has no row.
    """
    presentations = list(known)
    missing = [k.item for k in presentations if k.item not in scored]
    if missing:
        raise EvaluationError(
            f"{where}: expected a row for each of the dataset's {len(presentations)} items, found "
            f"none for {len(missing)} of them, first {missing[0]}; score the same folder, or give "
            "--data as it was given then"
        )
    return [Presentation(k, scored[k.item]) for k in presentations]


def read_scores(path: Path) -> dict[str, Scored]:
    """Rows of a scores.csv by item.

    Raises:
        EvaluationError: a column is missing, a number is none, or an item has two rows.
        OSError: the file cannot be read.
    """
    found: dict[str, Scored] = {}
    for line, row in enumerate(_rows(path), start=2):
        where = f"{path} line {line}"
        if row["item"] in found:
            raise EvaluationError(f"{where}: {row['item']} has a row already; score each item once")
        p_live = _number(row["p_live"], where, "p_live")
        if p_live is not None and not 0 <= p_live <= 1:
            raise EvaluationError(f"{where}: expected p_live from 0 to 1, found {p_live}")
        cues = {
            name.removeprefix("llr_"): value
            for name in row
            if name.startswith("llr_") and (value := _number(row[name], where, name)) is not None
        }
        found[row["item"]] = Scored(p_live=p_live, state=row.get("state") or "", llr=cues)
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            columns = reader.fieldnames or ()
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(
            f"{path}: expected CSV text as padflow score writes it, found something else ({error})"
        ) from error
    for column in ("item", "p_live"):
        if column not in columns:
            raise EvaluationError(
                f"{path}: expected a column {column}, found {', '.join(columns) or 'nothing'}; "
                "give a file that padflow score wrote"
            )
    return rows


def _number(text: str, where: str, column: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise EvaluationError(
            f"{where}: expected a number or nothing in {column}, found {text!r}; leave it empty "
            "where there was no score"
        )
    return value
