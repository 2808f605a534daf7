"""Training, export and bundle of a motion network, on toys."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.motion_depth import MotionDepth, MotionDepthParams
from padflow.nodes.payloads import DepthFeatures
from padflow.trainers.learning import device_of
from padflow.trainers.motion import joint
from padflow.trainers.motion.bundling import make_motion_bundle
from padflow.trainers.motion.measures import score_sequences
from padflow.trainers.motion.recipe import KIND, MOTION
from padflow.trainers.motion.running import parted
from padflow.trainers.motion.stages import Backbone, seen
from padflow.trainers.motion.store import StoredSequence
from padflow.trainers.motion.training import TrainedMotion, train_motion
from padflow.trainers.recipe import RecipeError, TrainingError, recipe_kind
from padflow.trainers.weights import bundle_weights
from tests.nodes.test_motion_depth import GOOD
from tests.trainers.elsewhere import HERE, assert_learns_the_same_elsewhere
from tests.trainers.motion.toys import PERSONS, toy_recipe, write_toy, write_toys

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> list[StoredSequence]:
    return write_toys(tmp_path_factory.mktemp("toys"))


def quietly(*args: Any, **kwargs: Any) -> tuple[TrainedMotion, list[str]]:
    lines: list[str] = []
    return train_motion(*args, say=lines.append, **kwargs), lines


def test_it_learns_that_something_moves_and_the_bundle_says_the_same(
    toys: list[StoredSequence], tmp_path: Path
) -> None:
    trained, lines = quietly(toy_recipe(epochs=3, steps_per_epoch=10), toys, tmp_path / "run")
    assert "epoch 3/3" in lines[-1]
    assert trained.parted.persons == ("ann",)
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["auc"] > 0.9
    told: list[str] = []
    bundle = make_motion_bundle(trained, tmp_path / "bundle", say=told.append)
    values = {metric.name: metric.value for metric in bundle.manifest.metrics}
    assert values["auc"] > 0.9
    assert values["difference_openvino"] < 1e-4
    assert values["difference_onnxruntime"] < 1e-4
    assert {"still_auc", "shuffled_auc", "single_auc", "cpu_ms_f32", "llr_live_q50"} <= set(values)
    assert len(told) == len(values)
    settings = bundle.manifest.training.settings
    assert settings["backbone_edition"] == trained.backbone.edition
    assert bundle.manifest.calibration is not None
    limit = np.log1p(settings["effective_attacks"])
    assert bundle.manifest.calibration.parameters["max_llr"] == pytest.approx(limit, abs=1e-3)
    assert_node_says_what_training_says(trained, bundle.folder)


def assert_node_says_what_training_says(trained: TrainedMotion, folder: Path) -> None:
    """Sample by sample through the node: the scores of the whole track in PyTorch."""
    sequence = trained.parted.held_out[0]
    known = seen(sequence, trained.backbone, trained.recipe.augmentation, 0)
    expected = score_sequences(
        trained.network, [sequence], trained.backbone, trained.recipe, interval=0.05
    )
    node = MotionDepth(MotionDepthParams(engine=str(folder)))
    node.open(NodeContext("motion_depth", "lossless"))
    try:
        state = node.new_state(Begin("door", 1, 0.0, 0, "first"))
        packets = []
        for k, time in enumerate(sequence.times):
            stages = tuple(stage[k].astype(np.float32) for stage in known.stages)
            single = known.single[k].astype(np.float32)
            payload = DepthFeatures(stages, single, GOOD, trained.backbone.edition)
            packets.append(Packet("door", float(time), 0, 1, payload))
        out = node.process("features", packets, [state] * len(packets))
    finally:
        node.close()
    scores = [one.payload.details["score"] for one in out["evidence"][1:]]
    assert np.allclose(scores, expected.score, atol=1e-4)


def test_a_resumed_run_is_an_uninterrupted_one(toys: list[StoredSequence], tmp_path: Path) -> None:
    whole, _ = quietly(toy_recipe(epochs=3), toys, tmp_path / "whole")

    class Power(Exception):
        pass

    def cut(line: str) -> None:
        if line.startswith("epoch 2"):
            raise Power

    with pytest.raises(Power):
        train_motion(toy_recipe(epochs=3), toys, tmp_path / "cut", say=cut)
    resumed, lines = quietly(toy_recipe(epochs=3), toys, tmp_path / "cut", resume=True)
    assert len(lines) == 1
    for a, b in zip(
        whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    with pytest.raises(TrainingError, match="another recipe"):
        quietly(toy_recipe(epochs=3, batch=4), toys, tmp_path / "cut", resume=True)
    assert "batch: 4" not in (tmp_path / "cut" / "recipe.yaml").read_text()


@pytest.mark.long
def test_backbone_and_motion_learn_together(toys: list[StoredSequence], tmp_path: Path) -> None:
    joint = {"epochs": 2, "steps_per_epoch": 2, "batch": 2, "steps": 3}
    recipe = toy_recipe(epochs=1, steps_per_epoch=2, joint=joint)

    def cut(line: str) -> None:
        if line.startswith("joint epoch 1"):
            raise KeyboardInterrupt

    few = [one for one in toys if one.row.id in ("ann-0", "ann-1", "bob-0", "bob-1")]
    with pytest.raises(KeyboardInterrupt):
        train_motion(recipe, few, tmp_path, say=cut)
    trained, lines = quietly(recipe, few, tmp_path, resume=True)
    assert [line.split(" loss")[0] for line in lines] == ["joint epoch 2/2"]
    assert trained.backbone.bundle.folder == tmp_path / "backbone"
    assert trained.backbone.edition != Backbone.read("depth_light").edition
    before = bundle_weights(Backbone.read("depth_light").bundle)
    after = bundle_weights(trained.backbone.bundle)
    assert before.keys() == after.keys()
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_it_learns_on_another_device_and_goes_on_on_any(
    toys: list[StoredSequence], tmp_path: Path
) -> None:
    def train(folder: Path, **how: Any) -> nn.Module:
        return train_motion(toy_recipe(steps_per_epoch=2), toys, folder, **how).network

    assert_learns_the_same_elsewhere(train, tmp_path)


@pytest.mark.long
def test_both_learn_together_on_another_device_and_go_on_on_any(
    toys: list[StoredSequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy_recipe(
        epochs=1,
        steps_per_epoch=1,
        joint={"epochs": 2, "steps_per_epoch": 2, "batch": 2, "steps": 3},
    )
    few = [one for one in toys if one.row.id in ("ann-0", "ann-1", "bob-0", "bob-1")]

    def unwritten(depth: nn.Module, trained: TrainedMotion, folder: Path) -> Backbone:
        assert device_of(depth) == HERE
        return trained.backbone

    def train(folder: Path, **how: Any) -> nn.Module:
        return train_motion(recipe, few, folder, **how).network

    monkeypatch.setattr(joint, "_written", unwritten)
    assert_learns_the_same_elsewhere(train, tmp_path, cut_at="joint epoch 1")


def test_nobody_is_on_both_sides(toys: list[StoredSequence], tmp_path: Path) -> None:
    worn = write_toy(tmp_path, "worn", "bob", "mask", shows="ann")
    found = parted([*toys, worn], ["ann"])
    assert {one.row.person for one in found.train} == set(PERSONS) - {"ann"}
    assert {one.row.person for one in found.held_out} == {"ann"}
    assert worn not in (*found.train, *found.held_out)
    with pytest.raises(TrainingError, match="found zoe"):
        parted(toys, ["zoe"])
    with pytest.raises(TrainingError, match="expected live sequences and attacks"):
        parted([one for one in toys if one.row.label == "live"], ["ann"])


def test_recipes() -> None:
    recipe = MOTION.load("motion_depth", hold_out=("P1",))
    assert recipe.backbone == "depth_light"
    assert recipe.losses.depth == 0.2
    assert MOTION.parse(yaml.safe_load(MOTION.text(recipe))) == recipe
    assert recipe_kind("motion_depth") == KIND
    with pytest.raises(RecipeError, match=r"sampling.step: unknown key; did you mean 'steps'"):
        toy_recipe(sampling={"step": 4})
    with pytest.raises(RecipeError, match=r"longest is below"):
        toy_recipe(sampling={"shortest": 0.3, "longest": 0.2})
    with pytest.raises(RecipeError, match="no such file"):
        MOTION.load("nowhere.yaml")


def test_a_run_is_not_judged_on_people_that_it_learned_from(
    toys: list[StoredSequence], tmp_path: Path
) -> None:
    """With more people in the stores others of them are drawn to be held out."""
    quietly(toy_recipe(epochs=1, steps_per_epoch=1, hold_out=()), toys, tmp_path / "run")
    more = [*toys, *write_toys(tmp_path / "more", ("fay", "gus"))]
    with pytest.raises(TrainingError, match=r"hold out persons that it has learned from \(cid\)"):
        quietly(
            toy_recipe(epochs=2, steps_per_epoch=1, hold_out=()),
            more,
            tmp_path / "run",
            resume=True,
        )
    quietly(
        toy_recipe(epochs=2, steps_per_epoch=1, hold_out=()), toys, tmp_path / "run", resume=True
    )
