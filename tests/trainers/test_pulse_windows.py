"""Windows of whole clips are the node's."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from padflow.engines.bundle import bundle_folders, read_bundle
from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.payloads import Quality, SkinSample
from padflow.nodes.pulse_net import PulseNet, PulseNetParams
from padflow.nodes.rppg import PULSE_COLOUR
from padflow.nodes.skin_steps import AreaColours, SkinSteps
from padflow.nodes.wave_evidence import (
    LEAST_SEEN,
    WaveMeasurement,
    WaveWindow,
    measure_waves,
)
from padflow.trainers.networks.pulse import PulseNetwork
from padflow.trainers.pulse_windows import wave_window, waves_of
from padflow.trainers.weights import bundle_weights

FPS = 25
RATE = 81.0
QUALITY = Quality(200.0, 0.6, 130.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 0.05)


def skin() -> list[tuple[float, SkinSample]]:
    """Eleven seconds of skin with a pulse; some places come and go."""
    rng = np.random.default_rng(4)
    texture = rng.uniform(80, 160, (32, 32, 1)) * np.array([1.2, 0.9, 0.8])
    samples = []
    for time in np.arange(11 * FPS + 1) / FPS:
        beat = 1 - 0.004 * np.sin(2 * np.pi * RATE / 60 * time) * PULSE_COLOUR
        grid = (texture * beat + rng.normal(0, 0.3, (32, 32, 3))).astype(np.float32)
        valid = np.ones((32, 32), bool)
        valid[:, : int(8 * abs(np.sin(time)))] = False
        regions = {name: grid.mean((0, 1)) for name in ("forehead", "right_cheek", "left_cheek")}
        beside = (90 + rng.normal(0, 0.1, 3)).astype(np.float32)
        samples.append((float(time), SkinSample(grid, valid, regions, beside, QUALITY, True)))
    return samples


@pytest.fixture
def network() -> PulseNetwork:
    bundle = read_bundle(bundle_folders()["pulse_net"])
    made = PulseNetwork(cell_size=32, face_size=48)
    weights = {name: torch.from_numpy(value) for name, value in bundle_weights(bundle).items()}
    made.load_state_dict(weights)
    return made.eval()


def seen_by_the_node(
    samples: list[tuple[float, SkinSample]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[WaveWindow]:
    """The windows from eight seconds on."""
    windows: list[WaveWindow] = []

    def kept(window: WaveWindow) -> WaveMeasurement:
        windows.append(window)
        return measure_waves(window)

    monkeypatch.setattr("padflow.nodes.pulse_net.measure_waves", kept)
    node = PulseNet(PulseNetParams())
    node.open(NodeContext("pulse_net", "lossless"))
    state = node.new_state(Begin("clip", 1, 0.0, 0, "first"))
    for time, sample in samples:
        before = len(windows)
        node.process("skin", [Packet("clip", time, 0, 1, sample)], [state])
        if time > 7.5:
            yield from windows[before:]
    node.close()


def seen_at_once(
    network: PulseNetwork, samples: list[tuple[float, SkinSample]]
) -> Iterator[WaveWindow]:
    """The windows of the whole clip that end with the seconds from the eighth on."""
    taking = SkinSteps()
    taken = (taking.take(time, sample) for time, sample in samples)
    steps = [step for step in taken if step is not None]
    times = np.array([step.time for step in steps])
    moved = (np.stack(part) for part in zip(*(step.moved for step in steps), strict=True))
    change, seen, motion = moved
    seconds = np.array([step.seconds for step in steps], np.float32)
    (waves,) = waves_of(network, *(part[None] for part in (times, change, seen, motion, seconds)))
    areas = AreaColours(np.inf)
    for step in steps:
        areas.append(step.time, step.areas)
    for end in (8.0, 9.0, 10.0, 11.0):
        window = wave_window(waves, end - 10.0, end)
        yield replace(window, areas=areas.at(window.times, LEAST_SEEN))


def test_windows_of_a_whole_clip_are_the_nodes(
    network: PulseNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = skin()
    found = list(seen_at_once(network, samples))
    wanted = list(seen_by_the_node(samples, monkeypatch))
    assert len(wanted) == len(found)
    for one, other in zip(found, wanted, strict=True):
        late = one.times >= other.times[0] - 1e-6  # the node may begin with a later step
        assert late.sum() == len(other.times) >= len(one.times) - 1
        assert one.times[late] == pytest.approx(other.times, abs=1e-6)
        assert one.face[late] == pytest.approx(other.face, abs=1e-4)
        assert one.cells[:, late] == pytest.approx(other.cells, abs=1e-4, nan_ok=True)
        assert one.asked.sum() >= 20
        changes = [np.diff(w, axis=1) for w in (one.colours[:, late], other.colours)]
        assert changes[0] == pytest.approx(changes[1], abs=1e-5)
        assert one.areas is not None
        assert other.areas is not None
        areas = [np.diff(w, axis=1) for w in (one.areas[:, late], other.areas)]
        assert areas[0] == pytest.approx(areas[1], abs=1e-5)
