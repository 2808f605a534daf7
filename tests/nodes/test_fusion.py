"""A learned fusion in a bundle, and what fuse makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.engines.bundle import Calibration, read_bundle, write_bundle
from padflow.engines.errors import BundleError, ModelMissing
from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence
from padflow.nodes.fuse import Fuse, FuseParams
from padflow.nodes.fusion import CueWorth, Fusion, fusion_of, load_fusion
from padflow.nodes.payloads import Fused
from padflow.nodes.policy import Correlated, Costs, Early, Policy, TargetRates
from padflow.nodes.testing import face_observation

FUSION = Fusion(
    {"context": CueWorth(0.9, 0.4, 0.7), "depth": CueWorth(0.5, 0.9, 0.8)}, -4.0, 5.0, "fusion", "0"
)
MEASURED = replace(FUSION, live_at={0.02: 2.0, 0.05: 0.9}, spoof_at={0.03: -1.9, 0.1: -0.7})
BEGIN = Begin("cam", 1, 0.0, 0, "first")


def fused(fusion: Fusion | None, **llr: float) -> Fused:
    fuse = Fuse(FuseParams())
    fuse.use(fusion)
    state = fuse.new_state(BEGIN)
    for cue, value in llr.items():
        fuse.process("evidence", [Packet("c", 0.0, 0, 1, Evidence(cue, (0, 0), value))], [state])
    seen = Packet("c", 0.0, 0, 1, face_observation())
    (packet,) = fuse.process("observations", [seen], [state])["fused"]
    told: Fused = packet.payload
    return told


def test_weights_multiply_and_learned_cues_leave_the_correlated_sets() -> None:
    policy = Policy(correlated=(Correlated(("depth", "patch", "context"), 0.5),))
    policy = FUSION.applied(policy)
    assert policy.cue("context").weight == 0.9
    assert policy.cue("context").shared == 0.7
    assert policy.cue("context").max_age == Policy().cue("context").max_age
    assert policy.correlated == (Correlated(("patch",), 0.5),)
    assert policy.cue("patch") == Policy().cue("patch")


def test_the_sum_is_weighted_and_says_whose_weights_they_are() -> None:
    told = fused(FUSION, context=2.0, depth=1.0)
    assert told.llr == pytest.approx(0.9 * 2.0 + 0.5 * 1.0)
    assert (told.engine, told.engine_sha256) == ("fusion", "0")
    assert fused(None, context=2.0).engine == ""


@given(st.floats(-6, 6), st.floats(-6, 6))
def test_no_sum_is_more_certain_than_the_data(context: float, depth: float) -> None:
    told = fused(FUSION, context=context, depth=depth)
    assert told.llr is not None
    assert -4.0 <= told.llr <= 5.0


@given(st.floats(-6, 6))
def test_a_missing_cue_adds_nothing(context: float) -> None:
    told = fused(FUSION, context=context)
    assert told.llr == pytest.approx(min(max(0.9 * context, -4.0), 5.0))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    from padflow.trainers.fusion_bundle import fusion_network

    source = read_bundle(load_shipped())
    path = tmp_path / "net.onnx"
    onnx.save(fusion_network(FUSION), path)
    manifest = replace(
        source.manifest,
        inputs=(replace(source.manifest.inputs[0], shape=(-1, 2)),),
        calibration=Calibration(
            method="fusion", parameters=FUSION.parameters, fitted_on="made up for a test"
        ),
    )
    write_bundle(tmp_path / "fusion", manifest, {"f32": path})
    return tmp_path / "fusion"


def load_shipped() -> Path:
    from padflow.engines.bundle import bundle_folders

    return bundle_folders()["fusion"]


def test_a_bundle_gives_back_what_was_written(bundle: Path) -> None:
    read = load_fusion(str(bundle))
    assert read is not None
    assert dict(read.cues) == dict(FUSION.cues)
    assert (read.min_llr, read.max_llr) == (-4.0, 5.0)
    assert (read.live_at, read.spoof_at) == ({}, {})


def test_thresholds_are_kept_by_rate(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert read.manifest.calibration is not None
    calibration = replace(read.manifest.calibration, parameters=MEASURED.parameters)
    found = fusion_of(replace(read, manifest=replace(read.manifest, calibration=calibration)))
    assert (found.live_at, found.spoof_at) == (MEASURED.live_at, MEASURED.spoof_at)


def test_the_network_in_the_bundle_says_the_same(bundle: Path) -> None:
    (path,) = bundle.glob("*.onnx")
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    ratios = np.array([[2.0, 1.0], [np.nan, -3.0], [6.0, 6.0], [np.nan, np.nan]], np.float32)
    (llr,) = session.run(None, {"ratios": ratios})
    assert llr == pytest.approx([2.3, -1.5, 5.0, 0.0])


@pytest.mark.parametrize(
    ("apcer", "bpcer", "expected"),
    [
        (0.05, 0.1, (-0.7, 0.9)),
        (0.04, 0.05, (-1.9, 2.0)),
        (0.2, 0.2, (-0.7, 0.9)),
        (0.01, 0.01, (np.log(0.01 / 0.99), np.log(0.99 / 0.01))),
    ],
)
def test_the_thresholds_are_those_measured_for_no_more_errors_than_asked(
    apcer: float, bpcer: float, expected: tuple[float, float]
) -> None:
    policy = Policy(targets=TargetRates(apcer, bpcer))
    assert MEASURED.thresholds(policy) == pytest.approx(expected)
    bounds = Policy(targets=TargetRates(apcer, bpcer, measured=False))
    assert MEASURED.thresholds(bounds) == FUSION.thresholds(policy) == policy.thresholds


def test_costs_bind_measured_thresholds_too() -> None:
    dear = Policy(costs=Costs(accepted_attack=50.0, rejected_live=1.0))
    assert MEASURED.thresholds(dear)[1] == pytest.approx(np.log(50.0))
    cheap = Policy(costs=Costs(accepted_attack=1.0, rejected_live=50.0))
    assert MEASURED.thresholds(cheap) == pytest.approx((-np.log(50.0), 0.9))


def test_fuse_tells_the_thresholds_of_its_fusion() -> None:
    assert fused(MEASURED, context=1.0).thresholds == MEASURED.thresholds(Policy())
    assert fused(None, context=1.0).thresholds is None
    assert fused(MEASURED, context=1.0).early_thresholds == MEASURED.early_thresholds(Policy())
    assert fused(None, context=1.0).early_thresholds is None


@pytest.mark.parametrize(
    ("early", "expected"),
    [
        (Early(apcer=0.03, bpcer=0.03), (-1.9, 2.0)),
        (Early(apcer=0.2, bpcer=0.2), (-0.7, 0.9)),
        (Early(apcer=0.01, bpcer=0.01), (np.log(0.01 / 0.99), np.log(0.99 / 0.01))),
        (None, None),
    ],
)
def test_early_thresholds_are_those_measured_for_the_early_rates(
    early: Early | None, expected: tuple[float, float] | None
) -> None:
    policy = Policy(targets=TargetRates(0.05, 0.1), early=early)
    found = MEASURED.early_thresholds(policy)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("targets", "state"),
    [(TargetRates(), ""), (TargetRates(bpcer=0.01), "SPOOF"), (TargetRates(apcer=0.002), "LIVE")],
)
def test_a_verdict_out_of_reach_is_told(targets: TargetRates, state: str) -> None:
    told: list[str] = []
    fuse = Fuse(FuseParams(Policy(targets=targets)))
    fuse.open(NodeContext("fuse", "lossless", notice=told.append))
    assert [sentence.startswith(f"no face will be {state}:") for sentence in told] == (
        [True] if state else []
    )


def test_padflow_ships_one() -> None:
    shipped = load_fusion("")
    assert shipped is not None
    assert {"context", "depth", "patch"} <= set(shipped.cues)
    spoof, live = shipped.thresholds(Policy())
    assert Policy().thresholds[0] < spoof < 0 < live < Policy().thresholds[1]
    assert load_fusion("none") is None


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(ModelMissing, match="fusion nowhere: expected a bundle's name"):
        load_fusion("nowhere")


def test_a_bundle_of_another_kind_is_refused() -> None:
    with pytest.raises(BundleError, match="expected a calibration 'fusion', found 'logistic'"):
        load_fusion("views")


def test_values_that_make_no_sense_are_refused(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert read.manifest.calibration is not None
    for key, value in (
        *(("weight.depth", 1.6), ("min_llr", 1.0), ("surplus", 0.0)),
        *(("live_at.0.05", -1.0), ("spoof_at.0.05", 0.2), ("live_at.five", 1.0)),
    ):
        parameters = {**FUSION.parameters, key: value}
        calibration = replace(read.manifest.calibration, parameters=parameters)
        broken = replace(read, manifest=replace(read.manifest, calibration=calibration))
        with pytest.raises(BundleError, match="train it anew"):
            fusion_of(broken)
    assert json.loads((bundle / "bundle.json").read_text())["calibration"]["method"] == "fusion"
