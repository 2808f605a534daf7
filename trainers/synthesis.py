"""Makes crop stores: shots of the living and of attacks, cut as the nodes cut them.

A shot may show more people than the one before the camera: a mask's face, lent features, a
bearer. Its row names them all, so that holding a person out leaves out every trace.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated

import numpy as np
from annotated_types import Gt, Interval

from ..nodes.crops import context_crop, face_crop, face_patches, picture_frame
from ..nodes.mesh import square_of_mesh, to_crop
from .attacks.parameters import generator
from .attacks.people import LARGEST_FACE, FaceFinder, PersonPicture, enlarged, trimmed
from .attacks.shots import Shot, ShotMaker, Species
from .attacks.variation import draw_identity, varied
from .crops import CropRow, Crops, CropWriter
from .labels.depth import depth_label, plane_label

SHARES: Mapping[Species, float] = MappingProxyType(
    {"live": 0.42, "print": 0.21, "screen": 0.19, "mask": 0.1, "partial": 0.08}
)
"""Share of each species in a store where nothing else is asked for."""
SHOTS_PER_SEED = 10_000_000
"""Numbers of shots that belong to one seed of a store."""
_FACE_SCALE, _FACE_SIZE = 1.5, 256


@dataclass(frozen=True, slots=True)
class SynthesisParams:
    """How much to make."""

    rows: Annotated[int, Gt(0)] = 4000
    seed: int = 0
    identities: Annotated[int, Gt(0)] = 240
    """Varied pictures in the pool: each is a picture of a procedural person."""
    strength: float = 1.0
    """Of the variation; 0 shows the pictured people only."""
    enlarge: Annotated[float, Interval(ge=0, le=300)] = 0.0
    """Pictures with smaller faces are enlarged to between this and 300 px: large faces of people
    of whom only small pictures are at hand. 0: none is enlarged."""
    shares: Mapping[Species, float] = field(default_factory=lambda: dict(SHARES))
    """How much there is of each species, in any unit; nothing of those left out."""


def identity_pool(
    people: Sequence[PersonPicture],
    others: Sequence[PersonPicture],
    count: int,
    seed: int,
    strength: float = 1.0,
    enlarge: float = 0.0,
) -> list[PersonPicture]:
    """Pictures of procedural people, made from people with features of others.

    Every person of ``people`` gives about as many, however many pictures there are of each.
    """
    rng = generator(seed, 11)
    by_person: dict[str, list[PersonPicture]] = {}
    for picture in people:
        by_person.setdefault(picture.person, []).append(trimmed(picture))
    names = sorted(by_person)
    donors = [trimmed(picture) for picture in others]
    pool = []
    for index in range(count):
        own = by_person[names[index % len(names)]]
        picture = own[int(rng.integers(len(own)))]
        second = donors[int(rng.integers(len(donors)))]
        params = draw_identity(rng, strength)
        if enlarge and picture.face_px < enlarge:
            picture = enlarged(picture, float(rng.uniform(enlarge, LARGEST_FACE)))
        made = varied(picture, params, second if second.person != picture.person else None)
        pool.append(replace(made, source=f"{picture.source}~{params.seed}"))
    return pool


def synthesise(
    writer: CropWriter,
    people: Sequence[PersonPicture],
    finder: FaceFinder,
    params: SynthesisParams,
    others: Sequence[PersonPicture] = (),
) -> None:
    """Fill a crop store.

    Args:
        writer: The open store.
        people: Who is shown.
        finder: Finds faces in the pictures that the cameras deliver.
        params: How much.
        others: People who may lend features and bear media beside those shown.
    """
    everybody = [*people, *others]
    pool = identity_pool(
        people, everybody, params.identities, params.seed, params.strength, params.enlarge
    )
    lenders = [*pool, *(trimmed(picture) for picture in others)]
    maker = ShotMaker(pool, finder, lenders)
    for shot in shots(maker, params):
        writer.add(row_of(shot), crops_of(shot))


def shots(
    maker: ShotMaker, params: SynthesisParams, made: int = 0, first: int = 0
) -> Iterator[Shot]:
    """The shots of a store, species drawn by their shares; those without a face are left out.

    Args:
        maker: Makes them.
        params: How many, and from which seed.
        made: So many were made before,
        first: and this is the number of the next one to try: the rest is what an uninterrupted
            run would have given.
    """
    drawn = drawn_species(params.seed, params.shares)
    for number in range(20 * params.rows):
        if made >= params.rows:
            return
        species = next(drawn)
        if number < first:
            continue
        shot = maker.take(species, params.seed * SHOTS_PER_SEED + number)
        if shot is not None:
            yield shot
            made += 1


def drawn_species(seed: int, wanted: Mapping[Species, float] = SHARES) -> Iterator[Species]:
    """Species of the shots of a seed, one after the other, by their shares; without end."""
    names = list(SHARES)
    shares = np.array([wanted.get(name, 0.0) for name in names])
    rng = generator(seed, 12)
    while True:
        yield names[int(rng.choice(len(names), p=shares / shares.sum()))]


def row_of(shot: Shot) -> CropRow:
    """What the store says of a shot."""
    return CropRow(
        id=f"{shot.species}-{shot.seed}",
        label="live" if shot.species == "live" else "attack",
        species=shot.species,
        instrument=shot.instrument,
        person=shot.person,
        medium=shot.medium,
        camera=shot.camera,
        source=shot.source,
        seed=shot.seed,
        face_px=round(shot.face_px, 2),
        clip=f"{shot.person}-{shot.seed}",
        shows=shot.shows,
    )


def crops_of(shot: Shot) -> Crops:
    """The crops of a shot, as the nodes would cut them."""
    frame = picture_frame(shot.image)
    return Crops(
        face=face_crop(frame, shot.mesh),
        context=context_crop(frame, shot.mesh),
        patches=face_patches(frame, shot.mesh),
        depth=depth_of(shot),
    )


def depth_of(shot: Shot) -> np.ndarray:
    """Depth label of a shot: the mesh's for faces and masks, nothing for what is flat."""
    if shot.species in ("live", "mask"):
        matrix = square_of_mesh(shot.mesh, _FACE_SCALE).matrix(_FACE_SIZE)
        return depth_label(to_crop(shot.mesh, matrix), _FACE_SIZE)
    return plane_label()


def by_group(
    people: Iterable[PersonPicture], groups: Mapping[str, str]
) -> dict[str, list[PersonPicture]]:
    """People by the group of their name; those that no group names belong to ``""``."""
    found: dict[str, list[PersonPicture]] = {}
    for picture in people:
        found.setdefault(groups.get(picture.person, ""), []).append(picture)
    return found
