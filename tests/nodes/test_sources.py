"""Addresses of sources: what they mean, what is refused, and that nothing gives secrets away."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padflow.nodes.sources import SourceError, name_source, parse_source, redact, safe_name

SECRETS = ("hunter2", "s3cr3t", "Adm1n")


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("rtsp://10.0.0.4/stream1", "rtsp"),
        ("RTSPS://u:p@camera:322/a?b=c", "rtsp"),
        ("http://camera/video.mjpg", "http"),
        ("https://camera/live.m3u8", "http"),
        ("/dev/video0", "camera"),
        ("/dev/v4l/by-id/usb-cam-index0", "camera"),
    ],
)
def test_live_sources(uri: str, kind: str) -> None:
    address = parse_source(uri)
    assert (address.kind, address.live) == (kind, True)


def test_files_stills_and_folders(tmp_path: Path) -> None:
    for name in ("clip.mp4", "a.JPG", "frame10.png", "frame9.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert parse_source(str(tmp_path / "clip.mp4")).kind == "file"
    assert parse_source(f"file://{tmp_path}/clip.mp4").kind == "file"
    assert parse_source(str(tmp_path / "a.JPG")).kind == "still"
    folder = parse_source(str(tmp_path))
    assert folder.kind == "folder"
    assert not folder.live
    assert [p.name for p in folder.pictures] == ["a.JPG", "frame9.png", "frame10.png"]


def test_file_urls_are_percent_decoded_and_paths_are_not(tmp_path: Path) -> None:
    for name in ("my clip.mp4", "my%20clip.mp4", "café.mp4", "a 1.jpg", os.fsdecode(b"\xff.mp4")):
        (tmp_path / name).write_bytes(b"x")

    def found(uri: str) -> str:
        address = parse_source(uri)
        return (address.pictures or (address.path,))[0].name

    assert found(f"file://{tmp_path}/my%20clip.mp4") == "my clip.mp4"
    assert found(f"file://localhost{tmp_path}/my%2520clip.mp4") == "my%20clip.mp4"
    assert found(f"{tmp_path}/my%20clip.mp4") == "my%20clip.mp4"
    assert found((tmp_path / "café.mp4").as_uri()) == "café.mp4"
    assert found((tmp_path / os.fsdecode(b"\xff.mp4")).as_uri()) == os.fsdecode(b"\xff.mp4")
    assert found(f"file://{tmp_path}/a%20%01d.jpg") == "a 1.jpg"
    assert name_source(f"file://{tmp_path}/my%20clip.mp4") == "my clip"


def test_numbered_and_globbed_pictures(tmp_path: Path) -> None:
    for name in ("f1.jpg", "f2.jpg", "f11.jpg", "00003.jpg", "00012.jpg"):
        (tmp_path / name).write_bytes(b"x")

    def names(uri: Path) -> list[str]:
        return [p.name for p in parse_source(str(uri)).pictures]

    assert names(tmp_path / "%05d.jpg") == ["00003.jpg", "00012.jpg"]
    assert names(tmp_path / "f%d.jpg") == ["f1.jpg", "f2.jpg", "f11.jpg"]
    assert names(tmp_path / "f1*.jpg") == ["f1.jpg", "f11.jpg"]


def test_refusals_are_one_sentence_and_hang_on_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "no_pictures").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tmp_path / "socket"))
        cases = {
            str(tmp_path / "empty.mp4"): "empty file",
            str(tmp_path / "no_pictures"): "pictures",
            str(tmp_path / "pipe.mp4"): "named pipe",
            str(tmp_path / "socket"): "socket",
            str(tmp_path / "dangling.mp4"): "no such file",
            str(tmp_path / "missing.mp4"): "no such file",
            str(tmp_path / "%04d.png"): "pictures",
            "/dev/zero": "no camera",
            "": "pictures",
            "bad\0name": "null",
            "ftp://host/clip.mp4": "ftp://",
            "rtsp:///stream": "host",
            "rtsp://host:notaport/x": "host",
        }
        for uri, found in cases.items():
            with pytest.raises(SourceError, match=found) as caught:
                parse_source(uri or str(tmp_path / "no_pictures"))
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://Adm1n:hunter2@cam/s", "rtsp://***@cam/s"),
        ("rtsp://Adm1n:hun@ter2@cam:554/s?x=1", "rtsp://***@cam:554/s?x=1"),
        ("rtsp://Adm1n:hunt/er2@cam/s", "rtsp://***@cam/s"),
        ("rtsp://Adm1n:1234/5678@cam/s", "rtsp://***@cam/s"),
        ("rtsp://Adm1n:1234?5@cam:554/s", "rtsp://***@cam:554/s"),
        ("rtsp://cam:554/a@b", "rtsp://cam:554/a@b"),
        ("rtsp://cam/a@b", "rtsp://cam/a@b"),
        ("http://10.0.0.4:7070/a@b", "http://10.0.0.4:7070/a@b"),
        (
            "[Errno 111] refused: 'rtsp://Adm1n:hunter2@cam/s'",
            "[Errno 111] refused: 'rtsp://***@cam/s'",
        ),
        ("http://cam/x?token=s3cr3t&fps=5", "http://cam/x?token=***&fps=5"),
        ("http://cam/x?a=1&X-Amz-Signature=s3cr3t", "http://cam/x?a=1&X-Amz-Signature=***"),
        ("http://cam/x?api_key=s3cr3t#t", "http://cam/x?api_key=***#t"),
        ("rtsp://cam/user=Adm1n_password=hunter2_channel=1", "rtsp://cam/user=***"),
        (
            "rtsp://cam/user=Adm1n&password=hunter2&channel=1",
            "rtsp://cam/user=***&password=***&channel=1",
        ),
        (
            "http://cam/videostream.cgi?loginuse=Adm1n&loginpas=s3cr3t",
            "http://cam/videostream.cgi?loginuse=***&loginpas=***",
        ),
        ("refused: 'rtsp://Adm1n:hunt\"er2@cam/s'", "refused: 'rtsp://***@cam/s'"),
        ("'rtsp://cam:554', 'http://cam'", "'rtsp://cam:554', 'http://cam'"),
        ("Authorization: Basic s3cr3t==", "Authorization: ***"),
        ("/data/keyframes=3/clip.mp4", "/data/keyframes=3/clip.mp4"),
        (
            "source clip.mp4: expected a video, found text",
            "source clip.mp4: expected a video, found text",
        ),
        ("write to ops@example.org", "write to ops@example.org"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert not any(secret in redact(text) for secret in SECRETS)


@pytest.mark.parametrize("letter", "'\"<> ;,|`")
def test_an_address_is_shown_without_its_password_whatever_that_is_made_of(letter: str) -> None:
    for url in (f"rtsp://Adm1n:hu{letter}nt@cam/s", f"http://Adm1n:{letter}nt@cam:80/s?x=1"):
        address = parse_source(url)
        assert address.uri == url
        assert address.shown.startswith(f"{address.kind}://***@cam")
        assert name_source(url).startswith("cam")
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@cam/s") as caught:
        parse_source(f"rtsp://Adm1n:hu{letter}n/t@cam/s")
    assert "Adm1n" not in str(caught.value)


word = st.text(
    st.characters(categories=("Lu", "Ll", "Nd"), max_codepoint=127, exclude_characters="Q"),
    min_size=1,
)
"""Never holds the mark of the secret."""
password = st.text(st.sampled_from("abcXYZ019!$&()*+,;=:@%~._-"), min_size=3, max_size=20)


@given(word, password, word, st.sampled_from(("token", "password", "pwd", "access_key", "auth")))
def test_no_credential_survives(user: str, secret: str, path: str, name: str) -> None:
    marked = f"QQ{secret}QQ"
    shown = redact(f"cannot open 'rtsp://{user}:{marked}@cam.example/{path}': refused")
    assert "QQ" not in shown
    assert "cam.example" in shown
    value = "".join(c for c in marked if c.isalnum())
    assert value not in redact(f"http://cam/{path}?a=b&{name}={value}&c=d")


@given(st.text())
def test_redact_takes_any_text_and_twice_is_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


def test_a_name_that_is_no_utf8_can_be_written(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "d") + b"\xff\xc3\xbcr.mp4"))
    path.write_bytes(b"no video")
    address = parse_source(str(path))
    assert address.path == path
    assert address.shown == f"{tmp_path}/d\\xffür.mp4"
    assert name_source(str(path)) == "d\\xffür"
    with pytest.raises(SourceError, match=r"e\\xff") as caught:
        parse_source(os.fsdecode(b"e\xff"))
    assert str(caught.value).encode()


def test_names_are_short_unique_and_carry_no_secret(tmp_path: Path) -> None:
    assert name_source(str(tmp_path / "door.mp4")) == "door"
    assert name_source("/dev/video0") == "video0"
    assert name_source(str(tmp_path / "frames")) == "frames"
    taken: list[str] = []
    for _ in range(3):
        taken.append(name_source("rtsp://Adm1n:hunter2@10.0.0.4:554/ch1?token=s3cr3t", taken))
    assert taken == ["10.0.0.4:554/ch1", "10.0.0.4:554/ch1-2", "10.0.0.4:554/ch1-3"]


def test_streams_whose_files_would_have_one_name_are_told_apart() -> None:
    taken: list[str] = []
    for clip in ("door 1.mp4", "door_1.mkv", "door+1.mp4", "door 1-2.mp4"):
        taken.append(name_source(clip, taken))
    assert taken == ["door 1", "door_1-2", "door+1-3", "door 1-2-2"]
    assert len({safe_name(name) for name in taken}) == len(taken)
