"""The passes of one face detection: small pictures of a frame, and what networks see in them.

* the whole picture, fitted into the network's input: finds faces from about 1/12 of its width;
* where that is not sure of a face, the whole picture on a wide grey margin, seen by the near-range
  network: finds a picture that is nothing but a face;
* one tile of a finer picture, another one each time: finds small faces within some detections;
* a close look where a face was found lately and is not found now, and at faces that the first
  network was not sure of: two networks seldom imagine the same face.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import cv2
import numpy as np

from ..engines import load_engine
from .blazeface import (
    FULL_RANGE,
    SHORT_RANGE,
    BlazeFaceNetwork,
    Candidates,
    intersection_over_union,
)
from .frame import Frame
from .payloads import Box, DetectedFace
from .yunet import YunetNetwork

SMALLEST_SEEN = 18.0
"""Faces from this size in its input pixels the full-range network finds nearly always (measured:
93 % at 14 px, 98 % at 18 px, at score 0.5)."""
MARGIN = 0.4
"""Grey margin on each side of the near pass, as a share of the picture (measured: at 0.3 and 0.5
all of 137 tight face crops are found, at 0.15 on black half of the tightest with score 0.75)."""
NEAR_SHARE = 0.25
"""The near pass reports faces from this share of the picture's shorter side."""
LOOK_SCALE = 2.6
"""Side of a close look's window over the face's size."""
LARGEST_IN_TILE = 0.35
"""Faces above this share of a tile are left to the whole picture."""
TILE_OVERLAP = 0.25
"""Least overlap of neighbouring tiles, as a share of a tile."""
SURE = 0.8
"""Detections with a lower score get a second look by the other network."""
FAIR = 0.5
"""Score from which a detection counts as a face, and not as a hint of one."""
DENIED = 0.6
"""Factor on the score of a face that the second look does not see; where it sees one, the score
is the mean of both."""
AGREE_IOU = 0.3
"""Two networks mean the same face where their boxes overlap at least this much: on the picture of
half a face they tend to differ in size."""
MOST_LOOKS = 4
"""Close looks in one detection."""
SAME_CONTAINED = 0.7
"""Two finds are one face where this share of the smaller lies in the other."""


class FaceNetwork(Protocol):
    """A detector network over pictures of one size."""

    width: int
    height: int
    tone: int
    """Grey value to put beside the picture: what it finds faces best on."""

    def find(self, image: np.ndarray, min_score: float) -> Candidates:
        """Faces in one uint8 RGB picture (height, width, 3), in its pixels, suppressed."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What a detector looks with."""

    whole: FaceNetwork
    near: FaceNetwork | None
    """For faces that fill the picture and for close looks."""
    tiles: bool
    """Whether the whole-picture network is also led over tiles."""

    def close(self) -> None:
        """Close each network once."""
        self.whole.close()
        if self.near is not None and self.near is not self.whole:
            self.near.close()


def _blazeface_full(threads: int) -> Networks:
    whole = BlazeFaceNetwork(FULL_RANGE, load_engine(FULL_RANGE.engine, threads=threads))
    near = BlazeFaceNetwork(SHORT_RANGE, load_engine(SHORT_RANGE.engine, threads=threads))
    return Networks(whole, near, tiles=True)


def _blazeface_short(threads: int) -> Networks:
    near = BlazeFaceNetwork(SHORT_RANGE, load_engine(SHORT_RANGE.engine, threads=threads))
    return Networks(near, near, tiles=False)


def _yunet(threads: int) -> Networks:
    return Networks(YunetNetwork(load_engine("yunet", threads=threads)), None, tiles=False)


DETECTORS: dict[str, Callable[[int], Networks]] = {
    "full_range": _blazeface_full,
    "short_range": _blazeface_short,
    "yunet": _yunet,
}
"""Opens a detector's networks with a number of threads, by the detector's name."""


@dataclass(frozen=True, slots=True)
class Search:
    """One detection's limits, in pixels of the frame and scores from 0 to 1."""

    min_score: float
    nms_iou: float
    max_faces: int
    min_face_px: float


def find_faces(
    networks: Networks,
    frame: Frame,
    search: Search,
    places: Sequence[Box] = (),
    tiles: Iterable[int] = (),
) -> tuple[DetectedFace, ...]:
    """The faces of a frame, best score first.

    Args:
        networks: What to look with.
        frame: Where to look.
        search: Limits.
        places: Boxes where faces were found lately: looked at closely where the whole picture
            shows none there.
        tiles: Numbers of the tiles to search too (modulo their count), see :func:`tile_count`.
    """
    whole, thumbnail = _whole_pass(networks.whole, frame, search.min_score)
    found = merge([whole, *_tile_pass(networks, frame, search, list(tiles))], search.nms_iou)
    near = networks.near
    if near is None:
        return _detected_faces(found, search)
    found = _second_look(near, frame, found, SURE)
    if not (found.scores >= SURE).any():
        large = _near_pass(near, frame, thumbnail, search.min_score)
        # Also at those that the near-range network is sure of: it likes round things.
        large = _second_look(networks.whole, frame, large, sure=1.0)
        found = merge([found, large], search.nms_iou)
    missed = [box for box in places if not _covered(box, found)][:MOST_LOOKS]
    looks = [_look(near, frame, box, search.min_score) for box in missed]
    return _detected_faces(merge([found, *looks], search.nms_iou), search)


def tile_count(networks: Networks, frame: Frame, min_face_px: float) -> int:
    """How many tiles make up the finer picture; 0 where the whole picture is fine enough."""
    grid = _tile_grid(networks, frame, min_face_px)
    return 0 if grid is None else len(grid.corners)


def merge(passes: Sequence[Candidates], max_iou: float) -> Candidates:
    """Finds of several passes, each face once: the best-scored one stays as it is."""
    passes = [p for p in passes if len(p.scores)] or list(passes[:1])
    if len(passes) == 1:
        return passes[0]
    boxes = np.concatenate([p.boxes for p in passes])
    scores = np.concatenate([p.scores for p in passes])
    # Passes may come from networks with different keypoints; the first four are common.
    known = min(p.keypoints.shape[1] for p in passes)
    keypoints = np.concatenate([p.keypoints[:, :known] for p in passes])
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        same = intersection_over_union(boxes[best], boxes[left]) > max_iou
        same |= _containment(boxes[best], boxes[left]) > SAME_CONTAINED
        left = left[~same]
    return Candidates(boxes[kept], keypoints[kept], scores[kept])


def _containment(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Share of the smaller of two boxes that lies in the other, for each row of ``boxes``."""
    left_top = np.maximum(box[:2], boxes[:, :2])
    right_bottom = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = np.prod(np.maximum(right_bottom - left_top, 0.0), axis=1)
    smaller = np.minimum(box[2] * box[3], boxes[:, 2] * boxes[:, 3])
    return np.asarray(common / np.maximum(smaller, 1e-9))


def _covered(box: Box, found: Candidates) -> bool:
    overlaps = intersection_over_union(np.asarray(box, dtype=np.float32), found.boxes)
    return bool((overlaps[found.scores >= FAIR] > 0.2).any())


def _detected_faces(found: Candidates, search: Search) -> tuple[DetectedFace, ...]:
    order = np.argsort(-found.scores, kind="stable")[: search.max_faces]
    return tuple(
        DetectedFace(Box(*found.boxes[i].tolist()), float(found.scores[i]), found.keypoints[i])
        for i in order
        if found.scores[i] >= search.min_score
    )


def _in_frame(found: Candidates, scale: float, x: float, y: float) -> Candidates:
    """Candidates of a picture that shows the frame from (x, y) at ``scale``, in frame pixels."""
    boxes = found.boxes / scale
    boxes[:, 0] += x
    boxes[:, 1] += y
    keypoints = found.keypoints / scale + np.array([x, y], dtype=np.float32)
    return Candidates(boxes, keypoints, found.scores)


def _only(found: Candidates, rows: np.ndarray) -> Candidates:
    return Candidates(found.boxes[rows], found.keypoints[rows], found.scores[rows])


def _fit(frame: Frame, width: int, height: int) -> tuple[int, int]:
    """Largest size with the frame's proportions that fits, in whole pixels."""
    scale = min(width / frame.width, height / frame.height)
    return max(1, round(frame.width * scale)), max(1, round(frame.height * scale))


def _on_canvas(
    picture: np.ndarray, width: int, height: int, tone: int
) -> tuple[np.ndarray, int, int]:
    """The picture in the middle of a canvas, and its offset there."""
    canvas = np.full((height, width, 3), tone, np.uint8)
    rows, columns = picture.shape[:2]
    x, y = (width - columns) // 2, (height - rows) // 2
    canvas[y : y + rows, x : x + columns] = picture
    return canvas, x, y


def _whole_pass(
    network: FaceNetwork, frame: Frame, min_score: float
) -> tuple[Candidates, np.ndarray]:
    """Finds in the whole picture, and the thumbnail of it."""
    thumbnail = frame.thumbnail(*_fit(frame, network.width, network.height))
    canvas, x, y = _on_canvas(thumbnail, network.width, network.height, network.tone)
    scale = max(thumbnail.shape[1] / frame.width, thumbnail.shape[0] / frame.height)
    found = network.find(canvas, min_score)
    return _in_frame(found, scale, -x / scale, -y / scale), thumbnail


def _near_pass(
    network: FaceNetwork, frame: Frame, thumbnail: np.ndarray, min_score: float
) -> Candidates:
    share = 1.0 + 2.0 * MARGIN
    size = _fit(frame, round(network.width / share), round(network.height / share))
    small = cv2.resize(thumbnail, size, interpolation=cv2.INTER_AREA)
    canvas, x, y = _on_canvas(small, network.width, network.height, network.tone)
    scale = max(size[0] / frame.width, size[1] / frame.height)
    found = _in_frame(network.find(canvas, min_score), scale, -x / scale, -y / scale)
    least = NEAR_SHARE * min(frame.width, frame.height)
    return _only(found, found.boxes[:, 2] >= least)


@dataclass(frozen=True, slots=True)
class _TileGrid:
    width: int
    """Of the finer picture."""
    height: int
    side: int
    corners: tuple[tuple[int, int], ...]
    """x and y of each tile in the finer picture."""


def _tile_grid(networks: Networks, frame: Frame, min_face_px: float) -> _TileGrid | None:
    if not networks.tiles:
        return None
    side = networks.whole.width
    scale = min(1.0, SMALLEST_SEEN / min_face_px)
    width, height = round(frame.width * scale), round(frame.height * scale)
    if max(width, height) <= side * 1.1:
        return None
    columns, rows = _tile_starts(width, side), _tile_starts(height, side)
    return _TileGrid(width, height, side, tuple((x, y) for y in rows for x in columns))


def _tile_starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = ceil((length - side) / (side * (1.0 - TILE_OVERLAP))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _tile_pass(
    networks: Networks, frame: Frame, search: Search, numbers: Sequence[int]
) -> list[Candidates]:
    grid = _tile_grid(networks, frame, search.min_face_px) if numbers else None
    if grid is None:
        return []
    scale = grid.width / frame.width
    finds = []
    for number in numbers:
        x, y = grid.corners[number % len(grid.corners)]
        tile = _tile(frame, x, y, scale, grid)
        found = networks.whole.find(tile, max(search.min_score, FAIR))
        found = _only(found, _whole_in_tile(found.boxes, x, y, grid))
        finds.append(_in_frame(found, scale, x / scale, y / scale))
    return finds


def _tile(frame: Frame, x: int, y: int, scale: float, grid: _TileGrid) -> np.ndarray:
    """One tile of the finer picture, black beyond the picture; the rest of it is never made."""
    step = 1.0 / scale
    left, top = (x + 0.5) * step - 0.5, (y + 0.5) * step - 0.5
    tile = frame.crop(np.array(((step, 0.0, left), (0.0, step, top))), grid.side)
    tile[grid.height - y :] = 0
    tile[:, grid.width - x :] = 0
    return tile


def _whole_in_tile(boxes: np.ndarray, x: int, y: int, grid: _TileGrid) -> np.ndarray:
    """Which boxes are small and not cut by an edge of the tile that is no edge of the picture."""
    side = grid.side
    slack = 0.1 * boxes[:, 2]
    return np.asarray(
        (boxes[:, 2] <= LARGEST_IN_TILE * side)
        & ((boxes[:, 0] >= -slack) | (x == 0))
        & ((boxes[:, 1] >= -slack) | (y == 0))
        & ((boxes[:, 0] + boxes[:, 2] <= side + slack) | (x + side >= grid.width))
        & ((boxes[:, 1] + boxes[:, 3] <= side + slack) | (y + side >= grid.height))
    )


def _second_look(other: FaceNetwork, frame: Frame, found: Candidates, sure: float) -> Candidates:
    """Scores below ``sure`` after another network has looked: two seldom imagine one face."""
    unsure = np.flatnonzero(found.scores < sure)
    if not len(unsure):
        return found
    scores = found.scores.copy()
    for number, row in enumerate(unsure):
        seen = 0.0
        if number < MOST_LOOKS:
            look = _look(other, frame, Box(*found.boxes[row].tolist()), min_score=FAIR)
            same = intersection_over_union(found.boxes[row], look.boxes) > AGREE_IOU
            seen = float(look.scores[same].max(initial=0.0))
        scores[row] = (scores[row] + seen) / 2 if seen else scores[row] * DENIED
    return Candidates(found.boxes, found.keypoints, scores)


def _look(network: FaceNetwork, frame: Frame, box: Box, min_score: float) -> Candidates:
    """The face at or near ``box`` as the network sees it in a window around it; one or none."""
    side = LOOK_SCALE * max(box.w, box.h)
    centre_x, centre_y = box.centre
    x, y = centre_x - side / 2, centre_y - side / 2
    image = window(frame, x, y, side, network.width, network.tone)
    found = _in_frame(network.find(image, min_score), network.width / side, x, y)
    middles = found.boxes[:, :2] + found.boxes[:, 2:] / 2 - (centre_x, centre_y)
    near = np.hypot(middles[:, 0], middles[:, 1]) < 0.8 * max(box.w, box.h)
    alike = (found.boxes[:, 2] > 0.5 * box.w) & (found.boxes[:, 2] < 2.0 * box.w)
    return _only(found, np.flatnonzero(near & alike)[:1])


def window(frame: Frame, x: float, y: float, side: float, pixels: int, tone: int) -> np.ndarray:
    """uint8 RGB (pixels, pixels, 3) of a square window of the frame, ``tone`` beyond it.

    The planes are read only within the window. Colours are those of full-range BT.601, near
    enough for a detector.
    """
    scale = pixels / side
    canvas = np.full((pixels, pixels, 3), tone, np.uint8)
    left, top = max(0, int(x)), max(0, int(y))
    right, bottom = min(frame.width, ceil(x + side)), min(frame.height, ceil(y + side))
    if right - left < 2 or bottom - top < 2:
        return canvas
    to_left, to_top = max(0, round((left - x) * scale)), max(0, round((top - y) * scale))
    to_right = min(pixels, max(to_left + 1, round((right - x) * scale)))
    to_bottom = min(pixels, max(to_top + 1, round((bottom - y) * scale)))
    if to_left >= pixels or to_top >= pixels:
        return canvas
    size = to_right - to_left, to_bottom - to_top
    luma, *chroma = frame.planes()
    step = max(1, int(side) // (4 * pixels))  # very large windows are thinned out first
    layers = [
        cv2.resize(luma[top:bottom:step, left:right:step], size, interpolation=cv2.INTER_AREA)
    ]
    half = (
        slice(top // 2, max(top // 2 + 1, bottom // 2)),
        slice(left // 2, max(left // 2 + 1, right // 2)),
    )
    layers.extend(
        cv2.resize(plane[half][::step, ::step], size, interpolation=cv2.INTER_LINEAR)
        for plane in chroma
    )
    rgb = cv2.cvtColor(cv2.merge(layers), cv2.COLOR_YUV2RGB)
    canvas[to_top:to_bottom, to_left:to_right] = rgb
    return canvas
