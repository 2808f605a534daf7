"""CASIA-FASD (Zhang et al. 2012)."""

import re
from itertools import product
from pathlib import Path, PurePosixPath

from .files import Claim, collect, document, is_video, whole
from .sample import Dataset, Part, Sample

_FOLDERS: dict[str, tuple[Part, int]] = {
    "train_release": ("train", 20),
    "test_release": ("test", 30),
}
_VIDEOS = {
    "1": ("live", "", "low"),
    "2": ("live", "", "normal"),
    "HR_1": ("live", "", "high"),
    "3": ("print", "print:warped", "low"),
    "4": ("print", "print:warped", "normal"),
    "HR_2": ("print", "print:warped", "high"),
    "5": ("print", "print:cut", "low"),
    "6": ("print", "print:cut", "normal"),
    "HR_3": ("print", "print:cut", "high"),
    "7": ("screen", "screen:tablet", "low"),
    "8": ("screen", "screen:tablet", "normal"),
    "HR_4": ("screen", "screen:tablet", "high"),
}
"""A video's name: species, instrument and imaging quality, which stands for the camera."""
_PLACE = re.compile(r"(?:.*/)?(train_release|test_release)/(\d+)/(HR_[1-4]|[1-8])")


def read_casia(root: Path) -> Dataset:
    """Read CASIA-FASD: 600 videos ``train_release|test_release/<subject>/<video>.avi``.

    Subjects count from 1 in both halves and are different people: a person is ``train-7``. The
    dataset has no dev part; a protocol takes one from the persons of train.
    """

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _PLACE.fullmatch(whole(path))
        if match is None or not is_video(path) or not 1 <= int(match[2]) <= _FOLDERS[match[1]][1]:
            return document(path)
        part = _FOLDERS[match[1]][0]
        species, instrument, quality = _VIDEOS[match[3]]
        return Sample(
            root / path,
            "casia-fasd",
            "live" if species == "live" else "attack",
            species,
            instrument,
            person=f"{part}-{int(match[2])}",
            camera=quality,
            split=part,
        )

    expected = (
        f"{folder}/{subject}/{video}"
        for folder, (_, subjects) in _FOLDERS.items()
        for subject, video in product(range(1, subjects + 1), _VIDEOS)
    )
    return collect("casia-fasd", root, claim, expected, _key)


def _key(path: PurePosixPath) -> str:
    match = _PLACE.fullmatch(whole(path))
    return f"{match[1]}/{int(match[2])}/{match[3]}" if match else whole(path)
