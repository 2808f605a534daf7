"""How much an observation of a face can be worth: :class:`Quality` and what it takes to know it."""

from dataclasses import dataclass
from math import exp, floor, hypot, log
from typing import NamedTuple

import cv2
import numpy as np

from .canonical import GRID_SIDE, canonical_face
from .mesh import CROP_SIDE, MeshReading
from .payloads import Box, Quality
from .pose import Pose
from .skin import SkinMap

LEAST_COLOUR = 4.0
"""Reach of a picture's colours (:meth:`.Frame.colour_reach`), in levels of chroma, below which it
is a picture without colour: cameras at night give 0 to 1, the dullest real clip at hand 16."""
LEAST_INSIDE = 0.9
"""Share of the face's box within the picture below which networks take living faces for attacks:
with a quarter cut off ten of 26 real clips of strangers fell by 2 nats and more."""
LEAST_BELOW = 0.35
"""Heights of the face that the picture must show below it: hands, edges and shoulders are there.
Where the picture ends at the chin the ratios of all faces, attacks too, rise by some 2 nats; at
half a height by 0.2 to 0.6, which is where the closest of the real clips end."""

FACE_WIDTHS = 2.5
"""Width of a face in interocular distances."""

_CENTRAL = slice(CROP_SIDE // 6, CROP_SIDE - CROP_SIDE // 6)
"""The face within the crop of 1.5 face sides."""
_SMOOTH, _SHARP = 0.25, 0.5
"""The ratio of :func:`sharpness` for a picture without fine detail, and for a natural one whose
energy falls with the square of the frequency down to the pixel grid."""

_COARSEST = 8.0
"""Crop pixels in a pixel of the frame beyond which nothing can be said (faces under 16 px)."""

_DEPARTED = 0.25
"""A cell whose colour differs by more than this from the track's own (natural logarithm, so about
a quarter) after the change of light is taken out does not look like the face."""
_DARK_OFFSET = 10.0
"""Levels added before the logarithm, so that the noise of dark cells does not count."""
_ROBUST = 0.1
_LEARN, _RELEARN = 2.0, 20.0
"""Time constants in seconds: of the model of cells that look as they should, and of cells that do
not (a new hat is believed after a while)."""
_ENOUGH = 0.2
"""Share of all skin cells that must be seen and known to tell light from occlusion."""
_PERIOD = 0.2 - 1e-3
"""Seconds between two looks."""
_SETTLED = 5
"""Looks at a cell before its model is trusted."""


@dataclass(slots=True)
class FaceLooks:
    """What the skin of a track looked like lately: its own slowly learnt model. Picklable."""

    colours: np.ndarray
    """float32 (3, n): logarithms of the colours of the canonical face's n skin cells."""
    looks: np.ndarray
    """float32 (n,): how often each cell has been learnt from."""
    time: float | None = None
    """Capture time of the last look."""
    hint: "Occlusion | None" = None
    """What the last look found."""

    @classmethod
    def unknown(cls) -> "FaceLooks":
        """Nothing is known yet."""
        count = int(canonical_face().skin.sum())
        return cls(np.zeros((3, count), np.float32), np.zeros(count, np.float32))


class Occlusion(NamedTuple):
    """Which cells do not look like the track's own face."""

    share: float
    """Of the visible skin cells, 0 to 1."""
    departed: np.ndarray
    """bool (32, 32)."""


class OcclusionHint:
    """Compares the skin map with the track's model. Holds only constants.

    Something in front of the face changes cells one by one; a lamp or a turn of the head changes
    them together. So a gain that varies linearly over the face, for each colour, is fitted
    robustly (one round of iteratively reweighted least squares with Cauchy weights) and taken out
    first.
    """

    def __init__(self) -> None:
        side = (np.arange(GRID_SIDE, dtype=np.float32) + 0.5) / GRID_SIDE * 2 - 1
        x, y = np.meshgrid(side, side)
        self._cells = np.flatnonzero(canonical_face().skin.ravel())
        design = np.stack([np.ones_like(x), x, y]).reshape(3, -1)
        self._design = np.ascontiguousarray(design[:, self._cells])

    def hint(self, looks: FaceLooks, skin: SkinMap, time: float, learn: bool) -> Occlusion:
        """Which cells do not look like the track's face, looked at five times a second.

        Args:
            looks: the track's model, changed in place.
            skin: the map of the frame.
            time: capture time in seconds. Between two looks the last one's finding holds.
            learn: the frame may be learnt from.
        """
        if looks.hint is None or looks.time is None or time - looks.time >= _PERIOD:
            looks.hint, change = self._compare(looks, skin)
            if learn:
                since = 0.0 if looks.time is None else time - looks.time
                self._learn(looks, skin, change, since)
            looks.time = time
        return looks.hint

    def _compare(self, looks: FaceLooks, skin: SkinMap) -> tuple[Occlusion, np.ndarray]:
        facing = skin.facing[self._cells]
        seen = facing > 0
        change = _logarithms(skin, self._cells) - looks.colours
        known = np.flatnonzero(seen & (looks.looks >= _SETTLED))
        picture = np.zeros(GRID_SIDE * GRID_SIDE, bool)
        share = 0.0
        if len(known) >= len(self._cells) * _ENOUGH:
            unlit = change[:, known]
            unlit -= self._light(known, unlit)
            departed = np.abs(unlit).max(0) > _DEPARTED
            change[:, known] = unlit
            picture[self._cells[known[departed]]] = True
            share = int(np.count_nonzero(departed)) / int(np.count_nonzero(seen))
        return Occlusion(share, picture.reshape(GRID_SIDE, GRID_SIDE)), change

    def _learn(self, looks: FaceLooks, skin: SkinMap, change: np.ndarray, since: float) -> None:
        assert looks.hint is not None
        seen = skin.facing[self._cells] > 0
        departed = looks.hint.departed.ravel()[self._cells]
        looks.looks += seen
        slow = np.where(departed, _step(since, _RELEARN), _step(since, _LEARN))
        steps = np.where(looks.looks <= _SETTLED, 1 / np.maximum(looks.looks, 1), slow)
        looks.colours += (steps * seen).astype(np.float32) * change

    def _light(self, cells: np.ndarray, change: np.ndarray) -> np.ndarray:
        """The part of the change (3, n) that is a linear function of the place on the face."""
        half = change.shape[1] // 2
        middle = np.partition(change, half, axis=1)[:, half : half + 1]
        off = ((change - middle) ** 2).sum(0) / np.float32(3 * _ROBUST**2)
        design = self._design[:, cells]
        weighted = design / (1 + off)
        ridge = np.eye(3, dtype=np.float32) * np.float32(1e-3)
        gains = np.linalg.solve(weighted @ design.T + ridge, weighted @ change.T)
        light: np.ndarray = gains.T @ design
        return light


def sharpness(crop: np.ndarray, side: float) -> float:
    """How much of the detail that the pixel grid allows is there, 0 to 1.

    With D(k) the mean squared difference of pixels k apart, (D(2k) - D(k)) / (D(4k) - D(2k)) is
    1/4 where nothing is finer than k pixels, and 1/2 in a sharp natural picture, where D grows
    with k. White noise adds the same to every D and drops out. k is one pixel of the frame, or of
    the crop where that is the coarser: a small face is not called blurred for being small.

    Args:
        crop: uint8 RGB (192, 192, 3), the mesh network's crop.
        side: the crop's side in pixels of the frame.
    """
    step = max(1.0, CROP_SIDE / side) if side > 0 else 1.0
    if step > _COARSEST:
        return 0.0
    face = cv2.extractChannel(crop[_CENTRAL, _CENTRAL], 1)
    one, two, four = (_mean_square_difference(face, step * lag) for lag in (1, 2, 4))
    if four - two <= 1e-6:
        return 0.0
    ratio = (two - one) / (four - two)
    return min(1.0, max(0.0, (ratio - _SMOOTH) / (_SHARP - _SMOOTH)))


def assess(
    reading: MeshReading,
    pose: Pose,
    skin: SkinMap,
    occlusion: float,
    motion: float,
    sharpness: float,
    colour: float,
    frame_size: tuple[int, int],
) -> Quality:
    """All of :class:`Quality` for one frame of width x height pixels."""
    inside, below = framing(reading.box, frame_size)
    return Quality(
        size=pose.scale * FACE_WIDTHS,
        sharpness=sharpness,
        exposure=skin.luma,
        clipped=skin.clipped,
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=pose.roll,
        presence=reading.presence,
        occlusion=occlusion,
        motion=motion,
        colour=colour,
        inside=inside,
        below=below,
    )


def framing(box: Box, frame_size: tuple[int, int]) -> tuple[float, float]:
    """:attr:`.Quality.inside` and :attr:`.Quality.below` of a box in a frame of width x height."""
    width, height = frame_size
    across = min(box.x + box.w, width) - max(box.x, 0.0)
    along = min(box.y + box.h, height) - max(box.y, 0.0)
    area = max(box.w * box.h, 1e-6)
    below = (height - (box.y + box.h)) / max(box.h, 1e-6)
    return max(across, 0.0) * max(along, 0.0) / area, below


def speed(
    centre: tuple[float, float],
    before: tuple[float, float] | None,
    seconds: float,
    size: float,
) -> float:
    """Speed of a face's centre in face widths per second; 0 where there is no frame before."""
    if before is None or seconds <= 0 or size <= 0:
        return 0.0
    return hypot(centre[0] - before[0], centre[1] - before[1]) / size / seconds


def _mean_square_difference(image: np.ndarray, lag: float) -> float:
    """Of pixels ``lag`` apart, along rows and columns together.

    Between whole lags it is interpolated, as the power law that it follows nearly.
    """
    below = floor(lag)
    low = _whole_lag_difference(image, below)
    if lag == below or low <= 0:
        return low
    high = max(low, _whole_lag_difference(image, below + 1))
    share = log(lag / below) / log((below + 1) / below)
    return float(low * (high / low) ** share)


def _whole_lag_difference(image: np.ndarray, lag: int) -> float:
    along = cv2.norm(image[:, lag:], image[:, :-lag], cv2.NORM_L2SQR) / image[:, lag:].size
    down = cv2.norm(image[lag:], image[:-lag], cv2.NORM_L2SQR) / image[lag:].size
    return (along + down) / 2


def _logarithms(skin: SkinMap, cells: np.ndarray) -> np.ndarray:
    colours = skin.grid.reshape(-1, 3)[cells].T + np.float32(_DARK_OFFSET)
    return np.asarray(np.log(colours))


def _step(seconds: float, constant: float) -> float:
    return 1.0 - exp(-max(seconds, 0.0) / constant)
