"""BlazeFace: from the network's raw tensors to faces.

The networks are MediaPipe's (Bazarevsky et al., *BlazeFace: Sub-millisecond Neural Face
Detection on Mobile GPUs*, 2019), read as they are; the decoding is written here from the
published description. Each anchor is a point with unit size: a cell centre of a grid over the
square input. The network gives, for every anchor, a logit and 16 numbers in input pixels
relative to the anchor: box centre, box size, and six keypoints (right eye, left eye, nose tip,
mouth, right and left ear tragion; right is the person's right).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..engines import Engine

LOGIT_LIMIT = 100.0
"""Logits are clipped to this before the sigmoid."""
KEYPOINTS = 6


@dataclass(frozen=True, slots=True)
class BlazeFace:
    """One network of the family."""

    engine: str
    """Name of the engine."""
    side: int
    """Side of the square input in pixels."""
    grids: tuple[tuple[int, int], ...]
    """(cells a side, anchors a cell) of each output layer, in the order of the tensor."""
    tone: int
    """Grey value beside the picture on which it finds cut faces best (measured)."""


FULL_RANGE = BlazeFace("face_detection_full_range", 192, ((48, 1),), tone=0)
"""Faces to about 5 m; 2304 anchors."""
SHORT_RANGE = BlazeFace("face_detection_short_range", 128, ((16, 2), (8, 6)), tone=128)
"""Faces to about 2 m; 896 anchors."""


class Candidates(NamedTuple):
    """Faces in pixels of the picture that they were decoded for, best score first."""

    boxes: np.ndarray
    """float32 (n, 4): x, y, w, h."""
    keypoints: np.ndarray
    """float32 (n, k, 2)."""
    scores: np.ndarray
    """float32 (n,), 0 to 1."""


def anchor_centres(model: BlazeFace) -> np.ndarray:
    """float32 (anchors, 2): x and y of every anchor in input pixels, row by row, layer by layer."""
    layers = []
    for cells, repeats in model.grids:
        line = (np.arange(cells, dtype=np.float32) + 0.5) * (model.side / cells)
        x, y = np.meshgrid(line, line)
        layers.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeats, axis=0))
    return np.concatenate(layers)


def decode(
    regressors: np.ndarray, logits: np.ndarray, anchors: np.ndarray, min_score: float
) -> Candidates:
    """Faces with at least ``min_score`` in one picture's raw tensors, before suppression.

    Args:
        regressors: float32 (anchors, 16), see the module's text.
        logits: float32 (anchors,).
        anchors: What :func:`anchor_centres` gives for the model.
        min_score: Between 0 and 1, both excluded.

    Returns:
        Candidates in input pixels. Rows with a value that is not finite are left out.
    """
    least = np.log(min_score / (1.0 - min_score))
    kept = np.flatnonzero(logits >= least)  # False for NaN
    raw = regressors[kept]
    finite = np.isfinite(raw).all(axis=1) & (raw[:, 2] > 0) & (raw[:, 3] > 0)
    kept, raw = kept[finite], raw[finite]
    order = np.argsort(-logits[kept], kind="stable")
    kept, raw = kept[order], raw[order]
    points = raw.reshape(-1, 2 + KEYPOINTS, 2)
    centres = anchors[kept]
    size = points[:, 1]
    corner = points[:, 0] + centres - size / 2
    limited = np.clip(logits[kept], -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.float64)
    return Candidates(
        np.concatenate([corner, size], axis=1),
        points[:, 2:] + centres[:, None],
        (1.0 / (1.0 + np.exp(-limited))).astype(np.float32),
    )


def intersection_over_union(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Overlap of one (x, y, w, h) with each row of ``boxes`` (n, 4): (n,) from 0 to 1."""
    left_top = np.maximum(box[:2], boxes[:, :2])
    right_bottom = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = np.prod(np.maximum(right_bottom - left_top, 0.0), axis=1)
    areas = box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - common
    return np.asarray(common / np.maximum(areas, 1e-9))


def suppress(candidates: Candidates, max_iou: float, blend: bool = True) -> Candidates:
    """Non-maximum suppression, best score first.

    With ``blend`` the geometry of a face is the score-weighted mean of the candidates that
    overlap it, as BlazeFace's authors propose: steadier between frames than the best one alone.

    Args:
        candidates: Sorted by score, best first.
        max_iou: Candidates that overlap a better one by more than this are the same face.
        blend: False keeps the best candidate as it is (for faces of several passes).
    """
    boxes, keypoints, scores = candidates
    left = np.arange(len(scores))
    out_boxes, out_points, out_scores = [], [], []
    while len(left):
        same = intersection_over_union(boxes[left[0]], boxes[left]) > max_iou
        same[0] = True
        group = left[same]
        if blend and len(group) > 1:
            weights = scores[group] / scores[group].sum()
            out_boxes.append(weights @ boxes[group])
            out_points.append(np.einsum("n,nkc->kc", weights, keypoints[group]))
        else:
            out_boxes.append(boxes[group[0]])
            out_points.append(keypoints[group[0]])
        out_scores.append(scores[group[0]])
        left = left[~same]
    if not out_boxes:
        return candidates
    return Candidates(
        np.stack(out_boxes), np.stack(out_points), np.asarray(out_scores, dtype=np.float32)
    )


class BlazeFaceNetwork:
    """A BlazeFace network, ready to look at pictures of its own size."""

    def __init__(self, model: BlazeFace, engine: "Engine") -> None:
        self.width = self.height = model.side
        self.tone = model.tone
        self._anchors = anchor_centres(model)
        self._engine = engine

    def find(self, image: np.ndarray, min_score: float) -> Candidates:
        """Faces in one uint8 RGB picture of shape (side, side, 3), in its pixels."""
        raw = self._engine.infer({"image": image[np.newaxis]})
        found = decode(raw["regressors"][0], raw["scores"][0, :, 0], self._anchors, min_score)
        return suppress(found, max_iou=0.3)

    def close(self) -> None:
        """Give the engine back."""
        self._engine.close()
