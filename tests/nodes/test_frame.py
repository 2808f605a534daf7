"""Addressing a decoded picture: rotation, padding, thumbnails, crops, colours."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from padflow.nodes.frame import Frame, to_rgb_matrix
from padflow.nodes.payloads import Box
from padflow.nodes.quality import LEAST_COLOUR
from tests.nodes.pictures import picture, smooth_picture

Floats = NDArray[np.float64]
FrameOf = Callable[..., Frame]
ROTATIONS = (0, 90, 180, 270)
BORDER_ERROR = {0.7: 3.0, 1.0: 3.0, 1.5: 4.0, 1.7: 4.0, 4.0: 8.0, 9.0: 12.0}
"""By scale: where a crop averages blocks, it repeats the border's block and not its last pixel."""


def turned(array: NDArray[Any], rotation: int) -> NDArray[Any]:
    """Clockwise."""
    return np.rot90(array, -rotation // 90)


def stored_planes(frame: Frame) -> list[Floats]:
    planes = []
    for plane in frame.picture.planes:
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
        planes.append(rows[:, : plane.width].astype(np.float64))
    return planes


def bilinear(plane: Floats, x: Floats, y: Floats) -> Floats:
    """Plain float interpolation with the border repeated."""
    height, width = plane.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = plane[y0, x0] * (1 - fx) + plane[y0, x1] * fx
    bottom = plane[y1, x0] * (1 - fx) + plane[y1, x1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


def reference_crop(frame: Frame, matrix: Floats, size: int, oversampling: int = 6) -> Floats:
    """Slow float crop: full-resolution RGB of every sub-sample, averaged over each pixel."""
    offsets = (np.arange(size * oversampling) + 0.5) / oversampling - 0.5
    cx, cy = np.meshgrid(offsets, offsets)
    x = matrix[0, 0] * cx + matrix[0, 1] * cy + matrix[0, 2]
    y = matrix[1, 0] * cx + matrix[1, 1] * cy + matrix[1, 2]
    w, h = frame.picture.width, frame.picture.height
    xs, ys = {
        0: (x, y),
        90: (y, h - 1 - x),
        180: (w - 1 - x, h - 1 - y),
        270: (w - 1 - y, x),
    }[frame.rotation]
    luma, u, v = stored_planes(frame)
    left = 0.25 if frame.picture.format.name == "yuvj420p" else 0.0
    chroma = (xs / 2 - left, ys / 2 - 0.25)
    yuv1 = np.stack(
        (bilinear(luma, xs, ys), bilinear(u, *chroma), bilinear(v, *chroma), np.ones_like(xs))
    )
    rgb = np.einsum("ij,jyx->yxi", to_rgb_matrix(frame.picture).astype(np.float64), yuv1)
    tiles = rgb.reshape(size, oversampling, size, oversampling, 3).mean(axis=(1, 3))
    return np.asarray(np.clip(tiles, 0, 255))


def similarity(scale: float, degrees: float, x: float, y: float) -> Floats:
    """Crop pixel (0, 0) lands on (x, y)."""
    a = math.radians(degrees)
    c, s = scale * math.cos(a), scale * math.sin(a)
    return np.array(((c, -s, x), (s, c, y)))


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("size", [(64, 48), (63, 49), (1, 1), (2, 7), (130, 33)])
def test_planes_are_upright_and_without_padding(rotation: int, size: tuple[int, int]) -> None:
    frame = Frame(smooth_picture(*size), 0, rotation=rotation)
    stored = stored_planes(frame)
    upright = frame.planes()
    assert upright[0].shape == (frame.height, frame.width)
    half = ((frame.height + 1) // 2, (frame.width + 1) // 2)
    assert upright[1].shape == upright[2].shape == half
    for got, kept in zip(upright, stored, strict=True):
        np.testing.assert_array_equal(got, turned(kept, rotation))


def test_planes_do_not_copy() -> None:
    frame = Frame(smooth_picture(64, 48), 0, rotation=90)
    for view, plane in zip(frame.planes(), frame.picture.planes, strict=True):
        assert view.__array_interface__["data"][0] - plane.buffer_ptr in range(plane.buffer_size)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("size", [(640, 480), (641, 363)])
def test_thumbnail_shows_the_upright_picture(rotation: int, size: tuple[int, int]) -> None:
    frame = Frame(smooth_picture(*size), 0, rotation=rotation)
    got = frame.thumbnail(96, 64).astype(np.float64)
    assert got.shape == (64, 96, 3)
    fx, fy = frame.width / 96, frame.height / 64
    columns, rows = np.meshgrid((np.arange(96) + 0.5) * fx - 0.5, (np.arange(64) + 0.5) * fy - 0.5)
    upright = [p.astype(np.float64) for p in frame.planes()]
    chroma = (columns / 2 - 0.25, rows / 2 - 0.25)
    yuv1 = np.stack(
        (
            bilinear(upright[0], columns, rows),
            bilinear(upright[1], *chroma),
            bilinear(upright[2], *chroma),
            np.ones_like(rows),
        )
    )
    expected = np.einsum("ij,jyx->yxi", to_rgb_matrix(frame.picture).astype(np.float64), yuv1)
    # swscale gives two neighbours one chroma value, which costs blue most.
    assert np.abs(got - expected).mean() < 2.5
    assert np.abs((got - expected).mean(axis=(0, 1))).max() < 2.0
    wrong_way = np.abs(got[::-1, ::-1] - expected).mean()
    assert wrong_way > 10, "the picture has no symmetry that could hide a wrong rotation"


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize(
    ("scale", "degrees"),
    [(0.6, 0.0), (1.0, 8.0), (1.15, -30.0), (1.6, 12.0), (2.4, 0.0), (5.0, 33)],
)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
def test_crop_equals_the_slow_reference(
    rotation: int, scale: float, degrees: float, pixel_format: str
) -> None:
    frame = Frame(smooth_picture(643, 481, pixel_format), 0, rotation=rotation)
    matrix = similarity(scale, degrees, 200.0, 90.0)
    size = min(64, int(200 / scale)) & ~1
    error = np.abs(frame.crop(matrix, size) - reference_crop(frame, matrix, size))
    assert error.max() <= 4.0
    assert error.mean() <= 0.8


def test_crop_of_the_identity_is_the_picture() -> None:
    frame = Frame(smooth_picture(128, 128), 0)
    planes = frame.crop_planes(np.array(((1.0, 0, 0), (0, 1.0, 0))), 128)
    np.testing.assert_array_equal(planes.y, stored_planes(frame)[0])


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("scale", [0.7, 1.5, 4.0])
def test_crop_past_the_border_repeats_it(rotation: int, scale: float) -> None:
    frame = Frame(smooth_picture(321, 243), 0, rotation=rotation)
    for x, y in ((-90.0, -70.0), (frame.width - 20.0, frame.height - 30.0)):
        matrix = similarity(scale, 10.0, x, y)
        error = np.abs(frame.crop(matrix, 64) - reference_crop(frame, matrix, 64))
        assert error.max() <= BORDER_ERROR[scale]


@pytest.mark.parametrize("corner", [(-5e3, 10.0), (5e3, 10.0), (10.0, -5e3), (10.0, 5e3)])
@pytest.mark.parametrize("scale", [1.0, 1.7, 9.0])
def test_crop_beside_the_picture_is_its_nearest_border(
    corner: tuple[float, float], scale: float
) -> None:
    frame = Frame(smooth_picture(160, 120), 0)
    matrix = similarity(scale, 0.0, *corner)
    error = np.abs(frame.crop(matrix, 32) - reference_crop(frame, matrix, 32))
    assert error.max() <= BORDER_ERROR[scale]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (1, 40)])
@pytest.mark.parametrize("scale", [0.05, 1.0, 1.5, 300.0])
def test_crop_of_a_tiny_picture(size: tuple[int, int], scale: float) -> None:
    frame = Frame(smooth_picture(*size), 0)
    assert frame.crop(similarity(scale, 5.0, -1.0, -1.0), 16).shape == (16, 16, 3)


@pytest.mark.parametrize("scale", [1.5, 1.95, 3.0, 6.0])
def test_crop_of_a_fine_pattern_does_not_alias(scale: float) -> None:
    """A 1-pixel checkerboard has to become grey, where plain interpolation gives moire."""
    board = ((np.indices((600, 600)).sum(axis=0) % 2) * 200 + 28).astype(np.uint8)
    flat = np.full((300, 300), 128, np.uint8)
    frame = Frame(picture(board, flat, flat), 0)
    crop = frame.crop_planes(similarity(scale, 0.0, 40.0, 40.0), 64).y.astype(np.float64)
    assert abs(crop.mean() - 128) < 2
    assert crop.std() < 100 * {1.5: 0.65, 1.95: 0.4, 3.0: 0.02, 6.0: 0.02}[scale]


def test_crop_refuses_what_makes_no_sense() -> None:
    frame = Frame(smooth_picture(64, 48), 0)
    with pytest.raises(ValueError, match="finite"):
        frame.crop(np.array(((math.nan, 0, 0), (0, 1, 0))), 32)
    with pytest.raises(ValueError, match="even"):
        frame.crop(np.eye(2, 3), 33)


COLOURS = {"red": (200, 30, 40), "skin": (210, 160, 140), "blue": (20, 40, 220), "grey": (90,) * 3}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("space", "tag"), [("itu601", 5), ("itu709", 1), ("bt2020", 9)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_survive_a_round_trip(colour: str, space: str, tag: int, full: bool) -> None:
    rgb = np.full((64, 96, 3), COLOURS[colour], np.uint8)
    coded = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format="yuv420p", dst_colorspace=space, dst_color_range=2 if full else 1, threads=1
    )
    coded.colorspace, coded.color_range = tag, 2 if full else 1
    frame = Frame(coded, 0)
    for got in (frame.crop(np.eye(2, 3), 48), frame.thumbnail(24, 16)):
        assert np.abs(got.reshape(-1, 3) - np.array(COLOURS[colour], float)).max() <= 3


@pytest.mark.parametrize(("size", "space"), [((640, 480), "itu601"), ((1280, 720), "itu709")])
def test_unnamed_colour_space_goes_by_the_size(size: tuple[int, int], space: str) -> None:
    rgb = np.full((size[1], size[0], 3), COLOURS["red"], np.uint8)
    coded = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format="yuv420p", dst_colorspace=space, threads=1
    )
    coded.colorspace, coded.color_range = 2, 0
    frame = Frame(coded, 0)
    for got in (frame.crop(np.eye(2, 3), 48), frame.thumbnail(24, 16)):
        assert np.abs(got.reshape(-1, 3) - np.array(COLOURS["red"], float)).max() <= 3


def test_crop_planes_are_small_and_give_the_same_picture() -> None:
    frame = Frame(smooth_picture(640, 480), 0)
    matrix = similarity(1.3, 5.0, 100.0, 60.0)
    planes = frame.crop_planes(matrix, 256)
    assert planes.y.nbytes + planes.u.nbytes + planes.v.nbytes == 98_304
    np.testing.assert_array_equal(planes.rgb(), frame.crop(matrix, 256))


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_crop_of_the_luma_alone_is_that_of_all_planes(rotation: int) -> None:
    frame = Frame(smooth_picture(160, 90), 0, rotation=rotation)
    matrix = np.array([[1.7, 0.0, 5.3], [0.0, 1.7, 9.1]])
    assert (frame.luma_crop(matrix, 40) == frame.crop_planes(matrix, 40).y).all()


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize(("longest", "step"), [(200, 1), (160, 1), (159, 2), (40, 4), (1, 160)])
def test_the_small_luma_is_the_mean_of_whole_blocks(rotation: int, longest: int, step: int) -> None:
    frame = Frame(smooth_picture(160, 90), 0, rotation=rotation)
    small, found = frame.small_luma(longest)
    height, width = frame.luma().shape
    assert found == step
    assert small.shape == (max(1, height // step), max(1, width // step))
    block = frame.luma()[:step, :step]
    assert small[0, 0] == pytest.approx(block.mean(), abs=1)


def test_threads_may_scale_one_frame_at_the_same_time() -> None:
    """The detector and a sink that draws do."""
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    frame = Frame(av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format="yuv420p"), 0)
    sizes = [(192, 108), (1280, 720), (640, 360), (320, 180)]
    alone = [frame.thumbnail(*size) for size in sizes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda size: frame.thumbnail(*size), sizes * 50))
    for place, found in enumerate(together):
        assert np.array_equal(found, alone[place % len(sizes)])


def test_a_picture_without_colour_is_told_whatever_its_tint(
    astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    grey = np.repeat(astronaut.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    violet = (0.8 * grey + np.array([22, 10, 35])).astype(np.uint8)
    for image in (grey, violet):
        assert frame_of(image).colour_reach() < LEAST_COLOUR
    assert frame_of(astronaut).colour_reach() > 5 * LEAST_COLOUR


def test_a_grey_face_in_a_coloured_picture_is_no_picture_without_colour(
    astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf
) -> None:
    x, y, w, h = (round(side) for side in astronaut_box)
    around = slice(max(0, y - h // 2), y + 2 * h), slice(max(0, x - w // 2), x + 2 * w)
    sheet = astronaut.copy()
    sheet[around] = sheet[around].mean(axis=2, keepdims=True).astype(np.uint8)
    assert frame_of(sheet).colour_reach() > LEAST_COLOUR


@pytest.mark.parametrize("size", [(2, 2), (64, 48), (401, 303)])
def test_colours_are_looked_at_in_pictures_of_every_size(
    size: tuple[int, int], astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    assert frame_of(cv2.resize(astronaut, size)).colour_reach() >= 0.0
