"""What a frame must show of a face for the cues that follow its movements."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Interval

from .evidence import Reason
from .payloads import Quality


@dataclass(frozen=True)
class FaceGates:
    """Outside of these a frame is not used."""

    min_size: Annotated[float, Ge(0)] = 60.0
    """Face width in pixels."""
    max_yaw: Annotated[float, Gt(0)] = 40.0
    """Degrees to either side."""
    max_pitch: Annotated[float, Gt(0)] = 35.0
    """Degrees up or down."""
    min_exposure: Annotated[float, Ge(0)] = 25.0
    """Mean luma of the skin, 0 to 255."""
    min_sharpness: Annotated[float, Ge(0)] = 0.0
    """0 blurred to 1 sharp."""
    max_occlusion: Annotated[float, Interval(gt=0, le=1)] = 0.5
    """Share of the face that may be covered."""

    def failed(self, quality: Quality) -> Reason | None:
        """The first gate that a frame does not pass (NaN passes none)."""
        if not quality.size >= self.min_size:
            return Reason.FACE_TOO_SMALL
        if not (abs(quality.yaw) <= self.max_yaw and abs(quality.pitch) <= self.max_pitch):
            return Reason.FACE_NOT_FRONTAL
        if not quality.exposure >= self.min_exposure:
            return Reason.TOO_DARK
        if not quality.sharpness >= self.min_sharpness:
            return Reason.BLURRED
        if not quality.occlusion <= self.max_occlusion:
            return Reason.FACE_OCCLUDED
        return None
