"""Films what comes to the door: the feed of the demonstration, and single clips.

One generator seed fixes everything: who moves how, the hearts, the daylight, the sensor's noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ...nodes.canonical import LEFT_EYE_CORNERS, MESH_POINTS, RIGHT_EYE_CORNERS
from ...nodes.mesh import MeshNet
from . import motion
from .acts import Act, Person, Species, Stage, Visit, live, masked, printed, replayed
from .camera import CameraParams, Sink, develop, focal_pixels, h264_file, make_sensor
from .identity import TEXELS_PER_METRE, fit_identity
from .media import MaskParams, PrintParams, ScreenParams
from .motion import VisitParams, visiting
from .parameters import Array, generator
from .portraits import load_portrait, portrait_names
from .pulse import PulseParams, PulseWave
from .render import Lens
from .scene import SceneParams, backdrop, build_corridor, illumination
from .truth import FeedTruth, Interval, Rectangle, save_truth

Progress = Callable[[int, int], None]
"""Told the frames done and the frames in all."""

VISIT_SECONDS = 13.0
GAP_SECONDS = 1.0
_SHORTEST_VISIT = 3.0
"""Seconds: walking in and out takes 2.5."""
SPECIES: tuple[Species, ...] = ("live", "print", "screen", "mask")

_CORRIDOR, _DAYLIGHT, _VISITS = 101, 102, 200
_CAST: Mapping[Species, tuple[str, str]] = {
    "live": ("astronaut", "astronaut"),
    "print": ("hopper", "astronaut"),
    "screen": ("astronaut", "hopper"),
    "mask": ("hopper", "astronaut"),
}
"""Whose face is seen, and who brings it."""


@dataclass(frozen=True, slots=True)
class FeedParams:
    """Size and make of a film."""

    size: tuple[int, int] = (1280, 720)
    """Width and height in pixels, even."""
    fps: int = 25
    """Frames per second."""
    camera: CameraParams = field(default_factory=CameraParams)
    scene: SceneParams = field(default_factory=SceneParams)


def render_feed(
    out: Path,
    *,
    seed: int = 0,
    size: tuple[int, int] = (1280, 720),
    fps: int = 25,
    progress: Progress | None = None,
) -> FeedTruth:
    """Render an access-control feed: a living face, a print, a screen and a mask at the door.

    Each is there for 13 s with a second of empty corridor between. Writes H.264 in MP4, and the
    truth as JSON beside it (``<name>.truth.json``).

    Args:
        out: The .mp4 file to write.
        seed: The same seed gives the same file.
        size: Width and height in pixels, both even.
        fps: Frames per second.
        progress: Called after every frame.

    Raises:
        PortraitsMissing: the packages that carry the portraits are not installed.
        ModelMissing: the mesh network has not been pulled.
        ValueError: odd or too small a size.
    """
    params = _feed_params(size, fps, seed)
    stay, gap = round(VISIT_SECONDS * fps), round(GAP_SECONDS * fps)
    sides = generator(seed, _VISITS).integers(0, 2, (len(SPECIES), 2))
    names: tuple[motion.Side, motion.Side] = ("left", "right")
    plan = [
        Booking(
            species,
            gap + number * (stay + gap),
            stay,
            VisitParams(enter_from=names[sides[number, 0]], leave_to=names[sides[number, 1]]),
        )
        for number, species in enumerate(SPECIES)
    ]
    return _film(out, params, seed, plan, gap + len(plan) * (stay + gap), progress)


def render_clip(
    kind: Species,
    out: Path,
    *,
    seed: int = 0,
    size: tuple[int, int] = (640, 360),
    fps: int = 25,
    seconds: float = 3.0,
    visit_every: float | None = None,
    progress: Progress | None = None,
) -> FeedTruth:
    """Render one kind at the door, there from the first frame to the last, or coming anew.

    Args:
        kind: What is at the door.
        seconds: Length of the clip.
        visit_every: Seconds after which the next one comes in, when the last one has just gone
            (nobody comes who has not the time to leave); None: one is there all the time.
        out: As in :func:`render_feed`, like the rest.
        seed: As there.
        size: As there.
        fps: As there.
        progress: As there.
    """
    if kind not in SPECIES:
        raise ValueError(f"kind: expected one of {', '.join(SPECIES)}, found {kind!r}")
    frames = max(1, round(seconds * fps))
    plan = [Booking(kind, 0, frames, None)]
    if visit_every is not None:
        each = round(visit_every * fps)
        if each / fps < _SHORTEST_VISIT:
            raise ValueError(
                f"visit_every: expected at least {_SHORTEST_VISIT:g} s, found {visit_every:g}"
            )
        starts = range(0, frames - each + 1, each)
        plan = [Booking(kind, first, each, VisitParams()) for first in starts]
    return _film(out, _feed_params(size, fps, seed), seed, plan, frames, progress)


@dataclass(frozen=True, slots=True)
class Booking:
    """When something is at the door."""

    species: Species
    first_frame: int
    frames: int
    visit: VisitParams | None
    """How it comes and goes; None: it stands there all the time."""


def _feed_params(size: tuple[int, int], fps: int, seed: int) -> FeedParams:
    width, height = size
    if width % 2 or height % 2 or min(size) < 120:
        raise ValueError(
            f"size: expected even numbers of at least 120 pixels, found {width}x{height}"
        )
    if fps < 1:
        raise ValueError(f"fps: expected at least 1, found {fps}")
    rate = max(300_000, round(CameraParams().bit_rate * width * height / (1280 * 720)))
    return FeedParams(size, fps, CameraParams(noise_seed=seed, bit_rate=rate))


def _film(
    out: Path,
    params: FeedParams,
    seed: int,
    plan: Sequence[Booking],
    frames: int,
    progress: Progress | None,
) -> FeedTruth:
    width, height = params.size
    lens = Lens(focal_pixels(params.camera, width), width, height)
    stage = Stage(
        lens,
        params.fps,
        np.asarray(params.scene.to_lamp),
        params.camera.shutter,
        TEXELS_PER_METRE * width / 1280,
        seed,
    )
    cast = _fit_cast({name for booking in plan for name in _CAST[booking.species]}, stage)
    acts = [_act(booking, cast, stage, number) for number, booking in enumerate(plan)]
    with h264_file(out, params.size, params.fps, params.camera) as sink:
        meshes = _shoot(sink, params, stage, plan, acts, frames, progress)
    intervals = tuple(
        _interval(booking, act, seen, params.size)
        for booking, act, seen in zip(plan, acts, meshes, strict=True)
    )
    truth = FeedTruth(seed, width, height, params.fps, frames, intervals, _told(params, plan))
    save_truth(truth, out)
    return truth


def _fit_cast(names: set[str], stage: Stage) -> dict[str, Person]:
    return {
        name: _fitted(name, stage.texels_per_metre) for name in portrait_names() if name in names
    }


@lru_cache(maxsize=4)
def _fitted(name: str, texels_per_metre: float) -> Person:
    """Somebody's figure; kept, as it takes longer than a second of film."""
    portrait = load_portrait(name)
    with MeshNet() as net:
        return Person(portrait, fit_identity(portrait, net, texels_per_metre))


def _act(booking: Booking, cast: Mapping[str, Person], stage: Stage, number: int) -> Act:
    visit: Visit = _stay
    if booking.visit is not None:
        visit = partial(visiting, params=booking.visit, fps=stage.fps)
    portrayed, bearer = (cast[name] for name in _CAST[booking.species])
    stream = _VISITS + 1 + number
    if booking.species == "live":
        return live(portrayed, booking.frames, visit, stage, stream)
    attacks: dict[str, Callable[[Person, Person, int, Visit, Stage, int], Act]] = {
        "print": printed,
        "screen": replayed,
        "mask": masked,
    }
    return attacks[booking.species](portrayed, bearer, booking.frames, visit, stage, stream)


def _stay(path: motion.Path) -> motion.Path:
    return path


def _shoot(
    sink: Sink,
    params: FeedParams,
    stage: Stage,
    plan: Sequence[Booking],
    acts: Sequence[Act],
    frames: int,
    progress: Progress | None,
) -> list[list[Array]]:
    """Film every frame; returns the face meshes (468, 2) of each act, frame by frame."""
    corridor = build_corridor(params.scene, stage.lens, generator(stage.seed, _CORRIDOR))
    light = illumination(params.scene, frames, params.fps, generator(stage.seed, _DAYLIGHT))
    sensor = make_sensor(params.camera, *params.size)
    meshes: list[list[Array]] = [[] for _ in plan]
    for index in range(frames):
        scene = backdrop(corridor, float(light.day[index]))
        red, green, blue = (float(level) for level in light.on_person[index])
        for booking, act, seen in zip(plan, acts, meshes, strict=True):
            if 0 <= index - booking.first_frame < booking.frames:
                seen.append(act.draw(scene, index - booking.first_frame, (red, green, blue)))
        sink.write(develop(sensor, scene, index))
        if progress is not None:
            progress(index + 1, frames)
    return meshes


def _interval(
    booking: Booking, act: Act, meshes: Sequence[Array], size: tuple[int, int]
) -> Interval:
    boxes = tuple(_box(mesh, size) for mesh in meshes)
    seen = np.array([box is not None for box in boxes])
    apart = [_eye_distance(mesh) for mesh, whole in zip(meshes, seen, strict=True) if whole]
    return Interval(
        booking.species,
        act.portrayed,
        act.bearer,
        booking.first_frame,
        boxes,
        round(float(np.median(apart)), 2) if apart else 0.0,
        _mean_rate(act.heart, seen),
        _mean_rate(act.replayed, seen),
    )


def _box(mesh: Array, size: tuple[int, int]) -> Rectangle | None:
    low, high = mesh[:MESH_POINTS].min(axis=0), mesh[:MESH_POINTS].max(axis=0)
    if (low < 0).any() or (high > np.array(size) - 1).any():
        return None
    x, y, w, h = (round(float(value), 2) for value in (*low, *(high - low)))
    return x, y, w, h


def _eye_distance(mesh: Array) -> float:
    right, left = (mesh[list(pair)].mean(axis=0) for pair in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    return float(np.hypot(*(left - right)))


def _mean_rate(wave: PulseWave | None, seen: Array) -> float | None:
    if wave is None or not seen.any():
        return None
    return round(float(wave.rate[seen].mean()), 2)


def _told(params: FeedParams, plan: Sequence[Booking]) -> dict[str, object]:
    visits = [None if b.visit is None else asdict(b.visit) for b in plan]
    return {
        "camera": asdict(params.camera),
        "scene": asdict(params.scene),
        "pulse": asdict(PulseParams()),
        "print": asdict(PrintParams()),
        "screen": asdict(ScreenParams()),
        "mask": asdict(MaskParams()),
        "visits": visits,
    }
