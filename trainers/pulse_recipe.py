"""The recipe of the pulse network: its clips are drawn, so it needs no data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import yaml
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import FiniteFloat, TypeAdapter

from .recipe import STRICT, Amount, Count, Name, RecipeError, Share, parsed, recipe_content

KIND = "pulse"
"""What such a recipe says as ``kind``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseNetworkChoice:
    """Sizes of the network."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Literal["pulse"]
    cell_size: Annotated[int, Ge(4), Le(128)] = 24
    """Hidden size of the cells' LSTM."""
    face_size: Annotated[int, Ge(4), Le(128)] = 32
    """Hidden size of the face's LSTM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseLosses:
    """Weights of the terms of the sum that is minimised."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    spectrum: Amount = 0.2
    """Of the L1 distance of the spectra (METHODS 8.4)."""
    wave: Amount = 1.0
    """Of one minus the correlation of the waves, where there is a pulse."""
    line: Amount = 0.2
    """Of the logarithm of the spectrum's share that is not within 6 a minute of the true rate,
    where there is a pulse: it is the strongest line that counts."""
    cells: Amount = 0.5
    """Of the cells' own waves beside the face's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseRecipe:
    """All that decides a training of the pulse network."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Name
    task: Annotated[str, MinLen(1)]
    """What the network tells, in one sentence, for the manifest."""
    network: PulseNetworkChoice
    losses: PulseLosses = field(default_factory=PulseLosses)
    seed: Annotated[int, Ge(0)] = 0
    batch: Annotated[int, Ge(2)] = 32
    """Clips of one frame rate that make a step."""
    drawn: Count = 150
    """Batches of clips that are drawn as traces."""
    filmed: Annotated[int, Ge(0)] = 20
    """Batches of clips that are filmed: small pictures through a real encoder, which takes half a
    second of a core for each clip."""
    film_seconds: Annotated[FiniteFloat, Ge(7), Le(20)] = 8.0
    """Length of a filmed clip; a drawn one has 10 s."""
    film_looks: Count = 2
    """How often an epoch shows each filmed batch; it shows a drawn one once."""
    faces_beating: Annotated[int, Ge(0)] = 0
    """Rendered faces with a pulse; a clip takes some ten seconds of a core."""
    faces_still: Annotated[int, Ge(0)] = 0
    """Rendered faces without one, on which pulses are drawn."""
    faced: Annotated[int, Ge(0)] = 0
    """Batches that are drawn from the rendered faces."""
    validation: Count = 10
    """Drawn batches to validate on; and a fifth as many filmed ones, if any are trained on."""
    calibration_drawn: Count = 12
    """Drawn batches to calibrate on; as many more measure the calibrated network."""
    calibration_filmed: Annotated[int, Ge(0)] = 2
    """The same of filmed batches."""
    epochs: Count = 8
    max_minutes: Annotated[FiniteFloat, Gt(0)] | None = None
    """Stop after the epoch that passes it. The learning rate then follows the clock where that is
    ahead of the steps."""
    learning_rate: Annotated[FiniteFloat, Gt(0)] = 4e-3
    weight_decay: Amount = 1e-4
    warm_up: Share = 0.05
    """Share of the run in which the learning rate rises from 0."""
    average: Annotated[FiniteFloat, Ge(0), Le(0.99999)] = 0.99
    """Decay a step of the moving average of the weights, which is what is validated and shipped."""


def load_pulse_recipe(name_or_file: str, **changes: Any) -> PulseRecipe:
    """Read a recipe by its shipped name or from a YAML file; see ``load_recipe``."""
    return parse_pulse_recipe(recipe_content(name_or_file) | changes, name_or_file)


def parse_pulse_recipe(content: Mapping[str, Any], where: str = "recipe") -> PulseRecipe:
    """A recipe from what YAML or JSON gave.

    Raises:
        RecipeError: names the key and what is wrong with it.
    """
    recipe: PulseRecipe = parsed(_adapter(), content, where, PulseRecipe, _SECTIONS)
    if recipe.faced and not recipe.faces_beating + recipe.faces_still:
        raise RecipeError(
            f"{where}: expected faces_beating or faces_still above 0 where faced is "
            f"{recipe.faced}, found none; name how many faces to render, or set faced to 0"
        )
    return recipe


def pulse_recipe_text(recipe: PulseRecipe) -> str:
    """The whole recipe, defaults included, as YAML."""
    content = {"kind": KIND, **_adapter().dump_python(recipe, mode="json")}
    return yaml.safe_dump(content, sort_keys=False)


@cache
def _adapter() -> TypeAdapter[PulseRecipe]:
    return TypeAdapter(PulseRecipe)


_SECTIONS: Mapping[str, type] = {"network": PulseNetworkChoice, "losses": PulseLosses}
