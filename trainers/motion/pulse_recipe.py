"""The recipe of the pulse network on depth features; as :mod:`.recipe`, of a kind of its own."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import FiniteFloat

from ...nodes.pulse_depth import MINIMUM, WINDOW
from ..recipe import STRICT, Amount, Share
from .recipe import RecipeFormat, SequenceRecipe

KIND = "pulse_depth"
"""What such a recipe says as ``kind``."""

Seconds = Annotated[FiniteFloat, Ge(5), Le(20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseDepthChoice:
    """How large the network is."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    name: Literal["pulse_depth"] = "pulse_depth"
    width: Annotated[int, Ge(1), Le(512)] = 128
    """Channels of the feature head's first convolution; 128 as published."""
    hidden: Annotated[int, Ge(4), Le(512)] = 100
    """Size of the LSTM; 100 as published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseDepthLosses:
    """Weights of the terms of the sum that is minimised."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    spectrum: Amount = 1.0
    """Of the L1 distance of the spectra (METHODS 8.4)."""
    line: Amount = 1.0
    """Of the logarithm of the spectrum's share that is not within 6 a minute of the true rate,
    where there is a pulse. The L1 distance alone is least, at first, where the wave is 0: noise in
    fifty bins costs more than the one line is worth. This term does not depend on the wave's
    size, so that it finds the line; then the other one lets it grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """How stretches are drawn from sequences."""

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    shortest: Seconds = MINIMUM
    """Seconds that are looked at, at least; shorter sequences are left out."""
    longest: Seconds = WINDOW
    """Seconds that are looked at, at most."""
    missed: Annotated[FiniteFloat, Ge(0), Le(0.5)] = 0.03
    """Chance that a frame is missed."""
    halved: Share = 0.25
    """Chance that every second frame is left out, where 10 a second or more are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseDepthRecipe(SequenceRecipe):
    """All that decides a training of the pulse network on depth features beside its data."""

    network: PulseDepthChoice = field(default_factory=PulseDepthChoice)
    losses: PulseDepthLosses = field(default_factory=PulseDepthLosses)
    sampling: Stretches = field(default_factory=Stretches)

    def __post_init__(self) -> None:
        """Refuse lengths that contradict each other."""
        if self.sampling.longest < self.sampling.shortest:
            raise ValueError("sampling.longest is below sampling.shortest")


PULSE_DEPTH = RecipeFormat(
    KIND,
    PulseDepthRecipe,
    {"network": PulseDepthChoice, "losses": PulseDepthLosses, "sampling": Stretches},
)
"""Recipes of the pulse network on depth features."""
