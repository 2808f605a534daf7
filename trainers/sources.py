"""Footage of the living as the synthesis takes it: pictures of people, by name, from files."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import av

from ..engines.errors import EngineError
from ..nodes.capture_media import unreadable
from ..nodes.sources import PICTURES, natural_order
from .attacks.parameters import Array
from .attacks.people import FaceFinder, PersonPicture, clip_pictures, person_picture, trimmed
from .data.files import VIDEOS
from .data.frames import decoded_picture

_FEWEST, _MOST, _SECONDS = 4, 10, 3.0
"""Pictures of a clip: one every so many seconds, within these bounds."""

Say = Callable[[str], None]


class SourceFilesError(EngineError):
    """Footage of the living, or the list of who is in it, cannot be used."""

    wrong_use = True


def source_files(sources: Sequence[Path]) -> list[Path]:
    """Videos and pictures among files and, however deep, in folders; each once, in order.

    Raises:
        SourceFilesError: a source is not there, is neither video nor picture, or holds none, or
            the name of a file is no text.
    """
    found: dict[Path, None] = {}
    for source in sources:
        if source.is_dir():
            inside = sorted((p for p in source.rglob("*") if _usable(p)), key=natural_order)
            if not inside:
                raise SourceFilesError(
                    f"source {source}: expected videos or pictures in the folder, found none; "
                    "check the path"
                )
            found.update(dict.fromkeys(inside))
        elif _usable(source):
            found[source] = None
        else:
            what = "another kind of file" if source.is_file() else "nothing"
            raise SourceFilesError(
                f"source {source}: expected a video, a picture or a folder of those, found {what}; "
                "check the path"
            )
    for file in found:
        try:
            str(file).encode()
        except UnicodeEncodeError as error:
            raise SourceFilesError(
                f"source {file}: expected a name in UTF-8, which a store can hold, found other "
                "bytes; rename the file"
            ) from error
    return list(found)


def read_people(path: Path) -> dict[str, str]:
    """Who is in which file: a CSV whose first column is the item and whose second the person.

    The first line is a header (``item,person``). Items are paths, as many of their last parts as
    it takes to tell them apart.

    Raises:
        SourceFilesError: the file cannot be read, a line has not two values, an item has two
            persons, or the first line is no header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceFilesError(
            f"list {path}: expected a CSV file with the header item,person, found {error}; "
            "correct it"
        ) from error
    if rows and rows[0] and Path(rows[0][0].strip()).suffix.lower() in VIDEOS | PICTURES:
        raise SourceFilesError(
            f"list {path}, line 1: expected the header item,person, found the item {rows[0][0]}; "
            "put a header above it"
        )
    people: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) < 2 or not row[0].strip() or not row[1].strip():
            raise SourceFilesError(
                f"list {path}, line {number}: expected an item and a person, found "
                f"{','.join(row)!r}; add what is missing"
            )
        item, person = row[0].strip(), row[1].strip()
        if people.setdefault(item, person) != person:
            raise SourceFilesError(
                f"list {path}, line {number}: expected one person for {item}, found {person} after "
                f"{people[item]}; remove one of the lines"
            )
    return people


def persons_of(files: Sequence[Path], people: Mapping[str, str]) -> dict[Path, str]:
    """The person of every file; one that the list does not name is a person by its own name.

    Files come in the list's order, then the others: what is drawn from them must not depend on
    how a shell sorts.
    """
    stems = [file.stem for file in files]
    order = {item: place for place, item in enumerate(people)}
    found: dict[Path, tuple[int, str]] = {}
    for file in files:
        named = max((item for item in people if _ends_with(file, item)), key=len, default=None)
        own = file.stem if stems.count(file.stem) == 1 else f"{file.parent.name}/{file.stem}"
        found[file] = (len(order), own) if named is None else (order[named], people[named])
    ranked = sorted(found.items(), key=lambda entry: entry[1][0])
    return {file: person for file, (_, person) in ranked}


def source_name(path: Path) -> str:
    """What ``padflow attacks`` calls whoever a file shows."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in path.stem) or "person"


def people_by_source(people: Mapping[str, str]) -> dict[str, str]:
    """Who a video is of, by what ``padflow attacks`` calls its source, or by its name.

    Args:
        people: From :func:`read_people`.

    Raises:
        SourceFilesError: two sources of one name are of different persons.
    """
    found: dict[str, str] = {}
    for item, person in people.items():
        for name in {Path(item).stem, source_name(Path(item))}:
            if found.setdefault(name, person) != person:
                raise SourceFilesError(
                    f"list of people: expected one person for the name {name}, found {person} and "
                    f"{found[name]}; the videos do not tell such sources apart: rename one"
                )
    return found


def people_pictures(
    finder: FaceFinder, files: Sequence[Path], people: Mapping[str, str], say: Say = print
) -> list[PersonPicture]:
    """Pictures of the people in files, trimmed to what crops can show.

    Args:
        finder: Finds faces and mattes.
        files: From :func:`source_files`.
        people: From :func:`read_people`; empty: every file shows a person of its own.
        say: Takes a line for each file.

    Raises:
        SourceFilesError: a file cannot be decoded, or no file shows a face.
    """
    found: list[PersonPicture] = []
    for file, person in persons_of(files, people).items():
        pictures = [trimmed(picture) for picture in _pictures_of(finder, file, person)]
        told = f"{len(pictures)} pictures" if pictures else "no face found: left out"
        say(f"{file.name}: {person}: {told}")
        found += pictures
    if not found and files:
        raise SourceFilesError(
            f"sources: expected a face in one of {len(files)} files, found none; give footage "
            "with faces of 24 pixels and more"
        )
    return found


def duration_of(path: Path) -> float:
    """Length of a video in seconds; 0 where its container does not tell.

    Raises:
        SourceFilesError: the file is no video.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise undecodable(path, "no video in it")
            return float(container.duration or 0) / av.time_base
    except (av.error.FFmpegError, OSError) as error:
        raise undecodable(path, error) from error


def undecodable(path: Path, why: Exception | str) -> SourceFilesError:
    """The error of a video that cannot be read, or not to its end."""
    return SourceFilesError(f"source {path}: {unreadable('a video', why)}")


def read_picture(path: Path) -> Array:
    """A picture, uint8 RGB (h, w, 3).

    Raises:
        SourceFilesError: the file is none.
    """
    picture = decoded_picture(path)
    if picture is None:
        raise SourceFilesError(f"source {path}: {unreadable('a picture', 'no picture in it')}")
    return picture


def _usable(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEOS | PICTURES


def _ends_with(file: Path, item: str) -> bool:
    parts = Path(item).parts
    return file.absolute().parts[-len(parts) :] == parts


def _pictures_of(finder: FaceFinder, file: Path, person: str) -> list[PersonPicture]:
    if file.suffix.lower() in PICTURES:
        image = read_picture(file)
        if finder.mesh(image) is None:
            return []
        return [replace(person_picture(finder, image, person, file.name), source=file.name)]
    seconds = duration_of(file)
    count = min(max(round(seconds / _SECONDS), _FEWEST), _MOST)
    try:
        return clip_pictures(finder, file, person, count)
    except av.error.FFmpegError as error:
        raise undecodable(file, error) from error
