"""Decoding BlazeFace: anchors, boxes, suppression, and the real networks on a real face."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from padflow.engines import load_engine
from padflow.nodes.blazeface import (
    FULL_RANGE,
    SHORT_RANGE,
    BlazeFace,
    BlazeFaceNetwork,
    Candidates,
    anchor_centres,
    decode,
    intersection_over_union,
    suppress,
)


@pytest.mark.parametrize(("model", "count"), [(FULL_RANGE, 2304), (SHORT_RANGE, 896)])
def test_anchors_cover_the_input_evenly(model: BlazeFace, count: int) -> None:
    anchors = anchor_centres(model)
    assert anchors.shape == (count, 2)
    assert anchors.mean(axis=0) == pytest.approx((model.side / 2, model.side / 2))
    assert anchors.min() > 0
    assert anchors.max() < model.side


def test_the_first_anchors_are_those_of_the_published_layers() -> None:
    assert anchor_centres(FULL_RANGE)[:2].tolist() == [[2.0, 2.0], [6.0, 2.0]]
    short = anchor_centres(SHORT_RANGE)
    assert short[:3].tolist() == [[4.0, 4.0], [4.0, 4.0], [12.0, 4.0]]
    assert short[512:519].tolist() == [[8.0, 8.0]] * 6 + [[24.0, 8.0]]


def raw_face(
    anchors: np.ndarray, row: int, box: tuple[float, float, float, float], points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The tensors that say one face, the inverse of decoding."""
    regressors = np.zeros((len(anchors), 16), np.float32)
    logits = np.full(len(anchors), -20.0, np.float32)
    x, y, w, h = box
    regressors[row, :4] = (x + w / 2 - anchors[row, 0], y + h / 2 - anchors[row, 1], w, h)
    regressors[row, 4:] = (points - anchors[row]).ravel()
    logits[row] = 3.0
    return regressors, logits


@given(
    row=st.integers(0, 2303),
    box=st.tuples(st.floats(-20, 190), st.floats(-20, 190), st.floats(2, 190), st.floats(2, 190)),
    points=hnp.arrays(np.float32, (6, 2), elements=st.floats(-50, 240, width=32)),
)
def test_decoding_inverts_the_published_encoding(
    row: int, box: tuple[float, float, float, float], points: np.ndarray
) -> None:
    anchors = anchor_centres(FULL_RANGE)
    found = decode(*raw_face(anchors, row, box, points), anchors, 0.5)
    assert found.boxes.tolist() == [pytest.approx(box, abs=1e-3)]
    assert found.keypoints[0] == pytest.approx(points, abs=1e-3)
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)


def test_extreme_logits_do_not_overflow_and_broken_rows_are_left_out() -> None:
    anchors = anchor_centres(SHORT_RANGE)
    regressors = np.full((896, 16), 20.0, np.float32)
    logits = np.full(896, -1e9, np.float32)
    logits[:5] = (1e9, np.nan, 2.0, 2.0, 1.0)
    regressors[2, 7] = np.nan
    regressors[3, 2] = -5.0
    found = decode(regressors, logits, anchors, 0.4)
    assert found.scores.tolist() == pytest.approx([1.0, 1 / (1 + np.exp(-1.0))])


boxes = st.lists(
    st.tuples(
        st.floats(0, 100, width=32),
        st.floats(0, 100, width=32),
        st.floats(1, 60, width=32),
        st.floats(1, 60, width=32),
    ),
    max_size=25,
)


@given(boxes=boxes, blend=st.booleans(), max_iou=st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_and_nothing_that_overlaps_it(
    boxes: list[tuple[float, float, float, float]], blend: bool, max_iou: float
) -> None:
    count = len(boxes)
    candidates = Candidates(
        np.array(boxes, np.float32).reshape(count, 4),
        np.zeros((count, 6, 2), np.float32),
        np.linspace(0.9, 0.4, count, dtype=np.float32),
    )
    kept = suppress(candidates, max_iou, blend)
    assert len(kept.boxes) == len(kept.keypoints) == len(kept.scores) <= count
    assert np.all(np.diff(kept.scores) <= 0)
    if count:
        assert kept.scores[0] == candidates.scores[0]
    if not blend:
        for i in range(len(kept.boxes)):
            rest = intersection_over_union(kept.boxes[i], kept.boxes[i + 1 :])
            assert np.all(rest <= max_iou + 1e-6)
        for box in candidates.boxes:
            near = intersection_over_union(box, kept.boxes)
            assert near.max() > max_iou or np.any(np.all(box == kept.boxes, axis=1))


def test_blending_weighs_by_score() -> None:
    candidates = Candidates(
        np.array([[0, 0, 10, 10], [2, 0, 10, 10]], np.float32),
        np.zeros((2, 6, 2), np.float32),
        np.array([0.9, 0.3], np.float32),
    )
    assert suppress(candidates, 0.3).boxes[0] == pytest.approx([0.5, 0, 10, 10])


@pytest.mark.parametrize("model", [FULL_RANGE, SHORT_RANGE])
def test_the_real_network_finds_the_portrait_s_face(
    models: object, astronaut: np.ndarray, model: BlazeFace
) -> None:
    import cv2

    network = BlazeFaceNetwork(model, load_engine(model.engine))
    small = cv2.resize(astronaut, (model.side, model.side), interpolation=cv2.INTER_AREA)
    found = network.find(small, 0.5)
    network.close()
    assert len(found.scores) == 1
    x, y, w, h = found.boxes[0] * (512 / model.side)
    assert (x + w / 2, y + h / 2) == pytest.approx((222, 125), abs=25)
    right_eye, left_eye, nose, mouth = found.keypoints[0][:4]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_eye[1] < nose[1] < mouth[1]


def test_the_network_is_blind_to_a_black_picture(models: object) -> None:
    find: Callable[[np.ndarray, float], Candidates]
    network = BlazeFaceNetwork(FULL_RANGE, load_engine(FULL_RANGE.engine))
    find = network.find
    assert len(find(np.zeros((192, 192, 3), np.uint8), 0.3).scores) == 0
    network.close()
