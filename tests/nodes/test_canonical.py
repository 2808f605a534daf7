import numpy as np
import pytest

from padflow.nodes import canonical
from padflow.nodes.canonical import GRID_SIDE, LOOPS, canonical_face, interpolate

FACE = canonical_face()


def test_mirror_map_is_an_involution_and_the_shape_follows_it() -> None:
    assert (FACE.mirror[FACE.mirror] == np.arange(468)).all()
    assert np.allclose(FACE.points[FACE.mirror], FACE.points * (-1, 1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("right", "left"),
    [
        ("right_eye", "left_eye"),
        ("right_brow", "left_brow"),
        ("right_cheek", "left_cheek"),
        ("lips", "lips"),
        ("nostrils", "nostrils"),
        ("forehead", "forehead"),
        ("oval", "oval"),
    ],
)
def test_named_parts_mirror_each_other(right: str, left: str) -> None:
    assert set(FACE.mirror[list(LOOPS[right])]) == set(LOOPS[left])


def test_named_points_lie_where_their_names_say() -> None:
    x, y, z = FACE.points.T
    assert x[canonical.RIGHT_EYE_OUTER] < x[canonical.RIGHT_EYE_INNER] < 0
    assert 0 < x[canonical.LEFT_EYE_INNER] < x[canonical.LEFT_EYE_OUTER]
    assert y[canonical.FOREHEAD_TOP] == y.min()
    assert y[canonical.CHIN] == y.max()
    assert x[canonical.RIGHT_SIDE] == pytest.approx(x.min(), abs=0.05)
    assert z[canonical.NOSE_TIP] < -0.6
    assert abs(x[canonical.NOSE_TIP]) < 1e-5
    assert x[canonical.RIGHT_MOUTH_CORNER] < 0 < x[canonical.LEFT_MOUTH_CORNER]
    assert y[canonical.NOSE_TIP] < y[canonical.RIGHT_MOUTH_CORNER] < y[canonical.CHIN]


def test_unit_is_the_interocular_distance() -> None:
    right = FACE.points[list(canonical.RIGHT_EYE_CORNERS)].mean(0)
    left = FACE.points[list(canonical.LEFT_EYE_CORNERS)].mean(0)
    assert np.linalg.norm(left - right) == pytest.approx(1.0, abs=1e-5)
    assert np.allclose((left + right)[:2], 0, atol=1e-5)


def test_triangles_cover_every_point_once_over_and_face_the_camera() -> None:
    assert set(FACE.triangles.ravel()) == set(range(468))
    first, second, third = (FACE.points[FACE.triangles[:, i]] for i in range(3))
    backward = np.cross(second - first, third - first)[:, 2] >= 0
    assert backward.sum() <= 6
    assert (np.abs(FACE.points[FACE.triangles[backward], 0]) > 0.9).all()  # the flanks
    first, second, third = (FACE.chart[FACE.triangles[:, i]] for i in range(3))
    (ax, ay), (bx, by) = (second - first).T, (third - first).T
    assert (ax * by - ay * bx < 0).all()  # none folds over on the chart
    # A triangulated disc: V - E + F = 1, with every inner edge in two triangles.
    edges = np.sort(FACE.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    kinds, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2
    assert 468 - len(kinds) + len(FACE.triangles) == 1


def test_normals_are_unit_and_the_nose_tip_looks_at_the_camera() -> None:
    assert np.allclose(np.linalg.norm(FACE.normals, axis=1), 1, atol=1e-5)
    assert FACE.normals[4][2] < -0.8
    assert FACE.normals[canonical.RIGHT_SIDE][0] < -0.5


def test_cells_sit_in_their_triangles() -> None:
    covered = FACE.covered.ravel()
    assert 700 < covered.sum() < 900
    weights = FACE.cell_weights[covered]
    assert np.allclose(weights.sum(1), 1, atol=1e-4)
    assert (weights > -1e-4).all()
    column, row = np.meshgrid(np.arange(GRID_SIDE) + 0.5, np.arange(GRID_SIDE) + 0.5)
    middles = np.stack([column.ravel(), row.ravel()], 1)[covered]
    assert np.allclose(interpolate(FACE.chart, FACE)[covered], middles, atol=1e-3)


def test_face_fills_the_grid() -> None:
    assert FACE.covered[0].any()
    assert FACE.covered[-1].any()
    assert FACE.covered[:, 0].any()
    assert FACE.covered[:, -1].any()


def test_skin_leaves_out_eyes_brows_lips_and_nostrils() -> None:
    assert not (FACE.skin & ~FACE.covered).any()
    for part in ("right_eye", "left_eye", "right_brow", "left_brow", "lips", "nostrils"):
        column, row = FACE.chart[list(LOOPS[part])].mean(0)
        assert not FACE.skin[int(row), int(column)], part
    assert 450 < FACE.skin.sum() < 600


def test_regions_are_skin_disjoint_and_on_the_side_that_they_are_named_after() -> None:
    masks = list(FACE.regions.values())
    assert set(FACE.regions) == set(canonical.REGIONS)
    assert np.sum(masks, axis=0).max() == 1
    assert all(mask.sum() >= 25 for mask in masks)
    assert not (np.any(masks, axis=0) & ~FACE.skin).any()
    middle = {name: np.argwhere(mask).mean(0) for name, mask in FACE.regions.items()}
    # The person's right is the picture's left.
    assert middle["right_cheek"][1] < GRID_SIDE / 2 < middle["left_cheek"][1]
    assert middle["forehead"][0] < middle["right_cheek"][0]


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        FACE.points[0] = 0
