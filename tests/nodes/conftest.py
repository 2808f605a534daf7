"""Real faces for the tests of the face nodes: the public-domain portrait and the real clips."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from padflow.nodes.frame import Frame
from padflow.nodes.mesh import MeshNet
from padflow.nodes.payloads import Box, TrackedFace
from padflow.trainers.canonical import portrait

FrameOf = Callable[..., Frame]


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """The portrait, uint8 RGB (512, 512, 3)."""
    return portrait("astronaut")


@pytest.fixture
def astronaut_box() -> Box:
    """The portrait's face as a detector would see it."""
    return Box(175.0, 70.0, 100.0, 110.0)


@pytest.fixture
def frame_of() -> FrameOf:
    """Makes a frame of an RGB picture."""

    def make(image: np.ndarray, index: int = 0, corrupt: bool = False) -> Frame:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return Frame(picture.reformat(format="yuv420p"), index, corrupt=corrupt)

    return make


@pytest.fixture
def face_in() -> Callable[..., TrackedFace]:
    """Makes a tracked face."""

    def make(frame: Frame, box: Box, lost_for: float = 0.0) -> TrackedFace:
        return TrackedFace(frame, box, True, 0.9, None, lost_for, 0.0)

    return make


@pytest.fixture(scope="session")
def mesh_net(models: Path) -> Iterator[MeshNet]:
    """The real mesh network."""
    with MeshNet() as net:
        yield net


@pytest.fixture(scope="session")
def clip_frames() -> Callable[[Path, int], Iterator[Frame]]:
    """Reads the first frames of a clip."""

    def read(path: Path, most: int) -> Iterator[Frame]:
        with av.open(str(path)) as container:
            for index, picture in enumerate(container.decode(video=0)):
                if index == most:
                    return
                yield Frame(picture, index, media_time=picture.time)

    return read


@pytest.fixture
def warped() -> Callable[..., np.ndarray]:
    """Turns, scales and shifts a picture about a point."""

    def warp(
        image: np.ndarray,
        about: tuple[float, float],
        angle: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        matrix = cv2.getRotationMatrix2D(about, -angle, scale)
        matrix[:, 2] += np.array(shift)
        size = (image.shape[1], image.shape[0])
        return np.asarray(
            cv2.warpAffine(
                image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        )

    return warp
