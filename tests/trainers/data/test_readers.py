"""Readers over generated trees with the true names and counts of the releases."""

import json
from collections import Counter
from pathlib import Path

import pytest

from padflow.trainers.data import DataError, Dataset, layouts, read_dataset
from padflow.trainers.data.celeba import celeba_box
from padflow.trainers.data.layouts import detect_layout
from padflow.trainers.data.sample import SPECIES, counts
from tests.trainers.data import trees

RELEASES: dict[str, tuple[dict[str, tuple[int, int]], int]] = {
    "oulu-npu": (
        {"train": (360, 1440), "dev": (270, 1080), "test": (360, 1440)},
        55,
    ),
    "casia-fasd": ({"train": (60, 180), "test": (90, 270)}, 50),
    "replay-attack": (
        {"train": (60, 300), "dev": (60, 300), "test": (80, 400)},
        50,
    ),
    "msu-mfsd": ({"train": (30, 90), "test": (40, 120)}, 35),
    "siw": ({"train": (720, 1440), "test": (600, 1200)}, 165),
    "siw-m": ({"": (660, 968)}, 1),
    "3dmad": ({"": (170, 85)}, 17),
    "hkbu-mars": ({"": (504, 504)}, 12),
    "celeba-spoof": ({"train": (4, 40), "test": (4, 40)}, 8),
    "nuaa": ({"train": (2, 2), "test": (2, 1)}, 3),
}
"""Layout: live and attack samples of its parts, persons."""


@pytest.mark.parametrize("layout", RELEASES)
def test_whole_release_is_read_with_its_counts(
    layout: str, whole_releases: dict[str, Path]
) -> None:
    expected, persons = RELEASES[layout]
    found = read_dataset(layout, whole_releases[layout])
    assert counts(found.samples) == expected
    assert len({s.person for s in found.samples}) == persons
    assert found.complete, found.report()
    for sample in found.samples:
        assert sample.dataset == layout
        assert (sample.label == "live") == (sample.species == "live")
        assert sample.species in SPECIES
        if sample.instrument:
            assert sample.instrument.startswith(sample.species + ":")
        assert sample.path.is_file()
    assert len({s.path for s in found.samples}) == len(found.samples)


@pytest.mark.parametrize("layout", [name for name in RELEASES if name != "hkbu-mars"])
def test_layout_is_told_by_its_folders(layout: str, whole_releases: dict[str, Path]) -> None:
    assert detect_layout(whole_releases[layout]) == layout


def test_every_layout_has_a_tree(whole_releases: dict[str, Path]) -> None:
    assert {*RELEASES, "plain"} == set(layouts()) == {*whole_releases, "plain"}


def test_oulu_name_is_understood(tmp_path: Path) -> None:
    trees.touch(tmp_path, ["Test_files/1_3_36_1.avi", "Train_files/6_2_20_5.avi"])
    samples = {s.path.stem: s for s in read_dataset("oulu-npu", tmp_path).samples}
    live, screen = samples["1_3_36_1"], samples["6_2_20_5"]
    assert (live.label, live.camera, live.session, live.person, live.split) == (
        *("live", "1", "3", "36", "test"),
    )
    assert (screen.species, screen.instrument, screen.medium, screen.split) == (
        *("screen", "screen:display2", "display2", "train"),
    )


def test_missing_unreadable_and_surplus_files_are_named(tmp_path: Path) -> None:
    trees.casia(tmp_path)
    (tmp_path / "train_release/7/HR_2.avi").unlink()
    (tmp_path / "test_release/30/8.avi").write_bytes(b"")
    trees.touch(tmp_path, ["train_release/21/1.avi", "test_release/3/9.avi", "README.txt"])
    trees.touch(tmp_path, ["train_release/1/1.mp4"])
    found = read_dataset("casia-fasd", tmp_path)
    assert found.missing == ("train_release/7/HR_2",)
    assert found.unreadable == ("test_release/30/8.avi",)
    assert set(found.surplus) == {
        *("train_release/21/1.avi", "test_release/3/9.avi", "train_release/1/1.mp4"),
    }
    assert len(found.samples) == 598
    for name in (*found.missing, *found.unreadable, *found.surplus):
        assert name in found.report()


def test_report_of_many_says_how_many_more(tmp_path: Path) -> None:
    trees.touch(tmp_path, ["Train_files/1_1_01_1.avi"])
    found = read_dataset("oulu-npu", tmp_path)
    assert len(found.missing) == 4949
    assert "4949 missing: 1_1_01_2" in found.report()
    assert "and 4941 more" in found.report()


def test_replay_names_what_a_client_lacks_and_counts_absent_clients(tmp_path: Path) -> None:
    trees.replay(tmp_path)
    name = "devel/attack/hand/attack_mobile_client101_session01_mobile_video_adverse.mov"
    (tmp_path / name).unlink()
    for path in tmp_path.rglob("*client119*"):
        path.unlink()
    found = read_dataset("replay-attack", tmp_path)
    assert found.missing == (name.removesuffix(".mov"), "1 of 20 clients of test")


def test_siw_names_live_videos_that_a_subject_lacks(tmp_path: Path) -> None:
    trees.siw(tmp_path, subjects=range(91, 94))
    (tmp_path / "Test/live/092/092-2-1-2-1.mov").unlink()
    (tmp_path / "Test/spoof/092/092-2-3-4-1.mov").unlink()
    missing = read_dataset("siw", tmp_path).missing
    assert missing == ("Test/live/092/092-2-1-2-1", "162 of 165 subjects")


def test_msu_lists_must_not_share_a_client(tmp_path: Path) -> None:
    trees.msu(tmp_path)
    (tmp_path / "test_sub_list.txt").write_text("30\n07\n")
    with pytest.raises(DataError, match=r"test_sub_list.txt: .*each on one list.*found '07'"):
        read_dataset("msu-mfsd", tmp_path)


def test_msu_without_lists_says_which(tmp_path: Path) -> None:
    trees.msu(tmp_path)
    (tmp_path / "train_sub_list.txt").unlink()
    with pytest.raises(DataError, match=r"train_sub_list.txt: expected a text file"):
        read_dataset("msu-mfsd", tmp_path)


def test_siw_m_lists_give_parts_and_what_is_missing(tmp_path: Path) -> None:
    trees.touch(tmp_path, ["Live/Live_1.mov", "Live/Live_2.mov", "Spoof/Paper/Paper_1.mov"])
    trees.touch(tmp_path, ["Spoof/Replay/Replay_1.mov", "Spoof/Makeup/Makeup_Co_1.mov"])
    for name, line in (("trainlist_live", "Live_1"), ("testlist_live", "Live_2")):
        trees.touch(tmp_path, [f"lists/{name}.txt"], line.encode())
    trees.touch(tmp_path, ["lists/trainlist_all.txt"], b"Paper_1\nPaper_1\nMask_Half_3\n")
    trees.touch(tmp_path, ["lists/testlist_all.txt"], b"Replay_1\n")
    found = read_dataset("siw-m", tmp_path)
    assert found.missing == ("Mask_Half_3",)
    assert counts(found.samples) == {"train": (1, 1), "test": (1, 1), "": (0, 1)}


def test_siw_m_without_lists_counts(tmp_path: Path) -> None:
    trees.siw_m(tmp_path)
    (tmp_path / "Live/Live_5.mov").unlink()
    found = read_dataset("siw-m", tmp_path)
    assert "1 of 660 live videos" in found.missing[0]


def test_celeba_boxes_are_scaled_from_their_frame_of_224(tmp_path: Path) -> None:
    found = read_dataset("celeba-spoof", trees.celeba(tmp_path))
    sample = found.samples[0]
    assert celeba_box(sample, 448, 672) == pytest.approx((112.0, 84.0, 224.0, 504.0))
    box = sample.path.with_name(f"{sample.path.stem}_BB.txt")
    box.write_text("56 28 0 168 0.99")
    assert celeba_box(sample, 448, 672) is None
    box.write_text("no box")
    with pytest.raises(DataError, match="x y width height score"):
        celeba_box(sample, 448, 672)
    box.unlink()
    assert celeba_box(sample, 448, 672) is None


def test_celeba_types_are_told_apart(tmp_path: Path) -> None:
    found = read_dataset("celeba-spoof", trees.celeba(tmp_path))
    species = Counter(s.species for s in found.samples)
    assert species == {"live": 8, "print": 40, "screen": 24, "partial": 8, "mask": 8}
    assert len({s.instrument for s in found.samples}) == 11


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"Data/train/1/live/1.png": [0, 1]}', '{"elsewhere/1.png": []}'],
)
def test_celeba_labels_that_are_none_are_refused(content: str, tmp_path: Path) -> None:
    trees.celeba(tmp_path)
    (tmp_path / "metas/intra_test/train_label.json").write_text(content)
    with pytest.raises(DataError, match=r"train_label.json: expected"):
        read_dataset("celeba-spoof", tmp_path)


def test_celeba_label_must_agree_with_its_type(tmp_path: Path) -> None:
    trees.celeba(tmp_path)
    label = [0] * 40 + [7, 1, 1, 0]
    content = json.dumps({"Data/train/1/live/000100.png": label})
    (tmp_path / "metas/intra_test/train_label.json").write_text(content)
    with pytest.raises(DataError, match="of which the last agrees with the type"):
        read_dataset("celeba-spoof", tmp_path)


def test_nuaa_frames_know_their_recording(tmp_path: Path) -> None:
    trees.nuaa_released(tmp_path)
    trees.touch(tmp_path, ["ClientRaw/0001/0001_00_00_01_9.jpg", "ClientFace/0001/x.jpg"])
    (tmp_path / "ImposterRaw/0012/0012_00_00_03_0.jpg").unlink()
    found = read_dataset("nuaa", tmp_path)
    frame = next(s for s in found.samples if s.path.stem == "0002_01_00_01_7")
    assert (frame.person, frame.session, frame.frame) == ("0002", "01-00-01", 7)
    assert frame.clip == "live/0002_01_00_01"
    assert found.missing == ("ImposterRaw/0012/0012_00_00_03_0.jpg",)
    assert found.surplus == ("ClientRaw/0001/0001_00_00_01_9.jpg",)


def test_thinned_nuaa_is_read_by_sequence(tmp_path: Path) -> None:
    live, attack = "live/0003_01_00_01", "attack/print/0008_00_01_02"
    trees.touch(tmp_path, [f"{live}/00000.jpg", f"{live}/00032.jpg", f"{attack}/00001.jpg"])
    trees.touch(tmp_path, ["live/somebody/1.jpg"])
    found = read_dataset("nuaa", tmp_path)
    assert [(s.person, s.label, s.path.name) for s in found.samples] == [
        ("0003", "live", "0003_01_00_01"),
        ("0008", "attack", "0008_00_01_02"),
    ]
    assert found.surplus == ("live/somebody",)


def test_real_nuaa_sequences(shared_data: Path) -> None:
    found = read_dataset("nuaa", shared_data / "nuaa_train")
    assert counts(found.samples) == {"": (16, 45)}
    assert {s.person for s in found.samples} == {f"{n:04d}" for n in range(1, 10)}
    assert found.complete


def test_layout_that_nobody_knows_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found 'oulu'; did you mean 'oulu-npu'"):
        read_dataset("oulu", tmp_path)


@pytest.mark.parametrize("layout", ["oulu-npu", "casia-fasd", "siw", "siw-m", "3dmad", "hkbu-mars"])
def test_folder_with_nothing_usable_is_an_error(layout: str, tmp_path: Path) -> None:
    trees.touch(tmp_path, ["something.bin"])
    with pytest.raises(DataError, match="found nothing usable"):
        read_dataset(layout, tmp_path)


@pytest.mark.parametrize("layout", [*layouts(), "auto"])
def test_folder_that_is_not_there_is_an_error(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder, found none"):
        read_dataset(layout, tmp_path / "gone")


def test_empty_folder_tells_no_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name the layout"):
        read_dataset("auto", tmp_path)


def plain(root: Path, *names: str) -> Dataset:
    return read_dataset("plain", trees.touch(root, names))


def test_plain_items_are_videos_pictures_and_folders_of_frames(tmp_path: Path) -> None:
    found = plain(
        tmp_path,
        *("live/a.mp4", "live/b.jpg", "live/c/0.png", "live/c/1.png", "live/monday/d.mov"),
        *("attack/print/e.mp4", "attack/print/laser/f.mp4", "attack/replay/g.avi"),
    )
    assert found.complete
    assert [(s.clip, s.species, s.instrument, s.session) for s in found.samples] == [
        ("live/a.mp4", "live", "", ""),
        ("live/b.jpg", "live", "", ""),
        ("live/c", "live", "", ""),
        ("live/monday/d.mov", "live", "", "monday"),
        ("attack/print/e.mp4", "print", "", ""),
        ("attack/print/laser/f.mp4", "print", "print:laser", ""),
        ("attack/replay/g.avi", "screen", "", ""),
    ]


def test_plain_names_what_it_cannot_use(tmp_path: Path) -> None:
    for empty in ("live/empty.mp4", "live/c/2.png"):
        trees.touch(tmp_path, [empty], b"")
    (tmp_path / "attack/mask/hollow").mkdir(parents=True)
    found = plain(
        tmp_path, "live/a.mp4", "live/c/1.png", "live/c/x.txt", "notes.doc", "attack/y.mp4"
    )
    assert found.unreadable == ("live/c/2.png", "live/empty.mp4", "attack/mask/hollow")
    assert set(found.surplus) == {"live/c/x.txt", "notes.doc", "attack/y.mp4"}
    assert [s.clip for s in found.samples] == ["live/a.mp4", "live/c"]


def test_plain_names_that_are_no_text_are_unreadable(tmp_path: Path) -> None:
    """They would end the command that writes them after all of its work."""
    found = plain(tmp_path, "live/a.mp4", "live/caf\udce9.mp4", "live/caf\udce9/1.png")
    assert [s.clip for s in found.samples] == ["live/a.mp4"]
    assert set(found.unreadable) == {"live/caf\udce9.mp4", "live/caf\udce9/1.png"}


def test_plain_persons_come_from_the_list(tmp_path: Path) -> None:
    persons = b"item,person\nlive/a.mp4,Ann\nlive/c/,Bob\nlive/gone.mp4,Cem\n"
    trees.touch(tmp_path, ["persons.csv"], persons)
    found = plain(tmp_path, "live/a.mp4", "live/c/1.png", "attack/print/e.mp4")
    assert [s.person for s in found.samples] == ["Ann", "Bob", ""]
    assert found.missing == ("live/gone.mp4 (in persons.csv)",)


def test_plain_list_that_says_two_things_of_an_item_is_refused(tmp_path: Path) -> None:
    once, other = b"item,person\nlive/a.mp4,Ann\nlive/a.mp4,Ann\n", b"live/a.mp4,Bob\n"
    trees.touch(tmp_path, ["persons.csv"], once)
    assert plain(tmp_path, "live/a.mp4").samples[0].person == "Ann"
    trees.touch(tmp_path, ["persons.csv"], once + other)
    with pytest.raises(DataError, match=r"line 4: expected one line for live/a\.mp4"):
        plain(tmp_path, "live/a.mp4")


def test_plain_list_with_another_header_is_refused(tmp_path: Path) -> None:
    trees.touch(tmp_path, ["persons.csv"], b"file,who\nlive/a.mp4,Ann\n")
    with pytest.raises(DataError, match=r"line 2: expected the columns item,person, found file"):
        plain(tmp_path, "live/a.mp4")


def test_plain_species_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found 'maks'; did you mean 'mask'"):
        plain(tmp_path, "attack/maks/a.mp4")
