"""Detect: when it looks, what it finds, what it must not find, and what it says of the scene."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin, Finish
from padflow.graph.packet import Packet
from padflow.nodes.detect import Detect, DetectParams
from padflow.nodes.frame import Frame
from padflow.nodes.payloads import Box, DetectedFace, FrameFaces
from padflow.nodes.track import overlap
from padflow.trainers.canonical import portrait
from tests.nodes.following import FIRST, Follower, opened_detect, rgb_frame

FACES = {"astronaut": Box(172, 68, 105, 115), "grace_hopper": Box(180, 120, 160, 170)}


@pytest.fixture(scope="module")
def detect(models: object) -> Iterator[Detect]:
    node = opened_detect()
    yield node
    node.close()


def look(detect: Detect, image: np.ndarray, rounds: int = 1) -> tuple[DetectedFace, ...]:
    """The faces of a still picture after some detections of one stream."""
    state = detect.new_state(FIRST)
    found: tuple[DetectedFace, ...] = ()
    for index in range(rounds):
        packet = Packet("door", index * 0.2, 0, None, rgb_frame(image, index))
        (out,) = detect.process("frames", [packet], [state])["faces"]
        found = out.payload.faces
        if any(face.score >= 0.6 for face in found):
            break
    return tuple(face for face in found if face.score >= 0.6)


def placed(name: str, width: int, canvas: np.ndarray, x: int, y: int) -> Box:
    """Paste the surroundings of a portrait's face so that it is ``width`` wide; where it is."""
    face = FACES[name]
    left, top = int(face.x - face.w), int(max(0, face.y - 0.6 * face.h))
    piece = portrait(name)[top : int(face.y + 2 * face.h), left : int(face.x + 2 * face.w)]
    scale = width / face.w
    small = cv2.resize(piece, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return Box(x + (face.x - left) * scale, y + (face.y - top) * scale, width, face.h * scale)


def is_at(found: tuple[DetectedFace, ...], box: Box) -> bool:
    return any(overlap(face.box, box) > 0.4 for face in found)


@pytest.mark.parametrize("name", FACES)
def test_a_portrait_is_found_with_its_keypoints(detect: Detect, name: str) -> None:
    found = look(detect, portrait(name))
    assert len(found) == 1
    assert overlap(found[0].box, FACES[name]) > 0.5
    right_eye, left_eye, nose, mouth = found[0].keypoints[:4]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize("share", [0.9, 1.0, 1.2, 1.5])
def test_a_picture_that_is_nothing_but_a_face_is_found(
    detect: Detect, name: str, share: float
) -> None:
    face = FACES[name]
    centre_x, centre_y = face.centre
    half = share * face.w / 2
    centre_y -= 0.1 * face.h
    image = portrait(name)[
        int(centre_y - half) : int(centre_y + half), int(centre_x - half) : int(centre_x + half)
    ]
    found = look(detect, image)
    assert len(found) == 1
    assert found[0].box.w > 0.4 * image.shape[1]


@pytest.mark.parametrize("width", [48, 64, 120, 240])
@pytest.mark.parametrize("corner", [(20, 30), (800, 150), (500, 380)])
def test_faces_from_48_px_are_found_in_720p_within_a_sweep(
    detect: Detect, width: int, corner: tuple[int, int]
) -> None:
    canvas = np.full((720, 1280, 3), 110, np.uint8)
    x, y = min(corner[0], 1270 - 3 * width), min(corner[1], max(0, 700 - int(2.9 * width)))
    box = placed("astronaut", width, canvas, x, y)
    assert is_at(look(detect, canvas, rounds=8), box)


def test_several_faces_are_found_once_each(detect: Detect) -> None:
    canvas = np.full((720, 1280, 3), 110, np.uint8)
    boxes = [
        placed("astronaut", 90, canvas, 50, 60),
        placed("grace_hopper", 110, canvas, 500, 200),
        placed("astronaut", 140, canvas, 850, 100),
    ]
    found = look(detect, canvas)
    assert len(found) == 3
    assert all(is_at(found, box) for box in boxes)


def textures() -> dict[str, np.ndarray]:
    from skimage import data

    rng = np.random.default_rng(1)
    pictures = {
        name: getattr(data, name)()
        for name in ("brick", "grass", "gravel", "coins", "coffee", "chelsea", "page", "clock")
    }
    pictures["noise"] = rng.integers(0, 256, (720, 1280, 3))
    pictures["blobs"] = cv2.resize(rng.integers(0, 256, (45, 80, 3)).astype(np.uint8), (1280, 720))
    pictures["dark noise"] = rng.integers(0, 12, (720, 1280, 3))
    pictures["black"] = np.zeros((720, 1280, 3))
    pictures["white"] = np.full((720, 1280, 3), 255)
    pictures["ramp"] = np.linspace(0, 255, 1280)[np.newaxis, :, np.newaxis].repeat(720, 0)
    return {
        name: np.broadcast_to(
            image if image.ndim == 3 else image[..., np.newaxis], (*image.shape[:2], 3)
        )
        for name, image in pictures.items()
    }


def test_no_face_is_seen_where_there_is_none(detect: Detect) -> None:
    for name, image in textures().items():
        for size in (None, (1280, 720)):
            picture = image if size is None else cv2.resize(image.astype(np.uint8), size)
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            assert look(detect, picture[:height, :width], rounds=8) == (), name


def given_out(detect: Detect, times: list[float], frame: Frame) -> list[FrameFaces]:
    state = detect.new_state(FIRST)
    packets = [Packet("door", time, 0, None, frame) for time in times]
    outs = detect.process("frames", packets, [state] * len(packets))["faces"]
    assert [out.time for out in outs] == times
    return [out.payload for out in outs]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    gaps=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=30),
    cadence=st.sampled_from([1.0, 5.0, 10.0]),
)
def test_the_cadence_is_that_of_capture_time(
    models: object, gaps: list[float], cadence: float
) -> None:
    calls: list[Frame] = []
    detect = Detect(DetectParams(cadence_hz=cadence))
    detect._find = lambda frame, places, tiles: calls.append(frame) or ()  # type: ignore[method-assign,func-returns-value]
    detect._tiles_due = lambda frame, time, state: range(0)  # type: ignore[method-assign]
    times = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    frames = given_out(detect, times, rgb_frame(np.zeros((32, 32, 3))))
    ran = [time for time, out in zip(times, frames, strict=True) if out.faces is not None]
    assert len(calls) == len(ran)
    assert ran[0] == times[0]
    assert len(ran) <= (times[-1] - times[0]) * cadence + 2
    # It catches up at the first frame that is due.
    for time, out in zip(times, frames, strict=True):
        last = max((r for r in ran if r < time), default=None)
        if last is not None and time - last >= 2 / cadence:
            assert out.faces is not None


def test_25_fps_at_5_hz_is_every_fifth_frame(detect: Detect) -> None:
    times = [round(n / 25, 3) for n in range(50)]
    outs = given_out(detect, times, rgb_frame(np.zeros((64, 64, 3))))
    assert [n for n, out in enumerate(outs) if out.faces is not None] == list(range(0, 50, 5))


def searched(detect: Detect, faces_at: Callable[[float], list[Box]], seconds: float) -> list[float]:
    """The times of the detections at 25 frames a second, where faces are found as told."""
    state, ran = detect.new_state(FIRST), []
    frame = rgb_frame(np.zeros((64, 64, 3)))
    for index in range(round(25 * seconds)):
        time = round(index / 25, 3)
        found = tuple(
            DetectedFace(box, 0.9, np.zeros((2, 2), np.float32)) for box in faces_at(time)
        )
        detect._find = lambda frame, places, tiles, found=found: found  # type: ignore[method-assign,misc]
        packet = Packet("door", time, 0, None, frame)
        (out,) = detect.process("frames", [packet], [state])["faces"]
        if out.payload.faces is not None:
            ran.append(time)
    return ran


def per_second(times: list[float], start: float, end: float) -> float:
    return len([t for t in times if start <= t < end]) / (end - start)


def test_faces_that_stay_are_looked_for_less_often_until_something_changes(models: object) -> None:
    here, beside = Box(10, 10, 20, 20), Box(40, 10, 20, 20)

    def faces_at(time: float) -> list[Box]:
        if time < 1.0 or time >= 15.0:
            return []
        return [here, beside] if 8.0 <= time < 12.0 else [here]

    ran = searched(Detect(DetectParams()), faces_at, 18.0)
    for start, end, rate in (
        *((0.0, 3.0, 5.0), (3.6, 8.0, 2.5)),
        *((8.4, 10.0, 5.0), (10.8, 12.0, 2.5)),  # one came beside the other
        *((12.4, 14.0, 5.0), (15.4, 18.0, 5.0)),  # it left; then there was nobody
    ):
        assert per_second(ran, start, end) == pytest.approx(rate, rel=0.2), (start, end)


def test_a_face_that_moves_is_looked_for_often(models: object) -> None:
    detect = Detect(DetectParams())
    ran = searched(detect, lambda time: [Box(10 + 40 * time, 10, 20, 20)], 8.0)
    assert per_second(ran, 0.0, 8.0) == pytest.approx(5.0, rel=0.05)


def test_a_corrupt_frame_is_passed_on_unsearched(detect: Detect, astronaut: np.ndarray) -> None:
    state = detect.new_state(FIRST)
    broken, fair = rgb_frame(astronaut, 0, corrupt=True), rgb_frame(astronaut, 1)
    packets = [Packet("door", n * 0.04, 0, None, f) for n, f in enumerate((broken, fair))]
    first, second = detect.process("frames", packets, [state, state])["faces"]
    assert first.payload.faces is None
    assert len(second.payload.faces) == 1


def test_asking_finds_the_same_and_changes_nothing(detect: Detect, astronaut: np.ndarray) -> None:
    quiet: list[object] = []
    asked: list[object] = []
    for answers, ask in ((quiet, False), (asked, True)):
        follower = detect.new_state(FIRST)
        for index in range(12):
            packet = Packet("door", index / 25, 0, None, rgb_frame(astronaut, index))
            (out,) = detect.process("frames", [packet], [follower])["faces"]
            if ask:
                now = out.payload.detect_now()
                assert [face.box for face in now] == [face.box for face in out.payload.detect_now()]
                assert len(now) == 1
            faces = out.payload.faces
            answers.append(None if faces is None else [(face.box, face.score) for face in faces])
        answers.append(pickle.dumps(follower.places))
    assert quiet == asked


def test_a_later_ask_answers_as_of_its_own_frame(detect: Detect, astronaut: np.ndarray) -> None:
    state = detect.new_state(FIRST)
    empty = np.full_like(astronaut, 100)
    frames = [rgb_frame(astronaut, 0), rgb_frame(empty, 1), rgb_frame(empty, 2)]
    packets = [Packet("door", n * 0.2, 0, None, f) for n, f in enumerate(frames)]
    first, *rest = detect.process("frames", packets, [state] * 3)["faces"]
    assert len(first.payload.detect_now()) == 1
    assert all(out.payload.detect_now() == () for out in rest)


def test_the_end_says_why_no_face_was_found(detect: Detect) -> None:
    follower = Follower(detect)
    black = np.zeros((120, 160, 3))
    told = follower.run((rgb_frame(black, n), n / 25) for n in range(60))
    assert told.started == []
    assert [(e.type, e.data["state"], e.data["reason"]) for e in follower.scene] == [
        ("padflow.scene.v1", "too_dark", "changed"),
        ("padflow.scene.v1", "no_face", "too_dark"),
    ]
    assert follower.scene[-1].data["media_time"] == pytest.approx(59 / 25)


def test_the_end_is_silent_where_a_face_was_seen(detect: Detect, astronaut: np.ndarray) -> None:
    follower = Follower(detect)
    follower.run((rgb_frame(astronaut, n), n / 25) for n in range(3))
    assert follower.scene == []


def test_what_is_known_of_a_stream_outlives_an_epoch(detect: Detect, astronaut: np.ndarray) -> None:
    state = detect.new_state(FIRST)
    detect.process("frames", [Packet("door", 0.0, 0, None, rgb_frame(astronaut))], [state])
    assert detect.finish(state, Finish("door", None, 0.0, 0, "epoch")) == {}
    later = detect.new_state(Begin("door", None, 0.0, 1, "epoch", state))
    assert later.places == ()
    black = rgb_frame(np.zeros((64, 64, 3)))
    detect.process("frames", [Packet("door", 0.0, 1, None, black)], [later])
    assert detect.finish(later, Finish("door", None, 0.0, 1, "end")) == {}


def test_the_state_pickles_and_stays_small(detect: Detect) -> None:
    rng = np.random.default_rng(0)
    state = detect.new_state(FIRST)
    sizes = []
    for index in range(60):
        frame = rgb_frame(rng.integers(0, 256, (96, 128, 3)), index)
        detect.process("frames", [Packet("door", index * 0.2, 0, None, frame)], [state])
        sizes.append(len(pickle.dumps(state)))
    assert max(sizes[30:]) <= max(sizes[:30]) + 200


def test_an_upright_face_is_found_in_a_turned_picture(
    detect: Detect, astronaut: np.ndarray
) -> None:
    for rotation in (90, 180, 270):
        stored = np.rot90(astronaut, rotation // 90)
        frame = rgb_frame(stored)
        frame.rotation = rotation
        (out,) = detect.process(
            "frames", [Packet("door", 0.0, 0, None, frame)], [detect.new_state(FIRST)]
        )["faces"]
        (face,) = out.payload.faces
        assert overlap(face.box, FACES["astronaut"]) > 0.5


@pytest.mark.parametrize("detector", ["short_range", "full_range"])
def test_either_range_can_be_chosen(
    models: object, astronaut: np.ndarray, detector: str, make_params: Callable[[str], DetectParams]
) -> None:
    node = opened_detect(make_params(detector))
    assert len(look(node, astronaut)) == 1
    node.close()
    node.close()


@pytest.fixture
def make_params() -> Callable[[str], DetectParams]:
    return lambda name: DetectParams(detector=name)  # type: ignore[arg-type]


def test_the_black_clip_gives_no_face_and_says_why(detect: Detect, shared_data: Path) -> None:
    import av

    follower = Follower(detect)
    with av.open(str(shared_data / "clips" / "lowlight" / "light_000.mp4")) as container:
        for index, picture in enumerate(container.decode(video=0)):
            if index == 150:
                break
            follower.step(Frame(picture, index, media_time=picture.time), index / 50)
    follower.finish()
    assert follower.told.started == []
    assert sum(count for _, count in follower.detections) == 0
    assert follower.scene[-1].data["reason"] == "too_dark"
