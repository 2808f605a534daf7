"""Replay-Attack (Chingovska et al. 2012) and MSU-MFSD (Wen et al. 2015): clients at a webcam."""

import re
from itertools import product
from pathlib import Path, PurePosixPath

from .files import Claim, collect, document, is_video, read_lines, stem, whole
from .sample import DataError, Dataset, Part, Sample

_PARTS: dict[str, tuple[Part, int]] = {
    "train": ("train", 15),
    "devel": ("dev", 15),
    "test": ("test", 20),
}
"""A folder's name: the part, and how many clients it has."""
_LIGHTS = ("adverse", "controlled")
_REAL = "client{}_session01_webcam_authenticate_{}_{}"
_ATTACK = "attack_{}_client{}_session01_{}_{}_{}"
_REAL_PLACE = re.compile(
    r"(?:.*/)?(train|devel|test)/real/"
    r"client(\d{3})_session01_webcam_authenticate_(adverse|controlled)_([12])"
)
_ATTACK_PLACE = re.compile(
    r"(?:.*/)?(train|devel|test)/attack/(fixed|hand)/attack_(highdef|mobile|print)_client(\d{3})"
    r"_session01_(highdef|mobile)_(photo|video)_(adverse|controlled)"
)
_ATTACK_KINDS = (
    ("highdef", "highdef", "photo"),
    ("highdef", "highdef", "video"),
    ("mobile", "mobile", "photo"),
    ("mobile", "mobile", "video"),
    ("print", "highdef", "photo"),
)
_MEDIA = {"highdef": "tablet", "mobile": "phone", "print": "paper"}


def read_replay(root: Path) -> Dataset:
    """Read Replay-Attack: ``{train,devel,test}/{real,attack/{fixed,hand}}/*.mov``.

    60 + 300, 60 + 300 and 80 + 400 videos of 15, 15 and 20 clients. What a client found here
    lacks is named; of a client of whom nothing is here only the count is known. Enrolment videos
    and face locations are companions. Session is the light, with the support of an attack:
    ``adverse``, ``controlled-hand``.
    """

    def claim(path: PurePosixPath) -> Sample | Claim:
        if "enroll" in path.parts or path.suffix == ".face" or "protocols" in path.parts:
            return Claim.COMPANION
        if not is_video(path):
            return document(path)
        return _replay_real(root, path) or _replay_attack(root, path) or Claim.SURPLUS

    found = collect("replay-attack", root, claim)
    return Dataset(
        found.name, root, found.samples, _replay_missing(found), found.unreadable, found.surplus
    )


def _replay_real(root: Path, path: PurePosixPath) -> Sample | None:
    match = _REAL_PLACE.fullmatch(whole(path))
    if match is None:
        return None
    folder, client, light, _ = match.groups()
    return Sample(
        root / path,
        "replay-attack",
        "live",
        "live",
        person=client,
        session=light,
        camera="webcam",
        split=_PARTS[folder][0],
    )


def _replay_attack(root: Path, path: PurePosixPath) -> Sample | None:
    match = _ATTACK_PLACE.fullmatch(whole(path))
    if match is None or (match[3], match[5], match[6]) not in _ATTACK_KINDS:
        return None
    folder, support, device, client, _, content, light = match.groups()
    species = "print" if device == "print" else "screen"
    kind = "photo" if device == "print" else f"{_MEDIA[device]}-{content}"
    return Sample(
        root / path,
        "replay-attack",
        "attack",
        species,
        f"{species}:{kind}",
        person=client,
        session=f"{light}-{support}",
        camera="webcam",
        medium=_MEDIA[device],
        split=_PARTS[folder][0],
    )


def _replay_missing(found: Dataset) -> tuple[str, ...]:
    relative = [
        whole(PurePosixPath(s.path.relative_to(found.root).as_posix())) for s in found.samples
    ]
    present = {*relative, *(whole(PurePosixPath(p)) for p in found.unreadable)}
    at = {
        m[1]: p[: m.start(1)]
        for p in present
        if (m := _REAL_PLACE.match(p) or _ATTACK_PLACE.match(p))
    }
    missing: list[str] = []
    for folder, (part, clients) in _PARTS.items():
        here = sorted({s.person for s in found.samples if s.split == part})
        names = (name for client in here for name in _replay_names(folder, client))
        missing.extend(name for name in names if at[folder] + name not in present)
        if len(here) < clients:
            missing.append(f"{clients - len(here)} of {clients} clients of {folder}")
    return tuple(missing)


def _replay_names(folder: str, client: str) -> list[str]:
    real = [f"{folder}/real/{_REAL.format(client, light, n)}" for light in _LIGHTS for n in (1, 2)]
    attacks = [
        f"{folder}/attack/{support}/{_ATTACK.format(device, client, grade, content, light)}"
        for support, (device, grade, content), light in product(
            ("fixed", "hand"), _ATTACK_KINDS, _LIGHTS
        )
    ]
    return real + attacks


_MSU_NAME = re.compile(
    r"(real|attack)_client(\d{3})_(android|laptop)_SD"
    r"(?:_(ipad_video|iphone_video|printed_photo))?_scene01"
)
_MSU_INSTRUMENTS = {
    "ipad_video": ("screen", "screen:tablet-video", "ipad"),
    "iphone_video": ("screen", "screen:phone-video", "iphone"),
    "printed_photo": ("print", "print:photo", "paper"),
}


def read_msu(root: Path) -> Dataset:
    """Read MSU-MFSD: ``scene01/{real,attack}/*.mp4|mov`` of 35 clients, 70 live and 210 attacks.

    ``train_sub_list.txt`` and ``test_sub_list.txt`` (one client a line) say who is in which part;
    ``.face`` files are companions.

    Raises:
        DataError: a list is missing or one client stands on both.
    """
    parts = _msu_parts(root)

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _MSU_NAME.fullmatch(path.stem)
        if match is None or (match[1] == "real") != (match[4] is None):
            return document(path)
        if not is_video(path):
            return Claim.COMPANION if path.suffix == ".face" else Claim.SURPLUS
        if int(match[2]) not in parts:
            return Claim.SURPLUS
        species, instrument, medium = _MSU_INSTRUMENTS.get(match[4] or "", ("live", "", ""))
        return Sample(
            root / path,
            "msu-mfsd",
            "live" if match[1] == "real" else "attack",
            species,
            instrument,
            person=match[2],
            session="scene01",
            camera=match[3],
            medium=medium,
            split=parts[int(match[2])],
        )

    return collect("msu-mfsd", root, claim, _msu_names(sorted(parts)), stem)


def _msu_names(clients: list[int]) -> list[str]:
    real = [
        f"real_client{c:03d}_{camera}_SD_scene01"
        for c in clients
        for camera in ("android", "laptop")
    ]
    attack = [
        f"attack_client{c:03d}_{camera}_SD_{instrument}_scene01"
        for c, camera, instrument in product(clients, ("android", "laptop"), _MSU_INSTRUMENTS)
    ]
    return real + attack


def _msu_parts(root: Path) -> dict[int, Part]:
    parts: dict[int, Part] = {}
    named: tuple[tuple[Part, str], ...] = (
        ("train", "train_sub_list.txt"),
        ("test", "test_sub_list.txt"),
    )
    for part, name in named:
        for word in " ".join(read_lines(root / name)).split():
            if not word.isdecimal() or int(word) in parts:
                raise DataError(
                    f"dataset list {root / name}: expected numbers of clients, each on one list "
                    f"once, found '{word}'; copy both lists from the dataset's release"
                )
            parts[int(word)] = part
    return parts
