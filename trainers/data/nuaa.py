"""NUAA (Tan et al. 2010): hand-held photo prints, in the release's lists or as sequences."""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from .files import Claim, collect, document, exact, is_picture, read_lines
from .plain import read_plain
from .sample import DataError, Dataset, Label, Part, Sample

_LISTS: tuple[tuple[str, str, Label, Part], ...] = (
    ("client_train_raw.txt", "ClientRaw", "live", "train"),
    ("imposter_train_raw.txt", "ImposterRaw", "attack", "train"),
    ("client_test_raw.txt", "ClientRaw", "live", "test"),
    ("imposter_test_raw.txt", "ImposterRaw", "attack", "test"),
)
"""A list of the release, the folder its lines count from, label and part."""
_PICTURE = re.compile(r"(\d{4})_(\d\d)_(\d\d)_(\d\d)_(\d+)")
_SEQUENCE = re.compile(r"(\d{4})_(\d\d)_(\d\d)_(\d\d)")


def read_nuaa(root: Path) -> Dataset:
    """Read NUAA as released, or thinned to sequences.

    Released: the four lists ``client|imposter_train|test_raw.txt`` name the pictures of
    ``ClientRaw`` and ``ImposterRaw``; every picture is a sample with its frame index, and its
    sequence is the recording. Thinned: ``live/<sequence>/*.jpg`` and
    ``attack/print/<sequence>/*.jpg``; every sequence is a sample. Either way the person is the
    first four digits, and what follows of a sequence's name is the session.

    Raises:
        DataError: neither layout is there, or a list is malformed.
    """
    if (root / "ClientRaw").is_dir() or (root / "client_train_raw.txt").is_file():
        return _read_lists(root)
    found = read_plain(root)
    samples, surplus = [], list(found.surplus)
    for sample in found.samples:
        match = _SEQUENCE.fullmatch(sample.path.name)
        if match is None or sample.species not in ("live", "print"):
            surplus.append(sample.path.relative_to(root).as_posix())
        else:
            samples.append(_named(replace(sample, dataset="nuaa"), match))
    return replace(found, name="nuaa", samples=tuple(samples), surplus=tuple(surplus))


def _read_lists(root: Path) -> Dataset:
    listed: dict[str, tuple[Label, Part]] = {}
    for name, folder, label, part in _LISTS:
        for line in read_lines(root / name):
            path = PurePosixPath(folder) / line.replace("\\", "/")
            if not _PICTURE.fullmatch(path.stem):
                raise DataError(
                    f"dataset list {root / name}: expected '0001\\0001_00_00_01_0.jpg', "
                    f"found {line[:60]!r}; copy it from the dataset's release"
                )
            listed[path.as_posix()] = (label, part)

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _PICTURE.fullmatch(path.stem)
        if path.as_posix() not in listed or match is None:
            inside = path.parts[0] in ("ClientRaw", "ImposterRaw") and is_picture(path)
            return Claim.SURPLUS if inside else _beside(path)
        label, part = listed[path.as_posix()]
        sample = Sample(
            root / path,
            "nuaa",
            label,
            "live" if label == "live" else "print",
            split=part,
            frame=int(match[5]),
            clip=f"{label}/{match[0].rpartition('_')[0]}",
        )
        return _named(sample, match)

    return collect("nuaa", root, claim, listed, exact)


def _beside(path: PurePosixPath) -> Claim:
    """The release's other folders hold the same pictures as crops; they are not read."""
    known = ("ClientFace", "ImposterFace", "ClientNormalized", "ImposterNormalized", "Detectedface")
    return Claim.COMPANION if path.parts[0] in known else document(path)


def _named(sample: Sample, match: re.Match[str]) -> Sample:
    attack = sample.label == "attack"
    return replace(
        sample,
        person=match[1],
        session=f"{match[2]}-{match[3]}-{match[4]}",
        camera="webcam",
        instrument="print:photo" if attack else "",
        medium="paper" if attack else "",
    )
