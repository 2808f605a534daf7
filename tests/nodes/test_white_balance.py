"""A cast of the light around a face is taken off; what differs from its surroundings stays."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.frame import to_rgb_matrix
from padflow.nodes.white_balance import BLUE, LEAST_LIT, MOST_GAIN, NEUTRAL, RED, gains

JPEG = to_rgb_matrix(av.VideoFrame(2, 2, "yuvj420p"))


def flat(y: float, u: float, v: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one, two, three = (np.full(100, value, np.uint8) for value in (y, u, v))
    return one, two, three


@given(
    y=st.integers(60, 200),
    u=st.integers(104, 152),
    v=st.integers(104, 152),
)
def test_the_median_colour_comes_to_the_edge_of_what_is_usual(y: int, u: int, v: int) -> None:
    found = gains(*flat(y, u, v), JPEG)
    blue, red = np.clip(u - NEUTRAL, *BLUE), np.clip(v - NEUTRAL, *RED)
    if (blue, red) == (u - NEUTRAL, v - NEUTRAL):
        assert found is None
        return
    assert found is not None
    assert found.dtype == np.float32
    assert (found >= np.float32(1 / MOST_GAIN)).all()
    assert (found <= np.float32(MOST_GAIN)).all()
    if np.isclose(np.maximum(found, 1 / found).max(), MOST_GAIN):
        return  # as far as it goes
    rgb = found * (JPEG @ (y, u, v, 1.0))
    luma = rgb @ (0.299, 0.587, 0.114)
    assert luma == pytest.approx(y, abs=0.5)
    assert 0.564 * (rgb[2] - luma) == pytest.approx(blue, abs=0.5)
    assert 0.713 * (rgb[0] - luma) == pytest.approx(red, abs=0.5)


@pytest.mark.parametrize("luma", [0, 20, 255])
def test_surroundings_too_dark_or_clipped_tell_nothing_of_the_light(luma: int) -> None:
    assert gains(*flat(luma, 150, 100), JPEG) is None


def test_a_few_lit_pixels_tell_nothing_of_the_light() -> None:
    y, u, v = flat(20, 150, 100)
    y[: round(100 * LEAST_LIT) - 1] = 120
    assert gains(y, u, v, JPEG) is None
    y[: round(100 * LEAST_LIT)] = 120
    assert gains(y, u, v, JPEG) is not None


def test_no_surroundings_tell_nothing_of_the_light() -> None:
    nothing = np.empty(0, np.uint8)
    assert gains(nothing, nothing, nothing, JPEG) is None
