"""Eight streams on Ray while everything around them breaks; the long form is ``chaos.py``.

Its limits are wide, since the machine may be busy with other things: what must not happen at all
(a wrong LIVE, a broken promise in the log, a stream that does not come back, a process left behind,
spilled objects) needs no clock.
"""

from pathlib import Path

import pytest

from tests.deploy.chaos import ChaosParams, ChaosReport, run_chaos
from tests.deploy.chaos_watch import Limits

pytest.importorskip("ray")

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(900)]

PARAMS = ChaosParams(
    seconds=70.0,
    seed=5,
    file_seconds=25.0,
    kill_every=(12.0, 20.0),
    frozen=0.3,
    limits=Limits(hang=90.0, back=60.0, rss_growth=0.5, rss_slack=300.0),
)


@pytest.fixture(scope="module")
def report(models: Path, tmp_path_factory: pytest.TempPathFactory) -> ChaosReport:
    """One run that all tests look at."""
    folder = tmp_path_factory.mktemp("chaos")
    report = run_chaos(PARAMS, folder, folder / "events.jsonl")
    print(report)
    return report


def test_nothing_failed(report: ChaosReport) -> None:
    assert not report.failures, "\n".join(report.failures)


def test_there_was_chaos_enough(report: ChaosReport) -> None:
    assert len(report.seen.kills) >= 3
    assert sum(report.disturbances.values()) >= 3
    assert report.check.losses >= 3
    assert any(kill.back for kill in report.seen.kills)


def test_verdicts_were_given_all_the_same(report: ChaosReport) -> None:
    assert report.seen.verdicts["live", "LIVE"] > 0
    assert report.seen.verdicts["screen", "SPOOF"] > 0
    assert report.seen.live_after_loss > 0, "a living face is LIVE again after a loss"
