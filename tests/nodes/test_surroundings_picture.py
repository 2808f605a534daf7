"""The grey picture of a face before its scene."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.nodes.surroundings_picture import PER_FACE, SCENE_SIDE, SIDE

from .scenes import FACE, HEAD, HEIGHT, MIDDLE, WIDTH, Scene

SCENE = Scene(HEAD, noise=0.0)


@settings(max_examples=20, deadline=None)
@given(across=st.floats(-18, 18), down=st.floats(-18, 18))
def test_a_wall_that_stands_still_gives_the_same_pixels(across: float, down: float) -> None:
    one, other = SCENE.shows(), SCENE.shows((across, down))
    scale = one.matrix[0, 0]
    assert other.matrix[0, 0] == scale
    steps = (other.matrix[:, 2] - one.matrix[:, 2]) / scale
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert np.abs(steps * scale - (across, down)).max() <= scale + 1e-6
    right, low = np.rint(steps).astype(int)
    wall = one.luma[22:50, 80:180]  # above the head
    assert (other.luma[22 - low : 50 - low, 80 - right : 180 - right] == wall).all()


@pytest.mark.parametrize("size", [48.0, 60.0, 75.0, 100.0, 170.0, 400.0])
def test_a_face_has_about_the_same_width(size: float) -> None:
    seen = SCENE.shows(quality={"size": size})
    assert PER_FACE / 1.2 <= size / seen.matrix[0, 0] <= PER_FACE * 1.2
    assert seen.luma.shape == (SIDE, SIDE)
    middle = seen.matrix @ ((SIDE - 1) / 2, (SIDE - 1) / 2, 1.0)
    assert np.abs(middle - MIDDLE).max() <= seen.matrix[0, 0]


def test_the_picture_shows_the_frames_pixels() -> None:
    """At one pixel for one it is a piece of the frame, and its border beyond."""
    seen = SCENE.shows((-200.0, 0.0), quality={"size": FACE})
    assert seen.matrix[0, 0] == 1.0
    left, top = seen.matrix[:, 2].astype(int)
    assert left < 0
    grey = SCENE.room.astype(np.uint8)[top : top + 40]
    np.testing.assert_allclose(seen.luma[:40, -left:].astype(int), grey[:, : SIDE + left], atol=1)
    assert (seen.luma[:, :-left] == seen.luma[:, [-left]]).all()


def test_the_scene_is_the_whole_picture_made_small() -> None:
    seen = SCENE.shows()
    assert seen.step == -(-WIDTH // SCENE_SIDE)
    assert seen.scene.shape == (HEIGHT // seen.step, WIDTH // seen.step)
    assert seen.frame_size == (WIDTH, HEIGHT)
    block = SCENE.room.astype(np.uint8)[: seen.step, : seen.step]
    assert seen.scene[0, 0] == pytest.approx(block.mean(), abs=1)
