"""Recipes: how a network is trained, as data with a schema.

A recipe is a YAML file; unknown keys and values out of range are errors that name the place. The
shipped ones stand in ``trainers/recipes`` and go by their name, such as ``depth_light``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import FiniteFloat, StringConstraints, TypeAdapter, ValidationError

from ..engines.errors import EngineError
from ..graph.errors import GraphDefinitionError
from ..graph.plain_yaml import read_yaml

SHIPPED = Path(__file__).parent / "recipes"
NETWORK = "network"
"""Kind of a recipe that does not say its kind."""

STRICT: dict[str, str] = {"extra": "forbid"}
Share = Annotated[FiniteFloat, Ge(0), Le(1)]
Amount = Annotated[FiniteFloat, Ge(0)]
Count = Annotated[int, Gt(0)]
Name = Annotated[str, StringConstraints(pattern=r"(?i)^[a-z0-9][a-z0-9 _-]*$")]
"""Of a recipe: one that its bundle can have too, told before the training and not after it."""
R = TypeVar("R")


class TrainingError(EngineError):
    """Training cannot go on with what was given."""

    wrong_use = True


class TrainingFailed(TrainingError):
    """A training, or making its bundle, failed after it had begun."""

    wrong_use = False


class RecipeError(TrainingError, GraphDefinitionError):
    """A recipe is not one: says where, what was expected and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChoice:
    """Which network, and what is changed of it."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Literal[
        "depth",
        "depth_light",
        "patch",
        "patch_light",
        "patch_natural",
        "context",
        "views",
        "views_parts",
    ]
    embedding: Annotated[int, Ge(2), Le(64)] = 48
    """Length of the embedding."""
    theta: Share = 0.0
    """Share of the central difference in the convolutions; depth networks only."""
    width: Annotated[FiniteFloat, Gt(0), Le(2)] = 1.0
    """Share of the usual channel counts; depth and context networks only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Weights of the terms of the sum that is minimised, and their targets."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    score: Amount = 1.0
    """Weight of the cross-entropy of the score."""
    smoothing: Annotated[FiniteFloat, Ge(0), Le(0.4)] = 0.05
    """Share by which the labels 0 and 1 are pulled to the middle."""
    depth: Amount = 1.0
    """Weight of the depth map's error."""
    depth_norm: Literal["l1", "mse"] = "l1"
    contrastive: Amount = 0.0
    """Weight of the contrastive depth loss (Wang et al. 2020)."""
    mask_depth: Literal["keep", "zero"] = "zero"
    """Target of a mask attack's map: its shape, or flat like the other attacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Changes to a training crop, drawn alike for live and attack; 0 switches one off."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    flip: Share = 0.5
    """Chance of a mirror image."""
    brightness: Annotated[FiniteFloat, Ge(0), Le(128)] = 30.0
    """Largest shift, in levels of 255."""
    contrast: Annotated[FiniteFloat, Ge(0), Le(0.9)] = 0.3
    """Largest relative change."""
    gamma: Annotated[FiniteFloat, Ge(0), Le(2)] = 0.3
    """Largest natural logarithm of the exponent, either way."""
    temperature: Annotated[FiniteFloat, Ge(0), Le(0.5)] = 0.1
    """Largest relative gain of red over blue, either way; half as much of green."""
    erase: Share = 0.2
    """Chance that a rectangle of noise covers part of the crop."""
    shift: Annotated[FiniteFloat, Ge(0), Le(0.3)] = 0.04
    """Largest shift of face and context crops, in sides."""
    scale: Annotated[FiniteFloat, Ge(0), Le(0.5)] = 0.08
    """Largest relative change of size of face and context crops."""
    blur: Share = 0.15
    """Chance of a Gaussian blur of 0.3 to 1.2 pixels."""
    downscale: Share = 0.15
    """Chance that a face or context crop is made 1.2 to 3 times smaller and enlarged again."""
    jpeg: Share = 0.25
    """Chance of JPEG compression of quality 40 to 95."""
    noise: Share = 0.2
    """Chance of Gaussian noise of 1 to 6 levels."""
    gray: Share = 0.03
    """Chance that the colour is taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """Who and what is kept out of training, to validate on.

    Validation live crops are of held-out persons; validation attacks are of held-out persons on
    held-out media. Crops of a held-out person on a medium of the training, or the other way
    round, are used for neither. A species with one medium is held out by person alone.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    persons: tuple[str, ...] = ()
    """By name; empty: ``share`` of them, drawn by a hash of the name."""
    media: tuple[str, ...] = ()
    """By name; empty: ``share`` of each species' media, at least one of two."""
    cameras: tuple[str, ...] = ()
    """By name: crops of these are not trained on. Validation takes them as they come."""
    share: Annotated[FiniteFloat, Ge(0), Le(0.5)] = 0.2
    """0, with no persons or media named, holds nobody out: for the network of everybody that
    cross-fitting makes beside its folds."""

    @property
    def nobody(self) -> bool:
        """Whether no person and no medium is held out."""
        return not (self.share or self.persons or self.media)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides a training beside its data."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Name
    task: Annotated[str, MinLen(1)]
    """What the network tells, in one sentence, for the manifest."""
    network: NetworkChoice
    losses: Losses = field(default_factory=Losses)
    augmentation: Augmentation = field(default_factory=Augmentation)
    hold_out: HoldOut = field(default_factory=HoldOut)
    balance: tuple[
        Literal["label", "species", "instrument", "person", "medium", "source", "clip"], ...
    ] = (
        "label",
        "species",
        "person",
    )
    """Nested groups that are drawn with equal chances, the first outermost."""
    leave_out_species: tuple[Literal["print", "screen", "mask", "partial"], ...] = ()
    """PAI species that are not trained on."""
    leave_out_sources: tuple[str, ...] = ()
    """Sources that are not trained on and not validated on."""
    seed: Annotated[int, Ge(0)] = 0
    batch: Annotated[int, Ge(2)] = 32
    epochs: Count = 20
    steps_per_epoch: Count | None = None
    """None: as many as show each training crop once on average."""
    validation_crops: Count = 4000
    """At most so many crops a store are scored after an epoch, spread over its rows."""
    share_of_learned: Annotated[FiniteFloat, Gt(0), Le(1)] = 1.0
    """How far from the weights that the training started from to the learned ones those lie that
    are written: half-way, 0.5, keeps what was known beside what is learned
    (:func:`padflow.trainers.weights.between`). Under 1 only of a training with a start."""
    max_minutes: Annotated[FiniteFloat, Gt(0)] | None = None
    """Stop after the epoch that passes it. The learning rate then follows the clock where that is
    ahead of the steps, and two runs are no longer bit by bit the same."""
    learning_rate: Annotated[FiniteFloat, Gt(0)] = 1e-3
    weight_decay: Amount = 0.05
    warm_up: Share = 0.05
    """Share of the run in which the learning rate rises from 0."""
    average: Annotated[FiniteFloat, Ge(0), Le(0.99999)] = 0.998
    """Decay a step of the moving average of the weights, which is what is validated and shipped."""
    fuse_colour: bool = False
    """Compile the colour planes into one pass: a saving on a CPU, at half a minute to begin with.
    Needs a C++ compiler."""
    precision: Literal["f32", "bf16"] = "f32"
    """bf16: mixed, where the processor computes in it; elsewhere f32."""
    select_by: str = "validation"
    """What chooses the best epoch: ``validation`` (held-out persons and media), ``last`` (the last
    epoch), or the name of an extra validation store, which then no longer serves as a test."""


def load_recipe(name_or_file: str | Path, **changes: Any) -> Recipe:
    """Read a network's recipe by its shipped name or from a YAML file.

    Args:
        name_or_file: such as ``depth_light`` or ``my/recipe.yaml``.
        changes: top-level keys that replace the file's.

    Raises:
        RecipeError: there is no such recipe, or it does not keep to the schema.
    """
    return parse_recipe(recipe_content(name_or_file) | changes, str(name_or_file))


def recipe_content(name_or_file: str | Path) -> dict[str, Any]:
    """What stands in a recipe of a shipped name or in a YAML file, not yet checked.

    Raises:
        RecipeError: there is no such recipe, or it is no mapping in YAML.
    """
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        path = SHIPPED / f"{name_or_file}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
        raise RecipeError(
            f"recipe {name_or_file}: no such file; expected a YAML file or one of {names}"
        )
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {path}: expected a mapping, found {type(content).__name__}")
    return content


def recipe_kind(name_or_file: str | Path) -> str:
    """What a recipe makes: ``network``, or what its key ``kind`` says.

    Raises:
        RecipeError: there is no such recipe, or it is no mapping in YAML.
    """
    return str(recipe_content(name_or_file).get("kind", NETWORK))


def parse_recipe(content: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from what YAML or JSON gave.

    Raises:
        RecipeError: names the key and what is wrong with it.
    """
    return parsed(_adapter(), content, where, Recipe, _SECTIONS)


def parsed(
    adapter: TypeAdapter[R],
    content: Mapping[str, Any],
    where: str,
    whole: type[R],
    sections: Mapping[str, type],
) -> R:
    """A recipe of any kind, checked against its schema; its key ``kind`` is not part of that.

    Args:
        adapter: of the recipe's class.
        content: what YAML or JSON gave.
        where: what to call it.
        whole: the recipe's class.
        sections: classes of its sections by key.

    Raises:
        RecipeError: names the key and what is wrong with it.
    """
    try:
        return adapter.validate_python({k: v for k, v in content.items() if k != "kind"})
    except ValidationError as error:
        raise RecipeError(f"recipe {where}: {_explained(error, whole, sections)}") from error


def recipe_text(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as YAML that :func:`load_recipe` reads."""
    return yaml.safe_dump(_adapter().dump_python(recipe, mode="json"), sort_keys=False)


def recipe_names(kind: str = NETWORK) -> list[str]:
    """Names of the shipped recipes of a kind."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml") if recipe_kind(path) == kind)


@cache
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)


_SECTIONS: Mapping[str, type] = {
    "network": NetworkChoice,
    "losses": Losses,
    "augmentation": Augmentation,
    "hold_out": HoldOut,
}


def _explained(error: ValidationError, whole: type, sections: Mapping[str, type]) -> str:
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    where = ".".join(place) or "the whole"
    if fault["type"] not in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: {fault['msg'].lower()}, found {fault['input']!r:.80}"
    section = whole if len(place) == 1 else sections[place[0]]
    right = [field.name for field in fields(section)]
    near = get_close_matches(place[-1], right, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(right)}"
    return f"{where}: unknown key; {hint}"
