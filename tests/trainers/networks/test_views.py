"""Views and parts: learned apart, added where they serve; a views network may be extended."""

import numpy as np
import pytest
import torch

from padflow.trainers.networks.views import PARTS_COUNT, ViewsNetwork, ViewsPartsNetwork
from padflow.trainers.recipe import Losses
from padflow.trainers.training import loss_of
from padflow.trainers.weights import Weights, use_weights


def numbers(network: torch.nn.Module) -> Weights:
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def pictures(count: int) -> torch.Tensor:
    """Features of so many faces, all different."""
    shape = ViewsPartsNetwork(embedding=8).example(count).shape
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def views() -> ViewsNetwork:
    torch.manual_seed(1)
    network = ViewsNetwork(embedding=8)
    network(pictures(8)[:, : network.example(1).shape[1]])  # Its normalisation has seen something.
    return network.eval()


@pytest.fixture
def extended(views: ViewsNetwork) -> ViewsPartsNetwork:
    network = ViewsPartsNetwork(embedding=8)
    use_weights(network, network.grown(numbers(views)))
    return network


def test_the_parts_are_added_to_what_the_views_say(
    views: ViewsNetwork, extended: ViewsPartsNetwork
) -> None:
    given = pictures(4)
    with torch.inference_mode():
        alone = views(given[:, : views.example(1).shape[1]])
        served = extended.eval()(given)
        apart = extended.train()(given)
    assert served.parts is None
    assert torch.equal(apart.score, alone.score)
    assert torch.equal(served.embedding, alone.embedding)
    parts = extended.eval().parts
    torch.nn.init.zeros_(parts.weight)
    torch.nn.init.constant_(parts.bias, 3.0)
    with torch.inference_mode():
        assert torch.allclose(extended(given).score, alone.score + 3 * PARTS_COUNT)


def test_an_extended_network_learns_its_parts_alone(extended: ViewsPartsNetwork) -> None:
    before = numbers(extended)
    assert extended.training
    optimiser = torch.optim.AdamW(extended.parameters(), lr=0.01, weight_decay=1.0)
    batch = {"live": torch.tensor([1.0, 0.0] * 4)}
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(extended(pictures(8)), batch, Losses()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    changed = {name for name, value in numbers(extended).items() if (value != before[name]).any()}
    assert changed == {
        *("parts.weight", "parts.bias", "parts_normalise.running_mean"),
        *("parts_normalise.running_var", "parts_normalise.num_batches_tracked"),
    }


def test_a_whole_network_goes_on_as_a_whole(extended: ViewsPartsNetwork) -> None:
    again = ViewsPartsNetwork(embedding=8)
    given = numbers(extended)
    assert again.grown(given) is given
    use_weights(again, given)
    again.train()(pictures(8))
    assert all(p.requires_grad for p in again.parameters())
    mean = "normalise.running_mean"
    assert not np.array_equal(numbers(again)[mean], given[mean])
