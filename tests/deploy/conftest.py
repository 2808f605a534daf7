"""Rendered clips that the tests of whole runs share, so that they need no data of their own."""

from pathlib import Path

import pytest

from padflow.trainers.attacks.feed import render_clip


@pytest.fixture(scope="session")
def live_clip(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A living face at the door: 640x360, 25 fps, 5 s, 125 frames."""
    path = tmp_path_factory.mktemp("rendered") / "live.mp4"
    render_clip("live", path, seconds=5.0)
    return path


@pytest.fixture(scope="session")
def print_clip(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A paper print at the door: 640x360, 25 fps, 1.2 s, 30 frames."""
    path = tmp_path_factory.mktemp("rendered") / "print.mp4"
    render_clip("print", path, seconds=1.2, seed=1)
    return path
