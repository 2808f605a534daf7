"""What the tests of trainings on sequences share."""

from pathlib import Path

import pytest
import torch

from padflow.trainers.motion.stages import Backbone
from tests.trainers.motion.pulse_toys import write_tiny_backbone


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A depth network that is never asked for its features."""
    return Backbone.read(str(write_tiny_backbone(tmp_path_factory.mktemp("bundles") / "tiny")))


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is left in the environment, and one thread computes."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or Lightning does
    torch.set_num_threads(1)
