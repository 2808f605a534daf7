"""The door camera: from linear light to the 8-bit pictures of an H.264 file.

The same for a living face and for every attack: nothing in it may tell them apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Protocol

import av
import cv2
import numpy as np
from annotated_types import Ge, Gt, Interval

from .light import to_srgb
from .parameters import Array, NotNegative, Positive, generator

_CODES = 1 << 14
_STRIP = 48
"""Rows that are developed together, so that they stay in the processor's cache."""
_BANK = 97
"""Noise pictures are parts of one that is larger by this much each way."""


@dataclass(frozen=True, slots=True)
class CameraParams:
    """Lens, sensor and encoder of a door camera."""

    field_of_view: Annotated[float, Interval(gt=10, lt=150)] = 71.0
    """Degrees across the picture's width."""
    exposure: Positive = 1.0
    """Gain from scene light to the picture's linear range."""
    white_balance: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    """Gains of R, G, B: the camera's guess at the lamps' colour, seldom quite right."""
    defocus: NotNegative = 0.6
    """Standard deviation of the lens's blur in pixels."""
    full_well: Positive = 16000.0
    """Electrons of a white pixel: shot noise is the square root of the electrons."""
    read_noise: NotNegative = 6.0
    """Electrons."""
    shutter: Annotated[float, Interval(gt=0, le=1)] = 0.4
    """Share of the frame's time in which the shutter is open."""
    bit_rate: Annotated[int, Gt(0)] = 4_000_000
    """Bits per second of the H.264 stream."""
    keyframe_seconds: Positive = 4.0
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "medium"] = "superfast"
    """Of x264: real cameras encode simply."""
    noise_seed: Annotated[int, Ge(0)] = 0


class Sink(Protocol):
    """Takes pictures in order."""

    def write(self, picture: Array) -> None:
        """Take a picture, uint8 RGB (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A camera of a given picture size, with its noise drawn in advance."""

    params: CameraParams
    noise: Array
    """float32 (h + 97, w + 97, 3), unit deviation, slightly correlated between neighbours as
    demosaicing leaves it."""
    codes: Array
    """uint8 (2^14,): code value of linear light."""


def make_sensor(params: CameraParams, width: int, height: int) -> Sensor:
    """Prepare a sensor: its noise comes from the parameters' seed."""
    rng = generator(params.noise_seed, width, height)
    shape = (height + _BANK, width + _BANK, 3)
    noise = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (3, 3), 0.5)
    noise = np.asarray(noise / noise.std(), np.float32)
    codes = np.rint(to_srgb(np.arange(_CODES) / (_CODES - 1)) * 255).astype(np.uint8)
    return Sensor(params, noise, codes)


def focal_pixels(params: CameraParams, width: int) -> float:
    """Focal length in pixels."""
    return float(width / 2 / np.tan(np.radians(params.field_of_view / 2)))


def develop(sensor: Sensor, scene: Array, index: int) -> Array:
    """Take one picture.

    Args:
        sensor: The camera.
        scene: float32 (h, w, 3), linear light before exposure.
        index: Number of the frame: which noise it gets.

    Returns:
        uint8 RGB (h, w, 3).
    """
    params = sensor.params
    h, w = scene.shape[:2]
    shift = generator(params.noise_seed, index).integers(0, _BANK, 2)
    noise = sensor.noise[shift[0] : shift[0] + h, shift[1] : shift[1] + w]
    gains = np.tile(params.exposure * np.array(params.white_balance, np.float32), w)
    dark = np.float32((params.read_noise / params.full_well) ** 2)
    picture = np.empty((h, w, 3), np.uint8)
    reach = int(np.ceil(3 * params.defocus))
    for top in range(0, h, _STRIP):
        bottom = min(top + _STRIP, h)
        low, high = max(top - reach, 0), min(bottom + reach, h)
        seen = np.asarray(_defocused(scene[low:high], params.defocus, reach))
        light = seen[top - low : bottom - low].reshape(bottom - top, -1) * gains
        deviation = np.sqrt(np.maximum(light, 0.0) / np.float32(params.full_well) + dark)
        light += deviation * noise[top:bottom].reshape(light.shape)
        code = np.clip(light * np.float32(_CODES - 1), 0, _CODES - 1).astype(np.uint16)
        picture[top:bottom] = sensor.codes.take(code).reshape(-1, w, 3)
    return picture


def _defocused(scene: Array, deviation: float, reach: int) -> Array:
    if not reach:
        return scene
    side = 2 * reach + 1
    return np.asarray(
        cv2.GaussianBlur(scene, (side, side), deviation, borderType=cv2.BORDER_REPLICATE)
    )


class _H264:
    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._count = 0

    def write(self, picture: Array) -> None:
        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        frame = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), format="yuv420p")
        frame.pts = self._count
        self._count += 1
        self._container.mux(self._stream.encode(frame))


@contextmanager
def h264_file(path: Path, size: tuple[int, int], fps: int, params: CameraParams) -> Iterator[Sink]:
    """An H.264 file in an MP4 container to write pictures to; whole when the block ends.

    One encoder thread, so that the same pictures give the same bytes.

    Args:
        path: File to write.
        size: Width and height in pixels, even.
        fps: Frames per second.
        params: Bit rate and effort.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.bit_rate = params.bit_rate
        stream.gop_size = max(1, round(params.keyframe_seconds * fps))
        stream.codec_context.thread_count = 1
        stream.options = {
            "preset": params.preset,
            "profile": "high",
            "tune": "zerolatency",  # cameras look neither ahead nor back
            "maxrate": str(params.bit_rate * 3 // 2),
            "bufsize": str(params.bit_rate),
        }
        yield _H264(container, stream)
        container.mux(stream.encode(None))
