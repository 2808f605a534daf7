from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest

from padflow.trainers.attacks.light import to_linear, to_srgb
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.sensor import Mosaic, SensorParams, auto_exposure, expose

QUIET = SensorParams(lens_blur=0.0, full_well=1e9, read_noise=0.0, raw_bits=14)
BINNED = replace(QUIET, sampling=2.0)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _flat(*colour: float, size: tuple[int, int] = (120, 160)) -> Array:
    return np.tile(np.array(colour, np.float32), (*size, 1))


def _spot(y: float, x: float, deviation: float, size: tuple[int, int] = (121, 161)) -> Array:
    down, across = np.mgrid[: size[0], : size[1]]
    spot = np.exp(-((down - y) ** 2 + (across - x) ** 2) / 2 / deviation**2)
    return np.repeat(0.7 * spot[..., None], 3, axis=2).astype(np.float32)


def _centroid(picture: Array) -> Array:
    """Row and column of each colour's centre, (3, 2)."""
    light = to_linear(picture).astype(np.float64)
    down, across = np.mgrid[: light.shape[0], : light.shape[1]]
    total = light.sum(axis=(0, 1))
    rows = (light * down[..., None]).sum(axis=(0, 1)) / total
    columns = (light * across[..., None]).sum(axis=(0, 1)) / total
    return np.stack([rows, columns], axis=1)


def _noise(params: SensorParams, level: float, seed: int = 3) -> float:
    """Standard deviation of a flat grey in linear light."""
    return float(to_linear(expose(_flat(level, level, level), params, _rng(seed))).std())


@pytest.mark.parametrize("mosaic", get_args(Mosaic))
@pytest.mark.parametrize("edge_aware", [False, True])
def test_colours_pass_filters_mosaic_and_matrix_unchanged(mosaic: Mosaic, edge_aware: bool) -> None:
    params = replace(QUIET, mosaic=mosaic, edge_aware=edge_aware, crosstalk=0.4)
    code = expose(_flat(0.4, 0.2, 0.1), params, _rng())
    expected = to_srgb(np.array([0.4, 0.2, 0.1])) * 255
    assert np.abs(code - expected).max() < 1.5


def test_grey_levels_come_out_as_srgb_codes() -> None:
    ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32)[None, :, None], (120, 1, 3))
    code = expose(ramp, BINNED, _rng())
    assert np.abs(code - to_srgb(ramp) * 255).max() < 1.5


def test_what_saturates_is_white_not_coloured() -> None:
    assert (expose(_flat(3, 3, 3), QUIET, _rng()) == 255).all()
    assert (expose(_flat(0.5, 0.5, 0.5), replace(QUIET, exposure=3.0), _rng()) == 255).all()
    assert (expose(_flat(3, 3, 3), BINNED, _rng()) == 255).all()


def test_exposure_counts_in_stops_and_gain_is_a_factor() -> None:
    scene = _flat(0.1, 0.1, 0.1)
    stop = expose(scene, replace(QUIET, exposure=1.0), _rng())
    assert np.abs(stop.astype(int) - expose(scene, QUIET, _rng(), gain=2.0)).max() <= 1
    assert to_linear(stop).mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("sampling", [0.5, 0.75, 1.0, 1.2, 2.0])
def test_a_spot_stays_where_it_is(sampling: float) -> None:
    params = replace(
        QUIET,
        sampling=sampling,
        defocus=1.0,
        edge_blur=1.5,
        motion=(6.0, -3.0),
        vignetting=0.0,
        chroma_blur=1.0,
        bilateral=15.0,
        median=True,
        sharpening=0.6,
        enlarging="cubic",
    )
    for y, x in ((60, 80), (31, 47)):
        found = _centroid(expose(_spot(y, x, 3.0), params, _rng()))
        assert found == pytest.approx(np.array([[y, x]] * 3), abs=0.12)


def test_a_single_pixel_stays_where_it_is() -> None:
    scene = np.zeros((64, 64, 3), np.float32)
    scene[32, 20] = 0.9
    found = _centroid(expose(scene, replace(BINNED, lens_blur=0.8), _rng()))
    assert found == pytest.approx(np.array([[32.0, 20.0]] * 3), abs=0.02)


def test_fringes_move_red_out_and_blue_in_by_the_given_pixels_in_the_corner() -> None:
    params = replace(BINNED, fringe=2.0, crosstalk=0.0)
    size = (241, 321)
    corner = np.hypot(120.5, 160.5)
    y, x = 60, 240
    found = _centroid(expose(_spot(y, x, 3.0, size), params, _rng()))
    outwards = np.array([y - 120, x - 160]) * 2.0 / corner
    assert found[0] - found[1] == pytest.approx(outwards, abs=0.08)
    assert found[2] - found[1] == pytest.approx(-outwards, abs=0.08)
    centre = _centroid(expose(_spot(120, 160, 3.0, size), params, _rng()))
    assert centre == pytest.approx(np.array([[120.0, 160.0]] * 3), abs=0.02)


def test_rolling_shutter_shears_by_rows_about_the_centre() -> None:
    params = replace(BINNED, rolling=12.0)
    for y, shift in ((30, -3.0), (60, 0.0), (90, 3.0)):
        found = _centroid(expose(_spot(y, 80, 3.0), params, _rng()))
        assert found[:, 1] == pytest.approx(80 + shift, abs=0.15)
        assert found[:, 0] == pytest.approx(y, abs=0.3)


def test_motion_blurs_along_its_way_alone() -> None:
    light = to_linear(expose(_spot(60, 80, 1.0), replace(BINNED, motion=(8.0, 0.0)), _rng()))
    across, down = light[60, :, 1], light[:, 80, 1]
    assert (across > 0.3 * across.max()).sum() >= 8
    assert (down > 0.3 * down.max()).sum() <= 4


def test_vignetting_takes_its_share_in_the_corners() -> None:
    light = to_linear(expose(_flat(0.5, 0.5, 0.5), replace(BINNED, vignetting=0.4), _rng()))
    assert light[60, 80, 1] == pytest.approx(0.5, abs=0.01)
    assert light[0, 0, 1] == pytest.approx(0.3, abs=0.015)


def test_flare_veils_black() -> None:
    scene = _flat(0.6, 0.6, 0.6)
    scene[40:80, 60:100] = 0.0
    light = to_linear(expose(scene, replace(BINNED, flare=0.1), _rng()))
    assert light[60, 80, 1] == pytest.approx(0.1 * scene.mean(), abs=0.01)


def test_shot_noise_grows_with_the_root_of_light_and_of_gain() -> None:
    params = replace(QUIET, full_well=3000.0, crosstalk=0.0, edge_aware=False)
    assert _noise(params, 0.4) / _noise(params, 0.1) == pytest.approx(2.0, rel=0.1)
    louder = replace(params, gain=4.0)
    assert _noise(louder, 0.2) / _noise(params, 0.2) == pytest.approx(2.0, rel=0.1)


def test_shot_noise_is_that_of_the_electrons() -> None:
    params = replace(BINNED, full_well=500.0, crosstalk=0.0)
    green = to_linear(expose(_flat(0.3, 0.3, 0.3), params, _rng()))[..., 1]
    electrons = 0.3 * 0.85 * 500 * 2.0**2
    assert green.std() / green.mean() == pytest.approx(electrons**-0.5, rel=0.1)


def test_averaged_frames_lower_the_noise_by_their_root() -> None:
    loud = replace(QUIET, full_well=1500.0, gain=4.0)
    assert _noise(replace(loud, averaged=4.0), 0.3) == pytest.approx(
        _noise(loud, 0.3) / 2, rel=0.15
    )


@pytest.mark.parametrize(
    ("change", "planes"),
    [({"median": True}, (0, 1, 2)), ({"bilateral": 50.0}, (0,)), ({"chroma_blur": 2.0}, (1, 2))],
)
def test_smoothing_lowers_the_noise_of_its_planes(
    change: dict[str, float], planes: tuple[int, ...]
) -> None:
    loud = replace(QUIET, full_well=1500.0, gain=4.0)
    plain, smooth = (
        cv2.cvtColor(expose(_flat(0.3, 0.3, 0.3), params, _rng()), cv2.COLOR_RGB2YCrCb)
        for params in (loud, replace(loud, **change))  # type: ignore[arg-type]
    )
    ratio = smooth.std(axis=(0, 1)) / plain.std(axis=(0, 1))
    for plane in range(3):
        assert (ratio[plane] < 0.75) == (plane in planes)


def test_noise_differs_between_shots_and_the_fixed_pattern_does_not() -> None:
    noisy = SensorParams()
    scene = _flat(0.3, 0.3, 0.3)
    first, again, other = (expose(scene, noisy, _rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    fixed = replace(BINNED, pixel_pattern=0.03, column_pattern=5.0, full_well=1e6, pattern_seed=4)
    one, two = (expose(scene, fixed, _rng(seed)) for seed in (1, 2))
    assert np.abs(one.astype(int) - two).max() <= 1
    assert one.std() > 1
    device = expose(scene, replace(fixed, pattern_seed=5), _rng(1))
    assert abs(np.corrcoef(one[..., 1].ravel(), device[..., 1].ravel())[0, 1]) < 0.1


def test_noise_below_black_does_not_lift_the_mean() -> None:
    params = replace(SensorParams(), read_noise=20.0, full_well=2000.0, bilateral=0.0)
    light = to_linear(expose(_flat(0.02, 0.02, 0.02), params, _rng()))
    assert light[..., 1].mean() == pytest.approx(0.02, abs=0.004)


def test_white_balance_errors_have_their_signs() -> None:
    scene = _flat(0.3, 0.3, 0.3)
    warm = to_linear(expose(scene, replace(QUIET, temperature=0.5), _rng())).mean(axis=(0, 1))
    assert np.log2(warm[0] / warm[2]) == pytest.approx(0.5, abs=0.05)
    magenta = to_linear(expose(scene, replace(QUIET, tint=0.3), _rng())).mean(axis=(0, 1))
    assert np.log2(magenta[0] / magenta[1]) == pytest.approx(0.3, abs=0.05)


def test_matrix_error_and_saturation_leave_grey_alone() -> None:
    params = replace(QUIET, colour_error=(0.2, -0.1, 0.1, 0.1, -0.2, 0.1), saturation=1.4)
    grey = expose(_flat(0.3, 0.3, 0.3), params, _rng())
    assert np.abs(grey - to_srgb(np.full(3, 0.3)) * 255).max() < 1.5
    pale = to_linear(expose(_flat(0.4, 0.2, 0.1), replace(QUIET, saturation=0.0), _rng()))
    assert np.ptp(pale.mean(axis=(0, 1))) < 0.01


def test_tone_settings_act_as_named() -> None:
    ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32)[None, :, None], (120, 1, 3))

    def row(**change: float) -> Array:
        changed = replace(BINNED, **change)  # type: ignore[arg-type]
        return np.asarray(expose(ramp, changed, _rng())[60, :, 1].astype(int))

    plain = row()
    assert (row(shoulder=2.0)[8:150] > plain[8:150]).all()
    assert (row(gamma=0.8)[8:150] > plain[8:150]).all()
    steep = row(contrast=0.6)
    assert steep[10] < plain[10]
    assert steep[100] > plain[100]
    assert row(black=0.1)[0] == pytest.approx(26, abs=1)
    assert row(white=0.9)[-1] == pytest.approx(230, abs=1)
    assert (np.diff(row(contrast=0.9, black=-0.1)) >= 0).all()


def test_local_tone_lifts_the_dark_part_of_a_backlit_scene() -> None:
    scene = _flat(0.9, 0.9, 0.9)
    scene[:, :80] = 0.03
    plain, lifted = (
        expose(scene, replace(BINNED, local_tone=strength), _rng()) for strength in (0.0, 0.4)
    )
    assert int(lifted[60, 20, 1]) > int(plain[60, 20, 1]) + 15
    assert lifted[60, 140, 1] < plain[60, 140, 1]


def test_sharpening_leaves_halos_and_flat_parts_alone() -> None:
    scene = _flat(0.1, 0.1, 0.1)
    scene[:, 80:] = 0.4
    plain, sharp = (expose(scene, replace(BINNED, sharpening=amount), _rng()) for amount in (0, 1))
    assert sharp[60, 80, 1] > plain[60, 80, 1] + 10
    assert sharp[60, 79, 1] < plain[60, 79, 1] - 10
    assert (sharp[:, :60] == plain[:, :60]).all()


def test_a_coarse_sensor_loses_fine_detail() -> None:
    stripes = _flat(0.2, 0.2, 0.2)
    stripes[:, ::4] = stripes[:, 1::4] = 0.6
    fine, coarse = (
        expose(stripes, replace(QUIET, sampling=sampling), _rng()) for sampling in (2.0, 0.4)
    )
    assert coarse[..., 1].std() < 0.5 * fine[..., 1].std()


@pytest.mark.parametrize("size", [(97, 131), (64, 400), (480, 641)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    for sampling in (0.6, 1.0, 2.0):
        params = replace(SensorParams(), sampling=sampling, local_tone=0.2, chroma_blur=1.0)
        code = expose(_flat(0.2, 0.2, 0.2, size=size), params, _rng())
        assert code.shape == (*size, 3)
        assert code.dtype == np.uint8


def test_the_scene_is_not_written_to() -> None:
    scene = _flat(0.2, 0.3, 0.4)
    before = scene.copy()
    expose(scene, replace(SensorParams(), vignetting=0.3, flare=0.1), _rng())
    assert (scene == before).all()


def test_auto_exposure_reaches_its_target_and_weighs_the_centre() -> None:
    assert auto_exposure(_flat(0.05, 0.05, 0.05)) == pytest.approx(4.0, rel=0.01)
    assert auto_exposure(_flat(0, 0, 0)) == 100.0
    scene = _flat(0.8, 0.8, 0.8)
    scene[30:90, 40:120] = 0.1
    assert auto_exposure(scene) > 0.2 / scene.mean()
