"""Rendered faces with a known heart under drawn conditions, as real H.264 files: a test of rPPG.

The demonstration's renderer (faces in 3-D, motion, light, sensor, encoder) films a small picture
that is mostly face. Conditions are drawn in levels, so that errors can be told by each.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import av
import numpy as np

from ..engines.whole_file import whole_file, write_whole
from ..graph.node import Begin, NodeContext
from ..graph.packet import Packet
from ..nodes.align import Align, AlignParams
from ..nodes.frame import Frame
from ..nodes.mesh import MeshNet
from ..nodes.payloads import Box, SkinSample, TrackedFace
from .attacks.acts import Live, Person, Stage, make_figure
from .attacks.camera import CameraParams, develop, focal_pixels, h264_file, make_sensor
from .attacks.identity import TEXELS_PER_METRE, fit_identity
from .attacks.motion import MotionParams
from .attacks.motion import Path as Way
from .attacks.parameters import generator
from .attacks.portraits import load_portrait, portrait_names
from .attacks.pulse import PulseParams, pulse_wave
from .attacks.render import Lens
from .attacks.scene import SceneParams, backdrop, build_corridor, illumination
from .pulse_traces import Array

SIDE = 240
"""Pixels; the face is about 100 of them wide."""
SECONDS = 11.0
_FIELD_OF_VIEW = 30.0
_DEMO_FOCAL = focal_pixels(CameraParams(), 1280)
_AT = (0.0, -0.02, 0.66)
"""Metres: where the face is."""

Factor = Literal["motion", "bitrate", "light", "frame rate"]
LEVELS: dict[Factor, tuple[str, ...]] = {
    "motion": ("still", "usual", "lively"),
    "bitrate": ("rich", "usual", "lean"),
    "light": ("bright", "dim"),
    "frame rate": ("50", "25", "12"),
}
"""Levels of what is varied, from easy to hard."""
_MOTIONS = {
    "still": MotionParams(sway=0.002, head_turn=(0.7, 0.5, 0.3), expression=0.1),
    "usual": MotionParams(),
    "lively": MotionParams(
        sway=0.015, sway_cutoff=0.7, head_turn=(9.0, 5.0, 3.0), head_cutoff=0.9, expression=0.8
    ),
}
_BITS = {"rich": 4.0, "usual": 1.2, "lean": 0.3}
"""Bits for each pixel and frame at 25 frames a second; at other rates the stream has as many. A
door camera gives 0.05 to 0.3 to the whole picture, and more to a face than to a wall. With 0.06 and
such a small picture no method found a pulse."""
_LIGHTS = {
    "bright": CameraParams(),
    "dim": CameraParams(exposure=0.35, full_well=5000.0, read_noise=10.0),
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is varied, by level."""

    motion: str
    bitrate: str
    light: str
    frame_rate: str

    def level(self, factor: Factor) -> str:
        """The level of a factor."""
        return str(getattr(self, factor.replace(" ", "_")))

    @property
    def hardness(self) -> int:
        """Sum of the levels' places; light's second level counts as two."""
        places = {f: LEVELS[f].index(self.level(f)) for f in LEVELS}
        return sum(places.values()) + places["light"]


@dataclass(frozen=True, slots=True)
class PulseClip:
    """A rendered clip and the truth."""

    file: Path
    conditions: Conditions
    fps: int
    beats_per_minute: tuple[float, ...]
    """By frame."""
    box: tuple[float, float, float, float]
    """x, y, w, h of the face in the first frame, pixels."""
    beating: bool = True
    """There is a pulse on the skin."""
    volume: tuple[float, ...] = ()
    """The blood's by frame, mean 0, peak to peak about 1."""


def render_pulse_clips(
    folder: Path,
    count: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    beating: bool = True,
) -> list[PulseClip]:
    """Render so many clips into a folder, or take those that are there already.

    Args:
        folder: made if it is not there.
        count: how many.
        seed: the same seed gives the same clips.
        progress: told the clips done and the clips in all.
        beating: False leaves the pulse out and changes nothing else.

    Raises:
        PortraitsMissing: the packages that carry the portraits are not installed.
        ModelMissing: the mesh network has not been pulled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people: list[Person] = []
    clips = []
    for number in range(count):
        file = folder / f"{seed}-{number:03d}.mp4"
        if not _truth(file).is_file():
            people = people or _people()
            _render(
                file, people[number % len(people)], _drawn(seed, number), seed + number, beating
            )
        clips.append(_read(file))
        if progress is not None:
            progress(number + 1, count)
    return clips


def _people() -> list[Person]:
    texels = TEXELS_PER_METRE * _camera().focal / _DEMO_FOCAL
    portraits = [load_portrait(name) for name in portrait_names()]
    with MeshNet() as net:
        return [Person(portrait, fit_identity(portrait, net, texels)) for portrait in portraits]


def _camera() -> Lens:
    params = CameraParams(field_of_view=_FIELD_OF_VIEW)
    return Lens(focal_pixels(params, SIDE), SIDE, SIDE)


def _drawn(seed: int, number: int) -> Conditions:
    rng = generator(seed, number, 1)
    return Conditions(*(str(rng.choice(levels)) for levels in LEVELS.values()))


def _render(
    file: Path, person: Person, conditions: Conditions, seed: int, beating: bool = True
) -> None:
    rng = generator(seed, 2)
    fps = int(conditions.frame_rate)
    frames = round(SECONDS * fps)
    bits = round(_BITS[conditions.bitrate] * SIDE * SIDE * 25)
    camera = replace(_LIGHTS[conditions.light], bit_rate=bits, noise_seed=seed)
    scene = SceneParams(day_change=float(rng.uniform(0.0, 0.3)), day_cutoff=0.15)
    texels = TEXELS_PER_METRE * _camera().focal / _DEMO_FOCAL
    stage = Stage(_camera(), fps, np.asarray(scene.to_lamp), camera.shutter, texels, seed)
    pulse = PulseParams(
        heart_rate=float(rng.uniform(45, 150)), amplitude=float(10 ** rng.uniform(-2.4, -2.0))
    )
    figure = make_figure(person.identity, _AT, frames, _stay, stage, 0, _MOTIONS[conditions.motion])
    figure.pulse = pulse if beating else replace(pulse, amplitude=0.0)
    figure.wave = pulse_wave(pulse, frames, fps, rng)
    with whole_file(file) as part, h264_file(part, (SIDE, SIDE), fps, camera) as sink:
        meshes = []
        for picture, mesh in _frames(Live(figure), camera, scene, stage, frames):
            sink.write(picture)
            meshes.append(mesh)
    low, high = meshes[0].min(axis=0), meshes[0].max(axis=0)
    truth = {
        "conditions": asdict(conditions),
        "fps": fps,
        "beats_per_minute": [round(float(rate), 2) for rate in figure.wave.rate],
        "box": [round(float(value), 1) for value in (*low, *(high - low))],
        "beating": beating,
        "volume": [round(float(value), 4) for value in figure.wave.value],
    }
    write_whole(_truth(file), json.dumps(truth) + "\n")


def _stay(way: Way) -> Way:
    return way


def _frames(
    act: Live, camera: CameraParams, scene: SceneParams, stage: Stage, frames: int
) -> Iterator[tuple[Array, Array]]:
    """Developed pictures and the face's mesh in each."""
    corridor = build_corridor(scene, stage.lens, generator(stage.seed, 3))
    light = illumination(scene, frames, stage.fps, generator(stage.seed, 4))
    sensor = make_sensor(camera, stage.lens.width, stage.lens.height)
    for index in range(frames):
        picture = backdrop(corridor, float(light.day[index]))
        red, green, blue = (float(level) for level in light.on_person[index])
        mesh = act.draw(picture, index, (red, green, blue))
        yield develop(sensor, picture, index), mesh


def _truth(file: Path) -> Path:
    return file.with_suffix(".truth.json")


def _read(file: Path) -> PulseClip:
    told = json.loads(_truth(file).read_text(encoding="utf-8"))
    x, y, w, h = told["box"]
    return PulseClip(
        file,
        Conditions(**told["conditions"]),
        told["fps"],
        tuple(told["beats_per_minute"]),
        (x, y, w, h),
        told.get("beating", True),
        tuple(told.get("volume", ())),
    )


def skin_of(clip: PulseClip) -> list[tuple[float, SkinSample]]:
    """Capture times and skin of a clip's face, by the graph's own nodes."""
    align = Align(AlignParams(cadence_hz=0))
    align.open(NodeContext("align", "lossless"))
    box, samples = Box(*clip.box), []
    state = align.new_state(Begin("clip", 1, 0.0, 0, "first"))
    try:
        for index, (time, picture) in enumerate(_decoded(clip.file)):
            face = TrackedFace(Frame(picture, index), box, True, 1.0, None, 0.0, 0.0)
            given = align.process("tracks", [Packet("clip", time, 0, 1, face)], [state])
            box = given["observations"][0].payload.box
            samples.append((time, given["skin"][0].payload))
    finally:
        align.close()
    return samples


def _decoded(file: Path) -> Iterator[tuple[float, av.VideoFrame]]:
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for picture in container.decode(stream):
            yield float(picture.time or 0.0), picture


def hard_half(clips: Sequence[PulseClip]) -> set[int]:
    """Places of the clips with the harder conditions: half of them, drawn before any result."""
    order = sorted(range(len(clips)), key=lambda i: (-clips[i].conditions.hardness, i))
    return set(order[: len(clips) // 2])
