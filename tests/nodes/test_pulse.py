"""The pulse node on streams of skin samples: value, reasons, time, memory, state, cost."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.graph.node import Begin
from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence, Reason
from padflow.nodes.payloads import PulseTrace, Quality, SkinSample
from padflow.nodes.pulse import Pulse, PulseParams
from padflow.nodes.pulse_node import PulseState
from padflow.nodes.pulse_window import COLUMNS, SampleBuffer

GOOD = Quality(
    size=200.0,
    sharpness=0.6,
    exposure=130.0,
    clipped=0.0,
    yaw=3.0,
    pitch=0.0,
    roll=0.0,
    presence=1.0,
    occlusion=0.0,
    motion=0.05,
)
GRID = np.zeros((32, 32, 3), np.float32)
VALID = np.zeros((32, 32), bool)
SKIN = np.array([[170, 120, 100], [160, 110, 92], [158, 108, 90]], float)
PULSE = np.array([0.33, 0.77, 0.53])


@dataclass(frozen=True)
class Scene:
    """A face before a camera."""

    bpm: float | None = 72.0
    noise: float = 3e-4
    flicker: float = 0.0
    """Strength of a greenish lamp beating at 1.9 Hz, on face and background."""
    quality: Quality = GOOD
    seed: int = 0

    def samples(self, times: np.ndarray) -> Iterator[SkinSample]:
        rng = np.random.default_rng(self.seed)
        for t in times:
            change = self.noise * rng.normal(size=(4, 3))
            if self.bpm is not None:
                phase = 2 * np.pi * self.bpm / 60 * t
                change[:3] += 0.004 * (np.sin(phase) + 0.2 * np.sin(2 * phase)) * PULSE
            change += self.flicker * np.sin(2 * np.pi * 1.9 * t) * np.array([0.8, 1.2, 1.0])
            colours = np.vstack([SKIN, [90.0, 95.0, 100.0]]) * (1 + change)
            forehead, right, left, background = colours.astype(np.float32)
            regions = {"forehead": forehead, "right_cheek": right, "left_cheek": left}
            yield SkinSample(GRID, VALID, regions, background, self.quality, True)


def steady(seconds: float, rate: float = 25.0, start: float = 0.0) -> np.ndarray:
    return start + np.arange(int(seconds * rate) + 1) / rate


def begin(reason: str = "first") -> Begin:
    return Begin("door", 1, 0.0, 0, reason)  # type: ignore[arg-type]  # one of the four words


class Run:
    """Feeds a node and keeps what it says."""

    def __init__(self, params: PulseParams | None = None, reason: str = "first") -> None:
        self.node = Pulse(params or PulseParams())
        self.state: PulseState = self.node.new_state(begin(reason))
        self.evidence: list[Evidence] = []
        self.traces: list[PulseTrace] = []
        self.at: list[float] = []

    def feed(self, times: np.ndarray, samples: Iterator[SkinSample]) -> "Run":
        for t, sample in zip(times, samples, strict=True):
            given = self.node.process("skin", [Packet("door", t, 0, 1, sample)], [self.state])
            for packet in given.get("evidence", ()):
                assert (packet.stream, packet.key, packet.time) == ("door", 1, t)
                self.evidence.append(packet.payload)
                self.at.append(packet.time)
            self.traces += [p.payload for p in given.get("trace", ())]
        return self

    @property
    def last(self) -> Evidence:
        return self.evidence[-1]


def watch(scene: Scene, times: np.ndarray, params: PulseParams | None = None) -> Run:
    return Run(params).feed(times, scene.samples(times))


def test_a_living_face_gives_weak_evidence_for_life() -> None:
    run = watch(Scene(), steady(12))
    assert run.last.cue == "pulse"
    assert run.last.llr is not None
    assert 0.5 < run.last.llr <= 1.0
    assert run.last.reasons == ()
    assert run.last.details["heart_rate_bpm"] == pytest.approx(72, abs=1)
    assert run.last.details["region_rate_share"] == 1.0
    assert run.last.window == pytest.approx((2.0, 12.0), abs=0.05)
    trace = run.traces[-1]
    assert trace.heart_rate == pytest.approx(72, abs=1)
    assert trace.wave.dtype == np.float32
    assert trace.wave.shape == trace.times.shape == (300,)
    assert trace.wave.std() == pytest.approx(1.0, abs=1e-3)
    assert trace.times[-1] == pytest.approx(12.0)


def test_no_pulse_in_good_conditions_is_moderate_evidence_against() -> None:
    ratios = []
    for seed in range(5):
        run = watch(Scene(bpm=None, seed=seed), steady(11))
        assert run.last.llr is not None
        assert Reason.NO_PULSE_FOUND in run.last.reasons
        assert run.traces[-1].heart_rate is None
        ratios.append(run.last.llr)
    assert np.mean(ratios) < -0.5
    assert min(ratios) >= -1.5


def test_no_pulse_through_strong_noise_says_little() -> None:
    run = watch(Scene(bpm=None, noise=3e-2), steady(11))
    assert run.last.llr is not None
    assert abs(run.last.llr) < 0.2


def test_evidence_comes_once_a_second_with_reasons_until_the_window_is_long_enough() -> None:
    run = watch(Scene(), steady(9))
    assert run.at == pytest.approx(list(range(1, 10)), abs=0.05)
    assert [e.llr is None for e in run.evidence] == [True] * 5 + [False] * 4
    assert all(Reason.WINDOW_TOO_SHORT in e.reasons for e in run.evidence[:5])


@settings(max_examples=12, deadline=None)
@given(
    bpm=st.floats(48, 170),
    rate=st.floats(12, 90),
    jitter=st.floats(0, 0.4),
    lost=st.floats(0, 0.2),
    seed=st.integers(0, 99),
)
def test_heart_rate_does_not_depend_on_how_frames_arrive(
    bpm: float, rate: float, jitter: float, lost: float, seed: int
) -> None:
    """Only capture time counts: a camera that declares 20 % more than it delivers is no matter."""
    rng = np.random.default_rng(seed)
    times = steady(11, rate)
    times = np.sort(times + rng.uniform(-jitter, jitter, times.size) / rate)
    times = times[rng.uniform(size=times.size) >= lost]
    times = times[np.concatenate([[True], np.diff(times) > 1e-4])]
    times -= times[0]
    run = watch(Scene(bpm=bpm, seed=seed), times)
    valued = [e for e in run.evidence if e.llr is not None]
    if rate * (1 - lost) > 12:
        assert valued or np.diff(times).max() > 0.25
    for evidence in valued:
        assert evidence.details["heart_rate_bpm"] == pytest.approx(bpm, abs=3)


def test_a_short_gap_is_bridged_and_counted() -> None:
    times = steady(12)
    times = times[~((times > 8.0) & (times < 8.2))]
    run = watch(Scene(), times)
    assert run.last.llr is not None
    assert run.last.window[0] == pytest.approx(2.0, abs=0.05)
    assert 0.015 < run.last.details["interpolated_share"] < 0.03
    assert run.last.details["heart_rate_bpm"] == pytest.approx(72, abs=1)


def test_a_longer_gap_splits_the_window() -> None:
    times = steady(14)
    times = times[~((times > 7.0) & (times < 7.5))]
    run = watch(Scene(), times)
    by_time = dict(zip(np.round(run.at).astype(int), run.evidence, strict=True))
    assert by_time[7].llr is not None
    assert by_time[10].llr is None
    assert {Reason.WINDOW_TOO_SHORT, Reason.FRAMES_DROPPED} <= set(by_time[10].reasons)
    assert by_time[14].llr is not None
    assert by_time[14].window[0] == pytest.approx(7.5, abs=0.05)


def test_frames_without_a_usable_face_are_not_used() -> None:
    times = steady(11)
    hidden = (times > 6.0) & (times < 6.8)
    samples = [
        replace(s, usable=False, regions={k: v * 0 for k, v in s.regions.items()}) if h else s
        for s, h in zip(Scene().samples(times), hidden, strict=True)
    ]
    run = Run().feed(times, iter(samples))
    assert run.last.llr is None
    assert {Reason.WINDOW_TOO_SHORT, Reason.FACE_NOT_SEEN} <= set(run.last.reasons)
    unseen = Run().feed(times, (replace(s, usable=False) for s in Scene().samples(times)))
    assert {Reason.WINDOW_TOO_SHORT, Reason.FACE_NOT_SEEN} <= set(unseen.last.reasons)


def test_a_region_that_is_hidden_leaves_the_others() -> None:
    times = steady(11)
    nowhere = np.full(3, np.nan, np.float32)
    one = [replace(s, regions={**s.regions, "forehead": nowhere}) for s in Scene().samples(times)]
    run = Run().feed(times, iter(one))
    assert run.last.details["regions"] == 2
    assert run.last.details["heart_rate_bpm"] == pytest.approx(72, abs=1)
    two = [replace(s, regions={**s.regions, "right_cheek": nowhere}) for s in one]
    run = Run().feed(times, iter(two))
    assert run.last.llr is None
    assert Reason.FACE_OCCLUDED in run.last.reasons


def test_a_region_that_blinks_for_a_few_frames_is_filled_in() -> None:
    times = steady(11)
    nowhere = np.full(3, np.nan, np.float32)
    samples = [
        replace(s, regions={**s.regions, "forehead": nowhere}) if i % 25 < 4 else s
        for i, s in enumerate(Scene().samples(times))
    ]
    run = Run().feed(times, iter(samples))
    assert run.last.details["regions"] == 3
    assert run.last.details["heart_rate_bpm"] == pytest.approx(72, abs=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 30.0}, Reason.FACE_TOO_SMALL),
        ({"exposure": 12.0}, Reason.TOO_DARK),
        ({"exposure": 250.0}, Reason.TOO_BRIGHT),
        ({"exposure": 200.0, "clipped": 0.5}, Reason.TOO_BRIGHT),
        ({"colour": 1.0}, Reason.NO_COLOUR),
        ({"motion": 2.0}, Reason.TOO_MUCH_MOTION),
        ({"size": nan}, Reason.FACE_TOO_SMALL),
        ({"exposure": nan}, Reason.TOO_DARK),
        ({"motion": nan}, Reason.TOO_MUCH_MOTION),
    ],
)
def test_bad_conditions_give_no_value(change: dict[str, float], reason: Reason) -> None:
    for bpm in (72.0, None):
        run = watch(Scene(bpm=bpm, quality=replace(GOOD, **change)), steady(8))
        assert run.last.llr is None
        assert reason in run.last.reasons


def test_a_slow_camera_gives_no_value() -> None:
    run = watch(Scene(), steady(11, rate=7.0))
    assert run.last.llr is None
    assert Reason.FRAME_RATE_TOO_LOW in run.last.reasons


def test_a_picture_that_an_encoder_holds_gives_no_value() -> None:
    times = steady(11)
    samples = list(Scene(bpm=None).samples(times))
    held = [samples[i - i % 5] for i in range(len(samples))]
    run = Run().feed(times, iter(held))
    assert run.last.llr is None
    assert Reason.TOO_COMPRESSED in run.last.reasons


def test_colours_that_an_encoder_moves_in_bursts_give_no_value() -> None:
    times = steady(11)
    samples = list(Scene(bpm=None).samples(times))
    rng = np.random.default_rng(0)
    for i in range(1, len(samples)):
        if i % 50:  # between whole pictures only the aligner's own unsteadiness is left
            before = samples[i - 1].regions
            drift = {k: v * (1 + 1e-5 * rng.normal(size=3)) for k, v in before.items()}
            samples[i] = replace(samples[i], regions=drift)
    run = Run().feed(times, iter(samples))
    assert run.last.llr is None
    assert Reason.TOO_COMPRESSED in run.last.reasons
    assert run.last.details["bursts"] > 20


def test_beating_light_is_not_taken_for_a_pulse() -> None:
    run = watch(Scene(bpm=None, flicker=0.01), steady(11))
    assert run.last.llr is None
    assert Reason.LIGHT_FLICKERS in run.last.reasons
    assert run.last.details["heart_rate_bpm"] == pytest.approx(114, abs=2)


def test_without_a_background_the_face_is_still_measured() -> None:
    times = steady(11)
    nowhere = np.full(3, np.nan, np.float32)
    samples = (replace(s, background=nowhere) for s in Scene().samples(times))
    run = Run().feed(times, samples)
    assert run.last.llr is not None
    assert "background_snr_db" not in run.last.details


def test_black_and_frozen_pictures_are_survived() -> None:
    times = steady(8)
    for level in (0.0, 128.0, 255.0):
        colour = np.full(3, level, np.float32)
        regions = {"forehead": colour, "right_cheek": colour, "left_cheek": colour}
        sample = SkinSample(GRID, VALID, regions, colour, GOOD, True)
        run = Run().feed(times, iter([sample] * len(times)))
        assert run.last.llr is None
        assert Reason.TOO_COMPRESSED in run.last.reasons
        assert all(np.isfinite(v) for v in run.last.details.values())


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("gap", Reason.STATE_RESET_GAP),
        ("epoch", Reason.STATE_RESET_EPOCH),
        ("fault", Reason.STATE_RESET_FAULT),
    ],
)
def test_a_reset_is_told_until_the_window_is_full_again(word: str, reason: Reason) -> None:
    run = Run(reason=word)
    run.feed(steady(8), Scene().samples(steady(8)))
    assert reason in run.evidence[0].reasons
    assert reason not in run.last.reasons


def test_state_survives_a_move_to_another_process() -> None:
    scene, times = Scene(), steady(20)
    samples = list(scene.samples(times))
    stayed = Run().feed(times, iter(samples))
    moved = Run().feed(times[:310], iter(samples[:310]))
    kept = pickle.dumps(moved.node.export_state(moved.state))
    moved.state = moved.node.restore_state(pickle.loads(kept))
    moved.feed(times[310:], iter(samples[310:]))
    assert [e.llr for e in moved.evidence] == [e.llr for e in stayed.evidence]
    assert moved.last.details == stayed.last.details


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.floats(0.0, 0.2), min_size=1, max_size=400))
def test_the_buffer_holds_the_newest_samples_in_order_and_never_grows(steps: list[float]) -> None:
    buffer = SampleBuffer(100)
    sample = next(Scene().samples(np.zeros(1)))
    now = 0.0
    for step in steps:
        now += step
        buffer.append(now, sample)
    times, values = buffer.since(now - 1.0)
    assert (np.diff(times) >= 1 / 80 - 1e-9).all()
    assert times[-1] <= now < times[-1] + 1 / 80
    np.testing.assert_allclose(values[:, 0], sample.regions["forehead"][0], rtol=1e-6)
    assert sum(a.nbytes for a in (buffer._times, buffer._values)) == 200 * (8 + COLUMNS * 4)


def test_faster_cameras_are_averaged_not_picked() -> None:
    rate = 240.0
    times = steady(11, rate)
    run = watch(Scene(noise=3e-3), times)
    slow = watch(Scene(noise=3e-3), times[::4])
    assert len(run.state.samples.since(0.0)[0]) <= 2 * 10.25 * 80
    assert run.last.details["noise"] < 0.8 * slow.last.details["noise"]
