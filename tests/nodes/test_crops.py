"""The crop rule: what trainers cut from a picture is what the nodes cut from a frame."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from padflow.nodes.crops import (
    CONTEXT_SIZE,
    FACE_SCALE,
    NATIVE_MOST,
    PATCH_SIZE,
    VIEW_SIDE,
    balanced_to_rgb,
    context_crop,
    face_crop,
    face_patches,
    face_views,
    narrower_than_a_patch,
    native_square,
    patch_mosaic,
    patches_of,
    picture_frame,
    view_scales,
)
from padflow.nodes.frame import Frame, to_rgb_matrix
from padflow.nodes.mesh import CROP_SIDE, MeshNet, Square, box_of, square_of_mesh, to_frame

SHIFT = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


@pytest.fixture(scope="module")
def mesh(models: object, astronaut: np.ndarray) -> np.ndarray:
    """The portrait's mesh, pixels of the portrait."""
    square = Square(225.0, 125.0, 170.0, 0.0).matrix()
    with MeshNet() as net:
        points, presence = net.infer(picture_frame(astronaut).crop(square, CROP_SIDE))
    assert presence > 0.9
    return to_frame(points, square)


def stripes(period: float, width: int = 640, height: int = 480) -> np.ndarray:
    """Vertical sine of a period in pixels, uint8 RGB."""
    wave = np.rint(128 + 100 * np.sin(2 * np.pi * np.arange(width) / period))
    return np.broadcast_to(wave.astype(np.uint8)[None, :, None], (height, width, 3))


@pytest.mark.parametrize("shape", [(512, 512), (511, 509), (2, 3)])
def test_a_picture_turned_into_planes_keeps_its_colours(
    astronaut: np.ndarray, shape: tuple[int, int]
) -> None:
    image = np.ascontiguousarray(astronaut[: shape[0], : shape[1]])
    frame = picture_frame(image)
    assert (frame.height, frame.width) == shape
    side = min(shape) // 2 * 2
    back = frame.crop(SHIFT, side).astype(int) - image[:side, :side]
    assert np.abs(back.mean((0, 1))).max() < (0.5 if side > 2 else 4)


def test_planes_are_whole_numbers_nearest_to_the_colours() -> None:
    """No tint: a rounding down would tell training pictures from served ones."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8).repeat(3, 2)
    frame = picture_frame(image)
    y, u, v = frame.planes()
    np.testing.assert_array_equal(y, image[..., 0])
    assert (u == 128).all()
    assert (v == 128).all()


def test_functions_cut_what_a_frame_gives(astronaut: np.ndarray, mesh: np.ndarray) -> None:
    """From RGB or from the decoder's limited-range planes: the same within rounding and chroma."""
    rgb = av.VideoFrame.from_ndarray(astronaut, format="rgb24")
    decoded = Frame(rgb.reformat(format="yuv420p"), 0)
    for cut in (face_crop, context_crop, face_patches):
        ours, theirs = cut(astronaut, mesh), cut(decoded, mesh)
        assert ours.dtype == np.uint8
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).mean() < 3.0
        luma = [c.astype(float) @ (0.299, 0.587, 0.114) for c in (ours, theirs)]
        assert np.abs(luma[0] - luma[1]).mean() < 1.5


LIGHTS = {"cold": (0.85, 1.0, 1.2), "warm": (1.2, 1.0, 0.8)}


def under(light: Sequence[float], image: np.ndarray) -> np.ndarray:
    """A picture in light of another colour; darker, so that nothing is clipped."""
    changed: np.ndarray = 0.8 * image * np.array(light)
    return changed.astype(np.uint8)


def in_a_room(portrait: np.ndarray) -> np.ndarray:
    """A portrait before grey walls, in the upper left corner."""
    room = np.full((720, 1280, 3), 150, np.uint8)
    room[: portrait.shape[0], : portrait.shape[1]] = portrait
    return room


@pytest.mark.parametrize("light", LIGHTS.values(), ids=LIGHTS)
@pytest.mark.parametrize("cut", [face_crop, context_crop, face_patches])
def test_a_cast_of_the_light_is_taken_off_what_networks_see(
    cut: Callable[[np.ndarray, np.ndarray], np.ndarray],
    light: Sequence[float],
    astronaut: np.ndarray,
    mesh: np.ndarray,
) -> None:
    room = in_a_room(astronaut)
    neutral, cast = (
        cut(under(colour, room), mesh).reshape(-1, 3).mean(axis=0)
        for colour in ((1.0, 1.0, 1.0), light)
    )
    unbalanced = neutral * light - neutral
    assert np.linalg.norm(cast - neutral) < 0.6 * np.linalg.norm(unbalanced)


@pytest.mark.parametrize("light", LIGHTS.values(), ids=LIGHTS)
def test_a_face_of_another_colour_than_the_room_stays_so(
    light: Sequence[float], astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    """A display or a print in a room: its own colour is a cue."""
    room = in_a_room(astronaut)
    x, y, w, h = (round(side) for side in box_of(mesh))
    room[y : y + h, x : x + w] = under(light, room[y : y + h, x : x + w])
    frame = picture_frame(room)
    np.testing.assert_array_equal(balanced_to_rgb(frame, mesh), to_rgb_matrix(frame.picture))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(2, 2), (64, 48), (401, 303), (1280, 720)])
def test_pictures_of_every_size_and_turn_are_balanced(
    size: tuple[int, int], rotation: int, astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    image = under(LIGHTS["cold"], cv2.resize(in_a_room(astronaut), size))
    frame = replace(picture_frame(image), rotation=rotation)
    matrix = balanced_to_rgb(frame, mesh)
    assert matrix.shape == (3, 4)
    assert np.isfinite(matrix).all()


def test_a_face_that_fills_the_picture_is_left_as_it_is(
    astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    x, y, w, h = (round(side) for side in box_of(mesh))
    frame = picture_frame(under(LIGHTS["cold"], astronaut[y : y + h, x : x + w]))
    matrix = balanced_to_rgb(frame, mesh - np.array([x, y, 0], np.float32))
    np.testing.assert_array_equal(matrix, to_rgb_matrix(frame.picture))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_what_is_around_a_face_is_upright(rotation: int) -> None:
    image = np.full((120, 160, 3), 200, np.uint8)
    image[20:60, 100:150] = 0
    frame = replace(picture_frame(np.rot90(image, rotation // 90)), rotation=rotation)
    assert frame.around((99.0, 19.0, 52.0, 42.0))[0].min() == 200
    assert frame.around((0.0, 60.0, 160.0, 60.0))[0].min() == 0


def test_patches_are_the_frames_own_pixels(astronaut: np.ndarray, mesh: np.ndarray) -> None:
    """Native resolution: luma is copied, not resampled, and patches lie on the face."""
    grey = np.ascontiguousarray(astronaut[..., 1:2].repeat(3, 2))
    wide = mesh * 2
    image = grey.repeat(2, 0).repeat(2, 1)
    image[::2, ::2] //= 2  # detail at the pixel grid
    patches = face_patches(image, wide)
    assert patches.shape == (4, PATCH_SIZE, PATCH_SIZE, 3)
    matrix, side = native_square(wide, 1024, 1024)
    left, top = matrix[:, 2].astype(int)
    native = image[top : top + side, left : left + side]
    for patch, cut in zip(patches, patches_of(native, wide[:, :2] - matrix[:, 2]), strict=True):
        np.testing.assert_allclose(patch.astype(int), cut, atol=1)
    assert len({patch.tobytes() for patch in patches}) == 4


def test_a_narrow_face_gives_one_patch_with_its_surroundings(
    astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    assert narrower_than_a_patch(mesh * np.float32(0.5))
    assert not narrower_than_a_patch(mesh * np.float32(2))
    small = np.ascontiguousarray(astronaut[::2, ::2])
    patches = face_patches(small, mesh / 2)
    assert patches.shape == (4, PATCH_SIZE, PATCH_SIZE, 3)
    assert all((patch == patches[0]).all() for patch in patches)


def test_a_mosaic_shows_the_middles_of_four_patches(astronaut: np.ndarray) -> None:
    patches = np.stack([astronaut[i : i + PATCH_SIZE, :PATCH_SIZE] for i in range(5)])
    (mosaic,) = patch_mosaic(patches)
    assert mosaic.shape == (VIEW_SIDE, VIEW_SIDE, 3)
    half = VIEW_SIDE // 2
    quarters = [mosaic[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    for quarter, patch in zip(quarters, patches, strict=False):
        np.testing.assert_array_equal(quarter, patch[8:88, 8:88])
    (one,) = patch_mosaic(patches[:1])
    np.testing.assert_array_equal(one[:half, :half], one[half:, half:])
    np.testing.assert_array_equal(patch_mosaic(patches[:2])[0, half:], mosaic[:half])


@pytest.mark.parametrize(("factor", "offset"), [(0.3, -60.0), (1.0, 330.0), (6.0, -200.0)])
def test_faces_at_the_border_or_huge_are_cut_inside(
    astronaut: np.ndarray, mesh: np.ndarray, factor: float, offset: float
) -> None:
    moved = mesh * np.float32(factor) + np.array((offset, 0, 0), np.float32)
    matrix, side = native_square(moved, 512, 512)
    assert PATCH_SIZE <= side <= NATIVE_MOST
    assert side % 2 == 0
    left, top = matrix[:, 2]
    assert 0 <= left <= 512 - side
    assert 0 <= top <= 512 - side
    assert face_patches(astronaut, moved, 8).shape == (8, PATCH_SIZE, PATCH_SIZE, 3)


@pytest.mark.parametrize("count", [0, 9])
def test_a_wrong_count_is_refused(astronaut: np.ndarray, mesh: np.ndarray, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 8"):
        face_patches(astronaut, mesh * 2, count)


def test_context_is_black_outside_the_picture(mesh: np.ndarray) -> None:
    white = np.full((300, 300, 3), 255, np.uint8)
    crop = context_crop(white, mesh)
    matrix = square_of_mesh(mesh, 4.0).matrix(CONTEXT_SIZE)
    at = np.stack([*np.meshgrid(np.arange(160), np.arange(160)), np.ones((160, 160))])
    x, y = np.einsum("ij,jkl->ikl", matrix.astype(float), at)
    clear = np.minimum.reduce([x + 0.5, y + 0.5, 299.5 - x, 299.5 - y])
    assert (crop[clear > 0.01] >= 254).all()
    assert (crop[clear < -0.01] == 0).all()
    assert 0.1 < (crop == 0).mean() < 0.9


def test_views_show_one_point_ever_smaller(astronaut: np.ndarray, mesh: np.ndarray) -> None:
    """Each view is the same picture about the same centre at the scale that it is said to have."""
    views = face_views(face_crop(astronaut, mesh), context_crop(astronaut, mesh))
    tight, middle, wide = views[:3]
    scales = view_scales(FACE_SCALE, 4.0)
    for finer, coarser, share in ((tight, middle, scales[0] / scales[1]), (middle, wide, 0.55)):
        side = round(160 * share / 2) * 2
        rim = (160 - side) // 2
        seen = cv2.resize(finer, (side, side), interpolation=cv2.INTER_AREA).astype(float)
        shown = coarser[rim : rim + side, rim : rim + side].astype(float)
        assert np.corrcoef(seen.ravel(), shown.ravel())[0, 1] > 0.97


def test_the_parts_of_a_face_are_its_eyes_nose_and_mouth(
    astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    """In the crop's own pixels, with the mesh's points of each inside its square."""
    face = face_crop(astronaut, mesh)
    right, left, nose, mouth = (
        face_views(face, context_crop(astronaut, mesh))[3, y : y + 80, x : x + 80]
        for y, x in ((0, 0), (0, 80), (80, 0), (80, 80))
    )
    to_crop = cv2.invertAffineTransform(square_of_mesh(mesh, FACE_SCALE).matrix(256))
    on_crop = mesh[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]
    for part, points in ((right, (33, 133)), (left, (362, 263)), (nose, (4,)), (mouth, (13, 14))):
        found = cv2.matchTemplate(face, part, cv2.TM_SQDIFF)
        _, _, (x, y), _ = cv2.minMaxLoc(found)
        np.testing.assert_array_equal(face[y : y + 80, x : x + 80], part)
        middle = on_crop[list(points)].mean(axis=0) - (x, y)
        assert (middle > 8).all()
        assert (middle < 72).all()


@pytest.mark.parametrize("side", [200, 256, 301])
def test_parts_of_any_crop_fill_their_squares(side: int) -> None:
    face = np.full((side, side, 3), 200, np.uint8)
    assert (face_views(face, np.zeros((160, 160, 3), np.uint8))[3] == 200).all()


@pytest.mark.parametrize("scale", [2.0, 2.5, 3.9, 5.0, 9.0])
def test_shrinking_makes_no_moire(scale: float) -> None:
    """Stripes finer than the crop can show fade; stripes that it can show stay."""
    square = Square(320.0, 240.0, 32 * scale, 0.3).matrix(32)
    fine = picture_frame(stripes(scale)).wide_crop(square, 32).astype(float)
    coarse = picture_frame(stripes(scale * 5)).wide_crop(square, 32).astype(float)
    assert fine[4:-4, 4:-4].std() < 0.06 * 70
    assert coarse[4:-4, 4:-4].std() > 0.6 * 70
