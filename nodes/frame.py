"""One decoded picture, kept as its 4:2:0 planes."""

from dataclasses import dataclass, field
from math import ceil, floor, isfinite, log2, sqrt
from threading import Lock, local
from typing import Literal, NamedTuple, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

Rectangle = tuple[float, float, float, float]
ClockQuality = Literal["none", "arrival", "container", "ntp"]

_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_BT709, _UNSPECIFIED, _BT2020, _BT2020_CL = 1, 2, 9, 10  # values of AVColorSpace
_FULL_RANGE = 2  # value of AVColorRange
_CHROMA_ROWS = 48
"""Of the grid on which the picture's colours are looked at, at least where there are as many."""


class CropPlanes(NamedTuple):
    """A crop as 8-bit 4:2:0 planes with chroma samples in the middle of 2x2 luma samples."""

    y: np.ndarray
    """uint8 (size, size)."""
    u: np.ndarray
    """uint8 (size / 2, size / 2)."""
    v: np.ndarray
    """uint8 (size / 2, size / 2)."""
    to_rgb: np.ndarray
    """float32 (3, 4): R, G, B = matrix @ (Y, U, V, 1), for this picture's colour space."""

    def rgb(self) -> np.ndarray:
        """The crop as uint8 RGB of shape (size, size, 3)."""
        size = self.y.shape[::-1]
        u = cv2.resize(self.u, size, interpolation=cv2.INTER_LINEAR)
        v = cv2.resize(self.v, size, interpolation=cv2.INTER_LINEAR)
        return cv2.transform(cv2.merge((self.y, u, v)), self.to_rgb)


_of_thread = local()


def _reformatter() -> VideoReformatter:
    """This thread's own scaler.

    The detector and a sink that draws may scale one frame at the same time, and a scaler that two
    threads use at once reads memory that is no longer there.
    """
    found: VideoReformatter | None = getattr(_of_thread, "reformatter", None)
    if found is None:
        found = _of_thread.reformatter = VideoReformatter()
    return found


@dataclass(slots=True)
class Frame:
    """A picture as the decoder gave it, addressed in *upright* pixels.

    Upright means after the container's rotation; every width, height, box and matrix in padflow
    is upright, and whole numbers are the middles of pixels. The planes stay those of the decoder:
    nothing converts a whole frame to RGB except a sink that draws. Not picklable: frames never
    leave their process.
    """

    picture: av.VideoFrame
    """8-bit planar 4:2:0 (yuv420p or yuvj420p), in stored orientation."""
    index: int
    """Counts the decoded frames of the stream from 0."""
    rotation: int = 0
    """Clockwise turn in degrees (0, 90, 180, 270) that makes the picture upright."""
    media_time: float | None = None
    """Presentation time as the container has it, in seconds."""
    utc: float | None = None
    """Unix time of capture in seconds, where known."""
    clock: ClockQuality = "none"
    """Where ``utc`` comes from."""
    corrupt: bool = False
    """The decoder marked the picture as damaged: not to be used as evidence."""
    _scaling: Lock = field(default_factory=Lock, repr=False, compare=False)
    """Held while the picture is scaled: PyAV rewrites its colour tags meanwhile."""
    _colour: float | None = field(default=None, repr=False, compare=False)
    """:meth:`colour_reach`, once it was asked for."""

    @property
    def width(self) -> int:
        """Upright width in pixels."""
        return self.picture.height if self.rotation in (90, 270) else self.picture.width

    @property
    def height(self) -> int:
        """Upright height in pixels."""
        return self.picture.width if self.rotation in (90, 270) else self.picture.height

    def planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Upright views of Y (height, width) and U, V (half size, rounded up), uint8, no copy."""
        turns = -self.rotation // 90
        y, u, v = (np.rot90(_plane(p), turns) for p in self.picture.planes)
        return y, u, v

    def luma(self) -> np.ndarray:
        """Upright view of Y alone: uint8 (height, width), no copy."""
        y = _plane(self.picture.planes[0])
        return np.rot90(y, -self.rotation // 90) if self.rotation else y

    def colour_reach(self) -> float:
        """How far the colours of the whole picture reach from its most usual one, in chroma levels.

        The 99th percentile of the distances from the median (U, V), on a coarse grid. Some cameras
        tint what they take at night; a tint that is everywhere is no colour. The whole picture
        counts, since a grey sheet before a camera of colours is an attack and no reason to say
        nothing. Measured once, however many faces are in the picture.
        """
        if self._colour is None:
            u, v = (_plane(plane) for plane in self.picture.planes[1:])
            step = _grid_step(u)
            seen = np.stack([plane[::step, ::step].ravel() for plane in (u, v)]).astype(np.float32)
            away = seen - np.median(seen, axis=1, keepdims=True)
            self._colour = float(np.quantile(np.hypot(away[0], away[1]), 0.99))
        return self._colour

    def around(self, box: Rectangle) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Y, U and V of pixels on a coarse grid outside of a box, uint8 (N,) each.

        Args:
            box: x, y, width and height in upright pixels.
        """
        y, u, v = self.planes()
        step = _grid_step(u)
        seen = y[:: 2 * step, :: 2 * step], u[::step, ::step], v[::step, ::step]
        rows, columns = (2 * step * np.arange(count) for count in seen[0].shape)
        left, top, width, height = box
        within = (rows >= top) & (rows < top + height)
        outside = ~np.logical_and.outer(within, (columns >= left) & (columns < left + width))
        luma, blue, red = (plane[outside] for plane in seen)
        return luma, blue, red

    def thumbnail(self, width: int, height: int) -> np.ndarray:
        """The whole picture, area-averaged, as uint8 RGB of shape (height, width, 3)."""
        turned = self.rotation in (90, 270)
        with self._scaling:
            scaled = _reformatter().reformat(
                self.picture,
                height if turned else width,
                width if turned else height,
                "rgb24",
                src_colorspace=_colorspace(self.picture),
                interpolation=Interpolation.AREA,
                threads=1,
            )
        small = scaled.to_ndarray()
        return np.ascontiguousarray(np.rot90(small, -self.rotation // 90))

    def crop(self, matrix: np.ndarray, size: int, to_rgb: np.ndarray | None = None) -> np.ndarray:
        """A square piece of the picture, straight from the planes, as uint8 RGB (size, size, 3).

        Where the piece is larger than ``size`` it is averaged down, so that nothing aliases;
        outside the picture its border is repeated.

        Args:
            matrix: float (2, 3), maps crop pixels to upright frame pixels (a similarity).
            size: Side in pixels, even.
            to_rgb: float32 (3, 4), R, G, B = matrix @ (Y, U, V, 1); None: the picture's own.

        Raises:
            ValueError: The matrix is not finite or the size is odd.
        """
        planes = self.crop_planes(matrix, size)
        return (planes if to_rgb is None else planes._replace(to_rgb=to_rgb)).rgb()

    def luma_crop(self, matrix: np.ndarray, size: int) -> np.ndarray:
        """As :meth:`crop`, but of the luma alone: uint8 (size, size).

        Raises:
            ValueError: The matrix is not finite or the size is odd.
        """
        luma, _ = self._plane_maps(matrix, size)
        return _resample(_plane(self.picture.planes[0]), luma, size, smooth=True)

    def small_luma(self, longest: int) -> tuple[np.ndarray, int]:
        """The whole picture's luma, area-averaged, and how many pixels one of it stands for.

        Args:
            longest: its longer side is no longer than this, in pixels.

        Returns:
            uint8 (height // step, width // step), and the step.
        """
        luma = self.luma()
        step = ceil(max(luma.shape) / longest)
        height, width = (max(1, side // step) for side in luma.shape)
        whole = luma[: height * step, : width * step]
        return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), step

    def wide_crop(
        self, matrix: np.ndarray, size: int, to_rgb: np.ndarray | None = None
    ) -> np.ndarray:
        """As :meth:`crop`, for pieces far larger than ``size``: uint8 RGB (size, size, 3).

        All planes are filtered so that a pattern finer than the crop can show fades to grey
        instead of coming back as a coarse one (moiré is a sign of a screen: shrinking must not
        make it). Outside the picture it is black.

        Args:
            matrix: float (2, 3), maps crop pixels to upright frame pixels (a similarity).
            size: Side in pixels, even.
            to_rgb: as of :meth:`crop`.

        Raises:
            ValueError: The matrix is not finite or the size is odd.
        """
        luma, chroma = self._plane_maps(matrix, size)
        y, u, v = (_plane(p) for p in self.picture.planes)
        rgb = CropPlanes(
            _shrunk(y, luma, size),
            _shrunk(u, chroma, size // 2),
            _shrunk(v, chroma, size // 2),
            to_rgb_matrix(self.picture) if to_rgb is None else to_rgb,
        ).rgb()
        return _blackened(rgb, luma, self.picture.width, self.picture.height)

    def crop_planes(self, matrix: np.ndarray, size: int) -> CropPlanes:
        """As :meth:`crop`, but as 4:2:0 planes: half the bytes (98,304 for a size of 256)."""
        luma, chroma = self._plane_maps(matrix, size)
        y, u, v = (_plane(p) for p in self.picture.planes)
        return CropPlanes(
            _resample(y, luma, size, smooth=True),
            # Chroma is smooth by nature: smoothing it again is not worth its time.
            _resample(u, chroma, size // 2, smooth=False),
            _resample(v, chroma, size // 2, smooth=False),
            to_rgb_matrix(self.picture),
        )

    def _plane_maps(self, matrix: np.ndarray, size: int) -> "tuple[Affine, Affine]":
        """Maps of a crop's luma and chroma pixels to those of the stored planes."""
        if size % 2 or size <= 0:
            raise ValueError(f"crop: the size must be even and positive, found {size}")
        picture = self.picture
        luma = _stored_from_upright(matrix, self.rotation, picture.width, picture.height)
        if not all(map(isfinite, luma)):
            raise ValueError("crop: the matrix must be finite, found NaN or infinity in it")
        # A chroma sample of the crop lies in the middle of its 2x2 luma samples; of the picture
        # too (JPEG, MPEG-1) or, by default in H.264 and H.265, on the left ones.
        left = 0.0 if picture.format.name == "yuvj420p" else 0.25
        xx, xy, x, yx, yy, y_ = luma
        return luma, Affine(
            *(xx, xy, (x + (xx + xy) / 2) / 2 + left - 0.25),
            *(yx, yy, (y_ + (yx + yy) / 2) / 2 - 0.25),
        )


def _grid_step(chroma: np.ndarray) -> int:
    """Samples of chroma from one place of the coarse grid to the next."""
    shorter: int = min(chroma.shape)
    return max(1, shorter // _CHROMA_ROWS)


def to_rgb_matrix(picture: av.VideoFrame) -> np.ndarray:
    """float32 (3, 4) that takes (Y, U, V, 1) of a picture to R, G, B, all 0 to 255.

    After ITU-R BT.601, BT.709 and BT.2020; limited or full range as the picture says. A picture
    that names no colour space is taken for BT.709 from 1280 pixels width or 577 lines on, as video
    players do, and for BT.601 below.
    """
    full = picture.color_range == _FULL_RANGE or picture.format.name == "yuvj420p"
    return _RGB_MATRICES[_colorspace(picture), full]


def _colorspace(picture: av.VideoFrame) -> Colorspace:
    """Which matrix the picture's colours were made with."""
    space = picture.colorspace
    if space == _UNSPECIFIED or space == 0:
        large = picture.width >= 1280 or picture.height > 576
        return Colorspace.ITU709 if large else Colorspace.ITU601
    if space in (_BT2020, _BT2020_CL):
        return Colorspace.BT2020
    return Colorspace.ITU709 if space == _BT709 else Colorspace.ITU601


def _rgb_matrix(kr: float, kb: float, full: bool) -> np.ndarray:
    kg = 1.0 - kr - kb
    luma, chroma, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    red, blue = 2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma
    green_u, green_v = -blue * kb / kg, -red * kr / kg
    rows = np.array(((luma, 0, red), (luma, green_u, green_v), (luma, blue, 0)))
    offset = -rows @ (black, 128.0, 128.0)
    return np.column_stack((rows, offset)).astype(np.float32)


_RGB_MATRICES = {
    (space, full): _rgb_matrix(kr, kb, full)
    for space, kr, kb in (
        (Colorspace.ITU601, 0.299, 0.114),
        (Colorspace.ITU709, 0.2126, 0.0722),
        (Colorspace.BT2020, 0.2627, 0.0593),
    )
    for full in (False, True)
}


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    buffer = cast(memoryview, plane)  # it is a buffer, which its type stub forgets to say
    rows = np.frombuffer(buffer, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def writable_plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """View of a plane of a picture that is being made: uint8 (height, width)."""
    rows = np.asarray(memoryview(cast(memoryview, plane))).view(np.uint8)
    return rows.reshape(plane.height, plane.line_size)[:, : plane.width]


class Affine(NamedTuple):
    """An affine map of pixels in plain numbers: for six of them NumPy takes ten times as long."""

    xx: float
    xy: float
    x: float
    """The map's x is ``xx`` times x plus ``xy`` times y plus this."""
    yx: float
    yy: float
    y: float


def _stored_from_upright(matrix: np.ndarray, rotation: int, width: int, height: int) -> Affine:
    """A map (2, 3) to upright pixels as one to those of a stored picture of width x height."""
    (xx, xy, x), (yx, yy, y) = np.asarray(matrix, np.float64).tolist()
    if rotation == 90:
        return Affine(yx, yy, y, -xx, -xy, height - 1.0 - x)
    if rotation == 180:
        return Affine(-xx, -xy, width - 1.0 - x, -yx, -yy, height - 1.0 - y)
    if rotation == 270:
        return Affine(-yx, -yy, width - 1.0 - y, xx, xy, x)
    return Affine(xx, xy, x, yx, yy, y)


_SMOOTH_FROM = 1.2
"""Plane pixels per crop pixel from which bilinear interpolation alone would alias visibly."""


def _resample(plane: np.ndarray, affine: Affine, size: int, smooth: bool) -> np.ndarray:
    """A (size, size) piece of one plane; ``affine`` maps its pixels to the plane's.

    Averages whole blocks while the piece is at least twice as coarse as the plane, smooths by
    what a box of the remaining scale would, and interpolates bilinearly.
    """
    scale = sqrt(abs(affine.xx * affine.yy - affine.xy * affine.yx))
    if scale >= (_SMOOTH_FROM if smooth else 2.0):
        plane, affine = _averaged(plane, affine, size, scale, smooth)
    matrix = np.array(affine).reshape(2, 3)
    return cv2.warpAffine(plane, matrix, (size, size), flags=_WARP, borderMode=cv2.BORDER_REPLICATE)


def _averaged(
    plane: np.ndarray, affine: Affine, size: int, scale: float, smooth: bool
) -> tuple[np.ndarray, Affine]:
    """The part of a plane under a crop, averaged to about the crop's scale, and its map."""
    block = min(1 << floor(log2(scale)), min(plane.shape))
    part, affine = _part_under(plane, affine, size, block, margin=2)
    rest = scale / block
    if smooth and _SMOOTH_FROM < rest < 2.0:
        side = (rest * rest - 1) / 24  # gives the three taps the variance that the box adds
        taps = np.array((side, 1 - 2 * side, side), np.float32)
        # Not GaussianBlur: on part of a plane it costs three times as much.
        part = cv2.sepFilter2D(part, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return part, affine


_SIGMA = 0.45
"""Width of the low-pass of :func:`_shrunk` in pixels of the crop: of a pattern as fine as two
crop pixels a third is left, of one as fine as a single crop pixel less than 2 %."""


def _shrunk(plane: np.ndarray, affine: Affine, size: int) -> np.ndarray:
    """As :func:`_resample`, with a low-pass that leaves nothing to alias.

    Averages whole blocks down to two to three times the crop's resolution (an average alone passes
    a fifth of what is beyond it), then a Gaussian and bilinear interpolation.
    """
    scale = sqrt(abs(affine.xx * affine.yy - affine.xy * affine.yx))
    block = max(1, min(int(scale / 2), min(plane.shape)))
    part, affine = _part_under(plane, affine, size, block, margin=ceil(4 * scale / block))
    if scale > _SMOOTH_FROM:
        sigma = _SIGMA * scale / block
        taps = cv2.getGaussianKernel(2 * ceil(3 * sigma) + 1, sigma, cv2.CV_32F)
        part = cv2.sepFilter2D(part, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    matrix = np.array(affine).reshape(2, 3)
    return cv2.warpAffine(part, matrix, (size, size), flags=_WARP, borderMode=cv2.BORDER_REPLICATE)


def _blackened(rgb: np.ndarray, affine: Affine, width: int, height: int) -> np.ndarray:
    """The crop with every pixel black whose middle lies outside the stored picture."""
    last = len(rgb) - 1
    xx, xy, x, yx, yy, y = affine
    ends = [(0, 0), (last, 0), (0, last), (last, last)]
    if all(
        -0.5 <= xx * i + xy * j + x < width - 0.5 and -0.5 <= yx * i + yy * j + y < height - 0.5
        for i, j in ends
    ):
        return rgb
    along = np.arange(len(rgb), dtype=np.float32)
    across, down = along * xx + x, along * yx + y
    at_x = across[None, :] + (along * xy)[:, None]
    at_y = down[None, :] + (along * yy)[:, None]
    inside = (at_x >= -0.5) & (at_x < width - 0.5) & (at_y >= -0.5) & (at_y < height - 0.5)
    return cv2.bitwise_and(rgb, rgb, mask=inside.astype(np.uint8))


def _part_under(
    plane: np.ndarray, affine: Affine, size: int, block: int, margin: int
) -> tuple[np.ndarray, Affine]:
    """The part of a plane under a crop and ``margin`` blocks around, by blocks, and its map."""
    rows, columns = plane.shape
    xx, xy, x, yx, yy, y = affine
    left, right = _span_under((xx, xy, x), columns, size, block, margin)
    top, bottom = _span_under((yx, yy, y), rows, size, block, margin)
    part = plane[top:bottom, left:right]
    if block > 1:
        smaller = ((right - left) // block, (bottom - top) // block)
        part = cv2.resize(part, smaller, interpolation=cv2.INTER_AREA)
    middle = (block - 1) / 2
    return part, Affine(
        *(xx / block, xy / block, (x - left - middle) / block),
        *(yx / block, yy / block, (y - top - middle) / block),
    )


def _span_under(
    row: tuple[float, float, float], length: int, size: int, block: int, margin: int
) -> tuple[int, int]:
    """What a crop and its filters read along one axis of a plane, in whole blocks."""
    along, down, offset = row
    last = size - 1
    low = offset + min(along, 0.0) * last + min(down, 0.0) * last - margin * block
    high = offset + max(along, 0.0) * last + max(down, 0.0) * last + margin * block
    usable = length - length % block
    start = floor(min(max(low, 0.0), usable - block)) // block * block
    stop = floor(min(max(high, 0.0), usable - block)) // block * block + block
    return start, stop
