"""The mesh between two looks of the network: carried where the picture carries it, only there."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from padflow.nodes.frame import Frame
from padflow.nodes.mesh import MeshNet, MeshTrack, follow
from padflow.nodes.payloads import Box, TrackedFace

PERIOD = 0.1
EYES = np.array([[199.0, 104.0], [247.0, 104.0], [224.0, 132.0], [223.0, 152.0]], np.float32)
"""About the portrait's eyes, nose and mouth."""


class CountingNet(MeshNet):
    """The real network, counting its looks."""

    looks = 0

    def infer(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        self.looks += 1
        return super().infer(crop)


@pytest.fixture
def known(
    models: object, astronaut: np.ndarray, astronaut_box: Box, frame_of: Callable[..., Frame]
) -> Iterator[tuple[CountingNet, Frame, TrackedFace, MeshTrack]]:
    """A track that the network has just looked at, at time 0."""
    frame, track = frame_of(astronaut), MeshTrack()
    face = TrackedFace(frame, astronaut_box, True, 0.9, EYES, 0.0, 0.0)
    with CountingNet() as net:
        for _ in range(5):  # the crop settles
            assert follow(net, frame, face, track, 0.0, PERIOD).holds
        net.looks = 0
        yield net, frame, face, track


Known = tuple[CountingNet, Frame, TrackedFace, MeshTrack]


def moved(face: TrackedFace, frame: Frame, dx: float, dy: float) -> TrackedFace:
    """The face where flow has it after a shift in pixels."""
    assert face.keypoints is not None
    box = face.box._replace(x=face.box.x + dx, y=face.box.y + dy)
    shift = np.array((dx, dy), np.float32)
    return replace(face, frame=frame, box=box, keypoints=face.keypoints + shift, detected=False)


def test_a_carried_mesh_lies_where_the_network_would_lay_it(
    known: Known, astronaut: np.ndarray, frame_of: Callable[..., Frame]
) -> None:
    net, _, face, track = known
    shifted = frame_of(np.roll(astronaut, (2, 4), axis=(0, 1)))
    face = moved(face, shifted, 4.0, 2.0)

    carried = follow(net, shifted, face, track, 0.04, PERIOD)

    assert net.looks == 0
    assert carried.holds
    looked = follow(net, shifted, face, track, 0.12, PERIOD)
    assert net.looks == 1
    eyes = float(np.linalg.norm(EYES[1] - EYES[0]))
    apart = np.linalg.norm(carried.mesh[:, :2] - looked.mesh[:, :2], axis=1)
    assert np.median(apart) < 0.03 * eyes
    assert abs(carried.box.x - looked.box.x) < 0.05 * eyes


def test_turn_and_growth_are_carried_exactly(known: Known) -> None:
    net, frame, face, track = known
    before = follow(net, frame, replace(face, detected=False), track, 0.04, PERIOD)
    assert face.keypoints is not None
    middle = face.keypoints.mean(0)
    turn = 1.01 * np.exp(0.01j)
    rotation = np.array([[turn.real, turn.imag], [-turn.imag, turn.real]], np.float32)
    points = (face.keypoints - middle) @ rotation + middle

    after = follow(net, frame, replace(face, detected=False, keypoints=points), track, 0.08, PERIOD)

    assert net.looks == 0
    expected = (before.mesh[:, :2] - middle) @ rotation + middle
    np.testing.assert_allclose(after.mesh[:, :2], expected, atol=0.02)
    np.testing.assert_allclose(after.mesh[:, 2], 1.01 * before.mesh[:, 2], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"detected": True},
        {"lost_for": 0.04},
        {"keypoints": None},
    ],
)
def test_a_face_that_flow_does_not_vouch_for_is_looked_at(
    known: Known, change: dict[str, object]
) -> None:
    net, frame, face, track = known
    face = replace(replace(face, detected=False), **change)  # type: ignore[arg-type]  # by name

    follow(net, frame, face, track, 0.04, PERIOD)

    assert net.looks >= 1


def test_a_face_that_moves_far_is_looked_at(known: Known) -> None:
    net, frame, face, track = known

    follow(net, frame, moved(face, frame, 9.0, 0.0), track, 0.04, PERIOD)

    assert net.looks >= 1


def test_every_frame_is_looked_at_without_a_period(known: Known) -> None:
    net, frame, face, track = known
    face = replace(face, detected=False)

    for number in range(1, 4):
        follow(net, frame, face, track, 0.01 * number, 0.0)

    assert net.looks == 3
