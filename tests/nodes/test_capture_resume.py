"""Files that are taken up where another process left them."""

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from padflow.graph.node import Outputs, StreamSpec
from padflow.graph.packet import Packet
from padflow.nodes.capture import _from_time
from tests.nodes.clips import Captured, capture_all, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames at 25 a second with B frames and three keyframes."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_clip(path, options={"bf": "2", "g": "20", "sc_threshold": "0"})


def resumed(path: Path, at: float, **params: Any) -> Captured:
    spec = StreamSpec("s", str(path), epoch=1, resume_at=at, taken_up="worker_lost")
    return capture_all(path, spec=spec, **params)


def test_a_file_that_is_taken_up_begins_where_it_was_left_and_says_why(clip: Path) -> None:
    whole = capture_all(clip)
    result = resumed(clip, 1.2)
    assert result.states == ["connected", "ended"]
    assert [e["reason"] for e in result.events] == ["worker_lost", "end of the file"]
    assert result.times == pytest.approx([i * 0.04 for i in range(30, 50)], abs=1e-6)
    assert all(p.time >= 1.2 - 1e-9 for p in result.packets), "events too"
    for frame, before in zip(result.frames, whole.frames[30:], strict=True):
        assert (frame.index, frame.media_time) == (before.index, before.media_time)
        np.testing.assert_array_equal(frame.picture.to_ndarray(), before.picture.to_ndarray())


def test_a_file_that_is_taken_up_after_its_end_gives_events_only(clip: Path) -> None:
    result = resumed(clip, 60.0)
    assert (result.frames, result.states) == ([], ["connected", "ended"])
    assert {p.time for p in result.packets} == {60.0}


def test_a_file_that_is_begun_anew_from_its_start_is_whole(clip: Path) -> None:
    result = resumed(clip, -math.inf)
    assert len(result.frames) == 50
    assert result.events[0]["reason"] == "worker_lost"


def test_a_folder_is_taken_up_like_a_file(tmp_path: Path) -> None:
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
    result = resumed(tmp_path, 0.3, picture_rate=10.0)
    assert result.times == pytest.approx([0.3, 0.4, 0.5])
    assert [f.index for f in result.frames] == [3, 4, 5]
    assert result.events[0]["reason"] == "worker_lost"


def test_a_file_at_camera_speed_does_not_wait_for_what_was_given_before(clip: Path) -> None:
    began = time.monotonic()
    result = resumed(clip, 1.8, pace="camera")
    assert len(result.frames) == 5
    assert time.monotonic() - began < 1.5, "the 1.8 s before are not played"


def test_passing_over_what_was_given_before_can_be_cancelled() -> None:
    cancel = threading.Event()

    def pictures() -> Iterator[Outputs]:
        for index in range(100):
            assert index <= 11, "it reads on though it was cancelled"
            if index == 10:
                cancel.set()
            yield {"frames": (Packet("s", index / 25, 0, None, None),)}

    assert list(_from_time(pictures(), 1e9, cancel)) == []
