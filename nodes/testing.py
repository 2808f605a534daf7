"""Synthetic payloads for tests of nodes: a face that passes every default quality gate."""

from dataclasses import replace
from typing import Any

import numpy as np

from .payloads import Box, FaceObservation, Quality

GOOD_QUALITY = Quality(
    size=120.0,
    sharpness=0.6,
    exposure=120.0,
    clipped=0.0,
    yaw=0.0,
    pitch=0.0,
    roll=0.0,
    presence=0.99,
    occlusion=0.0,
    motion=0.1,
)


DEFAULT_BOX = Box(100.0, 80.0, 120.0, 150.0)


def face_observation(
    box: Box = DEFAULT_BOX,
    frame_size: tuple[int, int] = (640, 480),
    usable: bool = True,
    utc: float | None = None,
    media_time: float | None = None,
    **quality: Any,
) -> FaceObservation:
    """A frontal, sharp, well-lit face; keywords change single fields of its quality."""
    x, y, w, h = box
    places = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    landmarks = np.array([(x + w * u, y + h * v) for u, v in places], np.float32)
    return FaceObservation(
        box=box,
        frame_size=frame_size,
        landmarks=landmarks,
        quality=replace(GOOD_QUALITY, **quality),
        usable=usable,
        media_time=media_time,
        utc=utc,
    )
