"""Pulse: from registered skin colours to evidence for or against life, about once a second."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from ..graph.node import Begin, Contract, Node, Outputs, Port
from ..graph.packet import Packet
from .evidence import RESET_REASONS, Evidence, Reason
from .payloads import PulseTrace, SkinSample
from .pulse_evidence import PulseMeasurement, PulseModel, burstiness, measure_pulse
from .spectrum import resample

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
    max_motion: Annotated[float, Gt(0)] = 0.6
    """Face widths per second, as root mean square over the window."""
    max_yaw: Annotated[float, Gt(0)] = 40.0
    """Degrees to either side, where fewer than two regions are seen."""
    min_visible: Annotated[float, Interval(gt=0, le=1)] = 0.8
    """Share of the samples in which a region must be seen to take part."""
    max_held: Annotated[float, Interval(gt=0, le=1)] = 0.6
    """Share of samples in which no region changes against the one before: an encoder that holds
    the picture hides a pulse."""


@dataclass(frozen=True)
class PulseParams:
    """Settings of :class:`Pulse`."""

    window: Annotated[float, Interval(ge=5.0, le=60.0)] = 10.0
    """Seconds of capture time that are looked at, at most."""
    minimum: Annotated[float, Interval(ge=4.0, le=60.0)] = 6.0
    """Seconds without a long gap that are needed at least."""
    period: Annotated[float, Gt(0)] = 1.0
    """Seconds of capture time between two looks."""
    rate: Annotated[float, Interval(ge=20.0, le=120.0)] = 30.0
    """Samples a second of the even grid that the methods work on."""
    bridge: Annotated[float, Gt(0)] = 0.25
    """Longest gap in seconds that is interpolated over; a longer one ends the window."""
    max_gap: Annotated[float, Gt(0)] = 1.0
    """Seconds without a sample after which a track starts afresh."""
    conditions: PulseConditions = field(default_factory=PulseConditions)
    """When the pulse has no value."""
    model: PulseModel = field(default_factory=PulseModel)
    """From measurements to a ratio."""


COLOURS = slice(0, 9)
BACKGROUND = slice(9, 12)
SIZE, EXPOSURE, CLIPPED, YAW, MOTION, USABLE = range(12, 18)
COLUMNS = 18


class SampleBuffer:
    """The last seconds of one track, oldest first, in two arrays of fixed size. Picklable.

    Samples are written behind one another; at the end of the arrays, which are twice as long as
    needed, the newest half moves to the front. So the samples are always one contiguous view.
    """

    def __init__(self, capacity: int) -> None:
        self._times = np.zeros(2 * capacity)
        self._values = np.zeros((2 * capacity, COLUMNS), np.float32)
        self._end = 0
        self._merged = 1

    def append(self, time: float, sample: SkinSample) -> None:
        """Take the sample of one frame; ``time`` must not be before the last one's."""
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
        values[12:18] = (
            quality.size,
            quality.exposure,
            quality.clipped,
            quality.yaw,
            quality.motion,
            sample.usable,
        )
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
        last += (values - last) / self._merged

    def since(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Views of times (n,) float64 and values (n, COLUMNS) float32 from a time on."""
        times = self._times[: self._end]
        first = int(np.searchsorted(times, time))
        return times[first:], self._values[first : self._end]

    def __getstate__(self) -> tuple[int, np.ndarray, np.ndarray, int]:
        half = len(self._times) // 2
        kept = slice(max(0, self._end - half), self._end)
        return half, self._times[kept].copy(), self._values[kept].copy(), self._merged

    def __setstate__(self, kept: tuple[int, np.ndarray, np.ndarray, int]) -> None:
        capacity, times, values, merged = kept
        SampleBuffer.__init__(self, capacity)
        self._end, self._merged = len(times), merged
        self._times[: self._end], self._values[: self._end] = times, values


@dataclass(slots=True)
class PulseState:
    """What is kept of a track. Picklable; about 120 kB with the default window."""

    samples: SampleBuffer
    due: float
    """Capture time of the next look."""
    reset: Reason | None
    """Why the state is new, until the window is full again."""


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


class Pulse(Node[PulseParams]):
    """Heart rate from skin colour on several regions, and how much it speaks for life.

    About once a second of capture time each track gives ``Evidence`` of the cue ``pulse``, with
    a value or with the reasons why it has none, and, where a window could be measured, the wave
    to draw. The ratio stays within about -1.5 to +1 nats: see :mod:`.pulse_evidence`. METHODS
    9.13.
    """

    Params = PulseParams

    cue = "pulse"

    @classmethod
    def contract(cls, params: PulseParams) -> Contract:
        """Takes skin samples; keeps its state by track."""
        return Contract(
            inputs={"skin": Port(SkinSample, "registered skin colours, every frame")},
            outputs={
                "evidence": Port(Evidence, "cue pulse, about once a second"),
                "trace": Port(PulseTrace, "the wave to draw; health data"),
            },
            state="track",
            max_gap=params.max_gap,
        )

    def new_state(self, begin: Begin) -> PulseState:
        """An empty window; remembers why, so that a short window can say it."""
        capacity = ceil((self.params.window + self.params.bridge) * FASTEST)
        return PulseState(
            samples=SampleBuffer(capacity),
            due=begin.time + self.params.period,
            reset=RESET_REASONS.get(begin.reason),
        )

    def process(
        self, port: str, packets: Sequence[Packet], states: Sequence[PulseState]
    ) -> Outputs:
        """Keep every sample; look at the window when it is time."""
        evidence: list[Packet] = []
        traces: list[Packet] = []
        for packet, state in zip(packets, states, strict=True):
            state.samples.append(packet.time, packet.payload)
            if packet.time < state.due - 1e-6:
                continue
            state.due = max(state.due, packet.time - self.params.period) + self.params.period
            found, trace = self._look(state, packet.time)
            evidence.append(packet.carry(found))
            if trace is not None:
                traces.append(packet.carry(trace))
        return {"evidence": evidence, "trace": traces}

    def _look(self, state: PulseState, now: float) -> tuple[Evidence, PulseTrace | None]:
        params = self.params
        stretch = newest_stretch(state.samples, now, params.window, params.bridge)
        if stretch.seconds < params.minimum:
            reasons = [Reason.WINDOW_TOO_SHORT, *stretch.cut]
            if state.reset is not None:
                reasons.append(state.reset)
            return _evidence(stretch, now, None, reasons, {}), None
        state.reset = None
        details = _conditions(stretch)
        regions = visible_regions(stretch, params.conditions.min_visible, params.bridge)
        reasons = failed_conditions(details, len(regions), params.conditions)
        if len(regions) < FEWEST_REGIONS:
            return _evidence(stretch, now, None, reasons, details), None
        sampled = sampled_colours(stretch, regions)
        times, even = self._even(stretch.times, sampled)
        count = len(regions)
        found = measure_pulse(even[:count], even[count] if len(even) > count else None, params.rate)
        bursts = burstiness(sampled[:count])
        logit = params.model.pulse_logit(found)
        visibility = params.model.visibility(found.noise, bursts)
        details |= _measured(found)
        details |= {"regions": count, "bursts": bursts}
        details |= {"pulse_logit": logit, "visibility": visibility}
        if params.model.light_flickers(found):
            reasons.append(Reason.LIGHT_FLICKERS)
        if logit <= 0 and bursts > params.model.bursts_half:
            reasons.append(Reason.TOO_COMPRESSED)
        ratio = None if reasons else params.model.ratio(logit, visibility)
        if ratio is not None and not np.isfinite(ratio):
            ratio, reasons = None, [Reason.NOT_A_NUMBER]
        trace = _trace(times, found, present=ratio is not None and logit > 0)
        return _evidence(stretch, now, ratio, [*reasons, *_doubts(found, logit)], details), trace

    def _even(self, times: np.ndarray, sampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Grid times (n,) and the colours (k, n, 3) on it."""
        rate = self.params.rate
        # A whole number of half seconds, so that few lengths occur and their factors are cached.
        halves = int(2 * min(times[-1] - times[0], self.params.window) + 1e-6)
        n = int(halves / 2 * rate)
        grid = times[-1] - np.arange(n - 1, -1, -1) / rate
        values = sampled.transpose(1, 0, 2).reshape(times.size, -1)
        even = resample(times, values, grid, self.params.bridge).values
        even = even.reshape(n, -1, 3).transpose(1, 0, 2)
        return grid, np.maximum(even, 0.5)  # black has no relative change


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


def _conditions(stretch: Stretch) -> dict[str, float]:
    values = stretch.values
    greens = values[:, COLOURS][:, 1::3]
    change = np.abs(np.diff(greens, axis=0))
    held = np.all((change < 1e-3) | ~np.isfinite(change), axis=1)
    size, exposure, clipped, yaw = np.median(values[:, [SIZE, EXPOSURE, CLIPPED, YAW]], axis=0)
    gaps = np.diff(stretch.times)
    return {
        "seconds": stretch.seconds,
        "samples_per_second": (stretch.times.size - 1) / stretch.seconds,
        "interpolated_share": float(gaps[gaps > 1.8 * np.median(gaps)].sum() / stretch.seconds),
        "size": float(size),
        "exposure": float(exposure),
        "clipped": float(clipped),
        "yaw": float(yaw),
        "motion": float(np.sqrt(np.square(values[:, MOTION]).mean())),
        "held_share": float(held.mean()),
    }


def failed_conditions(
    seen: dict[str, float], regions: int, conditions: PulseConditions
) -> list[Reason]:
    """Which conditions a window with so many visible regions does not meet."""
    few = regions < FEWEST_REGIONS
    turned = abs(seen["yaw"]) > conditions.max_yaw
    checks = {
        Reason.FRAME_RATE_TOO_LOW: seen["samples_per_second"] < conditions.min_rate,
        Reason.FACE_TOO_SMALL: seen["size"] < conditions.min_size,
        Reason.TOO_DARK: seen["exposure"] < conditions.min_exposure,
        Reason.TOO_BRIGHT: seen["exposure"] > conditions.max_exposure
        or (seen["clipped"] > conditions.max_clipped and seen["exposure"] >= 128),
        Reason.TOO_MUCH_MOTION: seen["motion"] > conditions.max_motion,
        Reason.FACE_NOT_FRONTAL: few and turned,
        Reason.FACE_OCCLUDED: few and not turned,
        Reason.TOO_COMPRESSED: seen["held_share"] > conditions.max_held,
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


def _measured(found: PulseMeasurement) -> dict[str, float]:
    named = {name: getattr(found, name) for name in PulseMeasurement.__slots__ if name != "wave"}
    return {name: float(value) for name, value in named.items() if value is not None}


def _doubts(found: PulseMeasurement, logit: float) -> list[Reason]:
    """What speaks against the line being a pulse."""
    doubts = []
    if logit <= 0:
        doubts.append(Reason.NO_PULSE_FOUND)
    if found.region_rate_share < 0.6:
        doubts.append(Reason.PULSE_REGIONS_DISAGREE)
    if found.method_distance_bpm > 6.0:
        doubts.append(Reason.PULSE_METHODS_DISAGREE)
    return doubts


def _evidence(
    stretch: Stretch,
    now: float,
    ratio: float | None,
    reasons: list[Reason],
    details: dict[str, float],
) -> Evidence:
    start = float(stretch.times[0]) if stretch.times.size else now
    codes = tuple(dict.fromkeys(reason.value for reason in reasons))
    return Evidence("pulse", (start, float(now)), ratio, codes, details=details)


def _trace(times: np.ndarray, found: PulseMeasurement, present: bool) -> PulseTrace:
    wave = (found.wave / max(float(found.wave.std()), 1e-12)).astype(np.float32)
    return PulseTrace(
        times=times,
        wave=wave,
        heart_rate=found.heart_rate_bpm if present else None,
        snr=found.snr_db if present else None,
    )
