"""The pulse as a network sees it, across the stream: the node ``pulse_net``.

A recurrent network (``trainers/networks/pulse.py``) makes of the skin a wave for each cell and one
for the face, step by step (:mod:`.skin_steps`) with a memory that this node keeps by track. About
once a second the waves' spectra over the last seconds become evidence: :mod:`.wave_evidence`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
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
from .pulse_window import COLUMNS, Stretch
from .skin_cells import cell_count
from .skin_steps import SHORTEST, AreaColours, SkinStep, SkinSteps
from .wave_evidence import LEAST_SEEN, WaveMeasurement, WaveModel, WaveWindow, measure_waves

_SETTLED = 1.0
"""Seconds after which a network that knew nothing of the track is believed."""
CALIBRATION = "pulse waves"
"""Method that the bundle's calibration must name; its parameters are a :class:`WaveModel`."""

_LATEST = 0.2
"""Seconds by which the first and the last step may be off the ends of the window."""
_OWN = 8
"""Columns of a step before those of the cells: its age and how long ago it was, in seconds; the
face's wave; brightness of the face and beside it; yaw, pitch and roll. Each cell has its wave and,
behind all waves, three colours."""
_INPUTS = ("change", "seen", "motion", "seconds", "memory")
_OUTPUTS = ("wave", "waves", "attention", "remembered")


@dataclass(frozen=True)
class PulseNetParams(WindowParams):
    """Settings of :class:`PulseNet`."""

    minimum: Annotated[float, Interval(ge=4.0, le=60.0)] = 7.0
    """Seconds without a long gap that are needed at least; the first is for settling."""
    min_interval: Annotated[float, Interval(ge=0.0, le=0.2)] = SHORTEST
    """Seconds that a step of the network takes at least: frames are brought together until then
    (:mod:`.skin_steps`). 0 makes a step of every frame, which the network was not trained on."""
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
    """What is kept of a track. Picklable; 250 kB at 25 frames a second, 450 at 50."""

    memory: np.ndarray | None = None
    """float32 (1, S): the network's; None where it knows nothing."""
    seen: float = 0.0
    """Capture time of the last frame that was looked at."""
    steps: SkinSteps = field(default_factory=SkinSteps)
    areas: AreaColours = field(default_factory=lambda: AreaColours(0.0))
    began: float = 0.0
    """Capture time of the memory's first frame."""
    colours: np.ndarray | None = None
    """float64 (K, 3): logarithms of R, G, B of each cell, summed up."""
    pose: np.ndarray | None = None
    """float64 (3,): yaw, pitch and roll, summed up."""
    brightness: float = 0.0
    """Logarithm of the face's brightness, summed up."""
    beside: float = 0.0
    """The same of what is beside the face."""


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
        self.extra = _OWN + 4 * self._cells

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
        """What the network makes of the step that ends with this frame; None where none does."""
        sample: SkinSample = packet.payload
        if self._engine is None or not sample.usable:
            return None
        assert isinstance(state, PulseNetState)
        if state.memory is None or packet.time - state.seen > self.params.bridge:
            self._forget(state, packet)
        state.seen = packet.time
        step = state.steps.take(packet.time, sample)
        if step is None:
            return None
        return self._stepped(self._engine, step, state)

    def _stepped(self, engine: Engine, step: SkinStep, state: PulseNetState) -> np.ndarray:
        moved = step.moved
        state.areas.append(step.time, step.areas)
        memory, colours, pose = state.memory, state.colours, state.pose
        assert memory is not None
        assert colours is not None
        assert pose is not None
        given = engine.infer(
            {
                "change": moved.change[None],
                "seen": moved.seen[None],
                "motion": moved.motion[None],
                "seconds": np.array([step.seconds], np.float32),
                "memory": memory,
            }
        )
        kept = given["remembered"]
        state.memory = kept if np.isfinite(kept).all() else None  # then it begins anew
        change = moved.change.astype(np.float64)
        state.colours, state.pose = colours + change[:-1], pose + moved.motion[:-1]
        total = max(float(moved.seen[:-1].sum()), 1.0)
        state.brightness += float(change[:-1].mean(axis=1).sum()) / total
        state.beside += float(change[-1].mean())
        beside = state.beside if moved.seen[-1] > 0 else np.nan
        waves = np.where(moved.seen[:-1] > 0, given["waves"][0], np.nan)
        own = (step.time - state.began, state.seen - step.time, given["wave"][0])
        light = (state.brightness, beside)
        return np.concatenate([own, light, state.pose, waves, state.colours.ravel()])

    def _forget(self, state: PulseNetState, packet: Packet) -> None:
        """Begin a memory with this sample."""
        state.memory = np.zeros((1, self._memory_size), np.float32)
        state.steps = SkinSteps(self.params.min_interval)
        state.areas = AreaColours(self.params.window + self.params.bridge)
        state.colours, state.pose = np.zeros((self._cells, 3)), np.zeros(3)
        state.brightness, state.beside = 0.0, 0.0
        state.began = packet.time

    def judge(
        self, state: PulseState, stretch: Stretch, regions: list[int], failed: list[Reason]
    ) -> Judgement:
        """Measure the window's waves; see :class:`PulseNode`."""
        assert isinstance(state, PulseNetState)
        settled = stretch.values[:, COLUMNS] >= _SETTLED - 1e-3  # NaN, where no step ended, is not
        values = stretch.values[settled, COLUMNS:].astype(np.float64)
        times = stretch.times[settled] - values[:, 1]
        if times.size < 3 or times[-1] - times[0] < self.params.minimum - _SETTLED - _LATEST:
            return Judgement(None, [Reason.WINDOW_TOO_SHORT, *failed], {})
        wave, brightness, beside, *pose = values[:, 2:_OWN].T
        cells, colours = np.split(values[:, _OWN:].T, [self._cells])
        colours = colours.reshape(self._cells, 3, -1).transpose(0, 2, 1)
        wall = beside if np.isfinite(beside).all() else None
        areas = state.areas.at(times, LEAST_SEEN)
        window = WaveWindow(times, wave, cells, colours, np.stack(pose), brightness, wall, areas)
        found = measure_waves(window)
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
