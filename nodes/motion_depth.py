"""How a face's relief moves over the samples of its track: the node ``motion_depth``.

The multi-frame depth network of Wang et al. (FAS-TD, arXiv 1811.05118; FAS-SGTD, CVPR 2020), run
across the stream: each sample of a track goes through one step of the network, which is given what
it left behind at the sample before and the seconds in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated

import numpy as np
from annotated_types import Gt

from ..graph.node import NodeContext, Port
from ..graph.packet import Packet
from .appearance import Reading
from .depth_net import STAGES
from .evidence import Evidence, Reason
from .payloads import DepthMap
from .track_steps import StepNode, StepParams, TrackSample, is_sound


@dataclass(frozen=True)
class MotionDepthParams(StepParams):
    """Settings of :class:`MotionDepth`."""

    recall: Annotated[float, Gt(0)] = 3.0
    """Seconds that count as looked at, at most: about so far back the network remembers."""


class MotionDepth(StepNode[MotionDepthParams]):
    """Evidence ``motion``: what the samples of a track say together; and the refined depth map.

    A value comes with the second sample at the earliest: one picture shows no motion. Faces that
    the depth network did not see have the reasons of ``depth_net``. A track's state takes 60 kB
    with the shipped network.
    """

    Params = MotionDepthParams

    cue = "motion"
    own = "motion_depth"
    outputs_wanted = frozenset({"score", "strangeness", "depth"})
    state_names = ("reduced_1", "reduced_2", "reduced_3", "hidden")
    takes = frozenset((*STAGES, "single"))
    gives = outputs_wanted

    @classmethod
    def ports(cls) -> dict[str, Port]:
        """Evidence and map."""
        return {
            "evidence": Port(Evidence, "what the motion network says"),
            "depth": Port(DepthMap, "the relief as single pictures and motion show it"),
        }

    def open(self, context: NodeContext) -> None:
        """See :meth:`StepNode.open`."""
        self._wants_depth = context.wants("depth")
        super().open(context)

    def unseen(self, sample: TrackSample, reasons: tuple[str, ...]) -> Mapping[str, Packet]:
        """The reasons."""
        said = self.evidence(_window(sample, self.params.recall), reasons, None)
        return {"evidence": sample.packet.carry(said)}

    def seen(self, sample: TrackSample, found: Mapping[str, np.ndarray]) -> Mapping[str, Packet]:
        """Evidence, and the map where something takes it."""
        reading = _reading(found)
        given = {"evidence": sample.packet.carry(self._said(sample, reading))}
        if self._wants_depth and isfinite(reading.score):
            given["depth"] = sample.packet.carry(DepthMap(found["depth"][0]))
        return given

    def _said(self, sample: TrackSample, reading: Reading) -> Evidence:
        track = sample.track
        window = _window(sample, self.params.recall)
        if not isfinite(reading.score):
            return self.evidence(window, (), reading)
        if track.samples < 2:
            reset = (track.reset,) if track.reset else ()
            return self.evidence(window, (Reason.WINDOW_TOO_SHORT.value, *reset), None)
        track.reset = ""
        return self.evidence(window, (), reading, {"samples": float(track.samples)})


def _window(sample: TrackSample, recall: float) -> tuple[float, float]:
    now, track = sample.packet.time, sample.track
    first = now if track.time is None else track.first
    return max(first, now - recall), now


def _reading(outputs: Mapping[str, np.ndarray]) -> Reading:
    score = float(outputs["score"][0]) if is_sound(outputs) else float("nan")
    return Reading(score, float(outputs["strangeness"][0]), outputs)
