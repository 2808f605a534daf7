"""Pictures for tests, made plane by plane, and a film that has none."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def picture(y: Bytes, u: Bytes, v: Bytes, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """A 4:2:0 picture from its planes; y (height, width), u and v half of that, rounded up."""
    height, width = y.shape
    made = av.VideoFrame(width, height, pixel_format)
    for plane, values in zip(made.planes, (y, u, v), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    return made


def smooth_picture(
    width: int, height: int, pixel_format: str = "yuv420p", seed: int = 0
) -> av.VideoFrame:
    """Waves of 100 pixels and more (chroma: 200) in all planes, no symmetry, no clipping in RGB."""
    rng = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    y = _waves(rng, (height, width), 0.06, 12.0)
    u, v = (_waves(rng, half, 0.06, 4.0) for _ in range(2))
    return picture(y, u, v, pixel_format)


def write_sound(path: Path) -> None:
    """A film without pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def _waves(
    rng: np.random.Generator, shape: tuple[int, int], steepest: float, amplitude: float
) -> Bytes:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    values = np.full(shape, 128.0)
    for _ in range(4):
        kx, ky = rng.uniform(-steepest, steepest, 2)
        values += amplitude * np.sin(kx * columns + ky * rows + rng.uniform(0, 6))
    waves: Bytes = np.rint(values).astype(np.uint8)
    return waves
