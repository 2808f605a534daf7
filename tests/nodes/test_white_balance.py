"""A cold cast is taken off the whole picture; warm light and what is blue by itself stay."""

from collections.abc import Callable
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.frame import Frame, to_rgb_matrix
from padflow.nodes.payloads import Box
from padflow.nodes.white_balance import LEAST_RED, MOST_BLUE, MOST_GAIN, NEUTRAL, gains

FrameOf = Callable[..., Frame]
COLD, WARM = (0.85, 1.0, 1.2), (1.15, 1.0, 0.8)
WHOLE = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
JPEG = to_rgb_matrix(av.VideoFrame(2, 2, "yuvj420p"))


def under(light: tuple[float, float, float], image: np.ndarray) -> np.ndarray:
    """A picture in light of another colour; darker, so that nothing is clipped."""
    changed: np.ndarray = np.clip(0.8 * image * np.array(light) + 0.5, 0, 255)
    return changed.astype(np.uint8)


def in_a_room(portrait: np.ndarray) -> np.ndarray:
    """A portrait before grey walls, in the upper left corner."""
    room = np.full((720, 1280, 3), 150, np.uint8)
    room[: portrait.shape[0], : portrait.shape[1]] = portrait
    return room


def chroma(image: np.ndarray) -> np.ndarray:
    """Mean U and V of a picture."""
    mean: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2YUV)[..., 1:].mean(axis=(0, 1))
    return mean


def flat(y: float, u: float, v: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one, two, three = (np.full(100, value, np.uint8) for value in (y, u, v))
    return one, two, three


@pytest.mark.parametrize("cut", [Frame.crop, Frame.wide_crop])
def test_a_cold_picture_comes_near_to_the_one_in_neutral_light(
    cut: Callable[..., np.ndarray], astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    room = in_a_room(astronaut)
    neutral, cold = (frame_of(under(light, room)) for light in ((1.0, 1.0, 1.0), COLD))
    wanted, cast = (chroma(cut(frame, WHOLE, 256)) for frame in (neutral, cold))
    balanced = chroma(cut(cold, WHOLE, 256, balanced=True))
    assert np.hypot(*(balanced - wanted)) < 0.7 * np.hypot(*(cast - wanted))


@pytest.mark.parametrize("light", [(1.0, 1.0, 1.0), WARM])
def test_neutral_and_warm_pictures_stay_as_they_are(
    light: tuple[float, float, float], astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    frame = frame_of(under(light, astronaut))
    raw, balanced = (frame.crop(WHOLE, 256, balanced=asked) for asked in (False, True))
    np.testing.assert_array_equal(raw, balanced)
    raw, balanced = (frame.wide_crop(WHOLE, 256, balanced=asked) for asked in (False, True))
    np.testing.assert_array_equal(raw, balanced)


def test_what_is_blue_by_itself_stays_blue(
    astronaut: np.ndarray, astronaut_box: Box, frame_of: FrameOf
) -> None:
    """A display in a room: the room tells of the light, and the display's own colour is a cue."""
    x, y, w, h = (round(side) for side in astronaut_box)
    shown = astronaut.copy()
    shown[y : y + h, x : x + w] = under(COLD, astronaut[y : y + h, x : x + w])
    frame = frame_of(shown)
    np.testing.assert_array_equal(frame.balanced_to_rgb(), to_rgb_matrix(frame.picture))


def test_what_others_see_is_the_picture_as_it_is(astronaut: np.ndarray, frame_of: FrameOf) -> None:
    frame = frame_of(under(COLD, in_a_room(astronaut)))
    plain = frame.crop(WHOLE, 256)
    assert (frame.crop(WHOLE, 256, balanced=True) != plain).any()
    np.testing.assert_array_equal(frame.crop(WHOLE, 256), plain)


@given(
    y=st.integers(60, 200),
    u=st.integers(108, 148),
    v=st.integers(108, 148),
)
def test_the_median_colour_comes_to_the_edge_of_what_is_usual(y: int, u: int, v: int) -> None:
    found = gains(*flat(y, u, v), JPEG)
    if u - NEUTRAL <= MOST_BLUE and v - NEUTRAL >= LEAST_RED:
        assert found is None
        return
    assert found is not None
    assert found.dtype == np.float32
    rgb = found * (JPEG @ (y, u, v, 1.0))
    luma = rgb @ (0.299, 0.587, 0.114)
    if np.isclose(np.maximum(found, 1 / found).max(), MOST_GAIN):
        return  # as far as it goes
    assert luma == pytest.approx(y, abs=0.5)
    assert 0.564 * (rgb[2] - luma) == pytest.approx(min(u - NEUTRAL, MOST_BLUE), abs=0.5)
    assert 0.713 * (rgb[0] - luma) == pytest.approx(max(v - NEUTRAL, LEAST_RED), abs=0.5)


@pytest.mark.parametrize("luma", [0, 20, 255])
def test_a_picture_too_dark_or_clipped_tells_nothing_of_its_light(luma: int) -> None:
    assert gains(*flat(luma, 150, 100), JPEG) is None


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (64, 48), (401, 303), (1280, 720)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_pictures_of_every_size_are_balanced(
    size: tuple[int, int], rotation: int, astronaut: np.ndarray, frame_of: FrameOf
) -> None:
    frame = replace(frame_of(under(COLD, cv2.resize(astronaut, size))), rotation=rotation)
    matrix = frame.balanced_to_rgb()
    assert matrix.shape == (3, 4)
    assert np.isfinite(matrix).all()
    assert frame.balanced_to_rgb() is matrix, "measured once"
