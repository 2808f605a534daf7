"""A look at depth labels: crops beside their maps, as one picture."""

from pathlib import Path

import cv2
import numpy as np

from ...engines.whole_file import write_whole
from ..attacks.parameters import Array

_GAP = 4
_PAPER = 32


def label_sheet(faces: Array, labels: Array, columns: int = 4, side: int = 128) -> Array:
    """Face crops, each with its depth label at its right: nearer is brighter.

    Args:
        faces: uint8 (N, h, h, 3), RGB.
        labels: uint8 (N, k, k), of the same faces.
        columns: Pairs in a row.
        side: Pixels of each picture.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: There are no faces, or not as many labels as faces.
    """
    if not len(faces) or len(faces) != len(labels):
        raise ValueError(
            "label sheet: expected as many labels as faces, at least one, found "
            f"{len(faces)} faces and {len(labels)} labels; give both of the same rows"
        )
    columns = min(columns, len(faces))
    rows = -(-len(faces) // columns)
    wide, high = 2 * side + _GAP, side + _GAP
    sheet = np.full((rows * high + _GAP, columns * wide + _GAP, 3), _PAPER, np.uint8)
    for index, (face, label) in enumerate(zip(faces, labels, strict=True)):
        y, x = _GAP + index // columns * high, _GAP + index % columns * wide
        sheet[y : y + side, x : x + side] = cv2.resize(
            face, (side, side), None, 0, 0, cv2.INTER_AREA
        )
        shown = cv2.resize(label, (side, side), interpolation=cv2.INTER_NEAREST)
        sheet[y : y + side, x + side : x + 2 * side] = np.asarray(shown)[..., None]
    return sheet


def write_label_sheet(
    path: Path, faces: Array, labels: Array, columns: int = 4, side: int = 128
) -> None:
    """Write :func:`label_sheet` as PNG; the file is whole or not there."""
    sheet = label_sheet(faces, labels, columns, side)
    _, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    write_whole(path, data.tobytes())
