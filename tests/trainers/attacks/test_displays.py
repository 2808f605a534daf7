from dataclasses import asdict, replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from padflow.trainers.attacks.displays import (
    DisplayKind,
    DisplayParams,
    LatticeKind,
    _primaries,
    displayed,
    draw_display,
    lattice,
    lattice_on_sensor,
    reflection,
    refresh_bands,
    through_glass,
)
from padflow.trainers.attacks.parameters import Array, generator

EVEN = DisplayParams(
    falloff=0.0, lean=0.0, bleed=0.0, white_point=(1.0, 1.0, 1.0), peak=0.9, black=0.01
)
LATTICES: tuple[LatticeKind, ...] = ("rgb", "bgr", "pentile")
KINDS: tuple[DisplayKind, ...] = ("phone_oled", "phone_lcd", "tablet", "laptop", "monitor")


def _flat(*codes: int) -> Array:
    return np.full((50, 40, 3), codes, np.uint8)


def _pixels(across: float, down: float, side: int = 256) -> tuple[Array, Array]:
    """Display coordinates of a camera's pixels, so many display pixels apart."""
    v, u = np.mgrid[:side, :side].astype(np.float32)
    return u * np.float32(across), v * np.float32(down)


def _wave(picture: Array, frequency: tuple[float, float]) -> float:
    """Amplitude of one frequency, cycles per pixel across and down."""
    v, u = np.mgrid[: picture.shape[0], : picture.shape[1]]
    turn = np.exp(-2j * np.pi * (frequency[0] * u + frequency[1] * v))
    return float(2 * abs((picture * turn).mean()))


@pytest.mark.parametrize("code", [0, 60, 128, 255])
def test_light_follows_gamma_and_black_is_light(code: int) -> None:
    expected = 0.9 * (0.01 + 0.99 * (code / 255) ** 2.2)
    assert displayed(_flat(code, code, code), EVEN) == pytest.approx(expected, rel=1e-3)


def test_a_washed_out_panel_loses_colour_and_a_wide_one_gains_it() -> None:
    picture = _flat(200, 90, 60)
    washed = _with_gamut(-0.3)
    wide = _with_gamut(0.8)
    ratios = [
        float(np.divide(*displayed(picture, params)[0, 0, [2, 0]]))
        for params in (wide, EVEN, washed)
    ]
    assert ratios[0] < ratios[1] < ratios[2]
    white = displayed(_flat(255, 255, 255), washed)[0, 0]
    assert white == pytest.approx(0.9, rel=1e-3)


def _with_gamut(gamut: float) -> DisplayParams:
    return replace(EVEN, primaries=_primaries(gamut))


def test_from_the_side_it_is_dimmer_tinted_and_its_black_is_lighter() -> None:
    params = replace(EVEN, side_tint=(1.1, 1.0, 0.8), side_lift=0.03, dimming=2.0)
    grey = _flat(180, 180, 180)
    front, side = displayed(grey, params), displayed(grey, params, (40.0, 10.0))
    assert side.mean() < 0.75 * front.mean()
    assert side[0, 0, 2] < side[0, 0, 1] < side[0, 0, 0]
    contrasts = [
        displayed(_flat(255, 255, 255), params, tilt).mean()
        / displayed(_flat(0, 0, 0), params, tilt).mean()
        for tilt in ((0.0, 0.0), (40.0, 10.0))
    ]
    assert contrasts[1] < 0.5 * contrasts[0]


def test_an_uneven_backlight_keeps_the_mean_and_leaks_at_the_edges() -> None:
    uneven = replace(EVEN, falloff=0.3, lean=0.1, lean_angle=0.0)
    light = displayed(_flat(255, 255, 255), uneven)[..., 1]
    assert light.mean() == pytest.approx(0.9, rel=0.02)
    assert light[25, 39] > light[25, 0]
    assert light[0, 0] < 0.85 * light[25, 20]
    dark = displayed(_flat(0, 0, 0), replace(EVEN, bleed=0.02))[..., 1]
    assert dark[0, 20] > 1.5 * dark[25, 20]


@pytest.mark.parametrize("kind", LATTICES)
def test_a_lattice_keeps_the_light(kind: LatticeKind) -> None:
    params = replace(EVEN, lattice=kind)
    x, y = _pixels(1 / 32, 1 / 32)
    emission = lattice(x, y, params)
    assert emission.mean(axis=(0, 1)) == pytest.approx(1.0, abs=0.04)
    assert emission.min() >= 0.0
    assert emission.max() > 2.0


def test_stripes_stand_in_their_order() -> None:
    x = np.arange(300, dtype=np.float32)[None, :] / 300
    orders: dict[LatticeKind, tuple[int, int, int]] = {"rgb": (1, 3, 5), "bgr": (5, 3, 1)}
    for kind, order in orders.items():
        params = replace(EVEN, lattice=kind)
        peaks = lattice(x, np.full_like(x, 0.5), params)[0].argmax(axis=0) / 300
        assert peaks == pytest.approx(np.array(order) / 6, abs=0.02)


def test_pentile_has_a_green_in_every_pixel_and_half_the_others() -> None:
    x, y = _pixels(1 / 16, 1 / 16)
    red, green, blue = np.moveaxis(lattice(x, y, replace(EVEN, lattice="pentile")), -1, 0)
    assert np.allclose(green[:, 16:], green[:, :-16], atol=0.02)
    assert not np.allclose(red[:, 16:], red[:, :-16], atol=1.0)
    assert np.allclose(red[16:, 16:], red[:-16, :-16], atol=0.02)
    assert np.corrcoef(red[:, 16:].ravel(), blue[:, :-16].ravel())[0, 1] > 0.95


def test_a_footprint_of_whole_pixels_sees_no_lattice() -> None:
    x, y = _pixels(0.13, 0.13)
    assert lattice(x, y, EVEN, footprint=1.0) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("spacing", [0.9, 1.06, 1.9, 0.55])
def test_moire_is_the_beat_of_lattice_and_sensor(spacing: float) -> None:
    # A stripe of period p' = 1 / spacing camera pixels beats with the sensor at |1 / p' - n|.
    beat = abs(spacing - round(spacing))
    x, y = _pixels(spacing, 0.0)
    seen = lattice_on_sensor(x, y, EVEN, 0.1, aperture=0.3)[..., 1]
    row = seen[0] - seen[0].mean()
    spectrum = abs(np.fft.rfft(row * np.hanning(len(row))))
    low = spectrum[: len(row) // 4] if beat < 0.2 else spectrum
    assert np.argmax(low) / len(row) == pytest.approx(beat, abs=0.005)


@pytest.mark.parametrize("spacing", [0.45, 0.8])
def test_moire_fades_with_the_optics_as_theory_says(spacing: float) -> None:
    x, y = _pixels(spacing, 0.0)
    beat = abs(spacing - round(spacing)), 0.0
    sharp, soft = (
        _wave(lattice_on_sensor(x, y, EVEN, sigma, aperture=0.2)[..., 1], beat)
        for sigma in (0.15, 0.4)
    )
    expected = np.exp(-2 * (np.pi * spacing) ** 2 * (0.4**2 - 0.15**2))
    assert soft / sharp == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("kind", LATTICES)
def test_the_series_agrees_with_many_taps_a_pixel(kind: LatticeKind) -> None:
    params = replace(EVEN, lattice=kind)
    sigma, taps, generous = 0.3, 24, 60
    x, y = _pixels(0.62, 0.57, side=48)
    seen = lattice_on_sensor(x, y, params, sigma, aperture=1.0)
    rng = generator(5)
    total = np.zeros_like(seen)
    for _ in range(taps * generous):
        du, dv = rng.uniform(-0.5, 0.5, 2) + rng.normal(0, sigma, 2)
        total += lattice(x + np.float32(0.62 * du), y + np.float32(0.57 * dv), params)
    taken = total / (taps * generous)
    assert abs(seen - taken).max() < 0.12 * max(np.ptp(seen), 0.3)


def test_colours_beat_out_of_step_as_stripes_stand_apart() -> None:
    x, y = _pixels(0.92, 0.0)
    seen = lattice_on_sensor(x, y, EVEN, 0.1, aperture=0.3)
    turns = np.exp(-2j * np.pi * 0.92 * np.arange(256))
    phases = np.angle((seen[0] * turns[:, None]).mean(axis=0))
    steps = np.mod(np.diff(phases) / (2 * np.pi), 1.0)
    assert steps == pytest.approx([2 / 3, 2 / 3], abs=0.02)


def test_a_fine_lattice_behind_soft_optics_is_even() -> None:
    x, y = _pixels(2.3, 2.3)
    assert np.array_equal(lattice_on_sensor(x, y, EVEN, 0.6), np.ones((256, 256, 3), np.float32))


def test_perspective_damps_only_where_the_lattice_is_fine() -> None:
    v, u = np.mgrid[:200, :200].astype(np.float32)
    x = 0.3 * u + 0.003 * u * u
    seen = lattice_on_sensor(x, v * 0.3, EVEN, 0.45)[..., 1]
    assert seen[100, :40].std() > 4 * seen[100, -40:].std()


def _spectrum(bands: Array, row_time: float) -> tuple[Array, Array]:
    return np.fft.rfftfreq(len(bands), row_time), abs(np.fft.rfft(bands - bands.mean()))


def test_bands_of_a_rolling_shutter_have_the_frequency_of_the_switched_light() -> None:
    row_time = 1 / 30 / 720
    params = replace(EVEN, pwm=240.0, pwm_duty=0.5, pwm_depth=1.0, refresh_depth=0.0)
    bands = refresh_bands(720, row_time, 1 / 1000, params, 2.0)
    frequencies, power = _spectrum(bands, row_time)
    assert frequencies[np.argmax(power)] == pytest.approx(240, abs=1)
    assert bands.mean() == pytest.approx(1.0, abs=0.01)
    # A duty of one half over an exposure far shorter than the period: on, off, and 2 or 0 between.
    assert bands.min() == pytest.approx(0.0, abs=1e-6)
    assert bands.max() == pytest.approx(2.0, abs=1e-6)


def test_an_exposure_of_whole_periods_sees_no_bands() -> None:
    params = replace(EVEN, pwm=240.0, pwm_depth=1.0, refresh=60.0, refresh_depth=0.2)
    bands = refresh_bands(720, 1 / 30 / 720, 1 / 60, params, 0.3)
    assert bands == pytest.approx(1.0, abs=1e-5)


def test_bands_wander_with_time() -> None:
    params = replace(EVEN, pwm=250.0, pwm_depth=0.5)
    early, late = (refresh_bands(400, 4e-5, 1e-3, params, time) for time in (0.0, 1 / 30))
    assert abs(early - late).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_one_display(kind: DisplayKind) -> None:
    assert draw_display(generator(5), kind) == draw_display(generator(5), kind)
    assert draw_display(generator(5), kind) != draw_display(generator(6), kind)


def test_every_drawn_display_lies_in_the_ranges_of_its_fields() -> None:
    check = TypeAdapter(DisplayParams)
    for seed in range(200):
        params = draw_display(generator(seed))
        assert check.validate_python(asdict(params)) == params


def test_a_reflection_is_seeded_soft_and_has_the_rooms_colours() -> None:
    one, same, other = (reflection((80, 60), generator(seed)) for seed in (3, 3, 4))
    assert one.shape == (80, 60, 3)
    assert one.min() >= 0.0
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    red = np.zeros((40, 50, 3), np.uint8)
    red[..., 0] = 200
    seen = np.median([reflection((80, 60), generator(s), red) for s in range(8)], axis=(0, 1, 2))
    assert seen[0] > 3 * seen[1]


def test_a_matte_panel_blurs_what_it_mirrors() -> None:
    backdrop = generator(1).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    glass, matte = (
        abs(np.diff(reflection((120, 120), generator(9), backdrop, matte), axis=1)).mean()
        for matte in (0.0, 1.0)
    )
    assert matte < 0.5 * glass


def test_glass_adds_its_veil_and_its_share_of_the_room() -> None:
    light = np.full((9, 9, 3), 0.3, np.float32)
    room = np.full((9, 9, 3), 0.5, np.float32)
    params = replace(EVEN, veil=0.02, mirror=0.1)
    seen = through_glass(light, room, params, 0.5)
    assert seen == pytest.approx(0.3 + 0.05 + 0.01, abs=1e-6)
