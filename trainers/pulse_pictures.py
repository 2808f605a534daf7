"""Small pictures of skin with a known pulse, through a real H.264 encoder, as traces of cells.

No model of an encoder does what an encoder does to a pulse, so part of the pulse network's clips
are filmed: an oval of textured skin before a wall, which moves, is shaded and lit, with sensor
noise, encoded by x264 at rates from plenty to starved, decoded, and sampled on the registered grid
with the jitter that a mesh has. These are no faces (nothing in them is non-rigid); what they teach
is the encoder.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

from ..nodes.canonical import GRID_SIDE
from ..nodes.skin_cells import cell_places
from .pulse_traces import Array, Course, Traces, as_traces, draw_course

_OVAL = (0.31, 0.40)
"""Half axes of the face in picture sides."""
_SMALLEST, _LARGEST = 80, 160
"""Sides of a picture in pixels, multiples of 16."""
_BANK = 24
"""Noise pictures are parts of one that is larger by this much each way."""


@dataclass(frozen=True, slots=True)
class _Sitting:
    """Everything about one clip but its frames."""

    side: int
    parts: Array
    """float32 (11, side * side * 3): the picture in levels, and what it gains by a degree of yaw,
    pitch and roll, by a volume of 1, and by light of R, G and B on the face and on the wall."""
    grid: Array
    """float32 (2, 1024): where the cells' places are, x and y in pixels."""
    rough: float
    """Deviation of the sensor's noise in levels."""


def film_traces(
    rng: np.random.Generator, count: int, *, rate: float | None = None, seconds: float = 10.0
) -> Traces:
    """Film clips of about one frame rate; arguments and result as of ``draw_traces``."""
    course = draw_course(rng, count, rate, seconds)
    levels = np.stack([_filmed(rng, course, index) for index in range(count)])
    return as_traces(rng, course, np.log(np.maximum(levels, 1.0)))


def _filmed(rng: np.random.Generator, course: Course, index: int) -> Array:
    """Mean levels (T, K + 1, 3) of the cells and the wall as a clip shows them."""
    sitting = _sitting(rng, course, index)
    shifts = _shifts(rng, course, index, sitting.side)
    frames = _frames(rng, course, index, sitting, shifts)
    file = _encode(rng, frames, sitting.side, 1.0 / float(np.median(np.diff(course.times[index]))))
    jitter = shifts + _jitter(rng, len(shifts))
    places = cell_places() / cell_places().sum(axis=1, keepdims=True)
    levels = []
    for number, picture in enumerate(_decode(file)):
        means, wall = _sampled(picture, sitting, jitter[number])
        levels.append(np.concatenate([places @ means, wall[None]]))
    return np.stack(levels)


def _sitting(rng: np.random.Generator, course: Course, index: int) -> _Sitting:
    side = int(rng.integers(_SMALLEST // 16, _LARGEST // 16 + 1)) * 16
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    away = np.hypot(x / _OVAL[0], y / _OVAL[1])
    skin = np.clip((1.05 - away) * 12, 0, 1)[..., None]
    wall = rng.uniform(20, 200, 3) * (1 + 0.15 * _texture(rng, side, 3))
    texture = 1 + rng.uniform(0.03, 0.12) * _texture(rng, side, 1) + 0.02 * _texture(rng, side, 3)
    face = course.skin[index].reshape(3) * texture * (1 - 0.25 * away**2)[..., None]
    for eye in (-0.12, 0.12, 0.0):  # two eyes and a mouth: what an encoder spends its bits on
        down, wide = (0.17, 0.09) if eye == 0 else (-0.09, 0.05)
        dark = np.exp(-(((x - eye) / wide) ** 2) - ((y - down) / 0.02) ** 2)
        face = face * (1 - 0.6 * dark)[..., None]
    face, wall = (part.astype(np.float32) for part in (face * skin, wall * (1 - skin)))
    gain = np.exp(0.4 * _texture(rng, side, 1))
    slopes = 0.006 * (rng.normal(size=3) + np.stack([x, y, x * y], -1) * rng.normal(size=3) * 4)
    by_pose = [face * slopes[..., axis, None] for axis in range(3)]
    by_light = [part * channel for part in (face, wall) for channel in np.eye(3)]
    parts = [face + wall, *by_pose, face * gain * course.blood[index].reshape(3), *by_light]
    rough = rng.uniform(0.7, 4.0) * np.sqrt(course.ease[index].item())
    return _Sitting(side, np.stack(parts).reshape(11, -1).astype(np.float32), _grid(side), rough)


def _texture(rng: np.random.Generator, side: int, channels: int) -> Array:
    """float32 (side, side, channels) of unit deviation: blotches and grain of several sizes."""
    total = np.zeros((side, side, channels), np.float32)
    for size in (2, 4, 8, 16):
        small = rng.normal(size=(side // size + 2, side // size + 2, channels)).astype(np.float32)
        large = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        total += large.reshape(side, side, channels)
    return np.asarray(total / total.std())


def _grid(side: int) -> Array:
    """Places of the 32x32 grid on the oval, float32 (2, 1024)."""
    row, column = (np.mgrid[:GRID_SIDE, :GRID_SIDE].reshape(2, -1) + 0.5) / GRID_SIDE * 2 - 1
    places = np.stack([0.95 * _OVAL[0] * column, 0.95 * _OVAL[1] * row])
    return np.asarray((places + 0.5) * side - 0.5, np.float32)


def _shifts(rng: np.random.Generator, course: Course, index: int, side: int) -> Array:
    """Where the face is, pixels (T, 2): yaw and pitch move it, and the body sways."""
    pose = course.pose[index][:, :2] * rng.uniform(0.3, 1.2) * side / 300
    return np.asarray(pose - pose.mean(axis=0))


def _jitter(rng: np.random.Generator, frames: int) -> Array:
    """What the mesh is off, pixels (T, 2): slow, and a little anew in each frame."""
    slow = np.cumsum(rng.normal(0, 0.03, (frames, 2)), axis=0)
    return np.asarray(slow - slow.mean(axis=0) + rng.normal(0, rng.uniform(0.02, 0.2), (frames, 2)))


def _frames(
    rng: np.random.Generator, course: Course, index: int, sitting: _Sitting, shifts: Array
) -> Iterator[Array]:
    """uint8 RGB pictures."""
    side = sitting.side
    noise = rng.normal(size=(side + _BANK, side + _BANK, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (3, 3), 0.6) * (sitting.rough / 0.6)
    light, shown = course.light[index], course.shown[index]
    on_wall = light * course.wall_share[index]
    volume = course.volume[index][:, None]
    by_frame = np.ones_like(volume), course.pose[index], volume, light + shown, on_wall
    sizes = np.concatenate(by_frame, axis=1).astype(np.float32)
    for size, (dx, dy) in zip(sizes, shifts, strict=True):
        lit = (size @ sitting.parts).reshape(side, side, 3)
        moved = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        seen = cv2.warpAffine(lit, moved, (side, side), borderMode=cv2.BORDER_REPLICATE)
        left, top = rng.integers(0, _BANK, 2)
        noisy = seen + noise[top : top + side, left : left + side]
        yield np.clip(noisy + 0.5, 0, 255).astype(np.uint8)


def _encode(
    rng: np.random.Generator, frames: Iterator[Array], side: int, rate: float
) -> io.BytesIO:
    """An H.264 film as a camera makes it: good for the eye, from plenty of bits to hardly any."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=Fraction(max(1, round(rate))))
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.gop_size = max(1, round(rate * rng.choice([1, 2, 4, 10])))
        stream.options = {
            "preset": str(rng.choice(["ultrafast", "superfast", "veryfast"])),
            "tune": "zerolatency",
            "crf": f"{rng.uniform(8, 30):.1f}",
        }
        for frame in frames:
            planes = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    file.seek(0)
    return file


def _decode(file: io.BytesIO) -> Iterator[Array]:
    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for picture in container.decode(stream):
            planes = picture.to_ndarray(format="yuv420p")
            yield np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420))


def _sampled(picture: Array, sitting: _Sitting, shift: Array) -> tuple[Array, Array]:
    """Mean R, G, B (1024, 3) of a box at each place, and (3,) of the wall at both sides."""
    side = sitting.side
    reach = max(3, round(side * 0.02) | 1)
    smooth = cv2.boxFilter(picture, cv2.CV_32F, (reach, reach))
    x, y = (sitting.grid + shift[:, None].astype(np.float32)).reshape(2, GRID_SIDE, GRID_SIDE)
    means = cv2.remap(smooth, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    strips = (picture[: side * 2 // 3, : side // 12], picture[: side * 2 // 3, -(side // 12) :])
    beside = np.mean([cv2.mean(strip)[:3] for strip in strips], axis=0)
    return np.asarray(means).reshape(-1, 3), beside
