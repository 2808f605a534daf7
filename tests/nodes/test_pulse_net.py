"""The node ``pulse_net`` with the shipped network on streams of skin samples."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from padflow.engines import BundleError, ModelMissing
from padflow.graph.node import Begin, NodeContext
from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.payloads import Quality, SkinSample
from padflow.nodes.pulse_net import PulseNet, PulseNetParams, PulseNetState

PULSE = np.array([0.33, 0.77, 0.53])
QUALITY = Quality(200.0, 0.6, 130.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 0.05)
LEVEL = np.array([170.0, 120.0, 100.0])
NAMES = ("forehead", "right_cheek", "left_cheek")
VALID = np.ones((32, 32), bool)


@pytest.fixture(scope="module")
def node() -> Iterator[PulseNet]:
    made = PulseNet(PulseNetParams())
    made.open(NodeContext("pulse_net", "lossless"))
    yield made
    made.close()


def steady(seconds: float, rate: float = 20.0, start: float = 0.0) -> np.ndarray:
    return start + np.arange(round(seconds * rate) + 1) / rate


def skin(
    times: np.ndarray, bpm: float | None, seed: int = 0, flicker: float = 0.0, wall: float = 0.0
) -> Iterator[SkinSample]:
    """Skin with noise; a pulse, a display's flicker at 1.9 Hz, and how much a wall shares it."""
    rng = np.random.default_rng(seed)
    texture = rng.uniform(0.8, 1.2, (32, 32, 1))
    for t in times:
        change = flicker * np.sin(2 * np.pi * 1.9 * t) * np.ones(3)
        if bpm is not None:
            change = change - 0.004 * np.sin(2 * np.pi * bpm / 60 * t) * PULSE
        noise = 0.003 * rng.normal(size=(32, 32, 3))
        grid = (LEVEL * texture * (1 + change + noise)).astype(np.float32)
        beside = 90 * (1 + wall * np.sin(2 * np.pi * 1.9 * t) + 3e-4 * rng.normal(size=3))
        means = (LEVEL * (1 + change + 2e-4 * rng.normal(size=3))).astype(np.float32)
        regions = dict.fromkeys(NAMES, means)
        yield SkinSample(grid, VALID, regions, beside.astype(np.float32), QUALITY, True)


def fresh(node: PulseNet, reason: str = "first") -> PulseNetState:
    return node.new_state(Begin("door", 1, 0.0, 0, reason))  # type: ignore[arg-type]


def feed(
    node: PulseNet, state: PulseNetState, times: np.ndarray, samples: Iterator[SkinSample]
) -> list[Evidence]:
    found: list[Evidence] = []
    for t, sample in zip(times, samples, strict=True):
        given = node.process("skin", [Packet("door", float(t), 0, 1, sample)], [state])
        found += [packet.payload for packet in given["evidence"]]
    return found


def test_a_living_face_gives_weak_evidence_and_its_heart_rate(node: PulseNet) -> None:
    times = steady(11)
    found = feed(node, fresh(node), times, skin(times, 75.0))
    assert len(found) == 11
    assert Reason.WINDOW_TOO_SHORT in found[0].reasons
    last = found[-1]
    assert last.cue == "rppg"
    assert last.llr is not None
    assert 0.2 < last.llr < 1.0
    assert last.details["heart_rate_bpm"] == pytest.approx(75, abs=4)
    assert last.engine == "pulse_net"
    assert len(last.engine_sha256) == 64


@pytest.mark.parametrize(
    ("rate", "stepped"), [(10.0, 10.0), (15.0, 15.0), (25.0, 12.5), (30.0, 15.0), (50.0, 50 / 3)]
)
def test_steps_are_taken_at_even_intervals_and_no_nearer_than_told(
    node: PulseNet, rate: float, stepped: float
) -> None:
    state, times, steps = fresh(node), steady(4, rate), [0.0]
    for t, sample in zip(times, skin(times, 75.0), strict=True):
        node.process("skin", [Packet("door", round(float(t), 3), 0, 1, sample)], [state])
        if state.steps.ended != steps[-1]:
            steps.append(state.steps.ended)
    steps = steps[2:]  # the first may have more frames: nobody knows yet how fast they come
    assert (len(steps) - 1) / (steps[-1] - steps[0]) == pytest.approx(stepped, rel=0.02)
    assert np.ptp(np.diff(steps)) <= 0.002


@pytest.mark.parametrize("rate", [50.0, 110.0])
def test_frames_that_are_passed_over_spoil_nothing(node: PulseNet, rate: float) -> None:
    """Also where they are so near that the window keeps one sample of two frames."""
    times = steady(10, rate)
    found = feed(node, fresh(node), times, skin(times, 75.0))[-1]
    assert found.llr is not None
    assert found.details["heart_rate_bpm"] == pytest.approx(75, abs=4)


def test_still_skin_speaks_against_life_and_a_display_no_more(node: PulseNet) -> None:
    times = steady(11)
    still = feed(node, fresh(node), times, skin(times, None))[-1]
    assert still.llr is not None
    assert still.llr < 0
    assert Reason.NO_PULSE_FOUND in still.reasons
    flickers = feed(node, fresh(node), times, skin(times, None, flicker=0.01))[-1]
    assert flickers.llr is None
    assert Reason.LIGHT_FLICKERS in flickers.reasons
    lamp = feed(node, fresh(node), times, skin(times, None, flicker=0.01, wall=0.01))[-1]
    assert lamp.llr is None
    assert Reason.LIGHT_FLICKERS in lamp.reasons


def test_a_gap_begins_anew_and_says_so(node: PulseNet) -> None:
    state = fresh(node, "gap")
    times = steady(3)
    found = feed(node, state, times, skin(times, 75.0))
    assert Reason.STATE_RESET_GAP in found[-1].reasons
    later = steady(6, start=3.6)
    found = feed(node, state, later, skin(later, 75.0))
    assert state.began == pytest.approx(3.6)
    assert Reason.WINDOW_TOO_SHORT in found[-1].reasons
    assert Reason.FRAMES_DROPPED in found[-1].reasons


def test_unusable_samples_are_not_looked_at(node: PulseNet) -> None:
    state = fresh(node)
    times = steady(2)
    feed(node, state, times, skin(times, 75.0))
    memory = state.memory
    nothing = replace(next(skin(times, 75.0)), usable=False)
    feed(node, state, np.array([2.1]), iter([nothing]))
    assert state.memory is memory
    assert state.seen == 2.0


class Course(NamedTuple):
    """What one face shows, from when it comes."""

    times: np.ndarray
    """Whole 64ths of a second, so that a later start changes no difference between them."""
    samples: list[SkinSample]


def course(rng: np.random.Generator) -> Course:
    """A few frames of a face, unevenly spaced, some unusable, some after a gap that resets."""
    count = int(rng.integers(3, 6))
    steps = rng.choice([1, 2, 4, 40], count, p=[0.3, 0.3, 0.3, 0.1]) / 64
    times = np.cumsum(steps) - steps[0]
    samples = list(skin(times, float(rng.uniform(45, 150)), seed=int(rng.integers(2**31))))
    usable = rng.random(count) < 0.9
    return Course(times, [replace(s, usable=bool(u)) for s, u in zip(samples, usable, strict=True)])


def remembers(state: PulseNetState) -> tuple[bytes, bytes, float, float]:
    """All that a frame hands to the next but times."""
    memory, colour = (b"" if x is None else x.tobytes() for x in (state.memory, state.colours))
    sums = state.steps.sums
    return memory, colour, state.brightness, 0.0 if sums is None else float(sums.grid.sum())


@settings(max_examples=1, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1))
def test_interleaved_tracks_are_what_they_are_alone(node: PulseNet, seed: int) -> None:
    """Two thousand tracks in turns: the memory of none leaks into another's, bit by bit."""
    rng = np.random.default_rng(seed)
    courses = [course(rng) for _ in range(50)]
    alone = [fresh(node) for _ in courses]
    for state, (times, samples) in zip(alone, courses, strict=True):
        feed(node, state, times, iter(samples))
    assert len({remembers(state) for state in alone}) > 10
    follows = rng.integers(len(courses), size=2000)
    starts = rng.integers(64, size=len(follows)) / 64
    states = [fresh(node) for _ in follows]
    packets = [
        Packet("door", float(start + t), 0, key, sample)
        for key, (which, start) in enumerate(zip(follows, starts, strict=True))
        for t, sample in zip(*courses[which], strict=True)
    ]
    rng.shuffle(packets)
    packets.sort(key=lambda packet: packet.time)
    for first in range(0, len(packets), 64):
        some = packets[first : first + 64]
        node.process("skin", some, [states[packet.key or 0] for packet in some])
    for state, which in zip(states, follows, strict=True):
        assert remembers(state) == remembers(alone[which])


def test_state_is_picklable_and_goes_on_as_if_nothing_was(node: PulseNet) -> None:
    times = steady(10)
    samples = list(skin(times, 80.0))
    whole = feed(node, fresh(node), times, iter(samples))
    state = fresh(node)
    feed(node, state, times[:100], iter(samples[:100]))
    kept = pickle.dumps(node.export_state(state))
    assert len(kept) < 400_000
    again = feed(node, node.restore_state(pickle.loads(kept)), times[100:], iter(samples[100:]))
    assert again[-1] == whole[-1]


def test_a_number_that_is_none_is_no_evidence(node: PulseNet) -> None:
    times = steady(9)
    samples = list(skin(times, 75.0))
    samples[120].grid[5, 16] = np.nan
    state = fresh(node)
    found = feed(node, state, times, iter(samples))
    assert all(one.llr is None or np.isfinite(one.llr) for one in found)
    assert state.memory is not None
    assert np.isfinite(state.memory).all()


def test_without_its_network_the_cue_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(PulseNet, "own", "pulse_net_that_nobody_made")
    told: list[str] = []
    node = PulseNet(PulseNetParams())
    node.open(NodeContext("pulse_net", "lossless", notice=told.append))
    times = steady(1)
    found = feed(node, fresh(node), times, skin(times, 75.0))
    assert found[-1].reasons == (Reason.ENGINE_MISSING.value,)
    assert len(told) == 1
    named = PulseNet(PulseNetParams(engine=str(tmp_path / "none")))
    with pytest.raises(ModelMissing):
        named.open(NodeContext("pulse_net", "lossless"))


def test_another_network_is_refused() -> None:
    node = PulseNet(PulseNetParams(engine="patch_light"))
    with pytest.raises(BundleError, match="expected the inputs change, seen"):
        node.open(NodeContext("pulse_net", "lossless"))
