"""One presentation on disk, whatever the dataset, and a dataset as it was found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...engines.errors import EngineError

Label = Literal["live", "attack"]
Part = Literal["train", "dev", "test", ""]

SPECIES = ("live", "print", "screen", "mask", "partial", "makeup")
"""PAI species; ``live`` is the species of bona fide presentations."""

_SHOWN = 8
"""Names of a kind that a report spells out; the dataset itself holds all of them."""


class DataError(EngineError):
    """A dataset, a protocol or a split is not what it must be; the text is one sentence."""

    wrong_use = True


@dataclass(frozen=True, slots=True)
class Sample:
    """One presentation: a video, a picture, a folder of ordered frames, or a frame of those."""

    path: Path
    """The file or folder."""
    dataset: str
    """Name of the layout that read it: ``oulu-npu``. Persons are told apart within a dataset."""
    label: Label
    """Bona fide (``live``) or attack presentation."""
    species: str
    """One of :data:`SPECIES`."""
    instrument: str = ""
    """Sub-species of an attack as ``species:kind`` (``print:cut``); empty for live."""
    person: str = ""
    """Who is shown; empty: not known."""
    shows: tuple[str, ...] = ()
    """Other persons of whom it shows something, such as whose face a mask is of."""
    session: str = ""
    """Session, light or scene, in the dataset's own words."""
    camera: str = ""
    """Capturing device, in the dataset's own words."""
    medium: str = ""
    """Printer, display or mask maker of an attack; empty for live or where it is not known."""
    split: Part = ""
    """Part that the dataset itself puts it in; empty: the dataset has no parts."""
    frame: int | None = None
    """Index of this picture in its video; None: the sample is the whole item."""
    box: tuple[float, float, float, float] | None = None
    """Face as x, y, width, height in pixels of the picture, where the reader knows it."""
    onset: float | None = None
    """Seconds at which an attack comes before a living face; None: one thing throughout."""
    clip: str = ""
    """Name of the recording within its dataset: its path relative to the root without suffix or,
    for a single frame, what the frames of one recording share."""

    @property
    def recording(self) -> str:
        """Name of the recording: what must never stand on both sides of a split."""
        return f"{self.dataset}/{self.clip or self.path.name}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was found under a folder, and what was not as expected. Paths are relative to root."""

    name: str
    """Name of the layout."""
    root: Path
    samples: tuple[Sample, ...]
    """All that can be used, in order of path."""
    missing: tuple[str, ...] = ()
    """What the dataset has and this folder has not."""
    unreadable: tuple[str, ...] = ()
    """Files of no bytes, that may not be read or whose names are no UTF-8, and folders without
    frames."""
    surplus: tuple[str, ...] = ()
    """Files that do not belong to the dataset, and second copies."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, unreadable or surplus."""
        return not (self.missing or self.unreadable or self.surplus)

    def report(self) -> str:
        """One line of counts, then a line for each kind of deviation, with names."""
        live = sum(s.label == "live" for s in self.samples)
        lines = [f"{self.name} in {self.root}: {live} live, {len(self.samples) - live} attack"]
        for kind in ("missing", "unreadable", "surplus"):
            names: tuple[str, ...] = getattr(self, kind)
            if names:
                lines.append(f"{len(names)} {kind}: {_some(names)}")
        return "\n".join(lines)


def counts(samples: Iterable[Sample]) -> Mapping[str, tuple[int, int]]:
    """Live and attack samples of each part that a dataset gives (``train`` -> (live, attack))."""
    found: dict[str, list[int]] = {}
    for sample in samples:
        pair = found.setdefault(sample.split, [0, 0])
        pair[sample.label == "attack"] += 1
    return {part: (live, attack) for part, (live, attack) in found.items()}


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
