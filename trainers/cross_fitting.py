"""Networks that learn from everybody, calibrated by those that were kept from each person.

A network is sure of the people that it has learned from, so its ratios must rest on others. Holding
them out for good makes it a network of fewer people, where people are what is scarce. So for every
fold a network is trained without the fold's persons and without held-out media, as ever; what it
says of them calibrates the one that is shipped, which has learned from all (as Platt 1999 fits his
sigmoid). Each fold's network has seen fewer people than that one, so the ratios err on the side of
caution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .crops import CropStore
from .holdout import split
from .recipe import Recipe, TrainingError
from .strangeness import reach_of
from .training import Say, Trained, train


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """A network of everybody, and those that were kept from some."""

    everybody: Trained
    """Its split has no validation; its strangeness reaches as far as the folds' do."""
    folds: tuple[Trained, ...]
    """In the order of the persons that were asked for; no person is held out of two."""

    @property
    def minutes(self) -> float:
        """Of training, all networks together."""
        return self.everybody.minutes + sum(fold.minutes for fold in self.folds)


def cross_fit(
    recipe: Recipe,
    store: CropStore,
    out: Path | str,
    folds: Sequence[Sequence[str]],
    *,
    extra_validation: Sequence[Path | str] | Mapping[str, CropStore] = (),
    resume: bool = False,
    tensorboard: bool | None = None,
    say: Say = print,
) -> CrossFitted:
    """Train a network without each fold's persons, and one of everybody.

    Args:
        recipe: of all of them. Its ``hold_out`` is that of the folds, but for their persons; the
            network of everybody learns from all media. Its ``select_by`` is ``last``, since nobody
            is left to choose an epoch of everybody's.
        store: crops of all.
        out: folder of the run; those of the folds are ``fold-1`` and so on within it.
        folds: the persons of each. Persons in none are learned from by all networks.
        extra_validation: as of :func:`padflow.trainers.training.train`.
        resume: go on from the checkpoints that there are.
        tensorboard: as of :func:`padflow.trainers.training.train`.
        say: takes one line an epoch.

    Raises:
        TrainingError: there are fewer than two folds, a person is in two, the recipe chooses its
            epoch by held-out crops, or as of :func:`padflow.trainers.training.train`.
    """
    _check(recipe, folds)
    out = Path(out)
    rules = [replace(recipe.hold_out, persons=tuple(persons)) for persons in folds]
    for rule in rules:
        split(store, rule, recipe.leave_out_sources)  # says what is wrong before hours of training
    made = []
    for number, rule in enumerate(rules, 1):
        say(f"fold {number} of {len(rules)}, without {', '.join(rule.persons)}")
        made.append(
            train(
                replace(recipe, hold_out=rule),
                store,
                out / f"fold-{number}",
                extra_validation=extra_validation,
                resume=resume,
                tensorboard=tensorboard,
                say=say,
            )
        )
    say("everybody")
    everybody = train(
        replace(recipe, hold_out=replace(recipe.hold_out, persons=(), media=(), share=0)),
        store,
        out,
        extra_validation=extra_validation,
        resume=resume,
        tensorboard=tensorboard,
        say=say,
    )
    widening = float(np.mean([_widening(fold) for fold in made]))
    with torch.no_grad():  # fitted on training crops, its strangeness is 1 where theirs ends
        everybody.network.head.strangeness.whitening.div_(widening)
    return CrossFitted(everybody, tuple(made))


def _check(recipe: Recipe, folds: Sequence[Sequence[str]]) -> None:
    if len(folds) < 2 or not all(folds):
        raise TrainingError(
            f"folds: expected two or more groups of persons, found {[list(f) for f in folds]}; "
            "with one group, hold it out"
        )
    named = [person for fold in folds for person in fold]
    if twice := sorted({person for person in named if named.count(person) > 1}):
        raise TrainingError(
            f"folds: expected every person once, found {twice[0]} {named.count(twice[0])} times"
        )
    if recipe.select_by != "last":
        raise TrainingError(
            f"recipe {recipe.name}: select_by: expected 'last' for cross-fitting, found "
            f"{recipe.select_by!r}: nobody is held out of the network of everybody to choose by"
        )


def _widening(fold: Trained) -> float:
    """How much further than its training crops a fold's held-out crops lie, as a ratio."""
    known, new = (
        reach_of(fold.network, fold.store, rows)
        for rows in (fold.split.train, fold.split.validation)
    )
    return new / max(known, 1e-6)
