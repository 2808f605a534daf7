"""The box filter: what it believes, and that it stays sound whatever it is fed."""

import pickle
from math import isfinite, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.kalman import Axis, BoxFilter
from padflow.nodes.payloads import Box


def test_a_fresh_filter_gives_back_its_box() -> None:
    box = BoxFilter(Box(10, 20, 60, 90), 0.05).box
    assert box == pytest.approx((10, 20, 60, 90))


def test_it_learns_a_constant_velocity() -> None:
    followed = BoxFilter(Box(0, 0, 80, 80), 0.05)
    for step in range(1, 26):
        followed.predict(0.04)
        followed.correct_place(Box(8.0 * step, -2.0 * step, 80, 80), 0.02)
    assert followed.velocity.real == pytest.approx(200, abs=4)
    assert followed.velocity.imag == pytest.approx(-50, abs=4)
    followed.predict(0.2)
    assert followed.centre.real == pytest.approx(40 + 200 + 40, abs=4)


def test_a_measured_velocity_moves_the_box_by_it() -> None:
    followed = BoxFilter(Box(0, 0, 100, 100), 0.05)
    for _ in range(10):
        followed.correct_velocity(complex(50, 0), 0.5, 0.03)
        followed.predict(0.1)
    assert followed.centre.real == pytest.approx(50 + 50, abs=2)
    assert followed.box.w == pytest.approx(100 * 2.718**0.5, rel=0.03)


def test_a_shift_moves_the_box_and_says_nothing_of_its_speed() -> None:
    followed = BoxFilter(Box(0, 0, 100, 100), 0.05)
    followed.correct_velocity(complex(50, 0), 0.0, 0.03)
    velocity = followed.velocity
    followed.shift(complex(3, -2), 0.1)
    assert followed.centre == pytest.approx(complex(53, 48))
    assert followed.box.w == pytest.approx(100 * 2.718**0.1, rel=1e-3)
    assert followed.velocity == velocity


def test_a_coasting_box_slows_down() -> None:
    followed = BoxFilter(Box(0, 0, 100, 100), 0.05)
    followed.correct_velocity(complex(100, 0), 0.0, 0.001)
    for _ in range(200):
        followed.predict(0.04, damping_s=0.25)
    assert followed.centre.real - 50 < 0.26 * 100
    assert abs(followed.velocity) < 1e-3


def test_detections_still_count_after_a_long_time_of_flow() -> None:
    followed = BoxFilter(Box(0, 0, 100, 100), 0.05)
    for _ in range(500):
        followed.correct_velocity(0j, 0.0, 0.03)
        followed.predict(0.04)
    followed.correct_place(Box(20, 0, 100, 100), 0.05)
    assert followed.box.x > 10


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 5),
            st.sampled_from(["none", "place", "velocity"]),
            st.floats(-3000, 3000),
            st.floats(-0.5, 0.5),
            st.floats(4, 2000),
        ),
        max_size=60,
    )
)
def test_the_covariance_stays_a_covariance(
    steps: list[tuple[float, str, float, float, float]],
) -> None:
    axis = Axis(0.0, 1.0, 4.0)
    followed = BoxFilter(Box(0, 0, 50, 60), 0.05)
    for seconds, kind, value, growth, width in steps:
        axis.predict(seconds, 9.0, 0.1)
        followed.predict(seconds, damping_s=0.25)
        if kind == "place":
            axis.correct_place(value, 0.5)
            followed.correct_place(Box(value, value, width, width), 0.05)
        elif kind == "velocity":
            axis.correct_velocity(value, 0.5)
            followed.correct_velocity(complex(value, -value), growth, 0.03)
        assert axis.variance > 0
        assert axis.speed_variance > 0
        assert abs(axis.across) <= sqrt(axis.variance * axis.speed_variance) * (1 + 1e-6)
        assert all(isfinite(number) for number in followed.box)
        assert followed.box.w > 0
        assert followed.box.h > 0


def test_it_pickles() -> None:
    followed = BoxFilter(Box(1, 2, 30, 40), 0.05)
    assert pickle.loads(pickle.dumps(followed)).box == followed.box
