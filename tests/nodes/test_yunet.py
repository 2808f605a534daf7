"""Decoding YuNet: against the published rule, and against OpenCV's own decoder."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.engines import load_engine
from padflow.engines.store import add
from padflow.nodes.detect import DetectParams
from padflow.nodes.yunet import STRIDES, YunetNetwork, decode
from tests.nodes.following import Follower, opened_detect, rgb_frame


def empty_tensors(side: int) -> dict[str, np.ndarray]:
    raw = {}
    for stride in STRIDES:
        cells = (side // stride) ** 2
        for name, length in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            raw[f"{name}_{stride}"] = np.zeros((cells, length), np.float32)
    return raw


@given(
    stride=st.sampled_from(STRIDES),
    place=st.floats(0, 0.999),
    centre=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    log_size=st.tuples(st.floats(-1, 4), st.floats(-1, 4)),
    chance=st.tuples(st.floats(0.5, 1), st.floats(0.5, 1)),
)
def test_decoding_follows_the_published_rule(
    stride: int,
    place: float,
    centre: tuple[float, float],
    log_size: tuple[float, float],
    chance: tuple[float, float],
) -> None:
    side = 320
    raw = empty_tensors(side)
    columns = side // stride
    cell = int(place * columns**2)
    row, column = divmod(cell, columns)
    raw[f"cls_{stride}"][cell], raw[f"obj_{stride}"][cell] = chance
    raw[f"bbox_{stride}"][cell] = (*centre, *log_size)
    raw[f"kps_{stride}"][cell] = np.arange(10)
    found = decode(raw, side, 0.4)
    assert found.scores == pytest.approx([np.sqrt(chance[0] * chance[1])], abs=1e-5)
    x, y, w, h = found.boxes[0]
    assert (w, h) == pytest.approx(np.exp(log_size) * stride, rel=1e-4)
    middle = ((column + centre[0]) * stride, (row + centre[1]) * stride)
    assert (x + w / 2, y + h / 2) == pytest.approx(middle, abs=1e-2)
    eye, _, nose, mouth, right, left = found.keypoints[0]
    assert eye == pytest.approx((column * stride, (row + 1) * stride))
    assert nose == pytest.approx(((column + 4) * stride, (row + 5) * stride))
    assert mouth == pytest.approx((right + left) / 2)


def test_wild_outputs_neither_overflow_nor_pass() -> None:
    raw = empty_tensors(64)
    raw["cls_8"][:3], raw["obj_8"][:3] = 5.0, 5.0
    raw["bbox_8"][0] = (0, 0, 1e6, 1e6)
    raw["bbox_8"][1] = np.nan
    raw["kps_8"][2] = np.inf
    found = decode(raw, 64, 0.5)
    assert len(found.scores) == 1
    assert np.isfinite(found.boxes).all()
    assert found.scores[0] == 1.0


@pytest.fixture(params=["yunet_n_640_640.onnx", "yunet_n_dynamic.onnx"])
def added_yunet(
    request: pytest.FixtureRequest,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A model folder to which a user has added the file."""
    path: Path = shared_data.parent / "models" / request.param
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    monkeypatch.setenv("PADFLOW_MODELS", str(tmp_path))
    add("yunet", path)
    return path


def test_it_agrees_with_opencv(added_yunet: Path, astronaut: np.ndarray) -> None:
    if "640" not in added_yunet.name:
        pytest.skip("OpenCV 4.14 reads the file of fixed size only")
    picture = cv2.resize(astronaut, (640, 640))
    detector = cv2.FaceDetectorYN.create(str(added_yunet), "", (640, 640), 0.6)
    rows = detector.detect(picture[..., ::-1])[1]
    yunet = YunetNetwork(load_engine("yunet"))
    found = yunet.find(picture, 0.6)
    yunet.close()
    assert len(found.scores) == len(rows) == 1
    assert found.boxes[0] == pytest.approx(rows[0, :4], abs=1.0)
    theirs = rows[0, 4:14].reshape(5, 2)
    assert found.keypoints[0][[0, 1, 2, 4, 5]] == pytest.approx(theirs, abs=1.0)


def test_detect_runs_on_either_file(added_yunet: Path, astronaut: np.ndarray) -> None:
    detect = opened_detect(DetectParams(detector="yunet"))
    follower = Follower(detect)
    tracks = follower.step(rgb_frame(astronaut), 0.0)
    detect.close()
    assert list(tracks) == [1]
    assert tracks[1].box.centre == pytest.approx((222, 118), abs=15)
