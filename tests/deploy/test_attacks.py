"""``padflow attacks``: labelled videos, their lists, their schema, and what is refused."""

import csv
import json
from pathlib import Path

import av
import cv2
import jsonschema
import numpy as np
import pytest

from padflow.deploy.cli import main
from padflow.trainers.attacks.portraits import load_portrait
from padflow.trainers.data import read_dataset


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage", reason="scikit-image carries a portrait")
    path = tmp_path_factory.mktemp("people") / "eileen.png"
    image = load_portrait("astronaut").image
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture(scope="module")
def made(portrait: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks") / "out"
    words = ["attacks", str(portrait), "--out", str(folder), "--seconds", "0.24", "--quiet"]
    assert main(words) == 0
    return folder


def frames_of(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [(frame.width, frame.height) for frame in container.decode(video=0)]


def test_a_plain_dataset_comes_out(made: Path) -> None:
    dataset = read_dataset("plain", made)
    assert {sample.species for sample in dataset.samples} == {
        "live", "print", "screen", "mask", "partial",
    }  # fmt: skip
    assert {sample.person for sample in dataset.samples} == {"eileen"}
    assert not dataset.unreadable
    assert not dataset.missing
    printed = next(sample for sample in dataset.samples if sample.species == "print")
    assert printed.instrument.startswith("print:")
    sizes = {size for sample in dataset.samples for size in set(frames_of(sample.path))}
    assert len(sizes) == 1, "one camera for all"
    assert {len(frames_of(sample.path)) for sample in dataset.samples} == {6}


def test_labels_name_every_video(made: Path) -> None:
    with (made / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["live"] + ["attack"] * 4
    assert {row["item"] for row in rows} == {
        path.relative_to(made).as_posix() for path in made.rglob("*.mp4")
    }
    for row in rows[1:]:
        assert row["item"].startswith(f"attack/{row['species']}/")
        assert row["instrument"].startswith(f"{row['species']}:")
        assert row["medium"]
    assert len({(row["camera"], row["seed"], row["person"]) for row in rows}) == 1


def test_parameters_are_as_the_schema_says(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attacks", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    told = json.loads((made / "parameters.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(told, schema)
    assert len(told) == 5
    assert {
        "PrinterParams", "DisplayParams", "SensorParams", "CodecParams", "WornMaskParams",
        "HoldParams", "IdentityParams",
    } <= set(schema["$defs"])  # fmt: skip
    read_noise = schema["$defs"]["SensorParams"]["properties"]["read_noise"]
    assert (read_noise["minimum"], read_noise["maximum"]) == (0, 30)
    assert read_noise["description"] == "Electrons, standard deviation."


def test_the_sheet_shows_every_video(made: Path) -> None:
    sheet = cv2.imread(str(made / "contact-sheet.png"))
    assert sheet is not None
    assert sheet.shape == (5 * 202, 960, 3)
    assert all(sheet[202 * row + 22 : 202 * (row + 1)].std() > 20 for row in range(5))
    assert not [path.name for path in made.rglob(".*")], "nothing is left beside the files"


def test_the_same_seed_makes_the_same_files(portrait: Path, made: Path, tmp_path: Path) -> None:
    words = ["attacks", str(portrait), "--out", str(tmp_path), "--seconds", "0.24", "--quiet"]
    assert main([*words, "--species", "screen"]) == 0
    (again,) = tmp_path.rglob("*.mp4")
    assert again.read_bytes() == (made / again.relative_to(tmp_path)).read_bytes()


def test_videos_of_an_earlier_run_stay_in_the_lists(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["attacks", "--out", str(tmp_path), "--seconds", "0.12", "--species", "live", "--quiet"]
    other = tmp_path / "adam.png"
    other.write_bytes(portrait.read_bytes())
    assert main([*words, str(portrait)]) == 0
    for name in ("labels.csv", "persons.csv"):
        path = tmp_path / name
        path.write_text(path.read_text("utf-8").replace(",eileen", ",P1"), "utf-8")
    assert main([*words, str(other), "--seed", "5"]) == 0
    assert [s.person for s in read_dataset("plain", tmp_path).samples] == ["adam", "P1"]
    told = json.loads((tmp_path / "parameters.json").read_text("utf-8"))
    assert [one["item"] for one in told] == ["live/eileen-00.mp4", "live/adam-00.mp4"]
    (tmp_path / "live" / "eileen-00.mp4").unlink()
    assert main([*words, str(other), "--seed", "6"]) == 0
    assert [s.person for s in read_dataset("plain", tmp_path).samples] == ["adam"]
    assert len((tmp_path / "labels.csv").read_text("utf-8").splitlines()) == 2
    (tmp_path / "labels.csv").write_text("name,who\na,b\n", "utf-8")
    assert main([*words, str(other)]) == 2
    assert "expected lists that padflow attacks wrote" in capsys.readouterr().err


def test_progress_names_each_video(
    portrait: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["attacks", str(portrait), str(portrait), "--out", str(tmp_path)]
    assert main([*words, "--seconds", "0.12", "--species", "live", "--count", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "live/eileen-01.mp4" in err
    assert "live/eileen~2-00.mp4" in err
    assert len(list(tmp_path.rglob("*.mp4"))) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "SOURCE: expected a clip or a portrait"),
        (["{portrait}"], "--out: expected a folder"),
        (["{portrait}", "--out", "{portrait}"], "expected a folder, found a file"),
        (["nowhere.mp4", "--out", "{new}"], "nowhere.mp4: expected a video or picture file"),
        (["{portrait}", "--out", "{new}", "--seconds", "0"], "--seconds 0.0: expected 0.1 to 600"),
        (["{wall}", "--out", "{new}"], "wall.png: expected a face in most frames"),
        (
            ["{notes}", "--out", "{new}"],
            "notes.mp4: expected a video or picture, found what cannot be read: Invalid data",
        ),
    ],
)
def test_wrong_use_is_told_in_one_sentence(
    words: list[str],
    said: str,
    portrait: Path,
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wall, notes = tmp_path / "wall.png", tmp_path / "notes.mp4"
    face = np.asarray(cv2.imread(str(portrait)))
    cv2.imwrite(str(wall), cv2.GaussianBlur(face, (0, 0), 60))
    notes.write_text("no video at all\n" * 50)
    places = {"portrait": portrait, "new": tmp_path / "new", "wall": wall, "notes": notes}
    assert main(["attacks", *(word.format(**places) for word in words)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "libpng" not in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "new").exists()
