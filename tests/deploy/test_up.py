"""``padflow up``, ``streams`` and ``down`` through the command line, and how a hub is asked."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="ray is not installed (padflow[cluster])")

from padflow.deploy.cli import main
from padflow.deploy.exits import Exit, UsageError
from padflow.deploy.hub import Hub, HubJob
from padflow.deploy.hub_client import ask, find, launch
from padflow.graph.errors import GraphError
from padflow.graph.node import StreamSpec
from padflow.graph.ray_join import cluster
from padflow.graph.ray_options import RayOptions
from padflow.graph.spec import Graph
from padflow.graph.testing import wait_until
from padflow.nodes.sources import SourceError

NAME = "tested"
GRAPH = "version: 1\nname: door\nnodes:\n  capture: {type: capture}\n"
PATIENCE = 30.0

Told = tuple[int, str, str]
"""Exit code, standard output, standard error."""


class Shell:
    """Runs commands of padflow in this process."""

    def __init__(self, folder: Path, clip: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.clip = str(clip)
        self.cameras = folder / "cameras.yaml"
        self.cameras.write_text(f"cameras:\n  door: {clip}\n")
        self.graph = folder / "graph.yaml"
        self.graph.write_text(GRAPH)

    def __call__(self, *words: str) -> Told:
        self._capture.readouterr()
        code = main(words)
        out, err = self._capture.readouterr()
        return code, out, err

    def up(self, *more: str, cameras: Path | None = None) -> Told:
        spread = ("--workers", "1", "--streams-per-worker", "2", "--spare-workers", "0")
        graph = ("--graph", str(self.graph))
        return self("up", str(cameras or self.cameras), "--name", NAME, *graph, *spread, *more)

    def streams(self, *words: str) -> Told:
        return self("streams", *words, "--name", NAME)

    def shows(self, stream: str, state: str) -> bool:
        """Whether the list comes to show a stream in a state."""

        def is_there() -> bool:
            rows = [line.split() for line in self.streams("list")[1].splitlines()]
            return any(row[:2] == [stream, state] for row in rows)

        return wait_until(is_there, PATIENCE)


@pytest.fixture
def shell(
    local_ray: Any, tmp_path: Path, grey_clip: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """Nothing of it is left when the test is over."""
    yield Shell(tmp_path, grey_clip, capsys)
    with suppress(UsageError):
        end(local_ray, find(local_ray, NAME))


def end(ray: Any, hub: Any) -> None:
    with suppress(GraphError):
        ask(ray, hub.stop.remote(drain=False))
    ray.kill(hub)


def test_a_hub_comes_up_takes_streams_refuses_too_many_and_goes_down(shell: Shell) -> None:
    code, _, told = shell.up()
    assert code == Exit.DONE
    assert "tested: 1 cameras on driver, worker-0" in told
    assert shell.shows("door", "running")

    assert shell.streams("add", "yard", shell.clip)[0] == Exit.DONE
    code, _, told = shell.streams("add", "roof", shell.clip)
    assert code == Exit.WRONG_USE
    assert "stream 'roof'" in told
    assert "found all 2 places taken (1 workers of 2" in told
    assert told.count("\n") == 1

    assert shell.streams("pause", "yard")[0] == Exit.DONE
    assert shell.shows("yard", "paused")
    assert shell.streams("resume", "yard")[0] == Exit.DONE
    assert shell.shows("yard", "running")
    assert shell.streams("remove", "yard")[0] == Exit.DONE
    assert shell.shows("yard", "ended")
    assert shell.shows("door", "running")

    code, _, told = shell("down", "--name", NAME)
    assert (code, told.strip()) == (Exit.DONE, "tested: ended")
    code, _, told = shell.streams("list")
    assert code == Exit.WRONG_USE
    assert "--name tested: expected a hub of this name on the cluster, found none" in told


def test_what_a_hub_refuses_is_one_sentence_and_changes_nothing(shell: Shell) -> None:
    assert shell.up()[0] == Exit.DONE
    refused = (
        (("remove", "dor"), Exit.WRONG_USE, "found 'dor'"),
        (("resume", "door"), Exit.WRONG_USE, "paused stream: "),
        (("add", "door", shell.clip), Exit.WRONG_USE, "found a stream of this name running"),
        (("add", "x", "ftp://192.0.2.7/x"), Exit.WRONG_USE, "expected a video file"),
        (("add", "x", "rtsp://u:${NOT_SET_HERE}@h/x"), Exit.WRONG_USE, "variable NOT_SET_HERE"),
    )
    for words, expected, sentence in refused:
        code, _, told = shell.streams(*words)
        assert (code, told.count("\n")) == (expected, 1), told
        assert told.startswith("padflow streams: ")
        assert sentence in told
    code, _, told = shell.up()
    assert code == Exit.WRONG_USE
    assert "--name tested: expected a name that is not in use" in told
    assert shell.shows("door", "running")


def test_a_hub_that_cannot_start_is_told_and_leaves_nothing(shell: Shell, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("cameras: {door: /no/such/clip.mp4}\n")
    three = tmp_path / "three.yaml"
    three.write_text("cameras: {" + ", ".join(f"{n}: {shell.clip}" for n in "abc") + "}\n")
    too_many = "99 workers of 1 CPU need 99 CPU (found 4 free)"
    for words, cameras, expected, sentence in (
        (("--workers", "99"), shell.cameras, Exit.WRONG_USE, too_many),
        ((), wrong, Exit.WRONG_USE, "/no/such/clip.mp4"),
        ((), three, Exit.WRONG_USE, "found all 2 places taken"),
    ):
        code, _, told = shell.up(*words, cameras=cameras)
        assert (code, told.count("\n")) == (expected, 1), told
        assert sentence in told
        assert shell.streams("list")[0] == Exit.WRONG_USE, "no hub is left"


def job(clip: str, **options: Any) -> HubJob:
    spread = RayOptions(workers=1, worker_cpu=0.5, spare_workers=0, **options)
    graph = Graph.build("hub").add("capture", "capture")
    return HubJob(NAME, graph, (StreamSpec("door", clip),), ray=spread)


def test_a_hub_outlives_whoever_launched_it_and_its_end_is_told(
    shell: Shell, local_ray: Any
) -> None:
    with cluster("auto") as ray:
        launch(ray, job(shell.clip), PATIENCE)
    hub = find(local_ray, NAME)
    assert ask(local_ray, hub.status.remote()).name == NAME
    assert [row.name for row in ask(local_ray, hub.list.remote())] == ["door"]
    with pytest.raises(UsageError, match="choose another, or end it with 'padflow down"):
        launch(local_ray, job(shell.clip), PATIENCE)
    end(local_ray, hub)
    with pytest.raises(GraphError, match="the hub: expected it to answer, found that it has ended"):
        ask(local_ray, hub.status.remote())


def test_what_a_hub_raises_comes_out_as_what_it_is(local_ray: Any) -> None:
    remote = local_ray.remote(num_cpus=0)(Hub)
    hub = remote.remote(job("/no/such/clip.mp4"))
    with pytest.raises(SourceError, match="/no/such/clip"):
        ask(local_ray, hub.start.remote())
    with pytest.raises(GraphError, match=r"there is none.*found 'door'"):
        ask(local_ray, hub.pause.remote("door"))
    with pytest.raises(GraphError, match=r"^the hub: unhashable type") as other:
        ask(local_ray, hub.pause.remote(["door"]))
    assert "\n" not in str(other.value)
    local_ray.kill(hub)


def test_a_hub_that_does_not_answer_in_time_is_told(local_ray: Any) -> None:
    class Slow:
        def status(self) -> None:
            import time

            time.sleep(5.0)

    slow = local_ray.remote(num_cpus=0)(Slow).remote()
    with pytest.raises(GraphError, match=r"the hub: expected an answer within 0\.2 s, found none"):
        ask(local_ray, slow.status.remote(), 0.2)
    local_ray.kill(slow)
