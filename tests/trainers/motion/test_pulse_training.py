"""Training, export and bundle of the pulse network on depth features, on toys."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.payloads import DepthFeatures
from padflow.nodes.pulse_depth import PulseDepth, PulseDepthParams, beat_of
from padflow.trainers.motion.pulse_batches import AS_IT_IS
from padflow.trainers.motion.pulse_bundling import make_pulse_depth_bundle
from padflow.trainers.motion.pulse_measures import look_at, waves_of
from padflow.trainers.motion.pulse_recipe import KIND, PULSE_DEPTH
from padflow.trainers.motion.pulse_training import (
    TrainedPulseDepth,
    build_pulse_depth,
    train_pulse_depth,
)
from padflow.trainers.motion.stages import Backbone, seen
from padflow.trainers.motion.store import StoredSequence
from padflow.trainers.recipe import RecipeError, TrainingError, recipe_kind
from tests.nodes.test_motion_depth import GOOD
from tests.trainers.elsewhere import assert_learns_the_same_elsewhere
from tests.trainers.motion.pulse_toys import (
    BEATS,
    pulse_toy_recipe,
    write_pulse_toys,
)

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> list[StoredSequence]:
    return write_pulse_toys(tmp_path_factory.mktemp("toys"), backbone)


def quietly(*args: Any, **kwargs: Any) -> tuple[TrainedPulseDepth, list[str]]:
    lines: list[str] = []
    return train_pulse_depth(*args, say=lines.append, **kwargs), lines


@pytest.mark.long
def test_it_learns_what_beats_and_the_bundle_says_the_same(
    backbone: Backbone, toys: list[StoredSequence], tmp_path: Path
) -> None:
    recipe = pulse_toy_recipe(backbone, epochs=3, steps_per_epoch=12)
    untrained = look_at(build_pulse_depth(recipe, backbone).eval(), toys[:4], backbone)
    trained, lines = quietly(recipe, toys, tmp_path / "run")
    assert "epoch 3/3" in lines[-1]
    assert trained.parted.persons == ("ann",)
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["auc"] == 1
    found = look_at(trained.network, trained.parted.held_out, backbone)
    assert np.mean([one.away for one in found.looks]) < 0.95  # 1.06 where the wave is 0
    assert np.mean([one.away for one in untrained.looks]) > 1.0
    # Heart rates that no training sequence has.
    beats = [one.beat.frequency for one in found.last.looks if one.row.label == "live"]
    assert beats == pytest.approx(BEATS["ann"], abs=0.07)
    bundle = make_pulse_depth_bundle(
        trained, tmp_path / "bundle", others=toys[:4], say=lines.append
    )
    values = {metric.name: metric.value for metric in bundle.manifest.metrics}
    assert values["auc"] == values["found"] == values["other_auc"] == 1
    assert values["difference_openvino"] < 1e-4
    assert values["difference_onnxruntime"] < 1e-4
    assert values["llr_live_q50"] > 0 > values["llr_print_q50"]
    assert {"cpu_ms_f32", "mae_bpm", "cllr"} <= set(values)
    assert bundle.manifest.training.settings["backbone_edition"] == backbone.edition
    assert bundle.manifest.calibration is not None
    for sequence in trained.parted.held_out:
        assert_node_says_what_training_says(trained, bundle.folder, sequence)


def assert_node_says_what_training_says(
    trained: TrainedPulseDepth, folder: Path, sequence: StoredSequence
) -> None:
    """Frame by frame through the node: the scores of the whole track's wave in PyTorch."""
    said = node_says(folder, sequence, trained.backbone)
    assert [one.reasons for one in said[:5]] == [(Reason.WINDOW_TOO_SHORT.value,)] * 5
    assert len(said) == 7
    times, waves = waves_of(trained.network, sequence, trained.backbone)
    for one in said[5:]:
        inside = (times >= one.window[0]) & (times <= one.window[1])
        beat = beat_of(times[inside], waves[inside])
        assert one.details["score"] == pytest.approx(beat.score, abs=1e-3)
        assert one.details["heart_rate_bpm"] == pytest.approx(60 * beat.frequency)
        assert one.llr is not None
        assert (one.llr > 0) == (sequence.row.label == "live")


def node_says(folder: Path, sequence: StoredSequence, backbone: Backbone) -> list[Evidence]:
    """Frame by frame through the node."""
    known = seen(sequence, backbone, AS_IT_IS, 0)
    assert sequence.places is not None
    node = PulseDepth(PulseDepthParams(engine=str(folder)))
    node.open(NodeContext("pulse_depth", "lossless"))
    try:
        state = node.new_state(Begin("door", 1, float(sequence.times[0]), 0, "first"))
        packets = []
        for k, time in enumerate(sequence.times):
            payload = DepthFeatures(
                tuple(stage[k].astype(np.float32) for stage in known.stages),
                known.single[k].astype(np.float32),
                GOOD,
                backbone.edition,
                places=np.array(sequence.places[k]),
            )
            packets.append(Packet("door", float(time), 0, 1, payload))
        out = node.process("features", packets, [state] * len(packets))
    finally:
        node.close()
    return [one.payload for one in out["evidence"]]


@pytest.mark.long
def test_it_learns_on_another_device_and_goes_on_on_any(
    backbone: Backbone, toys: list[StoredSequence], tmp_path: Path
) -> None:
    recipe = pulse_toy_recipe(backbone, epochs=2, steps_per_epoch=2, batch=2)

    def train(folder: Path, **how: Any) -> nn.Module:
        return train_pulse_depth(recipe, toys, folder, **how).network

    assert_learns_the_same_elsewhere(train, tmp_path)


def test_a_resumed_run_is_an_uninterrupted_one(
    backbone: Backbone, toys: list[StoredSequence], tmp_path: Path
) -> None:
    recipe = pulse_toy_recipe(backbone, epochs=2, steps_per_epoch=2, batch=2)
    whole, _ = quietly(recipe, toys, tmp_path / "whole")

    def cut(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_pulse_depth(recipe, toys, tmp_path / "cut", say=cut)
    resumed, lines = quietly(recipe, toys, tmp_path / "cut", resume=True)
    assert [line.split(" loss")[0] for line in lines] == ["epoch 2/2"]
    assert_same(whole.network, resumed.network)
    with pytest.raises(TrainingError, match="another recipe"):
        quietly(replace(recipe, batch=4), toys, tmp_path / "cut", resume=True)


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    fresh: Sequence[torch.Tensor] = list(one.state_dict().values())
    for a, b in zip(fresh, other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_network_without_evidence_makes_no_bundle(
    backbone: Backbone, toys: list[StoredSequence], tmp_path: Path
) -> None:
    recipe = pulse_toy_recipe(backbone, epochs=1, steps_per_epoch=1, batch=2)
    trained, _ = quietly(recipe, toys, tmp_path / "run")
    torch.nn.init.zeros_(trained.network.wave.weight)
    torch.nn.init.zeros_(trained.network.wave.bias)
    with pytest.raises(TrainingError, match="there is no evidence in this network"):
        make_pulse_depth_bundle(trained, tmp_path / "bundle", say=lambda line: None)
    assert not (tmp_path / "bundle").exists()


def test_recipes(backbone: Backbone) -> None:
    recipe = PULSE_DEPTH.load("pulse_depth", hold_out=("P1",))
    assert recipe.backbone == "depth_light"
    assert (recipe.network.hidden, recipe.hold_out) == (100, ("P1",))
    assert PULSE_DEPTH.parse(yaml.safe_load(PULSE_DEPTH.text(recipe))) == recipe
    assert recipe_kind("pulse_depth") == KIND
    with pytest.raises(RecipeError, match=r"network.widht: unknown key; did you mean 'width'"):
        pulse_toy_recipe(backbone, network={"widht": 4})
    with pytest.raises(RecipeError, match="longest is below"):
        pulse_toy_recipe(backbone, sampling={"shortest": 8.0, "longest": 7.0})
