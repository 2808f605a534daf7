"""Videos of attacks made from anybody's footage, and of the living beside them.

One camera films all species of a number: the same size, place, sensor, exposure and codec. What
moves is what moves in life: the living by themselves, prints and screens in a hand of six degrees
of freedom, masks and paper with the head that wears them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...nodes.mesh import square_of_mesh
from .backdrops import backdrop
from .codec import CodecParams, draw_codec, encoded
from .composing import Placing, compose
from .devices import CAMERAS, draw_camera
from .displays import DisplayParams, draw_display
from .handheld import HoldParams, Pose, RaiseParams, bent_places, held_path, pose_at, raised_pose
from .held import (
    FileParams,
    FramingParams,
    HeldPrint,
    HeldScreen,
    PrintHoldParams,
    ScreenHoldParams,
    Shown,
    draw_face_size,
    draw_file,
    draw_framing,
    hold_print,
    hold_screen,
)
from .holding import View
from .motion import MotionParams, Path, standing
from .parameters import Array, Positive, generator
from .people import FaceFinder, PersonPicture
from .printers import PrinterParams, draw_printer
from .sensor import SensorParams, auto_exposure, expose
from .sources import Footage
from .variation import IdentityParams, draw_identity, varied
from .worn import (
    MaskFitParams,
    PaperFitParams,
    WornMaskParams,
    draw_worn_mask,
    put_on_mask,
    put_on_paper,
)

ClipSpecies = Literal["live", "print", "screen", "mask", "partial"]
CLIP_SPECIES: tuple[ClipSpecies, ...] = ("live", "print", "screen", "mask", "partial")

_MEDIA_PER_KIND = 60
_PRINTERS, _DISPLAYS = 7, 8
"""Streams of the numbered media: the same as in the shots."""
_STAGE, _MEDIUM, _ROOM, _TONE, _HAND, _SHUTTER, _NOISE, _BODY = range(8)
_TRIES = 6
_SMALLEST_FACE = 110.0
"""Pixels below which a face is not made smaller than it is in the footage."""
_FACE_M = 0.19
"""Metres of a face, forehead to chin."""
_ARM = 0.4
"""Metres from which a hand holds as still as ``HoldParams`` says; nearer things tremble less."""


@dataclass(frozen=True, slots=True)
class StageParams:
    """What all species of one number share."""

    size: tuple[int, int]
    """Width and height of the video, pixels."""
    scale: Positive
    """Pixels of the video per pixel of the source."""
    face_px: Positive
    """Longer side of the living face, pixels of the video."""
    at: tuple[float, float]
    """Its middle, on average."""
    focal: Positive
    """Focal length, pixels."""
    camera: int
    """Number of the camera in the bank."""
    gain: Positive
    """Factor upon the light, locked for the whole video of the living; attacks get their own."""


@dataclass(frozen=True, slots=True)
class ClipParams:
    """Everything that was drawn for one video; null is what its species does not have."""

    item: str
    """Path of the video below the folder."""
    species: ClipSpecies
    instrument: str
    medium: str
    """Number of the printer or the display in the bank, or the kind of mask."""
    seed: int
    """The same seed and source give the same stage to every species."""
    person: str
    source: str
    """File name of the footage."""
    start: float
    """Seconds of the footage at which it begins."""
    frames: int
    fps: int
    """Frames per second."""
    face_found: bool
    """The mesh network finds the face in the first picture."""
    stage: StageParams
    sensor: SensorParams
    codec: CodecParams
    body: MotionParams | None = None
    """How a still picture is moved, so that it sways as people do."""
    face: str = ""
    """Whose face a mask or a piece of paper shows."""
    identity: IdentityParams | None = None
    """How that face was varied, where it is the wearer's own."""
    framing: FramingParams | None = None
    file: FileParams | None = None
    printer: PrinterParams | None = None
    print_hold: PrintHoldParams | None = None
    display: DisplayParams | None = None
    screen_hold: ScreenHoldParams | None = None
    hold: HoldParams | None = None
    raised: RaiseParams | None = None
    """How a medium comes before a living face; null: it is there from the beginning."""
    mask: WornMaskParams | None = None
    mask_fit: MaskFitParams | None = None
    paper: PaperFitParams | None = None


Look = Callable[[int], tuple[Array, Array]]
"""Light float32 (h, w, 3) and mesh float32 (468, 3) of a frame by its index."""


@dataclass(frozen=True, slots=True)
class _Scene:
    look: Look
    params: ClipParams


@dataclass(frozen=True, slots=True)
class Clip:
    """A video before it is encoded."""

    params: ClipParams
    _look: Look
    _gain: float

    def pictures(self) -> Iterator[Array]:
        """The camera's pictures, uint8 RGB (h, w, 3), rendered as they are asked for.

        What the camera does to single pictures (JPEG) is done; H.264 is the file's.
        """
        noise, codec = generator(self.params.seed, _NOISE), self.params.codec
        for index in range(self.params.frames):
            light, _ = self._look(index)
            picture = expose(light, self.params.sensor, noise, self._gain)
            if codec.jpeg_quality is not None or not codec.h264:
                (picture,) = encoded([picture], replace(codec, h264=False))
            yield picture


class ClipMaker:
    """Makes videos from one piece of footage."""

    def __init__(
        self,
        footage: Footage,
        finder: FaceFinder,
        fps: int,
        seed: int,
        others: Sequence[PersonPicture] = (),
        raised: RaiseParams | None = None,
    ) -> None:
        """Set the stage.

        Args:
            footage: Who is filmed.
            finder: Finds the face in the camera's picture.
            fps: Frames per second.
            seed: Of everything.
            others: Whose faces masks and paper may show; none: variations of the own face.
            raised: Prints and screens come before the living face in the course of the video.
        """
        self._footage, self._finder, self._fps, self._seed = footage, finder, fps, seed
        self._others = [one for one in others if one.person != footage.person]
        self._raised = raised
        self._body = MotionParams() if footage.still else None
        rng = generator(seed, _STAGE)
        camera = int(rng.integers(CAMERAS))
        shot = generator(seed, _SHUTTER)
        self._sensor, self._codec = draw_camera(shot, camera), draw_codec(shot, camera)
        self._stage = _draw_stage(rng, footage, camera)
        self._placings = self._placed()
        gain = auto_exposure(self._living(0)[0])
        self._stage = replace(self._stage, gain=gain)

    def make(self, species: ClipSpecies, item: str) -> Clip:
        """A video of one species; of attacks, another is drawn where no face is found."""
        for attempt in range(_TRIES):
            rng = generator(self._seed, _MEDIUM, CLIP_SPECIES.index(species), attempt)
            try:
                scene = self._scene(species, rng, item)
                light, mesh = scene.look(0)
            except ValueError:  # held too near to the camera
                continue
            gain = self._stage.gain if species == "live" else auto_exposure(light)
            picture = expose(light, self._sensor, generator(self._seed, _NOISE), gain)
            found = self._finder.mesh(picture, square_of_mesh(mesh)) is not None
            clip = Clip(replace(scene.params, face_found=found), scene.look, gain)
            if found or species == "live":
                return clip
        return clip

    def _scene(self, species: ClipSpecies, rng: np.random.Generator, item: str) -> _Scene:
        footage = self._footage
        plain = ClipParams(
            item=item, species=species, instrument="", medium="", seed=self._seed,
            person=footage.person, source=footage.source, start=round(footage.start, 3),
            frames=len(footage.frames), fps=self._fps, face_found=True, stage=self._stage,
            sensor=self._sensor, codec=self._codec, body=self._body,
        )  # fmt: skip
        if species == "live":
            return _Scene(self._living, plain)
        makers = {
            "print": self._print,
            "screen": self._screen,
            "mask": self._mask,
            "partial": self._paper,
        }
        return makers[species](rng, plain)

    # The living

    def _placed(self) -> list[Placing]:
        frames, scale = self._footage.frames, self._stage.scale
        places = [
            Placing(_point((_middle(frame) + 0.5) * scale - 0.5), frame.face_px * scale)
            for frame in frames
        ]
        if self._body is None:
            return places
        path = standing(self._body, len(frames), self._fps, generator(self._seed, _BODY))
        metre = self._stage.face_px / _FACE_M
        return [
            Placing(
                (place.centre[0] + metre * float(path.position[k, 0]),
                 place.centre[1] + metre * float(path.position[k, 1])),
                place.face_px * (1 + float(path.position[k, 2])),
                float(path.angles[k, 2]),
            )
            for k, place in enumerate(places)
        ]  # fmt: skip

    def _living(self, index: int) -> tuple[Array, Array]:
        return self._composed(self._footage.frames[index], index)

    def _composed(self, picture: PersonPicture, index: int) -> tuple[Array, Array]:
        """A picture of the clip where the camera sees it; a mask's mesh does not move it."""
        placing = _alike(self._footage.frames[index], self._placings[index], picture)
        shape = self._stage.size[::-1]
        seen = compose(generator(self._seed, _TONE), picture, placing, shape, native=True)
        return seen.light, seen.mesh

    # What is held

    def _room(self, rng: np.random.Generator) -> Callable[[int], Array]:
        """What lies behind a medium: its bearer at the source's own place, or an empty room."""
        if rng.random() < 0.35 and self._raised is None:
            width, height = self._stage.size
            still = backdrop(generator(self._seed, _ROOM), height, width)
            return lambda _: still
        return lambda index: self._living(index)[0]

    def _place(self, rng: np.random.Generator) -> tuple[View, tuple[float, float], float]:
        """The camera, and where and how large the face on a medium is held before it."""
        stage = self._stage
        width, height = stage.size
        face = float(np.clip(stage.face_px * np.exp(rng.normal(0, 0.12)), 40, 0.7 * height))
        x, y = (value + float(rng.normal(0, 0.12)) * face for value in stage.at)
        x = float(np.clip(x, 0.55 * face, max(width - 0.55 * face, 0.55 * face)))
        y = float(np.clip(y, 0.575 * face, max(height - 0.575 * face, 0.575 * face)))
        return View(stage.focal, (width / 2, height / 2), (height, width)), (x, y), face

    def _print(self, rng: np.random.Generator, plain: ClipParams) -> _Scene:
        frame = self._footage.frames[int(rng.integers(len(self._footage.frames)))]
        view, at, face = self._place(rng)
        framing, file, shown = _files(rng, [frame], face, screen=False)
        number = int(rng.integers(_MEDIA_PER_KIND))
        printer = draw_printer(generator(_PRINTERS, number))
        room = self._room(rng)
        held = hold_print(rng, room(0), shown[0], printer, view, at, face)
        hold, path = self._in_hand(rng, held)
        params = replace(
            plain, instrument=f"print:{printer.kind}", medium=f"printer-{number:02d}",
            framing=framing, file=file, printer=printer, print_hold=held.params, hold=hold,
            raised=self._raised,
        )  # fmt: skip
        return _Scene(self._coming(path, view, lambda k, pose: held.seen(room(k), pose)), params)

    def _screen(self, rng: np.random.Generator, plain: ClipParams) -> _Scene:
        view, at, face = self._place(rng)
        framing, file, shown = _files(rng, self._footage.frames, face, screen=True)
        number = int(rng.integers(_MEDIA_PER_KIND))
        display = draw_display(generator(_DISPLAYS, number))
        room = self._room(rng)
        held = hold_screen(rng, room(0), shown[0], display, view, at, face)
        hold, path = self._in_hand(rng, held)
        params = replace(
            plain, instrument=f"screen:{display.kind}", medium=f"display-{number:02d}",
            framing=framing, file=file, display=display, screen_hold=held.params, hold=hold,
            raised=self._raised,
        )  # fmt: skip
        fps = self._fps
        return _Scene(
            self._coming(path, view, lambda k, pose: held.seen(room(k), pose, shown[k], k / fps)),
            params,
        )

    def _coming(
        self, path: Path, view: View, seen: Callable[[int, Pose], tuple[Array, Array]]
    ) -> Look:
        """A medium where its path has it, or on its way there from below the picture."""
        raised, fps = self._raised, self._fps
        if raised is None:
            return lambda k: seen(k, pose_at(path, k))

        def look(index: int) -> tuple[Array, Array]:
            seconds = index / fps
            if seconds < raised.after:
                return self._living(index)
            return seen(
                index, raised_pose(pose_at(path, index), raised, seconds, view.focal, view.shape[0])
            )

        return look

    def _in_hand(
        self, rng: np.random.Generator, held: HeldPrint | HeldScreen
    ) -> tuple[HoldParams, Path]:
        """How a medium moves about the pose at which its face is where it should be.

        Raises:
            ValueError: It would come too near to the camera.
        """
        sheet, view = held.sheet, held.view
        nearer = min(1.0, sheet.pose.position[2] / _ARM)
        sway = 0.006 * nearer * float(np.exp(rng.normal(0, 0.3)))
        hold = HoldParams(at=sheet.pose.position, facing=sheet.pose.angles, sway=sway)
        path = held_path(hold, len(self._footage.frames), self._fps, generator(self._seed, _HAND))
        corners = np.array([[0.0, 0.0], [1, 0], [0, 1], [1, 1]]) * sheet.size
        for k in range(len(path.position)):
            bent_places(
                corners, sheet.curvature, sheet.axis_angle, sheet.size, pose_at(path, k),
                view.focal, view.centre,
            )  # fmt: skip
        return hold, path

    # What is worn

    def _face(self, rng: np.random.Generator) -> tuple[PersonPicture, IdentityParams | None]:
        """Somebody else's face, or the own one varied."""
        own = self._footage.frames[0]
        if self._others:
            return self._others[int(rng.integers(len(self._others)))], None
        identity = replace(draw_identity(rng), mirror=False)
        return varied(own, identity), identity

    def _mask(self, rng: np.random.Generator, plain: ClipParams) -> _Scene:
        frames = self._footage.frames
        params = draw_worn_mask(rng)
        face, identity = self._face(rng)
        mask = put_on_mask(frames[0], face, params, rng)
        kind = f"mask:{params.kind}"
        told = replace(
            plain, instrument=kind, medium=kind, face=face.person, identity=identity, mask=params,
            mask_fit=mask.fit,
        )  # fmt: skip
        return _Scene(lambda k: self._composed(mask.on(frames[k]), k), told)

    def _paper(self, rng: np.random.Generator, plain: ClipParams) -> _Scene:
        frames = self._footage.frames
        number = int(rng.integers(_MEDIA_PER_KIND))
        printer = draw_printer(generator(_PRINTERS, number))
        face, identity = self._face(rng)
        paper = put_on_paper(frames[0], face, printer, rng)
        told = replace(
            plain, instrument=f"partial:{paper.fit.kind}", medium=f"printer-{number:02d}",
            face=face.person, identity=identity, printer=printer, paper=paper.fit,
        )  # fmt: skip
        return _Scene(lambda k: self._composed(paper.on(frames[k]), k), told)


def _draw_stage(rng: np.random.Generator, footage: Footage, camera: int) -> StageParams:
    frames = footage.frames
    rows, columns = frames[0].image.shape[:2]
    native = float(np.median([frame.face_px for frame in frames]))
    scale = max(float(rng.uniform(0.75, 1.0)), min(1.0, _SMALLEST_FACE / native))
    width, height = (max(round(side * scale) // 2 * 2, 64) for side in (columns, rows))
    at = (np.mean([_middle(frame) for frame in frames], axis=0) + 0.5) * scale - 0.5
    focal = max(width, height) * float(rng.uniform(0.6, 1.3))
    return StageParams((width, height), scale, scale * native, _point(at), focal, camera, 1.0)


def _files(
    rng: np.random.Generator, frames: Sequence[PersonPicture], face_px: float, screen: bool
) -> tuple[FramingParams, FileParams, list[Shown]]:
    """The frames as an attacker has them: cut out at one place, toned and encoded as one file."""
    first = frames[0]
    framing = draw_framing(rng, first, face_px, screen)
    stream = int(rng.integers(1 << 31))
    file: FileParams | None = None
    pictures, meshes = [], []
    for frame in frames:
        placing = _alike(first, framing.placing, frame)
        composed = compose(generator(stream), frame, placing, framing.shape, native=True)
        file = file or draw_file(rng, composed.light)
        pictures.append(file.developed(composed.light))
        meshes.append(composed.mesh)
    assert file is not None, "there are frames"
    face_m = draw_face_size(rng, screen)
    shown = [
        Shown(picture, mesh, face_m)
        for picture, mesh in zip(encoded(pictures, file.codec), meshes, strict=True)
    ]
    return framing, file, shown


def _alike(reference: PersonPicture, placing: Placing, other: PersonPicture) -> Placing:
    """The placing that moves another picture of a clip just as the reference is moved."""
    scale = placing.face_px / reference.face_px
    angle = np.radians(placing.roll)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.asarray(placing.centre) + turn @ (_middle(other) - _middle(reference))
    return Placing(_point(centre), scale * other.face_px, placing.roll)


def _middle(picture: PersonPicture) -> Array:
    """Middle of the mesh's box, float (2,)."""
    low, high = picture.mesh[:, :2].min(axis=0), picture.mesh[:, :2].max(axis=0)
    return np.asarray((low + high) / 2)


def _point(values: Array) -> tuple[float, float]:
    x, y = (float(value) for value in values)
    return x, y


__all__ = ["CLIP_SPECIES", "Clip", "ClipMaker", "ClipParams", "ClipSpecies", "StageParams"]
