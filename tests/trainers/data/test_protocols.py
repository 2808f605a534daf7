"""Protocols: the published counts, and that nobody stands on both sides."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padflow.trainers.data import (
    DataError,
    Dataset,
    Sample,
    Split,
    check_disjoint,
    load_protocol,
    protocols,
    read_dataset,
    split,
)
from padflow.trainers.data.protocols import Protocol, Rule, draw_parts


@pytest.fixture(scope="module")
def releases(whole_releases: dict[str, Path]) -> dict[str, Dataset]:
    return {name: read_dataset(name, folder) for name, folder in whole_releases.items()}


OULU = {
    "oulu-1": ("", (240, 960), (180, 720), (120, 480)),
    "oulu-2": ("", (360, 720), (270, 540), (360, 720)),
    "oulu-3": ("123456", (300, 1200), (225, 900), (60, 240)),
    "oulu-4": ("123456", (200, 400), (150, 300), (20, 40)),
}
"""METHODS 15.2: folds; live and attack videos of train, dev and test."""


@pytest.mark.parametrize("name", OULU)
def test_oulu_counts_are_the_published_ones(name: str, releases: dict[str, Dataset]) -> None:
    folds, train, dev, test = OULU[name]
    for fold in folds or [""]:
        made = split(releases["oulu-npu"], name, fold)
        assert made.counts() == {"train": train, "dev": dev, "test": test}
        assert "whole release" not in made.report()


@pytest.mark.parametrize("fold", "123456")
def test_oulu_4_tests_on_what_was_never_seen(fold: str, releases: dict[str, Dataset]) -> None:
    made = split(releases["oulu-npu"], "oulu-4", fold)
    assert {s.camera for s in made.test} == {fold}
    for name in ("person", "session", "camera"):
        seen = {getattr(s, name) for s in (*made.train, *made.dev)}
        assert not seen & {getattr(s, name) for s in made.test}
    media = {s.medium for s in (*made.train, *made.dev) if s.medium}
    assert media == {"printer1", "display1"}
    assert {s.medium for s in made.test if s.medium} == {"printer2", "display2"}


@pytest.mark.parametrize("name", protocols())
def test_every_fold_of_every_protocol_splits_its_release(
    name: str, releases: dict[str, Dataset]
) -> None:
    rules = load_protocol(name)
    data = [releases[d] for d in rules.datasets] or [releases["celeba-spoof"]]
    if name == "siw-mv2-1":
        return check_siw_m_lists(releases["siw-m"])
    for fold in rules.folds:
        if name == "leave-one-species-out" and fold["name"] == "makeup":
            continue
        made = split(data, name, fold["name"])
        check_disjoint(made)
        assert made.expected in ({}, made.counts())
    return None


def check_siw_m_lists(data: Dataset) -> None:
    """The lists of the release put every third video into test."""
    parts = [replace(s, split="train" if i % 3 else "test") for i, s in enumerate(data.samples)]
    made = split(replace(data, samples=tuple(parts)), "siw-mv2-1")
    assert len(made.test) == len(range(0, len(parts), 3))


def test_siw_holds_out_media_and_species(releases: dict[str, Dataset]) -> None:
    made = split(releases["siw"], "siw-2", "asus")
    assert {s.medium for s in made.test} == {"", "asus"}
    assert {s.medium for s in (*made.train, *made.dev)} == {
        *("", "ipad-pro", "iphone-7-plus", "galaxy-s8"),
    }
    back = split(releases["siw"], "siw-3", "replay-to-print")
    assert {s.species for s in (*back.train, *back.dev)} == {"live", "screen"}
    assert {s.species for s in back.test} == {"live", "print"}
    assert split(releases["siw"], "siw-1").train_frames == 60


def test_mcio_tests_on_the_whole_of_the_dataset_left_out(releases: dict[str, Dataset]) -> None:
    data = [releases[n] for n in ("msu-mfsd", "casia-fasd", "replay-attack", "oulu-npu", "nuaa")]
    made = split(data, "mcio", "omi-to-c")
    assert made.counts()["test"] == (150, 450)
    for part in (made.train, made.dev):
        assert {s.dataset for s in part} == {"msu-mfsd", "replay-attack", "oulu-npu"}


def test_leave_one_species_out_trains_without_it(releases: dict[str, Dataset]) -> None:
    made = split(releases["celeba-spoof"], "leave-one-species-out", "screen")
    assert {s.species for s in made.test} == {"live", "screen"}
    assert "screen" not in {s.species for s in (*made.train, *made.dev)}


def test_3dmad_leaves_one_client_out(releases: dict[str, Dataset]) -> None:
    for client in range(1, 18):
        made = split(releases["3dmad"], "3dmad", f"{client:02d}")
        assert {s.person for s in made.test} == {f"{client:02d}"}
        assert len({s.person for s in made.dev}) == 8


def test_protocol_that_shares_persons_says_so(releases: dict[str, Dataset]) -> None:
    made = split(releases["nuaa"], "nuaa")
    assert made.shares_persons
    assert "persons stand on both sides" in made.report()
    with pytest.raises(DataError, match="every person in one part only"):
        check_disjoint(replace(made, shares_persons=""))
    assert [n for n in protocols() if load_protocol(n).shares_persons] == ["nuaa"]


def test_incomplete_release_is_told_beside_the_true_counts(
    releases: dict[str, Dataset],
) -> None:
    whole = releases["oulu-npu"]
    kept = tuple(s for s in whole.samples if s.path.stem != "1_3_36_1")
    made = split(replace(whole, samples=kept), "oulu-1")
    assert "test: 119 live, 480 attack (whole release: 120, 480)" in made.report()


def some_samples(parts: str) -> tuple[Sample, ...]:
    """A live and an attack sample for every letter, of one person each."""
    made = []
    for at, letter in enumerate(parts):
        part = {"r": "train", "d": "dev", "t": "test"}[letter]
        live = Sample(Path(f"{at}l.mp4"), "x", "live", "live", person=str(at), split=part)  # type: ignore[arg-type]
        attack = replace(live, path=Path(f"{at}a.mp4"), label="attack", species="print")
        made += [live, attack]
    return tuple(made)


OWN_PARTS = Protocol(
    "own", "", "", (Rule(split=("train",)),), (Rule(split=("test",)),), (Rule(split=("dev",)),)
)


def test_person_on_both_sides_is_refused_by_name() -> None:
    samples = [replace(s, person="Ann") for s in some_samples("rdt")]
    with pytest.raises(DataError, match=r"every person .* in train and dev, x/Ann among them"):
        split(Dataset("x", Path(), tuple(samples)), OWN_PARTS)


def test_frames_of_one_recording_on_both_sides_are_refused() -> None:
    samples = [
        replace(s, person="", clip="v1" if s.label == "live" else s.path.name)
        for s in some_samples("rdt")
    ]
    with pytest.raises(DataError, match=r"every recording .* x/v1 among them"):
        split(Dataset("x", Path(), tuple(samples)), OWN_PARTS)


def test_samples_of_unknown_persons_are_counted() -> None:
    samples = tuple(replace(s, person="") for s in some_samples("rdt"))
    made = split(Dataset("x", Path(), samples), OWN_PARTS)
    assert check_disjoint(made) == 6
    assert "6 samples of unknown persons" in made.report()


def test_same_name_in_two_datasets_is_two_people() -> None:
    ours = [replace(s, person="1", dataset=s.split) for s in some_samples("rdt")]
    made = split(Dataset("x", Path(), tuple(ours)), OWN_PARTS)
    assert made.counts() == {"train": (1, 1), "dev": (1, 1), "test": (1, 1)}


def test_part_without_live_or_attack_samples_is_an_error() -> None:
    samples = tuple(s for s in some_samples("rdt") if s.split != "test" or s.label == "live")
    with pytest.raises(DataError, match=r"live and attack samples in test, found 1 and 0"):
        split(Dataset("x", Path(), samples), OWN_PARTS)


def test_dataset_that_a_protocol_needs_is_named(releases: dict[str, Dataset]) -> None:
    with pytest.raises(DataError, match="read casia-fasd too"):
        split(releases["replay-attack"], "casia-replay", "casia-to-replay")


def test_unknown_names_are_answered_with_the_nearest(releases: dict[str, Dataset]) -> None:
    with pytest.raises(DataError, match=r"found 'oulu1'; did you mean 'oulu-1'"):
        split(releases["oulu-npu"], "oulu1")
    with pytest.raises(DataError, match=r"protocol oulu-3, fold: expected one of 1, 2, 3"):
        split(releases["oulu-npu"], "oulu-3", "7")
    with pytest.raises(DataError, match=r"protocol oulu-3, fold: expected one of 1, 2, 3"):
        split(releases["oulu-npu"], "oulu-3")


def test_protocol_of_ones_own_is_read_from_a_file(
    tmp_path: Path, releases: dict[str, Dataset]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ntitle: low quality only\nsource: me\n"
        "train: [{split: [train], camera: [low]}]\ntest: [{split: [test], camera: [low]}]\n"
    )
    made = split(releases["casia-fasd"], file)
    assert made.counts() == {"train": (16, 48), "dev": (4, 12), "test": (30, 90)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: x\ntitle: x\nsource: x\ntrain: [{camra: [low]}]\ntest: []\n",
            "did you mean 'camera'",
        ),
        ("name: x\ntitle: x\nsource: x\ntest: []\n", r"train: expected a value"),
        ("name: [\n", "expected YAML"),
        ("name: " + "[" * 3000 + "]" * 3000, "nested deeper than can be read"),
        (
            "name: x\ntitle: x\nsource: x\ntrain: [{camera: ['{phone}']}]\ntest: []\n",
            "expected one of name, found 'phone'",
        ),
        (
            "name: x\ntitle: x\nsource: x\ntrain: []\ntest: []\nfolds: [{phone: '1'}]\n",
            "a name of its own for every fold",
        ),
        (
            "name: x\ntitle: x\nsource: x\ntrain: [{person: ['{']}]\ntest: [{}]\n",
            "expected names of the fold in braces, found Single",
        ),
    ],
)
def test_malformed_protocol_is_told_in_a_sentence(
    text: str, expected: str, tmp_path: Path, releases: dict[str, Dataset]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=expected):
        split(releases["casia-fasd"], file)


def split_or_none(data: Dataset) -> Split | None:
    """The split by person, or None where a part has no live or no attack sample."""
    try:
        return split(data, "by-person")
    except DataError as error:
        if "expected live and attack samples" not in str(error):
            raise
        return None


names = st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=40)


@settings(max_examples=60, deadline=None)
@given(names, st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_drawn_parts_hold_their_shares_whatever_the_names(
    found: set[str], dev: float, test: float
) -> None:
    drawn = draw_parts(found, dev, test)
    assert drawn == draw_parts(sorted(found, reverse=True), dev, test)
    sizes = {part: list(drawn.values()).count(part) for part in ("train", "dev", "test")}
    assert sum(sizes.values()) == len(found)
    assert min(sizes.values()) >= 1
    assert abs(sizes["test"] - test * len(found)) <= 1
    assert abs(sizes["dev"] - dev * len(found)) <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["live", "print", "screen"]), st.integers(0, 12)),
        min_size=1,
        max_size=120,
    )
)
def test_by_person_split_is_disjoint_or_refused(drawn: list[tuple[str, int]]) -> None:
    samples = tuple(
        Sample(
            Path(f"{at}.mp4"),
            "plain",
            "live" if species == "live" else "attack",
            species,
            person=str(person) if person else "",
        )
        for at, (species, person) in enumerate(drawn)
    )
    data = Dataset("plain", Path(), samples)
    made = split_or_none(data)
    if made is None:
        return
    assert len(made.train) + len(made.dev) + len(made.test) == len(samples)
    sides = [{s.person for s in part if s.person} for part in (made.train, made.dev, made.test)]
    assert sum(map(len, sides)) == len(set().union(*sides))
