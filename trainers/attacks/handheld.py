"""Flat media in the hand: how they move, where they are seen, and how sheets bend.

A print, a photo or a device is a rectangle in metres, its own axes x right and y down from its
upper left corner. The camera looks along z (x right, y down, metres); pixels are counted by their
centres. Sheets are bent to a part of a cylinder, turned and seen in perspective (Guo et al.,
Improving Face Anti-Spoofing by 3D Virtual Synthesis, ICB 2019; METHODS 13.4).
"""

from dataclasses import dataclass
from math import ceil, pi
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from annotated_types import Interval

from ...nodes.pose import rotation_of
from .motion import Path, band_noise, smooth_noise
from .parameters import Array, NotNegative, Positive

_TREMOR_BAND = (6.0, 12.0)
"""Hz: physiological tremor of hands and arms (Elble and Koller 1990)."""
_TREMOR_RATE = 60.0
"""Motion is drawn at this rate or faster, then sampled, so that slow cameras alias tremor."""
_NEAREST = 0.05
_STEP = 4
"""Pixels between the samples of a bent sheet's map, which is smooth."""
_FLATTEST = 1e-6
"""Curvature in 1/m below which a sheet is flat: over a metre it is off by half a micrometre."""


class Pose(NamedTuple):
    """Where a medium is."""

    position: tuple[float, float, float]
    """Its middle, metres, in the camera's axes."""
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Yaw, pitch, roll in degrees as in ``rotation_of``; 0: square to the camera's axis."""


@dataclass(frozen=True, slots=True)
class HoldParams:
    """How a medium is held."""

    at: tuple[float, float, float] = (0.0, 0.0, 0.45)
    """Where, on average: metres, in the camera's axes."""
    facing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Yaw, pitch, roll on average, degrees."""
    sway: NotNegative = 0.006
    """Standard deviation of the place in metres, along each axis; 0: on a stand."""
    turn: tuple[NotNegative, NotNegative, NotNegative] = (2.5, 2.5, 1.2)
    """Standard deviation of yaw, pitch and roll in degrees."""
    cutoff: Positive = 0.5
    """Hz above which sway and turning fade."""
    tremor: NotNegative = 0.0004
    """Standard deviation in metres of trembling at 6 to 12 Hz."""
    tremor_turn: Annotated[float, Interval(ge=0, le=5)] = 0.12
    """The same of each angle in degrees: 0.4 mm at a lever of 0.2 m."""


@dataclass(frozen=True, slots=True)
class RaiseParams:
    """How a medium comes before a face that was there already."""

    after: NotNegative
    """Seconds of the video at which it enters the picture from below."""
    seconds: Positive = 0.6
    """How long it is on its way."""


class SheetMap(NamedTuple):
    """Which place of a medium every pixel of the camera sees."""

    x: Array
    """float32 (h, w): metres from the medium's left edge; means nothing beside the medium."""
    y: Array
    """float32 (h, w): metres from its upper edge."""
    inside: Array
    """float32 (h, w): share of the pixel that the medium covers; between 0 and 1 on its edges."""


def held_path(params: HoldParams, frames: int, fps: float, rng: np.random.Generator) -> Path:
    """A medium held in the hand: slow sway and turning, and tremor.

    Args:
        params: The hold.
        frames: How many.
        fps: Frames per second.
        rng: Source.

    Returns:
        A path of the medium's middle in the camera's axes, ``walking`` 0.
    """
    finer = max(1, ceil(_TREMOR_RATE / fps))
    count, rate = frames * finer, fps * finer
    slow = smooth_noise(rng, count, rate, params.cutoff, 6)[::finer]
    fast = band_noise(rng, count, rate, *_TREMOR_BAND, 6)[::finer]
    position = params.sway * slow[:, :3] + params.tremor * fast[:, :3]
    angles = slow[:, 3:] * params.turn + params.tremor_turn * fast[:, 3:]
    return Path(position + params.at, angles + params.facing, np.zeros(frames))


def pose_at(path: Path, index: int) -> Pose:
    """The medium's pose at one frame of a path."""
    x, y, z = path.position[index].tolist()
    yaw, pitch, roll = path.angles[index].tolist()
    return Pose((x, y, z), (yaw, pitch, roll))


def raised_pose(
    held: Pose, params: RaiseParams, seconds: float, focal_px: float, rows: int
) -> Pose:
    """Where a medium is on its way from below the picture to where it is held.

    Args:
        held: Where it is held, once there.
        params: When it comes, and how fast.
        seconds: Of the video, from ``params.after`` on.
        focal_px: Focal length in pixels.
        rows: Of the picture, pixels.
    """
    way = float(np.clip((seconds - params.after) / params.seconds, 0.0, 1.0))
    left = 1.0 - way * way * (3.0 - 2.0 * way)
    x, y, z = held.position
    return Pose((x, y + 1.2 * left * rows * z / focal_px, z), held.angles)


def plane_homography(
    pose: Pose, size_m: tuple[float, float], focal_px: float, centre: tuple[float, float]
) -> Array:
    """Where a flat medium's points are seen.

    Args:
        pose: The medium's.
        size_m: Its width and height in metres.
        focal_px: Focal length in pixels.
        centre: The pixel (x, y) on the camera's axis.

    Returns:
        float64 (3, 3): (x, y, 1) in metres from the medium's upper left corner to homogeneous
        pixels, scaled so that the third is the distance along z in metres.

    Raises:
        ValueError: A corner is nearer than 5 cm or behind the camera.
    """
    turn = rotation_of(*pose.angles)
    corner = np.asarray(pose.position) - turn[:, :2] @ np.asarray(size_m) / 2
    plane = np.column_stack([turn[:, :2], corner])
    width, height = size_m
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    _check_before_camera(plane[2] @ corners)
    return np.asarray(_camera_matrix(focal_px, centre) @ plane)


def bent_points(
    points: Array, curvature: float, axis_angle: float, size_m: tuple[float, float]
) -> Array:
    """A medium's points where its sheet is bent.

    Distances along the sheet are kept: paper does not stretch.

    Args:
        points: float (n, 2): metres from the upper left corner of the flat sheet.
        curvature: 1/radius in 1/m; positive bulges towards the camera, 0 is flat.
        axis_angle: Degrees by which the cylinder's axis is turned from upright, clockwise.
        size_m: Width and height of the flat sheet in metres.

    Returns:
        float64 (n, 3): metres in the sheet's axes about its middle, where it touches z = 0.
    """
    along, axis = _directions(axis_angle)
    flat = np.asarray(points, np.float64) - np.asarray(size_m) / 2
    arc, beside = flat @ along, flat @ axis
    angle = arc * curvature
    half = np.sinc(angle / (2 * pi))  # sin(angle / 2) / (angle / 2), which holds at 0
    across = arc * np.sinc(angle / pi)
    depth = 0.5 * curvature * (arc * half) ** 2
    return np.column_stack([across[:, None] * along + beside[:, None] * axis, depth])


def bent_places(
    points: Array,
    curvature: float,
    axis_angle: float,
    size_m: tuple[float, float],
    pose: Pose,
    focal_px: float,
    centre: tuple[float, float],
) -> Array:
    """Pixels float64 (n, 2) where points of a bent sheet are seen; arguments as in `bent_grid`.

    Raises:
        ValueError: A point is nearer than 5 cm or behind the camera.
    """
    bent = bent_points(points, curvature, axis_angle, size_m)
    there = bent @ rotation_of(*pose.angles).T + pose.position
    _check_before_camera(there[:, 2])
    return np.asarray(there[:, :2] / there[:, 2:] * focal_px + centre)


def bent_grid(
    curvature: float,
    axis_angle: float,
    size_m: tuple[float, float],
    pose: Pose,
    focal_px: float,
    centre: tuple[float, float],
    shape: tuple[int, int],
) -> SheetMap:
    """Which place of a bent sheet every pixel sees.

    The pixels' rays are met with the cylinder on a grid of every fourth pixel; the rest is
    interpolated. To fetch a picture that fills the sheet, `cv2.remap` takes
    ``x * picture_width / size_m[0] - 0.5`` and likewise y. Only the side towards the camera is
    seen: a part of a strongly bent sheet that shows its back is missing.

    Args:
        curvature: 1/radius in 1/m; positive bulges towards the camera, 0 is flat.
        axis_angle: Degrees by which the cylinder's axis is turned from upright, clockwise.
        size_m: Width and height of the flat sheet in metres.
        pose: The sheet's middle, and how the plane that touches it there is turned.
        focal_px: Focal length in pixels.
        centre: The pixel (x, y) on the camera's axis.
        shape: Height and width of the picture in pixels.

    Returns:
        The map.

    Raises:
        ValueError: The sheet bends by more than a quarter turn to each side, or its middle is
            nearer than 5 cm or behind the camera.
    """
    _check_bend(curvature, axis_angle, size_m)
    _check_before_camera(np.array([pose.position[2]]))
    rows, columns = (-(-side // _STEP) + 2 for side in shape)
    x = (np.arange(columns) - 0.5) * _STEP - 0.5
    y = (np.arange(rows) - 0.5) * _STEP - 0.5
    places, met = _met(x, y, curvature, axis_angle, size_m, pose, focal_px, centre)
    edges = [_pixels_within(place, side) for place, side in zip(places, size_m, strict=True)]
    map_x, map_y = (_enlarged(place, shape) for place in places)
    inside = np.clip(_enlarged(edges[0], shape) + 0.5, 0.0, 1.0)
    inside *= np.clip(_enlarged(edges[1], shape) + 0.5, 0.0, 1.0)
    if not met.all():
        # Where the cylinder turns away its edge lies half way between the samples on and beside.
        inside *= np.clip((_enlarged(met, shape) - 0.5) * _STEP + 0.5, 0.0, 1.0)
    return SheetMap(map_x, map_y, inside)


def _enlarged(coarse: Array, shape: tuple[int, int]) -> Array:
    """Samples of every fourth pixel, with one more all around, to float32 of all pixels."""
    samples = coarse.astype(np.float32)
    fine = cv2.resize(samples, None, fx=_STEP, fy=_STEP, interpolation=cv2.INTER_LINEAR)
    part = fine[_STEP : _STEP + shape[0], _STEP : _STEP + shape[1]]
    return np.ascontiguousarray(part)


def _met(
    x: Array,
    y: Array,
    curvature: float,
    axis_angle: float,
    size_m: tuple[float, float],
    pose: Pose,
    focal_px: float,
    centre: tuple[float, float],
) -> tuple[tuple[Array, Array], Array]:
    """Where the rays of a grid of pixels meet the sheet, in metres, and whether they do.

    In the sheet's axes (u along the bend, z into depth) the cylinder is the points with
    ``curvature * (u^2 + z^2) = 2 z``, which is the plane z = 0 where the curvature is 0. The root
    taken is the one that becomes the plane's as the curvature goes to 0.
    """
    along, axis = _directions(axis_angle)
    turn = rotation_of(*pose.angles)
    frame = np.column_stack([turn[:, :2] @ along, turn[:, :2] @ axis, turn[:, 2]])
    eye = -np.asarray(pose.position) @ frame
    right = (x - centre[0])[None, :] / focal_px
    down = (y - centre[1])[:, None] / focal_px
    ray_u, ray_v, ray_z = (right * frame[0, i] + down * frame[1, i] + frame[2, i] for i in range(3))
    square = curvature * (ray_u**2 + ray_z**2)
    half = ray_z - curvature * (eye[0] * ray_u + eye[2] * ray_z)
    constant = curvature * (eye[0] ** 2 + eye[2] ** 2) - 2 * eye[2]
    inner = half**2 - square * constant
    root = np.sqrt(np.maximum(inner, 0.0))
    # Two forms of the same root: each where the other one would subtract like numbers.
    stable = half >= 0
    bottom = np.where(stable, half + root, square)
    safe = np.where(np.abs(bottom) > 1e-12, bottom, 1e-12)
    distance = np.where(stable, constant, half - root) / safe
    u, v, z = (eye[i] + distance * ray for i, ray in enumerate((ray_u, ray_v, ray_z)))
    if abs(curvature) > _FLATTEST:
        u = np.arctan2(curvature * u, 1.0 - curvature * z) / curvature
    met = (inner >= 0) & (distance > 0)
    across = u * along[0] + v * axis[0] + size_m[0] / 2
    upright = u * along[1] + v * axis[1] + size_m[1] / 2
    return (across, upright), met


def _pixels_within(place: Array, side: float) -> Array:
    """Pixels from the nearer of two opposite edges, positive inside."""
    by_row, by_column = np.gradient(place, _STEP)
    metres_per_pixel = np.maximum(np.hypot(by_row, by_column), 1e-9)
    return np.asarray(np.clip(np.minimum(place, side - place) / metres_per_pixel, -1e4, 1e4))


def _directions(axis_angle: float) -> tuple[Array, Array]:
    """Unit vectors (2,) in the sheet: along the bend, and along the cylinder's axis."""
    c, s = np.cos(np.radians(axis_angle)), np.sin(np.radians(axis_angle))
    return np.array([c, s]), np.array([-s, c])


def _camera_matrix(focal_px: float, centre: tuple[float, float]) -> Array:
    return np.array([[focal_px, 0.0, centre[0]], [0.0, focal_px, centre[1]], [0.0, 0.0, 1.0]])


def _check_before_camera(z: Array) -> None:
    if float(z.min()) < _NEAREST:
        raise ValueError(
            f"pose: expected all of the medium {_NEAREST} m or more before the camera, "
            f"found a point at z = {float(z.min()):.3f} m; move it away or turn it less"
        )


def _check_bend(curvature: float, axis_angle: float, size_m: tuple[float, float]) -> None:
    along, _ = _directions(axis_angle)
    reach = float(np.abs(along) @ np.asarray(size_m)) / 2
    if abs(curvature) * reach > pi / 2:
        raise ValueError(
            f"curvature: expected at most {pi / 2 / reach:.2f} per metre for a sheet of "
            f"{size_m[0]} x {size_m[1]} m (a quarter turn to each side), found {curvature}; "
            "bend it less"
        )
