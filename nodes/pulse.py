"""Pulse: from registered skin colours to evidence for or against life, about once a second."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Interval

from .evidence import Reason
from .payloads import PulseTrace
from .pulse_evidence import PulseMeasurement, PulseModel, burstiness, measure_pulse
from .pulse_node import Judgement, PulseNode, PulseState, WindowParams
from .pulse_window import Stretch, sampled_colours
from .spectrum import resample


@dataclass(frozen=True)
class PulseParams(WindowParams):
    """Settings of :class:`Pulse`."""

    rate: Annotated[float, Interval(ge=20.0, le=120.0)] = 30.0
    """Samples a second of the even grid that the methods work on."""
    model: PulseModel = field(default_factory=PulseModel)
    """From measurements to a ratio."""


class Pulse(PulseNode[PulseParams]):
    """Heart rate from skin colour on several regions, and how much it speaks for life.

    About once a second of capture time each track gives ``Evidence`` of the cue ``pulse``, with
    a value or with the reasons why it has none, and, where a window could be measured, the wave
    to draw. The ratio stays within about -1.5 to +1 nats: see :mod:`.pulse_evidence`. METHODS
    9.13.
    """

    Params = PulseParams

    cue = "pulse"

    def judge(
        self, state: PulseState, stretch: Stretch, regions: list[int], failed: list[Reason]
    ) -> Judgement:
        """Measure the window's pulse; see :class:`PulseNode`."""
        params, reasons = self.params, list(failed)
        sampled = sampled_colours(stretch, regions)
        times, even = self._even(stretch.times, sampled)
        count = len(regions)
        found = measure_pulse(even[:count], even[count] if len(even) > count else None, params.rate)
        bursts = burstiness(sampled[:count])
        logit = params.model.pulse_logit(found)
        visibility = params.model.visibility(found.noise, bursts)
        details = _measured(found)
        details |= {"regions": count, "bursts": bursts}
        details |= {"pulse_logit": logit, "visibility": visibility}
        if params.model.light_flickers(found):
            reasons.append(Reason.LIGHT_FLICKERS)
        if logit <= 0 and bursts > params.model.bursts_half:
            reasons.append(Reason.TOO_COMPRESSED)
        ratio = None if reasons else params.model.ratio(logit, visibility)
        trace = _trace(times, found, present=ratio is not None and logit > 0)
        return Judgement(ratio, [*reasons, *_doubts(found, logit)], details, trace)

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


def _trace(times: np.ndarray, found: PulseMeasurement, present: bool) -> PulseTrace:
    wave = (found.wave / max(float(found.wave.std()), 1e-12)).astype(np.float32)
    return PulseTrace(
        times=times,
        wave=wave,
        heart_rate=found.heart_rate_bpm if present else None,
        snr=found.snr_db if present else None,
    )
