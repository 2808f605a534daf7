"""Windows of whole clips are the node's, and weights follow the witnesses that are right."""

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch

from padflow.engines.bundle import bundle_folders, read_bundle
from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.payloads import Quality, SkinSample
from padflow.nodes.pulse_net import PulseNet, PulseNetParams
from padflow.nodes.rppg import PULSE_COLOUR
from padflow.nodes.wave_evidence import (
    RateWeights,
    WaveMeasurement,
    WaveWindow,
    measure_waves,
)
from padflow.trainers import pulse_rates
from padflow.trainers.networks.pulse import PulseNetwork
from padflow.trainers.pulse_clips import Conditions, PulseClip
from padflow.trainers.pulse_rates import RatedWindow, fit_rate_weights, rated_windows
from padflow.trainers.weights import bundle_weights

FPS = 25
RATE = 81.0
QUALITY = Quality(200.0, 0.6, 130.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 0.05)
CLIP = PulseClip(
    Path("none.mp4"),
    Conditions("still", "rich", "bright", str(FPS)),
    FPS,
    (RATE,) * (11 * FPS + 1),
    (0.0, 0.0, 9.0, 9.0),
)


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

    def kept(window: WaveWindow, weights: RateWeights) -> WaveMeasurement:
        windows.append(window)
        return measure_waves(window, weights)

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


def test_windows_of_a_whole_clip_are_the_nodes(
    network: PulseNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, told = skin(), []
    monkeypatch.setattr(pulse_rates, "render_pulse_clips", lambda *_: [CLIP])
    monkeypatch.setattr(pulse_rates, "skin_of", lambda _: samples)
    found = rated_windows(network, tmp_path, 1, 0, lambda *now: told.append(now))
    assert told == [(1, 1)]
    assert [beat for _, beat in found] == [RATE] * 4
    wanted = list(seen_by_the_node(samples, monkeypatch))
    assert len(wanted) == 4
    for (one, _), other in zip(found, wanted, strict=True):
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


TIMES = np.arange(140) / 15.0


def window(wave: float, colours: float, seed: int) -> WaveWindow:
    """Waves that beat at one rate, and colours of cells and areas at another, beats a minute."""
    rng = np.random.default_rng(seed)
    beat, blood = (np.sin(2 * np.pi * f / 60 * TIMES) for f in (wave, colours))
    face = beat + 0.3 * rng.normal(size=TIMES.size)
    noise = 3e-4 * rng.normal(size=(44, TIMES.size, 3))
    shown = noise - 1e-3 * blood[:, None] * PULSE_COLOUR
    pose = rng.normal(size=(3, TIMES.size))
    cells = np.tile(face, (34, 1))
    return WaveWindow(TIMES, face, cells, shown[:34], pose, face, None, shown[34:])


def test_weights_follow_the_witnesses_that_are_right() -> None:
    rng = np.random.default_rng(0)
    rates = rng.uniform(50, 180, (24, 2))
    windows = [window(wave, blood, k) for k, (wave, blood) in enumerate(rates)]
    by_wave = fit_rate_weights([RatedWindow(*w) for w in zip(windows, rates[:, 0], strict=True)])
    by_blood = fit_rate_weights([RatedWindow(*w) for w in zip(windows, rates[:, 1], strict=True)])
    assert min(astuple(by_wave) + astuple(by_blood)) >= 0.0
    for right, wrong in (
        (by_wave.wave + by_wave.cells, by_wave.cell_line + by_wave.area_line),
        (by_blood.cell_line + by_blood.area_line, by_blood.wave + by_blood.cells),
    ):
        assert right > 5 * wrong
        assert right > 0.3
    slow = [RatedWindow(windows[0], 20.0), *(RatedWindow(w, 81.0) for w in windows[:2])]
    assert fit_rate_weights(slow) == fit_rate_weights(slow[1:])  # out of the band: no part
