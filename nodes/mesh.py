"""The 468-point face mesh of a track: where to crop, the network, and how it is followed.

Pixels are addressed by their centres: the crop's pixel (0, 0) is the middle of its first pixel, as
in ``cv2.warpAffine`` and :meth:`Frame.crop`.
"""

from dataclasses import dataclass
from math import atan2, cos, exp, hypot, isfinite, log, sin, sqrt
from types import TracebackType
from typing import NamedTuple, Self

import cv2
import numpy as np

from ..engines import Engine, load_engine
from . import canonical
from .frame import Frame
from .payloads import Box, TrackedFace

CROP_SIDE = 192
CROP_SCALE = 1.5
"""Side of the mesh network's crop over the longer side of the face's box: the crop rule that the
network was made for."""
PRESENT = 0.5
"""Presence below this is no face: the mesh is thrown away and the track's box tried again."""

_EYE_CORNERS = np.array([*canonical.RIGHT_EYE_CORNERS, *canonical.LEFT_EYE_CORNERS])
_EYES_OFF = 0.6
"""Largest distance between the middles of the eyes by mesh and by keypoints, in distances between
the eyes. On the real clips it is 0.03 to 0.37, most on heads that are turned; a mesh that has slid
down to the mouth is off by about 1."""
_STILL = 0.04
"""A wish to move the crop by this (shift or growth as a share of its side, turn in radians) is
followed at once; smaller wishes are followed by as much smaller a part of the way."""
_LEAST_STEP = 0.1
_JUMP = 0.05
"""The crop moves along with the track's box where that moved by more than this share of its side;
below, the box's own unsteadiness is larger than what it could tell."""

_CARRY_SHIFT = 0.1
"""A face that has moved by more than this since the network's last look, in distances between the
eyes, is looked at again: a head that moves may turn too, which flow does not see."""
_CARRY_TURN = 0.02
"""The same for growth (as a share) and turn (in radians)."""
_CLOCK_SLACK = 0.002
"""Seconds by which a frame may come before its time: timestamps are rounded to milliseconds."""


class Square(NamedTuple):
    """A turned square in upright pixels of the frame."""

    x: float
    y: float
    side: float
    angle: float
    """Radians, clockwise in the picture."""

    def matrix(self, size: int = CROP_SIDE) -> np.ndarray:
        """float32 (2, 3): pixels of a crop of ``size`` to pixels of the frame."""
        step = self.side / size
        c, s = cos(self.angle) * step, sin(self.angle) * step
        half = (size - 1) / 2
        return np.array(
            [[c, -s, self.x - (c - s) * half], [s, c, self.y - (s + c) * half]], np.float32
        )


class MeshNet:
    """The mesh network, in 32-bit floats.

    With bf16, which CPUs with AMX take by default, the points move in steps of half a crop pixel
    (measured: 0.14 px mean, 0.6 px greatest error), too coarse for registered skin maps; f32
    costs 0.12 ms more.
    """

    def __init__(self, threads: int = 1) -> None:
        self._engine: Engine = load_engine("face_mesh", threads=threads, precision="f32")

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def sha256(self) -> str:
        """SHA-256 of the network's file."""
        return self._engine.sha256

    def infer(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Mesh and presence of one crop.

        Args:
            crop: uint8 RGB (192, 192, 3).

        Returns:
            float32 (468, 3) in crop pixels (pixel centres), z in the same scale with negative
            towards the camera; and the probability 0 to 1 that a face is in the crop.
        """
        found = self._engine.infer({"image": crop[None]})
        mesh: np.ndarray = found["landmarks"].reshape(canonical.MESH_POINTS, 3)
        mesh[:, :2] -= 0.5  # the network counts from the corner of the first pixel
        presence = _sigmoid(float(found["presence"].item()))
        if not isfinite(presence + float(mesh.sum())):
            return np.zeros_like(mesh), 0.0  # a network's NaN is no face
        return mesh, presence

    def close(self) -> None:
        """Give the engine back."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MeshReading(NamedTuple):
    """What the mesh network says of one face in one frame."""

    mesh: np.ndarray
    """float32 (468, 3), pixels of the frame, z in the same scale."""
    crop_mesh: np.ndarray
    """float32 (468, 3), pixels of the crop."""
    presence: float
    crop: np.ndarray
    """uint8 RGB (192, 192, 3), what the network saw."""
    matrix: np.ndarray
    """float32 (2, 3): crop pixels to frame pixels."""
    box: Box
    """Upright box around the mesh in pixels of the frame."""
    holds: bool
    """A face is in the crop, and it is the track's: the boxes agree, and so do the eyes."""
    looked: bool = True
    """The network looked at this very frame; False where optical flow carried its last mesh."""


class KnownMesh(NamedTuple):
    """The network's last word on a track. Picklable."""

    time: float
    """Capture time of its frame."""
    mesh: np.ndarray
    crop_mesh: np.ndarray
    presence: float
    matrix: np.ndarray
    """These as in :class:`MeshReading`."""
    keypoints: np.ndarray
    """complex64 (n,), the track's keypoints in that frame, x + iy."""


@dataclass(slots=True)
class MeshTrack:
    """What is kept of a track to know where to crop next. Picklable."""

    square: Square | None = None
    """The next crop; None where the track's box is to be used."""
    box: Box | None = None
    """The track's box in the last frame."""
    known: KnownMesh | None = None
    """What the network said last; None where that was no face of the track's."""


def follow(
    net: MeshNet,
    frame: Frame,
    face: TrackedFace,
    track: MeshTrack,
    time: float = 0.0,
    period: float = 0.0,
    fresh: bool = False,
) -> MeshReading:
    """Read the mesh of a track in a frame and prepare the next crop.

    The network looks when its last look is ``period`` seconds old (0: at every frame). Between two
    looks the mesh is carried by the tracker's optical flow, as long as that confirms the face and
    the face moves little; one that was just detected, lost or is moving is looked at at once, and
    so is one of which pictures are to be cut (``fresh``).

    The crop follows the mesh of the frame before, moved along with the track's box, as long as a
    face is in it and it agrees with the box; otherwise it starts again from the box. Only the crop
    is steadied (by a filter that yields to real motion, in the manner of the 1-euro filter of
    Casiez et al. 2012), never the mesh.
    """
    carried = None if fresh else _carried(frame, face, track, time, period)
    if carried is not None:
        return carried
    square = _expected(track, face)
    reading = None if square is None else _read(net, frame, square, face)
    if square is None or reading is None or not reading.holds:
        square = square_of_box(face)
        reading = _read(net, frame, square, face)
    track.box = face.box
    track.square = _steadied(square, square_of_mesh(reading.mesh)) if reading.holds else None
    track.known = _known(reading, face, time) if reading.holds and period > 0 else None
    return reading


def _known(reading: MeshReading, face: TrackedFace, time: float) -> KnownMesh | None:
    if face.keypoints is None or len(face.keypoints) < 2:
        return None
    points = _as_complex(face.keypoints)
    return KnownMesh(
        time, reading.mesh, reading.crop_mesh, reading.presence, reading.matrix, points
    )


def _carried(
    frame: Frame, face: TrackedFace, track: MeshTrack, time: float, period: float
) -> MeshReading | None:
    """The last mesh where optical flow has it now; None where the network should look."""
    known = track.known
    if known is None or not known.time < time < known.time + period - _CLOCK_SLACK:
        return None
    if face.detected or face.lost_for > 0 or face.keypoints is None:
        return None
    # The tracker moves keypoints by similarities, so this fit is exact.
    now = _as_complex(face.keypoints)
    if len(now) != len(known.keypoints):
        return None
    was_middle, middle = complex(known.keypoints.mean()), complex(now.mean())
    spread = known.keypoints - was_middle
    turn = complex(np.vdot(spread, now - middle)) / max(float(np.vdot(spread, spread).real), 1e-9)
    shift = middle - was_middle
    apart = abs(known.keypoints[1] - known.keypoints[0])
    if not (abs(shift) <= _CARRY_SHIFT * apart and abs(turn - 1) <= _CARRY_TURN):
        return None
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]], np.float32)
    offset = middle - turn * was_middle
    matrix = np.empty((2, 3), np.float32)
    matrix[:, :2] = rotation @ known.matrix[:, :2]
    matrix[:, 2] = rotation @ known.matrix[:, 2] + (offset.real, offset.imag)
    mesh = to_frame(known.crop_mesh, matrix)
    track.box = face.box
    if track.square is not None:
        track.square = _square_under(matrix)
    crop = frame.crop(matrix, CROP_SIDE)
    box = box_of(mesh)
    return MeshReading(mesh, known.crop_mesh, known.presence, crop, matrix, box, True, looked=False)


def _square_under(matrix: np.ndarray) -> Square:
    """The square of a crop's matrix: where the next crop is expected."""
    half = (CROP_SIDE - 1) / 2
    x, y = matrix @ np.array((half, half, 1.0), np.float32)
    c, s = float(matrix[0, 0]), float(matrix[1, 0])
    return Square(float(x), float(y), hypot(c, s) * CROP_SIDE, atan2(s, c))


def _as_complex(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(points, np.float32).view(np.complex64).ravel()


def square_of_box(face: TrackedFace) -> Square:
    """Crop for a face that is known only by its box, and its eyes where the detector gives them."""
    x, y = face.box.centre
    angle = 0.0
    if face.keypoints is not None:
        across = face.keypoints[1] - face.keypoints[0]
        angle = atan2(float(across[1]), float(across[0]))
    return Square(x, y, CROP_SCALE * max(face.box.w, face.box.h, 1.0), angle)


def square_of_mesh(mesh: np.ndarray, scale: float = CROP_SCALE) -> Square:
    """Square around a mesh with the eyes level, ``scale`` times the longer side of its box."""
    right_x, right_y, _ = mesh[canonical.RIGHT_EYE_OUTER].tolist()
    left_x, left_y, _ = mesh[canonical.LEFT_EYE_OUTER].tolist()
    angle = atan2(left_y - right_y, left_x - right_x)
    c, s = cos(angle), sin(angle)
    level = mesh @ np.array(((c, -s), (s, c), (0.0, 0.0)), np.float32)
    left, top, width, height = _extent(level)
    x, y = left + width / 2, top + height / 2
    side = scale * max(width, height, 1.0)
    return Square(c * x - s * y, s * x + c * y, side, angle)


def to_frame(mesh: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Mesh (468, 3) from crop pixels to frame pixels."""
    (xx, xy, x), (yx, yy, y) = matrix.tolist()
    turn = np.array(((xx, yx, 0.0), (xy, yy, 0.0), (0.0, 0.0, hypot(xx, yx))), np.float32)
    moved: np.ndarray = mesh @ turn
    moved += np.array((x, y, 0.0), np.float32)
    return moved


def to_crop(mesh: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Mesh (468, 3) from frame pixels to the pixels of a crop (of :meth:`Square.matrix`)."""
    step = float(hypot(matrix[0, 0], matrix[1, 0]))
    turn = matrix[:, :2] / step**2
    moved = mesh / np.float32(step)
    moved[:, :2] = (mesh[:, :2] - matrix[:, 2]) @ turn
    return moved


def box_of(mesh: np.ndarray) -> Box:
    """Upright box around a mesh in frame pixels."""
    return _extent(mesh)


def _extent(points: np.ndarray) -> Box:
    """Box around points (n, 2 or more); OpenCV takes a tenth of the time that NumPy takes."""
    left, top = cv2.reduce(points, 0, cv2.REDUCE_MIN)[0, :2].tolist()
    right, bottom = cv2.reduce(points, 0, cv2.REDUCE_MAX)[0, :2].tolist()
    return Box(left, top, right - left, bottom - top)


def _read(net: MeshNet, frame: Frame, square: Square, face: TrackedFace) -> MeshReading:
    matrix = square.matrix()
    crop = frame.crop(matrix, CROP_SIDE)
    crop_mesh, presence = net.infer(crop)
    mesh = to_frame(crop_mesh, matrix)
    box = box_of(mesh)
    holds = presence >= PRESENT and _agree(box, face.box) and _eyes_agree(mesh, face.keypoints)
    return MeshReading(mesh, crop_mesh, presence, crop, matrix, box, holds)


def _expected(track: MeshTrack, face: TrackedFace) -> Square | None:
    """Where the next crop should be, by the frame before and the way the track's box went."""
    square = track.square
    if square is None or track.box is None:
        return None
    (x, y), (was_x, was_y) = face.box.centre, track.box.centre
    if hypot(x - was_x, y - was_y) > _JUMP * square.side:
        square = square._replace(x=square.x + x - was_x, y=square.y + y - was_y)
    return square


def _agree(one: Box, other: Box) -> bool:
    """Two boxes can be of the same face: near each other, and neither much larger."""
    (x, y), (other_x, other_y) = one.centre, other.centre
    side, other_side = sqrt(max(one.w * one.h, 1.0)), sqrt(max(other.w * other.h, 1.0))
    near = hypot(x - other_x, y - other_y) < 0.5 * max(side, other_side)
    return near and 0.4 < side / other_side < 2.5


def _eyes_agree(mesh: np.ndarray, keypoints: np.ndarray | None) -> bool:
    """The mesh's eyes lie where the track's keypoints have them.

    With a hand before the mouth the network may lay a face over mouth and hand, and be sure of it.
    """
    if keypoints is None:
        return True
    (right_x, right_y), (left_x, left_y) = keypoints[:2].tolist()
    corners = mesh[_EYE_CORNERS].tolist()
    x, y = (sum(corner[axis] for corner in corners) / len(corners) for axis in (0, 1))
    apart = hypot(left_x - right_x, left_y - right_y)
    off = hypot(x - (left_x + right_x) / 2, y - (left_y + right_y) / 2)
    return off <= _EYES_OFF * apart


def _steadied(now: Square, wish: Square) -> Square:
    """The part of the way from the present crop to the wished one that is worth going."""
    turn = (wish.angle - now.angle + np.pi) % (2 * np.pi) - np.pi
    growth = log(wish.side / now.side)
    shift = hypot(wish.x - now.x, wish.y - now.y) / now.side
    step = min(1.0, max(_LEAST_STEP, max(shift, abs(growth), abs(turn)) / _STILL))
    return Square(
        now.x + step * (wish.x - now.x),
        now.y + step * (wish.y - now.y),
        now.side * (wish.side / now.side) ** step,
        now.angle + step * float(turn),
    )


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + exp(-min(max(logit, -60.0), 60.0)))
