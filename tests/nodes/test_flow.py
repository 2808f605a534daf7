"""Flow: known motions of a real face, and nothing where nothing can be known."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.flow import Patch, appearance, cut_patch, find_motion
from padflow.nodes.payloads import Box
from tests.nodes.following import rgb_frame

Warp = Callable[..., np.ndarray]
ABOUT = (222.0, 125.0)


def luma_of(image: np.ndarray) -> np.ndarray:
    return rgb_frame(image).luma()


def patch_of(luma: np.ndarray, box: Box) -> Patch:
    patch = cut_patch(luma, box)
    assert patch is not None
    return patch


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("shift", "scale", "angle"),
    [((0, 0), 1, 0), ((4, -3), 1, 0), ((-9, 5), 1, 0), ((2, 1), 1.04, 0), ((0, 2), 0.97, 3)],
)
def test_a_known_motion_is_found(
    astronaut: np.ndarray,
    astronaut_box: Box,
    warped: Warp,
    zoom: float,
    shift: tuple[float, float],
    scale: float,
    angle: float,
) -> None:
    import cv2

    moved = warped(astronaut, ABOUT, angle, scale, shift)
    before, after = (
        luma_of(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA))
        for image in (astronaut, moved)
    )
    box = Box(*(zoom * number for number in astronaut_box))
    patch = patch_of(before, box)
    again = patch.cut_again(after)
    assert again is not None
    motion = find_motion(patch, again, box)
    assert motion is not None
    centre = np.array([complex(*ABOUT) * zoom], np.complex64)
    tolerance = 0.006 * box.w
    assert abs(motion.move(centre)[0] - centre[0] - complex(*shift) * zoom) < 2 * tolerance
    assert abs(motion.turn) == pytest.approx(scale, abs=0.012)
    assert np.degrees(np.angle(motion.turn)) == pytest.approx(angle, abs=0.7)


def test_a_guess_reaches_further(astronaut: np.ndarray, astronaut_box: Box, warped: Warp) -> None:
    shift = (30.0, 0.0)
    patch = patch_of(luma_of(astronaut), astronaut_box)
    again = patch.cut_again(luma_of(warped(astronaut, ABOUT, shift=shift)))
    assert again is not None
    motion = find_motion(patch, again, astronaut_box, guess=complex(26, 0))
    assert motion is not None
    assert motion.shift == pytest.approx(30, abs=1)


def test_another_picture_moves_nowhere(astronaut: np.ndarray, astronaut_box: Box) -> None:
    rng = np.random.default_rng(0)
    patch = patch_of(luma_of(astronaut), astronaut_box)
    for other in (rng.integers(0, 256, astronaut.shape), np.full(astronaut.shape, 90)):
        again = patch.cut_again(luma_of(other))
        assert again is not None
        assert find_motion(patch, again, astronaut_box) is None


def test_a_uniform_picture_says_nothing() -> None:
    luma = np.full((300, 300), 100, np.uint8)
    patch = patch_of(luma, Box(100, 100, 80, 80))
    assert find_motion(patch, patch, Box(100, 100, 80, 80)) is None


def test_points_of_another_face_are_not_used(
    astronaut: np.ndarray, astronaut_box: Box, warped: Warp
) -> None:
    patch = patch_of(luma_of(astronaut), astronaut_box)
    again = patch.cut_again(luma_of(warped(astronaut, ABOUT, shift=(4.0, 0.0))))
    assert again is not None
    x, y, w, h = astronaut_box
    beside = Box(x + 0.9 * w, y, w, h)
    motion = find_motion(patch, again, astronaut_box, guess=complex(4, 0), others=[beside])
    assert motion is not None
    assert motion.turn == 1
    assert motion.shift == pytest.approx(4, abs=0.5)
    over = Box(x + 0.2 * w, y, w, h)
    assert find_motion(patch, again, astronaut_box, others=[over]) is None
    # Against what was expected: it is the other one's head that moves.
    assert find_motion(patch, again, astronaut_box, guess=complex(-8, 0), others=[beside]) is None


@given(
    x=st.floats(-200, 700),
    y=st.floats(-200, 500),
    w=st.floats(1, 900),
    h=st.floats(1, 900),
    size=st.tuples(st.integers(1, 480), st.integers(1, 640)),
)
def test_any_box_is_cut_inside_the_picture_or_not_at_all(
    x: float, y: float, w: float, h: float, size: tuple[int, int]
) -> None:
    luma = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    patch = cut_patch(luma, Box(x, y, w, h))
    if patch is not None:
        rows, columns = patch.pixels.shape
        assert patch.left >= 0
        assert patch.top >= 0
        assert patch.left + columns * patch.step <= size[1]
        assert patch.top + rows * patch.step <= size[0]
        assert max(rows, columns) <= 320  # stays small, whatever the face
        motion = find_motion(patch, patch, Box(x, y, w, h))
        if motion is not None:
            assert abs(motion.shift) < 1
    look = appearance(luma, Box(x, y, w, h))
    assert look is None or float(look @ look) == pytest.approx(1, abs=1e-4)


def test_a_patch_of_a_frame_that_became_smaller_is_refused(
    astronaut: np.ndarray, astronaut_box: Box
) -> None:
    luma = luma_of(astronaut)
    patch = patch_of(luma, astronaut_box)
    assert patch.cut_again(luma[:150]) is None
    assert patch.cut_again(luma[:, :150]) is None


def test_a_patch_keeps_no_decoder_buffer_and_pickles(
    astronaut: np.ndarray, astronaut_box: Box
) -> None:
    small = Box(*(0.4 * number for number in astronaut_box))
    luma = luma_of(astronaut)
    for box in (astronaut_box, small):
        patch = patch_of(luma, box)
        assert patch.pixels.base is None or not np.shares_memory(patch.pixels, luma)
        assert np.array_equal(pickle.loads(pickle.dumps(patch)).pixels, patch.pixels)


def test_looks_tell_the_same_face_from_another(
    astronaut: np.ndarray, astronaut_box: Box, warped: Warp
) -> None:
    from padflow.trainers.canonical import portrait

    luma = luma_of(astronaut)
    look = appearance(luma, astronaut_box)
    moved = appearance(luma_of(warped(astronaut, ABOUT, 4.0, 1.03)), astronaut_box)
    darker = appearance(luma_of(astronaut * 0.5 + 20), astronaut_box)
    hopper = appearance(luma_of(portrait("grace_hopper")), Box(180, 120, 160, 170))
    assert look is not None
    assert moved is not None
    assert darker is not None
    assert hopper is not None
    assert look @ moved > 0.8
    assert look @ darker > 0.98
    assert look @ hopper < 0.6
