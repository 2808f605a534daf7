"""What every training on sequences shares: who is held out, the loop over epochs, its checkpoint.

The folder of a run holds ``recipe.yaml``, ``history.jsonl`` and ``checkpoint.pt``. No epoch is
chosen by the held-out persons: what is shipped is the average of the last weights.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import yaml
from torch import Tensor, nn

from ...engines.whole_file import write_whole
from ..average import WeightAverage
from ..checkpoint import Learner, Progress, check_held_out, check_recipe
from ..holdout import drawn
from ..learning import learn_from, set_rate
from ..recipe import TrainingError
from .batches import SequenceBatches
from .recipe import SequenceRecipe
from .stages import Backbone
from .store import StoredSequence

Say = Callable[[str], None]
N = TypeVar("N", bound=nn.Module)
R = TypeVar("R", bound=SequenceRecipe)
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Parted:
    """Sequences to learn from and to check on: no person is in both."""

    train: tuple[StoredSequence, ...]
    held_out: tuple[StoredSequence, ...]
    persons: tuple[str, ...]
    """Held out."""


@dataclass(frozen=True, slots=True)
class Trained(Generic[N, R]):
    """A trained network and how it came to be."""

    network: N
    """Averaged weights, on the CPU, in evaluation mode."""
    recipe: R
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


class EpochRun(ABC, Generic[N, R, B]):
    """Network, optimiser and progress; a subclass says what is minimised and how it is judged."""

    def __init__(
        self,
        recipe: R,
        network: N,
        batches: SequenceBatches[R, B],
        found: Parted,
        folder: Path,
        device: torch.device,
        say: Say,
    ) -> None:
        """Begin a run.

        Args:
            recipe: all that decides beside the data.
            network: with random weights.
            batches: to learn from.
            found: whom they are of, and who is held out.
            folder: of the run; made if it is not there.
            device: where the network learns.
            say: takes one line an epoch.
        """
        self.recipe, self.network, self.batches = recipe, network, batches
        self.found, self.backbone, self.folder, self.say = found, batches.backbone, folder, say
        self.average = WeightAverage(self.network, recipe.average)
        # Only now: what is moved, an LSTM lays side by side in the GPU's memory; a copy is not.
        self.network.to(device)
        self.average.network.to(device)
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
        self.progress = Progress()
        self.learned = frozenset[str]().union(*(one.row.persons for one in found.train))
        """Whom it learns from; those of resumed runs included."""
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def loss(self, batch: B) -> Tensor:
        """What is minimised, of the network in training mode; a scalar."""

    @abstractmethod
    def measured(self, network: N) -> Mapping[str, float]:
        """How a network in evaluation mode does on the held-out sequences."""

    @staticmethod
    @abstractmethod
    def text(recipe: R) -> str:
        """The recipe as YAML."""

    @staticmethod
    @abstractmethod
    def parse(content: Mapping[str, Any]) -> R:
        """The recipe from what YAML gave."""

    @property
    def done(self) -> bool:
        """Whether the epochs or the time are used up."""
        return self.progress.over(self.recipe.epochs, self.recipe.max_minutes)

    def epochs(self, *, resume: bool) -> None:
        """All that are left."""
        if resume:
            self.restore()
        # Not before: a run that is refused keeps the recipe that it was made with.
        write_whole(self.folder / "recipe.yaml", self.text(self.recipe))
        while not self.done:
            self.epoch()

    def epoch(self) -> None:
        """Train for one epoch, validate, tell, and keep the checkpoint."""
        progress, before = self.progress, self.progress.seconds
        began, total = time.monotonic(), 0.0
        torch.manual_seed(self.recipe.seed * 1_000_003 + progress.epoch)  # of dropout
        self.network.train()
        with closing(self.batches.epoch(progress.epoch)) as batches:
            for batch in batches:
                total += self._step(batch)
                progress.seconds = before + time.monotonic() - began
        progress.epoch += 1
        held = self.measured(self.average.network)
        progress.seconds = before + time.monotonic() - began
        line = {
            "epoch": progress.epoch,
            "loss": total / self.batches.steps,
            **held,
            "minutes": progress.seconds / 60,
        }
        progress.history.append(line)
        self._keep()
        told = " ".join(f"{name} {value:.3f}" for name, value in line.items() if name != "epoch")
        self.say(f"epoch {progress.epoch}/{self.recipe.epochs} {told}")

    def _step(self, batch: B) -> float:
        set_rate(self.optimiser, self.recipe, self.progress, self.batches.steps)
        return learn_from(self.loss(batch), self._learner, self.folder)

    def trained(self) -> Trained[N, R]:
        """What came of it."""
        return Trained(
            self.average.network.cpu(),
            self.recipe,
            self.backbone,
            self.found,
            self.folder,
            self.progress.seconds / 60,
        )

    def _keep(self) -> None:
        about = {
            "recipe": self.text(self.recipe),
            "edition": self.backbone.edition,
            "learned_from": json.dumps(sorted(self.learned)),
        }
        self._learner.keep(self.folder, about)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one; the recipe may ask for a longer run."""
        self._learner.restore(self.folder, self._check)

    @property
    def _learner(self) -> Learner:
        return Learner(self.network, self.average, self.optimiser, self.progress)

    def _check(self, path: Path, state: Mapping[str, Any]) -> None:
        check_recipe(path, self.parse(yaml.safe_load(state["recipe"])), self.recipe)
        if state["edition"] != self.backbone.edition:
            raise TrainingError(
                f"{path}: was made with another edition of {self.recipe.backbone}; train anew"
            )
        before = frozenset(json.loads(state.get("learned_from", "[]")))  # not told before
        check_held_out(path, "persons", before, self.found.persons)
        self.learned |= before
