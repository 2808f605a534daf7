from pathlib import Path

import numpy as np
import pytest

from padflow.nodes.rppg import PULSE_COLOUR
from padflow.trainers import pulse_clips
from padflow.trainers.pulse_clips import (
    LEVELS,
    Conditions,
    PulseClip,
    hard_half,
    render_pulse_clips,
    skin_of,
)
from padflow.trainers.studies.pulse import classical_rates, pulse_tables, pulse_text
from padflow.trainers.studies.rates import Json


def row(hard: bool, errors: tuple[float, float, float], motion: str = "still") -> Json:
    names = ("POS", "CHROM", "pulse_net")
    found = {name: 80.0 + error for name, error in zip(names, errors, strict=True)}
    factors = {"motion": motion, "bitrate": "rich", "light": "dim", "frame rate": "25"}
    windows = [{"end": 8.0, "true": 80.0, "found": found, "llr": {"rppg": None}}]
    return {"clip": "a", "factors": factors, "hard": hard, "windows": windows}


def test_tables_hold_errors_by_condition_and_the_share_of_the_better_method() -> None:
    rows = [row(True, (10.0, -20.0, 4.0)), row(False, (2.0, 2.0, 1.0), "lively")]
    rows.append({**row(True, (0.0, 0.0, 0.0)), "windows": []})
    tables = pulse_tables({"clips": rows}, resamples=50)
    assert tables["all"]["clips"] == 2
    assert tables["hard half"]["POS"]["value"] == pytest.approx(10.0)
    assert tables["hard half"]["share"]["value"] == pytest.approx(0.4)
    assert tables["all"]["CHROM"]["within_6"] == 0.5
    assert tables["motion: lively"]["pulse_net"]["value"] == pytest.approx(1.0)
    assert "motion: usual" not in tables
    whole = tables["all"]["POS"]
    assert whole["low"] <= whole["value"] <= whole["high"]
    page = pulse_text(tables)
    assert "| hard half | 1 | 10.0 [10.0, 10.0] | 20.0 [20.0, 20.0] | 4.0 [4.0, 4.0] |" in page


def test_classical_rates_are_those_of_a_known_trace() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.06, 250))
    beat = 0.004 * np.sin(2 * np.pi * 1.4 * times)
    colours = np.array([170.0, 120.0, 100.0]) * (1 + beat[:, None] * PULSE_COLOUR)
    noisy = colours * (1 + 1e-4 * rng.normal(size=(3, 250, 3)))
    assert classical_rates(times, noisy) == pytest.approx({"POS": 84.0, "CHROM": 84.0}, abs=1.5)


def test_the_hard_half_is_chosen_by_conditions() -> None:
    easy = Conditions("still", "rich", "bright", "50")
    hard = Conditions("lively", "lean", "dim", "12")
    assert easy.hardness == 0
    assert hard.hardness > Conditions("usual", "usual", "bright", "25").hardness
    clips = [PulseClip(Path("x"), one, 25, (70.0,), (0, 0, 1, 1)) for one in (easy, hard) * 3]
    assert hard_half(clips) == {1, 3, 5}


@pytest.mark.usefixtures("models")
def test_clips_are_rendered_once_and_seen_by_the_graphs_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage", reason="the portrait comes with scikit-image")
    monkeypatch.setattr(pulse_clips, "SECONDS", 0.4)
    (clip,) = render_pulse_clips(tmp_path, 1, seed=3)
    assert all(clip.conditions.level(factor) in levels for factor, levels in LEVELS.items())
    assert len(clip.beats_per_minute) == round(0.4 * clip.fps)
    assert 40 < np.mean(clip.beats_per_minute) < 160
    written = clip.file.stat().st_mtime_ns
    assert render_pulse_clips(tmp_path, 1, seed=3) == [clip]
    assert clip.file.stat().st_mtime_ns == written
    assert clip.beating
    assert len(clip.volume) == len(clip.beats_per_minute)
    assert 0.5 < np.ptp(clip.volume) < 2
    samples = skin_of(clip)
    assert len(samples) == len(clip.beats_per_minute)
    assert all(sample.usable for _, sample in samples)
    assert samples[-1][0] == pytest.approx((len(samples) - 1) / clip.fps, abs=1e-3)
    assert samples[0][1].quality.size > 60
