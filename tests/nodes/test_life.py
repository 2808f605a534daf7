"""Channels of a face, blinks and movements in them, and the node that tells them."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes import canonical
from padflow.nodes.align import Align, AlignParams
from padflow.nodes.canonical import canonical_face
from padflow.nodes.evidence import Reason
from padflow.nodes.face_channels import Channel, FaceChannels
from padflow.nodes.frame import Frame
from padflow.nodes.life import Life, LifeParams
from padflow.nodes.life_evidence import LifeMeasurement, LifeModel, find_blinks, measure_life
from padflow.nodes.mesh import MeshNet
from padflow.nodes.payloads import Box, FaceMesh, TrackedFace
from padflow.nodes.pose import rotation_of
from padflow.trainers.life_calibration import draw_sequences, fit

from .fed_track import Run
from .moving_faces import GOOD, Times

MODEL = LifeModel()
CHANNELS = FaceChannels()
POINTS = canonical_face().points.astype(np.float64)
EYE = 0.27
"""Opening of the eyes of most people by the mesh."""
Way = Callable[[float], float]


@dataclass(frozen=True)
class Face:
    """A face made of the canonical one, before a camera."""

    closing: Way = lambda time: 0.0
    """How far the lids are closed, 0 to 1."""
    mouth: Way = lambda time: 0.0
    """How far the mouth is open, interocular distances."""
    turn: Callable[[float], tuple[float, float, float]] = lambda time: (2.0, -3.0, 1.0)
    """Yaw, pitch and roll in degrees."""
    noise: float = 0.003
    """Of every point, interocular distances."""
    seed: int = 0

    def meshes(self, times: Times) -> Iterator[FaceMesh]:
        rng = np.random.default_rng(self.seed)
        for time in times:
            points = self.shape(time)
            yaw, pitch, roll = self.turn(time)
            rotation = rotation_of(yaw, pitch, roll)
            points = points + self.noise * rng.normal(size=points.shape)
            mesh = (60.0 * points @ rotation.T + (200.0, 150.0, 0.0)).astype(np.float32)
            quality = replace(GOOD, yaw=yaw, pitch=pitch, roll=roll)
            yield FaceMesh(mesh, rotation, True, quality, True)

    def shape(self, time: float) -> np.ndarray:
        points = POINTS.copy()
        closing = self.closing(time)
        for upper, lower in (
            ((157, 158, 159, 160, 161), (144, 145, 153)),
            ((384, 385, 386, 387, 388), (373, 374, 380)),
        ):
            gap = POINTS[list(lower), 1].mean() - POINTS[list(upper), 1].mean()
            points[list(upper), 1] += closing * gap
        for point in (14, 87, 317):
            points[point, 1] += self.mouth(time)
        return points


def closings(*at: float, seconds: float = 0.25, depth: float = 0.5) -> Way:
    """Lids that close at those times and open again; the mesh shows part of it."""

    def way(time: float) -> float:
        away = min(abs(time - t) for t in at)
        return depth * max(0.0, 1.0 - (2.0 * away / seconds) ** 2)

    return way


def read(face: Face, times: Times) -> tuple[np.ndarray, np.ndarray]:
    """Channels (n, 5) and poses (n, 4)."""
    meshes = list(face.meshes(times))
    poses = [(q.yaw, q.pitch, q.roll, q.motion) for q in (m.quality for m in meshes)]
    return np.array([CHANNELS.read(m) for m in meshes]), np.array(poses)


def steady(seconds: float, rate: float) -> np.ndarray:
    return np.arange(int(seconds * rate) + 1) / rate


# Channels


@given(yaw=st.floats(-40, 40), pitch=st.floats(-30, 30), roll=st.floats(-90, 90))
def test_channels_do_not_change_with_the_pose(yaw: float, pitch: float, roll: float) -> None:
    front = read(Face(noise=0.0, turn=lambda t: (0.0, 0.0, 0.0)), [0.0])[0][0]
    turned = read(Face(noise=0.0, turn=lambda t: (yaw, pitch, roll)), [0.0])[0][0]
    np.testing.assert_allclose(front, turned, atol=1e-4)


@settings(max_examples=30)
@given(st.lists(st.floats(-0.15, 0.15), min_size=12, max_size=12))
def test_a_bend_of_the_sheet_moves_no_lid(terms: list[float]) -> None:
    x, y = POINTS[:, :2].T
    sheet = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    bent = POINTS.copy()
    bent[:, :2] += sheet @ np.reshape(terms, (6, 2))
    still = FaceMesh(POINTS.astype(np.float32), np.eye(3), True, GOOD, True)
    moved = replace(still, points=bent.astype(np.float32))
    np.testing.assert_allclose(CHANNELS.read(moved), CHANNELS.read(still), rtol=0.5, atol=0.03)


def test_channels_are_what_they_are_named() -> None:
    usual = read(Face(noise=0.0), [0.0])[0][0]
    shut = read(Face(noise=0.0, closing=lambda t: 1.0), [0.0])[0][0]
    assert usual[Channel.RIGHT_EYE] > 0.15
    assert np.abs(shut[[Channel.RIGHT_EYE, Channel.LEFT_EYE]]).max() < 0.05
    speaking = read(Face(noise=0.0, mouth=lambda t: 0.2), [0.0])[0][0]
    assert speaking[Channel.MOUTH] - usual[Channel.MOUTH] == pytest.approx(0.2, abs=0.01)
    wide = POINTS.copy()
    wide[canonical.LEFT_MOUTH_CORNER, 0] += 0.1
    wide[list(canonical.RIGHT_BROW + canonical.LEFT_BROW), 1] -= 0.08
    smiling = CHANNELS.read(FaceMesh(wide.astype(np.float32), np.eye(3), True, GOOD, True))
    assert smiling[Channel.SMILE] - usual[Channel.SMILE] == pytest.approx(0.1, abs=0.01)
    assert smiling[Channel.BROWS] - usual[Channel.BROWS] == pytest.approx(0.08, abs=0.01)


# Blinks


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(10, 31),
    seconds=st.floats(0.2, 0.4),
    at=st.floats(1.0, 1.6),
    turn=st.floats(-10, 10),
    seed=st.integers(0, 99),
)
def test_blinks_are_found_at_any_rate(
    rate: float, seconds: float, at: float, turn: float, seed: int
) -> None:
    times = steady(4.5, rate)
    face = Face(
        closings(at, at + 1.5, seconds=seconds, depth=0.8),
        turn=lambda t: (turn * np.sin(t), 2.0, 0.0),
        seed=seed,
    )
    found = find_blinks(times, *read(face, times), 0.06)
    assert found == pytest.approx([at, at + 1.5], abs=0.5 / rate + 0.05)


def test_a_closing_that_noise_gives_two_lowest_looks_is_one_blink() -> None:
    times = steady(4.5, 21.84375)
    face = Face(closings(2.9375, seconds=0.39, depth=0.8), turn=lambda t: (0.0, 2.0, 0.0), seed=32)
    channels, poses = read(face, times)
    eyes = channels[:, [Channel.RIGHT_EYE, Channel.LEFT_EYE]]
    lowest = int(eyes.mean(1).argmin())
    eyes = eyes.copy()
    eyes[lowest + 1] += 0.02
    eyes[lowest + 2] = eyes[lowest]
    channels[:, [Channel.RIGHT_EYE, Channel.LEFT_EYE]] = eyes
    assert len(find_blinks(times, channels, poses, 0.06)) == 1


def test_what_is_no_blink() -> None:
    times = steady(4.0, 20.0)
    slow = Face(closings(2.0, seconds=1.6, depth=0.8))
    channels, poses = read(slow, times)
    assert not find_blinks(times, channels, poses, 0.06)
    blinking, poses = read(Face(closings(2.0, depth=0.8)), times)
    assert len(find_blinks(times, blinking, poses, 0.06)) == 1
    wink = blinking.copy()
    wink[:, Channel.LEFT_EYE] = EYE
    assert not find_blinks(times, wink, poses, 0.03)
    nodding = poses.copy()
    nodding[:, 1] += 12 * np.exp(-(((times - 2.0) / 0.1) ** 2))
    assert not find_blinks(times, blinking, nodding, 0.06)
    hurried = poses.copy()
    hurried[:, 3] = 1.5
    assert not find_blinks(times, blinking, hurried, 0.06)
    gap = (times < 1.95) | (times > 2.5)
    assert not find_blinks(times[gap], blinking[gap], poses[gap], 0.06)
    assert not find_blinks(times, *read(Face(), times), 0.06)


# Ratio


def measured(face: Face, seconds: float, rate: float = 10.0) -> LifeMeasurement:
    times = steady(seconds, rate)
    return measure_life(times, *read(face, times), MODEL)


def speak(time: float) -> float:
    return float(0.12 * np.clip(np.sin(2 * np.pi * 0.9 * time), 0, None))


def test_speaking_and_blinking_speak_for_life() -> None:
    speaking = measured(Face(mouth=speak), 4.0)
    assert speaking.movement > 1.0
    assert MODEL.ratio(speaking) > 0.4
    blinking = measured(Face(closings(1.5, 3.0, depth=0.8)), 4.0)
    assert blinking.blinks == 2
    assert MODEL.ratio(blinking) > 0.4


def test_the_longer_nothing_moves_the_more_it_speaks_against_life() -> None:
    ratios = [MODEL.ratio(measured(Face(), seconds)) for seconds in (2.0, 4.0, 8.0, 20.0, 60.0)]
    assert all(a > b for a, b in pairwise(ratios))
    assert -0.35 < ratios[0] < 0
    limit = np.log(MODEL.living_that_stare)
    assert limit < ratios[-1] < -0.8


def test_a_print_that_is_turned_and_tilted_does_not_move() -> None:
    face = Face(turn=lambda t: (12 * np.sin(t), 8 * np.sin(1.3 * t), 15 * np.sin(0.7 * t)))
    found = measured(face, 8.0)
    assert found.movement < 0.3
    assert MODEL.ratio(found) < 0


def test_noise_takes_the_value_away() -> None:
    found = measured(Face(noise=0.2), 4.0)
    assert found.blinks == 0
    assert not MODEL.tells(found)


@given(
    blinks=st.integers(0, 50),
    movement=st.floats(-14, 6),
    noise=st.floats(0, 0.3),
    rate=st.floats(1, 60),
    watched=st.floats(0, 60),
)
def test_the_ratio_stays_within_the_shares(
    blinks: int, movement: float, noise: float, rate: float, watched: float
) -> None:
    found = LifeMeasurement(blinks, movement, noise, noise, rate, watched)
    stare, share = MODEL.living_that_stare, MODEL.attacks_that_move
    most = -np.log(share)
    least = np.log(stare / (1 - share * (1 - stare)))
    assert least - 1e-9 <= MODEL.ratio(found) <= most + 1e-9
    more = replace(found, blinks=blinks + 1)
    assert MODEL.ratio(more) >= MODEL.ratio(found) - 1e-9


# Node


@pytest.fixture
def node() -> Life:
    made = Life(LifeParams())
    made.open(NodeContext("life", "lossless"))
    return made


@pytest.mark.parametrize("rate", [5.0, 12.0, 29.97, 60.0])
def test_frame_rates(node: Life, rate: float) -> None:
    times = steady(6.3, rate)
    # Few frames a second cannot tell fast speech from noise.
    slowly = Face(mouth=lambda t: speak(t / 2))
    run = Run(node).feed(times, slowly.meshes(times))
    assert run.at == pytest.approx(range(1, 7), abs=1.01 / rate)
    assert run.last.cue == "life"
    assert run.last.llr is not None
    assert run.last.llr > 0.3
    assert run.last.window[1] - run.last.window[0] == pytest.approx(6.0, abs=0.21)
    still = Run(node).feed(times, Face().meshes(times))
    assert still.last.llr is not None
    assert -0.8 < still.last.llr < 0


def test_short_and_slow_looks_have_no_value(node: Life) -> None:
    times = steady(3.0, 10.0)
    run = Run(node).feed(times, Face().meshes(times))
    assert run.evidence[0].reasons == (Reason.WATCHED_TOO_SHORT.value,)
    assert run.last.llr is not None
    slow = steady(6.0, 2.0)
    assert Run(node).feed(slow, Face().meshes(slow)).last.reasons == (
        Reason.FRAME_RATE_TOO_LOW.value,
    )
    noisy = Run(node).feed(times, Face(noise=0.2).meshes(times))
    assert noisy.last.reasons == (Reason.MESH_UNSTEADY.value,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 40.0}, Reason.FACE_TOO_SMALL),
        ({"yaw": 55.0}, Reason.FACE_NOT_FRONTAL),
        ({"exposure": 8.0}, Reason.TOO_DARK),
        ({"sharpness": 0.0}, Reason.BLURRED),
        ({"occlusion": 0.9}, Reason.FACE_OCCLUDED),
        ({"size": nan}, Reason.FACE_TOO_SMALL),
        ({"pitch": nan}, Reason.FACE_NOT_FRONTAL),
        ({"exposure": nan}, Reason.TOO_DARK),
        ({"sharpness": nan}, Reason.BLURRED),
        ({"occlusion": nan}, Reason.FACE_OCCLUDED),
    ],
)
def test_conditions(node: Life, change: dict[str, float], reason: Reason) -> None:
    times = steady(3.0, 10.0)
    bad = (replace(m, quality=replace(m.quality, **change)) for m in Face().meshes(times))
    run = Run(node).feed(times, bad)
    assert run.last.llr is None
    assert reason in run.last.reasons


def test_only_looks_of_usable_faces_count(node: Life) -> None:
    times = steady(3.0, 10.0)
    carried = (replace(m, looked=False) for m in Face(mouth=speak).meshes(times))
    assert Run(node).feed(times, carried).last.reasons == (Reason.WATCHED_TOO_SHORT.value,)
    unseen = (replace(m, usable=False) for m in Face().meshes(times))
    assert Reason.FACE_NOT_SEEN in Run(node).feed(times, unseen).last.reasons


def test_time_that_nobody_looked_is_not_watched(node: Life) -> None:
    times = np.concatenate([steady(2.0, 10.0), 3.5 + steady(2.0, 10.0)])
    run = Run(node).feed(times, Face().meshes(times))
    assert run.last.details["watched"] == pytest.approx(run.at[-1] - 1.5, abs=0.05)


def test_a_reset_is_told(node: Life) -> None:
    for word, reason in (("gap", Reason.STATE_RESET_GAP), ("epoch", Reason.STATE_RESET_EPOCH)):
        times = steady(3.0, 10.0)
        run = Run(node, word).feed(times, Face().meshes(times))
        assert reason in run.evidence[0].reasons
        assert run.last.reasons == ()


def test_state_is_picklable_bounded_and_whole(node: Life) -> None:
    times = steady(70.0, 31.0)
    meshes = list(Face(mouth=speak, closing=closings(5.0, 9.0)).meshes(times))
    whole = Run(node).feed(times, iter(meshes))
    halves = Run(node).feed(times[:1200], iter(meshes[:1200]))
    restarted = Life(LifeParams())
    restarted.open(NodeContext("life", "lossless"))
    exported = pickle.loads(pickle.dumps(node.export_state(halves.state)))
    halves.node, halves.state = restarted, restarted.restore_state(exported)
    halves.feed(times[1200:], iter(meshes[1200:]))
    assert halves.evidence == whole.evidence
    assert len(pickle.dumps(halves.state)) < 60_000
    assert whole.last.window[1] - whole.last.window[0] == pytest.approx(20.0, abs=0.1)


@pytest.mark.usefixtures("models")
def test_a_real_face_that_speaks(
    shared_data: Path, clip_frames: Callable[[Path, int], Iterator[Frame]], node: Life
) -> None:
    align = Align(AlignParams(cadence_hz=0))
    align.open(NodeContext("align", "lossless"))
    box = Box(150.0, 90.0, 110.0, 130.0)
    aligned, run = align.new_state(Begin("clip", 1, 0.0, 0, "first")), Run(node)
    try:
        for frame in clip_frames(shared_data / "clips" / "webcam_b_31s.mp4", 150):
            assert frame.media_time is not None
            face = TrackedFace(frame, box, True, 1.0, None, 0.0, 0.0)
            packet = Packet("door", frame.media_time, 0, 1, face)
            given = align.process("tracks", [packet], [aligned])
            box = given["observations"][0].payload.box
            run.feed([frame.media_time], iter([given["meshes"][0].payload]))
    finally:
        align.close()
    assert run.last.llr is not None
    assert run.last.llr > 0.4
    assert run.last.details["movement"] > 1.0


# Calibration


def test_shipped_wanders_cover_those_of_moved_portraits(mesh_net: MeshNet) -> None:
    fitted = fit(draw_sequences(mesh_net, 4, seed=5))
    for name in ("mouth_wander", "smile_wander", "brow_wander"):
        assert 0 <= getattr(fitted, name) < 1.5 * getattr(MODEL, name)
