from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.nodes.canonical import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from padflow.nodes.mesh import square_of_mesh
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.people import (
    FaceFinder,
    NoPeople,
    PersonPicture,
    clip_pictures,
    person_picture,
    trimmed,
)
from padflow.trainers.attacks.portraits import load_portrait
from tests.nodes.clips import write_clip


def eyes(mesh: Array) -> Array:
    pairs = (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)
    return np.array([mesh[list(pair), :2].mean(axis=0) for pair in pairs])


def test_the_mesh_lies_on_the_eyes_that_a_hand_marked(portraits: list[PersonPicture]) -> None:
    for picture in portraits:
        marked = load_portrait(picture.person).eyes
        away = np.linalg.norm(eyes(picture.mesh) - marked, axis=1)
        assert away.max() < 0.06 * picture.face_px


def test_the_matte_agrees_with_an_outline_drawn_by_hand(
    finder: FaceFinder, portraits: list[PersonPicture]
) -> None:
    for picture in portraits:
        found, whole = finder.person(picture.image, picture.mesh)
        reach = 2.25 * picture.face_px  # no crop shows more
        x, y = picture.mesh[:, :2].mean(axis=0)
        rows = slice(max(int(y - reach), 0), int(y + reach))
        columns = slice(max(int(x - reach), 0), int(x + reach))
        said, drawn = (one[rows, columns] > 0.5 for one in (found, picture.coverage))
        assert whole
        assert (said & drawn).sum() / (said | drawn).sum() > 0.85


def test_a_known_square_gives_the_mesh_that_detection_gives(
    finder: FaceFinder, portraits: list[PersonPicture]
) -> None:
    for picture in portraits:
        near = finder.mesh(picture.image, square_of_mesh(picture.mesh))
        assert near is not None
        assert np.abs(near - picture.mesh)[:, :2].mean() < 0.02 * picture.face_px


def test_no_face_is_told(finder: FaceFinder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    assert finder.mesh(noise) is None
    with pytest.raises(NoPeople, match=r"wall\.png: expected a picture of a face, found none"):
        person_picture(finder, noise, "nobody", "wall.png")


def test_trimmed_keeps_the_mesh_on_the_face(
    finder: FaceFinder, portraits: list[PersonPicture]
) -> None:
    large = portraits[0]
    image = np.asarray(cv2.resize(large.image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))
    coverage = np.asarray(cv2.resize(large.coverage, image.shape[1::-1]))
    half = np.array([0.5, 0.5, 0.0], np.float32)
    mesh = (large.mesh + half) * 4 - half
    small = trimmed(replace(large, image=image, coverage=coverage, mesh=mesh))
    assert small.face_px == pytest.approx(300, abs=1)
    assert small.coverage.shape == small.image.shape[:2]
    assert max(small.image.shape[:2]) <= 4.5 * 300 + 2
    found = finder.mesh(small.image)
    assert found is not None
    assert np.abs(found - small.mesh)[:, :2].mean() < 0.03 * small.face_px


def test_trimmed_takes_the_haze_away(portraits: list[PersonPicture]) -> None:
    picture = portraits[1]
    hazy = replace(picture, image=(90 + picture.image * 0.4).astype(np.uint8))
    darkest, lightest = np.percentile(trimmed(hazy).image, (0.5, 99.5))
    assert darkest < 15
    assert lightest > 190


def test_pictures_of_a_clip_are_spread_and_meshed(
    finder: FaceFinder, portraits: list[PersonPicture], tmp_path: Path
) -> None:
    image = cv2.resize(portraits[0].image, (512, 512))
    shifts = range(0, 60, 2)
    images = [np.roll(image, shift, axis=1) for shift in shifts]
    times = [40 * index for index in range(len(images))]
    clip = write_clip(tmp_path / "clip.mp4", times, images=images, options={"crf": "20"})
    pictures = clip_pictures(finder, clip, "eileen", 3, longest=384)
    assert [picture.person for picture in pictures] == ["eileen"] * 3
    indices = [int(picture.source.removeprefix("clip.mp4#")) for picture in pictures]
    assert indices == sorted(set(indices))
    for picture, index in zip(pictures, indices, strict=True):
        assert picture.image.shape == (384, 384, 3)
        moved = eyes(picture.mesh)[:, 0].mean() - eyes(pictures[0].mesh)[:, 0].mean()
        assert moved == pytest.approx((index - indices[0]) * 2 * 384 / 512, abs=2)
