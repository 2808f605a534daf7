"""The surroundings node on a face before a room, with and without a sheet, and on real faces."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.align import Align, AlignParams
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.frame import Frame
from padflow.nodes.payloads import Box, FaceSurroundings, TrackedFace
from padflow.nodes.surroundings import Surroundings, SurroundingsParams

from .fed_track import Run
from .scenes import HEAD, SHEET, Scene, texture

RATE = 5.0


@pytest.fixture
def node() -> Surroundings:
    return Surroundings(SurroundingsParams())


def steady(seconds: float) -> list[float]:
    return [index / RATE for index in range(int(seconds * RATE) + 1)]


def sway(time: float) -> tuple[float, float]:
    return 6 * np.sin(4 * time), 3 * np.sin(2.5 * time)


def shown(scene: Scene, times: Sequence[float], **quality: float) -> Iterator[FaceSurroundings]:
    for index, time in enumerate(times):
        yield scene.shows(sway(time), seed=index, quality=quality)


def test_a_head_before_a_room_speaks_for_life_and_a_sheet_against(node: Surroundings) -> None:
    times = steady(4.2)
    alive = Run(node).feed(times, shown(Scene(HEAD), times))
    assert len(alive.valued) == 4
    assert min(alive.valued) > 0.5
    sheet = Run(node).feed(times, shown(Scene(SHEET), times))
    assert len(sheet.valued) == 4
    assert max(sheet.valued) < -1.8
    assert sheet.last.cue == "surroundings"
    assert sheet.last.reasons == ()
    assert sheet.last.details["going"] > 40


def test_windows_reach_back_to_the_reference_and_start_anew(node: Surroundings) -> None:
    times = steady(4.5)
    run = Run(node).feed(times, shown(Scene(HEAD), times))
    assert run.at == pytest.approx([1.0, 2.0, 3.0, 4.0], abs=0.21)
    lengths = [e.window[1] - e.window[0] for e in run.evidence]
    assert lengths == pytest.approx([1.0, 2.0, 1.0, 2.0], abs=0.21)
    assert run.evidence[1].window[1] <= run.evidence[2].window[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 40.0}, Reason.FACE_TOO_SMALL),
        ({"yaw": 55.0}, Reason.FACE_NOT_FRONTAL),
        ({"exposure": 8.0}, Reason.TOO_DARK),
        ({"occlusion": 0.9}, Reason.FACE_OCCLUDED),
        ({"sharpness": float("nan")}, Reason.BLURRED),
    ],
)
def test_conditions(node: Surroundings, change: dict[str, float], reason: Reason) -> None:
    times = steady(1.2)
    run = Run(node).feed(times, shown(Scene(HEAD), times, **change))
    assert not run.valued
    assert set(run.last.reasons) == {reason, Reason.WINDOW_TOO_SHORT}


def test_why_nothing_is_said(node: Surroundings) -> None:
    times = steady(2.2)
    still = Run(node).feed(times, (Scene(HEAD).shows(seed=i) for i in range(len(times))))
    assert {e.reasons for e in still.evidence} == {(Reason.TOO_LITTLE_MOTION.value,)}
    wall = np.full_like(texture(0), 128.0)
    bare = Run(node).feed(times, shown(Scene(HEAD, room=wall), times))
    assert {e.reasons for e in bare.evidence} == {(Reason.SURROUNDINGS_PLAIN.value,)}
    given = list(shown(Scene(HEAD), times))
    close = Run(node).feed(times[:1], given[:1])
    assert close.state.compared is not None
    reference = close.state.compared.reference  # of a face that fills the picture
    close.state.compared.reference = reference._replace(counted=np.zeros_like(reference.counted))
    close.feed(times[1:6], given[1:6])
    assert close.last.reasons == (Reason.SURROUNDINGS_PLAIN.value,)
    filled = Scene(np.ones_like(SHEET))
    full = Run(node).feed(times, shown(filled, times))
    assert not full.valued


def test_a_sheet_that_fills_the_picture_may_be_a_camera_that_shakes(node: Surroundings) -> None:
    times = steady(2.2)
    scene = Scene(SHEET, room=np.full_like(texture(0), 128.0))
    run = Run(node).feed(times, shown(scene, times))
    assert {e.reasons for e in run.evidence} == {(Reason.WHOLE_PICTURE_MOVES.value,)}


def test_other_faces_in_turn_are_lost_again_and_again(node: Surroundings) -> None:
    times = steady(5.0)
    faces = (Scene(HEAD, front=texture(index)).shows() for index in range(len(times)))
    run = Run(node).feed(times, faces)
    assert not run.valued
    assert Reason.FLOW_UNRELIABLE in run.last.reasons
    assert run.state.compared is not None
    assert run.state.compared.lost <= 3


def test_a_swap_is_seen_within_two_windows(node: Surroundings) -> None:
    """A living face, then a print before it: what was measured of the one is not of the other."""
    times = steady(6.0)
    given = [
        (Scene(HEAD) if time < 2.5 else Scene(SHEET, front=texture(9))).shows(sway(time), seed=i)
        for i, time in enumerate(times)
    ]
    run = Run(node).feed(times, given)
    late = [e.llr for e, at in zip(run.evidence, run.at, strict=True) if e.llr and at >= 5.5]
    assert late
    assert max(late) < -1.5


def test_a_reset_is_told(node: Surroundings) -> None:
    for word, reason in (("gap", Reason.STATE_RESET_GAP), ("epoch", Reason.STATE_RESET_EPOCH)):
        run = Run(node, word).feed([0.0, 1.1], (Scene(HEAD).shows() for _ in range(2)))
        assert reason in run.last.reasons


def test_state_is_picklable_bounded_and_whole(node: Surroundings) -> None:
    times = steady(4.2)
    given = list(shown(Scene(SHEET), times))
    whole = Run(node).feed(times, given)
    halves = Run(node).feed(times[:13], given[:13])
    assert len(pickle.dumps(halves.state)) < 200_000
    exported = pickle.loads(pickle.dumps(node.export_state(halves.state)))
    halves.node = Surroundings(SurroundingsParams())
    halves.state = halves.node.restore_state(exported)
    halves.feed(times[13:], given[13:])
    assert halves.evidence == whole.evidence


def test_tracks_of_one_call_do_not_mix(node: Surroundings) -> None:
    times = steady(2.2)
    pair = [list(shown(Scene(mask), times)) for mask in (HEAD, SHEET)]
    alone = [Run(node).feed(times, given).evidence for given in pair]
    states = [Run(node).state, Run(node).state]
    together: list[list[Evidence]] = [[], []]
    for step, time in enumerate(times):
        packets = [Packet("door", time, 0, key, pair[key][step]) for key in (0, 1)]
        for told in node.process("surroundings", packets, states)["evidence"]:
            assert told.key is not None
            together[told.key].append(told.payload)
    assert together == alone


@pytest.mark.usefixtures("models")
def test_a_real_head_before_its_room(
    shared_data: Path, clip_frames: Callable[[Path, int], Iterator[Frame]], node: Surroundings
) -> None:
    """Aligned from a real clip of a person at a desk."""
    align = Align(AlignParams(cadence_hz=0))
    align.open(NodeContext("align", "lossless"))
    first = Begin("door", 1, 0.0, 0, "first")
    aligned, run, box = align.new_state(first), Run(node), Box(150.0, 90.0, 110.0, 130.0)
    try:
        for frame in clip_frames(shared_data / "clips" / "webcam_b_31s.mp4", 200):
            assert frame.media_time is not None
            face = TrackedFace(frame, box, True, 1.0, None, 0.0, 0.0)
            packet = Packet("door", frame.media_time, 0, 1, face)
            given = align.process("tracks", [packet], [aligned])
            box = given["observations"][0].payload.box
            for seen in given["surroundings"]:
                run.feed([frame.media_time], [seen.payload])
    finally:
        align.close()
    assert len(run.evidence) >= 5
    assert run.valued
    assert min(run.valued) > 0.0
