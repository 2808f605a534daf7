"""From a trained step network to its bundle: export, measure, calibrate, write."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...engines.bundle import About, Bundle, Calibration, Manifest, Metric, Training, write_bundle
from ...engines.engine import open_network
from ...engines.network import Network, Options
from ...nodes.track_steps import BACKBONE
from ..bundling import LICENCE, VERSION
from ..calibration import Fit, ScoredCrops, fit_calibration
from ..recipe import TrainingFailed
from ..weights import ROLE, save_weights
from .batches import even_samples, intervals_of
from .exporting import Step, check_steps, motion_step, run_steps, step_to_onnx
from .measures import SteppedScores, score_sequences
from .recipe import MOTION
from .report import Figure, figures
from .running import N, R, Trained
from .stages import prepare, seen
from .store import SequenceRow, StoredSequence
from .training import TrainedMotion

Say = Callable[[str], None]

TIMED_STEPS = 60
PARITY_TRACKS = 4
PARITY_STEPS = 8


def make_motion_bundle(
    trained: TrainedMotion,
    out: Path,
    *,
    others: Sequence[StoredSequence] = (),
    say: Say = print,
) -> Bundle:
    """Export the step, hold it against PyTorch over whole tracks, calibrate and measure it.

    Args:
        trained: from :func:`.training.train_motion`.
        out: the bundle's folder.
        others: sequences, such as of real footage, that are measured too and decide nothing.
        say: takes a line for each figure.

    Raises:
        TrainingError: the exported steps differ from the network, or the scores of live tracks
            are no higher than those of attacks.
    """
    network, held_out = trained.network, trained.parted.held_out
    prepare(others, trained.backbone, trained.recipe.augmentation, 1)
    fit = fit_steps(
        score_sequences(network, held_out, trained.backbone, trained.recipe), trained.recipe.name
    )
    metrics = [
        *told(figures(trained, fit, held_out), held_out, "held-out persons"),
        *(told(figures(trained, fit, others), others, "other sequences") if others else ()),
    ]
    settings = {"alpha": round(float(network.alpha.detach()), 6)}
    calibration = Calibration(
        method="logistic",
        parameters=fit.parameters,
        fitted_on="all steps at 5 samples a second of held-out persons: " + described(held_out),
    )
    judged = Judged(fit, calibration, metrics, settings, MOTION.text(trained.recipe))
    tracks = _tracks(trained, held_out)
    return write_steps(trained, motion_step(network), tracks, judged, out, say)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a bundle of steps says of itself."""

    fit: Fit
    calibration: Calibration
    metrics: Sequence[Metric]
    settings: Mapping[str, str | float]
    """Of the training, beside those of every step network."""
    recipe: str
    """As YAML."""


def write_steps(
    trained: Trained[N, R],
    step: Step,
    tracks: Mapping[str, Any],
    judged: Judged,
    out: Path,
    say: Say,
) -> Bundle:
    """Export a step, hold it against PyTorch over whole tracks, time it and write its bundle.

    Args:
        trained: the network and how it came to be.
        step: of the network.
        tracks: some held-out ones, float32 (N, T, ...) of each input but the state.
        judged: what was measured of the network.
        out: the bundle's folder.
        say: takes a line for each figure.

    Raises:
        TrainingError: the exported steps differ from the network.
    """
    name = trained.recipe.name
    with tempfile.TemporaryDirectory(prefix="padflow-export-") as place:
        exported = step_to_onnx(step, Path(place) / f"{name}.onnx")
        differences = check_steps(step, exported, tracks)
        shape = tracks["interval"].shape
        metrics = [*_parity(differences, shape), *_speed(exported, tracks), *judged.metrics]
        for metric in metrics:
            say(f"{metric.name}: {metric.value:.4g} {metric.unit} ({metric.method})")
        manifest = _manifest(trained, step, judged, metrics)
        weights = save_weights(trained.network, Path(place) / f"{name}-weights.npz")
        return write_bundle(out, manifest, {"f32": exported.path, ROLE: weights})


def fit_steps(found: SteppedScores, name: str) -> Fit:
    """A calibration for all steps together: persons count alike, in each the sequences.

    Raises:
        TrainingError: there is no evidence in the scores.
    """
    return fit_scores(found.score, [found.rows[int(index)].row for index in found.sequence], name)


def fit_scores(score: npt.NDArray[np.floating[Any]], rows: Sequence[SequenceRow], name: str) -> Fit:
    """A calibration for scores (M,) of the M sequences' rows: persons count alike.

    Raises:
        TrainingError: there is no evidence in the scores.
    """
    fit = fit_calibration(
        ScoredCrops(
            score.astype(np.float64),
            np.array([row.label == "live" for row in rows], bool),
            [row.person for row in rows],
            [row.id for row in rows],
            [row.species for row in rows],
        )
    )
    if not fit.slope > 0:
        raise TrainingFailed(
            f"{name}: live tracks of held-out persons score no higher than attacks: there is no "
            "evidence in this network; train longer or on other data"
        )
    return fit


def _tracks(trained: TrainedMotion, sequences: Sequence[StoredSequence]) -> dict[str, Any]:
    """Some held-out tracks as the step's inputs, float32 (N, T, ...)."""
    chosen = [one for one in sequences if len(even_samples(one.times, 0.2)) >= PARITY_STEPS]
    parts: dict[str, list[Any]] = {}
    for one in (chosen or list(sequences))[:PARITY_TRACKS]:
        places = even_samples(one.times, 0.2 if chosen else 0.0)[:PARITY_STEPS]
        known = seen(one, trained.backbone, trained.recipe.augmentation, 0)
        given = {f"features_{k}": stage[places] for k, stage in enumerate(known.stages, 1)}
        given |= {"single": known.single[places], "interval": intervals_of(one.times, places)}
        for name, array in given.items():
            parts.setdefault(name, []).append(array)
    length = min(len(array) for array in parts["interval"])
    return {
        name: np.stack([array[:length] for array in arrays]).astype(np.float32)
        for name, arrays in parts.items()
    }


def _parity(differences: Mapping[str, float], shape: tuple[int, int]) -> list[Metric]:
    return [
        Metric(
            name=f"difference_{backend}",
            value=value,
            unit="1",
            data=f"{shape[0]} held-out tracks of {shape[1]} samples",
            method="largest difference of the steps' outputs from PyTorch on whole tracks, f32",
        )
        for backend, value in differences.items()
    ]


def _speed(exported: Network, tracks: Mapping[str, Any]) -> list[Metric]:
    times = []
    one = {name: array[:1, :2] for name, array in tracks.items()}
    with open_network(exported, "openvino", Options(precision="f32")) as engine:
        for _ in range(TIMED_STEPS // 2):
            began = time.process_time()
            run_steps(engine, one)
            times.append((time.process_time() - began) / 2)
    return [
        Metric(
            name="cpu_ms_f32",
            value=float(1000 * np.median(times)),
            unit="ms",
            data=f"{TIMED_STEPS} steps of a held-out track",
            method="median CPU time of one step, OpenVINO, one thread, one track",
        )
    ]


def told(
    found: Iterable[Figure], sequences: Sequence[StoredSequence], who: str
) -> Iterator[Metric]:
    """Figures as metrics of a manifest.

    Args:
        found: of some sequences.
        sequences: these.
        who: is in them; where that is no held-out person the names begin with ``other_``.
    """
    data = f"{who}: {described(sequences)}"
    prefix = "" if who.startswith("held-out") else "other_"
    for name, value, unit, method in found:
        yield Metric(name=f"{prefix}{name}", value=value, unit=unit, data=data, method=method)


def described(sequences: Sequence[StoredSequence]) -> str:
    """What sequences are, in one sentence without a path."""
    rows = [one.row for one in sequences]
    counts = ", ".join(
        f"{n} {name}" for name, n in sorted(Counter(r.species for r in rows).items())
    )
    persons = ", ".join(sorted({row.person for row in rows}))
    return f"{len(rows)} sequences ({counts}) of {persons}"


def _manifest(
    trained: Trained[N, R], step: Step, judged: Judged, metrics: Sequence[Metric]
) -> Manifest:
    recipe, found, fit = trained.recipe, trained.parted, judged.fit
    return Manifest(
        about=About(
            name=recipe.name.replace(" ", "_").lower(),
            version=VERSION,
            task=recipe.task,
            licence=LICENCE,
        ),
        inputs=step.inputs,
        outputs=step.outputs,
        training=Training(
            data=(described(found.train),),
            recipe=judged.recipe,
            seed=recipe.seed,
            settings={
                "minutes": round(trained.minutes, 2),
                "held_out_persons": found.persons,
                "backbone": trained.backbone.bundle.manifest.about.name,
                BACKBONE: trained.backbone.edition,
                **judged.settings,
                "effective_live": round(fit.live, 3),
                "effective_attacks": round(fit.attacks, 3),
            },
        ),
        metrics=tuple(metrics),
        calibration=judged.calibration,
        files={},
    )
