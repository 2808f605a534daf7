"""The node that runs the pulse network on depth features, with a tiny real step network."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from padflow.engines import BundleError
from padflow.graph.node import Begin, Node, NodeContext
from padflow.graph.packet import Packet
from padflow.graph.testing import NodeConformance, Sample
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.payloads import DepthFeatures
from padflow.nodes.policy import Policy
from padflow.nodes.pulse_depth import PulseDepth, PulseDepthParams, PulseDepthTrack, beat_of
from tests.nodes.test_motion_depth import Course, evidence_of, unseen
from tests.nodes.test_motion_depth import features as motion_features
from tests.nodes.test_motion_depth import packet as motion_packet
from tests.nodes.tiny_pulse import waves_after, write_tiny_pulse
from tests.nodes.tiny_steps import CALIBRATION

BEAT = 1.3
"""Hz."""
RATE = 20
Make = Callable[..., PulseDepth]


def features(x: float, place: float = 1.0, **changes: Any) -> DepthFeatures:
    places = np.full((2, 1024), place, np.float32)
    return replace(motion_features(x, **changes), places=places)


def packet(x: Any, time: float, key: int = 1) -> Packet:
    return motion_packet(x if isinstance(x, DepthFeatures) else features(x), time, key)


def beating(start: float, seconds: float, rate: float = RATE, beat: float = BEAT) -> list[Packet]:
    """Samples of a sine, at uneven times."""
    rng = np.random.default_rng(round(1000 * start))
    times = start + np.arange(round(seconds * rate) + 1) / rate
    times[1:-1] += rng.uniform(-0.2, 0.2, len(times) - 2) / rate
    return [packet(float(np.sin(2 * np.pi * beat * t)), float(t)) for t in times]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_pulse(tmp_path_factory.mktemp("bundles") / "pulse"))


@pytest.fixture
def opened() -> Iterator[Make]:
    nodes: list[PulseDepth] = []

    def make(engine: str, told: list[str] | None = None, **params: Any) -> PulseDepth:
        node = PulseDepth(PulseDepthParams(engine=engine, **params))
        lines: list[str] = [] if told is None else told
        nodes.append(node)
        node.open(NodeContext("pulse_depth", "realtime", notice=lines.append))
        return node

    yield make
    for node in nodes:
        node.close()


def fresh(node: PulseDepth, reason: Any = "first") -> PulseDepthTrack:
    return node.new_state(Begin("door", 1, 0.0, 0, reason))


def said(node: PulseDepth, state: PulseDepthTrack, packets: list[Packet]) -> list[Evidence]:
    out = node.process("features", packets, [state] * len(packets))
    return [one.payload for one in out["evidence"]]


def score_of(packets: list[Packet], until: float = np.inf) -> float:
    """What the last 10 s of a track say, by the text book: no state, no node."""
    packets = [one for one in packets if one.time <= until]
    waves = np.array(waves_after([float(one.payload.stages[0][0, 0, 0]) for one in packets]))
    times = np.array([one.time for one in packets])
    newest = times >= times[-1] - 10.0
    return beat_of(times[newest], waves[newest]).score


def test_evidence_comes_once_a_second_and_a_value_after_six(opened: Make, bundle: str) -> None:
    node, packets = opened(bundle), beating(0.0, 13.0)
    found = said(node, fresh(node), packets)
    assert [one.window[1] for one in found] == pytest.approx(list(range(1, 14)), abs=0.06)
    for one in found[:5]:
        assert one.reasons == (Reason.WINDOW_TOO_SHORT.value,)
        assert one.llr is None
    for one in found[5:]:
        score = score_of(packets, one.window[1])
        assert one.details["score"] == pytest.approx(score, abs=1e-4)
        ratio = CALIBRATION["slope"] * score + CALIBRATION["offset"]
        assert one.llr == pytest.approx(ratio, abs=1e-4)
        assert one.details["heart_rate_bpm"] == pytest.approx(60 * BEAT, abs=2.1)
        assert one.window[0] >= one.window[1] - 10.001
    last = found[-1]
    assert set(last.details) == {"score", "heart_rate_bpm", "samples"}
    assert last.cue == "rppg_depth"
    assert last.window[0] == pytest.approx(3.0, abs=0.06)
    assert last.engine == "tiny_pulse"
    assert len(last.engine_sha256) == 64


def test_where_nothing_beats_the_score_is_far_below(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    still = [packet(0.7, one.time) for one in beating(0.0, 10.0)]
    found = said(node, fresh(node), still)[-1]
    assert found.llr == CALIBRATION["min_llr"]
    assert found.details["score"] < -5


def test_the_places_reach_the_network(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    plain = beating(0.0, 8.0)
    doubled = [packet(replace(p.payload, places=2 * p.payload.places), p.time) for p in plain]
    one, two = (said(node, fresh(node), packets)[-1] for packets in (plain, doubled))
    assert two.details["score"] - one.details["score"] == pytest.approx(np.log(4), abs=1e-3)


def test_after_a_gap_it_starts_afresh_and_says_so(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    state = fresh(node)
    said(node, state, beating(0.0, 8.0))
    after = beating(8.6, 7.0, beat=2.4)
    first, *_, last = said(node, state, after)
    assert first.reasons == (Reason.WINDOW_TOO_SHORT.value, Reason.STATE_RESET_GAP.value)
    assert first.window[0] == pytest.approx(8.6)
    score = score_of(after, last.window[1])
    assert last.details["score"] == pytest.approx(score, abs=1e-4)
    assert last.details["heart_rate_bpm"] == pytest.approx(144, abs=2.1)
    assert last.reasons == ()


def test_a_reset_by_the_runtime_is_told(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    found = said(node, fresh(node, "epoch"), beating(0.0, 1.5))
    expected = (Reason.WINDOW_TOO_SHORT.value, Reason.STATE_RESET_EPOCH.value)
    assert [one.reasons for one in found] == [expected]


def test_too_few_samples_a_second_are_no_evidence(opened: Make, bundle: str) -> None:
    node = opened(bundle)
    found = said(node, fresh(node), beating(0.0, 8.0, rate=5))
    assert found[-1].reasons == (Reason.FRAME_RATE_TOO_LOW.value,)
    assert found[-1].llr is None


def test_what_comes_too_soon_or_twice_is_passed_over(opened: Make, bundle: str) -> None:
    node, packets = opened(bundle, min_interval=0.0), beating(0.0, 7.0)
    twice = [one for p in packets for one in (p, packet(50.0, p.time))]
    assert said(node, fresh(node), twice) == said(node, fresh(node), packets)


def test_faces_that_were_not_seen_have_their_reasons_once_a_second(
    opened: Make, bundle: str
) -> None:
    node = opened(bundle)
    state = fresh(node)
    good = beating(0.0, 6.5)
    poor = [packet(unseen(Reason.BLURRED), 6.5 + k / RATE) for k in range(1, 60)]
    found = said(node, state, good + poor)
    late = [one for one in found if one.window[1] > 6.6]
    assert [one.reasons for one in late] == [(Reason.BLURRED.value,)] * 3
    (again,) = said(node, state, [packet(1.0, 10.0)])
    assert again.reasons == (Reason.WINDOW_TOO_SHORT.value, Reason.STATE_RESET_GAP.value)


def test_a_short_lapse_is_bridged(opened: Make, bundle: str) -> None:
    node, packets = opened(bundle), beating(0.0, 9.0)
    lapse = [k for k, p in enumerate(packets) if 4.0 < p.time < 4.3]
    holed = [packet(unseen(Reason.BLURRED), p.time) if k in lapse else p
             for k, p in enumerate(packets)]  # fmt: skip
    kept = [p for k, p in enumerate(packets) if k not in lapse]
    found = said(node, fresh(node), holed)[-1]
    assert found.details["score"] == pytest.approx(score_of(kept), abs=1e-4)


def test_no_number_is_no_evidence_and_is_not_carried_on(opened: Make, tmp_path: Path) -> None:
    node = opened(str(write_tiny_pulse(tmp_path / "broken", broken=True)))
    state = fresh(node)
    said(node, state, beating(0.0, 6.5))
    bad = packet(-3.0, 7.02)
    (found,) = said(node, state, [bad])
    assert found.reasons == (Reason.NOT_A_NUMBER.value,)
    after = beating(7.1, 6.95)
    found = said(node, state, after)[-1]
    assert found.window[0] == pytest.approx(7.1)
    score = score_of(after, found.window[1])
    assert found.details["score"] == pytest.approx(score, abs=1e-4)


def test_another_depth_networks_features_are_no_evidence_and_are_told_once(
    opened: Make, bundle: str
) -> None:
    told: list[str] = []
    node = opened(bundle, told)
    other = [packet(features(1.0, edition="cd" * 32), k / RATE) for k in range(70)]
    found = said(node, fresh(node), other)
    assert [one.reasons for one in found] == [(Reason.ENGINE_MISSING.value,)] * 3
    assert len(told) == 1
    assert "padflow train pulse_depth" in told[0]


def test_without_its_network_it_says_so(opened: Make) -> None:
    told: list[str] = []
    node = opened("", told)
    found = said(node, fresh(node), beating(0.0, 2.5))
    assert [one.reasons for one in found] == [(Reason.ENGINE_MISSING.value,)] * 2
    assert len(told) == 1
    assert "no bundle called pulse_depth" in told[0]


def test_a_network_of_another_kind_is_refused(opened: Make, tmp_path: Path) -> None:
    lacking = write_tiny_pulse(tmp_path / "lacking", lacking="next_hidden")
    with pytest.raises(BundleError, match="next_hidden"):
        opened(str(lacking))


def test_states_pickle_and_go_on(opened: Make, bundle: str) -> None:
    node, packets = opened(bundle), beating(0.0, 9.0)
    state = fresh(node)
    said(node, state, packets[:100])
    again = pickle.loads(pickle.dumps(state))
    assert len(pickle.dumps(state)) < 10_000
    a, b = (said(node, one, packets[100:]) for one in (state, again))
    assert a == b
    assert a[-1].llr is not None


def test_the_default_policy_caps_it_as_it_caps_the_other_pulses() -> None:
    policy = Policy()
    assert policy.cues["rppg_depth"] == policy.cues["rppg"] == policy.cues["pulse"]
    assert any({"pulse", "rppg", "rppg_depth"} <= set(one.cues) for one in policy.correlated)


def courses(seed: int, count: int) -> list[Course]:
    """Tracks of one stream that begin at any time, each with a beat and now and then a gap."""
    rng = np.random.default_rng(seed)
    found = []
    for key in range(count):
        samples: list[tuple[float, float, int]] = []
        time = float(rng.integers(0, 2000)) / 1000
        beat, size = rng.uniform(0.8, 3.5), rng.uniform(0.1, 2.0)
        epoch = 0
        while len(samples) < 190:
            samples.append((float(size * np.sin(2 * np.pi * beat * time)), time, epoch))
            step = rng.choice([40, 55, 200, 700], p=[0.5, 0.49, 0.007, 0.003])
            time = round(time + step / 1000, 3)
        found.append(Course(key, tuple(samples)))
    return found


def expected(course: Course) -> list[float | None]:
    """Scores of one track's looks by what it alone has shown since its last gap."""
    params = PulseDepthParams()
    scores: list[float | None] = []
    seen: list[Packet] = []
    due = course.samples[0][1] + params.period
    for x, time, _ in course.samples:
        if seen and time - seen[-1].time > params.max_gap:
            seen, due = [], time + params.period  # the runtime makes a new state
        seen.append(packet(x, time))
        if time >= due - 0.02:
            due = max(due, time - params.period) + params.period
            long = time - seen[0].time >= params.minimum - 0.02
            scores.append(score_of(seen) if long else None)
    return scores


@settings(max_examples=2, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1), mode=st.sampled_from(["realtime", "lossless"]))
def test_nothing_passes_from_one_track_to_another(bundle: str, seed: int, mode: Any) -> None:
    tracks = courses(seed, 20 if mode == "realtime" else 5)
    found = evidence_of(bundle, tracks, mode, PulseDepth, features)
    valued = 0
    for course in tracks:
        scores, evidence = expected(course), found[course.key]
        assert len(evidence) == len(scores)
        for one, score in zip(evidence, scores, strict=True):
            if score is None:
                assert Reason.WINDOW_TOO_SHORT.value in one.reasons
            else:
                valued += 1
                assert one.details["score"] == pytest.approx(score, abs=1e-3)
    assert valued


class TestPulseDepth(NodeConformance):
    """Two tracks, one with a gap, one with a face that was not seen."""

    @pytest.fixture(autouse=True)
    def _bundle(self, bundle: str) -> None:
        self.engine = bundle

    def node(self) -> Node[Any]:
        return PulseDepth(PulseDepthParams(engine=self.engine, minimum=4.0))

    def sample(self) -> Sample:
        rng = np.random.default_rng(2)
        packets = [packet(float(rng.normal()), 0.05 * k, key=k % 2) for k in range(200)]
        packets[24] = packet(unseen(Reason.BLURRED), 1.2, key=0)
        packets += [packet(1.0, 11.5, key=0), packet(2.0, 12.6, key=0)]
        return [("features", one) for one in packets]
