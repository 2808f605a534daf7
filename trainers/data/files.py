"""Walks a dataset's folder and sorts every file into samples, companions and surprises."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path, PurePosixPath

from ...nodes.sources import PICTURES, natural_order
from .sample import DataError, Dataset, Sample

VIDEOS = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".ts", ".mts", ".mpg", ".mpeg", ".wmv")
)
"""Suffixes of videos, lower case."""
_DOCUMENTS = frozenset((".txt", ".pdf", ".md", ".csv", ".doc", ".docx", ".html", ".m", ".xlsx"))
_LITTER = frozenset(("thumbs.db", "desktop.ini", "__macosx"))


class Claim(Enum):
    """What a file is that is no sample."""

    COMPANION = "belongs to the dataset: annotations, lists, papers"
    SURPLUS = "does not belong to the dataset"


Claimer = Callable[[PurePosixPath], Sample | Claim]
"""Says what a file is from its path relative to the root."""


def stem(path: PurePosixPath) -> str:
    """The file's name without its suffix."""
    return path.stem


def whole(path: PurePosixPath) -> str:
    """The relative path without its suffix."""
    return path.with_suffix("").as_posix()


def exact(path: PurePosixPath) -> str:
    """The relative path itself."""
    return path.as_posix()


def document(path: PurePosixPath) -> Claim:
    """A companion where a file is a text or paper in the root; surplus otherwise."""
    is_document = path.suffix.lower() in _DOCUMENTS and len(path.parts) == 1
    return Claim.COMPANION if is_document else Claim.SURPLUS


def collect(
    name: str,
    root: Path,
    claim: Claimer,
    expected: Iterable[str] = (),
    key: Callable[[PurePosixPath], str] = whole,
) -> Dataset:
    """Every file under a folder, sorted.

    Args:
        name: Name of the layout.
        root: The dataset's folder.
        claim: Says what a file is.
        expected: Keys of all that must be there.
        key: A file's key; of two files with one key the second is surplus.

    Raises:
        DataError: the folder cannot be read.
    """
    samples: dict[str, Sample] = {}
    seen: set[str] = set()
    unreadable: list[str] = []
    surplus: list[str] = []
    for path in walk(root):
        what = claim(path)
        if what is Claim.COMPANION:
            continue
        if what is Claim.SURPLUS or key(path) in seen:
            surplus.append(path.as_posix())
            continue
        assert isinstance(what, Sample)
        seen.add(key(path))
        if readable(what.path):
            samples[key(path)] = what if what.clip else replace(what, clip=whole(path))
        else:
            unreadable.append(path.as_posix())
    missing = [k for k in expected if k not in seen]
    return Dataset(
        name, root, tuple(samples.values()), tuple(missing), tuple(unreadable), tuple(surplus)
    )


def walk(root: Path) -> Iterator[PurePosixPath]:
    """Files under a folder in natural order, relative to it; hidden ones and litter left out.

    Raises:
        DataError: the folder is not there or cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"dataset {root}: expected a folder, found none; check the path")

    def refuse(error: OSError) -> None:
        raise DataError(
            f"dataset {root}: cannot read {error.filename} ({error.strerror}); check permissions"
        ) from error

    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = sorted((f for f in folders if _counts(f)), key=_natural)
        inside = PurePosixPath(Path(folder).relative_to(root).as_posix())
        for file in sorted(filter(_counts, files), key=_natural):
            yield inside / file


def readable(path: Path) -> bool:
    """Whether a file has bytes, may be read, and has a name that lists and stores can hold."""
    try:
        str(path).encode()
        return path.stat().st_size > 0 and os.access(path, os.R_OK)
    except (OSError, UnicodeEncodeError):  # the latter: bytes that are no UTF-8
        return False


def read_lines(path: Path) -> list[str]:
    """The lines of a list that a dataset ships, stripped, without empty ones.

    Raises:
        DataError: the list is missing or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(
            f"dataset list {path}: expected a text file, found {str(why).lower()}; "
            "copy it from the dataset's release"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def is_video(path: PurePosixPath) -> bool:
    """Whether a name ends like a video's."""
    return path.suffix.lower() in VIDEOS


def is_picture(path: PurePosixPath) -> bool:
    """Whether a name ends like a picture's."""
    return path.suffix.lower() in PICTURES


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _LITTER


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    return natural_order(Path(name))
