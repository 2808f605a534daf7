"""Where a training stands, kept in its folder: how it goes on after an interruption.

``checkpoint.pt`` holds all that a resumed run needs and ``history.jsonl`` one object an epoch.
Files are written aside and then renamed, and nothing is ever unpickled.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from ..engines.whole_file import whole_file, write_whole
from .average import WeightAverage
from .recipe import TrainingError, TrainingFailed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    R = TypeVar("R", bound=DataclassInstance)

CHECKPOINT, HISTORY = "checkpoint.pt", "history.jsonl"
_MAY_DIFFER: Mapping[str, Any] = {
    "epochs": 1,
    "max_minutes": None,
    "joint": None,
    "share_of_learned": 1.0,
}
"""What a resumed run's recipe may ask for otherwise: it goes on for longer, or what it learned is
mixed in otherwise."""


@dataclass(slots=True)
class Progress:
    """Where a run stands; goes into the checkpoint."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def over(self, epochs: int, max_minutes: float | None) -> bool:
        """Whether the run has come to its end."""
        late = max_minutes is not None and self.seconds >= 60 * max_minutes
        return late or self.epoch >= epochs


@dataclass(frozen=True, slots=True)
class Learner:
    """What learns, and how far it has come."""

    network: nn.Module
    average: WeightAverage[Any]
    optimiser: torch.optim.Optimizer
    progress: Progress

    def keep(self, folder: Path, about: Mapping[str, str]) -> None:
        """Write the checkpoint and the history.

        Args:
            folder: of the run.
            about: what else the checkpoint is to say, such as the recipe.
        """
        state = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
            **about,
        }
        save_state(state, folder / CHECKPOINT)
        keep_history(self.progress.history, folder)

    def restore(self, folder: Path, check: Callable[[Path, Mapping[str, Any]], None]) -> None:
        """Go on from the folder's checkpoint, if there is one.

        Args:
            folder: of the run.
            check: raises where the checkpoint of that path and state is not this run's.

        Raises:
            TrainingError: the file is damaged.
        """
        path = folder / CHECKPOINT
        if not path.is_file():
            return
        state = load_state(path)
        check(path, state)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)


def check_recipe(path: Path, before: "R", now: "R") -> None:
    """Whether a checkpoint's recipe is the run's, but for how long it trains.

    Raises:
        TrainingError: it is another.
    """
    names = {one.name for one in fields(now)}
    alike = {name: value for name, value in _MAY_DIFFER.items() if name in names}
    if replace(before, **alike) != replace(now, **alike):
        raise TrainingError(
            f"{path}: was made with another recipe; give the one in {path.parent}/recipe.yaml or "
            "another folder"
        )


def check_start(path: Path, before: bool, now: bool) -> None:
    """Whether a run goes on from other weights if, and only if, it was begun from some.

    Raises:
        TrainingError: it does not.
    """
    if before != now:
        wanted = "the weights that it was begun from" if before else "none, as it was begun"
        raise TrainingError(
            f"{path}: --start: expected {wanted}, found {'some' if now else 'none'}; resume the "
            "run with the words that began it"
        )


def check_held_out(path: Path, kind: str, learned: Set[str], held_out: Iterable[str]) -> None:
    """Whether nobody and nothing is held out now that was learned from: other data may.

    Args:
        path: The checkpoint.
        kind: Of what some is held out: persons, media.
        learned: Those that it has learned from.
        held_out: Those that the run holds out.

    Raises:
        TrainingError: it has learned from one of them.
    """
    if known := sorted(learned & set(held_out)):
        raise TrainingError(
            f"{path}: expected the data that it was made with, found others that hold out {kind} "
            f"that it has learned from ({', '.join(known)}); give those data, or train anew"
        )


def keep_history(history: list[dict[str, Any]], folder: Path) -> None:
    """Write one line an epoch."""
    write_whole(folder / HISTORY, "".join(f"{json.dumps(line)}\n" for line in history))


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write tensors and plain values, aside and then renamed.

    Raises:
        TrainingError: there is no room, or no right to write; what was there before stays.
    """
    try:
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch's own error where the disk is full
        raise TrainingFailed(
            f"{path}: cannot be written: {error}; make room, then go on with --resume"
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; nothing is unpickled.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error}; train anew") from error
    except Exception as error:
        # Torch raises whatever the damage leads to, and advises to unpickle what it does not know.
        raise TrainingError(
            f"{path}: cannot be read: it is damaged, or was not written by padflow; train anew"
        ) from error
    return state
