"""Recipes of motion networks: as :mod:`padflow.trainers.recipe`, with a schema of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import yaml
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import FiniteFloat, TypeAdapter

from ..recipe import STRICT, Amount, Augmentation, Count, Name, Share, parsed, recipe_content

KIND = "motion"
"""What such a recipe says as ``kind``."""

R = TypeVar("R", bound="SequenceRecipe")
Seconds = Annotated[FiniteFloat, Ge(0.02), Le(0.8)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRecipe:
    """What decides every training on sequences beside its data."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Name
    task: Annotated[str, MinLen(1)]
    """What the network tells, in one sentence, for the manifest."""
    backbone: Annotated[str, MinLen(1)] = "depth_light"
    """Name or folder of the depth network's bundle whose features it goes on from."""
    hold_out: tuple[str, ...] = ()
    """Persons to validate and calibrate on; empty: a fifth, drawn by a hash of the name."""
    balance: tuple[
        Literal["label", "species", "instrument", "person", "medium", "source", "id"], ...
    ] = ("label", "species", "person", "id")
    """Nested groups that are drawn with equal chances, the first outermost."""
    seed: Annotated[int, Ge(0)] = 0
    batch: Annotated[int, Ge(2)] = 16
    epochs: Count = 20
    steps_per_epoch: Count = 40
    max_minutes: Annotated[FiniteFloat, Gt(0)] | None = None
    """Stop after the epoch that passes it; the learning rate then follows the clock."""
    learning_rate: Annotated[FiniteFloat, Gt(0)] = 2e-3
    weight_decay: Amount = 0.05
    warm_up: Share = 0.05
    """Share of the run in which the learning rate rises from 0."""
    average: Annotated[FiniteFloat, Ge(0), Le(0.99999)] = 0.99
    """Decay a step of the moving average of the weights, which is what is shipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionNetworkChoice:
    """How large the network is."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Literal["motion_depth"] = "motion_depth"
    reduced: Annotated[int, Ge(1), Le(64)] = 8
    """Channels that are kept of each stage."""
    width: Annotated[int, Ge(1), Le(128)] = 16
    """Channels of the blocks."""
    hidden: Annotated[int, Ge(1), Le(128)] = 16
    """Channels of the recurrence."""
    embedding: Annotated[int, Ge(2), Le(64)] = 16
    alpha: Share | None = 0.4
    """Share of the single-frame map in the refined one, as published; null: learned."""
    dropout: Share = 0.3
    """Chance in training that a channel of what moved is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLosses:
    """Weights of the terms of the sum that is minimised (METHODS 10.4), and their targets."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    score: Amount = 0.8
    """Weight of the cross-entropy of the score after every step."""
    depth: Amount = 0.2
    """Weight of the refined map's squared error after every step."""
    contrastive: Amount = 1.0
    """Weight of the contrastive depth loss beside the squared error."""
    smoothing: Annotated[FiniteFloat, Ge(0), Le(0.4)] = 0.05
    """Share by which the labels 0 and 1 are pulled to the middle."""
    mask_depth: Literal["keep", "zero"] = "zero"
    """Target of a mask attack's map: its shape, or flat like the other attacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How samples of a track are drawn from a sequence."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    steps: Annotated[int, Ge(3), Le(100)] = 12
    """Samples, at most; short sequences give fewer."""
    shortest: Seconds = 0.08
    """Seconds between two samples, at least."""
    longest: Seconds = 0.5
    """Seconds between two samples, as a rule."""
    missed: Share = 0.08
    """Chance that a sample is missed, so that the interval doubles."""
    still: Share = 0.15
    """Share of the sequences in which one sample is repeated: they must be called neither live nor
    attack, so that nothing that a single picture shows can decide."""
    variants: Annotated[int, Ge(1), Le(64)] = 4
    """Copies of each sequence: one as it is, the others with the augmentation's changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """A second stage: backbone and motion network learn together, from crops."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    epochs: Count = 2
    steps_per_epoch: Count = 50
    batch: Annotated[int, Ge(1)] = 2
    steps: Annotated[int, Ge(3), Le(100)] = 6
    """Samples of a sequence."""
    learning_rate: Annotated[FiniteFloat, Gt(0)] = 1e-4
    single: Amount = 0.5
    """Weight of the backbone's own losses, single crop by single crop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionRecipe(SequenceRecipe):
    """All that decides a training of the motion network beside its data."""

    network: MotionNetworkChoice = field(default_factory=MotionNetworkChoice)
    losses: MotionLosses = field(default_factory=MotionLosses)
    sampling: Sampling = field(default_factory=Sampling)
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Of the copies; a change is the same in all crops of a sequence."""
    joint: Joint | None = None
    """A second stage in which the backbone learns too; null: it stays frozen."""

    def __post_init__(self) -> None:
        """Refuse intervals that contradict each other."""
        if self.sampling.longest < self.sampling.shortest:
            raise ValueError("sampling.longest is below sampling.shortest")


class RecipeFormat(Generic[R]):
    """How recipes of one kind are read and written."""

    def __init__(self, kind: str, recipe: type[R], sections: Mapping[str, type]) -> None:
        """A format.

        Args:
            kind: what such a recipe says as ``kind``.
            recipe: the class.
            sections: classes of its sections by key.
        """
        self._kind, self._recipe, self._sections = kind, recipe, sections

    def load(self, name_or_file: str | Path, **changes: Any) -> R:
        """Read a recipe by its shipped name, or from a YAML file.

        Args:
            name_or_file: such as ``motion_depth`` or ``my/recipe.yaml``.
            changes: top-level keys that replace the file's.

        Raises:
            RecipeError: there is no such file, or it does not keep to the schema.
        """
        return self.parse(recipe_content(name_or_file) | changes, str(name_or_file))

    def parse(self, content: Mapping[str, Any], where: str = "recipe") -> R:
        """A recipe from what YAML or JSON gave.

        Raises:
            RecipeError: names the key and what is wrong with it.
        """
        return parsed(self._adapter, content, where, self._recipe, self._sections)

    def text(self, recipe: R) -> str:
        """The whole recipe, defaults included, as YAML that :meth:`load` reads."""
        content = {"kind": self._kind, **self._adapter.dump_python(recipe, mode="json")}
        return yaml.safe_dump(content, sort_keys=False)

    @cached_property
    def _adapter(self) -> TypeAdapter[R]:
        return TypeAdapter(self._recipe)


MOTION = RecipeFormat(
    KIND,
    MotionRecipe,
    {
        "network": MotionNetworkChoice,
        "losses": MotionLosses,
        "sampling": Sampling,
        "augmentation": Augmentation,
        "joint": Joint,
    },
)
"""Recipes of the motion network."""
