"""CelebA-Spoof (Zhang et al. 2020): pictures, labels in JSON, boxes in a frame of 224 x 224."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from .files import Claim, collect, exact, is_picture
from .sample import DataError, Dataset, Part, Sample

_KINDS = {
    0: ("live", ""),
    1: ("print", "print:photo"),
    2: ("print", "print:poster"),
    3: ("print", "print:a4"),
    4: ("print", "print:face-mask"),
    5: ("print", "print:upper-body-mask"),
    6: ("partial", "partial:region-mask"),
    7: ("screen", "screen:pc"),
    8: ("screen", "screen:pad"),
    9: ("screen", "screen:phone"),
    10: ("mask", "mask:3d"),
}
"""Value 40 of a label. Kinds 4 to 6 are cut and worn paper prints: flat media, not 3-D masks."""
_TYPE, _LIGHT, _PLACE, _SPOOF, _LENGTH = 40, 41, 42, 43, 44
_BOX_FRAME = 224.0


def read_celeba(root: Path) -> Dataset:
    """Read CelebA-Spoof: ``Data/{train,test}/<id>/{live,spoof}/<n>.jpg|png``.

    Labels come from ``metas/intra_test/{train,test}_label.json``, whose paths are what must be
    there: 625,537 pictures of 10,177 persons in the full release. Session is
    ``light-environment`` by their numbers. Boxes are read one at a time by :func:`celeba_box`.

    Raises:
        DataError: the label files are missing or hold something else.
    """
    labels = {part: _labels(root, part) for part in ("train", "test")}
    flat: dict[str, list[int]] = {**labels["train"], **labels["test"]}

    def claim(path: PurePosixPath) -> Sample | Claim:
        if path.parts[0] != "Data":
            return Claim.COMPANION
        values = flat.get(path.as_posix())
        if values is None:
            is_box = path.stem.endswith("_BB") and path.suffix == ".txt"
            return Claim.COMPANION if is_box else Claim.SURPLUS
        return _sample(root, path, values)

    return collect("celeba-spoof", root, claim, flat, exact)


def _sample(root: Path, path: PurePosixPath, values: list[int]) -> Sample:
    species, instrument = _KINDS[values[_TYPE]]
    part: Part = "train" if path.parts[1] == "train" else "test"
    return Sample(
        root / path,
        "celeba-spoof",
        "live" if species == "live" else "attack",
        species,
        instrument,
        person=path.parts[2],
        session=f"{values[_LIGHT]}-{values[_PLACE]}",
        split=part,
    )


def celeba_box(sample: Sample, width: int, height: int) -> tuple[float, float, float, float] | None:
    """The face box that ships beside a picture, as x, y, width, height in the picture's pixels.

    Args:
        sample: A sample of CelebA-Spoof.
        width: Width of the picture in pixels; the file counts in a frame of 224 x 224.
        height: Height of the picture in pixels.

    Returns:
        The box, or None where there is no file or the box has no area (the release has some).

    Raises:
        DataError: the file holds no box.
    """
    path = sample.path.with_name(f"{sample.path.stem}_BB.txt")
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        x, y, w, h = (float(word) for word in text.split()[:4])
    except ValueError as error:
        raise DataError(
            f"box file {path}: expected 'x y width height score', found {text.strip()[:60]!r}; "
            "copy it from the release"
        ) from error
    if w <= 0 or h <= 0:
        return None
    across, down = width / _BOX_FRAME, height / _BOX_FRAME
    return x * across, y * down, w * across, h * down


def _labels(root: Path, part: str) -> Mapping[str, list[int]]:
    path = root / "metas" / "intra_test" / f"{part}_label.json"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"CelebA-Spoof labels {path}: expected a JSON file, found {type(error).__name__}; "
            "copy the folder metas from the release"
        ) from error
    if not isinstance(content, dict):
        raise _not_labels(path, type(content).__name__)
    for name, values in content.items():
        if not _is_label(name, values, part):
            raise _not_labels(path, f"{name!r}: {str(values)[:60]}")
    return content


def _is_label(name: str, values: Any, part: str) -> bool:
    path = PurePosixPath(name)
    placed = len(path.parts) == 5 and path.parts[:2] == ("Data", part) and is_picture(path)
    if not placed or not isinstance(values, list) or len(values) != _LENGTH:
        return False
    kind, spoof = values[_TYPE], values[_SPOOF]
    return kind in _KINDS and spoof == int(kind != 0)


def _not_labels(path: Path, found: str) -> DataError:
    return DataError(
        f"CelebA-Spoof labels {path}: expected 'Data/<part>/<id>/<live|spoof>/<file>' with "
        f"{_LENGTH} numbers of which the last agrees with the type, found {found}; "
        "copy the file from the release"
    )
