"""The planarity node on pictures that move as planes and heads do, and on real ones."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.graph.node import NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.align import Align, AlignParams
from padflow.nodes.evidence import Reason
from padflow.nodes.frame import Frame
from padflow.nodes.mesh import MeshNet, Square
from padflow.nodes.payloads import Box, FacePixels, TrackedFace
from padflow.nodes.planarity import Planarity, PlanarityParams

from .fed_track import Run, begin
from .moving_faces import GOOD, Portrait, Times, Turn


@pytest.fixture(scope="module")
def portrait(mesh_net: MeshNet, astronaut: np.ndarray) -> Portrait:
    return Portrait.of(mesh_net, astronaut, Square(225.0, 125.0, 190.0, 0.0).matrix())


@pytest.fixture
def node() -> Planarity:
    made = Planarity(PlanarityParams())
    made.open(NodeContext("planarity", "lossless"))
    return made


def steady(seconds: float, rate: float = 25.0) -> np.ndarray:
    return np.arange(int(seconds * rate) + 1) / rate


def look_about(time: float) -> tuple[float, float]:
    return 12 * np.sin(2 * np.pi * 0.4 * time), 4 * np.sin(2 * np.pi * 0.3 * time)


def heads(portrait: Portrait, times: Times, turn: Turn) -> Iterator[FacePixels]:
    for index, time in enumerate(times):
        yield portrait.pixels(portrait.turned_head(*turn(time)), turn(time), seed=index)


def planes(portrait: Portrait, times: Times, turn: Turn) -> Iterator[FacePixels]:
    for index, time in enumerate(times):
        yield portrait.pixels(portrait.turned_plane(*turn(time)), turn(time), seed=index)


def test_a_head_that_turns_speaks_for_life_and_a_print_that_turns_against(
    node: Planarity, portrait: Portrait
) -> None:
    times = steady(4.2, 12.0)
    alive = Run(node).feed(times, heads(portrait, times, look_about))
    assert len(alive.valued) >= 3
    # The tracker smooths this small nose, so that a sheet bent like a face is not quite ruled out.
    assert min(alive.valued) > -0.2
    assert max(alive.valued) > 0.2
    assert alive.last.details["curvature"] == pytest.approx(0.9, abs=0.35)
    assert alive.last.details["sheet_ratio"] > 1.5
    flat = Run(node).feed(times, planes(portrait, times, look_about))
    assert len(flat.valued) >= 3
    assert max(flat.valued) < -1.0
    assert abs(flat.last.details["curvature"]) < 0.2
    assert flat.last.cue == "planarity"
    assert flat.last.reasons == ()


def test_a_face_that_keeps_still_gives_no_value(node: Planarity, portrait: Portrait) -> None:
    times = steady(3.2, 10.0)
    still = Run(node).feed(times, heads(portrait, times, lambda t: (0.1 * np.sin(t), 0.0)))
    assert not still.valued
    assert all(e.reasons == (Reason.TOO_LITTLE_MOTION.value,) for e in still.evidence)


@pytest.mark.parametrize("rate", [5.0, 11.0, 29.97, 60.0])
def test_frame_rates(node: Planarity, portrait: Portrait, rate: float) -> None:
    times = steady(4.3, rate)
    run = Run(node).feed(times, heads(portrait, times, look_about))
    assert len(run.at) == pytest.approx(4, abs=1)
    assert run.valued
    assert min(run.valued) > -0.3
    assert all(e.details["curvature"] > 0.5 for e in run.evidence if e.llr is not None)
    # Points are followed about ten times a second at most, whatever the camera does.
    assert max(e.details["frames"] for e in run.evidence if e.details) <= 27


def test_windows_reach_back_to_the_reference_and_start_anew(
    node: Planarity, portrait: Portrait
) -> None:
    times = steady(4.5, 10.0)
    run = Run(node).feed(times, heads(portrait, times, look_about))
    lengths = [e.window[1] - e.window[0] for e in run.evidence]
    assert lengths == pytest.approx([1.0, 2.0, 1.0, 2.0], abs=0.11)
    assert run.evidence[1].window[1] <= run.evidence[2].window[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 40.0}, Reason.FACE_TOO_SMALL),
        ({"yaw": 55.0}, Reason.FACE_NOT_FRONTAL),
        ({"pitch": -50.0}, Reason.FACE_NOT_FRONTAL),
        ({"exposure": 8.0}, Reason.TOO_DARK),
        ({"occlusion": 0.9}, Reason.FACE_OCCLUDED),
    ],
)
def test_conditions(
    node: Planarity, portrait: Portrait, change: dict[str, float], reason: Reason
) -> None:
    times = steady(1.2, 10.0)
    bad = replace(GOOD, **change)
    given = (portrait.pixels(portrait.image, look_about(t), quality=bad) for t in times)
    run = Run(node).feed(times, given)
    assert not run.valued
    assert reason in run.last.reasons
    assert Reason.WINDOW_TOO_SHORT in run.last.reasons


def test_faces_that_are_not_seen_are_not_used(node: Planarity, portrait: Portrait) -> None:
    times = steady(1.2, 10.0)
    given = (portrait.pixels(portrait.image, look_about(t), usable=False) for t in times)
    run = Run(node).feed(times, given)
    assert not run.valued
    assert Reason.FACE_NOT_SEEN in run.last.reasons
    assert run.state.followed is None


def test_meshes_that_flow_carried_bring_nothing(node: Planarity, portrait: Portrait) -> None:
    times = steady(1.2, 10.0)
    given = (portrait.pixels(portrait.image, look_about(t), looked=False) for t in times)
    assert Run(node).feed(times, given).state.followed is None


def test_where_nothing_can_be_followed_there_is_no_value(
    node: Planarity, portrait: Portrait
) -> None:
    times = steady(5.0, 10.0)
    rng = np.random.default_rng(0)
    given = (
        portrait.pixels(rng.integers(0, 256, portrait.image.shape), look_about(t), seed=i)
        for i, t in enumerate(times)
    )
    run = Run(node).feed(times, given)
    assert not run.valued
    assert run.state.followed is not None
    assert len(run.state.followed.times) <= 3  # points are looked for again and again
    assert len(run.evidence) >= 3  # and that is told about once a second
    assert all(e.reasons == (Reason.FLOW_UNRELIABLE.value,) for e in run.evidence)


def test_a_reset_is_told(node: Planarity, portrait: Portrait) -> None:
    for word, reason in (("gap", Reason.STATE_RESET_GAP), ("epoch", Reason.STATE_RESET_EPOCH)):
        run = Run(node, word)
        times = steady(1.2, 3.5)  # too few frames for a look
        run.feed(times, heads(portrait, times, look_about))
        assert reason in run.last.reasons


def test_state_is_picklable_bounded_and_whole(node: Planarity, portrait: Portrait) -> None:
    times = steady(4.2, 25.0)
    given = list(heads(portrait, times, look_about))
    whole = Run(node).feed(times, iter(given))
    halves = Run(node).feed(times[:60], iter(given[:60]))
    assert len(pickle.dumps(halves.state)) < 60_000
    exported = pickle.loads(pickle.dumps(node.export_state(halves.state)))
    restarted = Planarity(PlanarityParams())
    restarted.open(NodeContext("planarity", "lossless"))
    halves.node, halves.state = restarted, restarted.restore_state(exported)
    halves.feed(times[60:], iter(given[60:]))
    assert halves.evidence == whole.evidence
    assert len(pickle.dumps(halves.state)) < 60_000


@pytest.mark.usefixtures("models")
def test_a_real_head_that_turns(
    shared_data: Path, clip_frames: Callable[[Path, int], Iterator[Frame]], node: Planarity
) -> None:
    """Aligned from a real clip of a person at a desk."""
    align = Align(AlignParams(cadence_hz=0))
    align.open(NodeContext("align", "lossless"))
    aligned, run, box = align.new_state(begin()), Run(node), Box(150.0, 90.0, 110.0, 130.0)
    try:
        for frame in clip_frames(shared_data / "clips" / "webcam_b_31s.mp4", 200):
            assert frame.media_time is not None
            face = TrackedFace(frame, box, True, 1.0, None, 0.0, 0.0)
            packet = Packet("door", frame.media_time, 0, 1, face)
            given = align.process("tracks", [packet], [aligned])
            box = given["observations"][0].payload.box
            run.feed([frame.media_time], iter([given["pixels"][0].payload]))
    finally:
        align.close()
    assert len(run.evidence) >= 5
    assert all(e.reasons for e in run.evidence if e.llr is None)
    assert np.mean(run.valued or [0.0]) > -0.2
