"""From a trained motion network to its bundle: export, measure, calibrate, write."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.bundle import About, Bundle, Calibration, Manifest, Metric, Training, write_bundle
from ...engines.engine import open_network
from ...engines.network import Network, Options
from ...nodes.track_steps import BACKBONE
from ..bundling import LICENCE, VERSION
from ..calibration import Fit, ScoredCrops, fit_calibration
from ..recipe import TrainingError
from ..weights import ROLE, save_weights
from .batches import even_samples, intervals_of
from .exporting import check_steps, run_steps, step_inputs, step_outputs, step_to_onnx
from .measures import SteppedScores, score_sequences
from .recipe import motion_recipe_text
from .report import figures
from .stages import prepare, seen
from .store import StoredSequence
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
    with tempfile.TemporaryDirectory(prefix="padflow-export-") as place:
        exported = step_to_onnx(network, Path(place) / f"{trained.recipe.name}.onnx")
        tracks = _tracks(trained, held_out)
        differences = check_steps(network, exported, tracks)
        found = score_sequences(network, held_out, trained.backbone, trained.recipe)
        fit = fit_steps(found, trained.recipe.name)
        metrics = [
            *_parity(differences),
            *_speed(exported, trained, tracks),
            *_told(trained, fit, held_out, "held-out persons"),
            *(_told(trained, fit, others, "other sequences") if others else ()),
        ]
        for metric in metrics:
            say(f"{metric.name}: {metric.value:.4g} {metric.unit} ({metric.method})")
        manifest = _manifest(trained, fit, metrics)
        weights = save_weights(network, Path(place) / f"{trained.recipe.name}-weights.npz")
        return write_bundle(out, manifest, {"f32": exported.path, ROLE: weights})


def fit_steps(found: SteppedScores, name: str) -> Fit:
    """A calibration for all steps together: persons count alike, in each the sequences.

    Raises:
        TrainingError: there is no evidence in the scores.
    """
    rows = [found.rows[int(index)].row for index in found.sequence]
    fit = fit_calibration(
        ScoredCrops(
            found.score.astype(np.float64),
            found.live,
            [row.person for row in rows],
            [row.id for row in rows],
            [row.species for row in rows],
        )
    )
    if not fit.slope > 0:
        raise TrainingError(
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


def _parity(differences: Mapping[str, float]) -> list[Metric]:
    return [
        Metric(
            name=f"difference_{backend}",
            value=value,
            unit="1",
            data=f"{PARITY_TRACKS} held-out tracks of {PARITY_STEPS} samples",
            method="largest difference of the steps' outputs from PyTorch on whole tracks, f32",
        )
        for backend, value in differences.items()
    ]


def _speed(exported: Network, trained: TrainedMotion, tracks: Mapping[str, Any]) -> list[Metric]:
    times = []
    one = {name: array[:1, :2] for name, array in tracks.items()}
    with open_network(exported, "openvino", Options(precision="f32")) as engine:
        for _ in range(TIMED_STEPS // 2):
            began = time.process_time()
            run_steps(engine, trained.network, one)
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


def _told(
    trained: TrainedMotion, fit: Fit, sequences: Sequence[StoredSequence], who: str
) -> list[Metric]:
    data = f"{who}: {described(sequences)}"
    prefix = "" if who.startswith("held-out") else "other_"
    return [
        Metric(name=f"{prefix}{name}", value=value, unit=unit, data=data, method=method)
        for name, value, unit, method in figures(trained, fit, sequences)
    ]


def described(sequences: Sequence[StoredSequence]) -> str:
    """What sequences are, in one sentence without a path."""
    rows = [one.row for one in sequences]
    counts = ", ".join(
        f"{n} {name}" for name, n in sorted(Counter(r.species for r in rows).items())
    )
    persons = ", ".join(sorted({row.person for row in rows}))
    return f"{len(rows)} sequences ({counts}) of {persons}"


def _manifest(trained: TrainedMotion, fit: Fit, metrics: Sequence[Metric]) -> Manifest:
    recipe, found = trained.recipe, trained.parted
    held_out = described(found.held_out)
    return Manifest(
        about=About(
            name=recipe.name.replace(" ", "_").lower(),
            version=VERSION,
            task=recipe.task,
            licence=LICENCE,
        ),
        inputs=step_inputs(trained.network),
        outputs=step_outputs(trained.network),
        training=Training(
            data=(described(found.train),),
            recipe=motion_recipe_text(recipe),
            seed=recipe.seed,
            settings={
                "minutes": round(trained.minutes, 2),
                "held_out_persons": ", ".join(found.persons),
                "backbone": trained.backbone.bundle.manifest.about.name,
                BACKBONE: trained.backbone.edition,
                "alpha": round(float(trained.network.alpha.detach()), 6),
                "effective_live": round(fit.live, 3),
                "effective_attacks": round(fit.attacks, 3),
            },
        ),
        metrics=tuple(metrics),
        calibration=Calibration(
            method="logistic",
            parameters=fit.parameters,
            fitted_on=f"all steps at 5 samples a second of held-out persons: {held_out}",
        ),
        files={},
    )
