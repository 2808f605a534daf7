"""The scene's state: dark, bright, covered, frozen, and when it is told."""

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from padflow.nodes.frame import Frame
from padflow.nodes.scene import (
    NO_FACE_FOUND,
    SceneLimits,
    SceneState,
    SceneWatch,
    luma_grid,
    measure,
)
from tests.nodes.following import rgb_frame

NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3))


def flat(value: int) -> np.ndarray:
    return np.full((120, 160, 3), value)


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (flat(0), SceneState.TOO_DARK),
        (NOISE // 20, SceneState.TOO_DARK),
        (flat(255), SceneState.TOO_BRIGHT),
        (flat(128), SceneState.COVERED),
        (NOISE, SceneState.OK),
        (NOISE // 3, SceneState.OK),
    ],
)
def test_a_picture_is_called_what_it_is(image: np.ndarray, state: SceneState) -> None:
    watch = SceneWatch(SceneLimits(hysteresis_s=0))
    watch.observe(rgb_frame(image), 0.0)
    assert watch.told is state


def test_black_is_black_in_either_coding() -> None:
    for pixel_format, value in (("yuv420p", 16), ("yuvj420p", 0)):
        picture = av.VideoFrame(64, 48, pixel_format)
        for number, plane in enumerate(picture.planes):
            plane.update(bytes([128 if number else value]) * plane.buffer_size)
        watch = SceneWatch(SceneLimits())
        watch.observe(Frame(picture, 0), 0.0)
        assert watch.last is not None
        assert watch.last.mean_luma == 0.0


def test_a_state_is_told_after_it_has_held() -> None:
    watch = SceneWatch(SceneLimits(hysteresis_s=1.0))
    dark, fair = rgb_frame(flat(0)), rgb_frame(NOISE)
    assert not watch.observe(fair, 0.0)
    assert not watch.observe(dark, 1.0)
    assert not watch.observe(fair, 1.5)  # flickers back: the second does not count on
    assert not watch.observe(dark, 2.0)
    assert not watch.observe(dark, 2.9)
    assert watch.observe(dark, 3.0)
    assert watch.told is SceneState.TOO_DARK
    assert not watch.observe(dark, 3.5)


def test_a_picture_that_never_changes_is_frozen_and_thaws() -> None:
    watch = SceneWatch(SceneLimits(frozen_s=10.0, hysteresis_s=1.0))
    still = rgb_frame(NOISE)
    told = [time for time in np.arange(0.0, 15.0, 0.2) if watch.observe(still, float(time))]
    assert told == [pytest.approx(11.0, abs=0.21)]
    assert watch.told is SceneState.FROZEN
    moving = [rgb_frame(NOISE + number) for number in range(10)]
    thawed = [watch.observe(frame, 15.0 + 0.2 * n) for n, frame in enumerate(moving)]
    assert sum(thawed) == 1
    assert str(watch.told) == "ok"


def test_the_reason_for_no_face_is_what_was_seen_most() -> None:
    watch = SceneWatch(SceneLimits())
    assert watch.why_no_face() == NO_FACE_FOUND
    for index in range(5):
        watch.observe(rgb_frame(flat(0) if index else NOISE), index * 0.2)
    assert watch.why_no_face() == "too_dark"


@given(
    grid=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=50)),
    full_range=st.booleans(),
)
def test_any_grid_has_a_state_and_finite_measures(grid: np.ndarray, full_range: bool) -> None:
    measured = measure(grid, SceneLimits(), full_range)
    assert 0 <= measured.mean_luma <= 255
    assert 0 <= measured.contrast <= 128
    assert measured.state in SceneState


@pytest.mark.parametrize("size", [(2, 2), (2, 900), (1080, 1920), (30, 31)])
def test_the_grid_is_small_whatever_the_picture(size: tuple[int, int]) -> None:
    grid = luma_grid(rgb_frame(np.zeros((*size, 3))))
    assert min(grid.shape) >= 1
    assert min(grid.shape) < 80


def test_the_real_dark_clip_is_dark_and_the_lit_one_is_not(shared_data: Path) -> None:
    for name, state in (("light_000.mp4", SceneState.TOO_DARK), ("light_025.avi", SceneState.OK)):
        watch = SceneWatch(SceneLimits(hysteresis_s=0))
        with av.open(str(shared_data / "clips" / "lowlight" / name)) as container:
            for index, picture in zip(range(20), container.decode(video=0), strict=False):
                watch.observe(Frame(picture, index), index / 50)
        assert watch.told is state
