"""Tiny stores of sequences with a pulse written into one channel of their stage features.

The crops are black: what a depth network would see in them is drawn here and lies where
:func:`padflow.trainers.motion.stages.prepare` would keep it. In living sequences the first channel
of the first stage beats where the face is, in attacks nothing does; all else is alike, and noise.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from padflow.engines.network import TensorSpec
from padflow.nodes.canonical import GRID_SIDE
from padflow.nodes.spectrum import pulse_frequencies
from padflow.trainers.crops import Species
from padflow.trainers.labels import still_label
from padflow.trainers.motion.pulse_recipe import PULSE_DEPTH, PulseDepthRecipe
from padflow.trainers.motion.stages import Backbone
from padflow.trainers.motion.store import (
    SequenceArrays,
    SequenceRow,
    StoredSequence,
    open_sequences,
    write_sequence,
)
from tests.nodes.tiny_steps import spec, write_steps_bundle, write_steps_file

STAGES = ((2, 32, 32), (2, 16, 16), (1, 8, 8))
RATE, SECONDS = 12.0, 7.2
FRAMES = round(RATE * SECONDS)
PERSONS = ("ann", "bob", "cid")
BEATS = {"ann": (0.9, 1.6), "bob": (1.2, 2.2), "cid": (1.0, 1.9)}
"""Hz of each person's living sequences."""
KINDS: tuple[Species, ...] = ("live", "live", "print", "screen")


def write_tiny_backbone(folder: Path) -> Path:
    """A bundle that gives stage features as a depth network does; it is never asked for them."""
    inputs = (TensorSpec("image", "uint8", (-1, 256, 256, 3), "NHWC", "", "a crop"),)
    outputs = (
        *(spec(f"features_{k}", shape, "NCHW") for k, shape in enumerate(STAGES, 1)),
        spec("depth", (32, 32), "NHW"),
        spec("score", (), "N"),
    )
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["floats"], to=1),
        node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=1),
        node("Reshape", ["mean", "flat"], ["score"]),
        node("Reshape", ["mean", "plane"], ["low"]),
        node("Add", ["low", "ones"], ["depth"]),
        *(node("Add", ["mean", f"ones_{k}"], [f"features_{k}"]) for k in (1, 2, 3)),
    ]
    numbers: dict[str, Any] = {
        "flat": np.array([-1], np.int64),
        "plane": np.array([-1, 1, 1], np.int64),
        "ones": np.ones((1, 32, 32), np.float32),
        **{f"ones_{k}": np.ones((1, *shape), np.float32) for k, shape in enumerate(STAGES, 1)},
    }
    file = write_steps_file(folder, nodes, numbers, inputs, outputs)
    return write_steps_bundle(folder, file, "tiny_backbone", inputs, outputs, "")


def write_pulse_toys(
    folder: Path, backbone: Backbone, persons: tuple[str, ...] = PERSONS
) -> list[StoredSequence]:
    """Two living sequences, a print and a screen of each person."""
    for who, person in enumerate(persons):
        for place, species in enumerate(KINDS):
            beat = BEATS[person][place] if species == "live" else None
            write_pulse_toy(folder, backbone, f"{person}-{place}", person, species, beat,
                            seed=10 * who + place)  # fmt: skip
    return open_sequences([folder])


def write_pulse_toy(
    folder: Path,
    backbone: Backbone,
    name: str,
    person: str,
    species: Species,
    beat: float | None,
    *,
    seed: int = 0,
    frames: int = FRAMES,
    **without: None,
) -> StoredSequence:
    """One sequence, with what the backbone sees in it; ``places=None`` leaves these away."""
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / RATE + rng.uniform(-0.01, 0.01, frames)
    live = species == "live"
    row = SequenceRow(
        id=name, label="live" if live else "attack", species=species,
        instrument="" if live else f"{species}:toy", person=person, medium="" if live else "paper",
        camera="door", source="toy", frames=frames,
    )  # fmt: skip
    label = still_label()
    if beat is not None:
        label = np.exp(-(((pulse_frequencies() - beat) / 0.12) ** 2)).astype(np.float32)
        label /= np.linalg.norm(label)
    arrays = SequenceArrays(
        np.zeros((frames, 256, 256, 3), np.uint8),
        np.zeros((frames, 32, 32), np.uint8),
        times,
        _places(rng, frames),
        label,
    )
    sequence = write_sequence(folder, row, replace(arrays, **without))  # type: ignore[arg-type]
    _write_stages(sequence, backbone, beat, rng)
    return sequence


def _places(rng: np.random.Generator, frames: int) -> np.ndarray:
    """A face that fills the crop's middle and sways."""
    middles = 0.3 + 0.4 * (np.arange(GRID_SIDE) + 0.5) / GRID_SIDE
    rows, columns = np.meshgrid(middles, middles, indexing="ij")
    still = np.stack([columns.ravel(), rows.ravel()])
    sway = np.cumsum(rng.normal(0, 0.002, (frames, 2, 1)), axis=0)
    return (still + sway).astype(np.float32)


def _write_stages(
    sequence: StoredSequence, backbone: Backbone, beat: float | None, rng: np.random.Generator
) -> None:
    folder = sequence.folder / f"stages-{backbone.edition[:12]}"
    folder.mkdir()
    frames, times = sequence.row.frames, sequence.times
    for k, shape in enumerate(STAGES, 1):
        picture = rng.normal(0, 0.3, (shape[0], 1, 1))
        features = picture + rng.normal(0, 0.03, (frames, *shape))
        if k == 1 and beat is not None:
            wave = 0.2 * np.sin(2 * np.pi * beat * times + rng.uniform(0, 6))
            features[:, 0, 8:24, 8:24] += wave[:, None, None]
        np.save(folder / f"features_{k}.npy", features.astype(np.float16))
    np.save(folder / "single.npy", np.full((frames, 32, 32), 0.5, np.float16))
    np.save(folder / "score.npy", np.zeros(frames, np.float32))
    np.save(folder / "target.npy", np.zeros((frames, 32, 32), np.uint8))


def pulse_toy_recipe(backbone: Backbone, **changes: Any) -> PulseDepthRecipe:
    """Small and quick; holds out the first person."""
    least: dict[str, Any] = {
        "name": "pulse_depth",
        "task": "Tells toys apart.",
        "backbone": str(backbone.bundle.folder),
        "network": {"width": 6, "hidden": 12},
        "sampling": {"shortest": 6.0, "longest": 7.0, "halved": 0.0},
        "hold_out": ("ann",),
        "batch": 4,
        "epochs": 2,
        "steps_per_epoch": 6,
        "average": 0.8,
        "learning_rate": 1e-2,
    }
    return PULSE_DEPTH.parse(least | changes)
