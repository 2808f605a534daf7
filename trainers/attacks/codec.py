"""What lies between the camera and the file: JPEG, H.264, both, or chroma subsampling alone.

The same for live and attack. Nothing is written to disk, and no encoder keeps a thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, get_args

import av
import cv2
import numpy as np
from annotated_types import Interval

from .devices import CAMERAS
from .parameters import Array, generator

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "medium"]
Subsampling = Literal["yuv420p", "yuv422p", "yuv444p"]
_BANK_SEED = 21
_JPEG_SAMPLING = {
    "yuv420p": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "yuv422p": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "yuv444p": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


@dataclass(frozen=True, slots=True)
class CodecParams:
    """How pictures are encoded.

    Where both JPEG and H.264 are set, JPEG comes first: a recorder has an MJPEG camera.
    """

    jpeg_quality: Annotated[int, Interval(ge=10, le=100)] | None = None
    """Of libjpeg; None: no JPEG."""
    h264: bool = False
    crf: Annotated[float, Interval(ge=0, le=51)] | None = None
    """Constant quality of x264; None: ``bits_per_pixel`` holds."""
    bits_per_pixel: Annotated[float, Interval(ge=0.01, le=2)] = 0.1
    """Mean over the stream; 0.1 is 2.3 Mbit/s at 1280x720 and 25 frames a second."""
    preset: Preset = "superfast"
    """Of x264: real cameras encode simply."""
    gop: Annotated[int, Interval(ge=1, le=600)] = 50
    """Frames between keyframes."""
    subsampling: Subsampling = "yuv420p"
    """Of colour. H.264 is always 4:2:0; with neither codec, this alone is done."""


def draw_codec(rng: np.random.Generator, camera_id: int | None = None) -> CodecParams:
    """A codec and its quality.

    Args:
        rng: Where the quality, and without ``camera_id`` the codec too, is drawn from.
        camera_id: Number of a device of the bank (0 to 39), whose codec is always the same.
    """
    if camera_id is not None and not 0 <= camera_id < CAMERAS:
        raise ValueError(f"camera {camera_id}: the bank has cameras 0 to {CAMERAS - 1}")
    of_device = rng if camera_id is None else generator(_BANK_SEED, camera_id)
    way = of_device.choice(4, p=(0.12, 0.28, 0.42, 0.18))  # none, JPEG, H.264, both
    preset: Preset = get_args(Preset)[of_device.choice(5, p=(0.3, 0.35, 0.2, 0.1, 0.05))]
    subsampling: Subsampling = get_args(Subsampling)[of_device.choice(3, p=(0.55, 0.35, 0.1))]
    constant = bool(of_device.random() < 0.7)
    quality = int(np.clip(rng.triangular(30, 88, 98), 30, 98))
    crf = float(np.clip(rng.normal(25, 5), 16, 38))
    bits = float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
    return CodecParams(
        jpeg_quality=quality if way in (1, 3) else None,
        h264=bool(way >= 2),
        crf=crf if constant else None,
        bits_per_pixel=bits,
        preset=preset,
        gop=int(rng.integers(12, 250)),
        subsampling=subsampling,
    )


def encoded(frames: Sequence[Array], params: CodecParams, fps: int = 25) -> list[Array]:
    """The pictures as they come out of the codec.

    One picture is a keyframe; the last of two or three has what prediction leaves of it. A short
    sequence at ``bits_per_pixel`` gets what rate control grants a stream's beginning.

    Args:
        frames: uint8 RGB (h, w, 3), consecutive, all of one size.
        params: How.
        fps: Frames per second.

    Returns:
        As many pictures of the same size, uint8 RGB.
    """
    if any(frame.shape != frames[0].shape for frame in frames):
        sizes = sorted({frame.shape for frame in frames})
        raise ValueError(f"frames to encode: one size was expected, found {sizes}")
    if not frames:
        return []
    pictures = list(frames)
    if params.jpeg_quality is not None:
        pictures = [_jpeg(picture, params.jpeg_quality, params) for picture in pictures]
    if params.h264:
        return _h264(pictures, params, fps)
    if params.jpeg_quality is None:
        return [_subsampled(picture, params.subsampling) for picture in pictures]
    return pictures


def _jpeg(picture: Array, quality: int, params: CodecParams) -> Array:
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        _JPEG_SAMPLING[params.subsampling],
    ]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


def _subsampled(picture: Array, subsampling: Subsampling) -> Array:
    if subsampling == "yuv444p":
        return picture
    height, width = picture.shape[:2]
    down, across = (2, 2) if subsampling == "yuv420p" else (1, 2)
    luma, *chroma = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb))
    small = (-(-width // across), -(-height // down))
    planes = [luma]
    for plane in chroma:
        coarse = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
        planes.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2RGB))


def _h264(frames: list[Array], params: CodecParams, fps: int) -> list[Array]:
    height, width = frames[0].shape[:2]
    even = [_even(frame) for frame in frames]
    encoder = _encoder(even[0].shape[1], even[0].shape[0], params, fps)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    assert isinstance(decoder, av.VideoCodecContext)
    out: list[Array] = []
    for index, picture in enumerate([*even, None]):
        frame = None if picture is None else av.VideoFrame.from_ndarray(picture, "rgb24")
        if frame is not None:
            frame = frame.reformat(format="yuv420p", threads=1)
            frame.pts = index
        for packet in encoder.encode(frame):
            out += [_rgb(decoded, height, width) for decoded in decoder.decode(packet)]
    return out + [_rgb(decoded, height, width) for decoded in decoder.decode(None)]


def _rgb(frame: av.VideoFrame, height: int, width: int) -> Array:
    picture = frame.reformat(format="rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(picture[:height, :width])


def _even(picture: Array) -> Array:
    height, width = picture.shape[:2]
    if not (height % 2 or width % 2):
        return picture
    return np.asarray(
        cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    )


def _encoder(width: int, height: int, params: CodecParams, fps: int) -> av.VideoCodecContext:
    """One thread, no look-ahead, so that nothing waits and the same pictures give the same."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, fps)
    encoder.framerate = Fraction(fps)
    encoder.gop_size = params.gop
    encoder.thread_count = 1
    encoder.options = {"preset": params.preset, "tune": "zerolatency"}
    if params.crf is not None:
        encoder.options |= {"crf": f"{params.crf:.2f}"}
    else:
        rate = int(params.bits_per_pixel * width * height * fps)
        encoder.bit_rate = rate
        encoder.options |= {"maxrate": str(rate * 3 // 2), "bufsize": str(rate)}
    return encoder
