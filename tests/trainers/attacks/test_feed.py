from hashlib import sha256
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from padflow.engines import load_engine
from padflow.nodes import blazeface, rppg
from padflow.nodes.canonical import LEFT_CHEEK, RIGHT_CHEEK
from padflow.nodes.mesh import CROP_SIDE, MeshNet, Square
from padflow.nodes.spectrum import bandpass, peak_frequency, periodogram, snr_db
from padflow.trainers.attacks import feed
from padflow.trainers.attacks.acts import Act, Person, Species, Stage, live, masked, printed
from padflow.trainers.attacks.feed import SPECIES, render_clip, render_feed
from padflow.trainers.attacks.parameters import Array
from padflow.trainers.attacks.truth import FeedTruth, load_truth, truth_path


def _frames(path: Path) -> list[Array]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _detected(picture: Array) -> Array:
    """float (n, 4): boxes of BlazeFace's full-range network in pixels of the picture."""
    model = blazeface.FULL_RANGE
    h, w = picture.shape[:2]
    scale = model.side / w
    small = cv2.resize(picture, (model.side, round(h * scale)), interpolation=cv2.INTER_AREA)
    square = np.zeros((1, model.side, model.side, 3), np.uint8)
    square[0, : small.shape[0]] = small
    with load_engine(model.engine, threads=1) as engine:
        raw = engine.infer({"image": square})
    anchors = blazeface.anchor_centres(model)
    found = blazeface.decode(raw["regressors"][0], raw["scores"][0, :, 0], anchors, 0.5)
    return np.asarray(blazeface.suppress(found, 0.3).boxes / scale)


@pytest.mark.parametrize("kind", SPECIES)
def test_detector_and_mesh_find_the_face_where_the_truth_says(
    kind: Species, tmp_path: Path, models: Path
) -> None:
    out = tmp_path / f"{kind}.mp4"
    truth = render_clip(kind, out, seconds=0.6, seed=5)
    frames = _frames(out)
    (visit,) = truth.intervals
    assert len(frames) == truth.frames == len(visit.boxes) == 15
    assert visit.species == kind
    box = visit.boxes[8]
    assert box is not None
    x, y, w, h = box
    (found,) = _detected(frames[8])
    middle = found[:2] + found[2:] / 2
    assert x + 0.2 * w < middle[0] < x + 0.8 * w
    assert y + 0.2 * h < middle[1] < y + 0.8 * h
    square = Square(x + w / 2, y + h / 2, 1.5 * max(w, h), 0.0).matrix()
    crop = cv2.warpAffine(
        frames[8], square, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    with MeshNet() as net:
        mesh, presence = net.infer(np.asarray(crop, np.uint8))
    assert presence > 0.9
    place = mesh[:, :2] @ square[:, :2].T + square[:, 2]
    assert np.abs(place.min(axis=0) - (x, y)).max() < 0.12 * w
    assert np.abs(np.ptp(place, axis=0) - (w, h)).max() < 0.15 * w
    assert (visit.heart_rate is not None) == (kind == "live")
    assert (visit.replayed_heart_rate is not None) == (kind == "screen")


@pytest.mark.parametrize("kind", SPECIES)
def test_a_seed_fixes_the_file_and_another_changes_it(
    kind: Species, tmp_path: Path, models: Path
) -> None:
    digests, truths = [], []
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        out = tmp_path / f"{name}.mp4"
        truths.append(render_clip(kind, out, seconds=0.2, seed=seed, size=(320, 180)))
        digests.append(sha256(out.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]
    assert truths[0] == truths[1] != truths[2]


def test_the_truth_comes_back_from_its_file(tmp_path: Path, models: Path) -> None:
    out = tmp_path / "clip.mp4"
    truth = render_clip("live", out, seconds=0.2, size=(320, 180))
    assert truth_path(out) == tmp_path / "clip.truth.json"
    again = load_truth(out)
    assert again.intervals == truth.intervals
    assert (again.seed, again.fps, again.frames) == (truth.seed, truth.fps, truth.frames)
    assert again.parameters.keys() == truth.parameters.keys()


def test_visits_follow_one_another(tmp_path: Path, models: Path) -> None:
    out = tmp_path / "visits.mp4"
    truth = render_clip("live", out, seconds=7.0, fps=5, size=(320, 180), visit_every=3.0)
    assert [(v.first_frame, len(v.boxes)) for v in truth.intervals] == [(0, 15), (15, 15)]
    for visit in truth.intervals:
        assert visit.boxes[0] is None  # comes in from the side
        assert visit.boxes[7] is not None
    with pytest.raises(ValueError, match="at least 3 s, found 2"):
        render_clip("live", out, seconds=7.0, visit_every=2.0)


def test_a_feed_shows_each_kind_with_an_empty_door_between(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "VISIT_SECONDS", 4.0)
    told: list[tuple[int, int]] = []
    out = tmp_path / "feed.mp4"
    truth = render_feed(
        out, size=(320, 180), fps=10, progress=lambda done, total: told.append((done, total))
    )
    assert tuple(visit.species for visit in truth.intervals) == SPECIES
    assert told == [(done + 1, truth.frames) for done in range(truth.frames)]
    frames = _frames(out)
    assert len(frames) == truth.frames == 10 * (4 * 4 + 5)
    _check_presence(truth, frames)


def _check_presence(truth: FeedTruth, frames: list[Array]) -> None:
    empty = frames[3].astype(int)
    for visit in truth.intervals:
        start, end = visit.seen
        assert end - start >= 15
        assert truth.at((start + end) / 2 / truth.fps) == visit
        before = frames[visit.first_frame - 3].astype(int)
        there = frames[(start + end) // 2].astype(int)
        assert np.abs(before - empty).mean() < 4.0
        assert np.abs(there - empty).mean() > 8.0
    assert truth.at(0.2) is None


def _stay_there(act: Act, stage: Stage, frames: int) -> Array:
    """float (frames, 3): mean linear light of the cheeks of an act, without a camera."""
    means = []
    for index in range(frames):
        picture = np.zeros((stage.lens.height, stage.lens.width, 3), np.float32)
        mesh = act.draw(picture, index, (1.0, 1.0, 1.0))
        mask = np.zeros(picture.shape[:2], np.uint8)
        for cheek in (RIGHT_CHEEK, LEFT_CHEEK):
            cv2.fillPoly(mask, [np.round(mesh[list(cheek)] * 16).astype(np.int32)], 255, shift=4)
        means.append(cv2.mean(picture, mask)[:3])
        assert np.isfinite(picture).all()
        assert picture.min() >= 0.0
    return np.array(means)


def test_only_living_skin_beats(cast: dict[str, Person], stage: Stage) -> None:
    # Without a camera's noise nothing is lost by fewer frames in the same twelve seconds.
    stage = stage._replace(fps=15)
    frames = 12 * stage.fps
    woman, other = cast["astronaut"], cast["hopper"]
    alive = live(woman, frames, lambda path: path, stage)
    assert alive.heart is not None
    beat = float(alive.heart.rate.mean())
    attacks = (
        printed(other, woman, frames, lambda path: path, stage, 1),
        masked(other, woman, frames, lambda path: path, stage, 2),
    )
    rate, snr = _pulse_of(_stay_there(alive, stage, frames), beat, stage.fps)
    assert rate == pytest.approx(beat, abs=2.5)
    assert snr > 3.0
    for act in attacks:
        assert act.heart is None
        # Whatever moves there does not stand out at any one rate as a pulse does.
        trace = _stay_there(act, stage, frames)
        assert _pulse_of(trace, None, stage.fps)[1] < snr - 4.0


def _pulse_of(colours: Array, rate: float | None, fps: float) -> tuple[float, float]:
    """Beats per minute by POS, and the SNR in dB at a rate or at the peak."""
    wave = bandpass(rppg.pos(colours, fps), fps)
    frequencies, power = periodogram(wave, fps)
    peak = float(peak_frequency(frequencies, power))
    at = peak if rate is None else rate / 60.0
    return peak * 60.0, float(snr_db(frequencies, power, at))


@pytest.mark.long
def test_the_pulse_passes_camera_and_encoder(tmp_path: Path, models: Path) -> None:
    out = tmp_path / "live.mp4"
    truth = render_clip("live", out, seconds=11.0, seed=3, size=(1280, 480))
    (visit,) = truth.intervals
    assert visit.eye_distance > 50.0
    assert visit.heart_rate is not None
    means = []
    with MeshNet() as net, av.open(str(out)) as container:
        for frame, box in zip(container.decode(video=0), visit.boxes, strict=True):
            assert box is not None
            means.append(_cheeks(frame.to_ndarray(format="rgb24"), box, net))
    rate, snr = _pulse_of(np.array(means), visit.heart_rate, truth.fps)
    assert rate == pytest.approx(visit.heart_rate, abs=4.0)
    assert snr > 0.0


def _cheeks(picture: Array, box: tuple[float, ...], net: MeshNet) -> tuple[float, ...]:
    x, y, w, h = box
    square = Square(x + w / 2, y + h / 2, 1.5 * max(w, h), 0.0).matrix()
    crop = cv2.warpAffine(
        picture, square, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    mesh = net.infer(np.asarray(crop, np.uint8))[0][:, :2] @ square[:, :2].T + square[:, 2]
    mask = np.zeros(picture.shape[:2], np.uint8)
    for cheek in (RIGHT_CHEEK, LEFT_CHEEK):
        cv2.fillPoly(mask, [np.round(mesh[list(cheek)]).astype(np.int32)], 255)
    return tuple(cv2.mean(picture, mask)[:3])


@pytest.mark.parametrize("size", [(641, 360), (640, 100)])
def test_sizes_that_cannot_be_filmed_are_refused(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even numbers"):
        render_clip("live", tmp_path / "x.mp4", size=size)
