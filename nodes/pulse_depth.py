"""The pulse in what the depth network sees, frame by frame: the node ``pulse_depth``.

The recurrent half of Liu, Jourabloo and Liu (CVPR 2018; METHODS 8.2 to 8.5), run across the stream:
each crop of a track goes through one step of a network (``trainers/networks/pulse_depth.py``),
which lays the depth network's features onto the canonical grid and gives one number of a wave.
About once a second the spectrum of the last seconds of the wave, at the true times, becomes
evidence. It wants crops at the camera's full rate (``align.cadence_hz`` and ``settled_hz``), and
each costs a run of the depth network: it is for those who have a GPU. :mod:`.pulse_net` finds a
pulse in colours at a fraction of that.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Interval

from ..graph.node import Begin, Port
from ..graph.packet import Packet
from .appearance import Reading
from .depth_net import STAGES
from .evidence import RESET_REASONS, Evidence, Reason
from .payloads import DepthFeatures
from .pulse_window import FASTEST
from .spectrum import pulse_frequencies, uneven_spectrum
from .track_steps import StepNode, StepParams, StepTrack, TrackSample, is_sound

WINDOW = 10.0
"""Seconds of the wave whose spectrum is looked at, at most."""
MINIMUM = 6.0
"""Seconds of it that are needed at least."""
LEAST_POWER = 1e-6
"""Added to the spectrum's power, which keeps its logarithm finite where there is no wave at all."""
_LATEST = 0.02
"""Seconds by which a look may come before it is due: capture times are rounded."""


class Beat(NamedTuple):
    """What a stretch of the wave says."""

    score: float
    """ln ||f||^2 of the spectrum f (METHODS 8.5): about 0 for the unit-norm spectrum of a pulse
    that the network was taught, far below for the zero of an attack."""
    frequency: float
    """Hz of the strongest line."""


@dataclass(frozen=True)
class PulseDepthParams(StepParams):
    """Settings of :class:`PulseDepth`."""

    max_gap: Annotated[float, Gt(0)] = 0.5
    """Longest time in seconds between two samples of a track that belong together. After a longer
    one the track starts afresh."""
    min_interval: Annotated[float, Interval(ge=0.0, le=0.5)] = 1 / FASTEST
    """Least time in seconds between two samples; one that comes earlier is passed over."""
    window: Annotated[float, Interval(ge=5.0, le=60.0)] = WINDOW
    """Seconds of capture time that are looked at, at most."""
    minimum: Annotated[float, Interval(ge=4.0, le=60.0)] = MINIMUM
    """Seconds without a long gap that are needed at least."""
    period: Annotated[float, Gt(0)] = 1.0
    """Seconds of capture time between two looks."""
    min_rate: Annotated[float, Gt(0)] = 10.0
    """Samples a second that are needed at least: at fewer a fast pulse would be folded into
    another."""


@dataclass(slots=True)
class PulseDepthTrack(StepTrack):
    """What is kept of a track. Picklable; 10 kB with the published sizes."""

    due: float = 0.0
    """Capture time of the next look."""
    times: deque[float] = field(default_factory=deque)
    """Capture times of the last seconds' samples."""
    waves: deque[float] = field(default_factory=deque)
    """The wave at these."""

    def forget(self, reason: str) -> None:
        """Start afresh; looks go on at their pace."""
        StepTrack.forget(self, reason)
        self.times.clear()
        self.waves.clear()


class PulseDepth(StepNode[PulseDepthParams]):
    """Evidence ``rppg_depth``: whether the features of a face beat; about once a second.

    Faces that the depth network did not see have the reasons of ``depth_net``. The network has no
    measure of strangeness of its own. The heart rate stands in the details, as health data.
    """

    Params = PulseDepthParams

    cue = "rppg_depth"
    own = "pulse_depth"
    state_names = ("mean", "hidden", "carry")
    takes = frozenset((*STAGES, "single", "places"))
    gives = frozenset({"wave"})

    @classmethod
    def ports(cls) -> dict[str, Port]:
        """Evidence."""
        return {"evidence": Port(Evidence, "cue rppg_depth, about once a second")}

    def new_state(self, begin: Begin) -> PulseDepthTrack:
        """Nothing seen; remembers why, so that a short window can say it."""
        reset = RESET_REASONS.get(begin.reason, "")
        return PulseDepthTrack(reset, due=begin.time + self.params.period)

    def given(self, features: DepthFeatures) -> dict[str, np.ndarray]:
        """And the places of the canonical grid."""
        return super().given(features) | {"places": features.places}

    def unseen(self, sample: TrackSample, reasons: tuple[str, ...]) -> Mapping[str, Packet]:
        """The reasons, when it is time."""
        return self._told(sample, reasons) if self._is_due(sample) else {}

    def seen(self, sample: TrackSample, found: Mapping[str, np.ndarray]) -> Mapping[str, Packet]:
        """Keep the wave; look at the last seconds of it when it is time."""
        track, now = _track(sample), sample.packet.time
        if is_sound(found):
            track.times.append(now)
            track.waves.append(float(found["wave"][0]))
        while track.times and track.times[0] < now - self.params.window - 1e-6:
            track.times.popleft()
            track.waves.popleft()
        if not self._is_due(sample):
            return {}
        return self._told(sample, self._lacking(track))

    def _is_due(self, sample: TrackSample) -> bool:
        track, now, period = _track(sample), sample.packet.time, self.params.period
        if now < track.due - _LATEST:
            return False
        track.due = max(track.due, now - period) + period
        return True

    def _lacking(self, track: PulseDepthTrack) -> tuple[str, ...]:
        """Why the window is worth nothing."""
        if not track.times:
            return (track.reset,)
        seconds = track.times[-1] - track.times[0]
        if seconds < self.params.minimum - _LATEST:
            reset = (track.reset,) if track.reset else ()
            return (Reason.WINDOW_TOO_SHORT.value, *reset)
        track.reset = ""
        if len(track.times) - 1 < self.params.min_rate * seconds:
            return (Reason.FRAME_RATE_TOO_LOW.value,)
        return ()

    def _told(self, sample: TrackSample, reasons: tuple[str, ...]) -> Mapping[str, Packet]:
        track, now = _track(sample), sample.packet.time
        window = (track.times[0] if track.times else now, now)
        if reasons:
            said = self.evidence(window, reasons, None)
        else:
            beat = beat_of(np.array(track.times), np.array(track.waves))
            details = {
                "heart_rate_bpm": 60.0 * beat.frequency,
                "samples": float(len(track.times)),
            }
            said = self.evidence(window, (), Reading(beat.score, None, {}), details)
        return {"evidence": sample.packet.carry(said)}


def beat_of(times: np.ndarray, waves: np.ndarray) -> Beat:
    """What a stretch of a wave says; the FFT layer and the score of METHODS 8.3 and 8.5.

    Args:
        times: float64 (n,), n >= 3, seconds, increasing.
        waves: float (n,).
    """
    frequencies = pulse_frequencies()
    power = np.abs(uneven_spectrum(times, waves, frequencies)) ** 2
    score = log(float(power.sum()) + LEAST_POWER)
    return Beat(score, float(frequencies[int(power.argmax())]))


def _track(sample: TrackSample) -> PulseDepthTrack:
    assert isinstance(sample.track, PulseDepthTrack)
    return sample.track
