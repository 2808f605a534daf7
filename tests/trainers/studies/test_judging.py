from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.engines.composed import FeatureRule
from padflow.engines.engine import load_engine
from padflow.nodes.policy import Policy
from padflow.trainers.crops import CropStore
from padflow.trainers.recipe import HoldOut
from padflow.trainers.studies.judging import (
    Judged,
    Running,
    StudyError,
    as_json,
    combinations,
    fused,
    judge,
    members,
    of_json,
)
from tests.trainers.stores import write_store
from tests.trainers.studies.bundles import write_tiny


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    return write_store(tmp_path_factory.mktemp("store"), rows=12)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rule = HoldOut(media=("print-1", "mask-1"), cameras=("roof",))
    return write_tiny(tmp_path_factory.mktemp("b") / "p", "patch_light", rule).folder


def test_a_row_is_judged_as_by_the_node(store: CropStore, bundle: Path) -> None:
    (member,) = members({"patch": bundle})
    found = judge(member, store, Running(precision="f32"))
    with load_engine(bundle, backend="openvino", precision="f32") as engine:
        outputs = engine.infer({"image": store.one("patches", 5)[:3]})
    expected = 3.0 * float(outputs["score"].mean()) + 0.5
    assert found.llr[5] == pytest.approx(expected, abs=1e-4)
    assert found.strangeness[5] == pytest.approx(float(np.median(outputs["strangeness"])))
    assert found.llr.shape == (12,)


def test_pictures_that_are_cut_no_more_are_named(store: CropStore, bundle: Path) -> None:
    (member,) = members({"patch": bundle})
    rule = FeatureRule(model="natural_features", sha256="0" * 64, scales=(1.5, 4.0))
    manifest = replace(member.bundle.manifest, features=rule)
    old = replace(member, bundle=replace(member.bundle, manifest=manifest))
    with pytest.raises(StudyError, match=r"network patch: expected pictures .* of 1\.5, 4 times"):
        judge(old, store, Running())


def test_scores_are_kept_by_network_and_rows(
    store: CropStore, bundle: Path, tmp_path: Path
) -> None:
    (member,) = members({"patch": bundle})
    running = Running(precision="f32", cache=tmp_path)
    first = judge(member, store.only(range(4)), running)
    (kept,) = tmp_path.iterdir()
    np.save(kept, np.full((2, 4), 0.25))
    assert judge(member, store.only(range(4)), running).llr.tolist() == [1.25] * 4
    kept.write_bytes(b"cut short")
    again = judge(member, store.only(range(4)), running)
    np.testing.assert_array_equal(again.llr, first.llr)
    judge(member, store.only(range(3)), running)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_bundle_tells_what_it_held_out(bundle: Path) -> None:
    (member,) = members({"patch_mine": bundle})
    assert member.cue == "patch"
    assert member.held_out("media") == {"print-1", "mask-1"}
    assert member.held_out("cameras") == {"roof"}
    assert member.held_out("persons") == {"p0", "p1"}
    with pytest.raises(StudyError, match="expected a name that begins with"):
        members({"mine": bundle})


def test_strange_pictures_give_no_evidence_and_limits_hold() -> None:
    one = Judged(np.array([9.0, 2.0, np.nan]), np.array([0.5, 1.5, 0.0]), (-4.0, 4.0))
    np.testing.assert_array_equal(one.served(), [4.0, np.nan, np.nan])
    np.testing.assert_array_equal(one.served(guard=False), [4.0, 2.0, np.nan])
    np.testing.assert_array_equal(one.evidence(), [9.0, np.nan, np.nan])
    assert as_json(one.evidence()) == [9.0, None, None]
    np.testing.assert_array_equal(of_json([9.0, None]), [9.0, np.nan])


def test_fusion_is_that_of_the_graph() -> None:
    policy = Policy()
    assert fused({"depth": np.array([2.0]), "patch": np.array([1.0])}, policy, 0.0) == (
        pytest.approx(2.7)  # of two that agree only the stronger counts in full
    )
    assert fused({"depth": np.array([9.0])}, policy, 0.0) == 6.0
    assert fused({"depth": np.array([1.0, 3.0])}, policy, 0.0) == pytest.approx(2.0)
    assert 2.0 < fused({"depth": np.array([2.0, 2.0])}, policy, 5.0) < 4.0
    assert np.isnan(fused({"depth": np.array([np.nan])}, policy, 0.0))


def test_pairs_and_all_are_fused(bundle: Path) -> None:
    pair = members({"depth": bundle, "patch": bundle, "depth_light": bundle})
    assert [*combinations(pair)] == ["depth+patch"]
    assert [m.name for m in combinations(pair)["depth+patch"]] == ["depth", "patch"]
    every = members({"depth": bundle, "patch": bundle, "context": bundle})
    assert [*combinations(every)] == ["depth+patch", "fusion"]
    assert not combinations(every[:1])
