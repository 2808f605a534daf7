"""The networks by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le

from .base import CropNetwork
from .context import ContextNetwork
from .depth import DepthNetwork
from .patch import PatchNaturalNetwork, PatchNetwork
from .views import ViewsNetwork, ViewsPartsNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What a recipe may change of a network."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    embedding: Annotated[int, Ge(2), Le(64)] = 48
    """Length of the embedding."""
    theta: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the central difference in the convolutions; depth networks only."""
    width: Annotated[float, Gt(0), Le(2)] = 1.0
    """Share of the network's usual channel counts; depth and context networks only."""


def _depth(options: NetworkOptions) -> CropNetwork:
    return DepthNetwork(embedding=options.embedding, theta=options.theta, width=options.width)


def _depth_light(options: NetworkOptions) -> CropNetwork:
    return DepthNetwork(
        embedding=options.embedding, theta=options.theta, width=options.width / 3, coarse=True
    )


def _patch(options: NetworkOptions) -> CropNetwork:
    return PatchNetwork(embedding=options.embedding)


def _patch_light(options: NetworkOptions) -> CropNetwork:
    return PatchNetwork(
        embedding=options.embedding,
        widths=(16, 32, 48, 64, 80),
        connected=(128, 96),
        first_kernel=3,
    )


def _patch_natural(options: NetworkOptions) -> CropNetwork:
    return PatchNaturalNetwork(embedding=options.embedding)


def _context(options: NetworkOptions) -> CropNetwork:
    return ContextNetwork(embedding=options.embedding, width=options.width)


def _views(options: NetworkOptions) -> CropNetwork:
    return ViewsNetwork(embedding=options.embedding)


def _views_parts(options: NetworkOptions) -> CropNetwork:
    return ViewsPartsNetwork(embedding=options.embedding)


NETWORKS: Mapping[str, Callable[[NetworkOptions], CropNetwork]] = {
    "depth": _depth,
    "depth_light": _depth_light,
    "patch": _patch,
    "patch_light": _patch_light,
    "patch_natural": _patch_natural,
    "context": _context,
    "views": _views,
    "views_parts": _views_parts,
}


def build_network(name: str, options: NetworkOptions | None = None) -> CropNetwork:
    """A new network of that name with random weights.

    Raises:
        KeyError: there is no network of that name.
    """
    return NETWORKS[name](options or NetworkOptions())
