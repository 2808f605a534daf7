"""Single pictures of the living and of attacks, for training: one scene, one camera, one label.

Everything but the label is drawn first, from the same distributions: who, how large, where in the
frame, which camera, which codec. So size, focus, noise, compression and framing tell nothing; what
differs is what a medium does to light.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ...nodes.mesh import square_of_mesh
from .auxiliary import distract
from .backdrops import backdrop
from .codec import draw_codec, encoded
from .composing import Placing, compose, native_extent, placed_mesh
from .devices import CAMERAS, draw_camera
from .displays import draw_display
from .held import View, draw_shown, present_print, present_screen
from .parameters import Array, generator
from .people import FaceFinder, PersonPicture
from .printing import draw_printer
from .sensor import auto_exposure, expose
from .worn import draw_worn_mask, with_mask, with_paper

Species = Literal["live", "print", "screen", "mask", "partial"]

CONTEXT = 4.0
"""Sides of the mesh's box that the widest crop shows."""
_FRAMES = ((640, 480), (640, 480), (1280, 720), (480, 640), (800, 600), (1280, 720))
_SMALLEST, _LARGEST = 60.0, 300.0
MEDIA_PER_KIND = 60
"""Printers and displays are numbered, so that protocols can hold some back."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture with its truth."""

    image: Array
    """uint8 RGB (h, w, 3): the part of the camera's frame around the face."""
    mesh: Array
    """float32 (468, 3): face mesh found in the picture, in its pixels."""
    species: Species
    instrument: str
    person: str
    medium: str
    camera: str
    source: str
    seed: int
    shows: tuple[str, ...] = ()
    """Other persons of whom it shows something: who lent features, whose face a mask or a paper
    shows, who holds the medium."""

    @property
    def face_px(self) -> float:
        """Longer side of the mesh's box in pixels."""
        return float(np.ptp(self.mesh[:, :2], axis=0).max())


@dataclass(frozen=True, slots=True)
class Stage:
    """What is fixed before anybody comes: the same draws for every species."""

    face_px: float
    frame: tuple[int, int]
    """Width and height."""
    at: tuple[float, float]
    """Middle of the face in the frame."""
    window: tuple[int, int, int, int]
    """Left, top, right, bottom of the rendered part of the frame."""
    focal: float
    camera: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the rendered part."""
        left, top, right, bottom = self.window
        return bottom - top, right - left

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the face in the rendered part."""
        return self.at[0] - self.window[0], self.at[1] - self.window[1]


def draw_stage(rng: np.random.Generator, person: PersonPicture, native: bool) -> Stage:
    """Size, place and camera of a shot of this person."""
    most = min(1.05 * person.face_px, _LARGEST)
    # Not far below what the picture holds, so that fine pictures also give large faces.
    least = max(_SMALLEST, 0.35 * most)
    face = float(np.exp(rng.uniform(np.log(least), np.log(max(most, least + 4)))))
    width, height = _FRAMES[int(rng.integers(len(_FRAMES)))]
    face = min(face, 0.7 * height)
    room_x, room_y = max(width - 1.1 * face, 1), max(height - 1.15 * face, 1)
    # Faces gather about the middle, a little above it.
    x = 0.55 * face + room_x * float(rng.beta(3, 3))
    y = 0.575 * face + room_y * float(rng.beta(2.6, 3.2))
    half = 0.5 * CONTEXT * face * 1.12
    window = (max(int(x - half), 0), max(int(y - half), 0),
              min(int(x + half), width), min(int(y + half), height))  # fmt: skip
    left, top, right, bottom = native_extent(person, Placing((x, y), face))
    if native:
        window = (max(window[0], left), max(window[1], top),
                  min(window[2], right), min(window[3], bottom))  # fmt: skip
    else:  # the frame ends where the picture of the body does
        window = (*window[:3], min(window[3], max(bottom, int(y + 0.7 * face))))
    even = (window[0], window[1], window[2] - (window[2] - window[0]) % 2,
            window[3] - (window[3] - window[1]) % 2)  # fmt: skip
    focal = width * float(rng.uniform(0.6, 1.3))
    return Stage(face, (width, height), (x, y), even, focal, int(rng.integers(CAMERAS)))


class _Scene(NamedTuple):
    """What comes before the camera."""

    light: Array
    """float32 (h, w, 3), linear."""
    mesh: Array
    """float32 (468, 3), where its face is."""
    instrument: str
    medium: str
    others: tuple[PersonPicture, ...]
    """Whose face a mask or a paper shows, or who holds the medium."""


class ShotMaker:
    """Makes shots from pictures of people."""

    def __init__(
        self,
        people: Sequence[PersonPicture],
        finder: FaceFinder,
        others: Sequence[PersonPicture] = (),
    ) -> None:
        """Take people to show.

        Args:
            people: Whose faces the shots show.
            finder: Finds the face in the camera's picture.
            others: Who else may bear a medium or lend a face to a mask; none: the people.
        """
        if not people:
            raise ValueError("people: expected one picture or more, found none")
        self._people = list(people)
        self._others = list(others) or self._people
        self._finder = finder

    def take(self, species: Species, seed: int) -> Shot | None:
        """One shot; None where the camera's picture shows no face to the mesh network.

        Args:
            species: What comes to the camera.
            seed: The same seed gives the same stage to every species.
        """
        rng = generator(seed, 1)
        person = self._people[int(rng.integers(len(self._people)))]
        native = bool(rng.random() < 0.4) or not person.whole
        stage = draw_stage(rng, person, native)
        if min(stage.shape) < 1.2 * stage.face_px:
            return None
        scene = self._scene(species, person, stage, native, seed)
        image = photographed(scene.light, stage.camera, generator(seed, 3))
        found = self._finder.mesh(image, square_of_mesh(scene.mesh))
        if found is None or not _near(found, scene.mesh):
            return None
        persons = person.persons.union(*(somebody.persons for somebody in scene.others))
        return Shot(
            image, found, species, scene.instrument, person.person, scene.medium,
            f"camera-{stage.camera:02d}", person.source, seed,
            tuple(sorted(persons - {person.person})),
        )  # fmt: skip

    def _scene(
        self, species: Species, person: PersonPicture, stage: Stage, native: bool, seed: int
    ) -> _Scene:
        rng = generator(seed, 2)
        if species in ("print", "screen"):
            return self._held(rng, species, person, stage)
        instrument = medium = ""
        others: tuple[PersonPicture, ...] = ()
        if species == "mask":
            mask = draw_worn_mask(rng)
            others = (self._somebody(rng),)
            person = with_mask(person, *others, mask, rng)
            instrument = medium = f"mask:{mask.kind}"
        elif species == "partial":
            number = int(rng.integers(MEDIA_PER_KIND))
            printer = draw_printer(generator(7, number))
            others = (self._somebody(rng),)
            person, piece = with_paper(person, *others, printer, rng)
            instrument, medium = f"partial:{piece}", f"printer-{number:02d}"
        placing = Placing(stage.centre, stage.face_px, 0.0 if native else float(rng.normal(0, 4)))
        scene = compose(rng, person, placing, stage.shape, native)
        light = distract(rng, scene.light, scene.mesh, scene.coverage)
        return _Scene(light, scene.mesh, instrument, medium, others)

    def _held(
        self, rng: np.random.Generator, species: Species, person: PersonPicture, stage: Stage
    ) -> _Scene:
        room, bearers = self._room(rng, stage)
        left, top = stage.window[:2]
        axis = stage.frame[0] / 2 - left, stage.frame[1] / 2 - top
        view = View(stage.focal, axis, stage.shape)
        shown = draw_shown(rng, person, stage.face_px, species == "screen")
        number = int(rng.integers(MEDIA_PER_KIND))
        if species == "print":
            printer = draw_printer(generator(7, number))
            light, mesh = present_print(
                rng, room, shown, printer, view, stage.centre, stage.face_px
            )
            instrument, medium = f"print:{printer.kind}", f"printer-{number:02d}"
            return _Scene(light, mesh, instrument, medium, bearers)
        display = draw_display(generator(8, number))
        light, mesh = present_screen(rng, room, shown, display, view, stage.centre, stage.face_px)
        instrument, medium = f"screen:{display.kind}", f"display-{number:02d}"
        return _Scene(light, mesh, instrument, medium, bearers)

    def _somebody(self, rng: np.random.Generator) -> PersonPicture:
        return self._others[int(rng.integers(len(self._others)))]

    def _room(
        self, rng: np.random.Generator, stage: Stage
    ) -> tuple[Array, tuple[PersonPicture, ...]]:
        """What lies behind a held medium: a room, often with its bearer, and who that is."""
        rows, columns = stage.shape
        if rng.random() < 0.25:
            return backdrop(rng, rows, columns), ()
        bearer = self._somebody(rng)
        size = stage.face_px * float(np.exp(rng.uniform(np.log(0.45), np.log(1.9))))
        x = stage.centre[0] + float(rng.normal(0, 0.6)) * stage.face_px
        y = stage.centre[1] - float(rng.uniform(-0.3, 1.6)) * size
        left, top, right, bottom = native_extent(bearer, Placing((x, y), size))
        fills = left <= 0 and top <= 0 and right >= columns and bottom >= rows
        if not fills:  # the body goes on to the frame's lower edge
            y += max(rows - bottom, 0)
        native = fills and (not bearer.whole or bool(rng.random() < 0.6))
        return compose(rng, bearer, Placing((x, y), size), stage.shape, native).light, (bearer,)


def photographed(light: Array, camera: int, rng: np.random.Generator) -> Array:
    """The picture that a camera of the bank delivers, codec and all: uint8 RGB (h, w, 3)."""
    sensor = draw_camera(rng, camera)
    picture = expose(light, sensor, rng, gain=auto_exposure(light))
    return encoded([picture], draw_codec(rng, camera))[-1]


def _near(found: Array, expected: Array) -> bool:
    low, high = expected[:, :2].min(axis=0), expected[:, :2].max(axis=0)
    size = float((high - low).max())
    off = np.abs(found[:, :2].mean(axis=0) - expected[:, :2].mean(axis=0)).max()
    grown = float(np.ptp(found[:, :2], axis=0).max()) / size
    return bool(off < 0.2 * size and 0.7 < grown < 1.45)


__all__ = ["Shot", "ShotMaker", "Stage", "draw_stage", "photographed", "placed_mesh"]
