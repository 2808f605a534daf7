"""The pulse as a network sees it, across the stream: the node ``pulse_net``.

A recurrent network (``trainers/networks/pulse.py``) makes of every frame's skin a wave for each
cell and one for the face, step by step with a memory that this node keeps by track. About once a
second the waves' spectra over the last seconds become evidence: :mod:`.wave_evidence`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Interval

from ..engines import BundleError, Engine
from ..engines.network import Precision
from ..graph.node import Begin, NodeContext
from ..graph.packet import Packet
from .evidence import Reason
from .own_engine import open_engine
from .payloads import PulseTrace, SkinSample
from .pulse_node import Judgement, PulseNode, PulseState, WindowParams
from .pulse_window import BACKGROUND, COLUMNS, Stretch
from .skin_cells import SkinBefore, cell_count, remembered, skin_change
from .wave_evidence import WaveMeasurement, WaveModel, measure_waves

_SETTLED = 1.0
"""Seconds after which a network that knew nothing of the track is believed."""
_CLOCK_SLACK = 0.002
"""Seconds by which a frame may come before its time: timestamps are rounded to milliseconds."""
_FIRST_STEP = 1 / 30
"""Seconds that the first step of a memory is said to take."""
CALIBRATION = "pulse waves"
"""Method that the bundle's calibration must name; its parameters are a :class:`WaveModel`."""

_INPUTS = ("change", "seen", "motion", "seconds", "memory")
_OUTPUTS = ("wave", "waves", "attention", "remembered")


@dataclass(frozen=True)
class PulseNetParams(WindowParams):
    """Settings of :class:`PulseNet`."""

    minimum: Annotated[float, Interval(ge=4.0, le=60.0)] = 7.0
    """Seconds without a long gap that are needed at least; the first is for settling."""
    min_interval: Annotated[float, Interval(ge=0.0, le=0.2)] = 0.06
    """Least time in seconds between two steps; what comes earlier is passed over. A heart beats at
    most four times a second, so that 12 to 16 steps a second show its wave, and the network was
    trained on 5 to 60 frames a second; 0 takes every frame."""
    engine: str = ""
    """Name or folder of the bundle; empty: the node's own, which padflow ships. Where its own is
    not on this machine the cue says ``engine_missing``; any other must be there."""
    backend: str = "onnxruntime"
    """``auto``, or the name of a backend. A step is so small that it is the calls that cost: ONNX
    Runtime takes a third of OpenVINO's time."""
    precision: Precision = "f32"
    """f32 is what was measured and calibrated."""
    threads: Annotated[int, Ge(1)] = 1
    """CPU threads of the network."""


@dataclass(slots=True)
class PulseNetState(PulseState):
    """What is kept of a track. Picklable; about 280 kB with the default window."""

    memory: np.ndarray | None = None
    """float32 (1, S): the network's; None where it knows nothing."""
    before: SkinBefore | None = None
    seen: float = 0.0
    """Capture time of the last step."""
    began: float = 0.0
    """Capture time of the memory's first step."""
    colour: np.ndarray | None = None
    """float64 (K,): green against red and blue of each cell, summed up."""
    brightness: float = 0.0
    """Logarithm of the face's brightness, summed up."""


class PulseNet(PulseNode[PulseNetParams]):
    """Heart rate and evidence by the pulse network; cue ``rppg``. METHODS 8, 9.12, 9.13.

    Each face is a call of its own, so that nothing depends on who else is in the picture: a step
    is small, and a batch would have to wait for other streams' frames.
    """

    Params = PulseNetParams

    cue = "rppg"
    own = "pulse_net"

    _engine: Engine | None = None
    _tell_missing: Callable[[], None] | None = None

    def __init__(self, params: PulseNetParams) -> None:
        super().__init__(params)
        self._cells = cell_count()
        self.extra = 3 + 2 * self._cells

    def open(self, context: NodeContext) -> None:
        """Load the network.

        Raises:
            EngineError: it cannot be loaded, or is no network of this kind.
        """
        found = open_engine(self.params, self.own, self.cue)
        if isinstance(found, str):
            self._tell_missing = partial(context.notice, found)
            return
        try:
            self._memory_size = _checked(found, self._cells)
            self._model = _calibrated(found)
        except BundleError:
            found.close()
            raise
        self._engine = found

    def close(self) -> None:
        """Give the network back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def new_state(self, begin: Begin) -> PulseNetState:
        """See :class:`PulseNode`."""
        fresh = super().new_state(begin)
        return PulseNetState(fresh.samples, fresh.due, fresh.reset)

    def engine_told(self) -> tuple[str, str]:
        """The pulse network."""
        return (self._engine.name, self._engine.sha256) if self._engine else ("", "")

    def unable(self) -> Reason | None:
        """Without its network."""
        if self._engine is not None:
            return None
        if self._tell_missing is not None:
            self._tell_missing()
            self._tell_missing = None
        return Reason.ENGINE_MISSING

    def observe(self, packet: Packet, state: PulseState) -> np.ndarray | None:
        """A step of the network: the memory's age, the waves, brightness and the cells' colour.

        None where the sample is not usable or comes too soon after the last step.
        """
        sample: SkinSample = packet.payload
        if self._engine is None or not sample.usable:
            return None
        assert isinstance(state, PulseNetState)
        seconds = packet.time - state.seen
        if state.memory is not None and 0 <= seconds < self.params.min_interval - _CLOCK_SLACK:
            return None
        if state.memory is None or state.before is None or seconds > self.params.bridge:
            self._forget(state, packet)
            seconds = _FIRST_STEP
        before, memory, summed = state.before, state.memory, state.colour
        assert before is not None
        assert memory is not None
        assert summed is not None
        moved = skin_change(before, sample)
        given = self._engine.infer(
            {
                "change": moved.change[None],
                "seen": moved.seen[None],
                "motion": moved.motion[None],
                "seconds": np.array([seconds], np.float32),
                "memory": memory,
            }
        )
        state.before, state.seen = remembered(sample), packet.time
        kept = given["remembered"]
        state.memory = kept if np.isfinite(kept).all() else None
        change = moved.change[:-1].astype(np.float64)
        state.colour = summed + change @ (-0.5, 1.0, -0.5)
        total = max(float(moved.seen[:-1].sum()), 1.0)
        state.brightness += float(change.mean(axis=1).sum()) / total
        waves = np.where(moved.seen[:-1] > 0, given["waves"][0], np.nan)
        age = packet.time - state.began
        return np.concatenate([(age, given["wave"][0], state.brightness), waves, state.colour])

    def _forget(self, state: PulseNetState, packet: Packet) -> None:
        """Begin a memory with this sample: against itself nothing has changed."""
        state.memory = np.zeros((1, self._memory_size), np.float32)
        state.before = remembered(packet.payload)
        state.colour, state.brightness = np.zeros(self._cells), 0.0
        state.began = packet.time

    def judge(self, stretch: Stretch, regions: list[int], failed: list[Reason]) -> Judgement:
        """Measure the window's waves; see :class:`PulseNode`."""
        # False also of NaN: of a frame that was passed over.
        settled = stretch.values[:, COLUMNS] >= _SETTLED - 1e-3
        values, times = stretch.values[settled].astype(np.float64), stretch.times[settled]
        if times.size < 3 or times[-1] - times[0] < self.params.minimum - _SETTLED - 1e-3:
            return Judgement(None, [Reason.WINDOW_TOO_SHORT, *failed], {})
        cells, colour = np.split(values[:, COLUMNS + 3 :].T, 2)
        wave, brightness = values[:, COLUMNS + 1 : COLUMNS + 3].T
        beside = values[:, BACKGROUND].mean(axis=1)
        seen = np.isfinite(beside).all() and beside.min() > 0
        wall = np.log(beside) if seen else None
        found = measure_waves(times, wave, cells, colour, brightness, wall)
        return self._worth(found, failed, times, wave)

    def _worth(
        self, found: WaveMeasurement, failed: list[Reason], times: np.ndarray, wave: np.ndarray
    ) -> Judgement:
        model, reasons = self._model, list(failed)
        logit = model.pulse_logit(found)
        visibility = model.visibility(found.noise, found.bursts)
        if model.light_flickers(found):
            reasons.append(Reason.LIGHT_FLICKERS)
        if logit <= 0 and found.bursts > model.bursts_half:
            reasons.append(Reason.TOO_COMPRESSED)
        ratio = None if reasons else model.ratio(logit, visibility)
        if logit <= 0:
            reasons.append(Reason.NO_PULSE_FOUND)
        details = found.named() | {"pulse_logit": logit, "visibility": visibility}
        present = ratio is not None and logit > 0
        trace = PulseTrace(
            times=times,
            wave=(wave / max(float(wave.std()), 1e-12)).astype(np.float32),
            heart_rate=found.heart_rate_bpm if present else None,
            snr=found.snr_db if present else None,
        )
        return Judgement(ratio, reasons, details, trace)


def _checked(engine: Engine, cells: int) -> int:
    """Length of the network's memory.

    Raises:
        BundleError: it is no pulse network, or one for other cells.
    """
    inputs = {spec.name: spec for spec in engine.inputs}
    outputs = {spec.name for spec in engine.outputs}
    if set(inputs) != set(_INPUTS) or outputs != set(_OUTPUTS):
        raise BundleError(
            f"engine {engine.name}: expected the inputs {', '.join(_INPUTS)} and the outputs "
            f"{', '.join(_OUTPUTS)}, found {', '.join(inputs)} and {', '.join(sorted(outputs))}; "
            "give a bundle that was trained for this node"
        )
    if inputs["seen"].shape[1] != cells + 1:
        raise BundleError(
            f"engine {engine.name}: expected a network for {cells} cells of skin, found "
            f"{inputs['seen'].shape[1] - 1}; train it anew"
        )
    return int(inputs["memory"].shape[1])


def _calibrated(engine: Engine) -> WaveModel:
    """The calibration in the manifest.

    Raises:
        BundleError: it has none, of another kind, or with other parameters.
    """
    calibration = engine.manifest.calibration if engine.manifest else None
    if calibration is None or calibration.method != CALIBRATION:
        found = "none" if calibration is None else f"{calibration.method!r}"
        raise BundleError(
            f"engine {engine.name}: expected a calibration {CALIBRATION!r} in its manifest, found "
            f"{found}; give the folder of a calibrated bundle"
        )
    values: dict[str, Any] = {name: float(v) for name, v in calibration.parameters.items()}
    names = {field.name for field in fields(WaveModel)}
    if set(values) != names:
        raise BundleError(
            f"engine {engine.name}: expected the calibration parameters "
            f"{', '.join(sorted(names))}, found {', '.join(sorted(values))}; calibrate it anew"
        )
    return WaveModel(**values)
