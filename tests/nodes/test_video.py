import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin, Finish, Mode, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.frame import Frame
from padflow.nodes.overlay import FOR_LIVE
from padflow.nodes.payloads import Box, DepthMap, Event, PulseTrace
from padflow.nodes.sources import safe_name
from padflow.nodes.testing import face_observation
from padflow.nodes.video import Video, VideoFileError, VideoParams, VideoState


def frame(width: int = 400, height: int = 300, level: int = 90, rotation: int = 0) -> Frame:
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    picture[:height] = level
    return Frame(av.VideoFrame.from_ndarray(picture, "yuv420p"), 0, rotation)


def verdict(state: str, track: int = 1, lasts: float = 3.0, final: bool = False) -> Event:
    data = {
        "track": track,
        "state": state,
        "p_live": 0.98,
        "reasons": ["evidence_for_live"],
        "evidence": [{"cue": "depth", "llr": 4.0, "reasons": []}],
        "expires_at": f"1970-01-01T00:00:{lasts:06.3f}Z",
        "final": final,
    }
    return Event("padflow.verdict.v1", f"track/{track}", data, 0.0)


class Run:
    """A video node and one stream's state, as the runtime would hold them."""

    def __init__(self, path: Path, mode: Mode = "lossless", **params: Any) -> None:
        self.notices: list[str] = []
        self.node = Video(VideoParams(str(path), **params))
        self.node.open(NodeContext("video", mode, notice=self.notices.append))
        self.states: dict[str, VideoState] = {}

    def give(
        self, port: str, payload: Any, time: float, key: int | None = None, stream: str = "cam"
    ) -> None:
        if stream not in self.states:
            self.states[stream] = self.node.new_state(Begin(stream, None, time, 0, "first"))
        packet = Packet(stream, time, 0, key, payload)
        self.node.process(port, [packet], [self.states[stream]])

    def end(self, stream: str = "cam") -> None:
        self.node.finish(self.states.pop(stream), Finish(stream, None, 0.0, 0, "end"))


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    frames = []
    with av.open(str(path)) as container, suppress(av.error.InvalidDataError):
        for picture in container.decode(video=0):
            assert picture.time is not None
            frames.append((picture.time, picture.to_ndarray(format="rgb24")))
    return frames


def green(image: np.ndarray) -> int:
    apart = np.abs(image.astype(int) - FOR_LIVE).max(axis=2)
    return int((apart < 40).sum())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_keep_their_capture_times(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    run = Run(path)
    times = [7.0, 7.04, 7.08, 7.25, 7.2501, 9.0, 9.001]
    for at in times:
        run.give("frames", frame(), at)
    run.end()
    found = [at for at, _ in decoded(path)]
    tolerance = 1e-3 if suffix == ".mkv" else 2e-5  # Matroska counts milliseconds
    assert found == pytest.approx([at - 7.0 for at in times], abs=tolerance)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_no_time_however_odd_breaks_the_file(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[float]
) -> None:
    path = tmp_path_factory.mktemp("odd") / "out.mp4"
    run = Run(path)
    now = 0.0
    for step in steps:
        now += step
        run.give("frames", frame(64, 48), now)
    run.end()
    found = [at for at, _ in decoded(path)]
    assert len(found) == len(steps)
    assert found == sorted(set(found))


def test_an_observation_is_drawn_on_its_own_frame_whatever_port_comes_first(
    tmp_path: Path,
) -> None:
    seen = face_observation(Box(100, 80, 120, 150), (400, 300))
    pictures = []
    for order in (("frames", "observations"), ("observations", "frames")):
        run = Run(tmp_path / "out.mp4", quality=5)
        for i in range(4):
            for port in order:
                if port == "frames":
                    run.give("frames", frame(), i / 25)
                elif i == 2:
                    run.give("observations", seen, i / 25, key=1)
                    run.give("events", verdict("LIVE"), i / 25, key=1)
        run.end()
        pictures.append([green(image) for _, image in decoded(tmp_path / "out.mp4")])
    for drawn in pictures:
        assert drawn[0] == drawn[1] == 0, "drawn before it was observed"
        assert drawn[2] > 100
    assert pictures[0] == pictures[1]


def test_realtime_waits_a_little_for_late_observations_but_not_forever(tmp_path: Path) -> None:
    run = Run(tmp_path / "out.mp4", "realtime")
    state = None
    for i in range(100):
        run.give("frames", frame(64, 48), i / 25)
        state = run.states["cam"]
        if i >= 5:
            late = face_observation(Box(5, 5, 30, 30), (64, 48))
            run.give("observations", late, (i - 5) / 25, key=1)
        assert len(state.waiting) <= 8
        assert len(state.notes) <= 20
    run.end()
    assert len(decoded(tmp_path / "out.mp4")) == 100


def test_notes_are_bounded_without_frames(tmp_path: Path) -> None:
    run = Run(tmp_path / "out.mp4", "realtime")
    for i in range(1000):
        run.give("events", verdict("LIVE", track=i, final=True), i / 25, key=i)
        run.give("observations", face_observation(), i / 25, key=i)
    assert len(run.states["cam"].notes) < 10
    run.give("frames", frame(64, 48), 50.0)
    run.end()
    assert not (tmp_path / ".out.part.mp4").exists()


def test_faces_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    run = Run(tmp_path / "out.mp4")
    for i in range(60):
        run.give("observations", face_observation(), i / 5, key=i)
        run.give("frames", frame(64, 48), i / 5)
        assert len(run.states["cam"].faces) <= 13
    run.give("events", verdict("LIVE", 59, final=True), 12.0, key=59)
    run.give("frames", frame(64, 48), 12.0)
    run.give("frames", frame(64, 48), 12.1)
    assert 59 not in run.states["cam"].faces
    run.end()


def test_an_expired_verdict_loses_its_colour(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path, quality=5)
    for i in range(10):
        at = i / 5
        run.give("observations", face_observation(Box(100, 80, 120, 150), (400, 300)), at, key=1)
        if i == 0:
            run.give("events", verdict("LIVE", lasts=1.0), at, key=1)
        run.give("frames", frame(), at)
    run.end()
    greens = [green(image) for _, image in decoded(path)]
    assert greens[0] > 100
    assert greens[-1] == 0


def test_rotated_and_odd_pictures_come_out_upright_and_even(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path)
    for i in range(3):
        run.give("frames", frame(402, 298, rotation=90), i / 25)
    run.end()
    assert decoded(path)[0][1].shape == (402, 298, 3)
    run = Run(path)
    picture = av.VideoFrame(width=401, height=301, format="yuv420p")
    for i in range(3):
        run.give("frames", Frame(picture, i), i / 25)
    run.end()
    assert decoded(path)[0][1].shape == (602, 802, 3)


def test_small_pictures_are_enlarged_with_what_is_drawn_on_them(tmp_path: Path) -> None:
    boxes = []
    for least, times in ((2, 1), (400, 4)):
        path = tmp_path / "out.mp4"
        run = Run(path, quality=5, least_height=least)
        for i in range(4):
            run.give("observations", face_observation(Box(40, 30, 60, 70)), i / 25, key=1)
            run.give("frames", frame(160, 120), i / 25)
        run.end()
        image = decoded(path)[-1][1].astype(int)
        assert image.shape == (120 * times, 160 * times, 3)
        column = np.abs(np.diff(image[50 * times, : 60 * times].sum(axis=-1)))
        boxes.append(int(np.argmax(column)) / times)
    assert boxes == pytest.approx([40, 40], abs=1.5)


def test_a_strip_is_enlarged_only_as_far_as_encoders_go(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path)
    for i in range(2):
        run.give("frames", frame(1920, 8), i / 25)
    run.end()
    assert [image.shape for _, image in decoded(path)] == [(64, 15360, 3)] * 2


def test_three_streams_of_one_file_name_have_three_files(tmp_path: Path) -> None:
    run = Run(tmp_path / "{stream}.mp4")
    for stream in ("door 1", "door_1", "door+1"):
        run.give("frames", frame(), 0.0, stream=stream)
    for stream in list(run.states):
        run.end(stream)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(run.notices) == 2


def test_a_stream_that_changes_its_size_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path)
    for i in range(4):
        run.give("frames", frame(400, 300) if i < 2 else frame(640, 480), i / 25)
    run.end()
    found = decoded(path)
    assert len(found) == 4
    assert all(image.shape == (600, 800, 3) for _, image in found)


def test_a_new_epoch_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path)
    run.give("frames", frame(64, 48), 0.0)
    old = run.states["cam"]
    run.node.finish(old, Finish("cam", None, 0.0, 0, "epoch"))
    run.states["cam"] = run.node.new_state(Begin("cam", None, 1.0, 1, "epoch", old))
    run.give("frames", frame(64, 48), 1.0)
    run.end()
    assert [at for at, _ in decoded(path)] == pytest.approx([0.0, 1.0])


def test_an_interrupted_run_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path)
    for i in range(10):
        run.give("frames", frame(64, 48), i / 25)
    assert not path.exists(), "the name appears only with the whole file"
    run.node.close()
    assert len(decoded(path)) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


PROGRAM = """
import sys, time
import av, numpy as np
from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.frame import Frame
from padflow.nodes.video import Video, VideoParams
node = Video(VideoParams(sys.argv[1]))
node.open(NodeContext("video", "lossless"))
state = node.new_state(Begin("cam", None, 0.0, 0, "first"))
noise = np.random.default_rng(1)
for i in range(400):
    planes = noise.integers(0, 255, (72, 64), np.uint8)
    picture = av.VideoFrame.from_ndarray(planes, "yuv420p")
    node.process("frames", [Packet("cam", i / 25, 0, None, Frame(picture, i))], [state])
print("written", flush=True)
time.sleep(60)
"""


def test_what_a_killed_run_leaves_aside_can_still_be_played(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    program = [sys.executable, "-c", PROGRAM, str(path)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert not path.exists()
    assert len(decoded(tmp_path / ".out.part.mp4")) > 100


def test_streams_get_files_of_their_own(tmp_path: Path) -> None:
    run = Run(tmp_path / "{stream}.mp4")
    for stream in ("front door", "../yard"):
        for i in range(2):
            run.give("frames", frame(64, 48), i / 25, stream=stream)
    for stream in list(run.states):
        run.end(stream)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["_yard.mp4", "front_door.mp4"]


def test_a_second_stream_without_a_place_for_its_name_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path / "out.mp4")
    for stream in ("one", "two"):
        for i in range(2):
            run.give("frames", frame(64, 48), i / 25, stream=stream)
    run.node.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out-two.mp4", "out.mp4"]
    assert "{stream}" in run.notices[0]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "out.gif", r"expected a file ending in \.mp4"),
        (lambda folder: folder / "no" / "out.mp4", "there is no folder"),
        (lambda folder: folder, "expected a file"),
    ],
)
def test_a_wrong_path_is_told_before_anything_runs(
    tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    with pytest.raises(VideoFileError, match=says):
        Run(make(tmp_path))


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path / "out.mp4")
    (tmp_path / ".out.part.mp4").mkdir()
    run.give("frames", frame(), 0.0)
    with pytest.raises(VideoFileError, match=r"cannot write .*out\.mp4: Is a directory.*--video"):
        run.give("frames", frame(), 0.1)


def test_the_heart_rate_is_a_number_only_where_switched_on(tmp_path: Path) -> None:
    last = []
    for private in (False, True):
        path = tmp_path / "out.mp4"
        run = Run(path, private=private, quality=5)
        times = np.arange(0, 4, 1 / 30)
        wave = PulseTrace(times, np.sin(7 * times).astype(np.float32), 67.0, 3.0)
        for i in range(4):
            run.give("observations", face_observation(Box(20, 40, 90, 120)), 4 + i / 25, key=1)
            run.give("events", verdict("LIVE"), 4 + i / 25, key=1)
            run.give("trace", wave, 4 + i / 25, key=1)
            run.give("frames", frame(), 4 + i / 25)
        run.end()
        last.append(decoded(path)[-1][1])
    assert np.abs(last[0].astype(int) - last[1]).max() > 60


def test_the_depth_map_is_drawn_beside_the_face(tmp_path: Path) -> None:
    last = []
    for relief in (np.zeros((32, 32), np.float32), np.ones((32, 32), np.float32)):
        path = tmp_path / "out.mp4"
        run = Run(path, quality=5)
        for i in range(4):
            run.give("observations", face_observation(Box(20, 40, 90, 120)), 4 + i / 25, key=1)
            run.give("events", verdict("LIVE"), 4 + i / 25, key=1)
            run.give("depth", DepthMap(relief), 4 + i / 25, key=1)
            run.give("frames", frame(), 4 + i / 25)
        run.end()
        last.append(decoded(path)[-1][1].astype(int))
    changed = np.abs(last[0] - last[1]).max(-1) > 60
    assert changed.sum() > 200


def test_names_become_safe_file_names() -> None:
    assert safe_name("rtsp://cam/../1") == "rtsp___cam_.._1"
    assert safe_name("...") == "stream"


def test_colours_survive(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    run = Run(path, quality=5)
    for i in range(2):
        run.give("frames", frame(1280, 720, level=150), i / 25)
    run.end()
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        assert first.colorspace == 1
        middle = first.to_ndarray(format="rgb24")[300, 600].astype(int)
    expected = (150 - 16) * 255 / 219
    assert np.abs(middle - expected).max() <= 3
