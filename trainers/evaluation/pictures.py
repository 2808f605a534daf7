"""One picture of a presentation, for the page that shows the worst cases."""

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ...nodes.sources import SourceError, parse_source
from ..data.frames import decoded_picture

HEIGHT = 200
QUALITY = 80
SEEN = 60
"""Frames of a video that are looked at: the middle one of them is shown."""


def picture_of(item: str, height: int = HEIGHT) -> bytes | None:
    """JPEG of the middle picture of a folder, of a still, or of a video's first seconds.

    Args:
        item: picture, video or folder of ordered pictures.
        height: greatest height of the JPEG in pixels.

    Returns:
        None where nothing can be read: a report does without it.
    """
    try:
        frame = _frame(item)
    except (OSError, ValueError, av.FFmpegError, cv2.error, SourceError):
        return None
    if frame is None:
        return None
    share = min(1.0, height / frame.shape[0])
    size = (max(1, round(frame.shape[1] * share)), max(1, round(frame.shape[0] * share)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(data) if done else None


def _frame(item: str) -> NDArray[np.uint8] | None:
    """BGR."""
    address = parse_source(item)
    if address.live:
        return None
    if address.kind == "folder":
        middle = address.pictures[len(address.pictures) // 2]
        return decoded_picture(middle, cv2.IMREAD_COLOR)
    if address.kind == "still":
        return decoded_picture(address.path, cv2.IMREAD_COLOR)
    return _of_video(address.path)


def _of_video(path: Path) -> NDArray[np.uint8] | None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        declared = stream.frames
        wanted = declared // 2 if 0 < declared < SEEN else SEEN // 2
        last = None
        for number, frame in enumerate(container.decode(stream)):
            last = frame
            if number >= wanted:
                break
        return None if last is None else last.to_ndarray(format="bgr24").astype(np.uint8)
