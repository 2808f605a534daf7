import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.trainers.attacks.light import to_linear, to_srgb


def test_every_code_value_survives_the_round_trip() -> None:
    codes = np.arange(256, dtype=np.uint8)
    back = np.rint(to_srgb(to_linear(codes)) * 255).astype(np.uint8)
    assert (back == codes).all()


@pytest.mark.parametrize(
    ("code", "linear"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.21404), (0.04045, 0.0031308)]
)
def test_values_of_the_standard(code: float, linear: float) -> None:
    assert to_linear(np.array([code])) == pytest.approx(linear, abs=1e-5)


@given(st.floats(-3.0, 3.0))
def test_encoding_clips_and_is_finite(value: float) -> None:
    code = float(to_srgb(np.array([value]))[0])
    assert 0.0 <= code <= 1.0
    assert to_linear(np.array([code])) == pytest.approx(np.clip(value, 0, 1), abs=1e-5)


def test_twice_the_light_is_twice_the_linear_value() -> None:
    light = to_linear(np.array([100, 140], np.uint8))
    assert to_linear(to_srgb(2 * light)) == pytest.approx(2 * light, rel=1e-5)
