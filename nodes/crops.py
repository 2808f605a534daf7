"""The one rule by which pictures are cut for the appearance networks, when serving and training.

Nodes cut from the decoder's planes (:class:`Frame`). A trainer that holds an RGB picture gets the
same cuts: the picture is turned into 4:2:0 planes first, so that chroma is as coarse as in video
and every pixel takes the same way through the same code. Where the picture came out of a video,
give its :class:`Frame`: a round trip through RGB may move its chroma by half a pixel.

========  =====================================  ===============  ======================
cut       square                                 size             outside the picture
========  =====================================  ===============  ======================
face      1.5 x the mesh's box, eyes level       256 (resampled)  its border repeated
context   4.0 x the mesh's box, eyes level       160 (resampled)  black
views     face averaged down, middle, context    160              (as those)
native    1.0 x the mesh's box, upright          96 to 384        moved inside
patches   of the native cut, at mesh points      96               (as native)
mosaic    the middles of four patches            160              (as native)
========  =====================================  ===============  ======================

All are cut without a cast of the light around the face (:mod:`.white_balance`).
"""

from math import ceil

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace

from .frame import Frame, to_rgb_matrix, writable_plane
from .mesh import box_of, square_of_mesh
from .white_balance import gains

FACE_SCALE, FACE_SIZE = 1.5, 256
CONTEXT_SCALE, CONTEXT_SIZE = 4.0, 160
PATCH_SIZE = 96
PATCH_COUNT = 4
NATIVE_MOST = 384
"""Longest side of the native cut in pixels: of larger faces it holds the middle."""

_PATCH_POINTS = (151, 205, 425, 164, 159, 386, 199, 6)
"""Mesh points on which patches are centred, in order: forehead, right and left cheek, between nose
and mouth; then right eye, left eye, chin, bridge of the nose."""
MOST_PATCHES = len(_PATCH_POINTS)


VIEW_SIDE = 160
"""Side of every view of a face, and of the mosaic."""
MOSAIC_SCALES = (0.0,)
"""What a rule says of the mosaic: it has no side over the face's box, since it is of the frame's
own pixels."""
_HEAD = 0.3
"""By how much of its size the face's box is widened to each side to hold hair, ears and neck."""
_MIDDLE = 0.55
"""Side of the middle view as a share of the context crop's, out of which it is cut."""
_PART = 80 / 256
"""Side of a part of the face as a share of the face crop's, out of which it is cut."""
_PART_PLACES = tuple((x / 256, y / 256) for x, y in ((48, 68), (128, 68), (88, 100), (88, 150)))
"""Left and upper edge of the eyes', the nose's and the mouth's square, as shares of the crop.
Squares that lie higher, about eyes and mouth, tell less: cheeks and chin are worth seeing."""


def view_scales(face: float, context: float) -> tuple[float, float, float, float]:
    """Sides of :func:`face_views` over the face's box, given those of the crops."""
    return face, _MIDDLE * context, context, _PART * face


VIEW_SCALES = view_scales(FACE_SCALE, CONTEXT_SCALE)
"""Of the views in order; a network is trained on the first three or on all of them."""


def face_views(face: np.ndarray, context: np.ndarray) -> np.ndarray:
    """A face close by, with shoulders, with its surroundings, and its parts.

    The middle view costs no further cut of the frame, and has no more detail than the wide one: it
    shows the network small faces, and what is close around a face, at a size that it can tell. The
    parts lie side by side in one picture: the eyes with the cheeks under them over the nose and the
    mouth with the chin, in the face crop's own pixels. What covers a part of a face shows its edges
    and its print there.

    Returns:
        uint8 RGB (4, 160, 160, 3).

    Args:
        face: face crop, uint8 RGB (side, side, 3).
        context: context crop, likewise.
    """
    side = len(context)
    rim = round((1 - _MIDDLE) / 2 * side)
    middle = context[rim : side - rim, rim : side - rim]
    enlarged = cv2.resize(middle, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_CUBIC)
    return np.stack([_averaged(face), enlarged, _averaged(context), _parts(face)])


def _parts(face: np.ndarray) -> np.ndarray:
    side, half = len(face), VIEW_SIDE // 2
    length = round(_PART * side)
    pieces = []
    for across, down in _PART_PLACES:
        left, top = round(across * side), round(down * side)
        piece = face[top : top + length, left : left + length]
        pieces.append(piece if length == half else cv2.resize(piece, (half, half)))
    return np.vstack([np.hstack(pieces[:2]), np.hstack(pieces[2:])])


def picture_frame(image: np.ndarray) -> Frame:
    """An RGB picture as a frame, with 4:2:0 planes of the full range (as JPEG has them).

    Args:
        image: uint8 RGB (h, w, 3), h and w at least 2.
    """
    height, width = image.shape[:2]
    picture = av.VideoFrame(width, height, "yuvj420p")
    picture.colorspace = Colorspace.ITU601
    # Not swscale: it rounds down, which would tint every training picture by most of a level.
    luma, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    for plane, values in zip(picture.planes, (luma, _halved(blue), _halved(red)), strict=True):
        writable_plane(plane)[:] = values
    return Frame(picture, 0)


def balanced_to_rgb(frame: Frame, mesh: np.ndarray) -> np.ndarray:
    """float32 (3, 4): R, G, B of a face = matrix @ (Y, U, V, 1), less a cast of the light.

    Args:
        frame: the face is in it.
        mesh: float32 (468, 3), pixels of the frame.
    """
    x, y, w, h = box_of(mesh)
    head = x - _HEAD * w, y - _HEAD * h, (1 + 2 * _HEAD) * w, (1 + 2 * _HEAD) * h
    whole = to_rgb_matrix(frame.picture)
    found = gains(*frame.around(head), whole)
    return whole if found is None else whole * found[:, np.newaxis]


def face_crop(image: np.ndarray | Frame, mesh: np.ndarray) -> np.ndarray:
    """What ``align.crops`` gives at its defaults: uint8 RGB (256, 256, 3).

    Args:
        image: uint8 RGB (h, w, 3), or a frame.
        mesh: float32 (468, 3), pixels of the picture.
    """
    frame, matrix = _frame(image), square_of_mesh(mesh, FACE_SCALE).matrix(FACE_SIZE)
    return frame.crop(matrix, FACE_SIZE, balanced_to_rgb(frame, mesh))


def context_crop(image: np.ndarray | Frame, mesh: np.ndarray) -> np.ndarray:
    """What ``align.contexts`` gives at its defaults: uint8 RGB (160, 160, 3).

    Args:
        image: uint8 RGB (h, w, 3), or a frame.
        mesh: float32 (468, 3), pixels of the picture.
    """
    frame, matrix = _frame(image), square_of_mesh(mesh, CONTEXT_SCALE).matrix(CONTEXT_SIZE)
    return frame.wide_crop(matrix, CONTEXT_SIZE, balanced_to_rgb(frame, mesh))


def face_patches(
    image: np.ndarray | Frame, mesh: np.ndarray, count: int = PATCH_COUNT
) -> np.ndarray:
    """What the node ``patches`` gives: uint8 RGB (count, 96, 96, 3) at native resolution.

    A face narrower than a patch has only one; it is repeated, so that the count is always met
    (the node gives it once: the mean over the patches is the same).

    Args:
        image: uint8 RGB (h, w, 3), or a frame.
        mesh: float32 (468, 3), pixels of the picture.
        count: Wished number, 1 to 8.
    """
    frame = _frame(image)
    matrix, side = native_square(mesh, frame.width, frame.height)
    native = frame.crop(matrix, side, balanced_to_rgb(frame, mesh))
    patches = patches_of(native, mesh[:, :2] - matrix[:, 2], count)
    return np.resize(patches, (count, *patches.shape[1:]))


def native_square(mesh: np.ndarray, width: int, height: int) -> tuple[np.ndarray, int]:
    """Where the native cut of a face lies in a frame of width x height pixels.

    Returns:
        float32 (2, 3), a shift by whole, even pixels (so that luma is copied as it is), and the
        side in pixels: even, 96 to 384.
    """
    box = box_of(mesh)
    side = min(max(PATCH_SIZE, 2 * ceil(max(box.w, box.h) / 2)), NATIVE_MOST)
    x, y = box.centre
    left, top = _start(x, side, width), _start(y, side, height)
    return np.array([[1, 0, left], [0, 1, top]], np.float32), side


def patches_of(native: np.ndarray, points: np.ndarray, count: int = PATCH_COUNT) -> np.ndarray:
    """The different patches of a native cut: uint8 RGB (n, 96, 96, 3).

    Args:
        native: uint8 RGB (side, side, 3).
        points: float (468, 2 or more), the mesh in pixels of the cut.
        count: Wished number, 1 to 8; n is 1 where the cut is no larger than a patch.

    Raises:
        ValueError: The count is not 1 to 8.
    """
    if not 1 <= count <= MOST_PATCHES:
        raise ValueError(f"patches: expected a count of 1 to {MOST_PATCHES}, found {count}")
    room = len(native) - PATCH_SIZE
    if room <= 0 or narrower_than_a_patch(points):
        middle = room // 2
        return native[None, middle : middle + PATCH_SIZE, middle : middle + PATCH_SIZE]
    centres = points[list(_PATCH_POINTS[:count]), :2]
    starts = np.clip(np.rint(centres - PATCH_SIZE / 2).astype(int), 0, room)
    return np.stack([native[y : y + PATCH_SIZE, x : x + PATCH_SIZE] for x, y in starts])


def patch_mosaic(patches: np.ndarray) -> np.ndarray:
    """The middles of four patches side by side: uint8 RGB (1, 160, 160, 3).

    A network of natural pictures wants more room than one patch gives, and pixels that nobody has
    resampled.

    Args:
        patches: uint8 RGB (n, 96, 96, 3); fewer than four are repeated.
    """
    rim = (PATCH_SIZE - VIEW_SIDE // 2) // 2
    middles = patches[:, rim : PATCH_SIZE - rim, rim : PATCH_SIZE - rim]
    one, two, three, four = middles[np.arange(4) % len(middles)]
    rows = np.concatenate([one, two], axis=1), np.concatenate([three, four], axis=1)
    return np.concatenate(rows)[None]


def narrower_than_a_patch(points: np.ndarray) -> bool:
    """Whether a face is narrower than 96 pixels of the frame: it gives one patch only."""
    across = cv2.reduce(np.ascontiguousarray(points[:, :1]), 0, cv2.REDUCE_MAX)
    least = cv2.reduce(np.ascontiguousarray(points[:, :1]), 0, cv2.REDUCE_MIN)
    return float((across - least).item()) < PATCH_SIZE


def _averaged(crop: np.ndarray) -> np.ndarray:
    size = (VIEW_SIDE, VIEW_SIDE)
    return crop if crop.shape[:2] == size else cv2.resize(crop, size, interpolation=cv2.INTER_AREA)


def _start(centre: float, side: int, length: int) -> int:
    """First pixel of a span around ``centre``, moved inside where the frame is long enough."""
    start = round(centre - (side - 1) / 2)
    start = min(max(start, 0), length - side) if length >= side else (length - side) // 2
    return start // 2 * 2


def _halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; an odd last row or column is repeated first."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _frame(image: np.ndarray | Frame) -> Frame:
    return image if isinstance(image, Frame) else picture_frame(image)
