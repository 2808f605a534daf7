import numpy as np
import pytest

from padflow.nodes.canonical import LIPS, canonical_face
from padflow.nodes.mesh import MeshNet, Square, to_frame
from padflow.nodes.pose import PoseSolver, rotation_of

ANGLES = [
    (0, 0, 0),
    (30, 0, 0),
    (0, 20, 0),
    (0, 0, 15),
    (-40, 10, 25),
    (60, -20, -30),
    (-75, 30, 170),
]


def turned(yaw: float, pitch: float, roll: float, scale: float = 40.0) -> np.ndarray:
    points = canonical_face().points @ rotation_of(yaw, pitch, roll).T
    return np.asarray(points * scale + (300.0, 200.0, 7.0), np.float32)


@pytest.mark.parametrize("angles", ANGLES)
def test_known_rotations_come_back(angles: tuple[float, float, float]) -> None:
    pose = PoseSolver().solve(turned(*angles))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(angles, abs=0.05)
    assert pose.scale == pytest.approx(40.0, rel=1e-4)
    assert np.allclose(pose.rotation, rotation_of(*angles), atol=1e-3)


def test_signs_are_those_of_the_quality_docs() -> None:
    forward = (0.0, 0.0, -1.0)
    assert (rotation_of(20, 0, 0) @ forward)[0] > 0  # the picture's right
    assert (rotation_of(0, 20, 0) @ forward)[1] > 0  # down
    x_axis = rotation_of(0, 0, 20) @ (1.0, 0.0, 0.0)
    assert x_axis[1] > 0  # clockwise, with y down


def test_an_opened_mouth_does_not_turn_the_head() -> None:
    mesh = turned(10, 5, 0)
    opened = mesh.copy()
    opened[list(LIPS), 1] += 12  # a third of the eyes' distance
    pose = PoseSolver().solve(opened)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((10, 5, 0), abs=1.0)


def test_jitter_of_the_points_averages_out() -> None:
    rng = np.random.default_rng(0)
    solver = PoseSolver()
    poses = [
        solver.solve((turned(15, -5, 3) + rng.normal(0, 0.5, (468, 3))).astype(np.float32))
        for _ in range(50)
    ]
    assert np.std([p.yaw for p in poses]) < 0.3
    assert np.mean([p.yaw for p in poses]) == pytest.approx(15, abs=0.2)


def test_a_rolled_and_a_mirrored_portrait(mesh_net: MeshNet, astronaut: np.ndarray) -> None:
    import cv2

    def pose_of(image: np.ndarray, x: float, angle: float) -> tuple[float, float, float]:
        matrix = Square(x, 123.0, 161.0, angle).matrix()
        crop = cv2.warpAffine(image, matrix, (192, 192), flags=cv2.WARP_INVERSE_MAP)
        mesh, presence = mesh_net.infer(np.asarray(crop))
        assert presence > 0.9
        return PoseSolver().solve(to_frame(mesh, matrix))[:3]

    yaw, pitch, roll = pose_of(astronaut, 225.0, 0.05)
    mirrored = pose_of(astronaut[:, ::-1], 511 - 225.0, -0.05)
    assert mirrored == pytest.approx((-yaw, pitch, -roll), abs=3.0)
    turned_picture = cv2.warpAffine(
        astronaut, cv2.getRotationMatrix2D((225.0, 123.0), -20, 1.0), (512, 512)
    )
    assert pose_of(np.asarray(turned_picture), 225.0, 0.05 + np.radians(20)) == pytest.approx(
        (yaw, pitch, roll + 20), abs=3.0
    )
