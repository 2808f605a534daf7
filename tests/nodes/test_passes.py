"""The passes of a detection: nothing lost between tiles, nothing found twice."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.blazeface import Candidates, intersection_over_union
from padflow.nodes.passes import (
    DETECTORS,
    LARGEST_IN_TILE,
    SMALLEST_SEEN,
    Networks,
    Search,
    find_faces,
    merge,
    tile_count,
    window,
)
from padflow.nodes.payloads import Box
from tests.nodes.following import rgb_frame

SEARCH = Search(min_score=0.4, nms_iou=0.3, max_faces=16, min_face_px=48)


@pytest.fixture(scope="module")
def networks(models: object) -> Iterator[Networks]:
    opened = DETECTORS["full_range"](1)
    yield opened
    opened.close()


class Recorder:
    """A network that remembers what it was shown and finds one spot: the white square."""

    width = height = 192
    tone = 0

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def find(self, image: np.ndarray, min_score: float) -> Candidates:
        self.shown.append(image)
        rows, columns = np.nonzero(image[..., 0] > 128)
        if not len(rows):
            return Candidates(np.empty((0, 4)), np.empty((0, 6, 2)), np.empty(0))
        score = min(0.95, 0.5 + len(columns) / 1000)  # surer of what it sees larger
        box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        return Candidates(
            np.array([box], np.float32), np.zeros((1, 6, 2), np.float32), np.array([score])
        )

    def close(self) -> None:
        self.shown.clear()


@given(
    width=st.integers(400, 2600),
    height=st.integers(300, 1600),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_small_face_is_whole_in_some_tile_and_found_where_it_is(
    width: int, height: int, place: tuple[float, float]
) -> None:
    side = 48
    x, y = int(place[0] * (width - side)), int(place[1] * (height - side))
    picture = np.zeros((height // 2 * 2, width // 2 * 2, 3), np.uint8)
    picture[y : y + side, x : x + side] = 255
    frame = rgb_frame(picture)
    network = Recorder()
    networks = Networks(network, None, tiles=True)
    tiles = range(tile_count(networks, frame, 48))
    if not tiles:
        assert max(frame.width, frame.height) * SMALLEST_SEEN / 48 <= 192 * 1.1
    found = find_faces(networks, frame, SEARCH, tiles=tiles)
    assert len(network.shown) == 1 + len(tiles)
    assert found
    boxes = np.array([face.box for face in found])
    best = intersection_over_union(np.array([x, y, side, side]), boxes).max()
    assert best > 0.7  # a pixel of the finer picture is 2.7 of the frame's


def test_a_tile_shows_the_finer_picture_and_leaves_large_faces_alone() -> None:
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[100:500, 100:500] = 255
    network = Recorder()
    networks = Networks(network, None, tiles=True)
    frame = rgb_frame(picture)
    tiles = range(tile_count(networks, frame, 48))
    found = find_faces(networks, frame, SEARCH, tiles=tiles)
    assert len(tiles) == 6
    assert all(image.shape == (192, 192, 3) for image in network.shown)
    assert len(found) == 1  # from the whole picture; its cut pieces in the tiles are no faces
    assert found[0].box.w == pytest.approx(400, abs=15)
    assert 400 * SMALLEST_SEEN / 48 > LARGEST_IN_TILE * 192


@pytest.mark.parametrize("shape", [(16000, 16, 3), (16, 16000, 3), (2, 2, 3), (4, 700, 3)])
def test_strange_shapes_are_searched_without_harm(
    networks: Networks, shape: tuple[int, ...]
) -> None:
    frame = rgb_frame(np.full(shape, 120))
    tiles = range(min(3, tile_count(networks, frame, 48)))
    assert find_faces(networks, frame, SEARCH, [Box(0, 0, 50, 50)], tiles) == ()


boxes = st.lists(
    st.tuples(st.floats(0, 99), st.floats(0, 99), st.floats(1, 50), st.floats(1, 50)), max_size=12
)


@given(passes=st.lists(boxes, min_size=1, max_size=4))
def test_merged_finds_are_apart_and_come_best_first(
    passes: list[list[tuple[float, float, float, float]]],
) -> None:
    finds = []
    for number, rows in enumerate(passes):
        count = len(rows)
        finds.append(
            Candidates(
                np.array(rows, np.float32).reshape(count, 4),
                np.zeros((count, 6 if number % 2 else 5, 2), np.float32),
                np.linspace(0.9, 0.5, count, dtype=np.float32),
            )
        )
    merged = merge(finds, 0.3)
    assert len(merged.boxes) == len(merged.scores) == len(merged.keypoints)
    if sum(bool(rows) for rows in passes) > 1:
        assert np.all(np.diff(merged.scores) <= 0)
        for i, box in enumerate(merged.boxes):
            assert np.all(intersection_over_union(box, merged.boxes[i + 1 :]) <= 0.3 + 1e-6)


def test_a_window_keeps_colours_and_is_one_tone_beyond_the_picture() -> None:
    picture = np.zeros((100, 100, 3))
    picture[..., 0] = 220
    image = window(rgb_frame(picture), -50, 0, 100, 128, tone=7)
    assert np.all(image[:, :60] == 7)
    inside = image[10:-10, 70:].reshape(-1, 3).mean(axis=0)
    assert inside[0] > 150
    assert inside[1:].max() < 70
    assert np.all(window(rgb_frame(picture), 500, 500, 80, 128, tone=9) == 9)


def test_a_window_shows_what_is_there(astronaut: np.ndarray) -> None:
    import cv2

    image = window(rgb_frame(astronaut), 150, 50, 150, 128, tone=0).astype(np.float64)
    piece = cv2.resize(astronaut[50:200, 150:300], (128, 128), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(image.ravel(), piece.ravel())[0, 1] > 0.97
