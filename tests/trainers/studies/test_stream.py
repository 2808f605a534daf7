"""The stream study: folds share nothing they must not share, and tables say what happened."""

import pytest

from padflow.nodes.policy import Policy
from padflow.trainers.fusion import FusionRecipe, watched
from padflow.trainers.studies.stream import (
    PROTOCOLS,
    ablation,
    decisions,
    folds,
    ladder_of,
    stream_study,
)
from padflow.trainers.studies.stream_text import stream_text

from ..recordings import Cue, World, recordings

RECIPE = FusionRecipe(task="a test", cues=("context", "pulse"), seconds=(2.0,), subsets=2)
SEEN = watched(recordings(World({"context": Cue(mean=3.0), "pulse": Cue(mean=0.0)}, clips=2)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_protocol_calls_new_is_new(protocol: str) -> None:
    made = list(folds(SEEN, protocol))
    assert made
    for fold in made:
        learned = [one.presentation for one in fold.learn]
        for judged in (one.presentation for one in fold.judge):
            assert judged not in learned
            if protocol in ("S1", "S4", "LOSO"):
                assert judged.person not in {p.person for p in learned}
            if protocol in ("S2", "S4") and not judged.live:
                assert judged.medium not in {p.medium for p in learned}
            if protocol in ("S3", "S4"):
                assert judged.camera not in {p.camera for p in learned}
            if protocol == "LOSO" and not judged.live:
                assert judged.species not in {p.species for p in learned}


def test_every_recording_is_judged_once_on_s1() -> None:
    judged = [one.presentation.item for fold in folds(SEEN, "S1") for one in fold.judge]
    assert sorted(judged) == sorted(one.presentation.item for one in SEEN)


def test_the_ladder_climbs_one_cue_at_a_time() -> None:
    ladder = ladder_of(("pulse", "depth", "context", "motion"))
    assert ladder["depth"] == ("depth",)
    assert ladder["+ context"] == ("depth", "context")
    assert ladder["+ motion"] == ("depth", "context", "motion")
    assert ladder["+ pulse"] == ("depth", "context", "motion", "pulse")
    assert ladder["all but motion"] == ("depth", "context", "pulse")
    around = ladder_of(("pulse", "depth", "context"), ("depth", "context"))
    assert around["base"] == ("depth", "context")
    assert around["base + pulse"] == ("depth", "context", "pulse")
    assert around["base but depth"] == ("context",)


def test_a_cue_that_tells_beats_one_that_does_not() -> None:
    ladder = {"context": ("context",), "pulse": ("pulse",)}
    columns = ablation(SEEN, ladder, RECIPE, protocols=("S1",), resamples=20)["S1"]["columns"]
    assert columns["context"]["auc"]["value"] > 0.99
    assert columns["context"]["acer"]["value"] < 0.05
    assert 0.2 < columns["pulse"]["auc"]["value"] < 0.8


def test_a_gain_is_what_changes_when_a_cue_comes() -> None:
    cues = {"context": Cue(mean=3.0), "pulse": Cue(mean=0.0), "depth": Cue(mean=0.5, lasting=1.0)}
    seen = watched(recordings(World(cues, clips=2)))
    ladder = ladder_of(tuple(cues), ("depth",))
    made = ablation(seen, ladder, RECIPE, base=("depth",), protocols=("S1",), resamples=50)["S1"]
    columns, gains = made["columns"], made["gains"]
    assert set(gains) == {"context", "pulse"}
    context, alone = gains["context"], columns["depth"]
    together = columns["base + context"]
    for key in ("acer", "eer", "auc"):
        expected = together[key]["value"] - alone[key]["value"]
        assert context[key]["value"] == pytest.approx(expected)
    assert context["mended"] - context["spoiled"] == alone["errors"] - together["errors"]
    assert context["acer"]["value"] < 0 < context["auc"]["value"]


RECIPE_OF_CONTEXT = FusionRecipe(task="a test", cues=("context",), seconds=(2.0,))


def test_decisions_tell_when_and_how() -> None:
    strong = watched(recordings(World({"context": Cue(mean=5.5, passing=0.1)}, clips=2)))
    told = decisions(strong, RECIPE_OF_CONTEXT)
    assert told["live"]["live"] == 1.0
    assert told["live"]["wrong_ever"] == 0.0
    assert 0.8 <= told["live"]["median"] <= 1.0
    assert told["print"]["spoof"] == 1.0
    assert told["live"]["by_second"]["1"]["LIVE"] == 1.0
    patient = decisions(strong, RECIPE_OF_CONTEXT, Policy(early=None))
    assert 1.4 <= patient["live"]["median"] <= 2.0
    assert patient["live"]["by_second"]["1"]["UNDECIDED"] == 1.0
    assert told["live"]["by_second"]["3"]["LIVE"] == 1.0
    assert told["live"]["by_second"]["15"] is None


def test_the_page_says_it_all() -> None:
    found = stream_study(SEEN, RECIPE, base=("context",), protocols=("S1",), resamples=20)
    text = stream_text(found)
    assert "### S1" in text
    assert "| all but pulse |" in text
    assert "What each cue changes beside context" in text
    assert "### Time to a decision" in text


def test_one_person_leaves_nothing_to_learn_from() -> None:
    alone = watched(recordings(World(people=1)))
    found = ablation(alone, {"context": ("context",)}, RECIPE, protocols=("S1",))
    assert "left_out" in found["S1"]
