"""The limit of open files is raised for runs of many sources, and told where that cannot be."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

import padflow
from padflow.deploy.cli import main
from padflow.deploy.exits import UsageError
from padflow.deploy.open_files import demand_room_for_files, room_for_files
from padflow.deploy.session import RunRequest
from padflow.graph.ray_options import RayOptions

LOW = 300
HERE = padflow.RunOptions(workers=0)


def limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.fixture
def low() -> Iterator[int]:
    """A soft limit as low as a shell's; gives the system's own."""
    before = limits()
    resource.setrlimit(resource.RLIMIT_NOFILE, (LOW, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_many_sources_may_all_be_open_while_they_run(low: int) -> None:
    request = RunRequest(("a.mp4",) * 700, options=HERE)
    with room_for_files(request):
        assert 700 < limits()[0] <= 1000
        assert limits()[1] == low
    assert limits() == (LOW, low)
    with pytest.raises(ValueError, match="of the run"), room_for_files(request):
        raise ValueError("of the run")
    assert limits() == (LOW, low)


@pytest.mark.parametrize(
    "asked",
    [
        RunRequest(("a.mp4",) * 40, options=HERE),
        RunRequest(("a.mp4",) * 400, options=padflow.RunOptions(workers=10)),
        RunRequest(("a.mp4",) * 4000, ray=RayOptions()),
    ],
    ids=["few", "spread", "on Ray"],
)
def test_a_limit_that_suffices_is_left_alone(low: int, asked: RunRequest) -> None:
    with room_for_files(asked):
        assert limits() == (LOW, low)


def test_a_program_is_told_what_it_lacks_and_its_limit_is_left_alone(
    low: int, grey_clip: Path
) -> None:
    told = "expected a limit of open files of at least 316 for this process.* found 300; raise it"
    with pytest.raises(UsageError, match=f"300 sources: {told}"):
        next(padflow.run([str(grey_clip)] * 300, options=HERE))
    assert limits() == (LOW, low)
    demand_room_for_files(RunRequest((str(grey_clip),) * 284, options=HERE))
    spread = padflow.RunOptions(workers=10)
    demand_room_for_files(RunRequest((str(grey_clip),) * 300, options=spread))
    demand_room_for_files(RunRequest((str(grey_clip),) * 4000, ray=RayOptions()))
    assert next(padflow.run([str(grey_clip)], options=HERE))["type"] == "padflow.source.v1"


def test_more_sources_than_the_system_allows_are_refused_before_anything_is_opened(
    live_clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as system:
        system.setattr(resource, "getrlimit", lambda kind: (60, 100))
        words = ["run", *[str(live_clip)] * 90, "--workers", "0", "--quiet"]
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            "padflow run: 90 sources: expected a limit of open files of at least"
        )
        assert "found 100; raise it" in line
        request = RunRequest(("a.mp4",) * 50, video=Path("v.mp4"), options=HERE)
        with pytest.raises(UsageError, match="50 sources"), room_for_files(request):
            pass
