"""Types that every stage of the synthesis shares."""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

Array = npt.NDArray[Any]
"""An array whose shape and dtype the docstring beside it gives."""

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Colour = tuple[float, float, float]
"""Linear R, G, B."""


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Random numbers for one purpose: the same seed and stream give the same numbers.

    Stages that draw from streams of their own do not shift each other's numbers when one of them
    changes.
    """
    return np.random.default_rng(np.random.SeedSequence((seed, *stream)))
