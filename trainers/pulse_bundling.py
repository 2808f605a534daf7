"""From a trained pulse network to a bundle: export as a step, calibrate, measure, write."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engines.bundle import About, Bundle, Calibration, Manifest, Metric, Training, write_bundle
from ..engines.engine import Engine, open_network
from ..engines.network import Network, Options, TensorSpec
from ..engines.store import file_sha256
from ..nodes.pulse_net import CALIBRATION
from ..nodes.skin_cells import MOTIONS, cell_count
from ..nodes.spectrum import HALF_WIDTH_BPM
from ..nodes.wave_evidence import (
    WaveMeasurement,
    WaveModel,
    log_strength,
    measure_waves,
    strongest_line,
)
from .bundling import LICENCE, VERSION
from .export import BACKENDS, TOLERANCE, write_onnx
from .networks.pulse import PulseNetwork
from .pulse_calibration import SMOOTH, fit_logistic
from .pulse_pictures import film_traces
from .pulse_recipe import PulseRecipe, pulse_recipe_text
from .pulse_steps import as_steps
from .pulse_traces import Traces, draw_traces
from .pulse_training import HELD_OUT, TrainedPulse
from .pulse_windows import SETTLED, wave_window, waves_of
from .recipe import TrainingFailed
from .weights import ROLE as WEIGHTS
from .weights import save_weights

LENGTHS = (6.0, 8.0, 10.0)
"""Seconds of the windows that the node looks at."""
PARITY_STEPS = 50
LIVING_WITHOUT_PULSE = 0.4
"""Share of living faces whose pulse the network does not show although the noise would allow it: a
judgement, from 13 of 40 rendered living faces whose heart rate it missed (docs/RESULTS.md), and
faces with make-up or cold skin besides. More than the pulse cue's 0.155, since a face that moves
much or is filmed slowly makes the network doubt. Caps the ratio at -0.54 and +0.64 nats."""
SLOWEST = 10.0
"""Frames a second under which the node says nothing, so that no such clip takes part."""
INPUTS = ("change", "seen", "motion", "seconds", "memory")
OUTPUTS = ("wave", "waves", "attention", "remembered")
DATA = "synthetic traces of skin cells and small filmed pictures, drawn by the recipe's seed"
FACES = "rendered faces, made from two public-domain portraits, by the recipe's seed"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Window:
    """One measured window of a clip."""

    kind: str
    true_bpm: float | None
    """None: no pulse in it."""
    filmed: bool
    found: WaveMeasurement

    @property
    def hit(self) -> bool:
        """There is a pulse, and the line found is it."""
        if self.true_bpm is None:
            return False
        return abs(self.true_bpm - self.found.heart_rate_bpm) <= HALF_WIDTH_BPM


def make_pulse_bundle(trained: TrainedPulse, out: Path | str, *, say: Say = print) -> Bundle:
    """Export the step network, hold it against PyTorch, calibrate it and write its bundle.

    Args:
        trained: from :func:`padflow.trainers.pulse_training.train_pulse`.
        out: the bundle's folder.
        say: takes a line for each part of the work.

    Raises:
        TrainingError: the exported file differs from the network.
    """
    network, recipe = trained.network, trained.recipe
    with tempfile.TemporaryDirectory(prefix="padflow-export-") as place:
        exported = to_step(network, Path(place) / f"{recipe.name}.onnx")
        differences = check_step_parity(network, exported)
        say("calibrating")
        fitted_on = measured_windows(network, recipe, 2 * HELD_OUT)
        model = fit_wave_model(fitted_on)
        tested_on = measured_windows(network, recipe, 3 * HELD_OUT)
        metrics = [*_metrics(model, tested_on), *_parity(differences)]
        for metric in metrics:
            say(f"{metric.name}: {metric.value:.3g} {metric.unit}")
        manifest = _manifest(trained, model, metrics)
        kept = save_weights(network, Path(place) / f"{recipe.name}-weights.npz")
        return write_bundle(out, manifest, {"f32": exported.path, WEIGHTS: kept})


def step_specs(network: PulseNetwork) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a step, for a manifest."""
    cells, size = network.cells, network.memory_size

    def spec(name: str, shape: tuple[int, ...], layout: str, unit: str, meaning: str) -> TensorSpec:
        return TensorSpec(name, "float32", (-1, *shape), layout, unit, meaning)

    memory = "what the network remembers of a track; zeros at first"
    inputs = (
        spec(
            "change", (cells + 1, 3), "NKC", "", "log ratio of R, G, B of cells and, last, beside"
        ),
        spec("seen", (cells + 1,), "NK", "", "1 where a cell was seen in both frames, else 0"),
        spec("motion", (MOTIONS,), "NC", "", "change of yaw, pitch, roll in 10 degrees, and speed"),
        spec("seconds", (), "N", "s", "since the step before"),
        spec("memory", (size,), "NS", "", memory),
    )
    outputs = (
        spec("wave", (), "N", "", "the face's pulse wave; its size is how sure the network is"),
        spec("waves", (cells,), "NK", "", "the same of each cell by itself"),
        spec("attention", (cells,), "NK", "", "weights of the cells, sum 1"),
        spec("remembered", (size,), "NS", "", "memory for the next step"),
    )
    return inputs, outputs


def to_step(network: PulseNetwork, path: Path) -> Network:
    """Write the step network as f32 ONNX for any number of tracks."""
    given = _first_step(network, 2)
    write_onnx(network.eval(), given, path, inputs=INPUTS, outputs=OUTPUTS)
    inputs, outputs = step_specs(network)
    return Network(path.stem, path, file_sha256(path), inputs, outputs)


def _first_step(network: PulseNetwork, count: int) -> tuple[torch.Tensor, ...]:
    traces = draw_traces(np.random.default_rng(0), count, rate=25.0, seconds=1.0)
    parts = (traces.change, traces.seen, traces.motion, traces.seconds)
    return *(torch.from_numpy(part[:, 1]) for part in parts), network.fresh(count)


def check_step_parity(network: PulseNetwork, exported: Network) -> dict[str, float]:
    """Hold the exported step, run over clips, against the whole-clip network, on every backend.

    Returns:
        the largest difference of a wave by backend.

    Raises:
        TrainingError: a difference is above the tolerance; says on which backend.
    """
    traces = draw_traces(np.random.default_rng(1), 4, rate=25.0, seconds=PARITY_STEPS / 25.0)
    parts = [traces.change, traces.seen, traces.motion, traces.seconds]
    with torch.inference_mode():
        face, cells, _ = network.clip(*(torch.from_numpy(part) for part in parts))
    wanted = np.concatenate([face[..., None].numpy(), cells.numpy()], axis=2)
    differences = {}
    for backend in BACKENDS:
        with open_network(exported, backend, Options(precision="f32")) as engine:
            found = run_steps(engine, traces)
        worst = float(np.abs(found - wanted).max())
        if not worst <= TOLERANCE:
            raise TrainingFailed(
                f"{exported.path.name}: expected the waves of the whole-clip network within "
                f"{TOLERANCE:g}, found {worst:.2g} off on {backend}"
            )
        differences[backend] = worst
    return differences


def run_steps(engine: Engine, traces: Traces) -> np.ndarray:
    """Waves (N, T, 1 + K) of clips, step by step: the face's, then the cells'."""
    size = next(spec for spec in engine.inputs if spec.name == "memory").shape[1]
    memory = np.zeros((len(traces.times), size), np.float32)
    waves = []
    for index in range(traces.times.shape[1]):
        parts = (traces.change, traces.seen, traces.motion, traces.seconds)
        now = (np.ascontiguousarray(part[:, index]) for part in parts)
        given = engine.infer(dict(zip(INPUTS, (*now, memory), strict=True)))
        memory = given["remembered"]
        waves.append(np.concatenate([given["wave"][:, None], given["waves"]], axis=1))
    return np.stack(waves, axis=1)


def measured_windows(network: PulseNetwork, recipe: PulseRecipe, shift: int) -> list[Window]:
    """What the node would measure on clips by another seed, ``shift`` off the recipe's."""
    windows: list[Window] = []
    for index in range(recipe.calibration_drawn + recipe.calibration_filmed):
        rng = np.random.default_rng((recipe.seed + shift, index))
        rate = float(np.exp(rng.uniform(np.log(SLOWEST), np.log(60.0))))
        length = float(rng.choice(LENGTHS))
        filmed = index >= recipe.calibration_drawn
        make = film_traces if filmed else draw_traces
        traces = as_steps(make(rng, recipe.batch, rate=rate, seconds=length + SETTLED))
        windows += windows_of(network, traces, filmed)
    return windows


def windows_of(network: PulseNetwork, traces: Traces, filmed: bool = False) -> list[Window]:
    """The last seconds of each clip, but its first second, as the node measures them."""
    parts = (traces.change, traces.seen, traces.motion, traces.seconds)
    windows = []
    for index, clip in enumerate(waves_of(network, traces.times, *parts)):
        last = float(clip.times[-1])
        window = wave_window(clip, last - max(LENGTHS), last)
        true = None
        if traces.alive[index]:
            wave = traces.wave[index, np.isin(clip.times, window.times)]
            true = strongest_line(window.times, wave.astype(np.float64))
        found = measure_waves(window)
        windows.append(Window(str(traces.kind[index]), true, filmed, found))
    return windows


def fit_wave_model(windows: Sequence[Window]) -> WaveModel:
    """The constants of the ratio, fitted as those of the pulse cue are.

    Logistic regressions between windows in which the pulse was found and windows without one, and
    of whether it is found by noise. The share of attacks with a pulse is the pulse cue's, that of
    living faces without one is :data:`LIVING_WITHOUT_PULSE`: no trace can tell them.

    Raises:
        TrainingError: no pulse was found, or there is no window without one.
    """
    start = WaveModel(intercept=0.0, per_log_strength=0.0, per_snr_db=0.0, per_agreement=0.0)
    steady = [w for w in windows if not start.light_flickers(w.found)]
    clear = [w for w in steady if w.hit or w.true_bpm is None]
    features = np.array([_features(w.found) for w in clear])
    hits = np.array([w.hit for w in clear])
    if hits.all() or not hits.any():
        raise TrainingFailed(
            f"pulse network: of {len(hits)} windows to calibrate on {hits.sum()} hold a pulse that "
            "was found: some of both are needed; train longer or calibrate on more clips"
        )
    # What sees a pulse may not speak against it, whatever correlates with it on drawn skin.
    intercept, per = fit_logistic(features, hits, balanced=True, least=0.0)
    living = [w for w in steady if w.true_bpm is not None and w.found.bursts < SMOOTH]
    decades = np.log10([[max(w.found.noise, 1e-12)] for w in living])
    level, slope = fit_logistic(decades, np.array([w.hit for w in living]), balanced=False)
    steepness = max(float(-slope[0]), 0.1)
    return WaveModel(
        intercept=intercept,
        per_log_strength=float(per[0]),
        per_snr_db=float(per[1]),
        per_agreement=float(per[2]),
        noise_half=float(10 ** (level / steepness)),
        noise_steepness=steepness,
        living_without_pulse=LIVING_WITHOUT_PULSE,
    )


def _features(found: WaveMeasurement) -> tuple[float, float, float]:
    return log_strength(found), found.snr_db, found.agreement


def ratio_of(model: WaveModel, found: WaveMeasurement) -> float | None:
    """The ratio that the node would give; None where the light flickers."""
    if model.light_flickers(found):
        return None
    return model.ratio(model.pulse_logit(found), model.visibility(found.noise, found.bursts))


def _metrics(model: WaveModel, windows: Sequence[Window]) -> list[Metric]:
    found = []
    for filmed, name, data in ((False, "drawn", "drawn traces"), (True, "filmed", "filmed skin")):
        some = [w for w in windows if w.filmed == filmed]
        living = [w for w in some if w.true_bpm is not None]
        if not living:
            continue
        misses = [abs((w.true_bpm or 0.0) - w.found.heart_rate_bpm) for w in living]
        values: dict[str, tuple[float, str, str]] = {
            "mae_bpm": (float(np.mean(misses)), "1/min", "mean absolute error of the heart rate"),
            "found": (
                float(np.mean([w.hit for w in living])),
                "1",
                "heart rates within 6 a minute",
            ),
        }
        for kind in sorted({w.kind for w in some}):
            ratios = [ratio_of(model, w.found) for w in some if w.kind == kind]
            valued = [ratio for ratio in ratios if ratio is not None]
            method = "median ratio of the windows that have one"
            if valued:
                values[f"llr_{kind}"] = (float(np.median(valued)), "nats", method)
        told = f"{len(some)} windows of 6 to 10 s of {data}, 10 to 60 frames a second"
        for key, (value, unit, method) in values.items():
            found.append(
                Metric(name=f"{key}_{name}", value=value, unit=unit, data=told, method=method)
            )
    return found


def _parity(differences: dict[str, float]) -> list[Metric]:
    return [
        Metric(
            name=f"difference_{backend}",
            value=value,
            unit="1",
            data=f"4 drawn clips of {PARITY_STEPS} frames",
            method="largest difference of a wave between steps and the whole clip in PyTorch",
        )
        for backend, value in differences.items()
    ]


def _manifest(trained: TrainedPulse, model: WaveModel, metrics: Sequence[Metric]) -> Manifest:
    recipe = trained.recipe
    inputs, outputs = step_specs(trained.network)
    settings: dict[str, Any] = {"minutes": round(trained.minutes, 2), "cells": cell_count()}
    parameters: dict[str, float] = asdict(model)
    return Manifest(
        about=About(
            name=recipe.name.replace(" ", "_").lower(),
            version=VERSION,
            task=recipe.task,
            licence=LICENCE,
        ),
        inputs=inputs,
        outputs=outputs,
        training=Training(
            data=(DATA, FACES) if recipe.faced else (DATA,),
            recipe=pulse_recipe_text(recipe),
            seed=recipe.seed,
            settings=settings,
        ),
        metrics=tuple(metrics),
        calibration=Calibration(
            method=CALIBRATION,
            parameters=parameters,
            fitted_on="clips drawn and filmed by another seed than the training's",
        ),
        files={},
    )
