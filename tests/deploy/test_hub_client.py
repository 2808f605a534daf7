"""Files of cameras."""

from pathlib import Path

import pytest

from padflow.deploy.exits import UsageError
from padflow.deploy.hub_client import read_cameras, with_secrets


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(text)
    return path


def test_both_forms_are_read_and_secrets_come_from_the_environment(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "cameras:\n  door: rtsp://user:${SECRET}@192.0.2.7/main\n"
        "  lobby: {uri: /clips/lobby.mp4, options: {pace: camera}}\n",
    )
    door, lobby = read_cameras(path, {"SECRET": "s3"})
    assert (door.name, door.uri) == ("door", "rtsp://user:s3@192.0.2.7/main")
    assert (lobby.uri, lobby.options) == ("/clips/lobby.mp4", {"pace": "camera"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected 'cameras:'"),
        ("cameras: {}", "expected 'cameras:'"),
        ("cameras: [a]", "expected 'cameras:'"),
        ("cameras: {a: b}\nmore: 1", "expected 'cameras:'"),
        ("cameras: {door: 5}", "camera 'door': expected an address, or uri and options"),
        ("cameras: {door: {url: x}}", "found the key 'url'; write it so"),
        ("cameras: {door: {uri: x, options: 3}}", "found options: 3; write it so"),
        ("cameras: {door: {uri: x, more: 3}}", "camera 'door': expected an address"),
        ("cameras: {door: []}", "found a list; write it so"),
        ("cameras: {door: null}", "camera 'door': expected an address"),
        ("cameras: {a: x, door: {options: {}}}", "camera 'door': expected an address"),
        ("cameras: {door: {options: {}}}", "found no uri; write it so"),
        ("cameras: {door: {uri: }}", "found uri: None; write it so"),
        ("just text", "expected 'cameras:'"),
        ("cameras: [", "expected valid YAML"),
        ("cameras: {door: x, door: y}", "line 1: expected every key once, found 'door' again"),
        (
            "cameras: {a: x, door: 'rtsp://u:${NOT_SET}@h/x'}",
            "camera 'door': address: expected the environment variable NOT_SET, found it not set",
        ),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as refusal:
        read_cameras(path, {})
    assert str(refusal.value).startswith(str(path))
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: expected a readable YAML file"):
        read_cameras(tmp_path / "none.yaml")


def test_an_address_without_names_stays_as_it_is() -> None:
    assert with_secrets("rtsp://host/$path", {}) == "rtsp://host/$path"


def test_every_name_of_an_address_is_filled_in_once() -> None:
    known = {"A": "${B}", "B": "b", "LONG_1": "c"}
    assert with_secrets("rtsp://${A}:${B}@h/${LONG_1}/${B}", known) == "rtsp://${B}:b@h/c/b"


def test_a_name_that_is_not_set_is_told_without_the_address() -> None:
    with pytest.raises(UsageError) as refusal:
        with_secrets("rtsp://admin:hunter2@h/${NONE}", {"OTHER": "x"})
    assert "environment variable NONE" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_bytes(b"cameras: \xff\xfe")
    with pytest.raises(UsageError, match=r"cameras\.yaml: expected a readable YAML file"):
        read_cameras(path)


def test_cameras_keep_the_order_of_the_file_and_may_be_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "cameras: {7: /b.mp4, 3: {uri: /a.mp4}}")
    assert [(c.name, c.uri, dict(c.options)) for c in read_cameras(path, {})] == [
        ("7", "/b.mp4", {}),
        ("3", "/a.mp4", {}),
    ]


def test_empty_options_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, "cameras:\n  door:\n    uri: /a.mp4\n    options:\n")
    assert [(c.uri, dict(c.options)) for c in read_cameras(path, {})] == [("/a.mp4", {})]
