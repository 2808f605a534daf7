"""How strange a crop may be to a network: fitted once it has learned."""

import numpy as np
import torch

from .crops import CropStore
from .holdout import Rows, Split
from .networks import CropNetwork
from .scoring import score_rows, spread

FITTING_CROPS = 4000
"""At most so many crops of a side serve to fit it."""
REACH = 0.995
"""Quantile of the strangeness of crops that a network knows or does not know, for their ratio."""


def fit_strangeness(
    network: CropNetwork, store: CropStore, found: Split, most: int = FITTING_CROPS
) -> None:
    """Fit the network's measure of strangeness on its training and held-out crops.

    Where none are held out, training crops stand in for them, and it reaches less far.
    """
    train_rows = spread(store, found.train, most)
    trained = score_rows(network, store, train_rows)
    held_out = trained
    if len(found.validation):
        held_out = score_rows(network, store, spread(store, found.validation, most))
    network.head.strangeness.fit(
        torch.from_numpy(trained.embedding),
        torch.from_numpy(store.live[train_rows][trained.place]),
        torch.from_numpy(held_out.embedding),
    )


def widen_strangeness(
    network: CropNetwork, before: CropNetwork, store: CropStore, rows: Rows
) -> None:
    """Let a network's strangeness, fitted on training crops alone, reach as far as another's.

    Held-out crops lie further out than those that were learned from, and with nobody held out it
    is not known how far. So the same crops come to lie where they lie by the network that it went
    on from, whose 1 was set by people it was kept from.
    """
    old, new = (reach_of(one, store, rows) for one in (before, network))
    if old > 0:  # else it was never fitted
        with torch.no_grad():
            network.head.strangeness.whitening.mul_(min(old / max(new, 1e-6), 1.0))


def reach_of(network: CropNetwork, store: CropStore, rows: Rows) -> float:
    """The strangeness that nearly all of these crops stay below, up to 4000 of them."""
    embeddings = score_rows(network, store, spread(store, rows, FITTING_CROPS)).embedding
    with torch.inference_mode():
        found = network.head.strangeness(torch.from_numpy(embeddings))
    return float(np.quantile(found.numpy(), REACH))
