from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.nodes.canonical import LEFT_EYE_CORNERS, MESH_POINTS, RIGHT_EYE_CORNERS
from padflow.nodes.mesh import MeshNet
from padflow.trainers.attacks import portraits
from padflow.trainers.attacks.acts import Person, Stage
from padflow.trainers.attacks.identity import INTEROCULAR, NoFaceInPortrait, fit_identity
from padflow.trainers.attacks.portraits import PortraitsMissing, load_portrait
from padflow.trainers.attacks.posing import Bearing, expression_shift, posed, relit
from padflow.trainers.attacks.render import Lens, texture_map

NAMES = ("astronaut", "hopper")
HERE = np.array([0.0, 0.0, 0.7])


def _bearing(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Bearing:
    return Bearing(HERE, (yaw, pitch, roll), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_face_is_as_large_as_a_face(cast: dict[str, Person], name: str) -> None:
    mesh = cast[name].identity.mesh
    right, left = (mesh[list(pair)].mean(axis=0) for pair in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    assert np.hypot(*(left - right)[:2]) == pytest.approx(INTEROCULAR, rel=0.01)
    assert 0.10 < np.ptp(mesh[:, 1]) < 0.20
    assert mesh[:, 2].min() < 0 < mesh[:, 2].max()  # the nose is before the eyes


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_finite_and_in_range(cast: dict[str, Person], name: str) -> None:
    identity = cast[name].identity
    for array in (identity.figure.points, identity.figure.texels, identity.normals):
        assert np.isfinite(array).all()
    assert identity.figure.texture.min() >= 0.0
    assert identity.figure.texture.max() <= 1.0 + 1e-6
    assert identity.head_share.min() >= 0.0
    assert (identity.head_share[:MESH_POINTS] == 1.0).all()
    assert (identity.head_share == 0.0).any()
    assert 0.0 <= identity.perfusion.strength.min() <= identity.perfusion.strength.max() < 1.4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("yaw", [-20.0, 0.0, 20.0])
def test_a_turned_figure_has_no_holes(cast: dict[str, Person], name: str, yaw: float) -> None:
    identity = cast[name].identity
    points = posed(identity, _bearing(yaw))
    lens = Lens(448.0, 640, 360)
    where = texture_map(identity.figure, points, np.ones(len(points), np.float32), lens)
    assert where is not None
    beside = np.pad((where.seen < 0.5).astype(np.uint8), ((1, 0), (1, 1)), constant_values=1)
    count, labels = cv2.connectedComponents(beside, connectivity=4)
    enclosed = (beside > 0) & (labels != labels[0, 0])
    # What is not figure is outside of it; the picture's lower edge cuts the figure off.
    enclosed &= ~np.isin(labels, labels[-1])
    assert enclosed.sum() <= 4, count
    face = np.zeros(where.seen.shape, np.uint8)
    places = lens.project(points[:MESH_POINTS]) - (where.window.x, where.window.y)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(places).astype(np.int32)), 1)
    # The hull of a turned face reaches over the dent between brow and cheek.
    assert (where.seen[cv2.erode(face, np.ones((5, 5), np.uint8)) > 0] == 1.0).mean() > 0.99


def test_turning_shows_parallax(cast: dict[str, Person]) -> None:
    identity = cast["astronaut"].identity
    lens = Lens(900.0, 1280, 720)
    rest, turned = (lens.project(posed(identity, _bearing(yaw))) for yaw in (0.0, 15.0))
    nose, cheek = 1, 234
    assert (turned - rest)[nose, 0] > (turned - rest)[cheek, 0] + 15.0


def test_a_blink_closes_the_eyes_and_nothing_else(cast: dict[str, Person]) -> None:
    mesh = cast["astronaut"].identity.mesh
    shift = expression_shift(mesh, 1.0, 0.0, 0.0)
    for upper, lower in ((159, 145), (386, 374)):
        open_eye = np.linalg.norm(mesh[upper] - mesh[lower])
        closed = np.linalg.norm((mesh + shift)[upper] - (mesh + shift)[lower])
        assert closed < 0.1 * open_eye
    mouth_and_chin = [61, 291, 13, 14, 152, 1]
    assert not shift[mouth_and_chin].any()


def test_the_trunk_stays_when_the_head_turns(cast: dict[str, Person]) -> None:
    identity = cast["hopper"].identity
    trunk = identity.head_share == 0.0
    assert posed(identity, _bearing(20.0))[trunk] == pytest.approx(
        posed(identity, _bearing())[trunk], abs=1e-6
    )


def test_light_does_not_change_at_rest(cast: dict[str, Person]) -> None:
    identity = cast["hopper"].identity
    lamp = np.array([0.0, -0.8, -0.6])
    still = relit(identity.figure.points, identity.figure.triangles, identity.normals, lamp)
    assert still == pytest.approx(np.ones(len(still)), abs=1e-5)
    moved = relit(
        posed(identity, _bearing(15.0)), identity.figure.triangles, identity.normals, lamp
    )
    assert 0.005 < np.abs(moved - 1.0).max() < 0.7


def test_a_fit_is_the_same_again(cast: dict[str, Person], stage: Stage) -> None:
    """Films of one process share a fit; those of another process must have the same."""
    person = cast["hopper"]
    with MeshNet() as net:
        again = fit_identity(person.portrait, net, stage.texels_per_metre)
    for name in ("points", "triangles", "texels", "texture"):
        expected = getattr(person.identity.figure, name)
        assert np.array_equal(getattr(again.figure, name), expected), name


def test_marks_beside_the_face_are_refused(models: Path) -> None:
    portrait = load_portrait("astronaut")
    wrong = replace(portrait, eyes=portrait.eyes + np.array([150, 250], np.float32))
    with MeshNet() as net, pytest.raises(NoFaceInPortrait, match="astronaut"):
        fit_identity(wrong, net)


def test_an_unknown_portrait_is_named() -> None:
    with pytest.raises(ValueError, match="astronaut, hopper"):
        load_portrait("lena")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(PortraitsMissing, match=r"padflow\[demo\]"):
        portraits.load_portrait("astronaut")
