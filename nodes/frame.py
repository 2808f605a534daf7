"""One decoded picture, kept as its 4:2:0 planes."""

from dataclasses import dataclass, field
from typing import Literal

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

ClockQuality = Literal["none", "arrival", "container", "ntp"]


@dataclass(slots=True)
class Frame:
    """A picture as the decoder gave it, addressed in *upright* pixels.

    Upright means after the container's rotation; every width, height, box and matrix in padflow
    is upright. The planes stay those of the decoder: nothing converts a whole frame to RGB
    except a sink that draws. Not picklable: frames never leave their process.
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
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter, repr=False)

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

    def thumbnail(self, width: int, height: int) -> np.ndarray:
        """The whole picture, area-averaged, as uint8 RGB of shape (height, width, 3)."""
        turned = self.rotation in (90, 270)
        small = self._reformatter.reformat(
            self.picture,
            height if turned else width,
            width if turned else height,
            "rgb24",
            interpolation=Interpolation.AREA,
            threads=1,
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(small, -self.rotation // 90))


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
