"""OULU-NPU (Boulkenafet et al. 2017) and SiW (Liu et al. 2018): file names that say everything."""

import re
from itertools import product
from pathlib import Path, PurePosixPath

from .files import Claim, collect, document, is_video, stem
from .sample import Dataset, Part, Sample

_OULU_NAME = re.compile(r"([1-6])_([1-3])_(\d\d)_([1-5])")
_OULU_USERS = 55
_OULU_KINDS = {
    "1": ("live", "", ""),
    "2": ("print", "print:printer1", "printer1"),
    "3": ("print", "print:printer2", "printer2"),
    "4": ("screen", "screen:display1", "display1"),
    "5": ("screen", "screen:display2", "display2"),
}
"""The name's last number: species, instrument and medium."""


def read_oulu(root: Path) -> Dataset:
    """Read OULU-NPU: 4950 videos ``Phone_Session_User_File.avi``, wherever they lie in the folder.

    Users 1-20 are train, 21-35 dev, 36-55 test. The text of a video's name beside it (eye
    positions) and the folder ``Protocols`` are companions.
    """

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _OULU_NAME.fullmatch(path.stem)
        if match is None or not 1 <= int(match[3]) <= _OULU_USERS:
            return Claim.COMPANION if "Protocols" in path.parts else document(path)
        if not is_video(path):
            return Claim.COMPANION if path.suffix == ".txt" else Claim.SURPLUS
        phone, session, user, kind = match.groups()
        species, instrument, medium = _OULU_KINDS[kind]
        return Sample(
            root / path,
            "oulu-npu",
            "live" if species == "live" else "attack",
            species,
            instrument,
            person=user,
            session=session,
            camera=phone,
            medium=medium,
            split=_oulu_part(int(user)),
        )

    users = range(1, _OULU_USERS + 1)
    expected = (
        f"{p}_{s}_{u:02d}_{f}"
        for u, p, s, f in product(users, range(1, 7), range(1, 4), range(1, 6))
    )
    return collect("oulu-npu", root, claim, expected, stem)


def _oulu_part(user: int) -> Part:
    return "train" if user <= 20 else "dev" if user <= 35 else "test"


_SIW_NAME = re.compile(r"(\d{3})-([12])-([123])-([1-4])-([1-4])")
_SIW_MEDIA = {
    "1": {"1": "", "2": ""},
    "2": {"1": "high-resolution", "2": "low-resolution"},
    "3": {"1": "ipad-pro", "2": "iphone-7-plus", "3": "asus", "4": "galaxy-s8"},
}
_SIW_SPECIES = {"1": "live", "2": "print", "3": "screen"}
_SIW_CAMERAS = {"1": "canon-t6", "2": "logitech-c920"}
_SIW_SUBJECTS = 165


def read_siw(root: Path) -> Dataset:
    """Read SiW: ``Train|Test/live|spoof/<id>/Subject-Sensor-Type-Medium-Session.mov``.

    Every subject has eight live videos; the number of spoof videos differs (up to 20), so only
    the live ones and the number of subjects can be missed. ``.face`` files are companions. The
    session of a live video is ``light-session`` (light 1 normal, 2 extra).
    """

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _SIW_NAME.fullmatch(path.stem)
        part = _siw_part(path)
        if match is None or not part or match[4] not in _SIW_MEDIA[match[3]]:
            return document(path)
        if not is_video(path):
            return Claim.COMPANION if path.suffix == ".face" else Claim.SURPLUS
        subject, sensor, kind, medium, session = match.groups()
        species, name = _SIW_SPECIES[kind], _SIW_MEDIA[kind][medium]
        return Sample(
            root / path,
            "siw",
            "live" if kind == "1" else "attack",
            species,
            "" if kind == "1" else f"{species}:{name}",
            person=subject,
            session=f"{medium}-{session}" if kind == "1" else session,
            camera=_SIW_CAMERAS[sensor],
            medium=name,
            split=part,
        )

    found = collect("siw", root, claim, (), stem)
    return Dataset("siw", root, found.samples, _siw_missing(found), found.unreadable, found.surplus)


def _siw_part(path: PurePosixPath) -> Part:
    folders = {p.lower() for p in path.parts[:-1]}
    return "train" if "train" in folders else "test" if "test" in folders else ""


def _siw_missing(found: Dataset) -> tuple[str, ...]:
    present = {s.path.stem for s in found.samples} | {
        PurePosixPath(p).stem for p in found.unreadable
    }
    parts = {s.person: s.split for s in found.samples}
    missing = [
        f"{part.capitalize()}/live/{subject}/{subject}-{sensor}-1-{light}-{session}"
        for subject, part in sorted(parts.items())
        for sensor, light, session in product("12", "12", "12")
        if f"{subject}-{sensor}-1-{light}-{session}" not in present
    ]
    absent = _SIW_SUBJECTS - len(parts)
    return (*missing, *([f"{absent} of {_SIW_SUBJECTS} subjects"] if absent > 0 else []))
