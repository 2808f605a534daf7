from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from padflow.trainers.attacks.light import LUMINANCE, to_linear
from padflow.trainers.attacks.parameters import Array, generator
from padflow.trainers.attacks.printers import PrinterKind, PrinterParams, draw_printer
from padflow.trainers.attacks.printing import Printer, lay_gloss, printed, sheet_light

KINDS: tuple[PrinterKind, ...] = ("laser", "inkjet", "photo", "newspaper", "poster")
EVEN = PrinterParams(
    grain=0.0, mottle=0.0, banding=0.0, streaks=0.0, fibre=0.0, blur=0.0, screen_pitch=0.0
)
"""A printer that lays all ink evenly."""


def _flat(*codes: int, side: int = 24) -> Array:
    return np.full((side, side, 3), codes, np.uint8)


def _colour(params: PrinterParams, *codes: int) -> Array:
    light = printed(_flat(*codes), params, 0.0002, generator(1))
    assert np.ptp(light.reshape(-1, 3), axis=0) == pytest.approx(0, abs=1e-5)
    return np.asarray(light[0, 0])


def _saturation(colour: Array) -> float:
    return float(1.0 - colour.min() / colour.max())


def test_white_is_paper_and_black_is_no_darker_than_the_surface() -> None:
    assert _colour(EVEN, 255, 255, 255) == pytest.approx(EVEN.paper, rel=1e-4)
    floor = EVEN.black_reflectance * np.array(EVEN.paper)
    black = _colour(EVEN, 0, 0, 0)
    assert (black >= floor * 0.999).all()
    assert (black < 0.05).all()


@pytest.mark.parametrize(
    ("n", "area"), [(1.0, 0.2), (1.0, 0.5), (1.0, 0.8), (2.0, 0.2), (2.0, 0.5), (2.0, 0.8)]
)
def test_dots_print_as_murray_davies_and_yule_nielsen_say(n: float, area: float) -> None:
    # Black ink alone, no light from the surface: the driver asks for area a where the reflectance
    # is ((1 - a) + a Rk^(1/n))^n; a gain of 0.1 makes it a + 0.4 a (1 - a).
    ink = 0.04
    params = replace(
        EVEN, monochrome=True, black=(ink,) * 3, yule_nielsen=n, dot_gain=0.1, paper=(1.0, 1, 1),
        black_reflectance=0.0, lifted_shadows=0.0, tone=1.0,
    )  # fmt: skip
    wanted = ((1 - area) + area * ink ** (1 / n)) ** n
    codes = to_linear(np.arange(256, dtype=np.uint8))
    code = int(np.argmin(abs(codes - wanted)))
    asked = (1 - codes[code] ** (1 / n)) / (1 - ink ** (1 / n))
    grown = asked + 0.4 * asked * (1 - asked)
    expected = ((1 - grown) + grown * ink ** (1 / n)) ** n
    assert _colour(params, code, code, code) == pytest.approx(expected, abs=0.006)


def test_without_faults_the_driver_reaches_what_its_inks_can() -> None:
    params = replace(EVEN, dot_gain=0.0, tone=1.0, saturation=1.0, lifted_shadows=0.0, black_share=0.0)  # fmt: skip # noqa: E501
    for codes in ((150, 150, 150), (200, 150, 130), (120, 90, 80), (90, 110, 130)):
        got = _colour(params, *codes) / params.paper
        assert got == pytest.approx(to_linear(np.array(codes, np.uint8)), rel=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_full_colours_fall_into_the_gamut_of_the_inks(kind: PrinterKind) -> None:
    for seed in range(3):
        params = draw_printer(generator(seed, 3), kind)
        table = Printer(params).table
        least = params.black_reflectance
        assert table.min() >= least - 1e-5
        for r, g, b in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
            colour = np.sort(_even_colour(params, r, g, b))
            assert colour[0] > 0.004
            assert _saturation(colour) < 0.995


def _even_colour(params: PrinterParams, *codes: int) -> Array:
    faults = ("grain", "mottle", "banding", "streaks", "fibre", "screen_pitch")
    none: dict[str, Any] = dict.fromkeys(faults, 0.0)
    return _colour(replace(params, **none), *codes)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_greys_keep_their_order(seed: int) -> None:
    params = draw_printer(generator(seed))
    codes = np.arange(256, dtype=np.uint8)
    ramp = Printer(params)._mean_colours(np.repeat(codes[None, :, None], 3, axis=2))[0]
    assert (np.diff(ramp @ LUMINANCE) > -1e-3).all()
    assert ramp[255].mean() > 2 * ramp[0].mean()


def test_a_faded_cartridge_casts_its_complement() -> None:
    faded = _colour(replace(EVEN, strengths=(0.6, 1.0, 1.0, 1.0), black_share=0.0), 120, 120, 120)
    whole = _colour(replace(EVEN, black_share=0.0), 120, 120, 120)
    more = faded / whole
    assert more[0] > 1.2 * more[1]
    assert more[1] > more[2]


@pytest.mark.parametrize(
    "fault",
    [
        {"screen_pitch": 0.0004, "screen_contrast": 1.0},
        {"grain": 0.2, "grain_size": 0.0001},
        {"mottle": 0.04, "mottle_size": 0.0004},
        {"fibre": 0.02, "fibre_size": 0.0003},
        {"banding": 0.05, "band_pitch": 0.002},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_structure_adds_no_light_and_takes_none(fault: dict[str, Any]) -> None:
    grey = _flat(150, 140, 130, side=300)
    even = printed(grey, EVEN, 0.0001, generator(4))
    rough = printed(grey, replace(EVEN, **fault), 0.0001, generator(4))
    assert rough.std(axis=(0, 1)).min() > 0.003
    assert rough.mean(axis=(0, 1)) == pytest.approx(even.mean(axis=(0, 1)), rel=0.015)


def test_dots_stand_at_their_pitch_and_angle() -> None:
    params = replace(EVEN, monochrome=True, screen_pitch=0.0008, screen_angles=(0, 0, 0, 45.0))
    light = printed(_flat(170, 170, 170, side=256), params, 0.0001, generator(1))[..., 1]
    power = abs(np.fft.fft2(light - light.mean()))
    y, x = np.unravel_index(np.argmax(power), power.shape)
    fy, fx = np.fft.fftfreq(256)[y], np.fft.fftfreq(256)[x]
    assert np.hypot(fx, fy) == pytest.approx(1 / 8, abs=0.004)
    assert abs(fx) == pytest.approx(abs(fy), abs=0.005)


def test_dots_that_the_texture_cannot_hold_leave_their_mean() -> None:
    params = replace(EVEN, screen_pitch=0.00018)
    light = printed(_flat(150, 150, 150), params, 0.0001, generator(1))
    assert light.std(axis=(0, 1)) == pytest.approx(0, abs=1e-5)


def test_bands_come_across_the_feed() -> None:
    params = replace(EVEN, banding=0.1, band_pitch=0.002, feed_upright=False)
    light = printed(_flat(150, 150, 150, side=64), params, 0.0001, generator(2))[..., 0]
    assert light.mean(axis=0).std() > 20 * light.mean(axis=1).std()


def test_blur_is_in_metres() -> None:
    edge = _flat(230, 230, 230, side=120)
    edge[:, 60:] = 40
    soft = replace(EVEN, blur=0.0004)
    near = printed(edge, soft, 0.0001, generator(1))[60, :, 1]
    far = printed(edge, soft, 0.0004, generator(1))[60, :, 1]
    assert abs(np.diff(far)).max() > 2.5 * abs(np.diff(near)).max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_one_printer_and_one_print(kind: PrinterKind) -> None:
    params = draw_printer(generator(5), kind)
    assert params == draw_printer(generator(5), kind)
    assert params != draw_printer(generator(6), kind)
    picture = generator(1).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    one, same, other = (printed(picture, params, 0.0001, generator(s)) for s in (7, 7, 8))
    assert one.shape == (70, 90, 3)
    assert one.dtype == np.float32
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.min() >= 0.0
    assert one.max() <= 1.0


def test_every_drawn_printer_lies_in_the_ranges_of_its_fields() -> None:
    check = TypeAdapter(PrinterParams)
    for seed in range(200):
        params = draw_printer(generator(seed))
        assert check.validate_python(asdict(params)) == params


def test_sheet_light_is_a_mean_of_one_and_a_veil_on_black() -> None:
    shading, glare = sheet_light((90, 60), generator(3), gloss=0.5, turn=0.8)
    assert shading.shape == (90, 60)
    assert glare.shape == (90, 60, 3)
    assert shading.mean() == pytest.approx(1.0, abs=0.02)
    assert shading.min() > 0
    assert glare.min() > 0
    light = lay_gloss(np.full((90, 60, 3), 0.5, np.float32), shading, glare)
    assert light == pytest.approx(0.5 * shading[..., None] + glare, abs=1e-6)


def test_more_gloss_mirrors_more_lamp() -> None:
    dull, bright = (sheet_light((60, 60), generator(3), gloss)[1].max() for gloss in (0.02, 0.8))
    assert bright > 5 * dull
