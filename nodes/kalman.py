"""A Kalman filter for a face's box.

Constant velocity with white acceleration noise (Bar-Shalom et al., *Estimation with Applications
to Tracking and Navigation*, 2001, section 6.2), one independent two-state filter for each of four
numbers: x and y of the centre in pixels, and the logarithms of size (root of the area, pixels)
and of aspect (width over height). Plain floats: arrays of four would take five times as long.
"""

from math import exp, log

from .payloads import Box

CENTRE_ACCELERATION = 6.0
"""Standard deviation of a face's acceleration, in face sizes per second squared."""
SIZE_ACCELERATION = 1.5
"""The same for the logarithm of its size."""
ASPECT_ACCELERATION = 0.5
DRIFT = 0.12
"""Growth of the doubt about all four numbers that comes with any motion, measured or not, in face
sizes per root second: without it a filter fed by flow would believe no detection."""
FIRST_SPEED = 5.0
"""Standard deviation of the speed of a face seen for the first time, in face sizes per second: who
walks past a camera makes nine."""


class Axis:
    """Place and velocity of one number, with their covariance."""

    __slots__ = ("across", "place", "speed_variance", "variance", "velocity")

    def __init__(self, place: float, variance: float, speed_variance: float) -> None:
        self.place = place
        self.velocity = 0.0
        self.variance = variance
        self.across = 0.0
        self.speed_variance = speed_variance

    def predict(self, seconds: float, acceleration_variance: float, drift_variance: float) -> None:
        """Let time pass."""
        gained = acceleration_variance * seconds * seconds
        self.place += self.velocity * seconds
        self.variance += seconds * (
            drift_variance + 2 * self.across + seconds * (self.speed_variance + gained / 4)
        )
        self.across += seconds * (self.speed_variance + gained / 2)
        self.speed_variance += gained

    def correct_place(self, place: float, noise_variance: float) -> None:
        """Take in a measured place."""
        total = self.variance + noise_variance
        gain, speed_gain = self.variance / total, self.across / total
        error = place - self.place
        self.place += gain * error
        self.velocity += speed_gain * error
        self.speed_variance -= speed_gain * self.across
        self.variance *= 1 - gain
        self.across *= 1 - gain

    def correct_velocity(self, velocity: float, noise_variance: float) -> None:
        """Take in a measured velocity."""
        total = self.speed_variance + noise_variance
        gain, place_gain = self.speed_variance / total, self.across / total
        error = velocity - self.velocity
        self.velocity += gain * error
        self.place += place_gain * error
        self.variance -= place_gain * self.across
        self.speed_variance *= 1 - gain
        self.across *= 1 - gain


class BoxFilter:
    """Where a face is and how fast it moves. Picklable."""

    __slots__ = ("_aspect", "_size", "_x", "_y")

    def __init__(self, box: Box, noise: float) -> None:
        """Start at ``box``, known to ``noise`` (standard deviation, share of its size)."""
        x, y, size, aspect = measurement(box)
        spot, speed = noise**2, FIRST_SPEED**2
        area = exp(2 * size)
        self._x = Axis(x, spot * area, speed * area)
        self._y = Axis(y, spot * area, speed * area)
        self._size = Axis(size, spot, speed)
        self._aspect = Axis(aspect, spot, speed)

    @property
    def centre(self) -> complex:
        """Centre in pixels, x + iy."""
        return complex(self._x.place, self._y.place)

    @property
    def velocity(self) -> complex:
        """Of the centre, in pixels per second, x + iy."""
        return complex(self._x.velocity, self._y.velocity)

    @property
    def box(self) -> Box:
        """The box as it is believed to be."""
        size, stretch = exp(self._size.place), exp(self._aspect.place / 2)
        width, height = size * stretch, size / stretch
        return Box(self._x.place - width / 2, self._y.place - height / 2, width, height)

    def predict(self, seconds: float, damping_s: float | None = None) -> None:
        """Let time pass. With ``damping_s`` the velocity decays with that time constant."""
        if damping_s is not None:
            left = exp(-seconds / damping_s)
            for axis in (self._x, self._y, self._size, self._aspect):
                axis.velocity *= left
        area, drift = exp(2 * self._size.place), DRIFT**2
        self._x.predict(seconds, CENTRE_ACCELERATION**2 * area, drift * area)
        self._y.predict(seconds, CENTRE_ACCELERATION**2 * area, drift * area)
        self._size.predict(seconds, SIZE_ACCELERATION**2, drift)
        self._aspect.predict(seconds, ASPECT_ACCELERATION**2, drift)

    def correct_place(self, box: Box, noise: float) -> None:
        """Take in a box measured with ``noise`` (standard deviation, share of the size)."""
        x, y, size, aspect = measurement(box)
        variance = noise**2
        area = exp(2 * self._size.place)
        self._x.correct_place(x, variance * area)
        self._y.correct_place(y, variance * area)
        self._size.correct_place(size, variance)
        self._aspect.correct_place(aspect, variance)

    def shift(self, centre: complex, growth: float) -> None:
        """Move the box by a measured way that took no time to speak of: its speed stays.

        Args:
            centre: Pixels, x + iy.
            growth: Change of the logarithm of the size.
        """
        self._x.place += centre.real
        self._y.place += centre.imag
        self._size.place += growth

    def correct_velocity(self, centre: complex, growth: float, noise: float) -> None:
        """Take in a measured velocity.

        Args:
            centre: Pixels per second, x + iy.
            growth: Change of the logarithm of the size, per second.
            noise: Standard deviation, in face sizes per second.
        """
        variance = noise**2
        area = exp(2 * self._size.place)
        self._x.correct_velocity(centre.real, variance * area)
        self._y.correct_velocity(centre.imag, variance * area)
        self._size.correct_velocity(growth, variance)
        self._aspect.correct_velocity(0.0, variance)


def measurement(box: Box) -> tuple[float, float, float, float]:
    """Centre x, centre y, log size and log aspect of a box."""
    centre_x, centre_y = box.centre
    return centre_x, centre_y, log(box.w * box.h) / 2, log(box.w / box.h)
