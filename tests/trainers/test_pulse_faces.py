from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from padflow.nodes.skin_cells import cell_count
from padflow.trainers import pulse_clips, pulse_faces
from padflow.trainers.pulse_faces import FaceClip, _mirrored_cells, face_clips, face_traces


def clip(wave: bool, fps: int = 25, seed: int = 0) -> FaceClip:
    """Two hundred steps of one clip; with a pulse its changes are told apart by their size."""
    rng = np.random.default_rng(seed)
    change = rng.normal(0, 0.01, (200, cell_count() + 1, 3)).astype(np.float32)
    return FaceClip(
        fps,
        np.arange(200) * 0.06,
        change,
        np.ones((200, cell_count() + 1), np.float32),
        rng.normal(0, 0.1, (200, 4)).astype(np.float32),
        np.sin(np.arange(200) * 0.4) if wave else None,
    )


def test_cells_are_mirrored_in_pairs() -> None:
    order = _mirrored_cells()
    assert sorted(order) == list(range(cell_count()))
    assert [order[index] for index in order] == list(range(cell_count()))
    assert order != sorted(order)


def test_a_batch_of_faces_has_pulses_that_are_shown_drawn_and_absent() -> None:
    traces = face_traces(np.random.default_rng(0), [clip(True), clip(False, seed=1)], 60)
    assert traces.change.shape[:2] == traces.times.shape == traces.wave.shape
    assert (np.diff(traces.times, axis=1) > 0).all()
    assert 0.5 < traces.alive.mean() < 0.95
    assert (traces.wave[~traces.alive] == 0).all()
    assert (traces.wave[traces.alive].std(axis=1) > 0.1).all()
    assert traces.times[:, -1].max() > 1.2 * traces.times[:, -1].min()


def test_a_drawn_pulse_is_on_the_skin_and_not_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse_faces, "NOISE_COLOUR", np.zeros(3))
    moving = clip(False)
    still = replace(moving, change=0 * moving.change)
    traces = face_traces(np.random.default_rng(3), [still], 40)
    moved = np.abs(traces.change).max(axis=(1, 3))
    assert (moved[:, -1] == 0).all()
    assert (moved[traces.alive].max(axis=1) > 1e-4).all()
    assert (moved[~traces.alive] == 0).all()


@pytest.mark.usefixtures("models")
def test_faces_are_rendered_with_and_without_a_pulse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage", reason="the portrait comes with scikit-image")
    monkeypatch.setattr(pulse_clips, "SECONDS", 0.5)
    told: list[int] = []
    clips = face_clips(tmp_path, 1, 1, 7, lambda done, total: told.append(done))
    assert told == [1, 2]
    assert [one.wave is None for one in clips] == [False, True]
    assert all(len(one.times) == len(one.change) > 3 for one in clips)
    again = face_clips(tmp_path, 1, 1, 7, lambda done, total: None)
    assert np.array_equal(again[0].change, clips[0].change)
