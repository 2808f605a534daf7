"""The second stage: backbone and motion network learn together, from crops.

As published, after the motion network has learned on the frozen backbone. The result is two
bundles, since the depth network is another one then: a motion network goes only with the depth
network that it learned on. The new depth network's bundle is written into the run's folder.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor

from ...engines.bundle import Calibration, write_bundle
from ..batches import even_chances
from ..calibration import ScoredCrops, fit_calibration
from ..checkpoint import load_state, save_state
from ..export import check_parity, to_onnx
from ..networks import CropNetwork
from ..networks.motion_depth import MotionDepthNetwork
from ..recipe import Recipe, TrainingError, TrainingFailed, parse_recipe
from ..training import LARGEST_GRADIENT, build, loss_of
from ..weights import ROLE, bundle_weights, save_weights, use_weights
from .batches import depth_target, drawn_samples, intervals_of
from .recipe import MOTION, Joint, MotionRecipe
from .running import Say
from .stages import Backbone, changed, prepare, seen
from .store import StoredSequence
from .training import TrainedMotion, motion_loss

BACKBONE_FOLDER = "backbone"
"""Of the run's folder: the bundle of the depth network that has learned on."""


@dataclass(frozen=True, slots=True)
class CropTracks:
    """N tracks of T crops each; short tracks end in padding of weight 0."""

    images: npt.NDArray[np.uint8]
    """uint8 (N, T, 256, 256, 3)."""
    given: dict[str, npt.NDArray[np.float32]]
    """What :func:`.training.motion_loss` takes, and ``interval``."""


def train_jointly(
    trained: TrainedMotion, *, resume: bool, device: torch.device, say: Say = print
) -> TrainedMotion:
    """Let both networks learn on, and write the depth network's new bundle.

    Raises:
        TrainingError: the backbone carries no weights, or the loss is no longer a number.
    """
    run = _JointRun(trained, device, say)
    if resume:
        run.restore()
    began = time.monotonic()
    while run.epoch < run.joint.epochs:
        run.train_epoch()
    run.motion.eval().cpu()
    backbone = _written(run.depth.cpu(), trained, trained.folder / BACKBONE_FOLDER)
    prepare(
        (*trained.parted.train, *trained.parted.held_out), backbone, trained.recipe.augmentation, 1
    )
    minutes = trained.minutes + (time.monotonic() - began) / 60
    return replace(trained, network=run.motion, backbone=backbone, minutes=minutes)


class _JointRun:
    """Both networks, their optimiser and how far they are."""

    def __init__(self, trained: TrainedMotion, device: torch.device, say: Say) -> None:
        recipe = trained.recipe
        assert recipe.joint is not None, "only called for recipes with a joint stage"
        self.recipe, self.joint, self.device, self.say = recipe, recipe.joint, device, say
        self.sequences = trained.parted.train
        self.single_recipe = single_recipe(trained.backbone)
        self.depth = build(self.single_recipe)
        use_weights(self.depth, bundle_weights(trained.backbone.bundle))
        self.depth.to(device)
        self.motion: MotionDepthNetwork = trained.network.to(device)
        self.motion.requires_grad_(True)
        self.motion.mixing.requires_grad_(recipe.network.alpha is None)
        both = [*self.depth.parameters(), *self.motion.parameters()]
        self.parameters = [p for p in both if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=self.joint.learning_rate)
        self.path = trained.folder / "joint.pt"
        self.edition = trained.backbone.edition
        self.epoch = 0

    def train_epoch(self) -> None:
        self.motion.train()
        self.depth.eval()  # Batches are too small for statistics of their own.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.epoch)
        total = 0.0
        for batch in crop_tracks(self.sequences, self.recipe, self.joint, self.epoch):
            total += self._step(batch)
        self.epoch += 1
        state = {
            "depth": self.depth.state_dict(),
            "motion": self.motion.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "recipe": MOTION.text(replace(self.recipe, joint=None)),
            "edition": self.edition,
        }
        save_state(state, self.path)
        self.say(
            f"joint epoch {self.epoch}/{self.joint.epochs} loss "
            f"{total / self.joint.steps_per_epoch:.3f}"
        )

    def _step(self, batch: CropTracks) -> float:
        given = {
            name: torch.from_numpy(array).to(self.device) for name, array in batch.given.items()
        }
        shape = given["interval"].shape
        found = self.depth(torch.from_numpy(batch.images).to(self.device).flatten(0, 1))
        assert found.depth is not None
        one, two, three = (
            stage.reshape(*shape, *stage.shape[1:])
            for stage in (found.features_1, found.features_2, found.features_3)
        )
        moved = self.motion.clip(
            (one, two, three),
            found.depth.reshape(*shape, *found.depth.shape[1:]),
            given["interval"],
        )
        loss = motion_loss(moved, given, self.recipe.losses)
        there = given["there"].flatten() > 0
        loss = loss + self.joint.single * self._single_loss(found, given, there)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingFailed(
                f"{self.path.parent}: the loss is {loss.item()} in the joint stage; lower its "
                "learning_rate"
            )
        self.optimiser.step()
        return loss.item()

    def _single_loss(self, found: Any, given: dict[str, Tensor], there: Tensor) -> Tensor:
        """The depth network's own loss on the crops that are no padding."""
        if not there.any():
            return torch.zeros((), device=self.device)
        live = given["live"][:, None].expand(given["interval"].shape).flatten()
        batch = {
            "live": live[there],
            "depth": given["target"].flatten(0, 1)[there],
            "depth_weight": given["known"].flatten()[there],
        }
        kept = found._replace(score=found.score[there], depth=found.depth[there])
        return loss_of(kept, batch, self.single_recipe.losses)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.path.is_file():
            return
        state = load_state(self.path)
        same = state["recipe"] == MOTION.text(replace(self.recipe, joint=None))
        if not same or state["edition"] != self.edition:
            raise TrainingError(
                f"{self.path}: was made with another recipe or backbone; remove it to begin anew"
            )
        self.depth.load_state_dict(state["depth"])
        self.motion.load_state_dict(state["motion"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch = int(state["epoch"])


def single_recipe(backbone: Backbone) -> Recipe:
    """The recipe that a backbone was trained with.

    Raises:
        RecipeError: its manifest holds none.
    """
    content = yaml.safe_load(backbone.bundle.manifest.training.recipe)
    where = f"of bundle {backbone.bundle.folder}"
    return parse_recipe(content if isinstance(content, dict) else {}, where)


def crop_tracks(
    sequences: tuple[StoredSequence, ...], recipe: MotionRecipe, joint: Joint, epoch: int
) -> Iterator[CropTracks]:
    """The batches of one epoch; the same seed and epoch give the same ones."""
    chances = even_chances([one.row for one in sequences], recipe.balance)
    rng = np.random.default_rng((recipe.seed, 1, epoch))
    for _ in range(joint.steps_per_epoch):
        chosen = rng.choice(len(sequences), size=joint.batch, p=chances)
        yield _joined([_crops_of(sequences[int(k)], recipe, joint, rng) for k in chosen])


def _crops_of(
    sequence: StoredSequence, recipe: MotionRecipe, joint: Joint, rng: np.random.Generator
) -> CropTracks:
    row, times = sequence.row, sequence.times
    places = drawn_samples(times, replace(recipe.sampling, steps=joint.steps), rng)
    intervals = intervals_of(times, places)
    still = bool(rng.random() < recipe.sampling.still)
    shown = np.full_like(places, rng.choice(places)) if still else places
    images, labels = changed(
        np.array(sequence.face[shown]),
        np.array(sequence.depth[shown]),
        recipe.augmentation,
        int(rng.integers(1, 2**31)),
    )
    target, weight = depth_target(labels, row.species, recipe.losses.mask_depth)
    moves = (intervals > 0).astype(np.float32)
    count = len(places)
    columns: dict[str, npt.NDArray[np.float32]] = {
        "interval": intervals,
        "target": (target / np.float32(255)).astype(np.float32),
        "depth_weight": moves * np.float32(0.0 if still else weight),
        "score_weight": moves / np.float32(max(count - 1, 1)),
        "there": np.full(count, 0.0 if still else 1.0, np.float32),
        "known": np.full(count, weight, np.float32),
    }
    room = np.zeros((1, joint.steps, *images.shape[1:]), np.uint8)
    room[0, :count] = images
    given = {name: _padded(array, joint.steps) for name, array in columns.items()}
    given["live"] = np.array([0.5 if still else row.label == "live"], np.float32)
    return CropTracks(room, given)


def _padded(values: npt.NDArray[np.float32], steps: int) -> npt.NDArray[np.float32]:
    room = np.zeros((1, steps, *values.shape[1:]), np.float32)
    room[0, : len(values)] = values
    return room


def _joined(tracks: list[CropTracks]) -> CropTracks:
    names = tracks[0].given
    return CropTracks(
        np.concatenate([track.images for track in tracks]),
        {name: np.concatenate([track.given[name] for track in tracks]) for name in names},
    )


def _written(depth: CropNetwork, trained: TrainedMotion, folder: Path) -> Backbone:
    """The depth network's bundle, calibrated on the held-out persons' crops."""
    depth.eval()
    before = trained.backbone.bundle.manifest
    training = replace(
        before.training,
        data=(*before.training.data, f"then jointly with {trained.recipe.name}"),
        settings={**before.training.settings, "joint_with": trained.recipe.name},
    )
    with tempfile.TemporaryDirectory(prefix="padflow-export-") as place:
        exported = to_onnx(depth, Path(place) / f"{before.about.name}.onnx")
        check_parity(depth, exported, np.array(trained.parted.held_out[0].face[:4]))
        weights = save_weights(depth, Path(place) / f"{before.about.name}-weights.npz")
        files = {"f32": exported.path, ROLE: weights}
        manifest = replace(before, training=training, metrics=(), calibration=None)
        backbone = Backbone(write_bundle(folder, manifest, files))
        calibration = _calibration(trained, backbone)
        write_bundle(folder, replace(manifest, calibration=calibration), files)
    return Backbone.read(str(folder))


def _calibration(trained: TrainedMotion, backbone: Backbone) -> Calibration:
    held_out, changes = trained.parted.held_out, trained.recipe.augmentation
    prepare(held_out, backbone, changes, 1)
    scores = [np.array(seen(one, backbone, changes, 0).score, np.float64) for one in held_out]
    rows = [one.row for one, score in zip(held_out, scores, strict=True) for _ in score]
    fit = fit_calibration(
        ScoredCrops(
            np.concatenate(scores),
            np.array([row.label == "live" for row in rows], bool),
            [row.person for row in rows],
            [row.id for row in rows],
            [row.species for row in rows],
        )
    )
    persons = ", ".join(trained.parted.persons)
    return Calibration(
        method="logistic", parameters=fit.parameters, fitted_on=f"crops of sequences of {persons}"
    )
