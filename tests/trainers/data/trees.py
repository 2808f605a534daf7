"""Datasets as they lie on disk, with their true names; every file holds one byte."""

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path

TRAIN_CLIENTS = (1, 2, 4, 6, 7, 8, 12, 16, 18, 25, 27, 103, 105, 108, 110)
DEVEL_CLIENTS = (3, 5, 10, 13, 15, 22, 26, 28, 30, 31, 101, 106, 111, 113, 114)
TEST_CLIENTS = (9, 11, 14, 17, 19, 20, 21, 23, 24, 29, 102, 104, 107, 109, 112, *range(115, 120))


def touch(root: Path, names: Iterable[str], content: bytes = b"x") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def oulu(root: Path) -> Path:
    def folder(user: int) -> str:
        return "Train_files" if user <= 20 else "Dev_files" if user <= 35 else "Test_files"

    grid = product(range(1, 56), range(1, 7), range(1, 4), range(1, 6))
    videos = [f"{folder(u)}/{p}_{s}_{u:02d}_{f}.avi" for u, p, s, f in grid]
    return touch(root, [*videos, "Train_files/1_1_01_1.txt", "Protocols/Protocol_1/Train.txt"])


def casia(root: Path) -> Path:
    videos = [*map(str, range(1, 9)), *(f"HR_{n}" for n in range(1, 5))]
    train = [f"train_release/{s}/{v}.avi" for s in range(1, 21) for v in videos]
    return touch(
        root, [*train, *(f"test_release/{s}/{v}.avi" for s in range(1, 31) for v in videos)]
    )


def replay(root: Path) -> Path:
    lights = ("adverse", "controlled")
    for folder, clients in (
        ("train", TRAIN_CLIENTS),
        ("devel", DEVEL_CLIENTS),
        ("test", TEST_CLIENTS),
    ):
        for c, light in product((f"{c:03d}" for c in clients), lights):
            real = f"{folder}/real/client{c}_session01_webcam_authenticate_{light}"
            touch(root, [f"{real}_1.mov", f"{real}_2.mov"])
            for support in ("fixed", "hand"):
                at = f"{folder}/attack/{support}/attack"
                names = [f"print_client{c}_session01_highdef_photo"]
                for device, content in product(("highdef", "mobile"), ("photo", "video")):
                    names.append(f"{device}_client{c}_session01_{device}_{content}")
                touch(root, [f"{at}_{name}_{light}.mov" for name in names])
    return touch(root, ["enroll/train/client001_session01_webcam_enroll_1.mov"])


def msu(root: Path) -> Path:
    train, test = range(1, 16), range(30, 50)
    for client in (*train, *test):
        for camera, suffix in (("android", "mp4"), ("laptop", "mov")):
            kinds = ("ipad_video", "iphone_video", "printed_photo")
            attacks = [f"attack/attack_client{client:03d}_{camera}_SD_{k}_scene01" for k in kinds]
            names = [f"real/real_client{client:03d}_{camera}_SD_scene01", *attacks]
            touch(root / "scene01", [f"{n}.{end}" for n in names for end in (suffix, "face")])
    touch(root, ["train_sub_list.txt"], "\n".join(f"{c:02d}" for c in train).encode())
    return touch(root, ["test_sub_list.txt"], "\n".join(f"{c:02d}" for c in test).encode())


def siw(root: Path, subjects: Iterable[int] = range(1, 166)) -> Path:
    live = [f"{s}-1-{m}-{n}" for s, m, n in product("12", "12", "12")]
    prints = [f"{s}-2-{m}-{n}" for s, m, n in product("12", "12", "12")]
    screens = [f"{s}-3-{m}-1" for s, m in product("12", "1234")]
    for subject in subjects:
        part, at = ("Train" if subject <= 90 else "Test"), f"{subject:03d}"
        touch(root, [f"{part}/live/{at}/{at}-{n}.mov" for n in live])
        touch(root, [f"{part}/spoof/{at}/{at}-{n}.mov" for n in (*prints, *screens)])
        touch(root, [f"{part}/live/{at}/{at}-{live[0]}.face"])
    return root


def three_dmad(root: Path) -> Path:
    grid = product(range(1, 18), (1, 2, 3), range(1, 6))
    return touch(root, [f"Data/{c:02d}_{s:02d}_{n:02d}.hdf5" for c, s, n in grid])


def nuaa_released(root: Path) -> Path:
    lists = {
        "client_train_raw": ("ClientRaw", ["0001/0001_00_00_01_0", "0002/0002_01_00_01_7"]),
        "imposter_train_raw": ("ImposterRaw", ["0001/0001_00_00_02_0", "0002/0002_00_00_02_1"]),
        "client_test_raw": ("ClientRaw", ["0001/0001_00_00_03_0", "0012/0012_00_00_03_4"]),
        "imposter_test_raw": ("ImposterRaw", ["0012/0012_00_00_03_0"]),
    }
    for name, (folder, pictures) in lists.items():
        touch(root, [f"{folder}/{p}.jpg" for p in pictures])
        lines = "\r\n".join(p.replace("/", "\\") + ".jpg" for p in pictures)
        touch(root, [f"{name}.txt"], lines.encode())
    return root


def celeba(root: Path) -> Path:
    def label(kind: int) -> list[int]:
        return [0] * 40 + [kind, 1 if kind else 0, 2 if kind else 0, int(kind != 0)]

    for part, first in (("train", 1), ("test", 5001)):
        labels: dict[str, list[int]] = {}
        for person, kind in product(range(first, first + 4), range(11)):
            side = "spoof" if kind else "live"
            labels[f"Data/{part}/{person}/{side}/{person * 100 + kind:06d}.png"] = label(kind)
        touch(root, labels)
        touch(root, [name.replace(".png", "_BB.txt") for name in labels], b"56 28 112 168 0.99\n")
        path = f"metas/intra_test/{part}_label.json"
        touch(root, [path], json.dumps(labels).encode())
    return root


SIWM_PREFIXES = {
    "Makeup_Cosmetic": "Makeup_Co",
    "Makeup_Impersonation": "Makeup_Im",
    "Makeup_Obfuscation": "Makeup_Ob",
    "Mask_HalfMask": "Mask_Half",
    "Mask_MannequinHead": "Mask_Mann",
    "Mask_PaperMask": "Mask_Paper",
    "Mask_SiliconeMask": "Mask_Silicone",
    "Mask_TransparentMask": "Mask_Trans",
    "Paper": "Paper",
    "Partial_Cut": "Partial_Cut",
    "Partial_FunnyeyeGlasses": "Partial_Funnyeye",
    "Partial_PaperGlasses": "Partial_Paperglass",
    "Replay": "Replay",
}


def siw_m(root: Path) -> Path:
    """660 live and 968 spoof videos; how many there are of a kind is made up."""
    touch(root, [f"Live/Live_{n}.mov" for n in range(1, 661)])
    kinds = list(SIWM_PREFIXES.items())
    for number in range(968):
        folder, prefix = kinds[number % len(kinds)]
        touch(root, [f"Spoof/{folder}/{prefix}_{number // len(kinds) + 1}.mov"])
    return root


def hkbu(root: Path) -> Path:
    """The true counts; the names are made up, since the release's are not known in public."""
    for person, number in product(range(1, 13), range(42)):
        touch(root, [f"{side}/S{person:02d}/{number}.avi" for side in ("real", "attack")])
    return root
