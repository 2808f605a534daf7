"""What a network costs, in every precision; how fast this machine is, no test asserts."""

from pathlib import Path

import pytest
import torch

from padflow.trainers.speed import NetworkCost, network_costs

NAMES = ("patch_light",)
ON_FEATURES = ("views",)


@pytest.fixture(scope="module")
def costs(models: Path) -> list[NetworkCost]:
    """Measured once, outside of any test: torch's exporter keeps a thread of its own for ever."""
    before = torch.get_num_threads()
    found = list(network_costs((*NAMES, *ON_FEATURES), threads=1, seconds=0.0))
    assert torch.get_num_threads() == before
    return found


def test_every_precision_is_measured_beside_torch(costs: list[NetworkCost]) -> None:
    assert [(cost.network, cost.how) for cost in costs] == [
        *((name, how) for name in NAMES for how in ("torch eager", "f32", "bf16", "int8")),
        *((name, how) for name in ON_FEATURES for how in ("f32", "bf16")),
    ]
    assert all(cost.faces_per_s > 0 and cost.cpu_ms > 0 for cost in costs)


def test_a_face_is_four_patches_or_one_picture(costs: list[NetworkCost]) -> None:
    pictures = {cost.network: cost.pictures for cost in costs}
    assert pictures == {"patch_light": 4, "views": 1}


def test_int8_files_are_smaller(costs: list[NetworkCost]) -> None:
    sizes = {(cost.network, cost.how): cost.megabytes for cost in costs}
    for name in NAMES:
        assert sizes[name, "torch eager"] == 0
        assert 0 < sizes[name, "int8"] < 0.5 * sizes[name, "f32"]
