"""``padflow run`` on every real clip: one track a person, LIVE only with evidence, no crash."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest

import padflow
from tests.deploy.live_camera import read_frames
from tests.nodes.clips import write_clip

WEBCAM = ("webcam_a_53s.mp4", "webcam_b_31s.mp4")
LOW_LIGHT = ("light_000.mp4", "light_025.avi", "light_050.avi", "light_075.mp4", "light_100.mp4")
SIGNING_CLIPS = 20
KINDS = ("source", "scene", "track", "verdict")

pytestmark = pytest.mark.usefixtures("models")


@dataclass(frozen=True)
class Told:
    """What a run told about one clip."""

    events: list[dict[str, Any]]

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [e["data"] for e in self.events if e["type"] == f"padflow.{kind}.v1"]

    @property
    def tracks(self) -> set[int]:
        return {data["track"] for data in self.data("track")}

    @property
    def reasons(self) -> Counter[str]:
        return Counter(reason for data in self.data("verdict") for reason in data["reasons"])


def watch(*clips: Path) -> dict[str, Told]:
    """Run the default graph over clips, as streams of one run; hold what is true of every clip."""
    events: dict[str, list[dict[str, Any]]] = {clip.stem: [] for clip in clips}
    for event in padflow.run(list(map(str, clips)), options=padflow.RunOptions(workers=0)):
        jsonschema.validate(event, schema(event["type"]), cls=jsonschema.Draft202012Validator)
        events[event["data"]["stream"]].append(event)
    told = {name: Told(list_of_one) for name, list_of_one in events.items()}
    for clip in clips:
        assert_decided_on_evidence(told[clip.stem])
        frames = assert_whole(told[clip.stem], clip)
        reasons = dict(told[clip.stem].reasons)
        print(f"{clip.name}: {frames} frames, {len(told[clip.stem].tracks)} tracks, {reasons}")
    return told


def assert_decided_on_evidence(told: Told) -> None:
    """LIVE needs a network that spoke for it; every track ends in one final verdict."""
    for verdict in told.data("verdict"):
        spoken = {e["cue"]: e["llr"] for e in verdict["evidence"] if e["llr"] is not None}
        if verdict["state"] == "LIVE":
            assert max(spoken.get(cue, -1.0) for cue in ("depth", "patch", "context")) >= 0
        if not spoken:
            assert verdict["state"] == "UNDECIDED"
    ended = [data["track"] for data in told.data("track") if data["state"] == "ended"]
    assert sorted(ended) == sorted(told.tracks)
    final = [data["track"] for data in told.data("verdict") if data["final"]]
    assert sorted(final) == sorted(told.tracks)


def assert_whole(told: Told, clip: Path) -> int:
    """The run saw every picture of the file, and its source ended well; returns how many."""
    with av.open(str(clip)) as container:
        packets = list(container.demux(video=0))
    # An edit list tells the player to discard some of the pictures.
    frames = sum(1 for packet in packets if packet.size and not packet.is_discard)
    first, last = told.data("source")[0], told.data("source")[-1]
    assert first["state"] == "connected"
    assert (last["state"], last["reason"]) == ("ended", "end of the file")
    assert last["frames"] == frames
    assert len(told.data("source")) == 2
    return frames


@cache
def schema(event_type: str) -> dict[str, Any]:
    kind = event_type.split(".")[1]
    assert kind in KINDS
    text = files("padflow.nodes").joinpath(f"schemas/{kind}.v1.json").read_text()
    known: dict[str, Any] = json.loads(text)
    return known


@pytest.mark.parametrize("name", WEBCAM)
def test_a_man_at_a_webcam_is_one_track_from_start_to_end(name: str, shared_data: Path) -> None:
    (told,) = watch(shared_data / "clips" / name).values()
    assert 1 <= len(told.tracks) <= 2
    whole = max(data["duration"] for data in told.data("track"))
    assert whole > 0.95 * told.data("source")[-1]["media_time"]
    assert any(data["p_live"] is not None for data in told.data("verdict"))
    states = {data["state"] for data in told.data("verdict")}
    assert "SPOOF" not in states
    assert "LIVE" in states or told.reasons["decision_timeout"] > 0, "decided, or the wait is told"


def test_hands_before_the_face_do_not_break_the_track(shared_data: Path) -> None:
    clips = sorted((shared_data / "clips" / "signing").glob("*.mkv"))
    assert len(clips) == SIGNING_CLIPS
    tracks = {name: len(told.tracks) for name, told in watch(*clips).items()}
    assert all(1 <= count <= 2 for count in tracks.values()), tracks
    # A clip may give one extra track; that many did would be another tracker.
    assert sum(tracks.values()) <= SIGNING_CLIPS + 3, tracks


def test_a_face_in_dim_light_is_one_track_and_a_black_picture_none(shared_data: Path) -> None:
    dim = watch(*(shared_data / "clips" / "lowlight" / name for name in LOW_LIGHT))
    black = dim.pop("light_000")
    assert {name: len(told.tracks) for name, told in dim.items()} == dict.fromkeys(dim, 1)
    assert not black.tracks
    assert not black.data("verdict")
    first, *others = black.data("scene")
    assert first["state"] == "too_dark"
    assert first["mean_luma"] < 30
    assert first["media_time"] < 2.0, "an operator is told at once, not at the end"
    assert [(data["state"], data["reason"]) for data in others] == [("no_face", "too_dark")]


def check_undecided(clip: Path, reason: str, *silent: str) -> None:
    """Nothing but UNDECIDED is said, for that reason, and these cues have no value."""
    (told,) = watch(clip).values()
    assert {data["state"] for data in told.data("verdict")} == {"UNDECIDED"}
    final = told.data("verdict")[-1]
    assert {reason, "no_appearance_evidence"} <= set(final["reasons"])
    ratios = {one["cue"]: one["llr"] for one in final["evidence"]}
    assert {ratios[cue] for cue in silent} == {None}


def test_a_camera_without_colour_at_night_accuses_nobody(live_clip: Path, tmp_path: Path) -> None:
    with av.open(str(live_clip)) as container:
        grey = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    images = [np.repeat(picture[..., None], 3, axis=2) for picture in grey]
    night = write_clip(tmp_path / "night.mp4", range(0, 40 * len(images), 40), images=images)
    check_undecided(night, "no_colour", "context", "depth", "patch", "pulse")


def test_a_face_at_the_pictures_lower_edge_is_no_evidence(live_clip: Path, tmp_path: Path) -> None:
    (whole,) = watch(live_clip).values()
    _, y, _, h = whole.data("verdict")[-1]["box"]
    bottom = int(y + 1.1 * h) // 2 * 2
    images = [np.ascontiguousarray(picture[:bottom]) for picture in read_frames(live_clip)]
    close = write_clip(tmp_path / "close.mp4", range(0, 40 * len(images), 40), images=images)
    check_undecided(close, "face_at_lower_edge", "context", "depth", "patch")
