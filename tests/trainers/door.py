"""A short clip of a person at a door: a public-domain portrait that sways before a grey wall."""

from pathlib import Path

import av
import cv2
import numpy as np

from padflow.trainers.attacks.portraits import load_portrait


def write_door(path: Path, portrait: str = "astronaut", frames: int = 50) -> Path:
    """640x480, 25 frames a second."""
    picture = load_portrait(portrait).image
    width = round(picture.shape[1] * 480 / picture.shape[0])
    person = cv2.resize(picture, (width, 480), interpolation=cv2.INTER_AREA)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for index in range(frames):
            frame = np.full((480, 640, 3), 120, np.uint8)
            left = (640 - width) // 2 + round(20 * np.sin(index / 8))
            frame[:, left : left + width] = person
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return path
