from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from padflow.nodes.canonical import GRID_SIDE
from padflow.nodes.frame import Frame
from padflow.nodes.mesh import CROP_SIDE, MeshNet, MeshTrack, Square, follow
from padflow.nodes.payloads import Box, Quality, TrackedFace
from padflow.nodes.pose import PoseSolver
from padflow.nodes.quality import FaceLooks, OcclusionHint, assess, framing, sharpness, speed
from padflow.nodes.skin import SkinMap, SkinMapper

FrameOf = Callable[..., Frame]
FaceIn = Callable[..., TrackedFace]
Warp = Callable[..., np.ndarray]
FACE_SQUARE = Square(225.0, 123.0, 161.0, 0.05)


class Seen(NamedTuple):
    skin: SkinMap
    quality: Quality


@pytest.fixture
def look(
    mesh_net: MeshNet, astronaut_box: Box, frame_of: FrameOf, face_in: FaceIn
) -> Callable[..., Seen]:
    """Skin and quality of the portrait's face in a picture."""

    def see(image: np.ndarray, box: Box = astronaut_box) -> Seen:
        frame = frame_of(image)
        track = MeshTrack()
        for _ in range(3):
            reading = follow(mesh_net, frame, face_in(frame, box), track)
        pose = PoseSolver().solve(reading.mesh)
        size = frame.width, frame.height
        skin = SkinMapper().sample(reading, pose.rotation, size)
        return Seen(skin, assess(reading, pose, skin, 0.0, 0.0, 1.0, 40.0, size))

    return see


def crop_of(image: np.ndarray, square: Square = FACE_SQUARE) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, square.matrix(), (CROP_SIDE, CROP_SIDE), flags=flags))


def test_sharpness_falls_with_every_blur(astronaut: np.ndarray) -> None:
    values = [sharpness(crop_of(astronaut), FACE_SQUARE.side)]
    for sigma in (0.7, 1.0, 1.5, 2.0, 3.0, 5.0):
        blurred = cv2.GaussianBlur(astronaut, (0, 0), sigma)
        values.append(sharpness(crop_of(blurred), FACE_SQUARE.side))
    assert values[0] > 0.4
    assert values[-1] < 0.15
    assert all(before > after for before, after in pairwise(values)), values


def test_a_small_sharp_face_is_sharper_than_a_large_blurred_one(astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    square = Square(FACE_SQUARE.x / 2, FACE_SQUARE.y / 2, FACE_SQUARE.side / 2, FACE_SQUARE.angle)
    small_sharpness = sharpness(crop_of(small, square), square.side)
    blurred = cv2.GaussianBlur(astronaut, (0, 0), 2.5)
    assert small_sharpness > 0.4
    assert small_sharpness > sharpness(crop_of(blurred), FACE_SQUARE.side) + 0.2


def test_camera_noise_does_not_make_a_blurred_face_sharp(astronaut: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    blurred = crop_of(cv2.GaussianBlur(astronaut, (0, 0), 2.5))
    noisy = (blurred + rng.normal(0, 6, blurred.shape)).round().clip(0, 255).astype(np.uint8)
    clean = sharpness(blurred, CROP_SIDE)
    assert sharpness(noisy, CROP_SIDE) == pytest.approx(clean, abs=0.1)


def test_sharpness_of_nothing_is_zero() -> None:
    flat = np.full((CROP_SIDE, CROP_SIDE, 3), 90, np.uint8)
    assert sharpness(flat, 200.0) == 0.0
    assert sharpness(flat, 0.0) == 0.0
    assert sharpness(flat, 5.0) == 0.0


def test_size_is_that_of_the_face_whatever_the_pose(
    look: Callable[..., Seen], astronaut: np.ndarray, astronaut_box: Box
) -> None:
    full = look(astronaut).quality.size
    # Between the eyes' centres of this portrait lie 46 px, give or take two.
    assert full == pytest.approx(46 * 2.5, abs=8)
    half = cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    box = Box(*(value / 2 for value in astronaut_box))
    assert look(half, box).quality.size == pytest.approx(full / 2, rel=0.03)


def test_exposure_and_clipping(look: Callable[..., Seen], astronaut: np.ndarray) -> None:
    normal = look(astronaut).quality
    dark = look((astronaut * 0.3).astype(np.uint8)).quality
    bright = look(np.clip(astronaut * 2.2, 0, 255).astype(np.uint8)).quality
    assert dark.exposure == pytest.approx(normal.exposure * 0.3, abs=3)
    assert dark.exposure < normal.exposure < bright.exposure
    assert normal.clipped < 0.05
    assert bright.clipped > 0.7
    assert normal.presence > 0.95


def settled(skin: SkinMap) -> FaceLooks:
    """The model of a track that has looked like this for two seconds."""
    looks, hint = FaceLooks.unknown(), OcclusionHint()
    for step in range(10):
        hint.hint(looks, skin, step * 0.2, learn=True)
    return looks


def test_a_hand_before_the_face_is_noticed(
    look: Callable[..., Seen], astronaut: np.ndarray
) -> None:
    looks = settled(look(astronaut).skin)
    covered = astronaut.copy()
    hand = astronaut[405:465, 160:230]  # the astronaut's own: gloved in orange and white
    covered[120:180, 190:260] = hand
    found = OcclusionHint().hint(looks, look(covered).skin, 2.1, learn=True)
    assert found.share > 0.1
    rows = np.argwhere(found.departed)[:, 0]
    assert np.median(rows) > GRID_SIDE / 2  # the lower half, where the hand is


def test_light_and_head_turns_are_no_occlusion(
    look: Callable[..., Seen], astronaut: np.ndarray, warped: Warp
) -> None:
    looks = settled(look(astronaut).skin)
    x = np.linspace(0.6, 1.3, astronaut.shape[1])[None, :, None]
    pictures = {
        "dimmed": (astronaut * 0.6).astype(np.uint8),
        "lit from the side": np.clip(astronaut * x, 0, 255).astype(np.uint8),
        "warmer": np.clip(astronaut * (1.15, 1.0, 0.8), 0, 255).astype(np.uint8),
        "turned": warped(astronaut, (225.0, 123.0), angle=15.0),
    }
    for name, picture in pictures.items():
        found = OcclusionHint().hint(looks, look(picture).skin, looks.time or 0.0, learn=False)
        looks.hint = None
        assert found.share < 0.05, name


def test_a_lasting_change_is_learnt_in_the_end(
    look: Callable[..., Seen], astronaut: np.ndarray
) -> None:
    looks, hint = settled(look(astronaut).skin), OcclusionHint()
    changed = astronaut.copy()
    changed[75:120, 180:270] = (40, 40, 60)  # a cap
    skin = look(changed).skin
    first = hint.hint(looks, skin, 2.1, learn=True).share
    shares = [hint.hint(looks, skin, 2.1 + step * 0.2, learn=True).share for step in range(450)]
    assert first > 0.05
    assert shares[10] > 0.05
    assert shares[-1] < 0.01


def test_the_hint_holds_between_looks(look: Callable[..., Seen], astronaut: np.ndarray) -> None:
    skin = look(astronaut).skin
    looks, hint = settled(skin), OcclusionHint()
    first = hint.hint(looks, skin, 5.0, learn=True)
    assert hint.hint(looks, skin, 5.16, learn=True) is first
    assert hint.hint(looks, skin, 5.2, learn=True) is not first


def test_speed_is_in_face_widths_a_second() -> None:
    assert speed((100.0, 100.0), None, 0.04, 50.0) == 0.0
    assert speed((103.0, 104.0), (100.0, 100.0), 0.1, 50.0) == pytest.approx(1.0)
    assert speed((103.0, 104.0), (100.0, 100.0), 0.0, 50.0) == 0.0


@pytest.mark.parametrize(
    ("box", "inside", "below"),
    [
        (Box(100, 100, 50, 80), 1.0, 60 / 80),
        (Box(-10, 100, 40, 80), 0.75, 60 / 80),
        (Box(180, 100, 40, 80), 0.5, 60 / 80),
        (Box(100, 200, 50, 80), 0.5, -40 / 80),
        (Box(100, -40, 50, 80), 0.5, 200 / 80),
        (Box(300, 300, 50, 80), 0.0, -140 / 80),
        (Box(10, 10, 0, 0), 0.0, 230 / 1e-6),
    ],
)
def test_how_a_face_stands_in_the_picture(box: Box, inside: float, below: float) -> None:
    assert framing(box, (200, 240)) == pytest.approx((inside, below))
