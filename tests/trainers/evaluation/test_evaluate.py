"""The evaluation of scored presentations, and the page that tells of it."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from padflow.trainers.evaluation.evaluate import EvaluationSet, Fold, Settings, evaluate
from padflow.trainers.evaluation.metrics import EvaluationError
from padflow.trainers.evaluation.pictures import picture_of
from padflow.trainers.evaluation.presentations import (
    Known,
    Presentation,
    Scored,
    as_scores,
    joined,
    read_scores,
)
from padflow.trainers.evaluation.report import report_page

QUICK = Settings(resamples=50)


def shown(
    item: str, p_live: float | None, kind: str = "", person: str = "", state: str = ""
) -> Presentation:
    """A presentation; ``kind`` is species:instrument of attacks."""
    species = kind.partition(":")[0]
    instrument = kind if ":" in kind else ""
    decided = state or ("UNDECIDED" if p_live is None else "LIVE" if p_live > 0.5 else "SPOOF")
    known = Known(
        item=item, live=not kind, species=species, instrument=instrument, person=person or item
    )
    return Presentation(known, Scored(p_live=p_live, state=decided, llr={}))


BY_HAND = [
    *(shown(f"l{i}", p, person=f"p{i}") for i, p in enumerate([0.9, 0.8, 0.3, None])),
    *(shown(f"a{i}", p, "print:a", f"p{i}") for i, p in enumerate([0.6, 0.2])),
    *(shown(f"b{i}", p, "print:b", f"p{i}") for i, p in enumerate([0.1, 0.1])),
    *(shown(f"s{i}", p, "screen", f"p{i}") for i, p in enumerate([0.4, None])),
    shown("broken", None, "screen", state="ERROR"),
]


def of_one(
    some: list[Presentation], settings: Settings = QUICK, name: str = "set"
) -> dict[str, Any]:
    (found,) = evaluate([EvaluationSet(name, [Fold("", some)])], settings)["sets"][0]["folds"]
    return dict(found)


def test_a_set_worked_by_hand() -> None:
    found = of_one(BY_HAND, Settings(threshold=0.5, resamples=50))
    point = found["operating_points"][0]
    assert point["threshold_p_live"] == pytest.approx(0.5)
    strict, papers = point["strict"], point["papers"]
    assert {s: r["value"] for s, r in strict["apcer"].items()} == {
        "print:a": 0.5,
        "print:b": 0.0,
        "screen": 0.0,
    }
    assert {s: r["value"] for s, r in papers["apcer"].items()} == {"print": 0.25, "replay": 0.0}
    assert strict["max_apcer"]["value"] == 0.5
    assert papers["max_apcer"]["value"] == 0.25
    assert strict["bpcer"]["value"] == pytest.approx(1 / 3)
    assert strict["acer"]["value"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert strict["hter"]["value"] == pytest.approx((1 / 5 + 1 / 3) / 2)
    for rate in (strict["max_apcer"], strict["bpcer"], strict["acer"]):
        assert rate["low"] <= rate["value"] <= rate["high"]


@pytest.mark.parametrize("threshold", [0.1105, 0.476, 0.5, 0.054188])
def test_a_score_at_a_fixed_threshold_is_accepted(threshold: float) -> None:
    some = [shown("l", threshold), shown("a", threshold, "print"), shown("b", 0.01, "print")]
    point = of_one(some, Settings(threshold=threshold, resamples=50))["operating_points"][0]
    assert point["strict"]["bpcer"]["value"] == 0.0
    assert point["strict"]["max_apcer"]["value"] == 0.5


def test_non_responses_and_items_that_failed_are_told_apart() -> None:
    found = of_one(BY_HAND)
    assert found["counts"]["failed"] == ["broken"]
    assert found["counts"]["attacks"] == {"print:a": 2, "print:b": 2, "screen": 2}
    none = found["non_response"]
    assert none["bpnrr"]["value"] == 0.25
    assert {s: r["value"] for s, r in none["apnrr"].items()} == {
        "print:a": 0.0,
        "print:b": 0.0,
        "screen": 0.5,
    }
    verdicts = found["verdicts"]
    assert verdicts["counts"]["screen"] == {"SPOOF": 1, "UNDECIDED": 1}
    assert verdicts["strict"]["bpcer"]["value"] == 0.5, "who is not let in is rejected"


def test_thresholds_come_from_dev_where_there_is_one() -> None:
    dev = [shown("d0", 0.95), shown("d1", 0.85, "print")]
    fold = Fold("", BY_HAND, dev)
    points = evaluate([EvaluationSet("set", [fold])], QUICK)["sets"][0]["folds"][0][
        "operating_points"
    ]
    assert points[0]["name"] == "dev EER"
    assert 0.85 < points[0]["threshold_p_live"] < 0.95
    assert points[0]["strict"]["bpcer"]["value"] == 1.0
    assert points[-1]["name"] == "test EER"
    assert "optimistic" in points[-1]["threshold_from"]


def test_no_error_at_all_is_no_certainty() -> None:
    some = [shown(f"l{i}", 0.9, person=f"p{i % 5}") for i in range(20)]
    some += [shown(f"a{i}", 0.1, "print", person=f"p{i % 5}") for i in range(20)]
    summary = of_one(some)["summary"]
    assert (summary["eer"]["value"], summary["auc"]["value"]) == (0.0, 1.0)
    assert summary["eer"]["high"] > 0.3, "five people only"
    assert summary["auc"]["low"] < 0.5
    assert summary["bpcer_at_apcer_1"]["high"] > 0.3


def test_folds_are_summed_up_as_mean_and_standard_deviation() -> None:
    good = [shown("l", 0.9), shown("a", 0.1, "print")]
    bad = [shown("l", 0.1), shown("a", 0.9, "print")]
    found = evaluate([EvaluationSet("P3", [Fold("1", good), Fold("2", bad)])], QUICK)["sets"][0]
    assert found["mean_and_std"]["auc"] == {
        "mean": 0.5,
        "std": pytest.approx(np.sqrt(0.5)),
        "folds": 2,
    }
    assert "± 70.7" in report_page(
        evaluate([EvaluationSet("P3", [Fold("1", good), Fold("2", bad)])], QUICK)
    )


@pytest.mark.parametrize("first", [0, 1])
def test_folds_without_a_threshold_from_dev_are_mixed_with_no_others(first: int) -> None:
    test = [shown("l", 0.9), shown("m", 0.3), shown("a", 0.1, "print"), shown("b", 0.6, "print")]
    answered = Fold("1", test, [shown("d", 0.98), shown("e", 0.94, "print")])
    silent = Fold("2", test, [shown("d", None), shown("e", 0.8, "print")])
    folds = [answered, silent] if first == 0 else [silent, answered]
    spread = evaluate([EvaluationSet("P3", folds)], QUICK)["sets"][0]["mean_and_std"]
    assert spread["test EER, strict: bpcer"] == {"mean": 0.5, "std": 0.0, "folds": 2}
    assert not [name for name in spread if name.startswith("dev")]


def test_the_cross_set_table_takes_the_threshold_of_one_set_to_the_other() -> None:
    low = [shown("l", 0.4), shown("a", 0.1, "print")]
    high = [shown("m", 0.9), shown("b", 0.6, "screen")]
    sets = [EvaluationSet("low", [Fold("", low)]), EvaluationSet("high", [Fold("", high)])]
    rows = {(r["threshold_from"], r["tested_on"]): r for r in evaluate(sets, QUICK)["cross_set"]}
    assert rows["low", "low"]["hter"] == 0.0
    assert rows["low", "high"]["hter"] == 0.5
    assert rows["low", "high"]["max_apcer"] == 1.0
    assert rows["high", "low"]["bpcer"] == 1.0


def test_a_system_without_a_score_still_gets_its_report() -> None:
    some = [shown("l", None), shown("a", None, "print")]
    found = evaluate([EvaluationSet("set", [Fold("", some)])], QUICK)
    fold = found["sets"][0]["folds"][0]
    assert fold["non_response"]["bpnrr"]["value"] == 1.0
    assert fold["summary"] == {}
    page = report_page(found)
    assert "no scores of both classes" in page
    assert "BPNRR" in page


def test_a_set_of_one_class_is_told() -> None:
    with pytest.raises(EvaluationError, match="found 1 and 0"):
        of_one([shown("l", 0.5)])


def test_presentations_of_unknown_person_are_persons_of_their_own() -> None:
    known = [Known(item=str(i), live=True) for i in range(3)]
    scores = as_scores([Presentation(k, Scored(p_live=1.0)) for k in known], strict=True)
    assert len(set(scores.person)) == 3
    assert np.isfinite(scores.score).all(), "p_live of 1 is not infinite log-odds"


def pixels_of(jpeg: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


class Page(HTMLParser):
    """Notes tags and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br") and f"</{tag}>" in self.rawdata:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes another tag"


def test_the_page_is_whole_self_contained_and_the_same_twice(tmp_path: Path) -> None:
    picture = tmp_path / "<l0>.png"
    cv2.imwrite(str(picture), np.full((600, 400, 3), 90, np.uint8))
    some = [shown(str(picture), 0.1, person="p"), *BY_HAND[:-1]]
    found = evaluate([EvaluationSet("A & B", [Fold("", some)])], QUICK)
    page = report_page(found, picture_of)
    assert page == report_page(
        evaluate([EvaluationSet("A & B", [Fold("", some)])], QUICK), picture_of
    )
    json.dumps(found, allow_nan=False)
    assert "A &amp; B" in page
    assert "<l0>" not in page
    parser = Page()
    parser.feed(page)
    assert parser.open == []
    assert parser.seen.count("svg") == 3
    assert "script" not in parser.seen
    assert len(parser.loads) == 1, "the other items are no files"
    assert parser.loads[0].startswith("data:image/jpeg;base64,")
    data = base64.b64decode(parser.loads[0].partition(",")[2])
    assert pixels_of(data).shape == (200, 133, 3)
    assert "not a conformity assessment" in page
    assert re.search(r"ACER, EER, HTER and AUC are academic usage", page)


def test_pictures_of_folders_and_of_nothing(tmp_path: Path) -> None:
    for number, value in enumerate((10, 200, 10)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, 50, 3), value, np.uint8))
    data = picture_of(str(tmp_path))
    assert data is not None
    picture = pixels_of(data)
    assert picture.shape == (40, 50, 3), "never enlarged"
    assert abs(int(picture.mean()) - 200) <= 2, "the middle one"
    rubbish = tmp_path / "rubbish.mp4"
    rubbish.write_text("no video")
    assert picture_of(str(rubbish)) is None
    assert picture_of(str(tmp_path / "nothing.png")) is None


SCORES = "item,frames,frames_with_face,p_live,state,llr_depth\n"


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(SCORES + "a,1,1,0.250000,SPOOF,-1.0\nb,1,0,,UNDECIDED,\n")
    assert read_scores(path) == {
        "a": Scored(p_live=0.25, state="SPOOF", llr={"depth": -1.0}),
        "b": Scored(p_live=None, state="UNDECIDED", llr={}),
    }


WRONG = {
    "no column": ("item,score\na,1\n", "column p_live"),
    "empty": ("", "column item"),
    "no number": (SCORES + "a,1,1,high,LIVE,\n", "line 2: expected a number"),
    "nan": (SCORES + "a,1,1,nan,LIVE,\n", "line 2: expected a number"),
    "beyond": (SCORES + "a,1,1,1.5,LIVE,\n", "from 0 to 1"),
    "twice": (SCORES + "a,1,1,0.5,LIVE,\na,1,1,0.5,LIVE,\n", "line 3: a has a row already"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_scores_that_are_none_are_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=told):
        read_scores(path)


def test_a_presentation_without_a_row_is_named() -> None:
    with pytest.raises(EvaluationError, match="first b"):
        joined(
            [Known(item="a", live=True), Known(item="b", live=True)], {"a": Scored(p_live=1)}, "x"
        )
