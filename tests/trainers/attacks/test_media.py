import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.canonical import LEFT_EYE, NOSE_TIP, RIGHT_EYE
from padflow.trainers.attacks import media
from padflow.trainers.attacks.acts import Person
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.render import TextureMap, Window

SKIN = np.array([0.5, 0.3, 0.2], np.float32)
SLEEVE = np.array([0.1, 0.1, 0.2], np.float32)


def _picture(held: media.Held) -> Array:
    x, y, w, h = held.picture
    return held.patch.texture[y : y + h, x : x + w, :3]


def test_ink_reaches_neither_black_nor_white_nor_full_colour() -> None:
    params = media.PrintParams()
    crop = np.zeros((90, 60, 3), np.uint8)
    crop[:30], crop[30:60] = 255, (255, 0, 0)
    held = media.make_print(crop, params, SKIN, SLEEVE, 600.0)
    h, w = held.picture.h, held.picture.w
    white, red, black = (_picture(held)[round(h * part), w // 2] for part in (1 / 6, 1 / 2, 0.68))
    assert white == pytest.approx(params.paper, rel=1e-3)
    assert black == pytest.approx(np.multiply(params.ink_black, params.paper), rel=1e-3)
    assert red[0] < 0.95 * white[0]
    assert red[1] > 1.2 * black[1]


def test_held_things_are_carried_by_hands() -> None:
    held = media.make_screen(media.ScreenParams(), SKIN, SLEEVE, 600.0)
    coverage = held.patch.texture[..., 3]
    below = coverage[held.picture.y + held.picture.h + 30 :]
    assert (below > 0.9).sum() > 500
    assert coverage.min() == 0.0


@given(st.floats(-2.5, 2.5))
def test_bending_keeps_lengths(curvature: float) -> None:
    line = np.column_stack([np.linspace(-0.1, 0.1, 201), np.zeros(201), np.zeros(201)])
    curve = media.bent(line, curvature)
    length = np.linalg.norm(np.diff(curve, axis=0), axis=1).sum()
    assert length == pytest.approx(0.2, rel=1e-3)


def test_a_display_follows_its_gamma_and_its_black_is_light() -> None:
    params = media.ScreenParams(gamma=2.2, peak=0.9, black=0.01, white_point=(1.0, 1.0, 1.0))
    held = media.make_screen(params, SKIN, SLEEVE, 600.0)
    for code, light in ((0, 0.009), (255, 0.9), (128, 0.9 * (0.01 + 0.99 * (128 / 255) ** 2.2))):
        frame = np.full((40, 30, 3), code, np.uint8)
        assert media.emitted(frame, params, held) == pytest.approx(light, rel=1e-4)


def _pixels(texels_per_pixel: float) -> TextureMap:
    u, v = np.meshgrid(np.arange(200.0), np.arange(100.0))
    texels = (np.dstack([u, v]) * texels_per_pixel).astype(np.float32)
    ones = np.ones((100, 200), np.float32)
    return TextureMap(Window(0, 0, 200, 100), texels, ones, ones)


def test_moire_is_the_beat_of_lattice_and_pixels() -> None:
    phase, left = media.fine_lattice(_pixels(1.0), 1 / 2.05, 1 / 3, 0.0, 0.1)
    wave = np.cos(phase[50])
    spectrum = np.abs(np.fft.rfft(wave - wave.mean()))
    assert np.argmax(spectrum) / 200 == pytest.approx(0.05, abs=0.006)
    assert 0.0 < left < 0.3


def test_a_soft_lens_sees_no_lattice() -> None:
    sharp = media.fine_lattice(_pixels(1.0), 0.4, 1 / 3, 0.0, 0.1)[1]
    soft = media.fine_lattice(_pixels(1.0), 0.4, 1 / 3, 0.0, 0.6)[1]
    assert soft < 1e-6 < sharp


def test_a_mask_fits_its_wearer_and_leaves_the_eyes_free(cast: dict[str, Person]) -> None:
    face, wearer = cast["hopper"].identity, cast["astronaut"].identity
    mask = media.make_mask(face, wearer, media.MaskParams())
    apart = np.linalg.norm(mask.points - wearer.mesh, axis=1)
    assert np.median(apart) < 0.015
    assert mask.points[NOSE_TIP, 2] < wearer.mesh[NOSE_TIP, 2]

    def coverage_at(texel: Array) -> float:
        x, y = np.round(texel).astype(int)
        return float(mask.texture[y, x, 3])

    for eye in (RIGHT_EYE, LEFT_EYE):
        assert coverage_at(mask.texels[list(eye)].mean(axis=0)) == 0.0
    assert coverage_at(mask.texels[NOSE_TIP]) == 1.0
    assert (mask.texture[..., :3] <= mask.texture[..., 3:] + 1e-6).all()


def test_gloss_is_strongest_where_the_shell_faces_the_lamp() -> None:
    lamp = np.array([0.0, -0.6, -0.8])
    towards = np.array([0.0, -0.316, -0.949], np.float32)
    normals = np.stack([towards, np.array([0, 0, -1], np.float32), np.array([1, 0, 0], np.float32)])
    shine = media.gloss_of(normals, lamp, media.MaskParams())
    assert shine[0] > shine[1] > shine[2] == 0.0
