from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from padflow.deploy.commands import train
from padflow.deploy.exits import Exit, UsageError
from padflow.engines.bundle import read_bundle
from padflow.graph.node import NodeContext
from padflow.nodes.pulse_net import PulseNet, PulseNetParams
from padflow.nodes.skin_cells import cell_count
from padflow.trainers import pulse_training
from padflow.trainers.networks.pulse import PulseNetwork
from padflow.trainers.pulse_faces import FaceClip
from padflow.trainers.pulse_recipe import PulseLosses, load_pulse_recipe
from padflow.trainers.pulse_traces import draw_traces
from padflow.trainers.pulse_training import (
    Clips,
    as_clips,
    correlation,
    line_share,
    loss_of,
    target_spectrum,
    train_pulse,
)
from padflow.trainers.recipe import RecipeError, TrainingError
from tests.trainers.elsewhere import assert_learns_the_same_elsewhere

RECIPE = """
kind: pulse
name: tiny
task: Tells living skin from still skin.
network: {name: pulse, cell_size: 6, face_size: 8}
batch: 6
drawn: 2
filmed: 0
validation: 2
calibration_drawn: 3
calibration_filmed: 0
epochs: 1
"""
QUICK = {"batch": 4, "drawn": 2, "filmed": 0, "faced": 0, "validation": 2}


def clips() -> Clips:
    torch.manual_seed(1)
    network = PulseNetwork(cell_size=6, face_size=8)
    return as_clips(network, draw_traces(np.random.default_rng(2), 6, rate=15.0, seconds=8.0))


def test_targets_are_unit_spectra_of_the_living_and_nothing_of_attacks() -> None:
    some = clips()
    start, end = some.times[:, 20], some.times[:, -1]
    wanted = target_spectrum(some, start, end).norm(dim=1)
    assert wanted[some.alive] == pytest.approx(1.0, abs=1e-5)
    assert (wanted[~some.alive] == 0).all()


def test_the_lines_share_is_that_of_the_bins_near_it() -> None:
    spectra = torch.full((2, 50), 1.0)
    wanted = torch.zeros(2, 50)
    wanted[0, 10], wanted[1, 30] = 1.0, 1.0
    spectra[0, 10] = 7.0
    assert line_share(spectra, wanted).numpy() == pytest.approx([51 / 98, 3 / 50], abs=1e-5)


def test_correlation_is_pearsons() -> None:
    a, b = torch.randn(3, 50), torch.randn(3, 50)
    weight = torch.ones(3, 50)
    weight[:, 40:] = 0
    found = correlation(a, b, weight)
    wanted = [np.corrcoef(a[i, :40], b[i, :40])[0, 1] for i in range(3)]
    assert found.numpy() == pytest.approx(np.array(wanted), abs=1e-5)


def test_learning_lowers_the_loss() -> None:
    some = clips()
    network = PulseNetwork(cell_size=6, face_size=8)
    start, end = some.times[:, 20], some.times[:, -1]
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    values = []
    for _ in range(25):
        loss = loss_of(network, some, start, end, PulseLosses())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path: Path) -> None:
    recipe = load_pulse_recipe("pulse_net", epochs=2, **QUICK)
    whole = train_pulse(recipe, tmp_path / "whole", say=lambda text: None)
    first = load_pulse_recipe("pulse_net", epochs=1, **QUICK)
    train_pulse(first, tmp_path / "parts", say=lambda text: None)
    told: list[str] = []
    # The learning rate follows the length of the run, so a longer one is another run: compare
    # what a second resumption makes, which has nothing left to do.
    again = train_pulse(recipe, tmp_path / "whole", resume=True, say=told.append)
    assert told == []
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    longer = train_pulse(recipe, tmp_path / "parts", resume=True, say=told.append)
    assert longer.last["epoch"] == 2
    other = load_pulse_recipe("pulse_net", seed=9, **QUICK)
    with pytest.raises(TrainingError, match="was made with another recipe"):
        train_pulse(other, tmp_path / "parts", resume=True, say=told.append)
    assert load_pulse_recipe(str(tmp_path / "parts" / "recipe.yaml")).seed != 9


@pytest.mark.long
def test_it_learns_on_another_device_and_goes_on_on_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = partial(draw_traces, rate=8.0, seconds=7.0)
    monkeypatch.setattr(pulse_training, "draw_traces", short)
    recipe = load_pulse_recipe("pulse_net", epochs=2, **QUICK | {"drawn": 1, "validation": 1})

    def train(folder: Path, **how: Any) -> nn.Module:
        return train_pulse(recipe, folder, **how).network

    assert_learns_the_same_elsewhere(train, tmp_path)


def test_rendered_faces_are_trained_on_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def some_faces(folder: Path, beating: int, still: int, *_: object) -> list[FaceClip]:
        assert (folder, beating, still) == (tmp_path / "faces", 40, 56)
        rng, count = np.random.default_rng(0), cell_count() + 1
        parts = rng.normal(0, 0.01, (200, count, 3)), np.ones((200, count)), np.zeros((200, 4))
        shown.append(1)
        change, seen, motion = (part.astype(np.float32) for part in parts)
        return [FaceClip(25, np.arange(200) * 0.06, change, seen, motion, None)]

    monkeypatch.setattr(pulse_training, "face_clips", some_faces)
    recipe = load_pulse_recipe("pulse_net", epochs=1, **QUICK | {"faced": 3})
    trained = train_pulse(recipe, tmp_path, say=lambda text: None)
    assert shown == [1]
    assert trained.last["epoch"] == 1
    with pytest.raises(RecipeError, match="expected faces_beating or faces_still above 0"):
        load_pulse_recipe("pulse_net", faces_beating=0, faces_still=0)


@pytest.mark.slow
def test_the_command_makes_a_bundle_that_the_node_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or torch's exporter sets it
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # or Lightning does
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "tiny"
    recipe.write_text(RECIPE)
    parser = ArgumentParser()
    train.add_arguments(parser)
    words = [str(recipe), "--out", str(out)]
    with pytest.raises(UsageError, match="--data: expected none with"):
        train.run(parser.parse_args([*words, "--data", str(tmp_path)]))
    with pytest.raises(UsageError, match="--workers: expected 1"):
        train.run(parser.parse_args([*words, "--workers", "2"]))
    assert train.run(parser.parse_args(words)) == Exit.DONE
    assert "epoch 1 " in capsys.readouterr().out
    manifest = read_bundle(out).manifest
    assert set(manifest.files) == {"f32", "weights"}
    values = {metric.name: metric.value for metric in manifest.metrics}
    assert max(values["difference_openvino"], values["difference_onnxruntime"]) < 1e-4
    assert str(tmp_path) not in (out / "bundle.json").read_text()
    node = PulseNet(PulseNetParams(engine=str(out)))
    node.open(NodeContext("pulse_net", "lossless"))
    node.close()
