"""Rendered clips that the tests of whole runs share, so that they need no data of their own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np
import pytest

from padflow.engines import load_engine
from padflow.nodes.depth_net import STAGES
from padflow.trainers.attacks.feed import render_clip


@pytest.fixture(scope="session")
def compiled(models: Path) -> Iterator[None]:
    """Keeps the default graph's networks compiled, as one long process would.

    A run in this process shares them; one that compiled them itself would take seconds more.
    """
    with ExitStack() as engines:
        for name in ("depth_light", "patch_light", "views"):
            # depth_net leaves out its stages' features, which no node of that graph takes.
            engines.enter_context(load_engine(name, precision="f32", without=STAGES))
        yield


@pytest.fixture(scope="session")
def live_clip(tmp_path_factory: pytest.TempPathFactory, compiled: None) -> Path:
    """A living face at the door: 640x360, 25 fps, 5 s, 125 frames."""
    path = tmp_path_factory.mktemp("rendered") / "live.mp4"
    render_clip("live", path, seconds=5.0)
    return path


@pytest.fixture(scope="session")
def print_clip(tmp_path_factory: pytest.TempPathFactory, compiled: None) -> Path:
    """A paper print at the door: 640x360, 25 fps, 1.2 s, 30 frames."""
    path = tmp_path_factory.mktemp("rendered") / "print.mp4"
    render_clip("print", path, seconds=1.2, seed=1)
    return path


@pytest.fixture(scope="session")
def grey_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of grey: played at camera speed, it does not end while a test looks."""
    path = tmp_path_factory.mktemp("grey") / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(200):
            picture = np.full((48, 64, 3), index % 200, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
