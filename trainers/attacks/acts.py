"""Who comes to the door: a living person, or an attack in somebody's hands or on his face.

An act draws itself into the scene frame by frame and says where its face is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np

from ...nodes.canonical import MESH_POINTS, point_normals
from ...nodes.pose import rotation_of
from . import media
from .camera import CameraParams, Sensor, develop, make_sensor
from .identity import Identity, face_colour, life_size_crop, trunk_colour
from .motion import FaceMotion, MotionParams, Path, bearing_at, living_face, placed, standing
from .parameters import Array, Colour, generator
from .portraits import Portrait
from .posing import carried, posed, relit
from .pulse import PulseParams, PulseWave, perfuse, pulse_wave
from .render import COARSE, Lens, Patch, TextureMap, draw, texture_map

Species = Literal["live", "print", "screen", "mask"]

LENS_BLUR = 0.12
"""Standard deviation in pixels of what the lens blurs before the sensor samples; the rest of the
camera's softness comes after."""


class Stage(NamedTuple):
    """What all acts of a feed have in common."""

    lens: Lens
    fps: int
    to_lamp: Array
    """float (3,): unit vector towards the lamp."""
    shutter: float
    """Share of the frame's time in which the shutter is open."""
    texels_per_metre: float
    seed: int


class Person(NamedTuple):
    """A portrait and the figure made from it."""

    portrait: Portrait
    identity: Identity


class Act(Protocol):
    """Something at the door for a number of frames."""

    @property
    def species(self) -> Species:
        """What comes to the door."""

    @property
    def portrayed(self) -> str:
        """Whose face is seen."""

    @property
    def bearer(self) -> str:
        """Who is there in truth."""

    @property
    def heart(self) -> PulseWave | None:
        """The pulse on the living skin of the face that is seen; None where there is none."""

    @property
    def replayed(self) -> PulseWave | None:
        """The pulse that a recording shows."""

    def draw(self, picture: Array, index: int, light: Colour) -> Array:
        """Draw frame ``index`` over the scene, in place.

        Args:
            picture: float32 (h, w, 3), linear.
            index: Frame of the act.
            light: Linear R, G, B of the light at the door.

        Returns:
            float32 (468, 2): the seen face's mesh in pixels, in or out of the picture.
        """


Visit = Callable[[Path], Path]
"""Adds coming and leaving to a path."""

_LIVE, _BEARER, _HANDS, _RECORDED = range(4)


@dataclass
class Figure:
    """A living person with motion, ready to be drawn."""

    identity: Identity
    path: Path
    face: FaceMotion
    wave: PulseWave
    pulse: PulseParams
    stage: Stage
    coarse: int = COARSE

    def __post_init__(self) -> None:
        self._texture = self.identity.figure.texture.copy()

    def draw(self, picture: Array, index: int, light: Colour) -> Array:
        """Draw frame ``index``; returns the posed points (n, 3) in metres."""
        bearing = bearing_at(self.path, self.face, index)
        points = posed(self.identity, bearing)
        perfuse(self._texture, self.identity, self.wave, index, self.pulse)
        figure = self.identity.figure
        shade = relit(points, figure.triangles, self.identity.normals, self.stage.to_lamp)
        where = texture_map(figure, points, shade, self.stage.lens, self.coarse)
        if where is not None:
            motion = _shutter_motion(self.path, index, self.stage)
            draw(picture, self._texture, where, light, motion)
        return points


def make_figure(
    person: Identity,
    at: tuple[float, float, float],
    frames: int,
    visit: Visit,
    stage: Stage,
    stream: int,
    motion: MotionParams | None = None,
) -> Figure:
    """A living person who stands at a place, with a heart rate drawn from the seed."""
    rng = generator(stage.seed, stream)
    motion = motion or MotionParams()
    pulse = PulseParams(heart_rate=float(rng.uniform(58.0, 92.0)))
    path = visit(placed(standing(motion, frames, stage.fps, rng), at))
    face = living_face(motion, frames, stage.fps, rng)
    wave = pulse_wave(pulse, frames, stage.fps, rng)
    return Figure(person, path, face, wave, pulse, stage)


@dataclass
class Live:
    """A living person."""

    figure: Figure
    species: Species = "live"
    replayed: PulseWave | None = None

    @property
    def portrayed(self) -> str:
        """Name of the person."""
        return self.figure.identity.name

    @property
    def bearer(self) -> str:
        """The same."""
        return self.figure.identity.name

    @property
    def heart(self) -> PulseWave | None:
        """The person's pulse."""
        return self.figure.wave

    def draw(self, picture: Array, index: int, light: Colour) -> Array:
        """See :class:`Act`."""
        points = self.figure.draw(picture, index, light)
        return self.figure.stage.lens.project(points[:MESH_POINTS])


def live(person: Person, frames: int, visit: Visit, stage: Stage, stream: int = _LIVE) -> Live:
    """A person comes to the door."""
    return Live(make_figure(person.identity, (0.0, -0.02, 0.66), frames, visit, stage, stream))


@dataclass
class Print:
    """Somebody holds a printed portrait before his face."""

    held: media.Held
    params: media.PrintParams
    path: Path
    face: Array
    """float32 (468, 3): the printed face's mesh on the flat sheet, metres."""
    portrayed: str
    holder: Figure
    species: Species = "print"
    heart: PulseWave | None = None
    replayed: PulseWave | None = None

    def __post_init__(self) -> None:
        self._texture = self.held.patch.texture.copy()
        self._points = media.bent(self.held.patch.points, self.params.bend)
        self._face = media.bent(self.face, self.params.bend)
        tone = _part(self.held, self.held.patch.texture)[..., 1]
        self._middle_tones = np.clip(4.0 * tone * (1.0 - tone), 0.0, 1.0)

    @property
    def bearer(self) -> str:
        """Who holds the sheet."""
        return self.holder.identity.name

    def draw(self, picture: Array, index: int, light: Colour) -> Array:
        """See :class:`Act`."""
        stage = self.holder.stage
        self.holder.draw(picture, index, light)
        yaw, pitch, _ = self.path.angles[index]
        spot = media.mirrored_lamp(self.held, float(yaw), float(pitch))
        shown = _part(self.held, self.held.patch.texture)
        _part(self.held, self._texture)[..., :3] = (
            shown[..., :3] + self.params.gloss * spot[..., None]
        )
        turned = _rigid(self._points, self.path, index)
        shade = _flat_shade(self.held.patch, turned, stage)
        where = texture_map(self.held.patch, turned, shade, stage.lens)
        if where is not None:
            self._halftone(where)
            draw(picture, self._texture, where, light, _shutter_motion(self.path, index, stage))
        return stage.lens.project(_rigid(self._face, self.path, index))

    def _halftone(self, where: TextureMap) -> None:
        """What the camera's sampling leaves of the dot screen, as a change of the light."""
        scale = self.held.texels_per_metre
        phase, left = media.fine_lattice(
            where, self.params.screen_pitch * scale, 0.5, np.pi / 4, LENS_BLUR
        )
        place = where.texels - (self.held.picture.x, self.held.picture.y)
        tone = cv2.remap(
            self._middle_tones, place.astype(np.float32), np.empty(0), cv2.INTER_LINEAR
        )
        ripple = np.cos(phase) * (left * np.float32(self.params.screen_contrast))
        np.multiply(where.shade, 1.0 + ripple * tone, out=where.shade)


def printed(
    person: Person, holder: Person, frames: int, visit: Visit, stage: Stage, stream: int
) -> Print:
    """Somebody comes to the door with a life-size portrait on a sheet."""
    params = media.PrintParams()
    size = tuple(side - 2 * params.border for side in params.size)
    above = 0.47 * size[1]
    crop = life_size_crop(person.portrait, person.identity, (size[0], size[1]), above)
    skin, sleeve = _hand_colour(holder.identity), trunk_colour(holder.identity)
    held = media.make_print(crop, params, skin, sleeve, stage.texels_per_metre * 1.1)
    face = person.identity.mesh * (1.0, 1.0, 0.0) + (0.0, above - size[1] / 2, 0.0)
    path = _held_path((0.0, -0.01, 0.60), frames, visit, stage, stream)
    return Print(
        held,
        params,
        path,
        face.astype(np.float32),
        person.identity.name,
        _hidden_holder(holder, 0.18, path, stage, stream),
    )


@dataclass
class Screen:
    """Somebody holds a tablet that plays a recording of another."""

    held: media.Held
    params: media.ScreenParams
    path: Path
    recorded: Figure
    recorder: Sensor
    wall: Array
    """float32 (h, w, 3): what is behind the recorded person."""
    holder: Figure
    species: Species = "screen"
    heart: PulseWave | None = None

    def __post_init__(self) -> None:
        self._texture = self.held.patch.texture.copy()

    @property
    def portrayed(self) -> str:
        """Who was recorded."""
        return self.recorded.identity.name

    @property
    def bearer(self) -> str:
        """Who holds the device."""
        return self.holder.identity.name

    @property
    def replayed(self) -> PulseWave | None:
        """The recorded person's pulse."""
        return self.recorded.wave

    def draw(self, picture: Array, index: int, light: Colour) -> Array:
        """See :class:`Act`."""
        stage = self.holder.stage
        self.holder.draw(picture, index, light)
        video, face = self._recording(index)
        yaw, pitch, _ = self.path.angles[index]
        spot = media.mirrored_lamp(self.held, float(yaw), float(pitch))
        shine = media.emitted(video, self.params, self.held)
        # The display does not need the room's light: divide by what drawing multiplies with.
        reflected = self.params.veil + self.params.glare * spot[..., None]
        _part(self.held, self._texture)[..., :3] = shine / np.array(light, np.float32) + reflected
        turned = _rigid(self.held.patch.points, self.path, index)
        where = texture_map(self.held.patch, turned, np.ones(len(turned), np.float32), stage.lens)
        if where is not None:
            where = where._replace(tint=self._stripes(where))
            draw(picture, self._texture, where, light, _shutter_motion(self.path, index, stage))
        on_glass = self.held.on_picture(face)
        return stage.lens.project(_rigid(on_glass, self.path, index))

    def _recording(self, index: int) -> tuple[Array, Array]:
        """The frame that is played, and the face's mesh (468, 2) in it, 0..1 each way."""
        picture = self.wall.copy()
        points = self.recorded.draw(picture, index, (1.0, 0.98, 0.94))
        lens = self.recorded.stage.lens
        face = (lens.project(points[:MESH_POINTS]) + 0.5) / (lens.width, lens.height)
        return develop(self.recorder, picture, index), face

    def _stripes(self, where: TextureMap) -> Array:
        """What sampling leaves of the colour stripes and rows, as factors: moire."""
        pitch = self.params.pixel_pitch * self.held.texels_per_metre
        columns, left = media.fine_lattice(where, pitch, 1 / 3, 0.0, LENS_BLUR)
        rows, rows_left = media.fine_lattice(where, pitch, 0.85, np.pi / 2, LENS_BLUR)
        x, y, w, h = self.held.picture
        u, v = where.texels[..., 0], where.texels[..., 1]
        inside = ((u >= x) & (u < x + w) & (v >= y) & (v < y + h)).astype(np.float32)
        level = 1.0 + rows_left * np.cos(rows) * inside
        third = np.float32(2 * np.pi / 3)
        stripes = [level * (1.0 + left * inside * np.cos(columns + third * c)) for c in range(3)]
        return np.dstack(stripes)


def replayed(
    person: Person, holder: Person, frames: int, visit: Visit, stage: Stage, stream: int
) -> Screen:
    """Somebody comes to the door with a tablet that plays a recording."""
    params = media.ScreenParams()
    scale = stage.texels_per_metre * 1.5
    skin, sleeve = _hand_colour(holder.identity), trunk_colour(holder.identity)
    held = media.make_screen(params, skin, sleeve, scale)
    size = (2 * round(params.display[0] * scale / 2), 2 * round(params.display[1] * scale / 2))
    # Recorded so near that the face fills the display as it would a mirror of its size.
    lens = Lens(0.62 * size[0] * 0.55 / 0.12, size[0], size[1])
    recording = stage._replace(lens=lens, seed=stage.seed + 1)
    recorded = make_figure(
        person.identity, (0.0, -0.01, 0.55), frames, lambda path: path, recording, _RECORDED
    )
    camera = CameraParams(defocus=0.4, noise_seed=stage.seed + 1)
    path = _held_path((0.0, -0.01, 0.52), frames, visit, stage, stream)
    return Screen(
        held,
        params,
        path,
        recorded,
        make_sensor(camera, *size),
        _room_wall(size),
        _hidden_holder(holder, 0.20, path, stage, stream),
    )


@dataclass
class Mask:
    """Somebody wears another's face."""

    wearer: Figure
    shell: Patch
    params: media.MaskParams
    portrayed: str
    species: Species = "mask"
    heart: PulseWave | None = None
    replayed: PulseWave | None = None

    def __post_init__(self) -> None:
        self._rest = point_normals(self.shell.points, self.shell.triangles)
        self._all_head = np.ones(len(self.shell.points), np.float32)

    @property
    def bearer(self) -> str:
        """Who wears the mask."""
        return self.wearer.identity.name

    def draw(self, picture: Array, index: int, light: Colour) -> Array:
        """See :class:`Act`."""
        stage = self.wearer.stage
        self.wearer.draw(picture, index, light)
        bearing = bearing_at(self.wearer.path, self.wearer.face, index)
        points = carried(self.shell.points, self._all_head, bearing)
        shade = relit(points, self.shell.triangles, self._rest, stage.to_lamp)
        normals = point_normals(points, self.shell.triangles)
        shade = shade + media.gloss_of(normals, stage.to_lamp, self.params)
        where = texture_map(self.shell, points, shade, stage.lens)
        if where is not None:
            motion = _shutter_motion(self.wearer.path, index, stage)
            draw(picture, self.shell.texture, where, light, motion)
        return stage.lens.project(points)


def masked(
    person: Person, wearer: Person, frames: int, visit: Visit, stage: Stage, stream: int
) -> Mask:
    """Somebody comes to the door in a mask."""
    params = media.MaskParams()
    figure = make_figure(wearer.identity, (0.0, -0.02, 0.64), frames, visit, stage, stream)
    shell = media.make_mask(person.identity, wearer.identity, params)
    return Mask(figure, shell, params, person.identity.name)


def _held_path(
    at: tuple[float, float, float], frames: int, visit: Visit, stage: Stage, stream: int
) -> Path:
    motion = MotionParams(sway=0.006, head_turn=(3.5, 3.0, 2.0), tremor=0.0004)
    rng = generator(stage.seed, stream, _HANDS)
    path = visit(placed(standing(motion, frames, stage.fps, rng), at))
    # A sheet that is carried in from the side is not turned as far as a walking body.
    return replace(path, angles=np.clip(path.angles, -12.0, 12.0))


def _hidden_holder(holder: Person, gap: float, held: Path, stage: Stage, stream: int) -> Figure:
    """The one behind the thing, who keeps his face behind it as the camera sees it.

    Args:
        holder: Who it is.
        gap: Metres from the thing to his eyes.
        held: The thing's path.
        stage: The stage.
        stream: Which random numbers are his.
    """
    motion = MotionParams(sway=0.004, head_turn=(2.0, 1.5, 1.0))
    frames = len(held.position)

    def behind(own: Path) -> Path:
        away = held.position[:, 2:]
        in_sight = held.position * (away + gap) / away
        return Path(in_sight + own.position, own.angles + 0.4 * held.angles, held.walking)

    figure = make_figure(holder.identity, (0.0, 0.0, 0.0), frames, behind, stage, stream, motion)
    return replace(figure, coarse=6)


def _hand_colour(identity: Identity) -> Array:
    """float32 (3,): hands are paler than faces."""
    face = face_colour(identity)
    return np.asarray(0.7 * face + 0.3 * face.mean(), np.float32)


def _room_wall(size: tuple[int, int]) -> Array:
    """float32 (h, w, 3): the plain wall before which the recording was made."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    level = 0.34 + 0.10 * (1 - y / size[1]) - 0.06 * (x / size[0])
    return np.asarray(level[..., None] * np.array([1.0, 0.95, 0.85]), np.float32)


def _part(held: media.Held, texture: Array) -> Array:
    x, y, w, h = held.picture
    return texture[y : y + h, x : x + w]


def _rigid(points: Array, path: Path, index: int) -> Array:
    rotation = rotation_of(*(float(a) for a in path.angles[index])).astype(np.float32)
    return np.asarray(points @ rotation.T + path.position[index], np.float32)


def _flat_shade(sheet: Patch, points: Array, stage: Stage) -> Array:
    """float32 (n,): light on a matt sheet, 1 where it faces the camera."""
    facing = np.tile(np.array([0.0, 0.0, -1.0], np.float32), (len(points), 1))
    return relit(points, sheet.triangles, facing, stage.to_lamp)


def _shutter_motion(path: Path, index: int, stage: Stage) -> tuple[float, float]:
    """Pixels that something moves while the shutter is open."""
    before, now = path.position[max(index - 1, 0)], path.position[index]
    step = (now - before)[:2] * stage.lens.focal / max(float(now[2]), 0.1)
    return float(step[0] * stage.shutter), float(step[1] * stage.shutter)
