import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin, Finish, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence
from padflow.nodes.fuse import (
    MOST_WINDOWS,
    CueMemory,
    Fuse,
    FuseParams,
    FuseState,
    Look,
    accumulate,
    add_up,
    in_force,
    take_evidence,
)
from padflow.nodes.payloads import Fused
from padflow.nodes.policy import Correlated, CuePolicy, JointLimit, MandatoryGroup, Policy
from padflow.nodes.testing import face_observation

LIMITS = CuePolicy()
nats = st.floats(-10, 10)
looks = st.builds(
    lambda end, length, llr: Look(end, end - length, llr),
    st.floats(0, 60),
    st.floats(0, 12),
    st.floats(-6, 6),
)


def begin(reason: str = "first") -> Begin:
    return Begin("cam", 1, 0.0, 0, reason)  # type: ignore[arg-type]  # tests pass every literal


def seen(state: FuseState, node: Fuse, time: float, **changes: object) -> list[Fused]:
    observation = face_observation(**changes)  # type: ignore[arg-type]  # forwarded keywords
    packet = Packet("cam", time, 0, 1, observation)
    return [p.payload for p in node.process("observations", [packet], [state]).get("fused", ())]


def told(state: FuseState, node: Fuse, time: float, evidence: Evidence) -> None:
    assert not node.process("evidence", [Packet("cam", time, 0, 1, evidence)], [state])


def by_cue(fused: Fused) -> dict[str, Evidence]:
    return {e.cue: e for e in fused.evidence}


def test_identical_windows_count_once_and_independent_ones_add_up() -> None:
    limits = CuePolicy(rho=0.0, memory=1e9, max_windows=100.0, max_llr=100.0)
    same = [Look(10, 0, 1.5)] * 5
    assert accumulate(same, limits) == pytest.approx(1.5)
    apart = [Look(10.0 * (i + 1), 10.0 * i, 1.5) for i in range(4)]
    assert accumulate(apart, limits) == pytest.approx(6.0)
    half = [Look(10, 0, 1.5), Look(15, 5, 1.5)]
    assert accumulate(half, limits) == pytest.approx(1.5 * 4 / 3)  # n_eff = 4 / (2 + 2 * 0.5)


def test_the_bound_on_independent_windows_holds() -> None:
    limits = CuePolicy(rho=0.0, memory=1e9, max_windows=2.0, max_llr=100.0)
    apart = [Look(10.0 * (i + 1), 10.0 * i, 1.5) for i in range(8)]
    assert accumulate(apart, limits) == pytest.approx(3.0)


def test_old_windows_are_forgotten_with_the_time_constant() -> None:
    limits = CuePolicy(rho=1.0, memory=5.0)
    old_then_new = [Look(0, 0, 6.0), Look(5, 5, -6.0)]
    weight = math.exp(-1)
    assert accumulate(old_then_new, limits) == pytest.approx(6.0 * (weight - 1) / (weight + 1))


@given(st.lists(looks, min_size=1, max_size=MOST_WINDOWS), st.floats(0, 1), st.floats(0, 1))
def test_the_sum_stays_within_the_caps(found: list[Look], rho: float, weight: float) -> None:
    limits = CuePolicy(rho=rho, weight=weight, min_llr=-1.5, max_llr=2.0, max_windows=5.0)
    assert -1.5 <= accumulate(sorted(found), limits) <= 2.0


@given(st.lists(looks, min_size=1, max_size=12), st.data())
def test_the_sum_grows_with_every_ratio(found: list[Look], data: st.DataObject) -> None:
    found = sorted(found)
    which = data.draw(st.integers(0, len(found) - 1))
    higher = list(found)
    higher[which] = replace(found[which], llr=found[which].llr + data.draw(st.floats(0, 5)))
    limits = CuePolicy(max_llr=50.0, min_llr=-50.0)
    assert accumulate(higher, limits) >= accumulate(found, limits) - 1e-9


@given(
    st.dictionaries(st.sampled_from("abcdef"), nats, min_size=1),
    st.floats(0, 1),
    st.floats(0, 3),
    st.data(),
)
def test_leaving_a_live_cue_out_never_raises_the_total(
    ratios: dict[str, float], rho: float, most: float, data: st.DataObject
) -> None:
    policy = Policy(
        correlated=(Correlated(("a", "b", "c"), rho),),
        joint_limits=(JointLimit(("d", "e"), most),),
    )
    cue = data.draw(st.sampled_from(sorted(ratios)))
    without = {name: llr for name, llr in ratios.items() if name != cue}
    if ratios[cue] >= 0:
        assert add_up(without, policy) <= add_up(ratios, policy) + 1e-9
    raised = {**ratios, cue: ratios[cue] + data.draw(st.floats(0, 5))}
    assert add_up(raised, policy) >= add_up(ratios, policy) - 1e-9


def test_cues_that_the_same_attacks_pass_prove_no_more_than_their_limit() -> None:
    policy = Policy(correlated=(), joint_limits=(JointLimit(("life", "planarity"), 0.8),))
    assert add_up({"life": 0.5}, policy) == pytest.approx(0.5)
    assert add_up({"life": 0.5, "planarity": 0.6, "patch": 0.1}, policy) == pytest.approx(0.9)
    assert add_up({"life": 0.9, "planarity": -1.5}, policy) == pytest.approx(-0.7)
    assert add_up({"life": -0.9, "planarity": -1.5}, policy) == pytest.approx(-2.4)


def test_correlated_cues_that_agree_are_discounted() -> None:
    policy = Policy(correlated=(Correlated(("depth", "patch"), 0.5),))
    assert add_up({"depth": 4.0, "patch": 2.0, "pulse": 1.0}, policy) == pytest.approx(6.0)
    assert add_up({"depth": 4.0, "patch": -2.0}, policy) == pytest.approx(2.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pulse", "depth"]),
            st.floats(0, 20),
            st.floats(0, 10),
            st.one_of(st.none(), nats, st.just(math.nan), st.just(math.inf)),
        ),
        max_size=20,
        unique_by=lambda found: (found[0], found[1]),
    ),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_the_order_of_arrival_does_not_matter(
    found: list[tuple[str, float, float, float | None]], shuffler: random.Random
) -> None:
    node = Fuse(FuseParams(Policy()))
    totals = []
    for _ in range(2):
        state = node.new_state(begin())
        for cue, end, length, llr in found:
            reasons = ("blurred",) if llr is None else ()
            told(state, node, 20.0, Evidence(cue, (end - length, end), llr, reasons))
        (fused,) = seen(state, node, 20.0)
        totals.append(fused)
        shuffler.shuffle(found)
    first, second = totals
    assert (first.llr is None) == (second.llr is None)
    assert first.llr is None or first.llr == pytest.approx(second.llr, abs=1e-9)
    for one, other in zip(first.evidence, second.evidence, strict=True):
        assert (one.cue, one.window, one.reasons) == (other.cue, other.window, other.reasons)


@pytest.mark.parametrize("llr", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_evidence(llr: float) -> None:
    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    told(state, node, 1.0, Evidence("depth", (0.5, 1.0), llr))
    (fused,) = seen(state, node, 1.0)
    assert fused.llr is None
    assert by_cue(fused)["depth"].llr is None
    assert by_cue(fused)["depth"].reasons == ("not_a_number",)


def test_a_window_of_nan_or_of_the_future_never_counts_as_fresh() -> None:
    memory = CueMemory()
    take_evidence(memory, Evidence("depth", (0.0, math.nan), 3.0), 1.0, LIMITS)
    assert memory.valued is None
    take_evidence(memory, Evidence("depth", (0.0, 1e9), 3.0), 1.0, LIMITS)
    assert in_force("depth", memory, 1.0, LIMITS).window == (0.0, 1.0)
    assert in_force("depth", memory, 1.0 + LIMITS.max_age + 0.1, LIMITS).llr is None


@given(st.lists(nats, min_size=1, max_size=10), st.integers(1, 5))
def test_silence_never_raises_the_ratio(values: list[float], silences: int) -> None:
    memory = CueMemory()
    for i, llr in enumerate(values):
        take_evidence(memory, Evidence("depth", (i, i), llr), i, LIMITS)
    now = len(values) - 1.0
    before = in_force("depth", memory, now, LIMITS).llr
    for i in range(silences):
        silent = Evidence("depth", (now, now + 0.1 * i), None, ("blurred",))
        take_evidence(memory, silent, now + 0.1 * i, LIMITS)
    after = in_force("depth", memory, now, LIMITS)
    assert after.llr == before


def test_what_spoke_for_live_expires_and_what_spoke_for_an_attack_fades() -> None:
    for llr in (4.0, -4.0):
        memory = CueMemory()
        take_evidence(memory, Evidence("depth", (0.0, 0.0), llr), 0.0, LIMITS)
        fresh = in_force("depth", memory, LIMITS.max_age, LIMITS)
        assert fresh.llr == llr
        assert fresh.reasons == ()
        stale = in_force("depth", memory, LIMITS.max_age + LIMITS.memory, LIMITS)
        assert stale.reasons == ("evidence_stale",)
        assert stale.llr == (None if llr > 0 else pytest.approx(-4.0 / math.e))
        gone = in_force("depth", memory, LIMITS.max_age + 100 * LIMITS.memory, LIMITS)
        assert gone.llr is None


def test_a_value_in_force_tells_why_nothing_newer_came() -> None:
    memory = CueMemory()
    take_evidence(memory, Evidence("depth", (0.0, 1.0), 3.0), 1.0, LIMITS)
    take_evidence(memory, Evidence("depth", (1.0, 2.0), None, ("blurred",)), 2.0, LIMITS)
    assert in_force("depth", memory, 2.0, LIMITS).llr == pytest.approx(3.0)
    assert in_force("depth", memory, 2.0, LIMITS).reasons == ("blurred",)
    take_evidence(memory, Evidence("depth", (2.0, 3.0), 3.0), 3.0, LIMITS)
    assert in_force("depth", memory, 3.0, LIMITS).reasons == ()


def test_missing_cues_are_listed_with_the_reason() -> None:
    node = Fuse(FuseParams(Policy(), cues=("pulse", "depth")))
    state = node.new_state(begin())
    (fused,) = seen(state, node, 5.0)
    assert {cue: e.reasons for cue, e in by_cue(fused).items()} == {
        "context": ("engine_missing",),
        "depth": ("window_too_short",),
        "pulse": ("window_too_short",),
    }
    assert fused.llr is None
    assert all(e.llr is None for e in fused.evidence)


def notices(policy: Policy, *cues: str) -> list[str]:
    told: list[str] = []
    context = NodeContext("fuse", "lossless", notice=told.append)
    Fuse(FuseParams(policy, cues=cues, fusion="none")).open(context)
    return told


def test_a_cue_that_nobody_knows_is_told() -> None:
    assert not notices(Policy(), "context", "depth")
    slip = Policy(name="door", cues={"dept": CuePolicy(weight=0.5)})
    (notice,) = notices(slip, "context", "depth")
    assert notice.startswith("policy door, cue that is not in ")
    assert "found 'dept'; did you mean 'depth'?" in notice
    assert not notices(slip, "context", "dept"), "a cue of one's own"


def test_a_mandatory_group_that_no_cue_can_meet_is_told() -> None:
    either = Policy(name="door", mandatory=(MandatoryGroup(any_of=("depth", "patch")),))
    assert not notices(either, "pulse", "patch")
    (notice,) = notices(either, "pulse")
    assert "policy door, mandatory: expected one of depth, patch" in notice
    assert "nobody becomes LIVE" in notice


@pytest.mark.parametrize("reason", ["gap", "epoch", "fault"])
def test_a_reset_is_told_with_the_cues_that_it_emptied(reason: str) -> None:
    node = Fuse(FuseParams(Policy()))
    (fused,) = seen(node.new_state(begin(reason)), node, 5.0)
    assert by_cue(fused)["pulse"].reasons == ("window_too_short", f"state_reset_{reason}")


def test_output_comes_five_times_a_second_and_after_evidence() -> None:
    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    times = [t for t in (i / 25 for i in range(50)) if seen(state, node, t)]
    assert times == pytest.approx([0.2 * i for i in range(10)], abs=1e-9)
    told(state, node, 1.96, Evidence("pulse", (0.0, 1.96), 1.0))
    (fused,) = seen(state, node, 2.0)
    assert fused.llr == pytest.approx(1.0)
    told(state, node, 2.0, Evidence("pulse", (0.0, 2.0), 1.0))
    assert seen(state, node, 2.04)
    assert not seen(state, node, 2.08)


def test_the_end_of_a_track_flushes_what_was_not_told() -> None:
    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    assert seen(state, node, 0.0)
    told(state, node, 0.0, Evidence("depth", (0.0, 0.0), 2.0))
    (packet,) = node.finish(state, Finish("cam", 1, 0.0, 0, "end"))["fused"]
    assert packet.time == 0.0
    assert packet.payload.llr == pytest.approx(2.0)
    assert not node.finish(state, Finish("cam", 1, 0.0, 0, "end"))


def test_evidence_without_any_observation_gives_nothing() -> None:
    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    told(state, node, 0.0, Evidence("depth", (0.0, 0.0), 2.0))
    assert not node.finish(state, Finish("cam", 1, 0.0, 0, "end"))


def test_usable_share_and_watched_time_follow_capture_time() -> None:
    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    shares = []
    for i in range(100):
        for fused in seen(state, node, 3.0 + i / 25, usable=i < 50):
            shares.append((fused.watched, fused.usable_share))
    assert shares[0] == (0.0, 1.0)
    assert {round(w, 1): s for w, s in shares}[2.0] > 0.95
    assert {round(w, 1): s for w, s in shares}[3.0] == pytest.approx(0.5, abs=0.03)
    assert shares[-1][1] < 0.1


def test_memory_is_bounded() -> None:
    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    for i in range(2000):
        told(state, node, i / 25, Evidence("depth", (i / 25, i / 25), 1.0))
        seen(state, node, i / 25)
    assert len(state.memories["depth"].looks) == MOST_WINDOWS
    assert len(state.usable) <= 52


def test_state_pickles() -> None:
    import pickle

    node = Fuse(FuseParams(Policy()))
    state = node.new_state(begin())
    told(state, node, 0.0, Evidence("depth", (0.0, 0.0), 2.0))
    seen(state, node, 0.0)
    again = node.restore_state(pickle.loads(pickle.dumps(node.export_state(state))))
    assert seen(again, node, 0.2)[0].llr == seen(state, node, 0.2)[0].llr
