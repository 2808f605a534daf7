"""Who came to a site's camera: visits in live footage, with pictures and crops of each."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np

from ..nodes.sources import PICTURES
from .attacks.parameters import Array
from .attacks.people import FaceFinder, PersonPicture, trimmed
from .crops import CropRow, Crops
from .footage import crops_of_face
from .holdout import drawn
from .sources import Say, duration_of, persons_of, read_picture, undecodable

LOOKS = 1200
"""At most about so many pictures of all footage are looked at."""
_CLOSEST = 0.4
"""Least time between looks, in seconds."""
_KEY_PICTURES = 2.0
"""From this spacing on, in seconds, only key pictures are decoded: the rest would take long."""
_FEWEST = 2
"""Looks of all footage, whatever the time: one to learn from and one to check on."""
_KEPT = 32
"""Looks of a visit."""
_SHOWN = 6
"""Looks of a visit that the synthesis shows."""
ENOUGH_PERSONS = 4
"""Fewer persons than this cannot be parted into those to learn from and those to check on."""


@dataclass(frozen=True, slots=True)
class Look:
    """One picture with a face."""

    seconds: float
    middle: tuple[float, float]
    """Of the face, in pixels of the frame."""
    face_px: float
    """Longer side of the mesh's box in pixels of the frame."""
    crops: Crops
    """Cut from the frame as it is."""
    picture: PersonPicture
    """The frame trimmed to what crops can show, without a matte."""


@dataclass(slots=True)
class Visit:
    """One uninterrupted stay before the camera; looks are thinned evenly as they become many."""

    person: str
    clip: str
    looks: list[Look] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, look: Look) -> None:
        """Keep the look, or not, so that those kept stay evenly spread."""
        if self.seen % self.stride == 0:
            self.looks.append(look)
        self.seen += 1
        if len(self.looks) > _KEPT:
            self.looks, self.stride = self.looks[::2], 2 * self.stride


@dataclass(frozen=True, slots=True)
class SitePerson:
    """What footage shows of one person."""

    name: str
    pictures: tuple[PersonPicture, ...]
    """For the synthesis."""
    crops: tuple[tuple[CropRow, Crops], ...]
    """Cut from the footage as it is."""


@dataclass(frozen=True, slots=True)
class SitePeople:
    """The people of a site, parted."""

    learn: tuple[SitePerson, ...]
    check: tuple[SitePerson, ...]
    note: str
    """What a person is here, and how far the parting goes."""


def site_people(
    finder: FaceFinder,
    files: Sequence[Path],
    people: Mapping[str, str],
    until: float,
    say: Say,
) -> SitePeople:
    """Look through footage, find who is in it and part them.

    Where the list names nobody, each file is a person if there are four files or more; else each
    visit is one; else the footage is parted by time, which is told.

    Args:
        finder: Finds faces and mattes.
        files: Videos and pictures of live people.
        people: Who is in which, by name; may be empty.
        until: Stop looking at this time (of :func:`time.time`), with two pictures or more.
        say: Takes a line for each file.

    Raises:
        SourceFilesError: a file cannot be decoded.
        ValueError: no file shows a face.
    """
    names = persons_of(files, people)
    found: list[Visit] = []
    spacing = _spacing(files)
    for file in files:
        visits = _visits_of(finder, file, names[file], spacing, until)
        looks = sum(visit.seen for visit in visits)
        say(f"{file.name}: {names[file]}: {len(visits)} visits, {looks} pictures with a face")
        found += visits
        if time.time() > until and found:
            say("the time for looking is up: the rest of the footage is left out")
            break
    if not found:
        raise ValueError("no face")
    named, note = _named(found, {name for name in names.values() if name in people.values()})
    return _parted(finder, named, note)


def _spacing(files: Sequence[Path]) -> float:
    videos = [file for file in files if file.suffix.lower() not in PICTURES]
    return max(_CLOSEST, sum(duration_of(file) for file in videos) / LOOKS)


def _visits_of(
    finder: FaceFinder, file: Path, person: str, spacing: float, until: float
) -> list[Visit]:
    visits: list[Visit] = []
    last: Look | None = None
    missed = 0
    for seconds, image in _looks(file, spacing):
        mesh = finder.mesh(image)
        if mesh is None:
            missed += 1
        else:
            look = look_at(image, mesh, seconds, f"{file.stem}@{seconds:.2f}s")
            if last is None or missed > 1 or _elsewhere(last, look, spacing):
                visits.append(Visit(person, file.stem))
            visits[-1].add(look)
            last, missed = look, 0
        if time.time() > until and sum(visit.seen for visit in visits) >= _FEWEST:
            break
    return visits


def look_at(image: Array, mesh: Array, seconds: float, source: str) -> Look:
    """What is kept of a frame: large frames of an hour would not fit into memory.

    Args:
        image: uint8 RGB (h, w, 3).
        mesh: float32 (468, 3), pixels of the frame.
        seconds: Since the beginning of the footage.
        source: Names file and time.
    """
    x, y = mesh[:, :2].mean(axis=0)
    bare = np.zeros(image.shape[:2], np.float32)
    picture = trimmed(PersonPicture("", source, image, bare, mesh, False))
    size = float(np.ptp(mesh[:, :2], axis=0).max())
    crops = crops_of_face(image, mesh, "live")
    return Look(seconds, (float(x), float(y)), size, crops, picture)


def _elsewhere(last: Look, look: Look, spacing: float) -> bool:
    """Whether the face cannot be the one of the look before: too far off, or another size."""
    if look.seconds - last.seconds > max(3.0, 3 * spacing):
        return True
    if spacing >= _KEY_PICTURES:
        return False  # much can happen in that time
    move = float(np.linalg.norm(np.subtract(look.middle, last.middle)))
    ratio = look.face_px / last.face_px
    return move > 2 * last.face_px or not 0.55 < ratio < 1.8


def _looks(file: Path, spacing: float) -> Iterator[tuple[float, Array]]:
    if file.suffix.lower() in PICTURES:
        yield 0.0, read_picture(file)
        return
    following = 0.0
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            if spacing >= _KEY_PICTURES:
                stream.codec_context.skip_frame = "NONKEY"
            for index, frame in enumerate(container.decode(stream)):
                seconds = frame.time if frame.time is not None else index / 25
                if seconds >= following:
                    yield seconds, frame.to_ndarray(format="rgb24")
                    following = seconds + spacing
    except (av.error.FFmpegError, IndexError) as error:
        raise undecodable(file, error) from error


def _named(visits: Sequence[Visit], known: set[str]) -> tuple[dict[str, list[Visit]], str]:
    """Visits by person, and what a person is."""
    by_person: dict[str, list[Visit]] = {}
    for visit in visits:
        by_person.setdefault(visit.person, []).append(visit)
    if len(by_person) >= ENOUGH_PERSONS:
        note = "Persons are those of the list; a file that it does not name is a person."
        return by_person, note if known else "Nobody is named: each file counts as a person."
    if not known and len(visits) >= ENOUGH_PERSONS:
        numbered = {f"{v.clip}#{i}": [v] for i, v in enumerate(visits, 1)}
        return numbered, (
            "Nobody is named and there are few files: each visit counts as a person. Who came "
            "twice may be on both sides, which flatters the rates below."
        )
    return _by_time(visits), (
        "There are too few persons to part: the footage is parted by time, so the people who are "
        "checked on are those who were learned from, which flatters the rates below. Give footage "
        "of four people or more."
    )


def _by_time(visits: Sequence[Visit]) -> dict[str, list[Visit]]:
    """All looks in order, cut into as many pieces as persons are needed (fewer where too few)."""
    looks = [(visit, look) for visit in visits for look in visit.looks]
    count = min(ENOUGH_PERSONS, len(looks))
    pieces: dict[str, list[Visit]] = {}
    for part, indices in enumerate(np.array_split(np.arange(len(looks)), count), 1):
        piece = [looks[i] for i in indices]
        first = piece[0][0]
        visit = Visit(first.person, first.clip, [look for _, look in piece], 1, len(piece))
        pieces[f"{first.person}@{part}"] = [visit]
    return pieces


def _parted(finder: FaceFinder, named: Mapping[str, Sequence[Visit]], note: str) -> SitePeople:
    if len(named) < 2:
        raise ValueError("one picture")
    held = drawn(named, 0.25)
    persons = [_person(finder, name, visits) for name, visits in sorted(named.items())]
    return SitePeople(
        tuple(person for person in persons if person.name not in held),
        tuple(person for person in persons if person.name in held),
        note,
    )


def _person(finder: FaceFinder, name: str, visits: Sequence[Visit]) -> SitePerson:
    pictures: list[PersonPicture] = []
    crops: list[tuple[CropRow, Crops]] = []
    for number, visit in enumerate(visits, 1):
        for look in visit.looks:
            crops.append(_row_of(name, visit, number, look))
        for look in _even(visit.looks, _SHOWN):
            coverage, whole = finder.person(look.picture.image, look.picture.mesh)
            known = replace(look.picture, person=name, coverage=coverage, whole=whole)
            pictures.append(known)
    return SitePerson(name, tuple(pictures), tuple(crops))


def _row_of(name: str, visit: Visit, number: int, look: Look) -> tuple[CropRow, Crops]:
    row = CropRow(
        id=f"{name}/{visit.clip}/{number}/{look.seconds:.3f}",
        label="live",
        species="live",
        instrument="",
        person=name,
        medium="",
        camera="site",
        source="site footage",
        seed=0,
        face_px=round(look.face_px, 2),
        clip=f"{visit.clip}/{number}",
        shows=(),
    )
    return row, look.crops


def _even(looks: Sequence[Look], most: int) -> list[Look]:
    places = np.unique(np.linspace(0, len(looks) - 1, min(most, len(looks))).round().astype(int))
    return [looks[int(i)] for i in places]
