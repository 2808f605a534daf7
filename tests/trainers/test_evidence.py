import json
from pathlib import Path

import numpy as np
import pytest

from padflow.graph.packet import Packet
from padflow.nodes.evidence import Evidence
from padflow.nodes.payloads import FaceObservation
from padflow.nodes.testing import face_observation
from padflow.trainers.evidence import (
    EvidenceError,
    evidence_file,
    read_evidence,
    read_folder,
    read_head,
    write_evidence,
)

from .recordings import World, recordings


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (recorded, *_) = recordings(World(people=1, clips=1))
    path = evidence_file(tmp_path, recorded.presentation.item)
    write_evidence(path, recorded.presentation, recorded.main)
    read = read_evidence(path)
    assert read.presentation == recorded.presentation
    assert len(read.main) == len(recorded.main)
    for was, now in zip(recorded.main, read.main, strict=True):
        assert now.time == pytest.approx(was.time, abs=1e-6)
        assert (now.key, now.epoch) == (was.key, was.epoch)
        if isinstance(was.payload, Evidence):
            assert now.payload.cue == was.payload.cue
            assert now.payload.llr == pytest.approx(was.payload.llr, abs=1e-6)
        else:
            assert isinstance(now.payload, FaceObservation)
            assert now.payload.quality == was.payload.quality
            assert now.payload.box == was.payload.box


def test_which_nodes_made_a_file_is_kept_and_not_known_of_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.evidence.jsonl"
    presentation = recordings(World(people=1, clips=1))[0].presentation
    write_evidence(path, presentation, [], {"capture": "12ab"})
    assert read_head(path) == (presentation, {"capture": "12ab"})
    head = json.loads(path.read_text(encoding="utf-8"))
    del head["made_by"]
    path.write_text(f"{json.dumps(head)}\n", encoding="utf-8")
    assert read_head(path) == (presentation, {})
    assert read_evidence(path).presentation == presentation


def test_files_without_the_newest_field_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.evidence.jsonl"
    seen = [Packet("r", 0.1, 0, 3, face_observation())]
    write_evidence(path, recordings(World(people=1, clips=1))[0].presentation, seen)
    head, line = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(line)
    row["quality"].pop()
    path.write_text(f"{head}\n{json.dumps(row)}\n", encoding="utf-8")
    (packet,) = read_evidence(path).main
    assert packet.payload.quality == face_observation().quality


def test_the_main_track_is_the_one_seen_longest(tmp_path: Path) -> None:
    seen = [
        Packet("r", t / 10, 0, key, face_observation())
        for key, n in ((3, 5), (4, 9))
        for t in range(n)
    ]
    path = tmp_path / "a.evidence.jsonl"
    write_evidence(path, recordings(World(people=1, clips=1))[0].presentation, seen)
    read = read_evidence(path)
    assert set(read.tracks) == {3, 4}
    assert {packet.key for packet in read.main} == {4}


def test_no_face_is_no_track(tmp_path: Path) -> None:
    path = tmp_path / "a.evidence.jsonl"
    write_evidence(path, recordings(World(people=1, clips=1))[0].presentation, [])
    assert read_evidence(path).main == ()


def test_the_engines_are_told(tmp_path: Path) -> None:
    told = Evidence("depth", (0.0, 0.0), 1.0, engine="depth_light", engine_sha256="ab")
    path = tmp_path / "a.evidence.jsonl"
    presentation = recordings(World(people=1, clips=1))[0].presentation
    write_evidence(path, presentation, [Packet("r", 0.0, 0, 1, told)])
    assert read_evidence(path).engines == {"depth_light": "ab"}


@pytest.mark.parametrize("content", ["", "no json\n", "{}\n", '{"format": 1}\n'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.evidence.jsonl"
    path.write_text(content)
    with pytest.raises(EvidenceError, match="expected a file that padflow evidence wrote"):
        read_evidence(path)


def test_another_format_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.evidence.jsonl"
    path.write_text(json.dumps({"format": 99}) + "\n")
    with pytest.raises(EvidenceError, match="expected format 1, found 99"):
        read_evidence(path)


def test_a_folder_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    for number, recorded in enumerate(recordings(World(people=2, clips=1))[:2]):
        write_evidence(tmp_path / f"{number}.evidence.jsonl", recorded.presentation, recorded.main)
    assert len(read_folder(tmp_path, tmp_path / ".." / tmp_path.name)) == 2


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="found none; make them with padflow evidence"):
        read_folder(tmp_path)


def test_ratios_survive_to_a_millionth_of_a_nat(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 3, 50)
    packets = [
        Packet("r", i * 0.04, 0, 1, Evidence("context", (i * 0.04, i * 0.04), float(v)))
        for i, v in enumerate(values)
    ]
    path = tmp_path / "a.evidence.jsonl"
    write_evidence(path, recordings(World(people=1, clips=1))[0].presentation, packets)
    read = [p.payload.llr for p in read_evidence(path).tracks[1]]
    assert read == pytest.approx(list(values), abs=1e-6)
