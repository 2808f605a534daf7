import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.render import (
    Lens,
    TextureMap,
    Window,
    draw,
    grid_patch,
    lay_over,
    motion_kernel,
    rasterise,
    texture_map,
)

LENS = Lens(focal=300.0, width=320, height=240)


def _texture(colour: tuple[float, float, float] = (0.2, 0.4, 0.6)) -> Array:
    texture = np.ones((64, 64, 4), np.float32)
    texture[..., :3] = colour
    return texture


def test_the_axis_projects_to_the_middle_and_size_falls_with_distance() -> None:
    near, far = LENS.project(np.array([[0.1, 0.0, 1.0], [0.1, 0.0, 2.0]], np.float32))
    assert near == pytest.approx([189.5, 119.5])
    assert far == pytest.approx([174.5, 119.5])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0, 40.0), min_size=6, max_size=6))
def test_values_are_interpolated_as_a_plane(corners: list[float]) -> None:
    places = np.array(corners, np.float32).reshape(3, 2)
    u, v = places[1] - places[0], places[2] - places[0]
    area = abs(float(u[0] * v[1] - u[1] * v[0]))
    values = (2.0 * places[:, :1] - 3.0 * places[:, 1:] + 5.0).astype(np.float32)
    out, covered = rasterise(places, np.ones(3), np.array([[0, 1, 2]]), values, (48, 48))
    rows, columns = np.nonzero(covered)
    if area > 1.0:  # thinner ones amplify rounding
        expected = 2.0 * columns - 3.0 * rows + 5.0
        assert out[rows, columns, 0] == pytest.approx(expected, abs=0.15)
    assert not out[~covered].any()
    assert abs(len(rows) - area / 2) <= 3 * 48  # off by no more than the rim


def test_the_nearer_surface_hides_the_farther_in_either_order() -> None:
    square = np.array([[2, 2], [20, 2], [2, 20], [20, 20]], np.float32)
    triangles = np.array([[0, 2, 1], [1, 2, 3]])
    for first, second in ((1.0, 2.0), (2.0, 1.0)):
        places = np.concatenate([square, square])
        depths = np.repeat([first, second], 4)
        values = np.repeat([[first], [second]], 4, axis=0).astype(np.float32)
        out, covered = rasterise(
            places, depths, np.concatenate([triangles, triangles + 4]), values, (24, 24)
        )
        assert covered[3:20, 3:20].all()
        assert (out[covered] == 1.0).all()


def test_a_mesh_has_no_holes_and_shows_its_texture() -> None:
    patch = grid_patch(9, 7, 0.5, 0.4, _texture())
    picture = np.zeros((240, 320, 3), np.float32)
    turned = patch.points + np.array([0.01, 0.02, 0.8], np.float32)
    where = texture_map(patch, turned, np.ones(len(turned), np.float32), LENS)
    assert where is not None
    draw(picture, patch.texture, where, (2.0, 1.0, 0.5))
    low, high = LENS.project(turned).min(axis=0), LENS.project(turned).max(axis=0)
    inner = picture[int(low[1]) + 5 : int(high[1]) - 4, int(low[0]) + 5 : int(high[0]) - 4]
    assert inner.reshape(-1, 3) == pytest.approx(np.tile([0.4, 0.4, 0.3], (inner[..., 0].size, 1)))
    assert not picture[: int(low[1]) - 4].any()


def test_texture_places_are_right_under_perspective() -> None:
    ramp = np.ones((64, 64, 4), np.float32)
    ramp[..., 0], ramp[..., 1] = np.meshgrid(np.arange(64) / 64, np.arange(64) / 64)
    patch = grid_patch(16, 16, 0.4, 0.4, ramp)
    tilt = np.array([[np.cos(0.5), 0, np.sin(0.5)], [0, 1, 0], [-np.sin(0.5), 0, np.cos(0.5)]])
    turned = (patch.points @ tilt.T + (0, 0, 0.7)).astype(np.float32)
    where = texture_map(patch, turned, np.ones(len(turned), np.float32), LENS)
    assert where is not None
    spot = np.array([[0.08, -0.05, 0.0]])
    x, y = LENS.project((spot @ tilt.T + (0, 0, 0.7)).astype(np.float32))[0]
    seen = where.texels[round(float(y)) - where.window.y, round(float(x)) - where.window.x]
    assert seen == pytest.approx(
        [(0.08 / 0.4 + 0.5) * 64 - 0.5, (0.5 - 0.05 / 0.4) * 64 - 0.5], abs=0.5
    )


def test_what_is_out_of_the_picture_is_not_drawn() -> None:
    patch = grid_patch(2, 2, 0.2, 0.2, _texture())
    turned = patch.points + np.array([5.0, 0.0, 1.0], np.float32)
    assert texture_map(patch, turned, np.ones(len(turned), np.float32), LENS) is None


def test_half_coverage_mixes_in_linear_light() -> None:
    behind = np.full((2, 2, 3), 0.8, np.float32)
    layer = np.zeros((2, 2, 4), np.float32)
    layer[..., :3], layer[..., 3] = 0.1, 0.5
    lay_over(behind, layer)
    assert behind == pytest.approx(np.full((2, 2, 3), 0.5))


@pytest.mark.parametrize("motion", [(5.0, 0.0), (0.0, -7.5), (3.2, 4.1)])
def test_motion_blur_keeps_the_light(motion: tuple[float, float]) -> None:
    kernel = motion_kernel(*motion)
    assert kernel is not None
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    height, width = kernel.shape
    assert abs(width - 1 - abs(motion[0])) <= 2.1
    assert abs(height - 1 - abs(motion[1])) <= 2.1


def test_slow_motion_does_not_blur() -> None:
    assert motion_kernel(0.5, 0.5) is None


def test_strips_give_what_one_piece_gives() -> None:
    rng = np.random.default_rng(0)
    texture = rng.random((200, 100, 4)).astype(np.float32)
    u, v = np.meshgrid(np.arange(100, dtype=np.float32), np.arange(150, dtype=np.float32))
    window = Window(3, 5, 100, 150)
    shade = np.ones((150, 100), np.float32)
    where = TextureMap(window, np.dstack([u, v]), shade, shade.copy())
    picture = np.zeros((160, 110, 3), np.float32)
    draw(picture, texture, where, (1.0, 1.0, 1.0))
    assert picture[5:155, 3:103] == pytest.approx(texture[:150, :, :3], abs=1e-6)


def test_a_triangle_too_large_for_the_sampling_is_refused() -> None:
    places = np.array([[0, 0], [300, 0], [0, 300]], np.float32)
    with pytest.raises(ValueError, match="divide the mesh"):
        rasterise(places, np.ones(3), np.array([[0, 1, 2]]), np.ones((3, 1)), (300, 300))
