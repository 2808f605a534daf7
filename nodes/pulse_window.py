"""The last seconds of one track's skin, for the cues that look for a pulse.

What :mod:`.pulse` and :mod:`.pulse_net` share: samples as they come, the newest stretch without a
long gap, and the conditions outside of which a pulse says nothing for or against.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from .evidence import Reason
from .payloads import SkinSample
from .quality import LEAST_COLOUR

REGIONS = ("forehead", "right_cheek", "left_cheek")
FEWEST_REGIONS = 2
"""A single region has nothing to agree with."""

FASTEST = 80.0
"""Samples a second that are kept; what comes faster is averaged with the sample before."""


@dataclass(frozen=True)
class PulseConditions:
    """Outside of these the pulse says nothing, for or against. Medians over the window."""

    min_rate: Annotated[float, Gt(0)] = 10.0
    """Usable samples a second: three for each beat at the highest heart rate."""
    min_size: Annotated[float, Ge(0)] = 50.0
    """Face width in pixels."""
    min_exposure: Annotated[float, Ge(0)] = 35.0
    """Mean luma of the skin, 0 to 255."""
    max_exposure: Annotated[float, Ge(0)] = 240.0
    """Mean luma of the skin, 0 to 255."""
    max_clipped: Annotated[float, Interval(ge=0, le=1)] = 0.3
    """Share of skin at the ends of the range."""
    min_colour: Annotated[float, Ge(0)] = LEAST_COLOUR
    """Reach of the picture's colours in levels of chroma: a pulse is a change of colour."""
    max_motion: Annotated[float, Gt(0)] = 0.6
    """Face widths per second, as root mean square over the window."""
    max_yaw: Annotated[float, Gt(0)] = 40.0
    """Degrees to either side, where fewer than two regions are seen."""
    min_visible: Annotated[float, Interval(gt=0, le=1)] = 0.8
    """Share of the samples in which a region must be seen to take part."""
    max_held: Annotated[float, Interval(gt=0, le=1)] = 0.6
    """Share of samples in which no region changes against the one before: an encoder that holds
    the picture hides a pulse."""


COLOURS = slice(0, 9)
BACKGROUND = slice(9, 12)
SIZE, EXPOSURE, CLIPPED, YAW, MOTION, COLOUR, USABLE = range(12, 19)
COLUMNS = 19


class SampleBuffer:
    """The last seconds of one track, oldest first, in two arrays of fixed size. Picklable.

    Samples are written behind one another; at the end of the arrays, which are twice as long as
    needed, the newest half moves to the front. So the samples are always one contiguous view.
    """

    def __init__(self, capacity: int, extra: int = 0) -> None:
        """An empty buffer.

        Args:
            capacity: samples that are kept at least.
            extra: columns behind the common ones, for what a node adds to a sample.
        """
        self._times = np.zeros(2 * capacity)
        self._values = np.zeros((2 * capacity, COLUMNS + extra), np.float32)
        self._end = 0
        self._merged = 1

    def append(self, time: float, sample: SkinSample, extra: np.ndarray | None = None) -> None:
        """Take the sample of one frame; ``time`` must not be before the last one's.

        Without ``extra`` the columns that a node adds are NaN.
        """
        if self._end == len(self._times):
            half = self._end // 2
            self._times[:half] = self._times[half:]
            self._values[:half] = self._values[half:]
            self._end = half
        values = self._values[self._end]
        regions, quality = sample.regions, sample.quality
        values[0:3] = regions["forehead"]
        values[3:6] = regions["right_cheek"]
        values[6:9] = regions["left_cheek"]
        values[9:12] = sample.background
        values[12:COLUMNS] = (
            quality.size,
            quality.exposure,
            quality.clipped,
            quality.yaw,
            quality.motion,
            quality.colour,
            sample.usable,
        )
        values[COLUMNS:] = np.nan if extra is None else extra
        if self._end and time - self._times[self._end - 1] < 1.0 / FASTEST:
            self._merge(values)
            return
        self._times[self._end] = time
        self._end += 1
        self._merged = 1

    def _merge(self, values: np.ndarray) -> None:
        last = self._values[self._end - 1]
        if not values[USABLE]:
            return
        if not last[USABLE]:
            last[:] = values
            return
        self._merged += 1
        step = (values - last) / self._merged
        if len(last) > COLUMNS and np.isnan(step[COLUMNS]):
            # What a node added to one of the two is what it added to both.
            step[COLUMNS:] = 0.0
            if np.isnan(last[COLUMNS]):
                last[COLUMNS:] = values[COLUMNS:]
        last += step

    def since(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Views of times (n,) float64 and values (n, columns) float32 from a time on."""
        times = self._times[: self._end]
        first = int(np.searchsorted(times, time))
        return times[first:], self._values[first : self._end]

    def __getstate__(self) -> tuple[int, np.ndarray, np.ndarray, int]:
        half = len(self._times) // 2
        kept = slice(max(0, self._end - half), self._end)
        return half, self._times[kept].copy(), self._values[kept].copy(), self._merged

    def __setstate__(self, kept: tuple[int, np.ndarray, np.ndarray, int]) -> None:
        capacity, times, values, merged = kept
        SampleBuffer.__init__(self, capacity, values.shape[1] - COLUMNS)
        self._end, self._merged = len(times), merged
        self._times[: self._end], self._values[: self._end] = times, values


@dataclass(frozen=True, slots=True)
class Stretch:
    """The newest samples without a long gap between usable ones."""

    times: np.ndarray
    values: np.ndarray
    cut: tuple[Reason, ...]
    """Why it does not reach further back or up to now."""

    @property
    def seconds(self) -> float:
        """From the first to the last sample."""
        return float(self.times[-1] - self.times[0]) if self.times.size > 1 else 0.0


def newest_stretch(samples: SampleBuffer, now: float, window: float, bridge: float) -> Stretch:
    """The newest run of usable samples with no gap above ``bridge`` seconds, up to ``window``."""
    times, values = samples.since(now - window - 1e-6)
    usable = values[:, USABLE] > 0
    good = times[usable]
    breaks = np.flatnonzero(np.diff(good) > bridge)
    first = int(breaks[-1]) + 1 if breaks.size else 0
    cut: list[Reason] = []
    if good.size == 0 or now - good[-1] > bridge:
        return Stretch(times[:0], values[:0], (Reason.FACE_NOT_SEEN,))
    if breaks.size:
        before, after = good[first - 1], good[first]
        seen_all = times[(times >= before) & (times <= after)]
        unseen = seen_all.size > 2 and np.diff(seen_all).max() <= bridge
        cut.append(Reason.FACE_NOT_SEEN if unseen else Reason.FRAMES_DROPPED)
    return Stretch(good[first:], values[usable][first:], tuple(cut))


def window_conditions(stretch: Stretch) -> dict[str, float]:
    """What the conditions are held against, and how much was looked at, by name."""
    values = stretch.values
    greens = values[:, COLOURS][:, 1::3]
    change = np.abs(np.diff(greens, axis=0))
    held = np.all((change < 1e-3) | ~np.isfinite(change), axis=1)
    columns = [SIZE, EXPOSURE, CLIPPED, YAW, COLOUR]
    size, exposure, clipped, yaw, colour = np.median(values[:, columns], axis=0)
    gaps = np.diff(stretch.times)
    return {
        "seconds": stretch.seconds,
        "samples_per_second": (stretch.times.size - 1) / stretch.seconds,
        "interpolated_share": float(gaps[gaps > 1.8 * np.median(gaps)].sum() / stretch.seconds),
        "size": float(size),
        "exposure": float(exposure),
        "clipped": float(clipped),
        "yaw": float(yaw),
        "colour": float(colour),
        "motion": float(np.sqrt(np.square(values[:, MOTION]).mean())),
        "held_share": float(held.mean()),
    }


def failed_conditions(
    seen: dict[str, float], regions: int, conditions: PulseConditions
) -> list[Reason]:
    """Which conditions a window with so many visible regions does not meet (NaN meets none)."""
    few = regions < FEWEST_REGIONS
    turned = not abs(seen["yaw"]) <= conditions.max_yaw
    clipped = not (seen["clipped"] <= conditions.max_clipped or seen["exposure"] < 128)
    checks = {
        Reason.FRAME_RATE_TOO_LOW: not seen["samples_per_second"] >= conditions.min_rate,
        Reason.FACE_TOO_SMALL: not seen["size"] >= conditions.min_size,
        Reason.TOO_DARK: not seen["exposure"] >= conditions.min_exposure,
        Reason.TOO_BRIGHT: clipped or not seen["exposure"] <= conditions.max_exposure,
        Reason.NO_COLOUR: not seen["colour"] >= conditions.min_colour,
        Reason.TOO_MUCH_MOTION: not seen["motion"] <= conditions.max_motion,
        Reason.FACE_NOT_FRONTAL: few and turned,
        Reason.FACE_OCCLUDED: few and not turned,
        Reason.TOO_COMPRESSED: not seen["held_share"] <= conditions.max_held,
    }
    return [reason for reason, failed in checks.items() if failed]


def visible_regions(stretch: Stretch, min_visible: float, bridge: float) -> list[int]:
    """Regions that are seen in enough samples and never away for longer than ``bridge``."""
    visible = np.isfinite(stretch.values[:, COLOURS][:, ::3])
    regions = []
    for index in range(len(REGIONS)):
        seen = np.flatnonzero(visible[:, index])
        if seen.size < max(min_visible * len(visible), 2):
            continue
        ends = np.concatenate([stretch.times[:1], stretch.times[seen], stretch.times[-1:]])
        if np.diff(ends).max() <= bridge:
            regions.append(index)
    return regions


def sampled_colours(stretch: Stretch, regions: list[int]) -> np.ndarray:
    """Colours float64 (k, n, 3) of the regions and, where it is always seen, of the background.

    Where a region is not seen for a few samples its colours are interpolated in time.
    """
    columns = [c for r in regions for c in range(3 * r, 3 * r + 3)]
    if np.isfinite(stretch.values[:, BACKGROUND]).all():
        columns += range(BACKGROUND.start, BACKGROUND.stop)
    values = stretch.values[:, columns].astype(np.float64)
    for channel in np.flatnonzero(~np.isfinite(values).all(axis=0)):
        known = np.isfinite(values[:, channel])
        values[:, channel] = np.interp(stretch.times, stretch.times[known], values[known, channel])
    return values.reshape(len(values), -1, 3).transpose(1, 0, 2)
