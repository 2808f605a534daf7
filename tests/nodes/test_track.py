"""Track: one id for one face, on scripted detections, painted people and real clips."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from math import isfinite, sin
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin, Finish
from padflow.graph.packet import End, Packet
from padflow.nodes.detect import Detect
from padflow.nodes.frame import Frame
from padflow.nodes.payloads import Box, DetectedFace, TrackedFace
from padflow.nodes.track import Track, TrackParams, TrackState, overlap
from padflow.trainers.canonical import portrait
from tests.nodes.following import (
    FIRST,
    Follower,
    Person,
    Told,
    Way,
    found_face,
    frame_faces,
    opened_detect,
    painted,
    rgb_frame,
)

ClipFrames = Callable[[Path, int], Iterator[Frame]]
NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3))
HERE = Box(100, 80, 60, 60)


@pytest.fixture(scope="module")
def detect(models: object) -> Iterator[Detect]:
    node = opened_detect()
    yield node
    node.close()


class Script:
    """A stream of one track node whose detections are written down."""

    def __init__(self, params: TrackParams | None = None) -> None:
        self.node = Track(params or TrackParams())
        self.state: TrackState = self.node.new_state(FIRST)
        self.told = Told()
        self.asked: list[float] = []

    def step(
        self,
        time: float,
        faces: Sequence[DetectedFace] | None,
        frame: Frame | None = None,
        now: tuple[DetectedFace, ...] = (),
        epoch: int = 0,
    ) -> dict[int, TrackedFace]:
        def detect_now() -> tuple[DetectedFace, ...]:
            self.asked.append(time)
            return now

        payload = frame_faces(
            frame or rgb_frame(NOISE), None if faces is None else tuple(faces), detect_now
        )
        packet = Packet("door", time, epoch, None, payload)
        tracks = self.told.take(self.node.process("faces", [packet], [self.state]))
        self.told.frames.append(tracks)
        return tracks

    def finish(self, reason: str = "end", time: float = 0.0, epoch: int = 0) -> None:
        last = Finish("door", None, time, epoch, reason)  # type: ignore[arg-type]
        tracks = self.told.take(self.node.finish(self.state, last))
        if tracks:
            self.told.frames.append(tracks)


def test_a_sure_detection_starts_a_track_at_once() -> None:
    script = Script()
    tracks = script.step(0.0, [found_face(HERE, 0.9)])
    assert list(tracks) == [1]
    assert tracks[1].detected
    assert tracks[1].box == pytest.approx(HERE)
    assert tracks[1].lost_for == 0
    assert tracks[1].keypoints is not None
    assert tracks[1].keypoints.shape == (4, 2)
    assert tracks[1].keypoints.dtype == np.float32
    assert script.told.events[0]["state"] == "started"


def test_a_fair_detection_starts_one_when_it_comes_again() -> None:
    script = Script()
    assert script.step(0.0, [found_face(HERE, 0.65)]) == {}
    assert script.step(0.04, None) == {}
    assert list(script.step(0.2, [found_face(HERE, 0.65)])) == [1]


def test_a_short_false_detection_makes_no_track() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE, 0.7)])
    for index in range(1, 40):
        assert script.step(index * 0.04, None if index % 5 else []) == {}
    assert script.state.faces == []
    script.finish()
    assert script.told.events == []
    assert script.told.ends == []


def test_a_hint_never_starts_a_track() -> None:
    script = Script()
    for index in range(20):
        assert script.step(index * 0.2, [found_face(HERE, 0.45)]) == {}


def test_a_still_picture_gives_a_track_from_its_only_frame() -> None:
    script = Script()
    assert script.step(0.0, [found_face(HERE, 0.65)]) == {}
    script.finish()
    assert list(script.told.frames[-1]) == [1]
    assert [event["state"] for event in script.told.events] == ["started", "ended"]
    assert script.told.ends == [(1, "stream_ended")]


def test_the_box_follows_the_picture_between_detections() -> None:
    import cv2

    rough = np.random.default_rng(1).integers(0, 256, (300, 500)).astype(np.float32)
    texture = cv2.GaussianBlur(rough, (0, 0), 2)
    texture = (texture - texture.mean()) * 4 + 128
    script = Script()
    for index in range(20):
        image = np.roll(texture, (index, 3 * index), axis=(0, 1))[..., np.newaxis].repeat(3, 2)
        faces = [found_face(HERE)] if index == 0 else None
        tracks = script.step(index * 0.04, faces, rgb_frame(image, index))
        moved = Box(HERE.x + 3 * index, HERE.y + index, HERE.w, HERE.h)
        assert tracks[1].box == pytest.approx(moved, abs=2.5)
        assert tracks[1].lost_for == 0
        assert tracks[1].detected == (index == 0)
        assert tracks[1].keypoints is not None
        expected = found_face(moved).keypoints
        assert tracks[1].keypoints == pytest.approx(expected, abs=2.5)
    assert script.asked == []


def lose(script: Script, first: float, count: int) -> list[dict[int, TrackedFace]]:
    """Frames of fresh noise and no detection: nothing can be followed."""
    rng = np.random.default_rng(int(first * 1000))
    tracks = []
    for index in range(count):
        image = rng.integers(0, 256, NOISE.shape)
        faces: list[DetectedFace] | None = [] if index % 5 == 4 else None
        tracks.append(script.step(first + index * 0.04, faces, rgb_frame(image)))
    return tracks


def test_a_lost_face_is_asked_for_at_once_and_then_ever_more_seldom() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE)])
    lose(script, 0.04, 45)
    assert script.asked[0] == 0.04
    gaps = np.diff([round(time / 0.04) for time in script.asked])
    assert gaps.min() >= 2
    assert 3 <= len(script.asked) <= 6
    assert np.all(np.diff(gaps) >= 0)


def test_a_face_that_comes_back_in_time_keeps_its_id() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE)])
    lost = lose(script, 0.04, 45)
    assert lost[-1][1].lost_for == pytest.approx(1.8, abs=0.01)
    back = Box(HERE.x + 30, HERE.y - 10, HERE.w, HERE.h)
    moved = rgb_frame(np.roll(NOISE, (-10, 30), axis=(0, 1)))
    tracks = script.step(1.9, [found_face(back)], moved)
    assert list(tracks) == [1]
    assert tracks[1].lost_for == 0
    assert script.told.started == [1]


def test_somebody_else_beside_a_lost_face_is_not_taken_for_it() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE)])
    lose(script, 0.04, 20)
    beside = Box(HERE.x + 30, HERE.y - 10, HERE.w, HERE.h)
    other = rgb_frame(255 - np.roll(NOISE, (-10, 30), axis=(0, 1)))
    for index in range(4):
        tracks = script.step(0.9 + 0.2 * index, [found_face(beside)], other)
        assert list(tracks) == ([1] if index < 3 else [1, 2])
        assert tracks[1].lost_for > 0.5


def test_a_lost_face_ends_and_its_id_is_not_used_again() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE)])
    lose(script, 0.04, 60)
    assert script.told.ends == [(1, "lost")]
    assert script.state.faces == []
    assert list(script.step(3.0, [found_face(HERE)])) == [2]


def test_flow_alone_does_not_keep_a_track_for_ever() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE)])
    still = rgb_frame(NOISE)
    for index in range(1, 100):
        script.step(index * 0.04, None if index % 5 else [], still)
    assert script.told.ends == [(1, "not_detected")]


def test_two_detections_of_one_face_are_one_track() -> None:
    script = Script()
    inner = Box(HERE.x + 12, HERE.y + 12, 36, 36)
    for index in range(10):
        script.step(index * 0.2, [found_face(HERE), found_face(inner, 0.8)] if index else [
            found_face(HERE)
        ])  # fmt: skip
    assert script.told.started == [1]


def test_an_epoch_ends_every_track_and_ids_go_on() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE), found_face(Box(200, 80, 60, 60))])
    script.finish("epoch", 0.0)
    assert sorted(script.told.ends) == [(1, "epoch"), (2, "epoch")]
    script.state = script.node.new_state(Begin("door", None, 0.0, 1, "epoch", script.state))
    assert list(script.step(0.0, [found_face(HERE)], epoch=1)) == [3]
    assert script.told.events[-1]["epoch"] == 1


def test_a_corrupt_frame_neither_confirms_nor_ends() -> None:
    script = Script()
    script.step(0.0, [found_face(HERE)])
    broken = rgb_frame(np.zeros(NOISE.shape), corrupt=True)
    tracks = script.step(0.04, None, broken)
    assert tracks[1].lost_for == pytest.approx(0.04)
    assert script.asked == []
    assert script.step(0.08, None)[1].lost_for == 0  # flow from the last whole frame


def test_an_end_and_its_event_carry_the_track_and_the_last_time() -> None:
    node = Track(TrackParams())
    state = node.new_state(FIRST)
    payload = frame_faces(rgb_frame(NOISE), (found_face(HERE),))
    node.process("faces", [Packet("door", 1.0, 0, None, payload, 7.0)], [state])
    out = node.finish(state, Finish("door", None, 1.0, 0, "end", "eof", 7.0))
    (end,) = out["tracks"]
    assert (end.key, end.time, end.arrival) == (1, 1.0, 7.0)
    assert isinstance(end.payload, End)
    (event,) = out["events"]
    assert event.key is None
    assert event.payload.subject == "track/1"
    assert event.payload.data["reason"] == "stream_ended"


def test_an_exported_state_goes_on_as_the_original_would() -> None:
    one, other = Script(), Script()
    texture = rgb_frame(NOISE)
    for script in (one, other):
        script.step(0.0, [found_face(HERE)], texture)
        for index in range(1, 7):
            script.step(index * 0.04, None, texture)
    other.state = other.node.restore_state(pickle.loads(pickle.dumps(
        other.node.export_state(other.state)
    )))  # fmt: skip
    for index in range(7, 15):
        a, b = (script.step(index * 0.04, None, texture)[1] for script in (one, other))
        assert a.box == b.box
    first = Script()
    first.step(0.0, [found_face(HERE)])
    assert pickle.loads(pickle.dumps(first.node.export_state(first.state))).faces


faces_strategy = st.lists(
    st.tuples(st.floats(-40, 330), st.floats(-40, 250), st.floats(8, 200), st.floats(0.3, 1.0)),
    max_size=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 1.2),
            st.none() | faces_strategy,
            st.sampled_from(["same", "other", "corrupt", "smaller"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_is_detected_tracks_start_once_end_once_and_stay_finite(
    steps: list[tuple[float, list[tuple[float, float, float, float]] | None, str, bool]],
) -> None:
    kinds = {
        "same": rgb_frame(NOISE),
        "other": rgb_frame(255 - NOISE),
        "corrupt": rgb_frame(NOISE, corrupt=True),
        "smaller": rgb_frame(NOISE[:100, :120]),
    }
    script = Script(TrackParams(max_tracks=6))
    time, epoch = 0.0, 0
    for gap, found, kind, breaks in steps:
        if breaks:
            script.finish("epoch", time, epoch)
            epoch += 1
            state = script.node.new_state(Begin("door", None, 0.0, epoch, "epoch", script.state))
            script.state, time = state, 0.0
        time += gap
        faces = (
            None
            if found is None or kind == "corrupt"
            else [found_face(Box(x, y, w, w), score) for x, y, w, score in found]
        )
        for track in script.step(time, faces, kinds[kind], epoch=epoch).values():
            assert all(isfinite(number) for number in track.box)
            assert track.box.w > 0
            assert track.box.h > 0
            assert 0 <= track.lost_for <= 2.0
            assert track.started <= time
            assert track.keypoints is not None
            assert np.isfinite(track.keypoints).all()
        assert len(script.state.faces) <= 6
    script.finish("end", time, epoch)
    started = script.told.started
    assert started == list(range(1, len(started) + 1))
    assert sorted(key for key, _ in script.told.ends) == started
    assert {key for frame in script.told.frames for key in frame} <= set(started)
    ended = [event["track"] for event in script.told.events if event["state"] == "ended"]
    assert sorted(ended) == started


def test_a_thousand_passers_leave_nothing_behind() -> None:
    script = Script()
    sizes = []
    for index in range(1000):
        x = 10.0 + 37 * (index % 7)
        script.step(index * 4.0, [found_face(Box(x, 60, 50, 50))])
        sizes.append(len(pickle.dumps(script.node.export_state(script.state))))
    assert len(script.told.started) == 1000
    assert len(script.told.ends) == 999
    assert max(sizes[10:]) <= max(sizes[:10]) + 200


def room() -> np.ndarray:
    import cv2
    from skimage import data

    bricks = np.asarray(data.brick())  # type: ignore[no-untyped-call]
    return cv2.resize(bricks, (800, 480))[..., np.newaxis].repeat(3, 2)


@pytest.fixture(scope="module")
def people() -> tuple[Person, Person]:
    """Two people with faces of about 57 and 82 px."""
    return (
        Person(portrait("astronaut")[:250, 90:360], 150),
        Person(portrait("grace_hopper")[:420, 80:440], 150),
    )


def owners(told: Told, ways: Sequence[Way]) -> dict[int, set[int]]:
    """Which people each track was on, where they are well apart."""
    found: dict[int, set[int]] = {}
    for index, tracks in enumerate(told.frames):
        places = [complex(*way(index / 25)) for way in ways]
        if min(abs(a - b) for i, a in enumerate(places) for b in places[:i]) < 150:
            continue
        for key, track in tracks.items():
            if track.lost_for == 0:
                distances = [abs(complex(*track.box.centre) - place) for place in places]
                found.setdefault(key, set()).add(int(np.argmin(distances)))
    return found


@pytest.mark.parametrize("seconds", [1.0, 3.0])
@pytest.mark.parametrize("drop", [0, 40])
@pytest.mark.parametrize("astronaut_in_front", [False, True])
def test_people_who_cross_keep_their_ids(
    detect: Detect,
    people: tuple[Person, Person],
    seconds: float,
    drop: int,
    astronaut_in_front: bool,
) -> None:
    def rightwards(time: float) -> tuple[float, float]:
        return 100 + 600 * min(time / seconds, 1), 240

    def leftwards(time: float) -> tuple[float, float]:
        return 700 - 600 * min(time / seconds, 1), 240 + drop

    pair = [(people[0], rightwards), (people[1], leftwards)]
    order = pair[::-1] if astronaut_in_front else pair
    told = Follower(detect).run(painted(room(), order, seconds + 0.5))
    assert told.started == [1, 2]
    on = owners(told, [rightwards, leftwards])
    assert sorted(map(sorted, on.values())) == [[0], [1]]


@pytest.mark.parametrize("seconds", [0.4, 1.2])
def test_a_face_behind_a_hand_keeps_its_id(
    detect: Detect, people: tuple[Person, Person], seconds: float
) -> None:
    def way(time: float) -> tuple[float, float]:
        return 400 + 20 * sin(time), 240

    def hand(canvas: np.ndarray, time: float) -> None:
        if 1.0 < time < 1.4 + seconds:
            reach = min(1.0, (time - 1.0) / 0.2, (1.4 + seconds - time) / 0.2)
            canvas[160:, int(470 - 150 * reach) : int(630 - 150 * reach)] = (200, 150, 120)

    told = Follower(detect).run(painted(room(), [(people[0], way)], 2.5 + seconds, hand))
    assert told.started == [1]
    assert told.frames[-1][1].lost_for == 0
    assert all(1 in tracks for tracks in told.frames)


def test_the_box_of_a_walker_stays_on_the_face(
    detect: Detect, people: tuple[Person, Person]
) -> None:
    def way(time: float) -> tuple[float, float]:
        return 60 + 300 * time, 240 + 30 * sin(5 * time)

    follower = Follower(detect)
    told = follower.run(painted(room(), [(people[0], way)], 2.2))
    assert told.started == [1]
    offsets = np.array(
        [
            complex(*tracks[1].box.centre) - complex(*way(index / 25))
            for index, tracks in enumerate(told.frames)
            if index > 5 and tracks
        ]
    )
    assert len(offsets) > 45
    assert np.abs(offsets - offsets.mean()).max() < 0.15 * told.frames[20][1].box.w


def test_a_walker_is_one_track_where_timestamps_are_repeated(
    detect: Detect, people: tuple[Person, Person]
) -> None:
    def way(time: float) -> tuple[float, float]:
        return 60 + 250 * time, 240 + 30 * sin(5 * time)

    # What the clock makes of pairs of frames that tell the same time: a millisecond apart.
    frames = [
        (frame, index // 2 * 0.08 + index % 2 * 0.001)
        for index, (frame, _) in enumerate(painted(room(), [(people[0], way)], 2.2))
    ]
    told = Follower(detect).run(frames)
    assert told.started == [1]
    for index, tracks in enumerate(told.frames):
        assert tracks[1].lost_for == 0
        assert abs(tracks[1].box.centre[0] - way(index / 25)[0]) < 0.5 * tracks[1].box.w


def test_a_face_in_a_frozen_picture_is_told_as_such(
    detect: Detect, people: tuple[Person, Person]
) -> None:
    frames = [frame for frame, _ in painted(room(), [(people[0], lambda time: (320, 240))], 0.12)]
    still, other = frames[0], rgb_frame(NOISE)
    follower = Follower(detect)
    frozen = [follower.step(still, index / 5)[1].frozen for index in range(60)]
    assert follower.told.started == [1]
    assert 50 <= frozen.index(True) <= 53
    assert all(frozen[53:])
    assert not [follower.step(other, 12.0 + index / 5) for index in range(3)][-1][1].frozen


def follow_clip(
    detect: Detect, clip_frames: ClipFrames, path: Path, most: int, rate: float
) -> Told:
    frames = ((frame, frame.index / rate) for frame in clip_frames(path, most))
    return Follower(detect).run(frames)


def test_every_signing_clip_is_one_track_from_first_to_last_frame(
    detect: Detect, shared_data: Path, clip_frames: ClipFrames
) -> None:
    clips = sorted((shared_data / "clips" / "signing").glob("*.mkv"))
    assert len(clips) == 20
    for clip in clips:
        told = follow_clip(detect, clip_frames, clip, 200, 30)
        assert told.started == [1], clip.name
        assert all(1 in tracks for tracks in told.frames[:-1]), clip.name


@pytest.mark.parametrize(
    ("name", "most", "rate"),
    [
        ("webcam_a_53s.mp4", 600, 25),
        ("webcam_b_31s.mp4", 600, 25),
        ("lowlight/light_025.avi", 200, 50),
        ("lowlight/light_050.avi", 200, 50),
        ("lowlight/light_075.mp4", 100, 50),
        ("lowlight/light_100.mp4", 100, 50),
    ],
)
def test_one_person_is_one_track(
    detect: Detect,
    shared_data: Path,
    clip_frames: ClipFrames,
    name: str,
    most: int,
    rate: float,
) -> None:
    told = follow_clip(detect, clip_frames, shared_data / "clips" / name, most, rate)
    assert told.started == [1]
    assert all(tracks[1].lost_for < 0.5 for tracks in told.frames if tracks)


def test_the_same_clip_gives_the_same_boxes_twice(
    detect: Detect, shared_data: Path, clip_frames: ClipFrames
) -> None:
    clip = shared_data / "clips" / "signing" / "eat.mkv"
    runs = [
        [
            (key, track.box, track.score)
            for tracks in follow_clip(detect, clip_frames, clip, 60, 30).frames
            for key, track in tracks.items()
        ]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_overlap_is_symmetric_and_bounded() -> None:
    a, b = Box(0, 0, 10, 10), Box(5, 0, 10, 10)
    assert overlap(a, b) == overlap(b, a) == pytest.approx(1 / 3)
    assert overlap(a, a) == 1
    assert overlap(a, Box(20, 20, 5, 5)) == 0
