"""A Kalman filter for a face's box.

Constant velocity with white acceleration noise (Bar-Shalom et al., *Estimation with Applications
to Tracking and Navigation*, 2001, section 6.2), one independent two-state filter for each of four
numbers: x and y of the centre in pixels, and the logarithms of size (root of the area, pixels)
and of aspect (width over height).
"""

from math import exp, log, sqrt

import numpy as np

from .payloads import Box

CENTRE_ACCELERATION = 6.0
"""Standard deviation of a face's acceleration, in face sizes per second squared."""
SIZE_ACCELERATION = 1.5
"""The same for the logarithm of its size."""
ASPECT_ACCELERATION = 0.5
DRIFT = 0.12
"""Growth of the doubt about all four numbers that comes with any motion, measured or not, in face
sizes per root second: without it a filter fed by flow would believe no detection."""
FIRST_SPEED = 1.0
"""Standard deviation of the speed of a face seen for the first time, in face sizes per second."""


def measurement(box: Box) -> np.ndarray:
    """float64 (4,): centre x, centre y, log size, log aspect."""
    centre_x, centre_y = box.centre
    return np.array([centre_x, centre_y, log(box.w * box.h) / 2, log(box.w / box.h)])


class BoxFilter:
    """Where a face is and how fast it moves. Picklable."""

    __slots__ = ("_across", "_place", "_speed_variance", "_variance", "_velocity")

    def __init__(self, box: Box, noise: float) -> None:
        """Start at ``box``, known to ``noise`` (standard deviation, share of its size)."""
        self._place = measurement(box)
        self._velocity = np.zeros(4)
        self._variance = self._units() * noise**2
        self._across = np.zeros(4)  # covariance of place and velocity
        self._speed_variance = self._units() * FIRST_SPEED**2

    @property
    def size(self) -> float:
        """Root of the box's area, in pixels."""
        return exp(self._place[2])

    @property
    def centre(self) -> complex:
        """Centre in pixels, x + iy."""
        return complex(self._place[0], self._place[1])

    @property
    def velocity(self) -> complex:
        """Of the centre, in pixels per second, x + iy."""
        return complex(self._velocity[0], self._velocity[1])

    @property
    def box(self) -> Box:
        """The box as it is believed to be."""
        x, y, log_size, log_aspect = self._place.tolist()
        size, stretch = exp(log_size), sqrt(exp(log_aspect))
        width, height = size * stretch, size / stretch
        return Box(x - width / 2, y - height / 2, width, height)

    def predict(self, seconds: float, damping_s: float | None = None) -> None:
        """Let time pass. With ``damping_s`` the velocity decays with that time constant."""
        if damping_s is not None:
            self._velocity *= exp(-seconds / damping_s)
        self._place += self._velocity * seconds
        acceleration = self._acceleration_variance()
        self._variance += seconds * (
            2 * self._across + seconds * (self._speed_variance + acceleration * seconds**2 / 4)
        )
        self._variance += self._units() * (DRIFT**2 * seconds)
        self._across += seconds * (self._speed_variance + acceleration * seconds**2 / 2)
        self._speed_variance += acceleration * seconds**2

    def correct_place(self, box: Box, noise: float) -> None:
        """Take in a box measured with ``noise`` (standard deviation, share of the size)."""
        error = measurement(box) - self._place
        total = self._variance + self._units() * noise**2
        gain, speed_gain = self._variance / total, self._across / total
        self._place += gain * error
        self._velocity += speed_gain * error
        self._speed_variance -= speed_gain * self._across
        self._variance *= 1 - gain
        self._across *= 1 - gain

    def correct_velocity(self, centre: complex, log_size: float, noise: float) -> None:
        """Take in a measured velocity.

        Args:
            centre: Pixels per second, x + iy.
            log_size: Change of the logarithm of the size, per second.
            noise: Standard deviation, in face sizes per second.
        """
        error = np.array([centre.real, centre.imag, log_size, 0.0]) - self._velocity
        total = self._speed_variance + self._units() * noise**2
        gain, place_gain = self._speed_variance / total, self._across / total
        self._velocity += gain * error
        self._place += place_gain * error
        self._variance -= place_gain * self._across
        self._speed_variance *= 1 - gain
        self._across *= 1 - gain

    def _units(self) -> np.ndarray:
        """Variance of one face size in each of the four numbers."""
        area = exp(2 * self._place[2])
        return np.array([area, area, 1.0, 1.0])

    def _acceleration_variance(self) -> np.ndarray:
        centre = CENTRE_ACCELERATION**2 * exp(2 * self._place[2])
        return np.array([centre, centre, SIZE_ACCELERATION**2, ASPECT_ACCELERATION**2])
