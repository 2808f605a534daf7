"""The node that runs the motion network, with a tiny real step network."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from padflow.engines import BundleError, ModelMissing
from padflow.graph.local import LocalRun
from padflow.graph.node import Begin, Contract, Node, NodeContext, Outputs, Port, StreamSpec
from padflow.graph.options import RunOptions
from padflow.graph.packet import Packet
from padflow.graph.spec import Graph
from padflow.graph.testing import ListSource, NodeConformance, NoParams, Sample
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.motion_depth import MotionDepth, MotionDepthParams
from padflow.nodes.payloads import DepthFeatures, DepthMap, Quality
from padflow.nodes.track_steps import StepTrack
from tests.nodes.tiny_steps import CALIBRATION, EDITION, SHAPE, score_after, write_tiny_steps

GOOD = Quality(
    size=120.0, sharpness=0.5, exposure=120.0, clipped=0.0, yaw=3.0, pitch=-4.0, roll=0.0,
    presence=0.99, occlusion=0.0, motion=0.1,
)  # fmt: skip
Make = Callable[..., MotionDepth]


def features(
    x: float, strangeness: float = 0.1, edition: str = EDITION, quality: Quality = GOOD
) -> DepthFeatures:
    stages = tuple(np.full(SHAPE, value, np.float32) for value in (x, 0.0, strangeness))
    return DepthFeatures(stages, np.full((32, 32), 0.25, np.float32), quality, edition)


def unseen(*reasons: Reason) -> DepthFeatures:
    nothing = np.zeros((0, 0), np.float32)
    return DepthFeatures((), nothing, GOOD, "", tuple(reason.value for reason in reasons))


def packet(x: Any, time: float, key: int = 1, epoch: int = 0, stream: str = "door") -> Packet:
    payload = x if isinstance(x, DepthFeatures) else features(x)
    return Packet(stream, time, epoch, key, payload, arrival=time)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_steps(tmp_path_factory.mktemp("bundles") / "motion"))


@pytest.fixture
def opened() -> Iterator[Make]:
    nodes: list[MotionDepth] = []

    def make(engine: str, mode: str = "realtime", **params: Any) -> MotionDepth:
        node = MotionDepth(MotionDepthParams(engine=engine, **params))
        node.open(NodeContext("motion_depth", mode))  # type: ignore[arg-type]
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.close()


def fresh(node: MotionDepth, reason: Any = "first") -> StepTrack:
    return node.new_state(Begin("door", 1, 0.0, 0, reason))


def said(node: MotionDepth, state: StepTrack, *packets: Packet) -> list[Evidence]:
    out = node.process("features", packets, [state] * len(packets))
    return [one.payload for one in out["evidence"]]


def test_a_value_comes_with_the_second_sample(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    state = fresh(node)
    first, second, third = said(node, state, packet(1.0, 0.0), packet(1.5, 0.2), packet(1.4, 0.5))
    assert first.llr is None
    assert first.reasons == (Reason.WINDOW_TOO_SHORT.value,)
    assert second.cue == "motion"
    assert second.window == (0.0, 0.2)
    score = score_after([1.0, 1.5], [0.0, 0.2])
    assert second.details["score"] == pytest.approx(score, rel=1e-5)
    assert second.llr == pytest.approx(CALIBRATION["slope"] * score + CALIBRATION["offset"])
    assert third.details["score"] == pytest.approx(
        score_after([1.0, 1.5, 1.4], [0.0, 0.2, 0.5]), rel=1e-5
    )
    assert third.details["samples"] == 3
    assert third.engine == "motion"
    assert len(third.engine_sha256) == 64


def test_ratios_stay_within_the_calibrated_limits(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    high = said(node, fresh(node), packet(0.0, 0.0), packet(9.0, 0.2))[-1]
    low = said(node, fresh(node), packet(9.0, 0.0), packet(0.0, 0.2))[-1]
    assert (high.llr, low.llr) == (CALIBRATION["max_llr"], CALIBRATION["min_llr"])


def test_the_window_reaches_back_as_far_as_the_network_remembers(opened: Make, bundle: str) -> None:
    node = opened(bundle, recall=1.0)
    found = said(node, fresh(node), *(packet(float(k), 0.3 * k) for k in range(8)))
    assert found[2].window == pytest.approx((0.0, 0.6))
    assert found[7].window == pytest.approx((1.1, 2.1))


def test_after_a_gap_it_starts_afresh_and_says_so(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    state = fresh(node)
    said(node, state, packet(5.0, 0.0), packet(1.0, 0.2))
    again, after = said(node, state, packet(7.0, 1.1), packet(8.0, 1.3))
    assert again.reasons == (Reason.WINDOW_TOO_SHORT.value, Reason.STATE_RESET_GAP.value)
    assert after.details["score"] == pytest.approx(score_after([7.0, 8.0], [1.1, 1.3]), rel=1e-5)
    assert after.reasons == ()


@pytest.mark.parametrize(
    ("reason", "code"),
    [("gap", Reason.STATE_RESET_GAP), ("epoch", Reason.STATE_RESET_EPOCH),
     ("fault", Reason.STATE_RESET_FAULT)],
)  # fmt: skip
def test_a_reset_by_the_runtime_is_told(
    opened: Make, bundle: str, reason: str, code: Reason
) -> None:
    node = opened(bundle)
    (first,) = said(node, fresh(node, reason), packet(1.0, 0.0))
    assert first.reasons == (Reason.WINDOW_TOO_SHORT.value, code.value)


def test_a_sample_too_soon_is_passed_over(opened: Make, bundle: str) -> None:
    node = opened(bundle, min_interval=0.1)
    state = fresh(node)
    found = said(node, state, packet(1.0, 0.0), packet(50.0, 0.04), packet(2.0, 0.2))
    assert len(found) == 2
    assert found[-1].details["score"] == pytest.approx(score_after([1.0, 2.0], [0.0, 0.2]))


def test_a_face_that_the_depth_network_did_not_see_has_its_reasons(
    opened: Make, bundle: str
) -> None:
    node = opened(bundle)
    state = fresh(node)
    found = said(
        node, state, packet(1.0, 0.0), packet(unseen(Reason.BLURRED, Reason.TOO_DARK), 0.2),
        packet(2.0, 0.4),
    )  # fmt: skip
    assert found[1].llr is None
    assert found[1].reasons == (Reason.BLURRED.value, Reason.TOO_DARK.value)
    assert found[2].details["score"] == pytest.approx(score_after([1.0, 2.0], [0.0, 0.4]))


def test_its_own_conditions_hold_too(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    small = features(1.0, quality=replace(GOOD, size=20.0))
    (found,) = said(node, fresh(node), packet(small, 0.0))
    assert found.reasons == (Reason.FACE_TOO_SMALL.value,)


def test_what_is_unlike_the_training_is_no_evidence(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    strange = features(2.0, strangeness=1.5)
    found = said(node, fresh(node), packet(1.0, 0.0), packet(strange, 0.2))[-1]
    assert found.llr is None
    assert found.reasons == (Reason.UNLIKE_TRAINING.value,)


def test_no_number_is_no_evidence_and_is_not_carried_on(opened: Make, tmp_path: Path) -> None:
    node = opened(str(write_tiny_steps(tmp_path / "broken", broken=True)))
    state = fresh(node)
    found = said(
        node, state, packet(1.0, 0.0), packet(-1.0, 0.2), packet(2.0, 0.4), packet(3.0, 0.6)
    )
    assert found[1].reasons == (Reason.NOT_A_NUMBER.value,)
    assert found[1].llr is None
    assert Reason.WINDOW_TOO_SHORT.value in found[2].reasons
    assert found[3].details["score"] == pytest.approx(score_after([2.0, 3.0], [0.4, 0.6]))


def test_another_depth_networks_features_are_no_evidence_and_are_told_once(bundle: str) -> None:
    told: list[str] = []
    node = MotionDepth(MotionDepthParams(engine=bundle))
    node.open(NodeContext("motion_depth", "realtime", notice=told.append))
    try:
        other = [packet(features(1.0, edition="cd" * 32), 0.2 * k) for k in range(3)]
        found = said(node, fresh(node), *other)
    finally:
        node.close()
    assert {one.reasons for one in found} == {(Reason.ENGINE_MISSING.value,)}
    assert len(told) == 1
    assert "trained on the features" in told[0]


def test_a_network_of_another_kind_is_refused(opened: Make, tmp_path: Path) -> None:
    lacking = write_tiny_steps(tmp_path / "lacking", lacking="next_hidden")
    with pytest.raises(BundleError, match="next_hidden"):
        opened(str(lacking))


def test_an_engine_that_is_not_there_is_an_error_unless_it_is_the_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = MotionDepth(MotionDepthParams(engine=str(tmp_path / "nothing")))
    with pytest.raises(ModelMissing):
        node.open(NodeContext("motion_depth", "realtime"))
    monkeypatch.setattr(MotionDepth, "own", "nowhere")
    told: list[str] = []
    node = MotionDepth(MotionDepthParams())
    node.open(NodeContext("motion_depth", "realtime", notice=told.append))
    found = said(node, fresh(node), packet(1.0, 0.0), packet(1.0, 0.2))
    assert {one.reasons for one in found} == {(Reason.ENGINE_MISSING.value,)}
    assert len(told) == 1


def test_the_refined_map_is_given_where_it_is_wanted(bundle: str) -> None:
    for connected in (frozenset({"evidence"}), frozenset({"evidence", "depth"})):
        node = MotionDepth(MotionDepthParams(engine=bundle))
        node.open(NodeContext("motion_depth", "realtime", connected=connected))
        try:
            out = node.process("features", [packet(1.0, 0.0)], [fresh(node)])
        finally:
            node.close()
        assert len(out["depth"]) == ("depth" in connected)
        assert all(one.payload.depth.mean() == 0.25 for one in out["depth"])


def test_states_are_small_and_pickle(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    state = fresh(node)
    said(node, state, packet(1.0, 0.0), packet(3.0, 0.2))
    again = pickle.loads(pickle.dumps(state))
    a, b = (said(node, one, packet(4.0, 0.4))[0] for one in (state, again))
    assert a == b


@dataclass(frozen=True)
class Course:
    """What happens to one track: samples with their times and epochs, in order."""

    key: int
    samples: tuple[tuple[float, float, int], ...]
    """x, time, epoch."""


class Keys(Node[NoParams]):
    """Gives packets the keys that their payloads name, as a tracker does."""

    Params = NoParams

    @classmethod
    def contract(cls, params: NoParams) -> Contract:
        return Contract(
            inputs={"in": Port(object, "key and features")},
            outputs={"out": Port(DepthFeatures, "features of a track")},
            state="stream",
            makes_keys=True,
        )

    def process(self, port: str, packets: Sequence[Packet], states: Sequence[Any]) -> Outputs:
        return {"out": [one.carry(one.payload[1], one.payload[0]) for one in packets]}


def courses(seed: int, count: int) -> list[Course]:
    """Many tracks of one stream, with drops, gaps and new epochs; times are whole milliseconds."""
    rng = np.random.default_rng(seed)
    epochs = np.sort(rng.uniform(0, 4, int(rng.integers(0, 3))))
    found = []
    for key in range(count):
        time, samples = float(rng.integers(0, 3000)) / 1000, []
        for _ in range(int(rng.integers(1, 6))):
            samples.append((float(rng.normal()), time, int(np.searchsorted(epochs, time, "right"))))
            gap = rng.choice([200, 120, 400, 799, 801, 1500], p=[0.5, 0.1, 0.2, 0.05, 0.05, 0.1])
            time = round(time + gap / 1000, 3)
        found.append(Course(key, tuple(samples)))
    return found


def expected(course: Course, max_gap: float) -> list[float | None]:
    """Score after each sample by what this track alone has shown since its last reset."""
    scores: list[float | None] = []
    values: list[float] = []
    times: list[float] = []
    epoch = -1
    for x, time, of in course.samples:
        if of != epoch or (times and time - times[-1] > max_gap):
            values, times, epoch = [], [], of
        values.append(x)
        times.append(time)
        scores.append(score_after(values, times) if len(values) > 1 else None)
    return scores


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1), mode=st.sampled_from(["realtime", "lossless"]))
def test_nothing_passes_from_one_track_to_another(bundle: str, seed: int, mode: Any) -> None:
    # A call for each sample, as in lossless runs, takes longer.
    tracks = courses(seed, 2000 if mode == "realtime" else 300)
    found = evidence_of(bundle, tracks, mode)
    for course in tracks:
        scores = expected(course, MotionDepthParams().max_gap)
        evidence = found[course.key]
        assert len(evidence) == len(scores)
        for one, score in zip(evidence, scores, strict=True):
            if score is None:
                assert one.llr is None
                assert Reason.WINDOW_TOO_SHORT.value in one.reasons
            else:
                assert one.details["score"] == pytest.approx(score, rel=1e-4, abs=1e-4)


def evidence_of(
    bundle: str,
    tracks: list[Course],
    mode: Any,
    node: type[Node[Any]] = MotionDepth,
    shown: Callable[[float], DepthFeatures] = features,
) -> dict[int, list[Evidence]]:
    """What a run of a node says of interleaved tracks, by key."""
    packets = [
        Packet("door", time, epoch, None, (course.key, shown(x)))
        for course in tracks
        for x, time, epoch in course.samples
    ]
    packets.sort(key=lambda one: (one.time, one.payload[0]))
    found: dict[int, list[Evidence]] = {}

    def take(one: Packet) -> None:
        found.setdefault(one.key or 0, []).append(one.payload)

    graph = (
        Graph.build("motion")
        .add("source", ListSource, {"chunk": 64})
        .add("keys", Keys, {}, {"in": "source.out"})
        .add("steps", node, {"engine": bundle, "batch": 64}, {"features": "keys.out"})
    )
    # Nothing may be dropped at the entry: what is dropped is decided by the clock.
    options = RunOptions(workers=0, max_staleness=1e9, entry_capacity=10**6)
    with LocalRun(graph, mode, options, {"steps.evidence": take}) as run:
        run.add_stream(StreamSpec("door", "list", {"packets": packets}))
        assert run.wait(60)
    return found


class TestMotionDepth(NodeConformance):
    """Two tracks, one with a gap, one with a face that was not seen."""

    @pytest.fixture(autouse=True)
    def _bundle(self, bundle: str) -> None:
        self.engine = bundle

    def node(self) -> Node[Any]:
        return MotionDepth(MotionDepthParams(engine=self.engine))

    def sample(self) -> Sample:
        rng = np.random.default_rng(2)
        packets = [packet(float(rng.normal()), 0.1 * k, key=k % 2) for k in range(12)]
        packets[4] = packet(unseen(Reason.BLURRED), 0.4, key=0)
        packets += [packet(1.0, 2.0, key=0), packet(2.0, 2.2, key=0)]
        return [("features", one) for one in packets]

    def describe(self, payload: Any) -> Any:
        return payload.depth.tobytes() if isinstance(payload, DepthMap) else payload
