"""What the networks are trained to answer: depth maps, and the spectrum of the pulse."""

from .cache import LabelCache, LabelCacheError, LabelOrigin, source_sha256
from .depth import DEPTH_VERSION, FLOOR, depth_label, plane_label
from .pulse import (
    PULSE_BAND,
    PULSE_BINS,
    PULSE_VERSION,
    pulse_frequencies,
    pulse_label,
    still_label,
)
from .sheet import label_sheet, write_label_sheet

__all__ = [
    "DEPTH_VERSION",
    "FLOOR",
    "PULSE_BAND",
    "PULSE_BINS",
    "PULSE_VERSION",
    "LabelCache",
    "LabelCacheError",
    "LabelOrigin",
    "depth_label",
    "label_sheet",
    "plane_label",
    "pulse_frequencies",
    "pulse_label",
    "source_sha256",
    "still_label",
    "write_label_sheet",
]
