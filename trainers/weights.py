"""The weights of a network as NumPy arrays in one file: what a later training starts from.

An ONNX file is folded and cannot be trained on. So a bundle carries, in the role ``weights``, an
``.npz`` of the network's state by name. It holds numbers only: nothing of it is ever unpickled.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..engines.bundle import Bundle
from ..engines.whole_file import whole_file
from .recipe import TrainingError

if TYPE_CHECKING:
    from torch import nn

ROLE = "weights"
"""Of the file in a bundle."""

Weights = Mapping[str, npt.NDArray[np.generic]]


def weights_of(network: "nn.Module") -> dict[str, Any]:
    """Parameters, normalisation statistics and fitted strangeness by name, as NumPy arrays."""
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def save_weights(network: "nn.Module", path: Path) -> Path:
    """Write parameters, normalisation statistics and the fitted strangeness to an ``.npz``."""
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, **weights_of(network))
    return path


def load_weights(path: Path) -> Weights:
    """Read what :func:`save_weights` wrote.

    Raises:
        TrainingError: the file is no ``.npz``, or holds something other than numbers.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path}: expected weights as an .npz of numbers, found {error}; get the bundle anew"
        ) from error


def bundle_weights(bundle: Bundle) -> Weights:
    """The weights that a bundle carries.

    Raises:
        TrainingError: it carries none, or they cannot be read.
    """
    file = bundle.manifest.files.get(ROLE)
    if file is None:
        raise TrainingError(
            f"bundle {bundle.folder}: expected weights to start from, found only "
            f"{', '.join(sorted(bundle.manifest.files))}; make the bundle anew with padflow train"
        )
    return load_weights(bundle.folder / file.path)


def between(before: Weights, after: Weights, share: float) -> Weights:
    """The weights that lie between two of one network, as far from the first as asked.

    Wortsman et al., *Robust fine-tuning of zero-shot models* (CVPR 2022): between weights and what
    a further training on other data made of them lie networks that have the one's knowledge and
    the other's.

    Args:
        before: the training's start.
        after: its end.
        share: 0 gives ``before``, 1 ``after``. Whole numbers, such as counts, are always the
            latter's.
    """
    return {name: _mixed(before[name], value, share) for name, value in after.items()}


def _mixed(
    before: npt.NDArray[np.generic], after: npt.NDArray[np.generic], share: float
) -> npt.NDArray[np.generic]:
    if after.dtype.kind != "f":
        return after
    found = (1 - share) * before.astype(np.float64) + share * after.astype(np.float64)
    return found.astype(after.dtype)


def mean_of(each: Sequence[Weights]) -> Weights:
    """The mean of one network's weights from several trainings.

    Wortsman et al., *Model soups* (ICML 2022): of trainings that went on from the same weights, it
    is about as good as their votes together, at the cost of one network.

    Args:
        each: at least one. Whole numbers are the last one's.

    Raises:
        TrainingError: they are of different networks.
    """
    mean: Weights = each[0]
    for number, one in enumerate(each[1:], 2):
        for name in mean.keys() | one.keys():
            if name not in mean or name not in one or mean[name].shape != one[name].shape:
                raise TrainingError(
                    f"weights: expected those of one network to take the mean of, found {name} "
                    "of one unlike another's; give bundles that were made with one recipe"
                )
        mean = between(mean, one, 1 / number)
    return mean


def use_weights(network: "nn.Module", weights: Weights) -> None:
    """Put weights into a network of the same design, in place.

    Raises:
        TrainingError: names, shapes or types differ, or a number is not finite.
    """
    import torch

    state = network.state_dict()
    if strange := sorted(state.keys() ^ weights.keys()):
        where = "lack" if strange[0] in state else "have besides"
        raise TrainingError(
            f"weights: expected those of this network, which they {where} {strange[0]}; use the "
            "recipe that they were made with"
        )
    for name, value in state.items():
        array = weights[name]
        if array.shape != tuple(value.shape) or array.dtype != value.cpu().numpy().dtype:
            raise TrainingError(
                f"weights: {name}: expected {value.dtype} {tuple(value.shape)}, found "
                f"{array.dtype} {array.shape}; use the recipe that they were made with"
            )
        if not np.isfinite(array.astype(np.float64)).all():
            raise TrainingError(f"weights: {name}: expected finite numbers; get the bundle anew")
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
