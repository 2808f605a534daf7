"""Capture of files, pictures and folders: times, rotation, colours, damage, refusals."""

import json
import math
import os
import threading
import time
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padflow.nodes.capture_damage import DamageWatch
from tests.nodes.clips import Captured, capture, capture_all, write_clip
from tests.nodes.pictures import write_sound

QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
HALF_TURN = (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30)
THREE_QUARTER_TURN = (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)


def assert_sound(result: Captured) -> None:
    """What holds of every capture, whatever was read."""
    for before, after in pairwise(result.packets):
        assert after.time >= before.time
        assert after.epoch >= before.epoch
    assert all(math.isfinite(p.time) for p in result.packets)
    assert [f.index for f in result.frames] == list(range(len(result.frames)))
    assert all(f.picture.format.name in ("yuv420p", "yuvj420p") for f in result.frames)
    assert result.states[-1] in ("ended", "error")
    assert result.states.count("ended") + result.states.count("error") == 1
    for event in result.events:
        assert "\n" not in event["reason"]
        json.dumps(event)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames at 25 a second with B frames and three keyframes."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_clip(path, options={"bf": "2", "g": "20", "sc_threshold": "0"})


def test_a_clip_with_b_frames(clip: Path) -> None:
    result = capture_all(clip)
    assert_sound(result)
    assert result.states == ["connected", "ended"]
    assert result.times == pytest.approx([i * 0.04 for i in range(50)], abs=1e-6)
    assert [f.media_time for f in result.frames] == pytest.approx(result.times, abs=1e-6)
    assert not any(f.corrupt for f in result.frames)
    first, last = result.events
    assert (first["width"], first["height"], first["codec"]) == (320, 240, "h264")
    assert first["declared_fps"] == pytest.approx(25, abs=0.1)
    assert (last["frames"], last["corrupt_frames"], last["reason"]) == (50, 0, "end of the file")


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "mkv"), ("libx264", "ts"), ("libx265", "mp4"), ("mpeg4", "avi"), ("mjpeg", "avi")],
)
def test_containers_and_codecs(codec: str, suffix: str, tmp_path: Path) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = tmp_path / f"clip.{suffix}"
    write_clip(path, codec=codec, pixel_format=pixels, options=quiet)
    result = capture_all(path)
    assert_sound(result)
    assert len(result.frames) == 50
    assert result.times[-1] == pytest.approx(49 * 0.04, abs=0.003)


def test_variable_frame_rate_follows_the_timestamps(tmp_path: Path) -> None:
    steps = [40] * 10 + [200] * 5 + [17] * 20 + [900] + [33] * 10
    times = [0, *np.cumsum(steps).tolist()]
    result = capture_all(write_clip(tmp_path / "vfr.mkv", times))
    assert_sound(result)
    assert result.times == pytest.approx([t / 1000 for t in times], abs=0.0011)
    assert set(result.epochs) == {0}


def test_a_long_gap_in_a_file_is_an_epoch_and_told(tmp_path: Path) -> None:
    times = [*range(0, 1000, 40), *range(61_000, 62_000, 40)]
    result = capture_all(write_clip(tmp_path / "gap.mkv", times))
    assert_sound(result)
    assert result.epochs == [0] * 25 + [1] * 25
    assert result.times[25] - result.times[24] == pytest.approx(0.04, abs=0.002)
    assert any("epoch 1" in notice for notice in result.notices)


@pytest.mark.parametrize(
    ("matrix", "rotation", "corner"),
    [
        (None, 0, (0, 0)),
        (QUARTER_TURN, 90, (0, 1)),
        (HALF_TURN, 180, (1, 1)),
        (THREE_QUARTER_TURN, 270, (1, 0)),
    ],
)
def test_rotation_of_the_container_is_honoured(
    matrix: tuple[int, ...] | None, rotation: int, corner: tuple[int, int], tmp_path: Path
) -> None:
    """A telephone held upright writes the QuickTime matrix (0 1 / -1 0): turn clockwise to see."""
    image = np.full((240, 320, 3), 40, np.uint8)
    image[:60, :80] = 230
    path = write_clip(tmp_path / "turned.mp4", (0, 40), matrix=matrix, images=[image, image])
    frame = capture_all(path).frames[0]
    assert frame.rotation == rotation
    assert (frame.width, frame.height) == ((240, 320) if rotation in (90, 270) else (320, 240))
    small = frame.thumbnail(20, 20).mean(axis=2)
    corners = {
        (r, c): small[-2 * r, -2 * c] if r and c else small[-r, -c] for r in (0, 1) for c in (0, 1)
    }
    assert max(corners, key=lambda at: corners[at]) == corner
    y = frame.planes()[0]
    assert y[-10 if corner[0] else 10, -10 if corner[1] else 10] > 150


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv422p", "libx264"),
        ("yuv444p", "libx264"),
        ("yuv420p10le", "libx264"),
        ("nv12", "libx264"),
        ("gray", "ffv1"),
        ("bgr0", "ffv1"),
        ("yuvj444p", "mjpeg"),
    ],
)
def test_other_pixel_formats_become_planar_420_with_their_colours(
    pixel_format: str, codec: str, tmp_path: Path
) -> None:
    colour = (120, 120, 120) if pixel_format == "gray" else (200, 90, 60)
    image = np.full((64, 96, 3), colour, np.uint8)
    path = tmp_path / "clip.mkv"
    write_clip(path, (0, 40), codec=codec, pixel_format=pixel_format, images=[image, image])
    result = capture_all(path)
    assert_sound(result)
    got = result.frames[0].crop(np.eye(2, 3), 48).reshape(-1, 3).mean(axis=0)
    assert np.abs(got - colour).max() < 5


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff", "ppm"])
@pytest.mark.parametrize("shape", [(60, 80), (33, 47), (1, 1)])
def test_a_still_picture_is_one_frame(suffix: str, shape: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"100% %03d.{suffix}"
    image = np.full((*shape, 3), (60, 90, 200), np.uint8)  # BGR
    assert cv2.imwrite(str(path), image)
    result = capture_all(path)
    assert_sound(result)
    assert result.states == ["connected", "ended"]
    (frame,) = result.frames
    assert (frame.height, frame.width) == shape
    got = frame.crop(np.eye(2, 3), 2).reshape(-1, 3).mean(axis=0)
    assert np.abs(got - (200, 90, 60)).max() < 8


def test_an_exif_turned_picture_is_upright(tmp_path: Path) -> None:
    image = np.full((40, 80, 3), 30, np.uint8)
    image[:10, :20] = 220
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    exif = b"Exif\0\0" + tiff
    app1 = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg[:2] + app1 + jpeg[2:])
    (frame,) = capture_all(path).frames
    assert frame.rotation == 90
    y = frame.planes()[0]
    assert y.shape == (80, 40)
    assert y[5, -5] > 150 > y[5, 5]


def test_a_folder_comes_in_natural_order_at_its_rate(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        side = 40 + 2 * number
        cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((side, 60, 3), number * 10, np.uint8))
    (tmp_path / "f3.png").write_bytes(b"no picture")
    result = capture_all(tmp_path, picture_rate=10.0)
    assert_sound(result)
    assert [f.height for f in result.frames] == [42, 44, 60, 62]
    assert result.times == pytest.approx([0.0, 0.1, 0.3, 0.4])
    assert result.events[-1]["unreadable_pictures"] == 1
    assert "f3.png" in result.events[-1]["reason"]


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize(("matrix", "own"), [(None, 0), (QUARTER_TURN, 90)])
def test_a_camera_that_is_mounted_head_down_can_be_turned(
    matrix: tuple[int, ...] | None, own: int, rotate: int, tmp_path: Path
) -> None:
    image = np.full((240, 320, 3), 40, np.uint8)
    path = write_clip(tmp_path / "turned.mp4", (0, 40), matrix=matrix, images=[image, image])
    frame = capture_all(path, options={"rotate": rotate}).frames[0]
    assert frame.rotation == (own + rotate) % 360


def test_options_of_a_stream_are_checked(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"stream s, options.rotate: expected .*, found 45"):
        capture_all(clip, options={"rotate": 45})


def test_a_stream_may_override_parameters(clip: Path) -> None:
    assert len(capture_all(clip, options={"max_pixels": 100}).frames) == 0
    with pytest.raises(ValueError, match=r"s: expected options among .* found pixels"):
        capture_all(clip, options={"pixels": 1})


def test_creation_time_is_the_clock_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "dated.mp4"
    write_clip(path, metadata={"creation_time": "2026-03-01T10:00:00.000000Z"})
    result = capture_all(path)
    assert {f.clock for f in result.frames} == {"container"}
    utc = [f.utc or 0.0 for f in result.frames]
    assert utc[0] == pytest.approx(1772359200.0)
    assert utc[10] - utc[0] == pytest.approx(0.4)
    undated = capture_all(write_clip(tmp_path / "undated.mkv"))
    assert {(f.clock, f.utc) for f in undated.frames} == {("none", None)}


def test_the_same_file_gives_the_same_events_twice(clip: Path) -> None:
    one, two = capture_all(clip), capture_all(clip)
    assert one.events == two.events
    assert one.times == two.times


def test_a_damaged_stream_marks_what_is_wrong_and_heals_at_a_keyframe(
    clip: Path, tmp_path: Path
) -> None:
    """Pictures that look wrong are marked: compared with the undamaged decoding.

    In a few of the damaged files CABAC decodes on without noticing until the next keyframe; which
    ones depends on the encoder's bytes, and with them on the processor. So all are counted.
    """
    whole = capture_all(clip)
    data = bytearray(clip.read_bytes())
    rng = np.random.default_rng(4)
    wrong_in_all = marked_in_all = unmarked_in_all = 0
    for trial in range(12):
        broken = bytearray(data)
        for _ in range(3):
            at = int(rng.integers(len(data) // 3, len(data) * 2 // 3))
            broken[at : at + 8] = rng.bytes(8)
        path = tmp_path / f"broken{trial}.mp4"
        path.write_bytes(broken)
        result = capture_all(path)
        assert_sound(result)
        marked = {round(f.media_time or 0, 2) for f in result.frames if f.corrupt}
        wrong = set()
        good = {round(f.media_time or 0, 2): f.planes()[0].astype(int) for f in whole.frames}
        for frame in result.frames:
            shown = round(frame.media_time or 0, 2)
            if np.abs(good[shown] - frame.planes()[0]).max() > 40:
                wrong.add(shown)
        wrong_in_all += len(wrong)
        marked_in_all += len(marked)
        assert result.events[-1]["corrupt_frames"] == len(marked)
        unmarked_in_all += len(wrong - marked)
    assert wrong_in_all > 100
    assert unmarked_in_all < 0.1 * wrong_in_all
    assert marked_in_all < 2.5 * wrong_in_all


def test_b_pictures_before_a_damaged_one_are_marked_too() -> None:
    class Picture:
        def __init__(self, kind: str, corrupt: bool = False, at: float = 0.0) -> None:
            self.pict_type = {"I": 1, "P": 2, "B": 3}[kind]
            self.key_frame = kind == "I"
            self.is_corrupt = corrupt
            self.time = at

    def judge(pictures: list[Picture], watch: DamageWatch) -> list[bool]:
        judged = [mark for p in pictures for _, mark in watch.judge(p)]  # type: ignore[arg-type]
        return judged + [mark for _, mark in watch.flush()]

    kinds = [Picture("I"), Picture("B"), Picture("P"), Picture("B"), Picture("P", corrupt=True)]
    kinds += [Picture("B"), Picture("I"), Picture("P")]
    watch = DamageWatch()
    watch.feed(True)
    assert judge(kinds, watch) == [False, False, False, True, True, True, False, False]
    late = DamageWatch()
    late.feed(True)
    late.broke(5.0)
    order = [Picture("I", at=4.0), Picture("P", at=5.0), Picture("I", at=6.0)]
    assert judge(order, late) == [True, True, False]
    joined = DamageWatch()
    joined.feed(False)
    assert judge([Picture("P"), Picture("I")], joined) == [True, False]


def test_a_stream_cut_at_both_ends_gives_what_can_be_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.ts", options={"g": "20", "bf": "0"})
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 4 : len(data) * 3 // 4])
    result = capture_all(path)
    assert_sound(result)
    assert 5 < len(result.frames) < 40
    assert result.states[-1] == "ended"
    path.write_bytes(data[: len(data) // 2])
    assert len(capture_all(path).frames) > 10


def test_a_cut_off_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    times = range(0, 4000, 40)
    write_clip(path, times, options={"g": "10"})
    fast = tmp_path / "fast.mp4"  # the index in front, as cameras write it
    with (
        av.open(str(path)) as source,
        av.open(str(fast), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = fast.read_bytes()
    fast.write_bytes(data[: len(data) // 2])
    result = capture_all(fast)
    assert_sound(result)
    assert 10 < len(result.frames) < 90
    assert "cut off" in result.events[-1]["reason"] or result.states[-1] == "error"
    path.write_bytes(path.read_bytes()[: len(data) // 2])  # the index was at the end
    lost = capture_all(path)
    assert lost.states == ["error"]
    assert "found what cannot be read" in lost.events[0]["reason"]


def _bad_inputs(folder: Path) -> dict[str, Path]:
    picture = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    files = {
        "zero.mp4": b"",
        "text.mp4": b"no video\n" * 50,
        "text.txt": b"hello\n",
        "noise.ts": np.random.default_rng(1).bytes(188 * 50),
        "nulls.mkv": bytes(4096),
        "text.png": b"no picture",
        "flat.png": picture[:16] + bytes(8) + picture[24:],
        "huge.png": picture[:16] + b"\x7f\xff\xff\xff" * 2 + picture[24:],
        "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nclip.ts\n",
        "list.ffconcat": b"ffconcat version 1.0\nfile /dev/zero\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "empty").mkdir()
    os.mkfifo(folder / "fifo.mp4")
    names = [*files, "empty", "fifo.mp4", "missing.mp4"]
    return {name: folder / name for name in names}


def test_what_is_no_source_is_one_error_and_never_hangs(tmp_path: Path) -> None:
    for name, path in _bad_inputs(tmp_path).items():
        began = time.monotonic()
        result = capture_all(path)
        assert time.monotonic() - began < 3, name
        assert result.states == ["error"], name
        assert result.frames == [], name
        assert_sound(result)


def test_a_giant_picture_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "16k.png"
    assert cv2.imwrite(str(path), np.zeros((16384, 16384), np.uint8))
    result = capture_all(path)
    assert result.states == ["error"]
    assert "larger than 64 megapixels" in result.events[0]["reason"]
    ok = tmp_path / "wide.png"
    assert cv2.imwrite(str(ok), np.zeros((64, 16384), np.uint8))
    assert capture_all(ok).states == ["connected", "ended"]
    video = write_clip(tmp_path / "large.mkv", (0, 40), size=(640, 480))
    refused = capture_all(video, max_pixels=100_000)
    assert refused.states == ["error"]
    assert "640x480" in refused.events[0]["reason"]


def test_a_wrong_suffix_does_not_matter(clip: Path, tmp_path: Path) -> None:
    as_picture = tmp_path / "clip.jpg"
    as_picture.write_bytes(clip.read_bytes())
    assert len(capture_all(as_picture).frames) == 50
    as_video = tmp_path / "picture.mp4"
    as_video.write_bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    assert len(capture_all(as_video).frames) == 1


@pytest.fixture(scope="module")
def small_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    for suffix in ("mp4", "mkv", "ts"):
        path = folder / f"small.{suffix}"
        write_clip(path, range(0, 400, 40), size=(64, 48), options={"bf": "1", "g": "4"})
    return folder


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from(("mp4", "mkv", "ts")),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    cut=st.floats(0.05, 1.0),
)
def test_no_mangled_file_makes_it_raise(
    small_clips: Path,
    tmp_path: Path,
    suffix: str,
    flips: list[tuple[float, int]],
    cut: float,
) -> None:
    data = bytearray((small_clips / f"small.{suffix}").read_bytes())
    for place, value in flips:
        data[min(int(place * len(data)), len(data) - 1)] = value
    path = tmp_path / f"mangled.{suffix}"
    path.write_bytes(data[: max(1, int(cut * len(data)))])
    result = capture_all(path)
    assert_sound(result)
    if not flips and cut == 1.0:
        assert len(result.frames) == 10


def test_realtime_mode_plays_a_file_at_camera_speed(clip: Path) -> None:
    began = time.monotonic()
    result = capture_all(clip, mode="realtime")
    assert 1.8 < time.monotonic() - began < 4
    assert len(result.frames) == 50
    began = time.monotonic()
    capture_all(clip, mode="realtime", pace="full")
    assert time.monotonic() - began < 1


def test_cancel_ends_a_paced_file_at_once(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "slow.mkv", (0, 1500, 3000, 4500))
    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    began = time.monotonic()
    result = Captured()
    for result in capture(path, mode="realtime", cancel=cancel):  # noqa: B007
        pass
    timer.join()
    assert time.monotonic() - began < 1
    assert len(result.frames) < 3


def test_many_frames_can_be_held(clip: Path) -> None:
    """The decoder must not write into a picture that somebody still holds."""
    result = capture_all(clip)
    copies = [f.planes()[0].copy() for f in result.frames]
    again = capture_all(clip)
    for held, copy, fresh in zip(result.frames, copies, again.frames, strict=True):
        np.testing.assert_array_equal(held.planes()[0], copy)
        np.testing.assert_array_equal(held.planes()[0], fresh.planes()[0])


def test_files_are_closed_and_memory_stays(clip: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    capture_all(clip)
    before, threads = open_files(), threading.active_count()
    for _ in range(20):
        next(capture(clip)).packets.clear()
        capture_all(clip)
    assert open_files() == before
    assert threading.active_count() == threads


def test_missing_hardware_decoder_falls_back(clip: Path) -> None:
    result = capture_all(clip, hwaccel="cuda")
    assert len(result.frames) == 50
    assert capture_all(clip, hwaccel="no such thing").states == ["connected", "ended"]


def test_a_sound_file_is_no_source(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    write_sound(path)
    result = capture_all(path)
    assert result.states == ["error"]
    assert "expected video" in result.events[0]["reason"]


def test_real_clips_decode_whole(shared_data: Path) -> None:
    expected = {"webcam_a_53s.mp4": (1337, 53.44), "webcam_b_31s.mp4": (765, 30.56)}
    for name, (frames, last) in expected.items():
        result = capture_all(shared_data / "clips" / name)
        assert_sound(result)
        assert len(result.frames) == frames
        assert result.times[-1] == pytest.approx(last, abs=0.05)
        assert set(result.epochs) == {0}
        del result
    for path in sorted((shared_data / "clips").rglob("*.mkv")):
        count, corrupt, time_, states = 0, 0, 0.0, []
        for result in capture(path):
            count, corrupt = len(result.frames), sum(f.corrupt for f in result.frames)
            time_, states = result.packets[-1].time, result.states
        assert states == ["connected", "ended"]
        assert corrupt == 0, path
        assert count / (time_ + 1 / 30) == pytest.approx(30, rel=0.04), path


def test_dark_clip_is_whole_though_its_first_picture_is_no_keyframe(shared_data: Path) -> None:
    """A trimmed file: the decoder runs on pictures before the first that is shown."""
    path = shared_data / "clips" / "lowlight" / "light_000.mp4"
    for result in capture(path):
        if len(result.frames) == 30:
            break
    assert not any(f.corrupt for f in result.frames)
