"""YuNet: from the network's raw tensors to faces.

Wu et al., *YuNet: A Tiny Millisecond-level Face Detector*, Machine Intelligence Research 2023.
Anchor-free: each cell of three grids (8, 16 and 32 pixels) gives a class and an object
probability, a box (centre offset and log size in cells) and five keypoints (offsets in cells).
The model file is the user's own (``padflow models add yunet FILE``).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .blazeface import Candidates, suppress

if TYPE_CHECKING:
    from ..engines import Engine

STRIDES = (8, 16, 32)
ANY_SIZE = 320
"""Input side in pixels for a model file that takes any size."""
MAX_LOG_SIZE = 10.0
"""Log box sizes are clipped to this, so that a wild output cannot overflow."""


def decode(raw: Mapping[str, np.ndarray], width: int, min_score: float) -> Candidates:
    """Faces with at least ``min_score`` in one picture's raw tensors, before suppression.

    Args:
        raw: For each stride ``cls_8`` (cells, 1), ``obj_8`` (cells, 1), ``bbox_8`` (cells, 4) and
            ``kps_8`` (cells, 10), float32, cells row by row.
        width: Width of the input picture in pixels, a multiple of 32.
        min_score: Between 0 and 1.

    Returns:
        Candidates in input pixels, best first. Keypoints are right eye, left eye, nose tip,
        middle of the mouth, right and left mouth corner (right is the person's right).
    """
    boxes, keypoints, scores = [], [], []
    for stride in STRIDES:
        probability = np.clip(raw[f"cls_{stride}"][:, 0], 0.0, 1.0)
        objectness = np.clip(raw[f"obj_{stride}"][:, 0], 0.0, 1.0)
        score = np.sqrt(probability * objectness)
        kept = np.flatnonzero(score >= min_score)
        cells = np.stack([kept % (width // stride), kept // (width // stride)], axis=1)
        box = raw[f"bbox_{stride}"][kept]
        centre = (cells + box[:, :2]) * stride
        size = np.exp(np.minimum(box[:, 2:], MAX_LOG_SIZE)) * stride
        boxes.append(np.concatenate([centre - size / 2, size], axis=1))
        offsets = raw[f"kps_{stride}"][kept].reshape(-1, 5, 2)
        keypoints.append((cells[:, None] + offsets) * stride)
        scores.append(score[kept])
    all_boxes, all_points = np.concatenate(boxes), np.concatenate(keypoints)
    all_scores = np.concatenate(scores)
    finite = np.isfinite(all_boxes).all(axis=1) & np.isfinite(all_points).all(axis=(1, 2))
    order = np.argsort(-all_scores, kind="stable")
    order = order[finite[order]]
    points = all_points[order]
    mouth = points[:, 3:5].mean(axis=1, keepdims=True)
    with_mouth = np.concatenate([points[:, :3], mouth, points[:, 3:]], axis=1)
    return Candidates(
        all_boxes[order].astype(np.float32),
        with_mouth.astype(np.float32),
        all_scores[order].astype(np.float32),
    )


class YunetNetwork:
    """A YuNet network, ready to look at pictures of its own size."""

    tone = 0
    """Grey value to put beside the picture."""

    def __init__(self, engine: "Engine") -> None:
        shape = next(spec.shape for spec in engine.inputs if spec.name == "image")
        self.height, self.width = (side if side > 0 else ANY_SIZE for side in shape[1:3])
        self._engine = engine

    def find(self, image: np.ndarray, min_score: float) -> Candidates:
        """Faces in one uint8 RGB picture of shape (height, width, 3), in its pixels."""
        raw = self._engine.infer({"image": image[np.newaxis]})
        found = decode({name: array[0] for name, array in raw.items()}, self.width, min_score)
        return suppress(found, max_iou=0.3, blend=False)

    def close(self) -> None:
        """Give the engine back."""
        self._engine.close()
