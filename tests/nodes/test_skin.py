from collections.abc import Callable

import cv2
import numpy as np
import pytest

from padflow.nodes.canonical import GRID_SIDE, canonical_face
from padflow.nodes.frame import Frame
from padflow.nodes.mesh import CROP_SIDE, MeshNet, MeshReading, MeshTrack, Square, box_of, follow
from padflow.nodes.mesh import to_frame as mesh_to_frame
from padflow.nodes.payloads import Box, TrackedFace
from padflow.nodes.pose import PoseSolver, rotation_of
from padflow.nodes.skin import SkinMap, SkinMapper, background_mean

FrameOf = Callable[..., Frame]
FaceIn = Callable[..., TrackedFace]
Warp = Callable[..., np.ndarray]

FACE = canonical_face()
NOTHING_DEPARTED = np.zeros((GRID_SIDE, GRID_SIDE), bool)
BIG = (4000, 4000)


def pattern() -> np.ndarray:
    """A smooth colour pattern over the chart, uint8 (320, 320, 3): ten pixels a cell."""
    y, x = np.mgrid[0:320, 0:320] / 320.0
    red = 128 + 80 * np.sin(9 * x + 4 * y)
    green = 128 + 80 * np.cos(7 * y - 3 * x)
    blue = 60 + 120 * x
    return np.stack([red, green, blue], -1).astype(np.uint8)


def rendered(mesh: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """The textured mesh as a crop on black, triangles painted from back to front."""
    owner = np.full((CROP_SIDE, CROP_SIDE), -1, np.int32)
    depth = mesh[FACE.triangles, 2].mean(1)
    for number in np.argsort(-depth):
        corners = (mesh[FACE.triangles[number], :2] * 16).round().astype(np.int32)
        cv2.fillConvexPoly(owner, corners, int(number), shift=4)
    y, x = np.nonzero(owner >= 0)
    triangles = FACE.triangles[owner[y, x]]
    homogeneous = np.concatenate([mesh[triangles, :2], np.ones((len(x), 3, 1))], 2)
    pixels = np.stack([x, y, np.ones(len(x))], 1)
    weights = np.linalg.solve(homogeneous.transpose(0, 2, 1), pixels[..., None])[..., 0]
    places = np.einsum("nc,nck->nk", weights, FACE.chart[triangles]) * 10 - 0.5
    crop = np.zeros((CROP_SIDE, CROP_SIDE, 3), np.uint8)
    # remap takes fewer than 32768 rows: as one row of blocks.
    colours = np.zeros((len(x), 3), np.uint8)
    for start in range(0, len(x), 16384):
        part = places[start : start + 16384].astype(np.float32)
        colours[start : start + 16384] = cv2.remap(
            texture, part[:, :1], part[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )[:, 0]
    crop[y, x] = colours
    return crop


def reading_of(mesh: np.ndarray, crop: np.ndarray, matrix: np.ndarray | None = None) -> MeshReading:
    matrix = Square(2000, 2000, 192, 0.0).matrix() if matrix is None else matrix
    frame_mesh = mesh_to_frame(mesh, matrix)
    return MeshReading(frame_mesh, mesh, 1.0, crop, matrix, box_of(frame_mesh), True)


def posed(
    yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, scale: float = 52.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:  # fmt: skip
    points = (FACE.points - FACE.points.mean(0)) @ rotation_of(yaw, pitch, roll).T
    return np.asarray(points * scale + (96 + shift[0], 96 + shift[1], 0), np.float32)


POSES = {
    "still": {},
    "yaw": {"yaw": 25.0},
    "yaw back": {"yaw": -25.0},
    "pitch": {"pitch": 15.0},
    "roll": {"roll": 20.0},
    "small": {"scale": 42.0},
    "shifted": {"shift": (7.3, -4.6)},
    "all": {"yaw": 18.0, "pitch": -8.0, "roll": -12.0, "scale": 47.0, "shift": (-5.5, 3.2)},
}


@pytest.mark.parametrize("name", POSES)
def test_a_cell_is_the_same_spot_of_skin_in_every_pose(name: str) -> None:
    texture = pattern()
    mesh = posed(**POSES[name])  # type: ignore[arg-type]  # mixed values of the table
    skin = SkinMapper().sample(
        reading_of(mesh, rendered(mesh, texture)), PoseSolver().solve(mesh).rotation, BIG
    )
    truth = cv2.resize(texture, (GRID_SIDE, GRID_SIDE), interpolation=cv2.INTER_AREA)
    seen = skin.facing.reshape(GRID_SIDE, GRID_SIDE) >= 0.5
    assert seen.sum() > 200
    off = np.abs(skin.grid[seen] - truth[seen])
    # The pattern rises by about 20 levels from one cell to the next: 3 levels are a seventh of one.
    assert np.median(off) < 3
    assert np.percentile(off, 95) < 12


def test_cells_that_turn_away_are_not_valid() -> None:
    mapper, solver = SkinMapper(), PoseSolver()
    crop = np.full((CROP_SIDE, CROP_SIDE, 3), 120, np.uint8)
    counts = []
    for yaw in (0.0, 30.0, 60.0):
        mesh = posed(yaw=yaw)
        skin = mapper.sample(reading_of(mesh, crop), solver.solve(mesh).rotation, BIG)
        counts.append(int(skin.valid.sum()))
        means = mapper.region_means(skin, NOTHING_DEPARTED)
    assert counts[0] > 420
    assert counts[0] > counts[1] > counts[2] > 100
    # Turned to the picture's right, the cheek on that side, the person's left, goes out of sight.
    assert np.isnan(means["left_cheek"]).all()
    assert means["right_cheek"] == pytest.approx([120] * 3, abs=0.01)


def test_a_region_does_not_jump_while_the_head_turns() -> None:
    """Skin of uneven colour on a slowly turning head: cells leave their region without a step."""
    mapper, solver = SkinMapper(), PoseSolver()
    texture = pattern()
    greens = []
    for yaw in np.linspace(30, 50, 21):
        mesh = posed(yaw=float(yaw))
        skin = mapper.sample(
            reading_of(mesh, rendered(mesh, texture)), solver.solve(mesh).rotation, BIG
        )
        greens.append(mapper.region_means(skin, NOTHING_DEPARTED)["left_cheek"][0])
    steps = np.diff([g for g in greens if np.isfinite(g)])
    assert len(steps) >= 5
    assert np.abs(steps).max() < 3.0


def test_cells_outside_the_picture_are_not_valid() -> None:
    mapper, solver = SkinMapper(), PoseSolver()
    mesh = posed()
    crop = np.full((CROP_SIDE, CROP_SIDE, 3), 120, np.uint8)
    at_left_border = Square(0.0, 100.0, 192.0, 0.0).matrix()
    skin = mapper.sample(
        reading_of(mesh, crop, at_left_border), solver.solve(mesh).rotation, (300, 300)
    )
    assert not skin.valid[:, :15].any()
    assert skin.valid[:, 18:].any()
    means = mapper.region_means(skin, NOTHING_DEPARTED)
    assert np.isnan(means["right_cheek"]).all()
    assert np.isfinite(means["left_cheek"]).all()


def test_a_tenth_of_a_level_comes_through() -> None:
    """A pulse of 0.1 levels in noise like a camera's: averaged, never rounded."""
    mapper, solver = SkinMapper(), PoseSolver()
    rng = np.random.default_rng(0)
    mesh = posed()
    rotation = solver.solve(mesh).rotation
    noise = rng.normal(0, 2.0, (CROP_SIDE, CROP_SIDE, 3))
    dither = rng.uniform(-0.5, 0.5, noise.shape)
    means = []
    for level in (120.0, 120.1):
        crop = np.round(level + noise + dither).clip(0, 255).astype(np.uint8)
        skin = mapper.sample(reading_of(mesh, crop), rotation, BIG)
        means.append(mapper.region_means(skin, NOTHING_DEPARTED))
    for name in means[0]:
        assert (means[1][name] - means[0][name]) == pytest.approx([0.1] * 3, abs=0.035), name
        assert means[0][name].dtype == np.float32


def test_a_covered_region_has_no_colour() -> None:
    mapper, solver = SkinMapper(), PoseSolver()
    mesh = posed()
    crop = np.full((CROP_SIDE, CROP_SIDE, 3), 120, np.uint8)
    skin = mapper.sample(reading_of(mesh, crop), solver.solve(mesh).rotation, BIG)
    departed = NOTHING_DEPARTED.copy()
    departed[FACE.regions["forehead"]] = True
    means = mapper.region_means(skin, departed)
    assert np.isnan(means["forehead"]).all()
    assert np.isfinite(means["left_cheek"]).all()


def test_background_is_beside_the_head_and_absent_out_of_the_picture() -> None:
    mesh = posed()
    crop = rendered(mesh, np.full((320, 320, 3), 200, np.uint8))
    crop[crop.sum(2) == 0] = (10, 40, 70)
    inside = Square(200.0, 200.0, 192.0, 0.0).matrix()
    assert background_mean(reading_of(mesh, crop, inside), (400, 400)) == pytest.approx(
        (10, 40, 70), abs=0.01
    )
    assert np.isfinite(background_mean(reading_of(mesh, crop, inside), (250, 400))).all()
    outside = Square(50.0, 50.0, 192.0, 0.0).matrix()
    assert np.isnan(background_mean(reading_of(mesh, crop, outside), (100, 100))).all()


@pytest.mark.parametrize(
    "move",
    [
        {"shift": (6.4, 3.7)},
        {"angle": 12.0},
        {"scale": 1.15},
        {"angle": -8.0, "scale": 0.9, "shift": (-9.5, 4.0)},
    ],
    ids=["shift", "turn", "scale", "all"],
)
def test_the_real_mesh_keeps_cells_in_place_on_a_moved_portrait(
    move: dict[str, float],
    mesh_net: MeshNet,
    astronaut: np.ndarray,
    astronaut_box: Box,
    frame_of: FrameOf,
    face_in: FaceIn,
    warped: Warp,
) -> None:
    def skin_of(image: np.ndarray, box: Box) -> SkinMap:
        frame = frame_of(image)
        track = MeshTrack()
        for _ in range(4):
            reading = follow(mesh_net, frame, face_in(frame, box), track)
        rotation = PoseSolver().solve(reading.mesh).rotation
        return SkinMapper().sample(reading, rotation, (frame.width, frame.height))

    x, y = astronaut_box.centre
    here = skin_of(astronaut, astronaut_box)
    dx, dy = move.get("shift", (0.0, 0.0))  # type: ignore[misc]  # mixed values of the table
    moved_box = astronaut_box._replace(x=astronaut_box.x + dx, y=astronaut_box.y + dy)
    there = skin_of(warped(astronaut, (x, y), **move), moved_box)
    both = here.valid & there.valid
    assert both.sum() > 350
    # Against the whole map slid by one cell, which is what a bad registration would look like.
    slid = np.abs(here.grid[:, 1:] - here.grid[:, :-1])[both[:, 1:] & both[:, :-1]].mean()
    off = np.abs(here.grid - there.grid)[both].mean()
    assert off < 0.5 * slid
    assert off < 5.0
