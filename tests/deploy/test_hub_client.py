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
        ("cameras: {door: 5}", "camera 'door': expected an address"),
        ("cameras: {door: {url: x}}", "camera 'door': expected an address"),
        ("cameras: {door: {uri: x, options: 3}}", "camera 'door': expected an address"),
        ("cameras: {door: {uri: x, more: 3}}", "camera 'door': expected an address"),
        ("cameras: [", "expected a readable YAML file"),
        ("cameras: {door: 'rtsp://u:${NOT_SET}@h/x'}", "environment variable NOT_SET"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_cameras(written(tmp_path, text), {})
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: expected a readable YAML file"):
        read_cameras(tmp_path / "none.yaml")


def test_an_address_without_names_stays_as_it_is() -> None:
    assert with_secrets("rtsp://host/$path", {}) == "rtsp://host/$path"
