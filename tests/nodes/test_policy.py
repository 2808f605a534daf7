import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from padflow.graph.errors import GraphDefinitionError
from padflow.nodes.policy import (
    Correlated,
    Costs,
    CuePolicy,
    Early,
    Emission,
    JointLimit,
    MandatoryGroup,
    Policy,
    PolicyError,
    TargetRates,
    Watching,
    as_mapping,
    bayes_threshold,
    dump_policy,
    error_rate_thresholds,
    load_policy,
    parse_policy,
    shipped_policies,
)
from padflow.nodes.testing import face_observation


def test_the_shipped_default_is_the_default_written_out_in_full() -> None:
    assert load_policy("default") == Policy()
    text = (Path(__file__).parents[2] / "nodes/policies/default.yaml").read_text()
    assert yaml.safe_load(text) == as_mapping(Policy())
    assert shipped_policies() == ["default"]


def test_the_default_policy_tells_its_thresholds() -> None:
    text = (Path(__file__).parents[2] / "nodes/policies/default.yaml").read_text()
    spoof, live = Policy().thresholds
    assert f"= {live:.2f} nats,\n" in text
    assert f"= {spoof:.2f} nats.\n" in text


def test_a_policy_survives_yaml(tmp_path: Path) -> None:
    policy = replace(
        Policy(), name="door", costs=Costs(20.0, 1.0), mandatory=(), spoof_needs_mandatory=True
    )
    path = tmp_path / "door.yaml"
    path.write_text(dump_policy(policy))
    assert load_policy(path) == policy
    assert load_policy(str(path)).id == policy.id


def test_what_a_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ncues: {pulse: {memory: 20.0}}\n")
    policy = load_policy(path)
    assert policy.cues["pulse"].memory == 20.0
    assert policy.cues["pulse"].max_llr == Policy().cues["pulse"].max_llr
    assert policy.mandatory == Policy().mandatory


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_policy(path) == Policy()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("expirey: 3.0", "expiry"),
        ("quality: {min_fase: 30}", "min_face"),
        ("cues: {pulse: {max_lr: 3}}", "max_llr"),
        ("targets: {apcer: 0}", "apcer"),
        ("targets: {apcer: 0.9}", "apcer"),
        ("prior_live: 1.0", "prior_live"),
        ("cues: {pulse: {min_llr: 1.0}}", "min_llr"),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(GraphDefinitionError, match=says):
        load_policy(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"- a\n- b\n", "must be a mapping"),
        (b"a: [1\n", "not valid YAML"),
        (b"cues: " + b"[" * 3000 + b"]" * 3000, "nested deeper than can be read"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_unreadable_files_are_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=says) as caught:
        load_policy(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_shipped_policies(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"No such file.*default"):
        load_policy(tmp_path / "nowhere.yaml")


def test_contradictions_are_refused() -> None:
    with pytest.raises(PolicyError, match="heartbeat"):
        Policy(expiry=1.0, emission=Emission(heartbeat=2.0))
    with pytest.raises(PolicyError, match="max_time"):
        Policy(watching=Watching(min_time=20.0, max_time=10.0))
    with pytest.raises(PolicyError, match="any_of"):
        Policy(mandatory=(MandatoryGroup(()),))
    one = Correlated(("a", "b"), 0.1)
    with pytest.raises(PolicyError, match="cue b stands in two sets"):
        Policy(correlated=(one, Correlated(("b", "c"), 0.1)))
    with pytest.raises(PolicyError, match="cue b stands in two sets"):
        Policy(correlated=(one,), joint_limits=(JointLimit(("b", "c"), 1.0),))
    with pytest.raises(PolicyError, match="cue a stands in two sets"):
        Policy(correlated=(Correlated(("a", "a"), 0.1),))
    with pytest.raises(PolicyError, match="cue c stands in two sets"):
        Policy(joint_limits=(JointLimit(("c",), 1.0), JointLimit(("c",), 2.0)))


def test_the_id_follows_the_values_not_the_order_of_keys() -> None:
    policy = Policy()
    turned = parse_policy(dict(reversed(as_mapping(policy).items())), "turned")
    assert turned.id == policy.id
    assert replace(policy, expiry=4.0).id != policy.id
    assert policy.id.startswith("default@")
    assert replace(policy, name="other").id.partition("@")[2] == policy.id.partition("@")[2]


def test_every_field_of_every_part_is_documented() -> None:
    source = (Path(__file__).parents[2] / "nodes/policy.py").read_text()
    page = (Path(__file__).parents[2] / "docs/POLICY.md").read_text()
    parts = (
        Policy, TargetRates, Early, Costs, MandatoryGroup, CuePolicy, Correlated, JointLimit,
        Watching, Emission,
    )  # fmt: skip
    for part in parts:
        for field in fields(part):
            assert f"    {field.name}: " in source
            assert f"`{field.name}`" in page, f"docs/POLICY.md does not explain {field.name}"


def test_no_cue_but_the_appearance_cues_can_reach_live_or_spoof_by_default() -> None:
    policy = Policy()
    spoof, live = policy.thresholds
    assert policy.cues["pulse"].max_llr < live
    assert policy.cues["pulse"].min_llr > spoof


rates = st.floats(1e-6, 0.4)


@given(rates, rates)
def test_thresholds_lie_on_either_side_of_zero(apcer: float, bpcer: float) -> None:
    spoof, live = error_rate_thresholds(TargetRates(apcer, bpcer))
    assert spoof < 0 < live


@given(rates, rates, rates, rates, st.booleans())
def test_early_thresholds_are_never_closer_than_the_usual_ones(
    apcer: float, bpcer: float, early_apcer: float, early_bpcer: float, dear: bool
) -> None:
    policy = Policy(
        targets=TargetRates(apcer, bpcer),
        early=Early(apcer=early_apcer, bpcer=early_bpcer),
        costs=Costs(accepted_attack=100.0) if dear else None,
    )
    early = policy.early_thresholds
    assert early is not None
    assert early[0] <= policy.thresholds[0]
    assert early[1] >= policy.thresholds[1]


def test_nothing_is_decided_early_where_the_policy_says_so() -> None:
    hasty = Watching(min_time=0.3)
    for policy in (Policy(early=None), Policy(watching=hasty), Policy(early=Early(1.0))):
        assert policy.early_targets is None
        assert policy.early_thresholds is None
        assert policy.decides_from == policy.watching.min_time
    assert Policy().decides_from == Early().from_time
    assert parse_policy({"early": None}, "test").early is None
    assert parse_policy({"early": {"from_time": 0.7}}, "test").early == Early(0.7)


def test_walds_thresholds_keep_the_error_rates_they_are_set_for() -> None:
    # Gaussian cue with means +-d/2 and unit variance: its log-likelihood ratio is d * x, calibrated
    # by construction. Sequential test over 4000 tracks of each kind.
    rng = np.random.default_rng(7)
    targets = TargetRates(apcer=0.02, bpcer=0.05)
    spoof_at, live_at = error_rate_thresholds(targets)
    distance, steps, tracks = 0.8, 200, 4000
    called_live, called_spoof = {}, {}
    for name, mean in (("live", distance / 2), ("attack", -distance / 2)):
        ratios = np.cumsum(distance * rng.normal(mean, 1, (tracks, steps)), axis=1)
        up = np.where((ratios >= live_at).any(1), (ratios >= live_at).argmax(1), steps)
        down = np.where((ratios <= spoof_at).any(1), (ratios <= spoof_at).argmax(1), steps)
        called_live[name] = float(np.mean(up < down))
        called_spoof[name] = float(np.mean(down < up))
    assert 0 < called_live["attack"] <= targets.apcer / (1 - targets.bpcer)
    assert 0 < called_spoof["live"] <= targets.bpcer / (1 - targets.apcer)


def test_costs_move_the_thresholds_outwards_only() -> None:
    plain = Policy().thresholds
    dear = replace(Policy(), costs=Costs(accepted_attack=1000.0, rejected_live=1.0)).thresholds
    assert dear[1] == pytest.approx(math.log(1000))
    assert dear[0] == plain[0]
    even = replace(Policy(), costs=Costs(1.0, 1.0)).thresholds
    assert even == plain
    assert bayes_threshold(Costs(1.0, 1.0), 0.9) == pytest.approx(-math.log(9))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 30.0}, "face_too_small"),
        ({"presence": 0.1}, "face_not_seen"),
        ({"usable": False}, "face_not_seen"),
        ({"sharpness": 0.0}, "blurred"),
        ({"exposure": 5.0}, "too_dark"),
        ({"exposure": 250.0}, "too_bright"),
        ({"clipped": 0.9}, "too_bright"),
        ({"colour": 1.0}, "no_colour"),
        ({"inside": 0.8}, "face_cut_off"),
        ({"below": 0.1}, "face_at_lower_edge"),
        ({"yaw": -80.0}, "face_not_frontal"),
        ({"pitch": 60.0}, "face_not_frontal"),
        ({"occlusion": 0.9}, "face_occluded"),
        ({"motion": 20.0}, "too_much_motion"),
    ],
)
def test_each_gate_tells_its_reason(change: dict[str, Any], reason: str) -> None:
    gates = Policy().quality
    assert gates.failures(face_observation()) == ()
    assert gates.failures(face_observation(**change)) == (reason,)


@pytest.mark.parametrize("name", ["size", "presence", "sharpness", "exposure", "yaw", "motion"])
def test_nan_quality_passes_no_gate(name: str) -> None:
    bad: dict[str, Any] = {name: math.nan}
    assert Policy().quality.failures(face_observation(**bad))
