"""What a frozen depth network sees in the crops of sequences, computed once and kept.

Beside a sequence's own files, in a folder named after the network's edition and, for changed
copies of the crops, after the change: its stage features, its map and its score.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...engines.bundle import Bundle, bundle_folders, read_bundle
from ...engines.engine import Engine, open_network
from ...engines.network import Options
from ..augmentation import augment
from ..crops import Pixels
from ..recipe import Augmentation, TrainingError
from .store import SequenceStoreError, StoredSequence

STAGES = ("features_1", "features_2", "features_3")
_KEPT = (*STAGES, "single", "score", "target")
_BATCH = 8

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the depth network sees in F crops; arrays may be memory maps."""

    stages: tuple[Floats, Floats, Floats]
    """float16 (F, C, h, w) each."""
    single: Floats
    """float16 (F, 32, 32): its map."""
    score: Floats
    """float32 (F,): its logit."""
    target: Pixels
    """uint8 (F, 32, 32): the depth label, changed along with the crops."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A depth network's bundle, as the motion network needs it."""

    bundle: Bundle

    @classmethod
    def read(cls, name_or_folder: str) -> "Backbone":
        """A bundle by its name or folder, verified.

        Raises:
            TrainingError: there is none, or it gives no stage features.
            BundleError: it is damaged.
        """
        folder = bundle_folders().get(name_or_folder, Path(name_or_folder))
        if not folder.is_dir():
            raise TrainingError(
                f"backbone {name_or_folder}: expected the name or folder of a depth network's "
                "bundle, found none; train one with padflow train depth_light"
            )
        found = cls(read_bundle(folder))
        if not set(STAGES) <= {spec.name for spec in found.bundle.manifest.outputs}:
            raise TrainingError(
                f"backbone {name_or_folder}: expected the outputs {', '.join(STAGES)}, found "
                f"{', '.join(spec.name for spec in found.bundle.manifest.outputs)}; make the "
                "bundle anew with padflow train"
            )
        return found

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of the stages."""
        by_name = {spec.name: spec.shape for spec in self.bundle.manifest.outputs}
        return tuple((by_name[s][1], by_name[s][2], by_name[s][3]) for s in STAGES)

    @property
    def edition(self) -> str:
        """What tells this training from others."""
        return self.bundle.manifest.edition

    def open(self) -> Engine:
        """It, ready to run in f32."""
        return open_network(self.bundle.network("f32"), "openvino", Options(precision="f32"))


def prepare(
    sequences: Iterable[StoredSequence], backbone: Backbone, changes: Augmentation, variants: int
) -> int:
    """Compute what is not there yet, and give how many sequences and variants that were."""
    made = 0
    with backbone.open() as engine:
        for sequence in sequences:
            for variant in range(variants):
                folder = _folder(sequence, backbone, changes, variant)
                if not folder.is_dir():
                    _write(folder, _computed(sequence, engine, changes, variant))
                    made += 1
    return made


def seen(sequence: StoredSequence, backbone: Backbone, changes: Augmentation, variant: int) -> Seen:
    """What :func:`prepare` kept; variant 0 is of the crops as they are.

    Raises:
        SequenceStoreError: it is not there or damaged.
    """
    folder = _folder(sequence, backbone, changes, variant)
    try:
        found = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _KEPT}
    except (OSError, ValueError, EOFError) as error:
        raise SequenceStoreError(
            f"{folder}: cannot be read: {error}; remove the folder, it is made anew"
        ) from error
    one, two, three = (found[name] for name in STAGES)
    return Seen((one, two, three), found["single"], found["score"], found["target"])


def changed(
    crops: Pixels, depth: Pixels, changes: Augmentation, variant: int
) -> tuple[Pixels, Pixels]:
    """One variant of a sequence's crops and labels: every crop is changed in the same way.

    A change that differed from crop to crop would be motion.
    """
    if variant == 0:
        return crops, depth
    images, labels = [], []
    for image, label in zip(crops, depth, strict=True):
        rng = np.random.default_rng(variant)
        picture, target = augment(np.asarray(image), np.asarray(label), changes, rng, native=False)
        assert target is not None
        images.append(picture)
        labels.append(target)
    return np.stack(images), np.stack(labels)


def _computed(
    sequence: StoredSequence, engine: Engine, changes: Augmentation, variant: int
) -> dict[str, npt.NDArray[Any]]:
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _KEPT}
    faces, depths = sequence.face, sequence.depth
    # Each sequence has changes of its own, the same whenever they are computed.
    draw = variant and variant + 1000 * int(sequence.folder.name, 16)
    for start in range(0, len(faces), _BATCH):
        part = slice(start, start + _BATCH)
        images, labels = changed(np.array(faces[part]), np.array(depths[part]), changes, draw)
        found = engine.infer({"image": np.ascontiguousarray(images)})
        for name in STAGES:
            parts[name].append(found[name].astype(np.float16))
        parts["single"].append(found["depth"].astype(np.float16))
        parts["score"].append(found["score"])
        parts["target"].append(labels)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _folder(
    sequence: StoredSequence, backbone: Backbone, changes: Augmentation, variant: int
) -> Path:
    name = f"stages-{backbone.edition[:12]}"
    if variant:
        name += f"-{_digest(changes)}-{variant}"
    return sequence.folder / name


def _digest(changes: Augmentation) -> str:
    text = json.dumps(asdict(changes), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _write(folder: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    aside = Path(tempfile.mkdtemp(prefix=".stages-", dir=folder.parent))
    try:
        for name, array in arrays.items():
            np.save(aside / f"{name}.npy", array)
        aside.chmod(0o755)
        try:
            os.rename(aside, folder)
        except OSError:
            if not folder.is_dir():  # else another training was faster with the same
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
