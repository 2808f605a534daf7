from pathlib import Path

import cv2
import numpy as np
import pytest

from padflow.nodes.rppg import PULSE_COLOUR
from padflow.trainers.attacks.people import PersonPicture
from padflow.trainers.data import read_dataset
from padflow.trainers.data.sample import Sample
from padflow.trainers.labels import pulse_frequencies
from padflow.trainers.motion.cutting import (
    Making,
    clip_pulse,
    cut_sequences,
    living,
    read_making,
    showing,
)
from padflow.trainers.motion.store import SequenceStoreError, open_sequences
from tests.nodes.clips import write_clip


@pytest.fixture
def footage(portraits: list[PersonPicture], tmp_path: Path) -> Path:
    """A living face that drifts for a second, the same as a print, and a wall."""
    root = tmp_path / "door"
    image = portraits[0].image
    width = image.shape[1] // 2 * 2
    frames = [
        np.roll(np.asarray(cv2.resize(image, (width, width))), k // 2, axis=1) for k in range(25)
    ]
    for path in (root / "live" / "ann-00.mp4", root / "attack" / "print" / "laser" / "ann-00.mp4"):
        path.parent.mkdir(parents=True)
        write_clip(path, range(0, 1000, 40), images=frames)
    write_clip(root / "live" / "wall.mp4", range(0, 1000, 40))
    return root


def test_videos_become_sequences_and_are_cut_once(
    models: Path, footage: Path, tmp_path: Path
) -> None:
    samples = read_dataset("plain", footage).samples
    lines: list[str] = []
    people = {"ann-00": "Ann"}
    count = [
        cut_sequences(
            samples, tmp_path / "store", prefix="door", people=people, making={}, say=lines.append
        )
        for _ in range(2)
    ]
    assert (count[0].made, count[0].there) == (2, 0)
    assert (count[1].made, count[1].there) == (0, 2)
    assert [Path(name).name for name in count[0].without] == ["wall.mp4"]
    printed, live = open_sequences([tmp_path / "store"])
    assert live.row.id == "door/live/ann-00.mp4"
    assert live.row.person == printed.row.person == "Ann"
    assert printed.row.instrument == "print:laser"
    assert not printed.depth.any()
    assert live.depth.max() == 255
    apart = np.diff(live.times)
    assert apart.min() >= 0.079
    assert np.median(apart) == pytest.approx(0.08, abs=1e-6)
    assert live.row.frames >= 8
    for one in (live, printed):
        places = one.places
        assert places is not None
        assert places.shape == (one.row.frames, 2, 1024)
        assert 0.16 < float(places.min()) < float(places.max()) < 0.84  # 1.5 times the face
    assert live.pulse is None  # A second shows no pulse.
    assert printed.pulse is not None
    assert not printed.pulse.any()


def test_a_living_sequence_is_labelled_with_its_own_pulse(
    models: Path, portraits: list[PersonPicture], tmp_path: Path
) -> None:
    image = np.asarray(cv2.resize(portraits[0].image, (320, 320)), np.float32)
    beats = 1 + 0.02 * np.sin(2 * np.pi * 1.5 * np.arange(100) / 15)[:, None] * PULSE_COLOUR
    frames = [np.clip(image * beat + 0.5, 0, 255).astype(np.uint8) for beat in beats]
    clip = write_clip(tmp_path / "bob.mp4", [round(k * 1000 / 15) for k in range(100)],
                      images=frames, options={"crf": "10"})  # fmt: skip
    cut_sequences(
        living([clip], {}), tmp_path / "store", prefix="f", people={}, making={}, cadence=30.0
    )
    (one,) = open_sequences([tmp_path / "store"])
    assert one.row.frames >= 95  # at the video's own rate
    label = one.pulse
    assert label is not None
    assert np.linalg.norm(label) == pytest.approx(1, abs=1e-5)
    assert pulse_frequencies()[label.argmax()] == pytest.approx(1.5, abs=0.1)


def skin(seconds: float, rate: float, beat: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    """Times and colours of three regions."""
    times = np.arange(round(seconds * rate)) / rate + 100
    wave = 0.01 * np.sin(2 * np.pi * beat * times)
    colours = np.array([170.0, 120.0, 100.0]) * (1 + wave[:, None] * PULSE_COLOUR)
    return times, np.repeat(colours[:, None], 3, axis=1).astype(np.float32)


def test_the_pulse_of_skin_that_comes_and_goes() -> None:
    times, colours = skin(8.0, 25.0)
    colours[::3, 0] = np.nan  # the forehead under hair
    colours[40:44, 1] = np.nan  # a cheek for a moment
    label = clip_pulse(times, colours)
    assert label is not None
    assert pulse_frequencies()[label.argmax()] == pytest.approx(1.2, abs=0.07)
    whole = clip_pulse(*skin(8.0, 25.0))
    assert whole is not None
    assert float(label @ whole) > 0.98


@pytest.mark.parametrize("case", ["short", "slow", "hidden", "torn", "black", "one"])
def test_where_there_is_no_pulse_to_be_had_there_is_no_label(case: str) -> None:
    times, colours = skin({"short": 4.0, "one": 0.05}.get(case, 9.0), 7.0 if case == "slow" else 25)
    if case == "hidden":
        colours[::2] = np.nan
    if case == "torn":  # nowhere five seconds at a stretch
        times[100:] += 1.0
    if case == "black":
        colours[:] = 0
    assert clip_pulse(times, colours) is None


def test_what_padflow_attacks_tells_is_used(tmp_path: Path) -> None:
    assert read_making(tmp_path) == {}
    (tmp_path / "parameters.json").write_text(
        '[{"item": "a.mp4", "person": "ann", "face": "bob", "medium": "printer-03", '
        '"stage": {"camera": 7}}]'
    )
    made = read_making(tmp_path)[tmp_path / "a.mp4"]
    assert (made.person, made.face, made.medium, made.camera) == (
        "ann", "bob", "printer-03", "camera-07",
    )  # fmt: skip
    (tmp_path / "parameters.json").write_text("[{}]")
    with pytest.raises(SequenceStoreError, match="expected the parameters"):
        read_making(tmp_path)


def test_samples_say_whose_face_a_mask_shows_by_the_name_of_the_list() -> None:
    def sample(name: str, person: str) -> Sample:
        return Sample(Path(name), "plain", "attack", "mask", person=person)

    def made(person: str, face: str) -> Making:
        return Making(person, face, "", "")

    samples = [sample("a", "P1"), sample("b", "P2"), sample("c", "P2"), sample("d", "P3")]
    making = {
        Path("a"): made("ann", "bob"), Path("b"): made("bob", ""), Path("c"): made("bob", "eve"),
    }  # fmt: skip
    assert [one.shows for one in showing(samples, making)] == [("P2",), (), ("eve",), ()]
    twice = [sample("a", "P1"), sample("b", "P1")]
    both = {Path("a"): made("ann", "bob"), Path("b"): made("bob", "")}
    assert [one.shows for one in showing(twice, both)] == [(), ()], "one person's two clips"


def test_footage_of_the_living_are_samples() -> None:
    (one,) = living([Path("in/a.mp4")], {})
    assert (one.label, one.species, one.recording) == ("live", "live", "footage/a.mp4")
    assert one.person == "a"


def test_videos_of_one_name_are_two_recordings_of_their_own_persons() -> None:
    files = [Path("ann/1.mp4"), Path("bob/1.mp4"), Path("bob/2.mp4")]
    found = living(files, {"ann/1.mp4": "P1", "bob/1.mp4": "P2"})
    assert [one.person for one in found] == ["P1", "P2", "2"]
    assert [one.clip for one in found] == ["ann/1.mp4", "bob/1.mp4", "2.mp4"]
