"""A picture of what a network got most wrong, with the scores underneath."""

from collections.abc import Sequence

import cv2
import numpy as np

from ..baseline import detail
from ..crops import CropStore, Pixels
from .judging import Floats

TILE = 160
CAPTION = 48
A_CLIP = 2
"""Most crops of one clip, so that the sheet shows more than one mistake."""


def worst_rows(store: CropStore, llr: Floats, most: int) -> tuple[list[int], list[int]]:
    """Attacks with the highest ratios and live rows with the lowest, worst first."""
    live = store.live
    found = []
    for sign, group in ((-1.0, ~live), (1.0, live)):
        rows = np.flatnonzero(group & ~np.isnan(llr))
        order = rows[np.argsort(sign * llr[rows], kind="stable")]
        taken: list[int] = []
        for row in order:
            clip = store.rows[int(row)].clip
            if sum(store.rows[i].clip == clip for i in taken) < A_CLIP:
                taken.append(int(row))
            if len(taken) == most:
                break
        found.append(taken)
    return found[0], found[1]


def sheet(store: CropStore, rows: Sequence[Sequence[int]], llr: Floats, crop: str) -> Pixels:
    """Crops in lines, captioned with ratio, sharpness, size of the face and name.

    Args:
        store: N rows.
        rows: for each line, which rows.
        llr: (N,) nats.
        crop: what the network looks at: ``face``, ``context`` or ``patches``.

    Returns:
        uint8 (h, w, 3) RGB.
    """
    across = max(1, max(len(line) for line in rows))
    page = np.full((len(rows) * (TILE + CAPTION), across * (TILE + 4), 3), 255, np.uint8)
    for down, line in enumerate(rows):
        for along, row in enumerate(line):
            top, left = down * (TILE + CAPTION), along * (TILE + 4)
            page[top : top + TILE, left : left + TILE] = _tile(store, row, crop)
            for number, text in enumerate(captions(store, row, llr)):
                place = (left, top + TILE + 13 + 15 * number)
                cv2.putText(
                    page, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA
                )
    return page


def captions(store: CropStore, row: int, llr: Floats) -> tuple[str, str, str]:
    """What stands under a crop."""
    one = store.rows[row]
    sharp = detail(store.one("face", row), one.face_px)
    return (
        f"{one.species} {llr[row]:+.1f} nats",
        f"sharp {sharp:.2f}, face {one.face_px:.0f} px",
        one.id[-20:],
    )


def _tile(store: CropStore, row: int, crop: str) -> Pixels:
    picture = store.one(crop, row)
    if crop == "patches":
        picture = np.vstack([np.hstack(list(picture[:2])), np.hstack(list(picture[2:]))])
    found: Pixels = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return found
