"""The study of the motion cues: what it reads, and what its tables say."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console

from padflow.nodes.evidence import Evidence
from padflow.trainers.canonical import portrait
from padflow.trainers.studies.motion_cues import (
    Video,
    Watched,
    Watcher,
    area,
    ratio_at,
    tables,
    videos_in,
    write_evidence,
)


def watched(*ratios: float | None, cue: str = "life", seconds: float = 5.0) -> Watched:
    told = [
        (1.0 + index, Evidence(cue, (0.0, 1.0), ratio, () if ratio else ("blurred",)))
        for index, ratio in enumerate(ratios)
    ]
    return Watched(100, seconds, {cue: told})


def test_species_come_from_labels(tmp_path: Path) -> None:
    for name in ("live/a.mp4", "attack/print/b.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {v.species for v in videos_in(tmp_path)} == {"live"}
    (tmp_path / "labels.csv").write_text(
        "item,species\nlive/a.mp4,live\nattack/print/b.mp4,print\n"
    )
    assert {v.name: v.species for v in videos_in(tmp_path)} == {
        "live/a.mp4": "live",
        "attack/print/b.mp4": "print",
    }
    with pytest.raises(FileNotFoundError, match="expected videos"):
        videos_in(tmp_path / "attack" / "nothing")


def test_ratio_at_a_time() -> None:
    one = watched(None, 0.5, -0.3)
    assert ratio_at(one, "life", 1.0) is None
    assert ratio_at(one, "life", 2.0) == 0.5
    assert ratio_at(one, "life", np.inf) == -0.3
    assert ratio_at(watched(0.4, -0.2, cue="planarity"), "planarity", 9.0) == pytest.approx(0.1)


def test_area() -> None:
    assert area([1.0, 2.0], [0.0, -1.0]) == 1.0
    assert area([0.0], [0.0]) == 0.5
    assert np.isnan(area([], [1.0]))


def test_tables_and_file(tmp_path: Path) -> None:
    seen = [
        (Video(tmp_path / "a.mp4", "a.mp4", "live"), watched(0.5, 0.6)),
        (Video(tmp_path / "b.mp4", "b.mp4", "print"), watched(-0.5, -0.6)),
        (Video(tmp_path / "c.mp4", "c.mp4", "print"), watched(None, 0.2)),
    ]
    console = Console(width=140, record=True)
    for table in tables(seen):
        console.print(table)
    text = console.export_text()
    ends = [line for line in text.splitlines() if "print" in line and "end" in line]
    assert any("50%" in line and "1.00" in line for line in ends)
    write_evidence(tmp_path / "told.csv", seen)
    with (tmp_path / "told.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert [row["llr"] for row in rows[:2]] == ["0.5000", "0.6000"]
    assert rows[4]["reasons"] == "blurred"


@pytest.mark.usefixtures("models")
def test_a_still_picture_is_watched(tmp_path: Path) -> None:
    image = portrait("astronaut")[:400, :400]
    rng = np.random.default_rng(0)
    with av.open(str(tmp_path / "still.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 400
        stream.pix_fmt = "yuv420p"
        for _ in range(45):
            noisy = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy)))
        container.mux(stream.encode())
    with Watcher() as watcher:
        found = watcher.watch(tmp_path / "still.mp4", 10.0)
    assert found.frames >= 40
    life = ratio_at(found, "life", np.inf)
    assert life is not None
    assert -0.8 < life < 0
    assert ratio_at(found, "planarity", np.inf) is None
    assert all(cost > 0 for cost in watcher.cost.values())
