"""Train a motion network on sequences: resumable, the same for the same seed.

First on the frozen features of the recipe's backbone, which are computed once; then, where the
recipe has a ``joint`` part, backbone and motion network together (:mod:`.joint`). The folder of a
run holds ``recipe.yaml``, ``history.jsonl`` and ``checkpoint.pt``. No epoch is chosen by the
held-out persons: what is shipped is the average of the last weights.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional

from ..average import WeightAverage
from ..checkpoint import Learner, Progress, check_recipe
from ..holdout import drawn
from ..networks.layers import contrastive_depth_loss
from ..networks.motion_depth import MotionDepthNetwork, MotionOutputs
from ..recipe import TrainingError
from ..training import LARGEST_GRADIENT, rate_at
from .batches import TrackBatches, Tracks
from .measures import measured, score_sequences
from .recipe import MotionLosses, MotionRecipe, motion_recipe_text, parse_motion_recipe
from .stages import Backbone, prepare
from .store import StoredSequence

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Parted:
    """Sequences to learn from and to check on: no person is in both."""

    train: tuple[StoredSequence, ...]
    held_out: tuple[StoredSequence, ...]
    persons: tuple[str, ...]
    """Held out."""


@dataclass(frozen=True, slots=True)
class TrainedMotion:
    """A trained motion network and how it came to be."""

    network: MotionDepthNetwork
    """Averaged weights, strangeness fitted, in evaluation mode."""
    recipe: MotionRecipe
    backbone: Backbone
    parted: Parted
    folder: Path
    minutes: float


def parted(sequences: Sequence[StoredSequence], persons: Sequence[str] = ()) -> Parted:
    """Divide sequences by person.

    Sequences of training persons that show a held-out face, such as a mask of it, are on neither
    side. Media are not held out: each is in a few videos of this size of data, and what a printer
    leaves in a picture is not what this network looks at.

    Args:
        sequences: of one or several stores.
        persons: held out; empty: a fifth, drawn by a hash of the name.

    Raises:
        TrainingError: a person is in no sequence, or one side lacks live ones or attacks.
    """
    there = {one.row.person for one in sequences}
    if strangers := sorted(set(persons) - there):
        raise TrainingError(
            f"hold_out: expected persons of the store, found {', '.join(strangers)}; name some of "
            f"{', '.join(sorted(there))}"
        )
    held = frozenset(persons) or frozenset(drawn(there, 0.2))
    train = tuple(one for one in sequences if not one.row.persons & held)
    checked = tuple(one for one in sequences if one.row.person in held)
    for side, rows in (("training", train), ("validation", checked)):
        labels = {one.row.label for one in rows}
        if labels != {"live", "attack"}:
            raise TrainingError(
                f"{side}: expected live sequences and attacks, found "
                f"{', '.join(sorted(labels)) or 'none'} with {', '.join(sorted(held))} held out; "
                "hold out others, or cut more videos"
            )
    return Parted(train, checked, tuple(sorted(held)))


def train_motion(
    recipe: MotionRecipe,
    sequences: Sequence[StoredSequence],
    out: Path,
    *,
    resume: bool = False,
    say: Say = print,
) -> TrainedMotion:
    """Train on the backbone's features, and together with it where the recipe says so.

    Args:
        recipe: all that decides beside the data.
        sequences: to learn from and, by the recipe's ``hold_out``, to check on.
        out: folder of the run; made if it is not there.
        resume: go on from the folder's checkpoint if there is one.
        say: takes one line an epoch.

    Raises:
        TrainingError: the data or the checkpoint do not go with the recipe, or the loss is no
            longer a number.
    """
    backbone = Backbone.read(recipe.backbone)
    found = parted(sequences, recipe.hold_out)
    began = time.monotonic()
    changes, variants = recipe.augmentation, recipe.sampling.variants
    made = prepare(found.train, backbone, changes, variants)
    made += prepare(found.held_out, backbone, changes, 1)
    if made:
        say(f"features of {made} copies of sequences: {(time.monotonic() - began) / 60:.1f} min")
    run = _Run(recipe, found, backbone, out, say)
    run.epochs(resume=resume)
    trained = TrainedMotion(
        run.average.network, recipe, backbone, found, out, run.progress.seconds / 60
    )
    if recipe.joint is not None:
        from .joint import train_jointly

        trained = train_jointly(trained, resume=resume, say=say)
    fit_strangeness(trained)
    return trained


def build_motion(recipe: MotionRecipe, backbone: Backbone) -> MotionDepthNetwork:
    """The recipe's network with its seed's random weights."""
    torch.manual_seed(recipe.seed)
    choice = recipe.network
    return MotionDepthNetwork(
        stages=backbone.shapes,
        reduced=choice.reduced,
        width=choice.width,
        hidden=choice.hidden,
        embedding=choice.embedding,
        alpha=choice.alpha,
        dropout=choice.dropout,
    )


def motion_loss(
    outputs: MotionOutputs, batch: Mapping[str, Tensor], losses: MotionLosses
) -> Tensor:
    """Loss of N tracks of T samples, every step supervised; METHODS 10.2 and 10.4."""
    shape = batch["interval"].shape
    live = batch["live"][:, None].expand(shape)
    target = live * (1 - losses.smoothing) + losses.smoothing / 2
    each = functional.binary_cross_entropy_with_logits(
        outputs.score.reshape(shape), target, reduction="none"
    )
    total = losses.score * (each * batch["score_weight"]).sum() / batch["score_weight"].sum()
    taught = batch["depth_weight"].flatten() > 0
    if losses.depth and taught.any():
        found, wanted = outputs.depth[taught], batch["target"].flatten(0, 1)[taught]
        depth = functional.mse_loss(found, wanted)
        depth = depth + losses.contrastive * contrastive_depth_loss(found, wanted)
        total = total + losses.depth * depth
    return total


def tensors_of(batch: Tracks) -> dict[str, Tensor]:
    """All arrays of a batch but the stages, as tensors by name."""
    arrays = {name: value for name, value in asdict(batch).items() if name != "stages"}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def fit_strangeness(trained: TrainedMotion) -> None:
    """Fit the network's measure of strangeness on its training and held-out tracks."""
    sides = (trained.parted.train, trained.parted.held_out)
    learned, checked = (
        score_sequences(trained.network, side, trained.backbone, trained.recipe) for side in sides
    )
    trained.network.classify.strangeness.fit(
        torch.from_numpy(learned.embedding),
        torch.from_numpy(learned.live),
        torch.from_numpy(checked.embedding),
    )


class _Run:
    """The first stage: network, optimiser and progress."""

    def __init__(
        self, recipe: MotionRecipe, found: Parted, backbone: Backbone, folder: Path, say: Say
    ) -> None:
        self.recipe, self.found, self.backbone = recipe, found, backbone
        self.folder, self.say = folder, say
        self.network = build_motion(recipe, backbone)
        self.batches = TrackBatches(found.train, backbone, recipe)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.network.parameters() if p.ndim > 1]},
            {
                "params": [p for p in self.network.parameters() if p.ndim <= 1],
                "weight_decay": 0.0,
            },
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.average = WeightAverage(self.network, recipe.average)
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(motion_recipe_text(recipe), encoding="utf-8")

    @property
    def done(self) -> bool:
        return self.progress.over(self.recipe.epochs, self.recipe.max_minutes)

    def epochs(self, *, resume: bool) -> None:
        if resume:
            self.restore()
        while not self.done:
            self.epoch()

    def epoch(self) -> None:
        progress, before = self.progress, self.progress.seconds
        began, total = time.monotonic(), 0.0
        torch.manual_seed(self.recipe.seed * 1_000_003 + progress.epoch)  # of dropout
        self.network.train()
        with closing(self.batches.epoch(progress.epoch)) as batches:
            for batch in batches:
                total += self._step(batch)
                progress.seconds = before + time.monotonic() - began
        progress.epoch += 1
        held = score_sequences(
            self.average.network, self.found.held_out, self.backbone, self.recipe
        )
        progress.seconds = before + time.monotonic() - began
        line = {
            "epoch": progress.epoch,
            "loss": total / self.batches.steps,
            **measured(held),
            "minutes": progress.seconds / 60,
        }
        progress.history.append(line)
        self._keep()
        told = " ".join(f"{name} {value:.3f}" for name, value in line.items() if name != "epoch")
        self.say(f"epoch {progress.epoch}/{self.recipe.epochs} {told}")

    def _step(self, batch: Tracks) -> float:
        recipe, progress = self.recipe, self.progress
        share = progress.step / (recipe.epochs * self.batches.steps)
        if recipe.max_minutes is not None:
            share = max(share, progress.seconds / (60 * recipe.max_minutes))
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate_at(share, recipe.warm_up)
        one, two, three = (torch.from_numpy(stage) for stage in batch.stages)
        given = tensors_of(batch)
        outputs = self.network.clip((one, two, three), given["single"], given["interval"])
        loss = motion_loss(outputs, given, recipe.losses)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise TrainingError(
                f"{self.folder}: the loss is {loss.item()} and its gradient {norm.item()} at step "
                f"{progress.step + 1}; lower the recipe's learning_rate"
            )
        self.optimiser.step()
        self.average.update(self.network)
        progress.step += 1
        return loss.item()

    def _keep(self) -> None:
        about = {"recipe": motion_recipe_text(self.recipe), "edition": self.backbone.edition}
        self._learner.keep(self.folder, about)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one; the recipe may ask for a longer run."""
        self._learner.restore(self.folder, self._check)

    @property
    def _learner(self) -> Learner:
        return Learner(self.network, self.average, self.optimiser, self.progress)

    def _check(self, path: Path, state: Mapping[str, Any]) -> None:
        check_recipe(path, parse_motion_recipe(yaml.safe_load(state["recipe"])), self.recipe)
        if state["edition"] != self.backbone.edition:
            raise TrainingError(
                f"{path}: was made with another edition of {self.recipe.backbone}; train anew"
            )
